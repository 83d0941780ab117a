"""Measure what locks cost on a file system that several nodes have mounted, for each way in which Dovecot can lock.

    python3 -m tests.bench.locks --lab NAME --directory /srv/mail NODE NODE
        [--ways flock,fcntl,dotlock] [--rounds 5] [--seconds 3] [--json FILE]

An act is what Dovecot does for each change of a mailbox: lock a file, append 100 bytes to another one, unlock. The
first node does it alone, then both do it in directories of their own, as backends with their own users do, then both
with the same files, which front ends never let happen. Ways are measured in short turns, all of them in each round, so
that they share what else the machine does. Rates are medians of the rounds, the ratio is to the first way. What is
written is removed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.proofs.lab import Lab

WAYS = ("flock", "fcntl", "dotlock")
ALONE, OWN, SAME = "one node", "two nodes, own files", "two nodes, same files"
START = 4.0  # seconds until all nodes have begun to wait for the start
# Runs on a node: prints how many acts it managed a second.
CLIENT = r"""
import fcntl, os, sys, time
way, directory, start, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
os.makedirs(directory, exist_ok=True)
log = os.open(f"{directory}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT, 0o600)

def act():
    if way == "dotlock":
        while True:
            try:
                os.close(os.open(f"{directory}/lock.lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                break
            except FileExistsError:
                time.sleep(0.001)
    else:
        {"flock": fcntl.flock, "fcntl": fcntl.lockf}[way](lock, fcntl.LOCK_EX)
    os.write(log, b"x" * 99 + b"\n")
    if way == "dotlock":
        os.unlink(f"{directory}/lock.lock")
    else:
        {"flock": fcntl.flock, "fcntl": fcntl.lockf}[way](lock, fcntl.LOCK_UN)

time.sleep(max(0.0, start - time.time()))
begin, done = time.monotonic(), 0
while time.monotonic() - begin < seconds:
    act()
    done += 1
print(done / (time.monotonic() - begin))
"""


def measure(lab: Lab, places: dict[str, str], way: str, seconds: float) -> list[float]:
    """Have each node work in its directory at the same time; return the acts a second of each."""
    start = time.time() + START
    commands = {
        node: f"python3 -c {shlex.quote(CLIENT)} {way} {shlex.quote(directory)} {start} {seconds}"
        for node, directory in places.items()
    }
    with ThreadPoolExecutor(len(commands)) as pool:
        return [float(said) for said in pool.map(lambda node: lab.ssh(node, commands[node]), commands)]


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Set out the figures: {WHO: {WAY: [ACTS A SECOND, OF ALL NODES, IN EACH ROUND]}}; ratios are to the first way."""
    lines = [f"{'who':<24}{'way':<10}{'acts/s':>10}{'least':>10}{'most':>10}{'ratio':>8}"]
    for who, ways in figures.items():
        first = statistics.median(next(iter(ways.values())))
        for way, rates in ways.items():
            middle = statistics.median(rates)
            lines.append(f"{who:<24}{way:<10}{middle:10.1f}{min(rates):10.1f}{max(rates):10.1f}{middle / first:8.2f}")
    return "\n".join(lines)


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", nargs=2, metavar="NODE")
    parser.add_argument("--lab", required=True)
    parser.add_argument("--directory", required=True, help="on the file system; the nodes write below it")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each turn")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    ways = options.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    lab = Lab(options.lab)
    here, there = options.nodes
    place = f"{options.directory}/bench-locks"
    who = {
        ALONE: {here: f"{place}/{here}"},
        OWN: {here: f"{place}/{here}", there: f"{place}/{there}"},
        SAME: {here: f"{place}/both", there: f"{place}/both"},
    }
    figures: dict[str, dict[str, list[float]]] = {name: {way: [] for way in ways} for name in who}
    try:
        for number in range(options.rounds):
            for name, places in who.items():
                for way in ways:
                    figures[name][way].append(sum(measure(lab, places, way, options.seconds)))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    finally:
        lab.ssh(here, f"rm -r {shlex.quote(place)}")
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
