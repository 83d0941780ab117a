"""An MTA loses power with mail in its queue; what it had accepted is delivered when it is back."""

from __future__ import annotations

import json
import time

from .lab import Lab, ProofError, wait_for
from .proof import FAILOVER, QUEUE, Proof

ENOUGH = 20  # mails
KEEP = "cd /etc/postfix && cp -a main.cf main.cf.kept && postconf -e defer_transports=lmtp && postfix reload"
DELIVER = "cd /etc/postfix && postfix status && mv main.cf.kept main.cf && postfix reload && echo done"


def waiting(lab: Lab, host: str) -> set[str]:
    """The ids of mails in an MTA's queue."""
    return {json.loads(line)["queue_id"] for line in lab.ssh(host, "postqueue -j").splitlines()}


def run(proof: Proof) -> None:
    """Have it take mail without delivering any, kill it, and see that it delivers all it had."""
    lab = proof.lab
    proof.lab.wait_until_spread()
    holders = proof.lab.holders()
    victim = holders[proof.front.addresses[0]]
    if victim not in lab.group("mta"):
        raise ProofError(f"{victim}, which has {proof.front.addresses[0]}, is no MTA")
    with proof.writing():
        proof.say(f"{victim} takes mail, and delivers none")
        lab.ssh(victim, KEEP)
        try:
            wait_for(f"{ENOUGH} mails wait on {victim}", lambda: len(waiting(lab, victim)) >= ENOUGH, 120, pause=1)
            accepted = waiting(lab, victim)
            proof.say(f"cut the power of {victim}, with {len(accepted)} mails in its queue")
            killed = lab.kill(victim)
            proof.numbers["waiting"] = len(accepted)
            homes = set(proof.front.addresses)
            wait_for("another host has its address", lambda: homes <= proof.lab.holders().keys(), FAILOVER)
            proof.numbers["failover_s"] = round(proof.back(killed), 1)
            proof.say(f"power for {victim}")
            powered = time.time()
            lab.start(victim)
            proof.numbers["boot_s"] = round(time.time() - powered, 1)
        finally:
            wait_for(f"{victim}'s MTA runs", lambda: lab.ssh(victim, DELIVER, check=False), 60, pause=1)
        wait_for("it has delivered what it had", lambda: not accepted & waiting(lab, victim), QUEUE, pause=1)
        proof.numbers["delivered_s"] = round(time.time() - powered, 1)
        proof.lab.wait_until_spread()
        proof.back(time.time())
    proof.count()
