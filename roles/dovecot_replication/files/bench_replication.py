#!/usr/bin/python3
"""Measure the replication daemon's queue: memory with many queued users, and how fast they are handed out."""

import importlib.machinery
import importlib.util
import resource
import sys
import time


def main() -> None:
    """Fill a queue, print what it took, empty it."""
    loader = importlib.machinery.SourceFileLoader("dovecot_syncd", sys.argv[1])
    spec = importlib.util.spec_from_loader("dovecot_syncd", loader)
    assert spec
    syncd = importlib.util.module_from_spec(spec)
    sys.modules["dovecot_syncd"] = syncd
    loader.exec_module(syncd)
    count = int(sys.argv[2])
    queue = syncd.Queue(1.0, 1.0, 300.0)
    began = time.monotonic()
    for number in range(count):
        queue.add(f"some.user.{number}@mail.example.org", time.time())
    filled = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.monotonic()
    while user := queue.take(time.time()):
        queue.done(user, syncd.OK, time.time())
    print(
        f"{count} queued users: {memory:.0f} MB, filled in {filled:.1f} s, emptied in {time.monotonic() - began:.1f} s"
    )


if __name__ == "__main__":
    main()
