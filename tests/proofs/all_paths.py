"""A node loses both storage networks: it is killed once its mount has failed, and others serve its users."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Pull them, see users served elsewhere, plug them in, and see the node come back anew."""
    lab = proof.lab
    with proof.writing():
        victim = proof.victim()
        boot = lab.boot(victim.node)
        proof.unplugged(victim, "storage", "storage2")
        wait_for(f"{victim.node} was killed", lambda: lab.boot(victim.node) not in ("", boot), FAILOVER, pause=1)
        time.sleep(5)
    proof.count()
