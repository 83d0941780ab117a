"""A node and its BMC lose power together, so that fencing fails: nobody may take over until an operator helps."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import FAILOVER, Proof
from .watch import Watch

REFUSED = 60.0  # seconds in which a takeover would have happened


def run(proof: Proof) -> None:
    """Kill a node whose BMC refuses; see that its backends stay down; then let the BMC work again."""
    lab = proof.lab
    victim = proof.victim()
    moved, survivors = victim.backends, victim.others
    with proof.writing():
        watch = Watch(lab, lab.running_stream, lab.parse_running)
        proof.say(f"{victim.node} loses its BMC and its power")
        lab.refuse(victim.node)
        try:
            killed = lab.kill(victim.node)
            time.sleep(REFUSED)
            watch.stop()
            for node in survivors:
                looks = [running for at, running in watch.looks[node] if at > killed]
                taken = set(moved) & set().union(*looks)
                proof.expect(len(looks) > 20, f"too few looks at {node}: {len(looks)}")
                proof.expect(not taken, f"{node} took {sorted(taken)} over, though {victim.node} was not fenced")
            log = lab.ssh(survivors[0], "stonith_admin --history '*' --verbose 2>&1", check=False)
            proof.expect("failed" in log.lower(), f"fencing was not even tried: {log[-500:]}")
        finally:
            proof.say("the BMC works again")
            lab.obey(victim.node)
            obeyed = time.time()
        wait_for(
            f"{', '.join(moved)} run on a survivor",
            lambda: all(len(nodes) == 1 for nodes in lab.placement(survivors).values()),
            FAILOVER,
        )
        proof.back(obeyed, lambda user, path: user in victim.users and path == "imap")
        proof.numbers["served_after_mend_s"] = round(time.time() - obeyed, 1)
        proof.served(killed, time.time())
        lab.start(victim.node)
        proof.whole()
        time.sleep(5)
    proof.count()
