"""Two nodes write one mailbox at the same time, which front ends never let happen: no format loses or breaks a mail.

One delivers by LMTP, the other has an IMAP session that marks, copies, appends and expunges. The same is done by one
node alone, so that it is seen what the second node costs.
"""

from __future__ import annotations

import imaplib
import itertools
import re
import secrets
import shlex
import smtplib
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from .lab import Lab, ProofError
from .proof import Proof

FORMATS = ("maildir", "mdbox", "sdbox", "mbox")
MAILS = 30
COPIES = "Kept"
LINE, LINES = "{:03} of a mail that two nodes may see at a time\r\n", 80
MESSAGE_ID = re.compile(rb"message-id:\s*<([^>]+)>", re.IGNORECASE)
COMPLAINTS = "corrupt|panic|fatal|broken|assert|rebuil|timeout while waiting for lock"


@dataclass
class Written:
    """What both sides had acknowledged."""

    delivered: set[str] = field(default_factory=set)
    appended: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    copied: set[str] = field(default_factory=set)
    expunged: set[str] = field(default_factory=set)
    changes: int = 0
    seconds: float = 0.0


def run(proof: Proof) -> None:
    """Write a mailbox of each format from two nodes, and from one; count what both show afterwards."""
    lab = proof.lab
    where = proof.lab.settled() or {}
    here, there = list(lab.backends)[:2]
    if where.get(here) == where.get(there):
        raise ProofError(f"{here} and {there} must run on two nodes, found: {where}")
    start = time.time()
    password = secrets.token_hex(16)
    kinds: dict[str, tuple[str, Mapping[str, str]]] = {
        f"formats-{form}-{way}": (form, {}) for form in FORMATS for way in ("two", "one")
    }
    with accounts(lab, password, kinds) as domain:
        for form in FORMATS:
            rates = {}
            for way, reader in (("two", there), ("one", here)):
                user = f"formats-{form}-{way}@{domain}"
                proof.say(f"{form}: {here} delivers, {reader} has an IMAP session")
                written = write(lab, user, password, here, reader)
                for backend in dict.fromkeys((reader, here)):
                    for fault in compare(show(lab, user, password, backend), written):
                        proof.expect(False, f"{form}, {way} node(s), as {backend} shows it: {fault}")
                rates[way] = (len(written.delivered) + written.changes) / written.seconds
            proof.numbers |= {
                f"{form}_two_per_s": round(rates["two"], 1),
                f"{form}_one_per_s": round(rates["one"], 1),
                f"{form}_ratio": round(rates["two"] / rates["one"], 2),
            }
    for node in lab.group("mail_nodes"):
        query = f"journalctl --since @{start:.0f} -o cat -u 'dovecot-backend@*' | grep -iE {shlex.quote(COMPLAINTS)}"
        proof.expect(not (found := lab.ssh(node, query, check=False)), f"{node} complains: {found[:500]}")


@contextmanager
def accounts(lab: Lab, password: str, kinds: Mapping[str, tuple[str, Mapping[str, str]]]) -> Iterator[str]:
    """Have accounts, known to all backends; give their domain. Their mail is gone afterwards.

    Each has its own mailbox format and Dovecot settings.
    """
    domain = str(lab.site["mail_domains"][0])
    nodes = lab.group("mail_nodes")
    try:
        for node in nodes:
            old = lab.info["hosts"][node]["release"] == "12"
            lines = [
                f"{name}@{domain}:{{PLAIN}}{password}::::::{place(form, old)}"
                + "".join(f" userdb_{setting}={value}" for setting, value in settings.items())
                for name, (form, settings) in kinds.items()
            ]
            text = shlex.quote("\n".join(lines))
            lab.ssh(node, f"cp -p /etc/dovecot/users /root/users; printf '%s\\n' {text} >> /etc/dovecot/users")
        yield domain
    finally:
        homes = " ".join(f"/srv/mail/{domain}/{name}" for name in kinds)
        for node in nodes:
            lab.ssh(node, "! test -e /root/users || cat /root/users > /etc/dovecot/users && rm -f /root/users")
            lab.ssh(node, f"rm -rf {homes}")


def place(form: str, old: bool) -> str:
    """The account's own place for mail, as Dovecot 2.3 (old) or 2.4 wants it told."""
    if old:
        return "userdb_mail=" + ("mbox:~/mail:INBOX=~/inbox" if form == "mbox" else f"{form}:~/{form}")
    if form == "mbox":
        return "userdb_mail_driver=mbox userdb_mail_path=~/mail userdb_mail_inbox_path=~/inbox"
    return f"userdb_mail_driver={form} userdb_mail_path=~/{form}"


def connection(lab: Lab, backend: str, port: int) -> list[str]:
    """The command line that connects to a backend from a front end, as backends answer nobody else."""
    name = f"{backend}.{lab.site['mail_node_domain']}"
    tls = [
        *("openssl", "s_client", "-quiet", "-verify_quiet", "-verify_return_error"),
        *("-CAfile", "/etc/ssl/dovecluster/ca.pem", "-servername", name, "-verify_hostname", name),
        *("-connect", f"{lab.backends[backend]['address']}:{port}"),
    ]
    return lab.command("ssh", lab.group("front_ends")[0], shlex.join(tls) + " 2> /dev/null")


def imap(lab: Lab, user: str, password: str, backend: str) -> imaplib.IMAP4:
    """Log in at a backend."""
    client = imaplib.IMAP4_stream(shlex.join(connection(lab, backend, 993)))
    client.login(user, password)
    return client


