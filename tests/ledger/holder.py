"""Held sessions: log in, stay, and count how many the servers end."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field

from module_utils.mail_clients import Imap

from .front import FAILURES, Backoff, Front, User, close


@dataclass
class Holder:
    """Keeps IMAP sessions open through the front door: every second one in IDLE, the others by NOOP."""

    front: Front
    sessions: int = 8
    interval: float = 2.0
    checks: int = 0
    dropped: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare what the threads share."""
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Open every session; one that cannot be opened at the start is an error, not a drop."""
        users = itertools.cycle(self.front.users)
        for number in range(self.sessions):
            user = next(users)
            client = self.front.imap(next(self.front.doors(start=number)), user)
            client.select("INBOX")
            thread = threading.Thread(target=self._hold, args=(client, user, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> dict[str, object]:
        """Ask each session a last time, end it, and report."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return {
            "sessions": self.sessions,
            "checks": self.checks,
            "dropped": len(self.dropped),
            "drops": self.dropped,
        }

    def _hold(self, client: Imap | None, user: User, number: int) -> None:
        doors, backoff = self.front.doors(start=number + 1), Backoff(self._stop)
        stopping = False
        while not stopping:
            try:
                if client is None:
                    client = self.front.imap(next(doors), user)
                    client.select("INBOX")
                stopping = idle(client, self._stop, self.interval) if number % 2 else self._noop(client)
                backoff.reset()
                with self._lock:
                    self.checks += 1
            except FAILURES as error:
                if client is not None:
                    drop = {"user": user.user, "session": number, "at": time.time(), "error": str(error)}
                    with self._lock:
                        self.dropped.append(drop)
                close(client)
                client = None
                backoff.wait()
                stopping = self._stop.is_set()
        close(client)

    def _noop(self, client: Imap) -> bool:
        stopping = self._stop.wait(self.interval)
        client.noop()
        return stopping


def idle(client: Imap, stop: threading.Event, seconds: float) -> bool:
    """Wait in IDLE, leave it, and see the server agree; true when told to stop."""
    tag = b"idle"
    client.send(tag + b" IDLE\r\n")
    while not (line := client.readline()).startswith(b"+"):
        if not line.startswith(b"*") or line.upper().startswith(b"* BYE"):
            raise client.abort(f"IDLE: {line!r}")
    stopping = stop.wait(seconds)
    client.send(b"DONE\r\n")
    while not (line := client.readline()).startswith(tag):
        if not line or line.upper().startswith(b"* BYE"):
            raise client.abort(f"DONE: {line!r}")
    return stopping
