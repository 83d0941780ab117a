"""Runs the project's tests and says what passed, what failed and where the time went. Called by script/test."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from tests.inputs import ROOT, inputs

LOGS = ROOT / ".cache" / "test-logs"
RECORD = ROOT / "tests" / "passed.json"
RELEASES = ("12", "13")
SCENARIO_MEMORY_GIB = 5
LIMIT_MINUTES = 70  # when a default run should have ended; CI ends one after 90 minutes
UNKNOWN_MINUTES = {"architecture": 40, "role": 20}  # of a scenario that never passed; most of those are slow ones
LAB_SECONDS = 800
AS_USERS = ("dsync", "dsync_killed")  # the scenarios that show that all is well with Ansible as users have it
BOTH = "both"  # a role's scenario has hosts of both releases
ROLE_TIMES = re.compile(r"^\W*([a-z_]+) -{5,}\W+([0-9.]+)s$", re.MULTILINE)
ROLE_TASKS = re.compile(r"TASK \[([a-z_]+) : ")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What a log says of a failure: Ansible's and Molecule's lines, and pytest's with the exception.
CAUSE = re.compile(r"^(?:E +)?(?:fatal: |FAILED(?! - RETRYING)|ERROR|\[ERROR\]: |\w+Error: |assert ).*", re.MULTILINE)


@dataclass
class Part:
    """One thing that passes or fails: a linter, the unit tests, a scenario."""

    name: str
    argv: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    scenario: bool = False  # it makes hosts, as Molecule's scenarios and the lab's tests do
    own_kernels: bool = False
    expected_seconds: float = 0.0
    left: bool = False
    seconds: float = 0.0
    passed: bool = False

    @property
    def by_molecule(self) -> bool:
        """Whether Molecule runs it; the lab's tests make and remove their hosts themselves."""
        return self.argv[0] == "molecule"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LOGS / f"{self.name.replace(' ', '-')}.log"


def main() -> int:
    """Choose the parts, run them, print the summary."""
    arguments = parse()
    parts = choose(arguments)
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"{len(parts)} parts to run, {slots()} scenarios at a time; logs are in {LOGS.relative_to(ROOT)}", flush=True)
    for part in parts:
        if not part.scenario:
            execute(part)
    deadline = started + 60 * arguments.minutes if arguments.minutes else float("inf")
    # The shortest first: where time is short, as many as possible.
    scenarios = sorted((part for part in parts if part.scenario), key=lambda part: part.expected_seconds)
    # Kernels of their own stand still now and then beside others on a busy machine, and their hosts are fenced for it.
    alone = [part for part in scenarios if part.own_kernels]
    side_by_side(deadline, [part for part in scenarios if not part.own_kernels])
    for part in alone:
        in_time(deadline, part)
    return summary(parts, time.monotonic() - started)


def side_by_side(deadline: float, parts: Sequence[Part]) -> None:
    """Run scenarios two at a time, where cores and memory allow."""
    with concurrent.futures.ThreadPoolExecutor(slots()) as pool:
        list(pool.map(functools.partial(in_time, deadline), parts))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="script/test", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["lint", "unit", "lab", "role", "architecture"], help="one kind of test only"
    )
    parser.add_argument("name", nargs="?", help="of the role or architecture")
    parser.add_argument("--all", action="store_true", help="also scenarios that passed with the same inputs before")
    parser.add_argument(
        "--minutes",
        type=float,
        help="leave out scenarios with which the run would probably take longer"
        f" (a run of everything that is due: {LIMIT_MINUTES}, others: no limit)",
    )
    arguments = parser.parse_args()
    if arguments.minutes is None and not arguments.what and not arguments.all:
        arguments.minutes = LIMIT_MINUTES
    if (arguments.what in ("role", "architecture")) != bool(arguments.name):
        parser.error("'role' and 'architecture' take a name, the others none")
    return arguments


