"""Writers: append by IMAP, deliver by SMTP, change some of it, and write down what was acknowledged."""

from __future__ import annotations

import random
import smtplib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from module_utils.mail_clients import Imap, Smtp

from .checker import delivery_id
from .front import FAILURES, Backoff, Front, Pace, User, close
from .journal import ACKNOWLEDGED, REFUSED, SENT, UNCERTAIN, Journal

FOLDERS = ["INBOX", "ledger-1", "ledger-2"]
MOVED = "ledger-moved"
FLAGS = ["\\Flagged", "\\Answered", "\\Seen"]


class RefusedError(Exception):
    """The server answered, and the answer was no."""


def message(ident: str, user: str, size: int) -> bytes:
    """Make one mail of about this size."""
    head = (
        f"From: Ledger <{user}>\r\nTo: <{user}>\r\nSubject: ledger {ident}\r\n"
        f"Date: {formatdate()}\r\nMessage-ID: {ident}\r\n\r\n"
    )
    line = "Every acknowledged mail is kept, once, where it was put.\r\n"
    return (head + line * max(1, (size - len(head)) // len(line))).encode()


@dataclass
class Writer:
    """Runs one IMAP and one SMTP client for each user until stopped."""

    front: Front
    journal: Journal
    rate: float = 5.0  # of each client, a second
    changes: float = 0.3  # share of an IMAP client's turns that change a mail instead of adding one
    size: int = 1024
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        """Prepare what the threads share."""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        # Mails that were acknowledged and not yet changed, for each user. A mail is changed once at most,
        # so that its wanted end never depends on which of two changes came later.
        self._unchanged: dict[str, list[tuple[str, str]]] = {user.user: [] for user in self.front.users}

    def start(self) -> None:
        """Make the folders, then let the clients run."""
        self.journal.write(event="run", run=self.run, rate=self.rate, users=[u.user for u in self.front.users])
        for number, user in enumerate(self.front.users):
            self._make_folders(user, number)
        for number, user in enumerate(self.front.users):
            for body in (self._imap, self._smtp):
                thread = threading.Thread(target=body, args=(user, number), daemon=True)
                self._threads.append(thread)
                thread.start()

    def stop(self) -> None:
        """Let each client finish what it is about, then end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _make_folders(self, user: User, number: int) -> None:
        for door, left in zip(self.front.doors(start=number), (2, 1, 0), strict=False):
            try:
                client = self.front.imap(door, user)
                for folder in [*FOLDERS[1:], MOVED]:
                    client.create(folder)  # NO when it exists
                    client.subscribe(folder)
                client.logout()
                return
            except FAILURES:  # a cluster that has just come up is slow
                if not left:
                    raise

    def _client(
        self, user: User, path: str, number: int, connect: Callable[[Any], Any], turn: Callable[[Any], None]
    ) -> None:
        """Take turns at the set pace; after a failure go to the next address at once."""
        self.journal.write(event="begin", user=user.user, path=path)
        doors = self.front.doors(smtp=path == "smtp", start=number)
        pace, backoff, client = Pace(self._stop, self.rate), Backoff(self._stop), None
        while pace.wait():
            door = None
            try:
                if client is None:
                    door = next(doors)
                    client = connect(door)
                turn(client)
                backoff.reset()
            except (*FAILURES, RefusedError) as error:
                self.journal.write(
                    event="error", user=user.user, path=path, address=door and door.address, error=str(error)
                )
                close(client)
                client = None
                backoff.wait()
        close(client)
        self.journal.write(event="end", user=user.user, path=path)

    def _imap(self, user: User, number: int) -> None:
        def turn(client: Imap) -> None:
            if self._unchanged[user.user] and random.random() < self.changes:
                self._change(client, user)
            else:
                self._append(client, user)

        self._client(user, "imap", number, lambda door: self.front.imap(door, user), turn)

    def _smtp(self, user: User, number: int) -> None:
        self._client(user, "smtp", number, self.front.smtp, lambda client: self._deliver(client, user))

    def _record(self, ask: Callable[[], str | None], **entry: Any) -> None:
        """Write down that something is asked for, ask, and write down what came back: nothing, or a no."""
        self.journal.write(state=SENT, **entry)
        try:
            refusal = ask()
        except FAILURES as error:
            self.journal.write(state=UNCERTAIN, error=str(error), **entry)
            raise
        if refusal is not None:
            self.journal.write(state=REFUSED, error=refusal, **entry)
            raise RefusedError(refusal)
        self.journal.write(state=ACKNOWLEDGED, **entry)

    def _new_id(self, path: str) -> str:
        return f"<{self.run}.{uuid.uuid4().hex[:12]}.{path}@ledger.invalid>"

    def _append(self, client: Imap, user: User) -> None:
        ident, folder = self._new_id("imap"), random.choice(FOLDERS)
        body = message(ident, user.user, self.size)

        def ask() -> str | None:
            kind, data = client.append(folder, "", "", body)
            return None if kind == "OK" else str(data)

        self._record(ask, event="deliver", id=ident, user=user.user, folder=folder, path="imap")
        self._unchanged[user.user].append((ident, folder))

    def _deliver(self, client: Smtp, user: User) -> None:
        ident = self._new_id("smtp")
        body = message(ident, user.user, self.size)

        def ask() -> str | None:
            try:
                client.sendmail("", [user.user], body)  # from nobody: a bounce has nowhere to go
            except smtplib.SMTPServerDisconnected:
                raise
            except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
                return str(error)
            return None

        self._record(ask, event="deliver", id=ident, user=user.user, folder="INBOX", path="smtp")
        self._unchanged[user.user].append((ident, "INBOX"))

    def _change(self, client: Imap, user: User) -> None:
        """Flag, move or expunge a mail, where the server shows it now."""
        unchanged = self._unchanged[user.user]
        ident, folder = unchanged.pop(random.randrange(len(unchanged)))
        uid = self._find(client, folder, ident)
        if uid is None:  # still in the MTA's queue, or not on this replica yet
            return
        kind = random.choice(["flag", "move", "expunge"])
        entry: dict[str, Any] = {"event": kind, "id": ident, "user": user.user, "path": "imap"}
        if ident.endswith(".smtp@ledger.invalid>"):
            entry["delivery"] = self._delivery(client, uid)
        if kind == "flag":
            flag = random.choice(FLAGS)
            entry["flags"] = [flag]

            def ask() -> str | None:
                return refusal(client.uid("STORE", uid, "+FLAGS", f"({flag})"))
        elif kind == "move":
            entry["to"] = MOVED

            def ask() -> str | None:
                return refusal(client.uid("MOVE", uid, MOVED))
        else:

            def ask() -> str | None:
                return refusal(client.uid("STORE", uid, "+FLAGS", "(\\Deleted)")) or refusal(client.uid("EXPUNGE", uid))

        self._record(ask, **entry)

    def _find(self, client: Imap, folder: str, ident: str) -> str | None:
        for answer in (client.select(folder), client.uid("SEARCH", "HEADER", "Message-ID", ident)):
            if refused := refusal(answer):
                raise RefusedError(f"{folder}: {refused}")
        uids = (answer[1][0] or b"").split()
        return uids[0].decode() if uids else None

    def _delivery(self, client: Imap, uid: str) -> str:
        answer = client.uid("FETCH", uid, "(BODY.PEEK[HEADER.FIELDS (RECEIVED)])")
        if refused := refusal(answer):
            raise RefusedError(refused)
        return delivery_id(next((item[1] for item in answer[1] if isinstance(item, tuple)), b"").decode())


def refusal(answer: tuple[str, Any]) -> str | None:
    """Say what the server answered when it was not OK."""
    kind, data = answer
    return None if kind == "OK" else f"{kind} {data}"


def write(writer: Writer, seconds: float | None, stop: threading.Event) -> None:
    """Run writers for so long, or until told to stop."""
    writer.start()
    end = None if seconds is None else time.monotonic() + seconds
    while not stop.wait(0.2) and (end is None or time.monotonic() < end):
        pass
    writer.stop()
