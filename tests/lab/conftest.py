"""A lab of its own for the tests of the lab, driven by script/lab as people drive it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STATE = Path("/var/lib/dovecluster-lab")


class Lab:
    """script/lab for one lab."""

    def __init__(self, name: str) -> None:
        self.name = name

    def argv(self, *arguments: str) -> list[str]:
        return [str(ROOT / "script/lab"), "--lab", self.name, *arguments]

    def run(self, *arguments: str, timeout: float = 300) -> str:
        """A command's output; it must succeed."""
        done = subprocess.run(self.argv(*arguments), capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: {done.stderr or done.stdout}"
        return done.stdout

    def ssh(self, host: str, command: str) -> str:
        return self.run("ssh", host, command)

    def info(self) -> dict[str, Any]:
        return json.loads(self.run("info", "--json"))

    def traces(self) -> list[str]:
        """All that this machine has of the lab."""
        found = [
            *output(
                "podman",
                "ps",
                "--all",
                "--external",
                "--filter",
                f"name=^{self.name}-",
                "--format",
                "container {{.Names}}",
            ),
            *output("podman", "network", "ls", "--filter", f"name=^{self.name}-", "--format", "network {{.Name}}"),
            *(line for line in output("losetup", "--list", "--noheadings") if self.name in line),
            *(f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"*/dovecluster/{self.name}")),
            *(f"file {path}" for path in (STATE / self.name, *Path("/tmp").glob("dovecluster-*")) if path.exists()),
        ]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (process / "environ").read_bytes()
            except OSError:
                continue  # it has ended
            # The second one is of the programs in a host with its own kernel.
            marked = any(f"{mark}={self.name}\0".encode() in environment for mark in ("DOVECLUSTER_LAB", "LAB_NAME"))
            if marked or f" {self.name}-" in words:
                found.append(f"process {process.name} {words[:100]}")
        return found


def output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.1)
    return value


@contextmanager
def made(name: str, *arguments: str) -> Iterator[Lab]:
    """A lab for as long as it is needed."""
    lab = Lab(name)
    lab.run("down")
    try:
        lab.run("up", *arguments, timeout=900)
        yield lab
    finally:
        lab.run("down")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with a host of each kind on each release, made from an architecture's template."""
    with made("lab-test", "--platforms", "tests/lab/hosts.yml", "--template", "inventories/dsync") as lab:
        yield lab
