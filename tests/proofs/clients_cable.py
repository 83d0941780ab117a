"""A node's cable to the clients network is pulled: the cluster is whole, but no client reaches the node's backends."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Cut it off; other nodes serve its users; nobody is fenced; plug in."""
    lab = proof.lab
    victim = proof.victim()
    boots = {node: lab.boot(node) for node in lab.group("mail_nodes")}
    with proof.writing():
        proof.say(f"pull {victim.node}'s cable to the clients network; it runs {', '.join(victim.backends)}")
        cut = lab.cut(victim.node, "clients")
        try:
            failover = proof.back(cut, lambda user, path: user in victim.users and path == "imap")
            proof.numbers["failover_s"] = round(failover, 1)
            wait_for(
                f"{', '.join(victim.backends)} run on another node",
                lambda: all(len(nodes) == 1 for nodes in lab.placement(victim.others).values()),
                FAILOVER,
            )
            time.sleep(5)
            proof.served(cut, time.time())
        finally:
            proof.say("plug the cable in")
            lab.join(victim.node, "clients")
        proof.whole()
        time.sleep(5)
    now = {node: lab.boot(node) for node in lab.group("mail_nodes")}
    proof.expect(now == boots, "a node was fenced though only its cable to the clients was out")
    proof.count()
