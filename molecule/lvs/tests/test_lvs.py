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


def test_a_client_is_on_one_backend_for_all_services_through_both_front_ends(service, places, speak, lines, sources):
    first = places(service[0])
    assert set(first.values()) == set(BACKENDS.values())  # spread
    assert places(service[1]) == first
    for source in sources:
        assert speak("pop3", service[0], 995, source).startswith("+OK")
    # The backend sees whose connection it is.
    assert seen(lines, "imap", sources) == {source: [name] for source, name in first.items()}
    assert seen(lines, "pop3", sources) == {source: [name] for source, name in first.items()}


def test_sieve_by_starttls(mail_on, another, address, service, lines):
    put = mail_on(another("client"), "sieve", service[0], "mail.lab.test", "ann@example.org", "keep;\\n")
    assert put == {"said": ["OK", "OK", "OK"], "plain_before_tls": False}
    assert len(seen(lines, "managesieve", [address("client")])[address("client")]) == 1


def test_only_the_front_end_is_asked_for_a_service_address(another, service, fronts):
    """Neighbours of backends that have it, too."""
    client = another("client")
    for number, front in enumerate(fronts):
        client.check_output("ip neighbour flush dev eth0")
        client.run("ping -c1 -W2 %s", service[number])
        mac = front.host.check_output("cat /sys/class/net/eth0/address").strip()
        assert mac in client.check_output("ip neighbour show %s", service[number])


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_of_a_backend_that_stops_the_clients_alone_move(service, places, another, fronts, address, backend):
    earlier = places(service[0])
    other = next(name for name in BACKENDS.values() if name != backend)
    another(backend).check_output(f"systemctl stop {BE}")
    try:
        for front in fronts:
            until(lambda front=front: front.weights(service[0])[address(backend)] == 0, 30)
        now = places(service[0])
        assert set(now.values()) == {other}
    finally:
        another(backend).check_output(f"systemctl start {BE}")
    for front in fronts:
        until(lambda front=front: front.weights(service[0])[address(backend)] == 1, 30)
    assert places(service[0]) == earlier


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_a_backend_where_nobody_can_log_in_is_taken_out(service, places, another, fronts, address, backend):
    """Its ports are open and it greets."""
    host = another(backend)
    host.check_output("cp -a /etc/dovecot/users /etc/dovecot/users.kept && truncate -s 0 /etc/dovecot/users")
    try:
        for port in (993, 995):
            until(lambda port=port: fronts[0].weights(service[0], port)[address(backend)] == 0, 40)
        assert fronts[0].weights(service[0], 4190)[address(backend)] == 1
        assert backend not in places(service[0]).values()
    finally:
        host.check_output("mv /etc/dovecot/users.kept /etc/dovecot/users")


@pytest.mark.parametrize("number", [0, 1])
def test_a_session_outlives_the_power_of_its_front_end(service, session, fronts, number):
    other = fronts[1 - number]
    held, _ = session(service[number])
    # Six packets and more: the other front end has been told.
    for _ in range(5):
        held.noop()
    source = held.sock.getsockname()
    until(lambda: f"{source[0]}:{source[1]}" in {client for client, _ in other.connections()}, 20)
    lab("kill", fronts[number].name)
    try:
        start = time.monotonic()
        assert held.noop()[0] == "OK"
        print(f"session stood still for {time.monotonic() - start:.1f} s")
        assert sorted(other.service_addresses()) == sorted(service)
        session(service[number])
    finally:
        lab("start", fronts[number].name)


def test_a_drained_backend_gets_nobody_and_loses_nobody(service, places, session, settings, fronts, address):
    held, on = session(service[0])
    drained = next(name for name in BACKENDS if BACKENDS[name] == on)
    shown = settings("--check", "--diff", "--tags=lvs", lvs_drained=[drained])
    assert "gate 0" in shown
    assert fronts[0].weights(service[0])[address(on)] == 1  # nothing was changed
    settings("--tags=lvs", lvs_drained=[drained])
    for front in fronts:
        until(lambda front=front: front.weights(service[0])[address(on)] == 0, 20)
        assert on not in places(service[0]).values()
    assert held.noop()[0] == "OK"


