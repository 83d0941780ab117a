"""What health checks ask stands still and goes on, several times: nobody waits for long, and no mail is lost."""

from __future__ import annotations

import time

from .lab import ProofError, wait_for
from .proof import Proof

TIMES = 3
# What keepalived asks on the front ends that go by a table; they do not ask backends.
UNITS = {"proxy": "dovecot.service", "perdition": "perdition@imaps.service"}


def run(proof: Proof) -> None:
    """Have it stand still until everybody is served elsewhere, and go on."""
    lab = proof.lab
    node, unit, users = asked(proof)
    with proof.writing():
        began = time.time()
        for _ in range(TIMES):
            proof.say(f"{unit} of {node} stands still")
            lab.ssh(node, f"systemctl kill --signal=STOP {unit}")
            stopped = time.time()
            try:
                waited = proof.back(stopped, lambda user, path: user in users and path == "imap")
                proof.numbers.setdefault("served_elsewhere_s", []).append(round(waited, 1))
            finally:
                lab.ssh(node, f"systemctl kill --signal=CONT {unit}")
            proof.say("and goes on")
            time.sleep(15)
            proof.back(time.time())
        proof.served(began, time.time())
    wait_for("each backend runs on one node", lab.settled, 60)
    proof.count()


def asked(proof: Proof) -> tuple[str, str, set[str]]:
    """Return the node and the unit that checks ask, and the users who would wait for it."""
    if not proof.lab.by_table:
        victim = proof.victim()
        return victim.node, f"dovecot-backend@{victim.backends[0]}.service", victim.users
    holders = proof.lab.holders()
    if len(set(holders.values())) < 2:
        raise ProofError(f"one front end has all addresses: {holders}")
    unit = UNITS[proof.lab.site["mail_front_end"]]
    return holders[proof.front.addresses[0]], unit, {user.user for user in proof.front.users}
