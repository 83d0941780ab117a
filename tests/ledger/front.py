"""The front door as mail clients see it: one name, several addresses, each tried in turn."""

from __future__ import annotations

import imaplib
import itertools
import json
import smtplib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from module_utils.dns_client import look_up
from module_utils.mail_clients import Door, Imap, Smtp, tls_context
from module_utils.user_names import host_of, split

# What a client meets when a server goes away or says no.
FAILURES = (OSError, imaplib.IMAP4.error, smtplib.SMTPException)


@dataclass(frozen=True)
class User:
    """An account to log in with."""

    user: str
    password: str = field(repr=False)


@dataclass
class Front:
    """Where clients connect, and who they are. Read from a JSON file, so that no password is an argument."""

    addresses: list[str]
    hostname: str
    ca: str
    users: list[User]
    smtp_addresses: list[str] = field(default_factory=list)
    # Where each user has a host name of their own, USER.PREFIX.DOMAIN: who is asked for it, in turn, and the prefix.
    name_servers: list[str] = field(default_factory=list)
    name_prefix: str = "imap"
    imap_port: int = 993
    smtp_port: int = 25
    timeout: float = 5.0

    @classmethod
    def load(cls, path: Path) -> Front:
        """Read {addresses, hostname, ca, users: [{user, password}], ...}."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["users"] = [User(**user) for user in values["users"]]
        return cls(**values)

    def __post_init__(self) -> None:
        """Prepare TLS once."""
        self._tls = tls_context(self.ca)
        self.smtp_addresses = self.smtp_addresses or self.addresses

    def doors(self, smtp: bool = False, start: int = 0) -> Iterator[Door]:
        """Yield the addresses for ever, as a client goes round the addresses of a name."""
        addresses = self.smtp_addresses if smtp else self.name_servers
        addresses = addresses or self.addresses
        for number in itertools.count(start):
            yield Door(addresses[number % len(addresses)], self.hostname, self._tls, self.timeout)

    def imap(self, door: Door, user: User) -> Imap:
        """Log in at this address, or where this name server says."""
        if self.name_servers:
            name = host_of(user.user, [split(user.user)[1]], self.name_prefix)
            door = Door(look_up(door.address, name, self.timeout), name, self._tls, self.timeout)
        client = Imap(door, self.imap_port)
        try:
            client.login(user.user, user.password)
        except BaseException:
            close(client)
            raise
        return client

    def smtp(self, door: Door) -> Smtp:
        """Greet at this address."""
        return Smtp(door, self.smtp_port)


def close(client: Imap | Smtp | None) -> None:
    """Hang up without a word: the other side may be dead."""
    if isinstance(client, Imap):
        try:
            client.shutdown()
        except OSError:
            return
    elif client is not None:
        client.close()


class Backoff:
    """Wait a little longer after each failure, up to a bound, and not at all after the first."""

    def __init__(self, stop: threading.Event, longest: float = 1.0) -> None:
        """Start without a wait."""
        self._stop, self._longest, self._next = stop, longest, 0.0

    def wait(self) -> None:
        """Wait after a failure, or until told to stop."""
        self._stop.wait(self._next)
        self._next = min(self._longest, self._next * 2 or 0.05)

    def reset(self) -> None:
        """Forget the failures."""
        self._next = 0.0


class Pace:
    """Let one thing pass in each interval; time lost in a stall is not caught up."""

    def __init__(self, stop: threading.Event, rate: float) -> None:
        """Start now."""
        self._stop, self._interval, self._next = stop, 1 / rate, time.monotonic()

    def wait(self) -> bool:
        """Wait for the next turn; false when told to stop."""
        now = time.monotonic()
        self._next = max(now, self._next + self._interval)
        return not self._stop.wait(self._next - now)
