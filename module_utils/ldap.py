"""Just enough LDAP to ask a server whether it can be used, with nothing but Python: no package is there yet.

Nothing here opens a connection: ldap_check does.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

PORT = 636
INTEGER, OCTETS, ENUMERATED, SEQUENCE = 0x02, 0x04, 0x0A, 0x30
BIND, BIND_DONE, UNBIND, SEARCH, SEARCH_DONE = 0x60, 0x61, 0x42, 0x63, 0x65
SIMPLE, PRESENT = 0x80, 0x87
SUCCESS, NO_SUCH_OBJECT, INVALID_CREDENTIALS, INSUFFICIENT_ACCESS = 0, 32, 49, 50


@dataclass(frozen=True)
class Answer:
    """How an operation ended."""

    kind: int
    code: int
    text: str


@dataclass(frozen=True)
class Server:
    """One of several servers that know the same users."""

    uri: str
    host: str
    port: int


def servers(uris: Sequence[str]) -> tuple[list[Server], list[str]]:
    """Return the servers of a list of URIs, and what is wrong with it."""
    found, problems = [], []
    for uri in uris:
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname, parts.port or PORT
        except ValueError:
            host = None
        if host and parts.scheme == "ldaps" and parts.path in ("", "/"):
            found.append(Server(uri, host, port))
        else:
            problems.append(f"{uri} cannot be used; wanted ldaps://NAME or ldaps://NAME:PORT, as passwords go over it")
    return found, problems if found or problems else ["there are no servers; wanted ldaps://NAME"]


# ------------------------------------------------------------------ messages


def element(tag: int, content: bytes) -> bytes:
    """A value as it travels (BER): tag, length, content."""
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(length)]) + length + content


def number(value: int, tag: int = INTEGER) -> bytes:
    """A small number."""
    return element(tag, bytes([value]))


def message(ident: int, operation: bytes) -> bytes:
    """A message with its number."""
    return element(SEQUENCE, number(ident) + operation)


def bind(ident: int, name: str, password: str) -> bytes:
    """The question whether a password is right."""
    return message(
        ident, element(BIND, number(3) + element(OCTETS, name.encode()) + element(SIMPLE, password.encode()))
    )


def look(ident: int, name: str, seconds: int) -> bytes:
    """The question whether an entry is there; none of its attributes."""
    return message(
        ident,
        element(
            SEARCH,
            element(OCTETS, name.encode())
            + number(0, ENUMERATED)  # the entry alone
            + number(0, ENUMERATED)  # aliases as they are
            + number(1)
            + number(min(seconds, 127))
            + element(0x01, b"\0")
            + element(PRESENT, b"objectClass")
            + element(SEQUENCE, element(OCTETS, b"1.1")),
        ),
    )


def unbind(ident: int) -> bytes:
    """The end."""
    return message(ident, element(UNBIND, b""))


def split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The tag and content of the first value, and what follows; nothing while it is not whole."""
    if len(data) < 2:
        return None
    start, length = 2, data[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        return None
    return data[0], data[start : start + length], data[start + length :]


def whole(data: bytes) -> tuple[int, bytes, bytes]:
    """The same of data that is all there."""
    found = split(data)
    if found is None:
        raise ValueError("the server's answer is no LDAP")
    return found


def answer(content: bytes) -> Answer:
    """What a message says, out of its content."""
    _, _, rest = whole(content)  # its number
    kind, operation, _ = whole(rest)
    if kind not in (BIND_DONE, SEARCH_DONE):
        return Answer(kind, SUCCESS, "")
    _, code, rest = whole(operation)
    _, _, rest = whole(rest)  # the part of the name that exists
    _, text, _ = whole(rest)
    return Answer(kind, int.from_bytes(code, "big"), text.decode("utf-8", "replace"))


# ------------------------------------------------------------------ problems


def connection_problem(server: Server, error: Exception, ca_file: str) -> str:
    """Say why there is no connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "ostname mismatch" in error.verify_message or "not valid for" in error.verify_message:
            return f"{server.uri}: its certificate does not cover the name {server.host}"
        return f"{server.uri}: its certificate is not to be trusted ({error.verify_message}; CAs are in {ca_file})"
    if isinstance(error, ssl.SSLError):
        return f"{server.uri}: does not speak TLS ({error.reason or error})"
    return f"{server.uri}: cannot be reached ({getattr(error, 'strerror', None) or error})"


def bind_problem(server: Server, name: str, found: Answer) -> str | None:
    """Say why the account is not let in."""
    if found.code == SUCCESS:
        return None
    if found.code == INVALID_CREDENTIALS:
        return f"{server.uri}: does not let {name} in: the name or the password is wrong"
    return f"{server.uri}: does not let {name} in: {found.text or 'no word'} (LDAP result {found.code})"


def base_problem(server: Server, name: str, base: str, found: Answer, entries: int) -> str | None:
    """Say why nothing can be looked up below the base."""
    if found.code == SUCCESS and entries:
        return None
    if found.code in (SUCCESS, NO_SUCH_OBJECT, INSUFFICIENT_ACCESS):
        return f"{server.uri}: {base} does not exist, or {name} may not read it"
    return f"{server.uri}: {base} cannot be read by {name}: {found.text or 'no word'} (LDAP result {found.code})"
