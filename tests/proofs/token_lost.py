"""A node's token for the AFS cell is about to end, and it gets no new one: the cluster runs its backends elsewhere."""

from __future__ import annotations

import time

from .afs import give_key_back, shorten_tokens, token_held
from .lab import wait_for
from .proof import FAILOVER, Proof

LEFT = 280  # seconds that the tokens hold: soon over, and enough to move in


def run(proof: Proof) -> None:
    """Shorten the tokens and take away the key; see the node's users served by others; give the key back."""
    lab = proof.lab
    victim = proof.victim()
    boots = lab.boots()
    with proof.writing():
        try:
            said = shorten_tokens(lab, victim.node, LEFT)
            gone = time.time()
            proof.say(f"{victim.node}, which runs {', '.join(victim.backends)}, gets no other token: {said}")
            proof.numbers["others_s"] = round(proof.back(gone), 1)
            wait_for(
                f"{', '.join(victim.backends)} run on another node",
                lambda: all(len(nodes) == 1 for nodes in lab.placement(victim.others).values()),
                FAILOVER,
            )
            time.sleep(5)
            proof.served(gone, time.time())
        finally:
            proof.say("give the key back")
            give_key_back(lab, victim.node)
        wait_for(f"{victim.node} has a token", lambda: token_held(lab, victim.node), 120, pause=2)
        proof.whole()
    proof.expect(lab.boots() == boots, "a node was fenced though only its token was gone")
    proof.count()
