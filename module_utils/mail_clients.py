"""Mail clients that go to one address and verify the certificate of another name.

A front door has one name and several addresses. A test must choose the address itself, and still verify
the name on the certificate as every mail client does. The classes of the standard library connect to the
name they verify; these take both.
"""

from __future__ import annotations

import imaplib
import poplib
import re
import smtplib
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass

QUOTA = re.compile(rb"(STORAGE|MESSAGE) (\d+) (\d+)")


@dataclass(frozen=True)
class Door:
    """One address of a service, the name its certificate must carry, and how long to wait for it."""

    address: str
    hostname: str
    tls: ssl.SSLContext
    timeout: float = 10.0

    def connect(self, port: int, timeout: float | None = None) -> socket.socket:
        """Open a TCP connection to the door."""
        return socket.create_connection((self.address, port), timeout or self.timeout)

    def secure(self, sock: socket.socket) -> ssl.SSLSocket:
        """Start TLS on a connection and verify the certificate."""
        return self.tls.wrap_socket(sock, server_hostname=self.hostname)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trust this CA only, or the system's when no file is named."""
    return ssl.create_default_context(cafile=ca_file)


class Imap(imaplib.IMAP4):
    """IMAP inside TLS."""

    def __init__(self, door: Door, port: int = 993) -> None:
        """Connect and read the greeting."""
        self._door = door
        super().__init__(door.address, port, timeout=door.timeout)

    def _create_socket(self, timeout: float | None) -> ssl.SSLSocket:
        return self._door.secure(self._door.connect(self.port, timeout))


class Pop3(poplib.POP3):
    """POP3 inside TLS."""

    def __init__(self, door: Door, port: int = 995) -> None:
        """Connect and read the greeting."""
        self._door = door
        super().__init__(door.address, port, timeout=door.timeout)

    def _create_socket(self, timeout: float) -> ssl.SSLSocket:  # type: ignore[override]
        return self._door.secure(self._door.connect(self.port, timeout))


class Smtp(smtplib.SMTP):
    """SMTP with STARTTLS, greeted and secured when made."""

    def __init__(self, door: Door, port: int = 25) -> None:
        """Connect, greet, start TLS."""
        self._door = door
        # smtplib takes the name to verify from the host it was given.
        super().__init__(door.hostname, port, timeout=door.timeout)
        try:
            self.starttls(context=door.tls)
            self.ehlo_or_helo_if_needed()
        except BaseException:
            self.close()
            raise

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._door.connect(port, timeout)


class Lmtp(smtplib.LMTP):
    """LMTP inside TLS, as backends speak it."""

    def __init__(self, door: Door, port: int = 24) -> None:
        """Connect and greet."""
        self._door = door
        super().__init__(door.hostname, port, timeout=door.timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._door.secure(self._door.connect(port, timeout))


class Submission(smtplib.SMTP):
    """Message submission inside TLS (RFC 8314)."""

    def __init__(self, door: Door, port: int = 465) -> None:
        """Connect and greet."""
        self._door = door
        super().__init__(door.hostname, port, timeout=door.timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._door.secure(self._door.connect(port, timeout))


class SieveError(Exception):
    """The ManageSieve server refused a command."""


class Sieve:
    """As much ManageSieve (RFC 5804) as it takes to upload, list and remove a script."""

    def __init__(self, door: Door, port: int = 4190) -> None:
        """Connect, read the capabilities, start TLS."""
        self._sock = door.connect(port)
        self._file = self._sock.makefile("rb")
        try:
            self._answer("greeting")
            self._send(b"STARTTLS", "STARTTLS")
            secured = door.secure(self._sock)
            self._sock, self._file = secured, secured.makefile("rb")
            self._answer("greeting after STARTTLS")
        except BaseException:
            self.close()
            raise

    def login(self, user: str, password: str) -> None:
        """Log in by PLAIN."""
        token = b64encode(f"\0{user}\0{password}".encode())
        self._send(b'AUTHENTICATE "PLAIN" "' + token + b'"', "AUTHENTICATE")

    def put(self, name: str, script: str) -> None:
        """Upload a script, which the server compiles and stores."""
        body = script.encode()
        self._send(b'PUTSCRIPT "%s" {%d+}\r\n%s' % (name.encode(), len(body), body), f"PUTSCRIPT {name}")

    def names(self) -> list[str]:
        """Name the stored scripts."""
        lines = self._send(b"LISTSCRIPTS", "LISTSCRIPTS")
        return [line.split(b'"')[1].decode() for line in lines if line.startswith(b'"')]

    def delete(self, name: str) -> None:
        """Remove a script."""
        self._send(b'DELETESCRIPT "%s"' % name.encode(), f"DELETESCRIPT {name}")

    def close(self) -> None:
        """Close without waiting for an answer."""
        self._file.close()
        self._sock.close()

    def _send(self, line: bytes, what: str) -> list[bytes]:
        self._sock.sendall(line + b"\r\n")
        return self._answer(what)

    def _answer(self, what: str) -> list[bytes]:
        """Read up to the line that ends an answer; its text may be a literal."""
        lines: list[bytes] = []
        while True:
            line = self._file.readline()
            if not line:
                raise SieveError(f"{what}: the server closed the connection")
            literal = re.search(rb"\{(\d+)\+?\}\r?\n$", line)
            if literal:
                line += self._file.read(int(literal[1])) + self._file.readline()
            word = line.split(None, 1)[0].upper() if line.strip() else b""
            if word == b"OK":
                return lines
            if word in (b"NO", b"BYE"):
                raise SieveError(f"{what}: {line.decode(errors='replace').strip()}")
            lines.append(line)


def parse_quota(lines: list[bytes]) -> dict[str, dict[str, int]]:
    """Turn the untagged QUOTA answers of IMAP into {storage: {used, limit}}, storage in KiB."""
    found = {}
    for line in lines:
        for resource, used, limit in QUOTA.findall(line or b""):
            found[resource.decode().lower()] = {"used": int(used), "limit": int(limit)}
    return found


def stored_by(headers: str) -> str:
    """Name the host that stored a mail: who wrote its newest Received line.

    A proxied session says nothing of the host behind it, but LMTP stamps what it stores, on every release.
    """
    unfolded = re.sub(r"\r?\n[ \t]+", " ", headers)
    for line in unfolded.splitlines():
        if line.lower().startswith("received:"):
            by = re.search(r"\bby ([^\s;]+)", line)
            return by[1] if by else ""
    return ""
