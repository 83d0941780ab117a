"""No KDC answers, at last for longer than tokens hold: mail waits then, and goes on when one answers again."""

from __future__ import annotations

import time

from .afs import change_tokens
from .lab import wait_for
from .proof import Proof

AWAY = 30.0  # seconds, with tokens and then without


def run(proof: Proof) -> None:
    """Stop the KDCs; see all served; end the tokens; start the KDCs, and see all served."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    boots = lab.boots()
    kdcs = lab.group("kerberos_servers")
    with proof.writing():
        proof.say(f"stop the KDCs: {', '.join(kdcs)}")
        try:
            for kdc in kdcs:
                lab.ssh(kdc, "systemctl stop krb5-kdc.service")
            stopped = time.time()
            time.sleep(AWAY)
            proof.numbers["with_tokens_s"] = round(proof.back(stopped), 1)
            for node in lab.group("mail_nodes"):
                change_tokens(lab, node, "timeout", "1")
            ended = time.time()
            proof.say("all tokens have ended")
            time.sleep(AWAY)
        finally:
            for kdc in kdcs:
                lab.ssh(kdc, "systemctl start krb5-kdc.service")
        again = time.time()
        proof.say("KDCs answer again")
        proof.numbers["back_s"] = round(proof.back(again), 1)
        proof.served(ended, time.time())
        proof.whole()
    now = wait_for("each backend runs on one node", lab.settled, 60)
    proof.expect(now == where, f"backends moved: {now}, before: {where}")
    proof.expect(lab.boots() == boots, "a node was fenced for tokens that ended")
    proof.count()