def choose(arguments: argparse.Namespace) -> list[Part]:
    """The parts that the command line asks for."""
    if arguments.what == "lint":
        return lint()
    if arguments.what == "unit":
        return unit()
    if arguments.what == "lab":
        return lab()
    if arguments.what == "role":
        if arguments.name not in role_scenarios():
            raise SystemExit(f"no scenario '{arguments.name}'; there are: {' '.join(role_scenarios())}")
        return [role(arguments.name)[0]]
    if arguments.what == "architecture":
        if arguments.name not in architectures():
            raise SystemExit(f"no architecture '{arguments.name}'; there are: {' '.join(architectures())}")
        if not scenarios_of(arguments.name):
            raise SystemExit(f"architecture {arguments.name} has no scenario: nothing proves it")
        return [part for part, _ in scenarios(arguments.name)]
    for name in architectures():
        if not scenarios_of(name):
            print(f"architecture {name}: has no scenario, nothing proves it")
    due = []
    for part, passed_before in every_scenario():
        if arguments.all or not passed_before:
            due.append(part)
        else:
            print(f"{part.name}: passed with these inputs before, see {RECORD.name}")
    return [*lint(), *unit(), *lab(), *due]


def lint() -> list[Part]:
    """Linters and type checks."""
    return [
        Part("lint ruff", ["ruff", "check", "."]),
        Part("lint ruff-format", ["ruff", "format", "--check", "."]),
        Part("lint mypy", ["mypy"]),
        Part("lint yamllint", ["yamllint", "--strict", "."]),
        Part("lint ansible-lint", ["ansible-lint", "--strict"]),
    ]


def unit() -> list[Part]:
    """Unit tests."""
    return [Part("unit", ["pytest", "-q"])]


def lab() -> list[Part]:
    """Tests of the test hosts themselves; they run beside scenarios, as they make hosts too."""
    return [Part("lab", ["pytest", "-q", "tests/lab"], scenario=True, own_kernels=True, expected_seconds=LAB_SECONDS)]


def every_scenario() -> list[tuple[Part, bool]]:
    """Every scenario of an architecture or a role, each with whether it passed with these inputs before."""
    return [
        *(found for name in architectures() for found in scenarios(name)),
        *(role(name) for name in role_scenarios()),
    ]


def role(name: str) -> tuple[Part, bool]:
    """A role's scenario, which has hosts of both releases, and whether it passed with these inputs before."""
    return judged(scenario(f"role {name}", name, {}))


def scenarios(architecture: str) -> list[tuple[Part, bool]]:
    """An architecture's scenarios on each release, each with whether it passed with these inputs before."""
    return [
        judged(scenario(f"architecture {name} Debian {release}", name, {"LAB_RELEASE": release}))
        for name in scenarios_of(architecture)
        for release in releases_of(name)
    ]


def judged(part: Part) -> tuple[Part, bool]:
    """A scenario with the time that it will probably take, and whether it passed with these inputs before."""
    kind, name, release = key(part)
    before = recorded().get(name, {})
    # Of a release that never passed, the other one's time is the best guess.
    seconds = [before[one]["seconds"] for one in (release, *before) if one in before]
    part.expected_seconds = seconds[0] if seconds else 60 * UNKNOWN_MINUTES[kind]
    return part, before.get(release, {}).get("inputs") == inputs(name, template_of(name))


def is_architecture(part: Part) -> bool:
    """Whether a part is an architecture's scenario."""
    return part.name.startswith("architecture ")


def key(part: Part) -> tuple[str, str, str]:
    """What kind of scenario a part is, its name, and the release."""
    kind, name, *rest = part.name.split()
    return kind, name, rest[-1] if rest else BOTH


def scenario(title: str, name: str, environment: dict[str, str]) -> Part:
    """A Molecule scenario, with a directory of its own so that two releases of one can run at a time."""
    directory = ROOT / ".cache" / "molecule" / title.replace(" ", "-")
    return Part(
        title,
        # Hosts are removed by `execute`, which keeps their journals when something failed.
        ["molecule", "test", "--destroy", "never", "--scenario-name", name],
        {
            **{"MOLECULE_EPHEMERAL_DIRECTORY": str(directory), "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1"},
            **(mitogen() if name not in AS_USERS else {}),
            **environment,
        },
        scenario=True,
        own_kernels=has_own_kernels(name),
    )


