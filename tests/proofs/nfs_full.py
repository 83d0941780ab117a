"""The NFS server's disk is full: mail waits at the MTAs, clients are told why, and nothing acknowledged is lost."""

from __future__ import annotations

import imaplib
import time

from . import nfs
from .lab import wait_for
from .proof import Proof

BIG = b"Subject: more than there is room for\r\n\r\n" + 3000 * (70 * b"x" + b"\r\n")


def run(proof: Proof) -> None:
    """Fill it while writers work; see mail queue and IMAP say why; make room."""
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
    """Return what IMAP says to a mail that there is no room for; the session must go on."""
    user = proof.front.users[0]
    client = proof.front.imap(next(proof.front.doors()), user)
    answer, said = client.append("INBOX", "", imaplib.Time2Internaldate(time.time()), BIG)
    proof.expect(answer == "NO", f"a mail of {len(BIG)} bytes was taken though the disk is full: {answer} {said!r}")
    text = bytes(said[0]).decode() if said and said[0] else ""
    proof.expect("space" in text.lower() or "quota" in text.lower(), f"IMAP does not say why: {text}")
    answer, _ = client.noop()
    proof.expect(answer == "OK", "the session does not go on after a full disk")
    client.logout()
    return text
