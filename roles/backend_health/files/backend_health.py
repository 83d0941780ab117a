"""Tells balancers which backends of this host may get clients: by HTTP, 200 while a login works, else 503.

backend_health.py CONFIG

Every backend is checked by itself every few seconds, and an answer is what the last check found, so asking often costs
nothing. All addresses are listened on from the start: one that another host has now may come with its backend any time.
"""

from __future__ import annotations

import asyncio
import imaplib
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mail_clients import Door, Imap, tls_context

# For each word with a backend. A result is believed for so long after the next check should have begun, and no longer.
SECONDS = 4
# A balancer has asked by then, or is none.
ASKING_SECONDS = 3
MOST_AT_A_TIME = 64
# Of Linux, by kind of address: bind to one that is not here yet.
FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}


def family(address: str) -> socket.AddressFamily:
    """Tell the kind of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_here(address: str) -> bool:
    """Tell whether this host has an address now."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@dataclass
class Backend:
    """A backend, and what is known of it."""

    name: str
    host: str
    address: str
    user: str
    drained: bool
    good_until: float = 0.0
    problem: str | None = None

    def check(self, password: str, ca: str) -> str:
        """Log in and open the mailbox; return what is wrong, or nothing."""
        if self.drained:
            return "drained"
        if not is_here(self.address):
            return "not on this host"
        try:
            with Imap(Door(self.address, self.host, tls_context(ca), SECONDS)) as session:
                session.login(self.user, password)
                answer, _ = session.select(readonly=True)
                if answer != "OK":
                    return f"{self.user} cannot open INBOX"
        except (OSError, imaplib.IMAP4.error) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def learn(self, problem: str, interval: float) -> None:
        """Remember what a check found; say what has changed."""
        self.good_until = 0.0 if problem else time.monotonic() + interval + SECONDS
        if problem != self.problem:
            print(f"{self.name}: {problem or 'gets clients'}", flush=True)
            self.problem = problem

    def answer(self, request: bytes) -> tuple[int, str]:
        """Answer the first line of a request."""
        words = request.split()
        if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
            return 400, "GET / is all there is"
        if words[1] != b"/":
            return 404, "GET / is all there is"
        if time.monotonic() < self.good_until:
            return 200, f"{self.name} gets clients"
        return 503, f"{self.name} gets no new clients"


class Server:
    """All backends of this host."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Take the configuration."""
        self.config = config
        drained = config["drained"]
        self.backends = [
            Backend(name, values["host"], values["address"], values["user"], name in drained)
            for name, values in config["backends"].items()
        ]
        # A check that hangs holds up its own backend alone.
        self.workers = ThreadPoolExecutor(len(self.backends) or 1)
        self.asking = 0
        self.listening: list[asyncio.Server] = []

    async def check(self, backend: Backend) -> None:
        """Check a backend once."""
        loop = asyncio.get_running_loop()
        problem = await loop.run_in_executor(self.workers, backend.check, self.config["password"], self.config["ca"])
        backend.learn(problem, self.config["interval"])

    async def watch(self, backend: Backend) -> None:
        """Check a backend again and again."""
        while True:
            await asyncio.sleep(self.config["interval"])
            await self.check(backend)

    async def listen(self, backend: Backend) -> None:
        """Answer at a backend's address."""
        opened = socket.socket(family(backend.address), socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(*FREEBIND[opened.family], 1)
        opened.bind((backend.address, self.config["port"]))

        async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.serve(backend, reader, writer)

        self.listening.append(await asyncio.start_server(asked, sock=opened, limit=4096))

    async def serve(self, backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self.asking += 1
        try:
            if self.asking > MOST_AT_A_TIME:
                return
            async with asyncio.timeout(ASKING_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                first = head.partition(b"\r\n")[0]
                status, text = backend.answer(first)
                body = f"{text}\n".encode()
                writer.write(
                    f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                )
                if not first.startswith(b"HEAD "):
                    writer.write(body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever breaks off gets no answer
        finally:
            self.asking -= 1
            writer.close()

    async def run(self) -> None:
        """Know all backends, then answer for them, for ever."""
        await asyncio.gather(*map(self.check, self.backends))
        await asyncio.gather(*map(self.listen, self.backends))
        await asyncio.gather(*map(self.watch, self.backends))


def main() -> None:
    """Run the service."""
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    asyncio.run(Server(config).run())


if __name__ == "__main__":
    main()