def mitogen() -> dict[str, str]:
    """What has Ansible keep Python up on hosts, which do nothing slower than to start it for each task."""
    plugins = importlib.util.find_spec("ansible_mitogen.plugins.strategy")
    if plugins is None or not plugins.submodule_search_locations:
        raise SystemExit("no Mitogen: script/setup installs it")
    return {
        "ANSIBLE_STRATEGY_PLUGINS": plugins.submodule_search_locations[0],
        "ANSIBLE_STRATEGY": "mitogen_linear",
        # Of Python's start, too, which takes hosts with own kernels more than the 10 s that Ansible waits for ssh.
        "ANSIBLE_TIMEOUT": "60",
    }


def architectures() -> list[str]:
    """Every inventory template is an architecture."""
    return sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())


def molecule_of(scenario: str) -> dict[str, Any]:
    """What a scenario's molecule.yml says."""
    return yaml.safe_load((ROOT / "molecule" / scenario / "molecule.yml").read_text())


def has_own_kernels(scenario: str) -> bool:
    """Whether hosts have kernels of their own."""
    return any(host.get("kernel", "shared") != "shared" for host in molecule_of(scenario)["platforms"])


def scenario_names() -> list[str]:
    """Every scenario."""
    return sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


def architecture_of(scenario: str) -> str | None:
    """The architecture that a scenario proves, on hosts made from its template; nothing for a role's scenario."""
    return template_of(scenario) if "PROOFS" in environment_of(scenario) else None


def template_of(scenario: str) -> str | None:
    """The architecture from whose template a scenario's hosts are made, if any."""
    template = environment_of(scenario).get("LAB_TEMPLATE")
    return Path(template).name if template else None


def environment_of(scenario: str) -> dict[str, str]:
    """What a scenario's molecule.yml gives to playbooks as their environment."""
    return molecule_of(scenario).get("provisioner", {}).get("env", {})


def scenarios_of(architecture: str) -> list[str]:
    """Every scenario of an architecture."""
    return [name for name in scenario_names() if architecture_of(name) == architecture]


def releases_of(scenario: str) -> list[str]:
    """The releases on which an architecture's scenario runs: all, unless it says otherwise."""
    return str(environment_of(scenario).get("RELEASES", " ".join(RELEASES))).split()


def role_scenarios() -> list[str]:
    """Every scenario that is no architecture's."""
    return [name for name in scenario_names() if not architecture_of(name)]


