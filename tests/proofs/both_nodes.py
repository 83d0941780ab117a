"""All mail nodes lose power at the same time; later it comes back."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import Proof


def run(proof: Proof) -> None:
    """Kill them all, power them on, and wait until every client is served again."""
    lab = proof.lab
    wait_for("each backend runs on one node", lab.settled, 60)
    with proof.writing():
        proof.say("cut the power of all mail nodes")
        killed = min(lab.kill(node) for node in lab.group("mail_nodes"))
        time.sleep(5)
        proof.say("power for all of them")
        powered = time.time()
        for node in lab.group("mail_nodes"):
            lab.start(node)
        proof.whole(300)
        proof.back(killed)
        proof.numbers["served_after_power_s"] = round(proof.back(powered), 1)
        time.sleep(5)
        proof.served(killed, time.time())
    proof.count()
