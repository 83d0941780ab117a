"""A front end loses power; later it comes back."""

from __future__ import annotations

import time

from .lab import ProofError, wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Kill the front end that has the first service address."""
    lab = proof.lab
    addresses = list(proof.front.addresses)
    holders = proof.lab.holders()
    victim = holders.get(addresses[0])
    if victim is None:
        raise ProofError(f"no front end has {addresses[0]}: {holders}")
    mine = [address for address, node in holders.items() if node == victim]

    with proof.writing():
        proof.say(f"cut the power of {victim}, which has {', '.join(mine)}")
        killed = lab.kill(victim)
        wait_for(f"{', '.join(mine)} elsewhere", lambda: set(addresses) <= proof.lab.holders().keys(), FAILOVER)
        proof.numbers["address_s"] = round(time.time() - killed, 1)
        proof.numbers["failover_s"] = round(proof.back(killed), 1)
        time.sleep(5)
        proof.served(killed, time.time())
        proof.say(f"power for {victim}")
        lab.start(victim)
        wait_for(f"{victim} runs", lambda: lab.boot(victim), 120)
        proof.lab.wait_until_spread()
        proof.back(time.time())
        time.sleep(3)
    proof.count()
