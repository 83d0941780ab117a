"""No KDC answers, at last for longer than tokens hold: backends stop in time, and go on when one answers again."""

from __future__ import annotations

import time

from .afs import give_key_back, shorten_tokens
from .lab import wait_for
from .proof import Proof

LEFT = 200  # seconds that tokens hold without a KDC; backends stop before they end
AWAY = 30.0  # seconds without tokens


def run(proof: Proof) -> None:
    """Stop the KDCs; see all served; end the tokens; start the KDCs, and see all served."""
    lab = proof.lab
    wait_for("each backend runs on one node", lab.settled, 60)
    boots = lab.boots()
    kdcs = lab.group("kerberos_servers")
    with proof.writing():
        try:
            for node in lab.group("mail_nodes"):
                proof.say(f"{node}: {shorten_tokens(lab, node, LEFT)}")
            end = time.time() + LEFT
            proof.say(f"stop the KDCs: {', '.join(kdcs)}")
            for kdc in kdcs:
                lab.ssh(kdc, "systemctl stop krb5-kdc.service")
            for node in lab.group("mail_nodes"):
                give_key_back(lab, node)
            proof.numbers["with_tokens_s"] = round(proof.back(time.time()), 1)
            time.sleep(max(0.0, end - time.time()))
            ended = time.time()
            proof.say("all tokens have ended")
            time.sleep(AWAY)
        finally:
            for kdc in kdcs:
                lab.ssh(kdc, "systemctl start krb5-kdc.service")
            for node in lab.group("mail_nodes"):
                give_key_back(lab, node)
        again = time.time()
        proof.say("KDCs answer again")
        proof.numbers["back_s"] = round(proof.back(again), 1)
        proof.served(ended, time.time())
        proof.whole()
    proof.expect(lab.boots() == boots, "a node was fenced for tokens that ended")
    proof.count()
