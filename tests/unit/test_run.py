"""What a run of all tests does with the time that it has."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests import run


@pytest.fixture
def executed(monkeypatch):
    found = []
    monkeypatch.setattr(run, "execute", lambda part: found.append(part.name))
    return found


def part(name, minutes=0.0, own_kernels=False):
    return run.Part(
        name,
        ["true"],
        scenario=True,
        own_kernels=own_kernels,
        expected_seconds=60 * minutes,
    )


def test_a_scenario_that_would_end_too_late_is_left_and_said_to_be(executed, capsys):
    deadline = time.monotonic() + 60 * 30
    parts = [part("architecture a Debian 12", 29), part("architecture b Debian 12", 31), part("role c", 31)]
    for each in parts:
        run.in_time(deadline, each)
    assert executed == ["architecture a Debian 12"]
    assert run.summary([*parts[1:], run.Part("unit", [], passed=True)], 1) == 0
    said = capsys.readouterr().out
    assert all(f"changed: {name}\n" in said for name in ("architecture b Debian 12", "role c"))
    assert said.endswith("1 passed, 0 failed\n")


@pytest.mark.parametrize(
    ("line", "minutes"),
    [([], run.LIMIT_MINUTES), (["--all"], None), (["architecture", "dsync"], None), (["--minutes", "5"], 5)],
)
def test_only_a_default_run_has_a_limit(monkeypatch, line, minutes):
    monkeypatch.setattr("sys.argv", ["run", *line])
    assert run.parse().minutes == minutes


def test_scenarios_know_whether_their_hosts_have_own_kernels(monkeypatch):
    monkeypatch.setattr(run, "recorded", dict)
    for name in run.architectures():
        for found, passed in run.scenarios(name):
            scenario = found.name.split()[1]
            assert not passed
            assert found.own_kernels == run.has_own_kernels(scenario)
            assert found.expected_seconds == 60 * run.UNKNOWN_MINUTES["architecture"]
    assert not run.has_own_kernels("dsync")
    assert run.has_own_kernels("drbd_role")


def test_no_scenario_verifies_nothing():
    """Molecule passes over a folder without tests."""
    for name in run.scenario_names():
        folder = run.ROOT / "molecule" / name
        asked = run.molecule_of(name).get("verifier", {}).get("directory", "tests")
        verified = "verify" in run.molecule_of(name).get("scenario", {}).get("test_sequence", ["verify"])
        assert not verified or list((folder / asked).glob("test_*.py")), name


def test_a_scenario_takes_as_long_as_it_did_or_as_on_the_other_release(monkeypatch):
    monkeypatch.setattr(
        run, "recorded", lambda: {"dsync": {"12": {"seconds": 7}}, "drbd": {"12": {"seconds": 8}, "13": {"seconds": 9}}}
    )
    seconds = {part.name: part.expected_seconds for part, _ in run.every_scenario()}
    assert seconds["architecture dsync Debian 12"] == seconds["architecture dsync Debian 13"] == 7
    assert (seconds["architecture drbd Debian 12"], seconds["architecture drbd Debian 13"]) == (8, 9)


def test_scenarios_run_two_at_a_time_but_those_with_own_kernels_alone(monkeypatch):
    running, beside = [], {}
    both = threading.Event()

    def execute(part):
        running.append(part.name)
        if len(running) == 2:
            both.set()
        if part.scenario and not part.own_kernels:
            both.wait(5)
        beside[part.name] = len(running)
        running.remove(part.name)

    parts = [part(str(number), own_kernels=number % 2 == 0) for number in range(6)]
    monkeypatch.setattr(run, "execute", execute)
    monkeypatch.setattr(run, "slots", lambda: 2)
    monkeypatch.setattr(run, "choose", lambda arguments: parts)
    monkeypatch.setattr(run, "summary", lambda parts, seconds: 0)
    monkeypatch.setattr("sys.argv", ["run"])
    assert run.main() == 0
    assert max(beside[name] for name in ("1", "3", "5")) == 2
    assert [beside[name] for name in ("0", "2", "4")] == [1, 1, 1]


def test_the_shortest_run_first_and_those_with_own_kernels_last(executed, monkeypatch):
    parts = [
        part("architecture a Debian 12", 9, own_kernels=True),
        part("role b", 6, own_kernels=True),
        part("role c", 3, own_kernels=True),
        run.Part("unit", []),
        part("role d", 8),
    ]
    monkeypatch.setattr(run, "slots", lambda: 1)
    monkeypatch.setattr(run, "choose", lambda arguments: parts)
    monkeypatch.setattr(run, "summary", lambda parts, seconds: 0)
    monkeypatch.setattr("sys.argv", ["run"])
    assert run.main() == 0
    assert executed == ["unit", "role d", "role c", "role b", "architecture a Debian 12"]


@pytest.mark.parametrize(
    ("title", "recorded"),
    [
        ("role pki", {"pki": {"both": {"inputs": "made of pki for None", "seconds": 3}}}),
        ("architecture nfs Debian 12", {"nfs": {"12": {"inputs": "made of nfs for nfs", "seconds": 3}}}),
        ("lab", {}),
        ("unit", {}),
    ],
)
def test_scenarios_that_pass_are_recorded_and_not_due(monkeypatch, tmp_path, title, recorded):
    monkeypatch.setattr(run, "RECORD", tmp_path / "passed.json")
    monkeypatch.setattr(run, "inputs", lambda scenario, architecture: f"made of {scenario} for {architecture}")
    run.record(run.Part(title, [], seconds=3.2, passed=False))
    assert run.recorded() == {}
    run.record(run.Part(title, [], seconds=3.2, passed=True))
    assert run.recorded() == recorded
    due = {found.name: not passed for found, passed in run.every_scenario()}
    assert not recorded or not due[title]
    assert due["role firewall"]
    monkeypatch.setattr(run, "inputs", lambda scenario, architecture: "changed")
    assert not any(passed for _, passed in run.every_scenario())


def test_a_failed_part_shows_the_cause_and_not_how_it_was_cleaned_up():
    log = """FAILED - RETRYING: [mail1]: Wait for quorum (30 retries left).
