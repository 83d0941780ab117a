#!/usr/bin/python3
"""Measure replication on a node: memory of a long queue, seconds from a change to the peer, user syncs a second.

Runs as root beside the daemon (Debian 13). The backend must run here and the accounts must exist on both nodes.
"""

import argparse
import importlib.machinery
import importlib.util
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import ModuleType

DAEMON = "/usr/local/sbin/dovecot-syncd"
SAMPLE = re.compile(r"^dovecot_syncd_(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
MAIL = b"Subject: benchmark\r\n\r\nA short mail.\r\n"
GIVE_UP = 300.0  # seconds


def load() -> ModuleType:
    """Load the daemon's code."""
    loader = importlib.machinery.SourceFileLoader("dovecot_syncd", DAEMON)
    spec = importlib.util.spec_from_loader("dovecot_syncd", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules["dovecot_syncd"] = module
    loader.exec_module(module)
    return module


def queue_memory(users: int) -> str:
    """Fill a daemon's queue and its store with this many users; return what that took."""
    import asyncio

    syncd = load()
    with tempfile.TemporaryDirectory() as folder:
        config = syncd.Config(peers={"peer": 12348}, state_dir=folder)
        daemon = syncd.Daemon(config, "key")
        peer = daemon.peers[0]
        began = time.monotonic()
        for number in range(users):
            peer.add(f"some.user.{number}@mail.example.org", time.time())
        asyncio.run(daemon.flush())
        filled = time.monotonic() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began = time.monotonic()
        while user := peer.queue.take(time.time()):
            peer.queue.done(user, syncd.OK, time.time())
        emptied = time.monotonic() - began
    return f"{memory:.0f} MB of memory, filled in {filled:.1f} s, emptied in {emptied:.1f} s"


def metrics(daemon: str) -> dict[str, float]:
    """Ask the daemon: changes synced, the seconds they took together, users that wait or are being synced."""
    with urllib.request.urlopen(f"http://{daemon}/metrics", timeout=10) as answer:
        found = SAMPLE.findall(answer.read().decode())
    wanted = {"delay_seconds_count", "delay_seconds_sum", "queue_users", "running_syncs"}
    return {name: sum(float(value) for other, _, value in found if other == name) for name in wanted}


def save(backend: str, *to: str) -> None:
    """Store one mail for each of these users, by the backend."""
    command = ["doveadm", "-c", f"/etc/dovecot/backends/{backend}.conf", "save", *to]
    subprocess.run(command, input=MAIL, check=True, capture_output=True)


def synced(daemon: str, count: float) -> dict[str, float]:
    """Wait until this many changes were synced since the daemon's start; return the metrics."""
    end = time.monotonic() + GIVE_UP
    while (now := metrics(daemon))["delay_seconds_count"] < count:
        if time.monotonic() > end:
            sys.exit(f"not synced within {GIVE_UP:.0f} s: {count - now['delay_seconds_count']:.0f} changes")
        time.sleep(0.01)
    return now


def latency(daemon: str, backend: str, user: str, mails: int) -> str:
    """Store one mail after the other on an idle pair; return how long each took to the peer and back."""
    delays = []
    for _ in range(mails):
        before = metrics(daemon)
        save(backend, "-u", user)
        after = synced(daemon, before["delay_seconds_count"] + 1)
        changes = after["delay_seconds_count"] - before["delay_seconds_count"]
        delays.append((after["delay_seconds_sum"] - before["delay_seconds_sum"]) / changes)
        time.sleep(1.2)  # beyond the least interval between two syncs of a user
    p95 = statistics.quantiles(delays, n=20)[-1]
    return f"median {statistics.median(delays):.3f} s, 95th percentile {p95:.3f} s, worst {max(delays):.3f} s"


def throughput(daemon: str, backend: str, users: list[str]) -> str:
    """Store a mail for each of many users at once; return how many were synced a second."""
    before = metrics(daemon)
    with tempfile.NamedTemporaryFile("w") as listed:
        listed.write("\n".join(users) + "\n")
        listed.flush()
        began = time.monotonic()
        save(backend, "-F", listed.name)
    stored = time.monotonic() - began
    synced(daemon, before["delay_seconds_count"] + len(users))
    took = time.monotonic() - began
    return f"{len(users) / took:.0f} user syncs/s ({len(users)} users in {took:.1f} s, of which storing {stored:.1f} s)"


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", help="name of a backend that runs here")
    parser.add_argument("accounts", type=Path, help="file with the accounts to use, one a line")
    parser.add_argument("daemon", help="address and port of its metrics")
    parser.add_argument("--mails", type=int, default=30, help="for the time to the peer")
    parser.add_argument("--queued", type=int, default=100_000, help="users in the long queue")
    arguments = parser.parse_args()
    users = arguments.accounts.read_text().split()
    print("change to peer: " + latency(arguments.daemon, arguments.backend, users[0], arguments.mails), flush=True)
    print("throughput: " + throughput(arguments.daemon, arguments.backend, users), flush=True)
    print(f"queue of {arguments.queued} users: " + queue_memory(arguments.queued), flush=True)


if __name__ == "__main__":
    main()