def slots() -> int:
    """How many scenarios run at a time: two where cores and memory allow."""
    available = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    return max(1, min(2, os.cpu_count() or 1, available // (SCENARIO_MEMORY_GIB * 1024 * 1024)))


PRINTING = threading.Lock()


def in_time(deadline: float, part: Part) -> None:
    """Run a part, or leave it for another run if it would probably not end before the deadline."""
    part.left = time.monotonic() + part.expected_seconds > deadline
    if part.left:
        print(
            f"  left  {part.name}: takes {part.expected_seconds / 60:.0f} minutes, more than there is time for",
            flush=True,
        )
    else:
        execute(part)


def execute(part: Part) -> None:
    """Run a part with its output in its log; print a line when it starts and when it ends; keep the record."""
    with PRINTING:
        print(f"  ....  {part.name}", flush=True)
    started = time.monotonic()
    with part.log.open("w") as log:
        if part.by_molecule:
            call(part, remove_hosts(part), log)
        part.passed = call(part, part.argv, log)
        if part.by_molecule:
            if not part.passed:
                keep_journals(part)
            part.passed = call(part, remove_hosts(part), log) and part.passed
    part.seconds = time.monotonic() - started
    with PRINTING:
        print(f"  {'ok  ' if part.passed else 'FAIL'}  {part.name} ({part.seconds:.0f} s)", flush=True)
        record(part)
        if not part.passed:
            print("\n".join(f"        {line}" for line in causes(part.log.read_text())), flush=True)


def call(part: Part, argv: Sequence[str], log: IO[str]) -> bool:
    """Run a command of a part; return whether it ended well."""
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, **part.environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    return done.returncode == 0


def remove_hosts(part: Part) -> list[str]:
    """The command that removes a scenario's hosts."""
    return ["molecule", "destroy", "--scenario-name", part.argv[-1]]


def lab_of(part: Part) -> str:
    """The name of a scenario's lab."""
    name = environment_of(part.argv[-1]).get("LAB", part.argv[-1])
    return name.replace("${LAB_RELEASE:-13}", part.environment.get("LAB_RELEASE", "13"))


def keep_journals(part: Part) -> None:
    """Save the journals of a failed scenario's hosts beside its log; those of hosts without power are not to be had."""
    folder = part.log.with_suffix("")
    lab = [str(ROOT / "script/lab"), "--lab", lab_of(part)]
    told = subprocess.run([*lab, "info", "--json"], capture_output=True, text=True)
    hosts = json.loads(told.stdout)["hosts"] if told.returncode == 0 else {}
    if folder.exists():  # of an earlier run
        shutil.rmtree(folder)
    folder.mkdir()
    for host in hosts:
        command = "journalctl --no-pager --output=short-precise --lines=100000"
        with (folder / f"{host}.journal").open("w") as journal, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*lab, "ssh", host, command], stdout=journal, stderr=subprocess.STDOUT, timeout=120)


def causes(log: str) -> list[str]:
    """What a failed part's log says of the failure: 40 lines that tell it, or the log's end."""
    text = COLOUR.sub("", log)
    lines = CAUSE.findall(text)
    # What fails first is often why the rest fails.
    chosen = lines if len(lines) <= 40 else [*lines[:20], "...", *lines[-20:]]
    return [line[:600] for line in chosen or text.splitlines()[-40:]]


def recorded() -> dict[str, Any]:
    """The record: for each scenario and release that passed, its inputs and seconds."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def record(part: Part) -> None:
    """Write down a scenario that passed, with what it was made of."""
    if not part.passed or not part.name.startswith(tuple(UNKNOWN_MINUTES)):
        return
    _, name, release = key(part)
    passed = recorded()
    made_of = inputs(name, template_of(name))
    passed.setdefault(name, {})[release] = {"inputs": made_of, "seconds": round(part.seconds)}
    RECORD.write_text(json.dumps(passed, indent=2, sort_keys=True) + "\n")


def role_table(part: Part) -> list[str]:
    """Tasks and seconds of each role in a scenario's first converge, slowest first."""
    text = COLOUR.sub("", part.log.read_text())
    first = text.partition("idempotence")[0] if part.scenario else ""
    tasks: dict[str, int] = {}
    for name in ROLE_TASKS.findall(first):
        tasks[name] = tasks.get(name, 0) + 1
    seconds = {name: float(value) for name, value in ROLE_TIMES.findall(first) if name in tasks}
    rows = sorted(tasks, key=lambda name: -seconds.get(name, 0))
    return [f"          {name:24} {tasks[name]:3} tasks {seconds.get(name, 0):6.1f} s" for name in rows]


def summary(parts: Sequence[Part], seconds: float) -> int:
    """Print a line for each part, and the last line that counts those that ran."""
    for part in parts:
        if part.left:
            print(f"NOT RUN for lack of time, and not proved since something of it changed: {part.name}")
    parts = [part for part in parts if not part.left]
    print("\nWhere the time went:")
    for part in sorted(parts, key=lambda part: -part.seconds):
        print(f"  {'ok  ' if part.passed else 'FAIL'} {part.seconds:6.0f} s  {part.name}")
        if is_architecture(part):
            print("\n".join(role_table(part)))
    failed = [part for part in parts if not part.passed]
    for part in failed:
        print(f"log of {part.name}: {part.log}")
    print(f"total {seconds:.0f} s")
    print(f"{len(parts) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
