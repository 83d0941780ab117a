"""The NFS server loses power: the other one serves. All clients wait, no mail node is fenced, no backend moves."""

from __future__ import annotations

import time

from . import drbd, nfs
from .lab import wait_for
from .proof import Proof


def run(proof: Proof) -> None:
    """Kill it, see everybody go on with the other one, and give it power again."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    boots = lab.boots()
    server = nfs.server(lab)
    with proof.writing():
        proof.say(f"cut the power of {server}, which serves")
        killed = lab.kill(server)
        proof.numbers["failover_s"] = round(proof.back(killed), 1)
        proof.say(f"{nfs.server(lab)} serves")
        time.sleep(5)
        proof.served(killed, time.time())
        proof.say(f"power for {server}")
        lab.start(server)
        proof.whole()
        wait_for("both servers have the same", lambda: drbd.healthy(lab), drbd.SYNC, pause=1)
        time.sleep(5)
    now = wait_for("each backend runs on one node", lab.settled, 60)
    proof.expect(now == where, f"backends moved: {now}, before: {where}")
    proof.expect(lab.boots() == boots, "a mail node was fenced though the server was away for all of them")
    proof.count()
