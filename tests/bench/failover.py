"""Measure failovers: cut the power of the node that serves, again and again, and say what the time is made of.

    python3 -m tests.bench.failover [--lab NAME] [--losses 10] [--json FILE]

Each row is one power loss: seconds from the cut until a client of the slowest backend was served again, and until each
step was done as the survivor's journal tells. The last rows are the medians, and how long each step took after the one
before.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

from tests.proofs.lab import Lab, wait_for
from tests.proofs.proof import FAILOVER, Proof

# What the cluster writes when a step is done; BACKEND stands for each that moved, the slowest counts.
STEPS = {
    "noticed": r"corosync.*A new membership .* Members left",
    "fenced": r"pacemaker-controld.*Peer VICTIM was terminated .*: OK",
    "promoted": r"pacemaker-controld.*Result of promote operation for BACKEND_drbd .*OK",
    "mounted": r"pacemaker-controld.*Result of start operation for BACKEND_filesystem .*OK",
    "address": r"pacemaker-controld.*Result of start operation for BACKEND_address .*OK",
    "dovecot": r"pacemaker-controld.*Result of start operation for BACKEND_dovecot .*OK",
}


def steps(journal: str, victim: str, backends: list[str], since: float) -> dict[str, float]:
    """Read when each step was done, in seconds after a time, out of `journalctl -o short-unix`."""
    found: dict[str, float] = {}
    for name, text in STEPS.items():
        for backend in backends:
            pattern = re.compile(text.replace("VICTIM", victim).replace("BACKEND", re.escape(backend)))
            times = [float(line.split()[0]) for line in journal.splitlines() if pattern.search(line)]
            done = next((at - since for at in times if at >= since), None)
            if done is not None:
                found[name] = max(done, found.get(name, 0.0))
    return found


def lose(proof: Proof) -> dict[str, float]:
    """Cut the power once, and give it again; return the row."""
    lab = proof.lab
    # After the first loss one node has them all: the next loss moves all of them.
    victim = proof.victim()
    survivor = victim.others[0]
    with proof.writing(seconds=10):
        killed = lab.kill(victim.node)
        # Only clients are asked: a survivor with a slow kernel is not to spend its time on our questions.
        served = proof.back(killed, lambda user, path: user in victim.users)
        wait_for("they run again", lambda: all(lab.placement([survivor]).values()), FAILOVER)
        row = {"backends": float(len(victim.backends)), "served": served}
    journal = lab.ssh(survivor, f"journalctl -o short-unix --no-pager --since=@{int(killed)}", timeout=60)
    row |= steps(journal, victim.node, victim.backends, killed)
    lab.start(victim.node)
    proof.whole()
    return row


def table(rows: list[dict[str, float]]) -> str:
    """Set the rows out for people."""
    names = ["backends", *(step for step in STEPS if any(step in row for row in rows)), "served"]
    median = {name: statistics.median(row[name] for row in rows if name in row) for name in names}
    lines = ["      " + "".join(f"{name:>10}" for name in names)]
    for number, row in enumerate(rows, 1):
        lines.append(f"{number:<6}" + "".join(f"{row[name]:>10.1f}" if name in row else f"{'-':>10}" for name in names))
    lines.append("median" + "".join(f"{median[name]:>10.1f}" for name in names))
    times = [median[name] for name in names[1:]]
    took = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    lines.append("took  " + f"{'':>10}" + "".join(f"{seconds:>10.1f}" for seconds in took))
    return "\n".join(lines)


def main() -> int:
    """Lose power as often as asked, and print the table after each loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", help="which lab; needless while there is only one")
    parser.add_argument("--losses", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    for _ in range(options.losses):
        rows.append(lose(Proof("failover", Lab(options.lab))))
        print(time.strftime("%H:%M:%S"), "seconds after the power was cut:", table(rows), sep="\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
