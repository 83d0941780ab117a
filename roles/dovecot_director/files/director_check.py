#!/usr/bin/python3
"""Look after a ring of Dovecot directors: take backends that fail out, put them back, and keep the ring as described.

director-check         does so for ever
director-check status  says as JSON how the ring is seen from here; exits 1 if that is not as described

Every director runs this and checks every backend, but only one acts: the one with the lowest address of those that are
in the ring. So checks that see different things cannot undo each other's work.
"""

from __future__ import annotations

import imaplib
import ipaddress
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

CONFIG = "/etc/dovecot/director-check.json"
SOCKET = "/run/dovecot/director-admin"
# For one login.
LOGIN_SECONDS = 4
# So many in a row take a backend out, or put it back. The second failure comes soon after the first.
FAILURES = 2
PASSES = 3
# The ring needs so long to miss a director that has lost power, and agrees on nothing meanwhile.
AGREE_SECONDS = 60
MOVE_SECONDS = 3600


@dataclass(frozen=True)
class Backend:
    """What the ring says of a backend."""

    weight: int
    users: int
    up: bool


@dataclass
class Ring:
    """What a director says of the ring."""

    backends: dict[str, Backend] = field(default_factory=dict)
    directors: set[str] = field(default_factory=set)
    self: str = ""
    left: str = ""
    right: str = ""
    synced: bool = False

    def leads(self) -> bool:
        """Tell whether the director asked is the first of those in the ring: its left neighbour is the last one."""
        if not self.synced or bool(self.left) != bool(self.right):
            return False
        return not self.left or number(self.left) > number(self.self)


def number(address: str) -> int:
    """Return what directors sort addresses by."""
    return int(ipaddress.ip_address(address))


def parse(hosts: Iterable[str], directors: Iterable[str]) -> Ring:
    """Return the ring that the answers to HOST-LIST and DIRECTOR-LIST describe."""
    ring = Ring()
    for line in hosts:
        address, weight, users, _tag, state, *_ = line.split("\t")
        ring.backends[address] = Backend(int(weight), int(users), state == "U")
    for line in directors:
        address, _port, kind, _failed, status, *_ = [*line.split("\t"), "", ""]
        if kind == "removed":
            continue
        ring.directors.add(address)
        if kind == "self":
            ring.self, ring.synced = address, status == "ring synced"
        elif kind in ("left", "right") and status in ("synced", "syncing"):
            setattr(ring, kind, address)
    return ring


def plan(
    ring: Ring,
    directors: Iterable[str],
    weights: Mapping[str, int],
    before: Mapping[str, int],
    well: Mapping[str, bool],
) -> list[list[str]]:
    """Return what to tell the ring.

    `weights` are those described, `before` those of the last time; a weight of 0 in the ring is an operator's, and
    stays until the description changes. `well` has backends that have passed, or failed, often enough.
    """
    told = [["DIRECTOR-ADD", address] for address in sorted(set(directors) - ring.directors)]
    told += [["DIRECTOR-REMOVE", address] for address in sorted(ring.directors - set(directors))]
    new = [address for address in weights if address not in ring.backends and well.get(address)]
    told += [["HOST-SET", address, str(weights[address])] for address in new]
    known = {address: backend for address, backend in ring.backends.items() if address in weights}
    for address, backend in known.items():
        drained = backend.weight == 0 and before.get(address, weights[address]) == weights[address]
        if backend.weight != weights[address] and not drained:
            told.append(["HOST-UPDATE", address, str(weights[address])])
    # Without one that works there is nothing to choose: the probe may be unknown, or a file system stands still while a
    # node is fenced.
    works = [address for address, backend in known.items() if backend.up and backend.weight and well.get(address)]
    for address, backend in known.items():
        if not backend.up and well.get(address):
            told.append(["HOST-UP", address])
        elif works and well.get(address) is False:
            told += [["HOST-DOWN", address]] if backend.up else []
            told += [["HOST-RESET-USERS", address]] if backend.users else []
    for address in ring.backends.keys() - weights.keys():
        backend = ring.backends[address]
        if not works:
            continue
        if backend.users:
            told += [["HOST-UPDATE", address, "0"]] if backend.weight else []
            told.append(["HOST-RESET-USERS", address])
        else:
            told.append(["HOST-REMOVE", address])
    return told


