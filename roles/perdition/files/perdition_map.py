#!/usr/bin/python3
"""Tell perdition which backend has a user: the one to which the Dovecot of this host would send the user.

perdition-map serve SOCKET  answers perdition, asking Dovecot on SOCKET
perdition-map end USER      ends the user's sessions and logins here, and says how many

perdition asks by datagrams on a socket that systemd hands over (libperditiondb_daemon, version 1: numbers in network
order, strings with their length before). It refuses a user for whom the answer is empty, and that is every user without
a backend: unknown, held, or looked up without success.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = "/run/perdition/map"
HEAD = struct.Struct(
    "!IHHHHIIHH"
)  # magic, version, kind, length, checksum, addresses and ports of the client's connection
MAGIC, VERSION = 0x07070707, 1
QUESTION, ANSWER, QUESTION_BY_NAMES = 1, 2, 3  # the last has addresses as strings, after the user's name
END = b"end "  # what `perdition-map end` sends before the user
# perdition asks again each second, and stays with what it hears first.
SECONDS = 30
LOOKUPS = 50  # at a time
# Hosts behind which there is nothing: where Dovecot sends users who are held, or of whom LDAP does not name a backend.
NOWHERE = ".invalid"
# A login that lasts longer has ended.
LONGEST_LOGIN = 90


def name_asked_for(packet: bytes) -> str:
    """Return the user that perdition asks for."""
    magic, version, kind, length = HEAD.unpack_from(packet)[:4]
    if (magic, version, length) != (MAGIC, VERSION, len(packet)) or kind not in (QUESTION, QUESTION_BY_NAMES):
        raise ValueError("not a question of perdition's")
    (size,) = struct.unpack_from("!H", packet, HEAD.size)
    name = packet[HEAD.size + 2 :][:size]
    if len(name) != size:
        raise ValueError("a question that is cut short")
    return name.decode()


def answer(host: str) -> bytes:
    """Return the packet that names a backend, on the port that perdition has for it; or none."""
    body = b"".join(struct.pack("!H", len(text)) + text for text in (b"", host.encode(), b""))
    return HEAD.pack(MAGIC, VERSION, ANSWER, HEAD.size + len(body), 0, 0, 0, 0, 0) + body


def host_of(reply: str) -> str:
    """Return the host to which Dovecot's reply sends the user, or say why there is none."""
    kind, *fields = reply.split("\t")
    values = dict(field.partition("=")[::2] for field in fields[1:])
    if kind == "NOTFOUND":
        raise LookupError("unknown")
    if kind != "PASS":
        raise LookupError(f"cannot be looked up: {reply}")
    host = values.get("host", "")
    if not host or host.endswith(NOWHERE):
        raise LookupError(f"sent nowhere: {host}")
    return host


def ask_dovecot(path: str, user: str) -> str:
    """Return what Dovecot says of a user's login."""
    if not user.isprintable():
        raise LookupError("no name")
    with socket.socket(socket.AF_UNIX) as dovecot:
        dovecot.settimeout(SECONDS)
        dovecot.connect(path)
        dovecot.sendall(f"VERSION\t1\t1\nPASS\t1\t{user}\tservice=imap\n".encode())
        for line in dovecot.makefile(encoding="utf-8"):
            if line.split("\t")[0] in ("PASS", "NOTFOUND", "FAIL"):
                return line.rstrip("\n")
    raise LookupError("cannot be looked up: Dovecot hung up")


class Askers:
    """Which processes of perdition have asked for which users: each is a connection of one client."""

    def __init__(self) -> None:
        """Know of none."""
        self.since = time.monotonic()
        self.users: dict[int, set[str]] = {}

    @staticmethod
    def lives(pid: int) -> bool:
        """Tell whether there is such a process."""
        try:
            return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").startswith("perdition")
        except OSError:
            return False

    def remember(self, sender: str, user: str) -> None:
        """Write down who asks: perdition's sockets are called map.PID."""
        pid = int(sender.rpartition(".")[2])
        if pid not in self.users:
            self.users = {old: asked for old, asked in self.users.items() if self.lives(old)}
        self.users.setdefault(pid, set()).add(user.lower())

    def end(self, user: str) -> str:
        """End all that have asked for a user, and say how many; those before this began are not known."""
        if time.monotonic() - self.since < LONGEST_LOGIN:
            return "too early"
        ended = 0
        for pid, asked in list(self.users.items()):
            if user.lower() in asked and self.lives(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                    ended += 1
        return str(ended)


def look_up(here: socket.socket, path: str, user: str, sender: str) -> None:
    """Answer one question."""
    host = ""
    try:
        host = host_of(ask_dovecot(path, user))
    except (OSError, LookupError) as error:
        print(f"{user!r} is refused: {error}", file=sys.stderr)
    try:
        here.sendto(answer(host), sender)
    except OSError as error:  # perdition may be gone by now
        print(f"no answer to {sender}: {error}", file=sys.stderr)


def serve(path: str) -> None:
    """Answer for ever."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise SystemExit("perdition-map.socket starts this")
    here, askers = socket.socket(fileno=3), Askers()
    with ThreadPoolExecutor(LOOKUPS) as lookups:
        while True:
            packet, sender = here.recvfrom(65536)
            try:
                if packet.startswith(END):
                    here.sendto(askers.end(packet.removeprefix(END).decode()).encode(), sender)
                    continue
                user = name_asked_for(packet)
                askers.remember(sender, user)
            except (OSError, ValueError, struct.error) as error:
                print(f"{sender} is not understood: {error}", file=sys.stderr)
                continue
            lookups.submit(look_up, here, path, user, sender)


def end(user: str) -> None:
    """Have the service end a user's sessions."""
    with (
        tempfile.TemporaryDirectory(dir="/run/perdition") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here,
    ):
        Path(folder).chmod(0o711)
        here.bind(f"{folder}/end")
        Path(f"{folder}/end").chmod(0o666)
        here.settimeout(SECONDS)
        here.sendto(END + user.encode(), HERE)
        said = here.recv(100).decode()
    print(said)
    sys.exit(not said.isdigit())


if __name__ == "__main__":
    {"serve": serve, "end": end}[sys.argv[1]](*sys.argv[2:])
