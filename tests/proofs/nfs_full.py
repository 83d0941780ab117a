"""The NFS server's disk is full: mail waits at the MTAs, clients are refused, and nothing acknowledged is lost."""

from __future__ import annotations

import imaplib
import time

from . import nfs
from .lab import wait_for
from .proof import Proof

BIG = b"Subject: more than there is room for\r\n\r\n" + 3000 * (70 * b"x" + b"\r\n")


def run(proof: Proof) -> None:
    """Fill it while writers work; see mail queue and IMAP refuse; make room."""
    lab = proof.lab
    server, file = nfs.server(lab), f"{nfs.directory(lab)}/.full"
    with proof.writing():
        proof.say(f"fill the disk of {server}")
        full = time.time()
        free = f"$(df --output=avail -B1 {nfs.directory(lab)} | tail -n 1)"
        lab.ssh(server, f"fallocate -l {free} {file}; dd if=/dev/zero bs=4k of={file}2; true", 60)
        try:
            proof.numbers["imap_said"] = _refused(proof)
            wait_for("mail waits in a queue", lambda: lab.drain() > 0, 60, pause=1)
            time.sleep(10)
            proof.numbers["queued"] = lab.drain()
        finally:
            lab.ssh(server, f"rm -f {file} {file}2")
        proof.say("there is room again")
        proof.numbers["back_s"] = round(proof.back(time.time()), 1)
        proof.served(full, time.time())
    proof.count()


def _refused(proof: Proof) -> str:
    """Return what IMAP says to a mail that there is no room for; the session must go on, and the node's log say why.

    Dovecot tells the client why when a mail cannot be written, but not when an index cannot.
    """
    user, asked = proof.front.users[0], time.time()
    client = proof.front.imap(next(proof.front.doors()), user)
    answer, said = client.append("INBOX", "", imaplib.Time2Internaldate(asked), BIG)
    proof.expect(answer == "NO", f"a mail of {len(BIG)} bytes was taken though the disk is full: {answer} {said!r}")
    (node,) = proof.lab.placement()[proof.lab.backend_of(user.user)]
    query = f"journalctl --since @{asked - 1:.0f} -o cat -u 'dovecot-backend@*'"
    proof.expect("No space left on device" in proof.lab.ssh(node, query), f"{node}'s log does not say why")
    answer, _ = client.noop()
    proof.expect(answer == "OK", "the session does not go on after a full disk")
    client.logout()
    return bytes(said[0]).decode() if said and said[0] else ""
