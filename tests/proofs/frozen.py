"""A node stands still, as a virtual machine may: it is switched off before others take over, and never goes on.

Then its BMC refuses: nobody takes over while it could go on; it goes on, and is switched off once the BMC obeys.
"""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Freeze the node that runs the first backend, twice."""
    lab = proof.lab
    with proof.writing():
        victim = proof.victim()
        proof.say(f"freeze {victim.node}, which runs {', '.join(victim.backends)}")
        boot = lab.boot(victim.node)
        frozen = lab.freeze(victim.node)
        failover = proof.back(frozen, lambda user, path: user in victim.users and path == "imap")
        proof.numbers["failover_s"] = round(failover, 1)
        proof.expect(not lab.thaws(victim.node), f"{victim.node} went on though others serve its users")
        proof.numbers["others_s"] = round(proof.back(frozen), 1)
        time.sleep(5)
        proof.served(frozen, time.time())
        lab.start(victim.node)
        proof.whole()
        proof.expect(lab.boot(victim.node) != boot, f"{victim.node} was not switched off")

        victim = proof.victim()
        boot = lab.boot(victim.node)
        lab.refuse(victim.node)
        try:
            proof.say(f"freeze {victim.node}, whose BMC refuses")
            frozen = lab.freeze(victim.node)
            time.sleep(40)
            taken = [name for name in victim.backends if lab.placement(victim.others)[name]]
            proof.expect(not taken, f"{', '.join(taken)} run elsewhere though {victim.node} may go on")
            proof.expect(lab.thaws(victim.node), f"{victim.node} does not go on though its BMC refuses")
        finally:
            lab.obey(victim.node)
        proof.say(f"{victim.node} goes on, and its BMC obeys")
        proof.numbers["refused_s"] = round(proof.back(time.time()), 1)
        wait_for(f"{victim.node} was switched off", lambda: lab.boot(victim.node) not in ("", boot), FAILOVER, pause=1)
        proof.whole()
        time.sleep(5)
    proof.count()
