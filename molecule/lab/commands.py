"""Running commands, with errors that say what was run and what it answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CACHE = Path("/var/cache/dovecluster-lab")
STATE = Path("/var/lib/dovecluster-lab")


class LabError(Exception):
    """Something a person has to know: printed without a traceback."""


def run(argv: Sequence[str], *, check: bool = True, stdin: str | None = None, errors: bool = False) -> str:
    """Run a command and give its standard output; raise LabError when it fails and check is set.

    With errors its standard error comes along.
    """
    done = subprocess.run(
        argv,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
    )
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)} exited with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout + (done.stderr if errors else "")


def succeeds(argv: Sequence[str]) -> bool:
    """Run a command and tell whether it ended well; what it says is of no interest."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=environment()).returncode == 0


def environment() -> dict[str, str]:
    """The environment for podman: the lab's own containers.conf, so that the user's stays as it is."""
    return {**os.environ, "CONTAINERS_CONF": str(CACHE / "containers.conf")}


def networks() -> list[dict[str, Any]]:
    """podman's networks, each with "name", "subnets" and "labels": listed at once, as another lab may go meanwhile."""
    return json.loads(run(["podman", "network", "ls", "--format", "json"]))


def say(text: str) -> None:
    """Tell a person what is going on; standard output stays free for results."""
    print(f"lab: {text}", file=sys.stderr, flush=True)
