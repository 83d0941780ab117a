"""The project's playbooks, run on a lab."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from .lab import ROOT, Lab, ansible

# As outside of Molecule, which asks for colours and has failures printed apart from the rest.
PLAIN = {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DISPLAY_FAILED_STDERR": "0"}
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def command(lab: Lab, playbook: str, *more: str) -> list[str]:
    """Return the command line of a playbook."""
    return [ansible("ansible-playbook"), "-i", lab.info["inventory"], f"playbooks/{playbook}", *more]


def start(lab: Lab, log: TextIO, playbook: str, *more: str) -> subprocess.Popen[str]:
    """Start a playbook, with its output in a file."""
    argv, environment = command(lab, playbook, *more), {**os.environ, **PLAIN}
    return subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
    )


def play(lab: Lab, playbook: str, *more: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a playbook to its end."""
    argv, environment = command(lab, playbook, *more), {**os.environ, **PLAIN}
    return subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )


def kill(play: subprocess.Popen[str]) -> None:
    """Kill a playbook with all that it started: its workers have process groups of their own, and ssh below them."""
    for pid in family(play.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    play.wait()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def recap(text: str) -> dict[str, dict[str, int]]:
    """Read a play's recap."""
    names = ("ok", "changed", "unreachable", "failed")
    return {m[1]: dict(zip(names, map(int, m.groups()[1:]), strict=True)) for m in RECAP.finditer(text)}