def test_restart_and_reload_keep_sessions_and_places(service, places, session, settings, fronts, all_is_well):
    held, _ = session(service[0])
    earlier = places(service[0])
    settings("--tags=lvs", lvs_check_interval=3)
    assert held.noop()[0] == "OK" and places(service[0]) == earlier
    for front in fronts:
        front.host.check_output("systemctl kill --signal=KILL ldirectord")
    assert held.noop()[0] == "OK"
    all_is_well()
    for front in fronts:
        front.host.check_output("systemctl restart ldirectord")
    assert held.noop()[0] == "OK"
    all_is_well()
    assert places(service[0]) == earlier


def test_when_no_check_passes_clients_are_let_in_all_the_same(service, places, settings, fronts):
    earlier = places(service[0])
    settings("--tags=lvs", lvs_probe_password="that-was-changed")
    until(lambda: "AUTHENTICATIONFAILED" in fronts[0].host.check_output("journalctl -o cat --since -30s"), 30)
    time.sleep(10)
    assert places(service[0]) == earlier


def test_a_backend_with_another_name_on_its_certificate_gets_nobody(service, places, settings, fronts, address):
    backends = {
        "be1": {"host": "be1.lab.test", "address": address("back12")},
        "be2": {"host": "other.lab.test", "address": address("back13")},
    }
    settings("--tags=lvs", backends=backends)
    until(lambda: fronts[0].weights(service[0]) == {address("back12"): 1, address("back13"): 0}, 40)
    assert set(places(service[0]).values()) == {"back12"}


def test_a_front_end_without_ldirectord_gives_its_address_up(service, places, fronts):
    earlier = places(service[0])
    fronts[0].host.check_output("systemctl stop ldirectord")
    try:
        until(lambda: sorted(fronts[1].service_addresses()) == sorted(service), 60)
        assert places(service[0]) == earlier
    finally:
        fronts[0].host.check_output("systemctl start ldirectord")


def test_by_persistence(service, places, settings, session):
    settings("--tags=lvs", lvs_stickiness="persistence")
    first = places(service[0])
    assert set(first.values()) == set(BACKENDS.values())
    assert places(service[0]) == first


def test_by_nat(service, places, settings, session, fronts, lines, sources, another, all_is_well):
    """One address, whose front end answers pass through."""
    settings(forwarding="nat", service_addresses=service[:1])
    all_is_well(service[0])
    for name in BACKENDS.values():
        assert service[0] not in another(name).check_output("ip -4 -o address")
    first = places(service[0])
    assert set(first.values()) == set(BACKENDS.values())
    assert seen(lines, "imap", sources) == {source: [name] for source, name in first.items()}
    held, _ = session(service[0])
    for _ in range(5):
        held.noop()
    holder = next(front for front in fronts if front.service_addresses())
    other = next(front for front in fronts if front is not holder)
    source = held.sock.getsockname()
    until(lambda: f"{source[0]}:{source[1]}" in {client for client, _ in other.connections()}, 20)
    lab("kill", holder.name)
    try:
        assert held.noop()[0] == "OK"
        assert places(service[0]) == first
    finally:
        lab("start", holder.name)
    all_is_well(service[0])


def test_secrets_are_root_s(fronts):
    for front in fronts:
        file = front.host.file("/etc/ha.d/lvs-check.json")
        assert (file.user, file.mode) == ("root", 0o600) and PASSWORD in file.content_string
        assert PASSWORD not in front.host.file("/etc/ha.d/ldirectord.cf").content_string
        told = front.host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -o cat")
        encoded = base64.b64encode(b"\0probe@example.org\0" + PASSWORD.encode()).decode()
        assert "lvs-check" in told and PASSWORD not in told and encoded not in told


def test_services_are_those_of_the_role(fronts, service):
    for front in fronts:
        listed = front.host.check_output("ipvsadm -L -n")
        assert len(re.findall(r"^TCP ", listed, re.MULTILINE)) == len(service) * len(PORTS)
