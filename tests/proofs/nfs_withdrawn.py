"""The NFS server withdraws its export and gives it back: mail waits, no node is fenced, nothing is lost."""

from __future__ import annotations

import time

from . import nfs
from .lab import wait_for
from .proof import Proof


def run(proof: Proof) -> None:
    """Take the export from all nodes for a while."""
    lab = proof.lab
    boots, server = lab.boots(), nfs.server(lab)
    with proof.writing():
        proof.say(f"{server} exports nothing")
        withdrawn = time.time()
        lab.ssh(server, "exportfs -ua && exportfs -f")
        try:
            time.sleep(30)
        finally:
            lab.ssh(server, "exportfs -r")
        proof.say("it exports again")
        proof.numbers["back_s"] = round(proof.back(time.time()), 1)
        proof.served(withdrawn, time.time())
    wait_for("each backend runs on one node", lab.settled, 60)
    proof.expect(lab.boots() == boots, "a mail node was fenced")
    proof.count()
