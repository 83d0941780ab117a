"""The array loses power and comes back while nodes still wait for it: all go on where they were, nobody is fenced."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import Proof


def run(proof: Proof) -> None:
    """Kill it, give it power, see everybody served."""
    lab = proof.lab
    boots = lab.boots()
    where = wait_for("each backend runs on one node", lab.settled, 60)
    (array,) = lab.group("iscsi_targets")
    with proof.writing():
        proof.say(f"cut the power of {array}")
        killed = lab.kill(array)
        lab.start(array)
        started = time.time()
        proof.numbers["away_s"] = round(started - killed, 1)
        proof.numbers["served_s"] = round(proof.back(started), 1)
        time.sleep(5)
        proof.served(killed, time.time())
    now = wait_for("each backend runs on one node", lab.settled, 60)
    proof.expect(now == where, f"backends moved: {now}, before: {where}")
    proof.expect(lab.boots() == boots, "a node was fenced though the array came back in time")
    proof.count()