TASK [Every proof passed]
\x1b[31mfatal: [localhost]: FAILED! => {"msg": "FAILED  power_loss  lost 1"}\x1b[0m
    def test_mail():
>       assert mail
E       AssertionError: no mail
FAILED molecule/shared/test_site.py::test_mail - AssertionError

PLAY [Remove the scenario's hosts]
ok: [mail1]
"""
    assert run.causes(log) == [
        'fatal: [localhost]: FAILED! => {"msg": "FAILED  power_loss  lost 1"}',
        "E       AssertionError: no mail",
        "FAILED molecule/shared/test_site.py::test_mail - AssertionError",
    ]
    assert run.causes("one\ntwo") == ["one", "two"]
    many = run.causes("\n".join(f"fatal: {number}" for number in range(100)))
    assert (many[0], many[-1], len(many)) == ("fatal: 0", "fatal: 99", 41)


def test_dsync_runs_by_ansible_as_users_have_it_and_no_other_scenario():
    plain = {part.name.split()[1] for part, _ in run.every_scenario() if "ANSIBLE_STRATEGY" not in part.environment}
    assert plain == {"dsync", "dsync_killed"}


@pytest.mark.parametrize("passes", [True, False])
def test_hosts_of_a_scenario_are_removed_and_their_journals_kept_when_it_failed(monkeypatch, tmp_path, passes):
    done = []

    def called(argv, **options):
        argv = [Path(word).name for word in argv]
        done.append(argv)
        if "info" in argv:
            return subprocess.CompletedProcess(argv, 0, json.dumps({"hosts": {"mail1": {}}}))
        if "ssh" in argv:
            options["stdout"].write("what mail1 logged")
        return subprocess.CompletedProcess(argv, int("test" in argv and not passes))

    monkeypatch.setattr(run.subprocess, "run", called)
    monkeypatch.setattr(run, "LOGS", tmp_path)
    monkeypatch.setattr(run, "record", lambda part: None)
    part = run.scenario("architecture dsync Debian 12", "dsync", {"LAB_RELEASE": "12"})
    run.execute(part)
    assert part.passed is passes
    kinds = [argv[1] for argv in done if argv[0] == "molecule"]
    assert kinds == ["destroy", "test", "destroy"]
    kept = tmp_path / "architecture-dsync-Debian-12" / "mail1.journal"
    assert kept.exists() is not passes
    if not passes:
        assert kept.read_text() == "what mail1 logged"
        assert [argv[:4] for argv in done if argv[0] == "lab"] == [
            ["lab", "--lab", "dsync-12", "info"],
            ["lab", "--lab", "dsync-12", "ssh"],
        ]


@pytest.mark.parametrize("works", [True, False])
def test_the_lab_is_tested_without_molecule_which_knows_nothing_of_its_hosts(monkeypatch, tmp_path, works):
    done = []

    def called(argv, **options):
        done.append(list(argv))
        return subprocess.CompletedProcess(argv, int(not works))

    monkeypatch.setattr(run.subprocess, "run", called)
    monkeypatch.setattr(run, "LOGS", tmp_path)
    (part,) = run.lab()
    run.execute(part)
    assert part.passed is works
    assert done == [list(part.argv)]
