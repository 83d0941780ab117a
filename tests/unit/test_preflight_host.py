"""What a host says about itself, read from real output."""

import json
import socket
from typing import Any

import pytest

from library import preflight_host

ADDRESSES = json.dumps(
    [
        {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
        {
            "ifname": "eth0",
            "addr_info": [
                {"family": "inet", "local": "192.0.2.11", "prefixlen": 24},
                {"family": "inet6", "local": "2001:db8::11", "prefixlen": 64},
            ],
        },
        {},
    ]
)
RELEASES = {
    'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n': True,
    'ID=debian\nVERSION_ID="13"\n': True,
    'PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\nID=debian\nVERSION_ID="11"\n': False,
    'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n': False,
    'PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n': False,
    "": False,
}


@pytest.mark.parametrize("text", RELEASES)
def test_releases(text: str) -> None:
    problems = preflight_host.release_problems(preflight_host.parse_os_release(text))
    assert (problems == []) is RELEASES[text]


def test_dns_that_answers_no_is_fine_and_silence_is_not() -> None:
    def lookup(error: int) -> Any:
        def refuse(name: str, port: None) -> None:
            raise socket.gaierror(error, "as the resolver says")

        return refuse

    assert preflight_host.dns_problems("", lookup(socket.EAI_AGAIN)) == []
    assert preflight_host.dns_problems("mail.example.org", lookup(socket.EAI_NONAME)) == []
    [problem] = preflight_host.dns_problems("mail.example.org", lookup(socket.EAI_AGAIN))
    assert (problem["variable"], problem["found"]) == ("DNS", "no answer about mail.example.org")


def test_names_in_etc_hosts_without_our_own() -> None:
    text = """127.0.0.1\tlocalhost # loopback
192.0.2.11 mail1.nodes.example.org Mail1
# 192.0.2.99 mail2
# BEGIN dovecluster
198.51.100.12 mail2.nodes.example.org mail2
# END dovecluster

192.0.2.98 mail2
"""
    assert preflight_host.parse_hosts_file(text) == {
        "localhost": ["127.0.0.1"],
        "mail1.nodes.example.org": ["192.0.2.11"],
        "mail1": ["192.0.2.11"],
        "mail2": ["192.0.2.98"],
    }


def test_addresses() -> None:
    found = preflight_host.parse_addresses(ADDRESSES)
    assert list(found) == ["127.0.0.1", "192.0.2.11", "2001:db8::11"]


@pytest.mark.parametrize(
    ("address", "judged"),
    [("192.0.2.31", True), ("2001:db8::31", True), ("203.0.113.1", False), ("nonsense", False), ("", False)],
)
def test_only_addresses_on_the_link_are_judged(address: str, judged: bool) -> None:
    networks = preflight_host.parse_addresses(ADDRESSES).values()
    assert preflight_host.on_link(address, networks) is judged


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ('[{"dst":"192.0.2.31","dev":"eth0","lladdr":"02:42:00:00:00:01","state":["REACHABLE"]}]', True),
        ('[{"dst":"192.0.2.31","dev":"eth0","lladdr":"02:42:00:00:00:01","state":["STALE"]}]', False),
        ('[{"dst":"192.0.2.31","dev":"eth0","state":["FAILED"]}]', False),
        ("[]", False),
        ("", False),
    ],
)
def test_neighbours(text: str, answers: bool) -> None:
    assert preflight_host.reachable(text) is answers
