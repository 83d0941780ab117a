"""A user throws mail away; an operator brings it back from a copy of the night, while mail goes on."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from module_utils.mail_clients import Imap
from tests.ledger.front import User, close

from .afs import file_servers
from .lab import Lab, ProofError, wait_for
from .plays import play, recap
from .proof import Proof

RUN = uuid.uuid4().hex[:8]  # what an earlier run left is another folder, with other mails
FOLDER = f"Thrown away {RUN}"
MAILS, MOVED, KEPT = 20, 5, 2
COPY = "/srv/proof-copy"  # on the node, where the store itself makes no copies
LONGEST = 600.0  # seconds that the playbook may take
Mails = dict[str, bool]  # whether each is flagged, by name


def run(proof: Proof) -> None:
    """Fill a folder, make the copy, throw mail away, and bring it back."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    user = proof.front.users[0]
    backend = lab.backend_of(user.user)
    names = [f"then-{number}" for number in range(MAILS)]
    wanted: Mails = {name: number % 2 == 1 for number, name in enumerate(names)}
    with proof.writing():
        with folder(proof, user, new=True) as client:
            for name in names:
                save(client, name, wanted[name])
        proof.expect(held(proof, user) == wanted, "mail was not saved as it was sent")
        proof.say("make a copy, and throw mail away")
        more = make_copy(lab, where[backend], backend)
        with folder(proof, user) as client:
            client.copy(f"1:{MOVED}", "ledger-1")  # moved, which is no loss
            client.store(f"1:{MAILS - KEPT}", "+FLAGS", r"(\Deleted)")
            client.expunge()
            save(client, "since", False)
        left = held(proof, user)
        proof.expect(left.keys() == {*names[-KEPT:], "since"}, f"left is {sorted(left)}")

        extras = ["-e", f"user={user.user}", "-e", f"folder='{FOLDER}'", *more]
        shown = restore(proof, "shown", *extras, "--check", "--diff")
        proof.expect(all(ident(name) in shown for name in names[MOVED:-KEPT]), "the check does not show what is lost")
        proof.expect(held(proof, user) == left, "the check changed something")
        start = time.monotonic()
        restore(proof, "restored", *extras)
        proof.numbers["restore_s"] = round(time.monotonic() - start, 1)
        after = held(proof, user)
        proof.expect(after == {**left, **{name: wanted[name] for name in names[MOVED:]}}, f"after it, there is {after}")
        proof.numbers["came_back"] = len(after) - len(left)
        changed = sum(counts["changed"] for counts in recap(restore(proof, "again", *extras)).values())
        proof.expect(changed == 0, f"a second run changed {changed} things")
        proof.expect(held(proof, user) == after, "a second run brought mail back again")
    proof.count()


@contextmanager
def folder(proof: Proof, user: User, new: bool = False) -> Iterator[Imap]:
    """A session of the user's in the folder."""
    client = proof.front.imap(next(proof.front.doors()), user)
    try:
        if new:
            client.create(f'"{FOLDER}"')
        client.select(f'"{FOLDER}"')
        yield client
    finally:
        close(client)


def ident(name: str) -> str:
    """A mail's Message-ID."""
    return f"<{name}@{RUN}.invalid>"


def save(client: Imap, name: str, flagged: bool) -> None:
    """Save a mail."""
    text = f"Message-ID: {ident(name)}\r\nSubject: {name}\r\n\r\n{name}\r\n"
    state, _ = client.append(f'"{FOLDER}"', r"(\Flagged)" if flagged else "", "", text.encode())
    if state != "OK":
        raise ProofError(f"{name} was not saved")


def held(proof: Proof, user: User) -> Mails:
    """What the folder holds; a mail that is there twice is named so."""
    found: Mails = {}
    with folder(proof, user) as client:
        _, rows = client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    for row in rows:
        if isinstance(row, tuple) and (match := re.search(rb"<([^>@]+)@", row[1])):
            name = match[1].decode()
            found[f"{name} twice" if name in found else name] = b"\\Flagged" in row[0]
    return found


def make_copy(lab: Lab, node: str, backend: str) -> list[str]:
    """Have the store make its nightly copy now, or make one on the node; return what the playbook has to be told."""
    if lab.site["mail_store"] == "afs":
        for server in file_servers(lab):
            lab.ssh(server, "systemctl start afs-clones.service", timeout=60)
        return []
    root = f"/srv/mail/{backend}" if lab.own_mail else "/srv/mail"
    lab.ssh(node, f"rm -rf {COPY} && cp -a {root} {COPY}", timeout=120)
    return ["-e", f"copy={COPY}"]


def restore(proof: Proof, log: str, *extras: str) -> str:
    """Run the operator's playbook."""
    done = play(proof.lab, "restore_mailbox.yml", *extras, timeout=LONGEST)
    (proof.folder / f"{log}.log").write_text(done.stdout + done.stderr)
    proof.expect(
        done.returncode == 0, f"restore_mailbox.yml ended with {done.returncode}: see {proof.folder}/{log}.log"
    )
    return done.stdout
