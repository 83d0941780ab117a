"""A node's cable to the storage network is pulled: it alone does not reach the NFS server; its backends leave it."""

from __future__ import annotations

import time

from .proof import Proof


def run(proof: Proof) -> None:
    """Cut it off; other nodes serve its users; plugged in, it is a good node again."""
    lab = proof.lab
    victim = proof.victim()
    boot = lab.boot(victim.node)
    with proof.writing():
        proof.unplugged(victim, "storage")
        # A node that cannot unmount what it does not reach is fenced, which is as good.
        proof.numbers["fenced"] = lab.boot(victim.node) != boot
        time.sleep(5)
    proof.count()
