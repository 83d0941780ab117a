"""A node and its BMC lose power together, so that fencing fails: nobody may take over until an operator helps."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import FAILOVER, Proof

REFUSED = 60.0  # seconds in which a takeover would have happened


def run(proof: Proof) -> None:
    """Kill a node whose BMC refuses; see that its backends stay down; then let the BMC work again."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    victim = next(iter(where.values()))
    moved = [backend for backend, node in where.items() if node == victim]
    survivors = [node for node in lab.backends[moved[0]]["nodes"] if node != victim]
    on_victim = {user.user for user in proof.front.users if lab.backend_of(user.user) in moved}
    with proof.writing():
        proof.say(f"{victim} loses its BMC and its power")
        lab.refuse(victim)
        try:
            killed = lab.kill(victim)
            end = time.monotonic() + REFUSED
            while time.monotonic() < end:
                taken = [name for name, nodes in lab.placement(survivors).items() if nodes and name in moved]
                if taken:
                    proof.expect(False, f"{survivors} took {taken} over, though {victim} was not fenced")
                    break
                time.sleep(2)
            log = lab.ssh(survivors[0], "stonith_admin --history '*' --verbose 2>&1", check=False)
            proof.expect("failed" in log.lower(), f"fencing was not even tried: {log[-500:]}")
        finally:
            proof.say("the BMC works again")
            lab.obey(victim)
            obeyed = time.time()
        wait_for(
            f"{', '.join(moved)} run on a survivor",
            lambda: all(len(nodes) == 1 for nodes in lab.placement(survivors).values()),
            FAILOVER,
        )
        proof.back(obeyed, lambda user, path: user in on_victim and path == "imap")
        proof.numbers["served_after_mend_s"] = round(time.time() - obeyed, 1)
        proof.served(killed, time.time())
        lab.start(victim)
        proof.whole()
        time.sleep(5)
    proof.count()
