"""site.yml is killed at random points and run again: it converges all the same.

Worth most on hosts that were just made, when nearly every task has something to change.
"""

from __future__ import annotations

import random
import subprocess
import time

from .lab import ProofError
from .plays import kill, play, recap, start
from .proof import Proof

KILLS = 5
LONGEST = 600.0  # seconds that a whole run may take
GUESS = 240.0  # seconds that a run takes, until one that ended has shown it


def run(proof: Proof) -> None:
    """Kill it, again and again, then let it end; a last run changes nothing."""
    points: list[float] = []
    length = GUESS
    with (proof.folder / "site.log").open("w") as log:
        while len(points) < KILLS:
            # Later kills come later in the run, as the earlier ones got so far already.
            after = random.uniform(0.1, 1.0) * length * (len(points) + 1) / KILLS
            began = time.monotonic()
            site = start(proof.lab, log, "site.yml")
            try:
                if site.wait(after):
                    raise ProofError(f"site.yml ended with {site.returncode} before it was killed: see {log.name}")
                length = time.monotonic() - began
                proof.say(f"it ended after {length:.0f} s, before it was killed")
            except subprocess.TimeoutExpired:
                kill(site)
                points.append(round(after, 1))
                proof.say(f"killed after {after:.0f} s")
            # A module that was running on a host ends when its ssh connection does.
            time.sleep(1)
    proof.numbers["killed_after_s"] = points
    for wanted in ("converges", "changes nothing"):
        began = time.monotonic()
        done = play(proof.lab, "site.yml", timeout=LONGEST)
        (proof.folder / f"{wanted.replace(' ', '-')}.log").write_text(done.stdout + done.stderr)
        proof.numbers[f"{wanted.replace(' ', '_')}_s"] = round(time.monotonic() - began, 1)
        proof.expect(done.returncode == 0, f"the run that {wanted} ended with {done.returncode}: see {proof.folder}")
    changed = {host: counts["changed"] for host, counts in recap(done.stdout).items() if counts["changed"]}
    proof.expect(bool(recap(done.stdout)) and not changed, f"the last run changed something: {changed}")
    with proof.writing():
        time.sleep(5)
    proof.count()
