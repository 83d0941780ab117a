"""Both nodes write to a backend's disk, each alone; an operator sees what differs, saves it, and gives one side up."""

from __future__ import annotations

import random
import subprocess
import time
import uuid

from tests.ledger.journal import ACKNOWLEDGED, SENT
from tests.ledger.writer import FLAGS, Writer, message

from . import drbd
from .lab import Lab, wait_for
from .plays import kill, play, start
from .proof import Proof

MAILS = 20  # for each user, on the side that is given up
LONGEST = 600.0  # seconds that the playbook may take


def run(proof: Proof) -> None:
    """Part the sides, write to both, look, be refused, be killed, and give one up."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    backend, serving = next(iter(where.items()))
    other = next(node for node in lab.backends[backend]["nodes"] if node != serving)
    users = [user.user for user in proof.front.users if lab.backend_of(user.user) == backend]
    proof.expect(bool(users), f"no demo user lives on {backend}")
    fingerprint = f"dd if={lab.backends[backend]['disk']} bs=1M iflag=direct status=none | sha256sum"

    with proof.writing() as writer:
        # A mail that is deleted on the side that serves is saved from the other one, as nobody can tell it from one
        # that never arrived: the ledger would call it back from the dead.
        writer.changes = 0
        time.sleep(2 / writer.rate)
        deleted = f"<{uuid.uuid4().hex}@deleted.invalid>"
        keep = doveadm(lab, backend, serving, users[0], "save", "-m", "ledger-2")
        lab.ssh(serving, f"printf 'Message-ID: {deleted}\n\ntext\n' | {keep}")
        proof.say(f"part {serving}, which runs {backend}, and {other}; write to both")
        part(lab, backend, serving, other)
        saved = write(proof, writer, backend, other, users)
        gone = ("mailbox", "ledger-2", "header", "Message-ID", deleted)
        lab.ssh(serving, doveadm(lab, backend, serving, users[0], "expunge", *gone))
        join(lab, backend, serving, other)
        proof.numbers["saved_there"] = len(saved)
        before = lab.ssh(other, fingerprint, timeout=120)

        start = time.monotonic()
        shown = split_brain(proof, "shown", backend)
        proof.numbers["show_s"] = round(time.monotonic() - start, 1)
        proof.expect(shown.returncode == 0, f"showing ended with {shown.returncode}: see {proof.folder}/shown.log")
        hidden = [ident for ident in [*saved, deleted] if ident not in shown.stdout]
        proof.expect(not hidden, f"the difference does not show {hidden[:3]}")
        refused = split_brain(proof, "refused", backend, f"discard={serving}")
        proof.expect(refused.returncode != 0, f"the side of {serving}, which serves, would have been given up")
        proof.expect(lab.ssh(other, fingerprint, timeout=120) == before, f"something was written to {other}'s disk")

        for number in range(2):
            after = random.uniform(0.3, 1.0) * 2 * proof.numbers["show_s"]
            proof.say(f"kill the playbook after {after:.0f} s")
            killed(proof, f"killed-{number}", after, backend, f"discard={other}")
        start = time.monotonic()
        done = split_brain(proof, "given-up", backend, f"discard={other}")
        proof.numbers["give_up_s"] = round(time.monotonic() - start, 1)
        # A run that was killed late has done all of it, and there is nothing left to give up.
        whole = "there is no split brain" in done.stdout
        proof.expect(whole or done.returncode == 0, f"giving up ended with {done.returncode}: see {proof.folder}")
        wait_for("DRBD is healthy again", lambda: drbd.healthy(lab), drbd.SYNC, pause=1)
        proof.whole()
        time.sleep(3)
    held = lab.ssh(serving, doveadm(lab, backend, serving, users[0], "fetch", "mailbox", *gone[2:]))
    proof.expect(f"Saved from {other}/" in held, f"{deleted}, deleted on {serving} alone, was not saved: {held}")
    proof.count()


def part(lab: Lab, backend: str, serving: str, other: str) -> None:
    """Have both nodes write alone, as when fencing fails: the cluster looks away, and the other node is forced."""
    disk = f"/dev/drbd{lab.backends[backend]['drbd_minor']}"
    lab.ssh(serving, "crm_attribute --name maintenance-mode --update true")
    for node in (other, serving):
        lab.ssh(node, f"drbdadm disconnect {backend}")
    mount = f"/srv/mail/{backend}"
    lab.ssh(other, f"drbdadm primary --force {backend} && mkdir -p {mount} && mount {disk} {mount}")


def join(lab: Lab, backend: str, serving: str, other: str) -> None:
    """Have the sides find each other again, and DRBD tell what happened."""
    lab.ssh(other, f"umount /srv/mail/{backend} && drbdadm secondary {backend}")
    for node in (other, serving):
        lab.ssh(node, f"drbdadm connect {backend}", check=False)
    wait_for(
        f"{other} or {serving} stands alone",
        lambda: any("StandAlone" in lab.ssh(node, f"drbdadm cstate {backend}") for node in (other, serving)),
        30,
    )
    lab.ssh(serving, "crm_attribute --name maintenance-mode --delete")


def doveadm(lab: Lab, backend: str, node: str, user: str, command: str, *arguments: str) -> str:
    """A doveadm command that needs no running instance."""
    option = "" if lab.info["hosts"][node]["release"] == "12" else "--no-userdb-lookup"
    rest = " ".join(f"'{argument}'" for argument in arguments)
    return f"USER={user} doveadm -c /etc/dovecot/backends/{backend}.conf {command} {option} {rest}"


def write(proof: Proof, writer: Writer, backend: str, other: str, users: list[str]) -> list[str]:
    """Save mails on the other side, some with a flag; the ledger wants each in the folder where it is to be saved."""
    idents = []
    for user in users:
        script = []
        for number in range(MAILS):
            ident = f"<{writer.run}.{uuid.uuid4().hex[:12]}.imap@ledger.invalid>"
            folder = random.choice(["INBOX", "ledger-1"])
            entry = {"id": ident, "user": user, "path": "imap"}
            proof.journal.write(event="deliver", state=SENT, folder=f"Saved from {other}/{folder}", **entry)
            body = message(ident, user, writer.size).decode()
            script.append(f"{doveadm(proof.lab, backend, other, user, 'save', '-m', folder)} <<'END'\n{body}\nEND")
            proof.journal.write(event="deliver", state=ACKNOWLEDGED, folder=f"Saved from {other}/{folder}", **entry)
            if number % 2:
                flag = random.choice(FLAGS)
                found = ("mailbox", folder, "header", "Message-ID", ident)
                script.append(doveadm(proof.lab, backend, other, user, "flags add", flag, *found))
                proof.journal.write(event="flag", state=ACKNOWLEDGED, flags=[flag], **entry)
            idents.append(ident)
        proof.lab.ssh(other, "set -e\n" + "\n".join(script), timeout=300)
    return idents


def split_brain(proof: Proof, log: str, backend: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the operator's playbook."""
    done = play(proof.lab, "split_brain.yml", *extras(backend, *more), timeout=LONGEST)
    (proof.folder / f"{log}.log").write_text(done.stdout + done.stderr)
    return done


def killed(proof: Proof, log: str, after: float, backend: str, *more: str) -> None:
    """Run it, and kill it."""
    with (proof.folder / f"{log}.log").open("w") as output:
        going = start(proof.lab, output, "split_brain.yml", *extras(backend, *more))
        try:
            going.wait(after)
        except subprocess.TimeoutExpired:
            kill(going)


def extras(backend: str, *more: str) -> list[str]:
    """What the playbook is told."""
    return [word for value in (f"backend={backend}", *more) for word in ("-e", value)]
