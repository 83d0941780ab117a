"""A node's cable to the storage network is pulled: it alone does not reach the NFS server; its backends leave it."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Cut it off; other nodes serve its users; plug in; it is a good node again."""
    lab = proof.lab
    victim = proof.victim()
    boot = lab.boot(victim.node)
    with proof.writing():
        proof.say(f"pull {victim.node}'s cable to the storage network; it runs {', '.join(victim.backends)}")
        cut = lab.cut(victim.node, "storage")
        try:
            failover = proof.back(cut, lambda user, path: user in victim.users and path == "imap")
            proof.numbers["failover_s"] = round(failover, 1)
            wait_for(
                f"{', '.join(victim.backends)} run on another node",
                lambda: all(len(nodes) == 1 for nodes in lab.placement(victim.others).values()),
                FAILOVER,
            )
            proof.numbers["others_s"] = round(proof.back(cut), 1)
            time.sleep(5)
            proof.served(cut, time.time())
        finally:
            proof.say("plug the cable in")
            lab.join(victim.node, "storage")
        # A node that cannot unmount what it does not reach is fenced, which is as good.
        proof.whole()
        proof.numbers["fenced"] = lab.boot(victim.node) != boot
        time.sleep(5)
    proof.count()
