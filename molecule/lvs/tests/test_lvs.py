"""Connections of real clients, through both front ends."""

import base64
import imaplib
import os
import re
import socket
import ssl
import time
from pathlib import Path

import pytest
from conftest import BACKENDS, PORTS
from shared.pods import lab, until

CA = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory" / "ca.pem"
PASSWORD = "not-a-secret-of-any-site"
BE = "dovecot-backend@be.service"
NOTICED = 60  # seconds: two checks in a row, 10 s apart, each with a second one of the other backend


@pytest.fixture(autouse=True)
def before(all_is_well):
    """Every test begins with both front ends and both backends."""
    all_is_well()


@pytest.fixture
def session():
    """Return a function that opens a session of the machine that runs the tests; it stays open until the test ends."""
    context = ssl.create_default_context(cafile=CA)
    opened = []

    class Imap(imaplib.IMAP4):
        def _create_socket(self, timeout):
            return context.wrap_socket(
                socket.create_connection((self.host, 993), timeout), server_hostname="mail.lab.test"
            )

    def connect(address):
        """The session, and the host that it is on."""
        imap = Imap(address, timeout=30)
        opened.append(imap)
        imap.login("ann@example.org", PASSWORD)
        [mark] = imap.list('""', "on-*")[1]
        return imap, mark.split()[-1].decode().removeprefix("on-")

    yield connect
    for imap in opened:
        imap.shutdown()


def logged_in(log, protocol, source):
    """How many logins a log tells of, in the words of either release."""
    return len(re.findall(rf"{protocol}-login: (Login|Logged in): user=<ann@example\.org>, .*rip={source}, ", log))


def seen(lines, protocol, sources):
    """Which backends tell of a client's login: {client: [host, ...]}."""
    logs = {name: lines(name, BE) for name in BACKENDS.values()}
    return {source: [name for name, log in logs.items() if logged_in(log, protocol, source)] for source in sources}


def moved(holder):
    """Take the service address to the other front end."""
    front, other = holder()
    front.host.check_output("systemctl restart keepalived")
    until(lambda: other.service_addresses(), 30)


def test_a_client_is_on_one_backend_for_all_services_through_both_front_ends(
    service, places, speak, lines, sources, holder
):
    first = places(service)
    assert set(first.values()) == set(BACKENDS.values())  # spread
    moved(holder)
    assert places(service) == first
    for source in sources:
        assert speak("pop3", service, 995, source).startswith("+OK")
    # The backend sees whose connection it is.
    assert seen(lines, "imap", sources) == {source: [name] for source, name in first.items()}
    assert seen(lines, "pop3", sources) == {source: [name] for source, name in first.items()}


def test_sieve_by_starttls(mail_on, another, address, service, lines):
    put = mail_on(another("client"), "sieve", service, "mail.lab.test", "ann@example.org", "keep;\\n")
    assert put == {"said": ["OK", "OK", "OK"], "plain_before_tls": False}
    assert len(seen(lines, "managesieve", [address("client")])[address("client")]) == 1


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_of_a_backend_that_stops_the_clients_alone_move(service, places, another, fronts, address, backend):
    earlier = places(service)
    other = next(name for name in BACKENDS.values() if name != backend)
    another(backend).check_output(f"systemctl stop {BE}")
    try:
        for front in fronts:
            until(lambda front=front: front.weights(service)[address(backend)] == 0, NOTICED)
        now = places(service)
        assert set(now.values()) == {other}
    finally:
        another(backend).check_output(f"systemctl start {BE}")
    for front in fronts:
        until(lambda front=front: front.weights(service)[address(backend)] == 1, NOTICED)
    assert places(service) == earlier


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_a_backend_where_nobody_can_log_in_is_taken_out(service, places, another, fronts, address, backend):
    """Its ports are open and it greets."""
    host = another(backend)
    host.check_output("cp -a /etc/dovecot/users /etc/dovecot/users.kept && truncate -s 0 /etc/dovecot/users")
    try:
        for port in (993, 995):
            until(lambda port=port: fronts[0].weights(service, port)[address(backend)] == 0, NOTICED)
        assert fronts[0].weights(service, 4190)[address(backend)] == 1
        assert backend not in places(service).values()
    finally:
        host.check_output("mv /etc/dovecot/users.kept /etc/dovecot/users")


def outlives(held, holder, service):
    """Take the power of the front end of a session; the session goes on through the other."""
    front, other = holder()
    # Three packets and more: the other front end has been told.
    for _ in range(5):
        held.noop()
    source = held.sock.getsockname()
    until(lambda: f"{source[0]}:{source[1]}" in {client for client, _ in other.connections()}, 20)
    lab("kill", front.name)
    try:
        start = time.monotonic()
        assert held.noop()[0] == "OK"
        print(f"session stood still for {time.monotonic() - start:.1f} s")
        assert other.service_addresses() == [service]
    finally:
        lab("start", front.name)