def problems(ring: Ring, directors: Iterable[str], backends: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is not as described, seen from one director."""
    wanted = sorted(directors, key=number)
    found = [] if ring.synced else ["the ring is not synced"]
    found += [f"the ring lacks director {address}" for address in wanted if address not in ring.directors]
    found += [
        f"the ring has director {address}, which is not described" for address in sorted(ring.directors - set(wanted))
    ]
    if ring.self in wanted and len(wanted) > 1:
        place = wanted.index(ring.self)
        for side, address in (("left", wanted[place - 1]), ("right", wanted[(place + 1) % len(wanted)])):
            if getattr(ring, side) != address:
                found.append(
                    f"director {address} is not reached ({side} of {ring.self} is {getattr(ring, side) or 'none'})"
                )
    for address in sorted(backends.keys() | ring.backends.keys()):
        seen, name = ring.backends.get(address), backends.get(address, {}).get("name", address)
        if seen is None:
            found.append(f"the ring lacks backend {name}, {address}")
        elif address not in backends:
            found.append(f"the ring has backend {address}, which is not described")
        elif seen.weight not in (0, backends[address]["weight"]):
            found.append(f"backend {name} has weight {seen.weight}, not {backends[address]['weight']}")
    return found


class Director:
    """The director of this host."""

    def ask(self, *words: str, seconds: float = 10) -> list[str]:
        """Tell it something, and return the lines of its answer."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(seconds)
            admin.connect(SOCKET)
            admin.sendall(("VERSION\tdirector-doveadm\t1\t0\n" + "\t".join(words) + "\n").encode())
            answer = (line.rstrip("\n") for line in admin.makefile(encoding="utf-8"))
            next(answer, "")
            if words[0].endswith("-LIST"):
                lines = []
                for line in answer:
                    if not line:
                        return lines
                    lines.append(line)
                raise OSError("the director hung up")
            said = next(answer, "nothing")
            if said != "OK":
                raise OSError(f"the director answers {said} to {' '.join(words)}")
            return []

    def ring(self) -> Ring:
        """Return the ring as it is."""
        return parse(self.ask("HOST-LIST"), self.ask("DIRECTOR-LIST"))


class Imap(imaplib.IMAP4):
    """IMAP with TLS from the start, with the address verified, as directors do."""

    def __init__(self, address: str, context: ssl.SSLContext, end: float) -> None:
        """Connect and read the greeting."""
        self.context, self.end = context, end
        super().__init__(address, 993, timeout=LOGIN_SECONDS)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        plain = socket.create_connection((self.host, self.port), timeout)
        plain.settimeout(self.left())
        return self.context.wrap_socket(plain, server_hostname=self.host)

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(0.1, self.end - time.monotonic())

    def send(self, data: Any) -> None:
        """Send, and wait for what comes then no longer than there is time."""
        self.sock.settimeout(self.left())
        super().send(data)


def works(address: str, config: Mapping[str, Any], context: ssl.SSLContext) -> str:
    """Log in to a backend and open the mailbox; return what is wrong.

    A password that is refused is a mistake in what this was told, and an answer all the same: it moves nobody.
    """
    try:
        session = Imap(address, context, time.monotonic() + LOGIN_SECONDS)
        try:
            session.login(config["user"], config["password"])
            kind, answer = session.select("INBOX", readonly=True)
            return "" if kind == "OK" else f"INBOX: {answer!r}"
        except imaplib.IMAP4.error as error:
            if "AUTHENTICATIONFAILED" not in str(error):
                raise
            say(f"{address} refuses the password of {config['user']}")
            return ""
        finally:
            session.shutdown()
    except (OSError, imaplib.IMAP4.error) as error:
        return repr(error)


def say(text: str) -> None:
    """Write to the journal."""
    print(text, file=sys.stderr, flush=True)


def load() -> dict[str, Any]:
    """Read what is described; it may have changed since the last time."""
    with open(CONFIG, encoding="utf-8") as file:
        return json.load(file)


class Watch:
    """What has been seen so far."""

    def __init__(self) -> None:
        """Know nothing."""
        self.director = Director()
        self.streaks: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self.moving: set[str] = set()
        self.led = False

    def check(self, config: Mapping[str, Any]) -> bool:
        """Check all backends at a time, and count; tell whether there is no failure to be confirmed soon."""
        context = ssl.create_default_context(cafile=config["ca"])
        addresses = list(config["backends"])
        with ThreadPoolExecutor(max(1, len(addresses))) as pool:
            found = dict(
                zip(addresses, pool.map(lambda address: works(address, config, context), addresses), strict=True)
            )
        before, self.streaks = self.streaks, {}
        for address, wrong in found.items():
            streak = before.get(address, 0)
            if not streak or bool(wrong) != (streak < 0):
                say(f"backend {config['backends'][address]['name']} {'fails: ' + wrong if wrong else 'passes'}")
            self.streaks[address] = max(min(streak, 0) - 1, -FAILURES) if wrong else min(max(streak, 0) + 1, PASSES)
        return not any(-FAILURES < streak < 0 for streak in self.streaks.values())

    def act(self, config: Mapping[str, Any]) -> None:
        """Tell the ring what there is to tell, if it is for this director to do so."""
        weights = {address: backend["weight"] for address, backend in config["backends"].items()}
        ring = self.director.ring()
        if ring.leads() != self.led:
            self.led = not self.led
            say("this director decides about backends" if self.led else "another director decides about backends")
        well = {address: streak > 0 for address, streak in self.streaks.items() if streak in (-FAILURES, PASSES)}
        if self.led:
            for words in plan(ring, config["directors"], weights, self.before or weights, well):
                self.tell(words)
        self.before = weights

    def tell(self, words: list[str]) -> None:
        """Tell the ring one thing. Users are moved meanwhile, not to keep checks waiting."""
        if words[0] != "HOST-RESET-USERS":
            say(" ".join(words))
            self.director.ask(*words, seconds=AGREE_SECONDS)
        elif words[1] not in self.moving:
            say(" ".join(words))
            self.moving.add(words[1])
            threading.Thread(target=self.move, args=words, daemon=True).start()

    def move(self, *words: str) -> None:
        """Have users moved, and wait for it."""
        try:
            self.director.ask(*words, seconds=MOVE_SECONDS)
        except OSError as error:
            say(f"{' '.join(words)}: {error}")
        finally:
            self.moving.discard(words[1])


def run() -> None:
    """Check and act for ever."""
    watch = Watch()
    while True:
        seconds = 1.0
        try:
            config = load()
            if watch.check(config):
                seconds = config["interval"]
            watch.act(config)
        except (OSError, ValueError) as error:
            say(f"not now: {error}")
        time.sleep(seconds)


def status() -> int:
    """Say how the ring is seen from here."""
    config = load()
    try:
        ring = Director().ring()
        wrong = problems(ring, config["directors"], config["backends"])
    except OSError as error:
        ring, wrong = Ring(), [f"the director of this host does not answer: {error}"]
    names = {address: backend["name"] for address, backend in config["backends"].items()}
    shown = {
        "backends": {names.get(address, address): vars(backend) for address, backend in sorted(ring.backends.items())},
        "directors": sorted(ring.directors, key=number),
        "decides": ring.leads(),
        "problems": wrong,
    }
    print(json.dumps(shown, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(status() if sys.argv[1:] == ["status"] else run())
