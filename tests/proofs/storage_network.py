"""A node's cable to the storage network is pulled, the cluster network stays: the copies part, nobody is fenced."""

from __future__ import annotations

import time

from . import drbd
from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Cut it off; backends go on where they are, on one side only; plug in; the copies meet without a split brain."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    backend, node = next(iter(where.items()))
    boots = lab.boots()
    with proof.writing():
        proof.say(f"pull {node}'s cable to the storage network")
        cut = lab.cut(node, "storage")
        try:
            wait_for(
                "DRBD has noticed",
                # A node that does not answer says nothing.
                lambda: drbd.state(lab, node, backend).connection not in ("Connected", "Unconfigured"),
                FAILOVER,
            )
            proof.numbers["served_s"] = round(proof.back(time.time()), 1)
            # Longer than anything that could fence or move would take to begin.
            time.sleep(20)
            proof.served(cut, time.time())
            now = wait_for("each backend runs on one node", lab.settled, 60)
            proof.expect(now == where, f"backends moved: {now}, before: {where}")
            proof.expect(drbd.fenced(lab), "no node is forbidden to be promoted, though its copy is old")
        finally:
            proof.say("plug the cable in")
            joined = time.monotonic()
            lab.join(node, "storage")
        wait_for("DRBD is healthy again", lambda: drbd.healthy(lab), drbd.SYNC, pause=1)
        proof.numbers["resync_s"] = round(time.monotonic() - joined, 1)
        time.sleep(5)
    proof.expect(
        lab.boots() == boots,
        "a node was fenced though only the storage network was cut",
    )
    proof.count()