class Lmtp(smtplib.LMTP):
    """LMTP with a backend."""

    def __init__(self, lab: Lab, backend: str) -> None:
        """Connect."""
        super().__init__()
        self.sock, theirs = socket.socketpair()
        self.process = subprocess.Popen(connection(lab, backend, 24), stdin=theirs.fileno(), stdout=theirs.fileno())
        theirs.close()
        code, text = self.getreply()
        if code != 220:
            raise ProofError(f"{backend} greets with {code} {text!r}")

    def close(self) -> None:
        """Hang up."""
        super().close()
        self.process.terminate()
        self.process.wait()


def message(identity: str) -> bytes:
    """A mail of 4 KiB."""
    text = "".join(LINE.format(number) for number in range(LINES))
    return f"From: a@example.com\r\nMessage-ID: <{identity}>\r\nSubject: {identity}\r\n\r\n{text}".encode()


def write(lab: Lab, user: str, password: str, deliverer: str, reader: str) -> Written:
    """Deliver at one backend while a session at another works with what arrives."""
    written = Written()
    errors: list[BaseException] = []

    def deliver() -> None:
        try:
            client = Lmtp(lab, deliverer)
            for number in range(MAILS):
                identity = f"delivered-{number}@formats"
                client.sendmail("a@example.com", [user], message(identity))
                written.delivered.add(identity)
            client.quit()
        except BaseException as error:
            errors.append(error)

    session = imap(lab, user, password, reader)
    call(session.create(COPIES))
    call(session.select("INBOX"))
    thread = threading.Thread(target=deliver)
    start = time.monotonic()
    thread.start()
    for turn in itertools.count():
        over = not thread.is_alive()
        new = work(session, written)
        if turn < MAILS // 2:
            identity = f"appended-{turn}@formats"
            call(session.append("INBOX", None, None, message(identity)))
            written.appended.add(identity)
            written.changes += 1
        elif over and not new:
            break
    written.seconds = time.monotonic() - start
    session.logout()
    if errors:
        raise errors[0]
    return written


def work(session: imaplib.IMAP4, written: Written) -> int:
    """Mark what is new, copy each third of it, expunge each fourth; return how many were new."""
    call(session.noop())
    found = call(session.uid("SEARCH", "UNSEEN"))[0].split()
    for uid, identity in identities(session, found).items():
        call(session.uid("STORE", uid, "+FLAGS.SILENT", r"(\Seen)"))
        written.seen.add(identity)
        number = int(identity.partition("@")[0].rpartition("-")[2])
        if number % 3 == 0:
            call(session.uid("COPY", uid, COPIES))
            written.copied.add(identity)
        if number % 4 == 0:
            call(session.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)"))
            call(session.uid("EXPUNGE", uid))
            written.expunged.add(identity)
        written.changes += 1 + (number % 3 == 0) + 2 * (number % 4 == 0)
    return len(found)


def identities(session: imaplib.IMAP4, uids: list[bytes]) -> dict[str, str]:
    """The Message-ID of each mail, by UID."""
    if not uids:
        return {}
    rows = call(session.uid("FETCH", b",".join(uids).decode(), "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"))
    found = {}
    for row in rows:
        if isinstance(row, tuple) and (uid := re.search(rb"UID (\d+)", row[0])) and (name := MESSAGE_ID.search(row[1])):
            found[uid[1].decode()] = name[1].decode()
    if len(found) != len(uids):
        raise ProofError(f"{len(uids)} mails have {len(found)} Message-IDs")
    return found


@dataclass(frozen=True)
class Shown:
    """A mail as a session shows it."""

    identity: str
    seen: bool
    whole: bool


def show(lab: Lab, user: str, password: str, backend: str) -> dict[str, list[Shown]]:
    """What a new session at a backend shows, by folder."""
    session = imap(lab, user, password, backend)
    found = {}
    for folder in ("INBOX", COPIES):
        call(session.select(folder, readonly=True))
        rows = [row for row in call(session.fetch("1:*", "(FLAGS BODY.PEEK[])")) if isinstance(row, tuple)]
        found[folder] = [
            Shown(
                name[1].decode() if (name := MESSAGE_ID.search(text)) else "no Message-ID",
                rb"\Seen" in head,
                text.endswith(LINE.format(LINES - 1).encode()),
            )
            for head, text in rows
        ]
    session.logout()
    return found


def compare(shown: dict[str, list[Shown]], written: Written) -> list[str]:
    """What is shown that was not acknowledged, and what is lacking."""
    found = []
    if len(written.delivered) != MAILS or not (written.appended and written.expunged and written.copied):
        found.append(f"too little was written: {written}")
    wanted = {"INBOX": (written.delivered | written.appended) - written.expunged, COPIES: written.copied}
    for folder, names in wanted.items():
        times = Counter(mail.identity for mail in shown[folder])
        unseen = {mail.identity for mail in shown[folder] if not mail.seen}
        for what, which in (
            ("lost", names - set(times)),
            ("there, though it should not be", set(times) - names),
            ("there more than once", {name for name, count in times.items() if count > 1}),
            ("no longer marked as seen", unseen & written.seen),
            ("not whole", {mail.identity for mail in shown[folder] if not mail.whole}),
        ):
            if which:
                found.append(f"{folder}: {what}: {', '.join(sorted(which))}")
    return found


def call(answer: tuple[str, list]) -> list:
    """What an IMAP command returned, if it went well."""
    if answer[0] != "OK":
        raise ProofError(f"IMAP says {answer}")
    return answer[1]
