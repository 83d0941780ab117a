"""A disk under DRBD breaks: the backend goes on without it or moves to the good one; the disk is taken back later."""

from __future__ import annotations

import time

from . import drbd
from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Break the disk of a backend's primary; have it work again and attach it."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    backend, node = next(iter(where.items()))
    disk = str(lab.backends[backend]["disk"]).removeprefix("/dev/")
    with proof.writing():
        proof.say(f"break {node}'s {disk}, on which {backend} runs")
        broken = time.time()
        lab.fail(node, disk)
        try:
            wait_for(
                f"{backend} is without a disk on {node}",
                lambda: drbd.state(lab, node, backend).disk_state == "Diskless",
                FAILOVER,
            )
            proof.numbers["detached_s"] = round(time.time() - broken, 1)
            proof.numbers["served_s"] = round(proof.back(time.time()), 1)
            time.sleep(10)
            proof.served(broken, time.time())
            now = wait_for("each backend runs on one node", lab.settled, 60)
            # DRBD's agent prefers a node that has a disk.
            proof.numbers["moved"] = now[backend] != node
            proof.expect(
                all(now[name] == there for name, there in where.items() if name != backend),
                f"other backends moved: {now}, before: {where}",
            )
        finally:
            proof.say("the disk works again; attach it")
            lab.mend(node, disk)
        lab.ssh(node, f"drbdadm attach {backend}")
        wait_for("DRBD is healthy again", lambda: drbd.healthy(lab), drbd.SYNC, pause=1)
        time.sleep(5)
    proof.count()
