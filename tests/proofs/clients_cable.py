"""A node's cable to the clients network is pulled: the cluster is whole, but no client reaches the node's backends."""

from __future__ import annotations

import time

from .proof import Proof


def run(proof: Proof) -> None:
    """Cut it off; other nodes serve its users; nobody is fenced."""
    lab = proof.lab
    victim = proof.victim()
    boots = lab.boots()
    with proof.writing():
        proof.unplugged(victim, "clients")
        time.sleep(5)
    proof.expect(lab.boots() == boots, "a node was fenced though only its cable to the clients was out")
    proof.count()