def test_a_session_outlives_the_power_of_its_front_end(service, session, holder, places, all_is_well):
    earlier = places(service)
    # There, and back again through the one that has just been started.
    for _ in range(2):
        held, _ = session(service)
        outlives(held, holder, service)
        all_is_well()
        assert held.noop()[0] == "OK"
        assert places(service) == earlier


def test_a_drained_backend_gets_nobody_and_loses_nobody(service, places, session, settings, fronts, address):
    held, on = session(service)
    drained = next(name for name in BACKENDS if BACKENDS[name] == on)
    shown = settings("--check", "--diff", "--tags=lvs", lvs_drained=[drained])
    assert "masq 0" in shown
    assert fronts[0].weights(service)[address(on)] == 1  # nothing was changed
    settings("--tags=lvs", lvs_drained=[drained])
    for front in fronts:
        until(lambda front=front: front.weights(service)[address(on)] == 0, 20)
        assert on not in places(service).values()
    assert held.noop()[0] == "OK"


def test_restart_and_reload_keep_sessions_and_places(service, places, session, settings, fronts, all_is_well):
    held, _ = session(service)
    earlier = places(service)
    settings("--tags=lvs", lvs_check_interval=9)
    assert held.noop()[0] == "OK" and places(service) == earlier
    for front in fronts:
        front.host.check_output("systemctl kill --signal=KILL ldirectord")
    assert held.noop()[0] == "OK"
    all_is_well()
    for front in fronts:
        front.host.check_output("systemctl restart ldirectord")
    assert held.noop()[0] == "OK"
    all_is_well()
    assert places(service) == earlier


def test_when_no_check_passes_clients_are_let_in_all_the_same(service, places, settings, fronts):
    earlier = places(service)
    settings("--tags=lvs", lvs_probe_password="that-was-changed")
    until(lambda: "AUTHENTICATIONFAILED" in fronts[0].host.check_output("journalctl -o cat --since -30s"), NOTICED)
    time.sleep(20)
    assert places(service) == earlier


def test_a_backend_with_another_name_on_its_certificate_gets_nobody(service, places, settings, fronts, address):
    backends = {
        "be1": {"host": "be1.lab.test", "address": address("back12")},
        "be2": {"host": "other.lab.test", "address": address("back13")},
    }
    settings("--tags=lvs", backends=backends)
    until(lambda: fronts[0].weights(service) == {address("back12"): 1, address("back13"): 0}, NOTICED)
    assert set(places(service).values()) == {"back12"}


def test_a_front_end_without_ldirectord_gives_its_address_up(service, places, holder):
    earlier = places(service)
    front, other = holder()
    front.host.check_output("systemctl stop ldirectord")
    try:
        until(lambda: other.service_addresses() == [service], 60)
        assert places(service) == earlier
    finally:
        front.host.check_output("systemctl start ldirectord")


def test_by_persistence(service, places, settings, session):
    settings("--tags=lvs", lvs_stickiness="persistence")
    first = places(service)
    assert set(first.values()) == set(BACKENDS.values())
    assert places(service) == first


def test_directly(service, places, settings, session, holder, lines, sources, another, address, all_is_well):
    """Packets as they are, to a backend of Dovecot 2.4, which has the service address, too."""
    settings(forwarding="direct", backends={"be2": {"host": "be2.lab.test", "address": address("back13")}})
    all_is_well([address("back13")])
    assert f"{service}/32" in another("back13").check_output("ip -4 -o address show dev lvs0")
    assert places(service) == dict.fromkeys(sources, "back13")
    assert seen(lines, "imap", sources) == {source: ["back13"] for source in sources}
    # Neighbours learn of the front end alone.
    client = another("client")
    client.check_output("ip neighbour flush dev eth0")
    client.run(f"ping -c1 -W2 {service}")
    mac = holder()[0].host.check_output("cat /sys/class/net/eth0/address").strip()
    assert mac in client.check_output(f"ip neighbour show {service}")
    # Answers do not pass through it.
    held, _ = session(service)
    outlives(held, holder, service)
    all_is_well([address("back13")])


def test_secrets_are_root_s(fronts):
    for front in fronts:
        file = front.host.file("/etc/ha.d/lvs-check.json")
        assert (file.user, file.mode) == ("root", 0o600) and PASSWORD in file.content_string
        assert PASSWORD not in front.host.file("/etc/ha.d/ldirectord.cf").content_string
        told = front.host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -o cat")
        encoded = base64.b64encode(b"\0probe@example.org\0" + PASSWORD.encode()).decode()
        assert "ldirectord" in told and PASSWORD not in told and encoded not in told


def test_services_are_those_of_the_role(fronts, service):
    for front in fronts:
        listed = front.host.check_output("ipvsadm -L -n")
        assert len(re.findall(r"^TCP ", listed, re.MULTILINE)) == len(PORTS)
