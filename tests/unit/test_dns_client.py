"""A question to a name server, and what is made of its answers."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from module_utils import dns_client
from module_utils.dns_client import NoAddressError, addresses, look_up, question

NAME = "ann.imap.example.org"
IDENT = 0x1234


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


def answer(*records: bytes, ident: int = IDENT, flags: int = 0x8400) -> bytes:
    head = struct.pack(">HHHHHH", ident, flags, 1, len(records), 0, 0)
    return head + question(NAME, 1, ident)[12:] + b"".join(records)


# As Knot answers: the name is an alias of its shard, that one of a backend, which has the address.
ALIAS = record(b"\xc0\x0c", 5, b"\x027f\x08x--shard\xc0\x10")
ADDRESS = record(b"\x03be1\xc0\x10", 1, bytes([192, 0, 2, 31]))


def test_a_question_is_one_for_the_name() -> None:
    assert question("a.bc", 1, 7) == b"\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01"


def test_the_address_at_the_end_of_aliases() -> None:
    assert addresses(answer(ALIAS, ADDRESS), 1, IDENT) == ["192.0.2.31"]
    assert addresses(answer(ALIAS), 1, IDENT) == []
    six = record(b"\xc0\x0c", 28, bytes(15) + b"\x01")
    assert addresses(answer(ALIAS, six), 28, IDENT) == ["::1"]


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (answer(ADDRESS, ident=1), "no answer to the question"),
        (answer(ADDRESS, flags=0x0400), "no answer to the question"),
        (answer(flags=0x8403), "no such name"),
        (answer(flags=0x8405), "refuses to say"),
        (answer(ALIAS, ADDRESS)[:-2], "malformed"),
        (b"", "malformed"),
    ],
)
def test_what_is_no_address(packet: bytes, said: str) -> None:
    with pytest.raises(NoAddressError, match=said):
        addresses(packet, 1, IDENT)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int, int, int], bytes | None]], int]]:
    """Return a function that starts a server, which answers by count, ident and kind, and returns its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def start(say: Callable[[int, int, int], bytes | None]) -> int:
            def run() -> None:
                count = 0
                while True:
                    try:
                        packet, client = sock.recvfrom(512)
                    except OSError:
                        return
                    count += 1
                    ident, kind = int.from_bytes(packet[:2]), int.from_bytes(packet[-4:-2])
                    if said := say(count, ident, kind):
                        sock.sendto(said, client)

            threading.Thread(target=run, daemon=True).start()
            return int(sock.getsockname()[1])

        yield start


def test_a_lost_packet_is_sent_again(serve: Callable[..., int]) -> None:
    port = serve(lambda count, ident, kind: answer(ALIAS, ADDRESS, ident=ident) if count > 1 else None)
    assert look_up("127.0.0.1", NAME, 1.5, port) == "192.0.2.31"


def test_a_name_with_an_ipv6_address(serve: Callable[..., int]) -> None:
    six = record(b"\xc0\x0c", 28, bytes(15) + b"\x01")
    port = serve(
        lambda count, ident, kind: answer(six, ident=ident) if kind == dns_client.AAAA else answer(ident=ident)
    )
    assert look_up("127.0.0.1", NAME, 1.5, port) == "::1"


def test_errors_name_the_server_and_the_name(serve: Callable[..., int]) -> None:
    port = serve(lambda count, ident, kind: answer(ident=ident))
    with pytest.raises(
        NoAddressError, match=r"ann\.imap\.example\.org, asked from 127\.0\.0\.1: the name has no address"
    ):
        look_up("127.0.0.1", NAME, 1.5, port)


def test_a_silent_server_ends_in_time(serve: Callable[..., int]) -> None:
    port = serve(lambda count, ident, kind: None)
    with pytest.raises(NoAddressError, match="timed out"):
        look_up("127.0.0.1", NAME, 0.3, port)
