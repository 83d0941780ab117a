"""Asks one name server for the addresses of a name, whichever servers this host asks otherwise.

The standard library asks those of the host alone.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct

A, AAAA, INTERNET = 1, 28, 1
TRIES = 3
HEADER = struct.Struct(">HHHHHH")
RECORD = struct.Struct(">HHIH")
POINTER = 0xC0


class NoAddressError(OSError):
    """The server does not answer, or not with an address."""


def question(name: str, kind: int, ident: int) -> bytes:
    """Return the question for a name's records of a kind (RFC 1035)."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return HEADER.pack(ident, 0, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, INTERNET)


def after_name(packet: bytes, at: int) -> int:
    """Return where a name ends that begins here."""
    while length := packet[at]:
        if length & POINTER == POINTER:
            return at + 2
        at += length + 1
    return at + 1


def addresses(packet: bytes, kind: int, ident: int) -> list[str]:
    """Return the addresses of an answer, at the end of any aliases; raise an error if it is none to this question."""
    try:
        got, flags, questions, records, _, _ = HEADER.unpack_from(packet)
        code = flags & 0xF
        if got != ident or not flags & 0x8000:
            raise NoAddressError("that is no answer to the question")
        if code:
            raise NoAddressError("there is no such name" if code == 3 else f"the server refuses to say (code {code})")
        at = HEADER.size
        for _ in range(questions):
            at = after_name(packet, at) + 4
        found = []
        for _ in range(records):
            at = after_name(packet, at)
            which, _, _, size = RECORD.unpack_from(packet, at)
            at += RECORD.size
            if which == kind:
                found.append(str(ipaddress.ip_address(packet[at : at + size])))
            at += size
    except (struct.error, IndexError, ValueError) as error:
        raise NoAddressError(f"the answer is malformed: {error}") from None
    return found


def look_up(server: str, name: str, timeout: float = 5.0, port: int = 53) -> str:
    """Return the first address that a server gives for a name."""
    try:
        for kind in (A, AAAA):
            if found := addresses(*ask(server, port, name, kind, timeout)):
                return found[0]
    except OSError as error:
        raise NoAddressError(f"{name}, asked from {server}: {error}") from error
    raise NoAddressError(f"{name}, asked from {server}: the name has no address")


def ask(server: str, port: int, name: str, kind: int, timeout: float) -> tuple[bytes, int, int]:
    """Return a server's answer, with kind and number of the question; ask again when a packet seems lost."""
    ident = secrets.randbelow(65536)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout / TRIES)
        sock.connect((server, port))
        for left in reversed(range(TRIES)):
            sock.send(question(name, kind, ident))
            try:
                return sock.recv(4096), kind, ident
            except TimeoutError:
                if not left:
                    raise
    raise AssertionError("not reached")
