"""Sessions of real clients, through both front ends."""

import base64
import imaplib
import os
import re
import socket
import ssl
import time
from pathlib import Path

import pytest
from conftest import BACKENDS
from shared.pods import until

from module_utils.mail_route import parse_shards, shard_of

CA = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory" / "ca.pem"
PASSWORD = "not-a-secret-of-any-site"
BE = "dovecot-backend@be.service"


@pytest.fixture(autouse=True)
def all_is_well(fronts):
    """Every backend is up, and clients of earlier tests are forgotten. What checks said is shown with a failure."""
    for front in fronts:
        until(front.all_up, 60)
    for front in fronts:
        front.ask("clear table mail_clients")
    start = time.time()
    yield
    for front in fronts:
        print(front.address, front.checks_since(start))


@pytest.fixture
def session(fronts):
    """A session of the machine that runs the tests, which stays open, and the backend that it is on."""
    context = ssl.create_default_context(cafile=CA)

    class Imap(imaplib.IMAP4):
        def _create_socket(self, timeout):
            connection = socket.create_connection((self.host, 993), timeout)
            return context.wrap_socket(connection, server_hostname="mail.lab.test")

    opened = Imap(fronts[0].address, timeout=20)
    opened.login("ann@example.org", PASSWORD)
    [mark] = opened.list('""', "on-*")[1]
    yield opened, mark.split()[-1].decode().removeprefix("on-")
    opened.shutdown()


def test_a_client_is_on_one_backend_through_both_front_ends(fronts, places):
    first = places(fronts[0])
    assert set(first.values()) == set(BACKENDS.values())  # spread
    until(lambda: fronts[1].table() == fronts[0].table(), 10)
    assert places(fronts[1]) == first
    for front in fronts:
        assert places(front, 1993) == first


def logged_in(log, service, source, front):
    """How many logins a log tells of, in the words of either release."""
    words = rf"{service}-login: (Login|Logged in): user=<ann@example\.org>, .*rip={source}, lip={front.address}, "
    return len(re.findall(words, log))


@pytest.mark.parametrize("number", [0, 1])
def test_backends_see_the_client_s_address(fronts, places, speak, lines, number):
    front = fronts[number]
    where = places(front)
    for source in where:
        assert speak("pop3", front.address, 995, source).startswith("+OK")
    for backend in BACKENDS.values():
        log = lines(backend, BE)
        for source in where:
            count = 1 if where[source] == backend else 0
            assert [logged_in(log, service, source, front) for service in ("imap", "pop3")] == [count, count]


@pytest.mark.parametrize("number", [0, 1])
def test_sieve_by_starttls(mail_on, another, address, fronts, number, lines):
    front = fronts[number]
    put = mail_on(another("client"), "sieve", front.address, "mail.lab.test", "ann@example.org", "keep;\\n")
    assert put == {"said": ["OK", "OK", "OK"], "plain_before_tls": False}
    seen = [logged_in(lines(backend, BE), "managesieve", address("client"), front) for backend in BACKENDS.values()]
    assert sum(seen) == 1


@pytest.mark.parametrize("number", [0, 1])
def test_smtp_and_http(fronts, sources, speak, lines, number):
    assert speak("smtp", fronts[number].address, 25, sources[0]) == [250, 221]
    assert sum(f"[{sources[0]}]" in lines(backend, "postfix@-") for backend in BACKENDS.values()) == 1
    told = speak("https", fronts[number].address, 443, sources[0])
    assert (told["client"], told["scheme"]) == (sources[0], "https")
    assert told["host"] in BACKENDS.values()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_stops_is_taken_out_and_put_back(fronts, places, another, backend):
    other = next(name for name in BACKENDS if name != backend)
    assert BACKENDS[backend] in places(fronts[0]).values()
    another(BACKENDS[backend]).check_output(f"systemctl stop {BE}")
    try:
        # At once, by the second attempt, and before any check.
        assert set(places(fronts[0]).values()) == {BACKENDS[other]}
        for front in fronts:
            until(lambda front=front: front.status("imaps") == {backend: "DOWN", other: "UP"}, 30)
            assert set(places(front).values()) == {BACKENDS[other]}
    finally:
        another(BACKENDS[backend]).check_output(f"systemctl start {BE}")
    for front in fronts:
        until(lambda front=front: front.status("imaps")[backend] == "UP", 30)
    # Clients stay where they are now. New ones get it.
    for front in fronts:
        front.ask("clear table mail_clients")
    assert BACKENDS[backend] in places(fronts[0]).values()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_where_nobody_can_log_in_is_taken_out(fronts, places, another, backend):
    """Its ports are open and it greets."""
    host = another(BACKENDS[backend])
    # Emptied, as Dovecot 2.3 takes users of a file that is gone from memory, for each second login within a second.
    host.check_output("cp -a /etc/dovecot/users /etc/dovecot/users.kept && truncate -s 0 /etc/dovecot/users")
    try:
        for service in ("imaps", "pop3s", "imaps_terminated"):
            until(lambda service=service: fronts[0].status(service)[backend] == "DOWN", 30)
        assert fronts[0].status("sieve")[backend] == "UP"
        assert BACKENDS[backend] not in places(fronts[0]).values()
    finally:
        host.check_output("mv /etc/dovecot/users.kept /etc/dovecot/users")


@pytest.mark.parametrize("number", [0, 1])
def test_a_front_end_that_is_killed_learns_from_its_peer(fronts, places, number):
    killed = fronts[number]
    before = places(killed)
    assert set(before.values()) == set(BACKENDS.values())
    pid = killed.host.check_output("systemctl show --property=MainPID --value haproxy")
    killed.host.check_output("systemctl kill --signal=KILL haproxy")

    def again():
        now = killed.host.run("systemctl show --property=MainPID --value haproxy").stdout.strip()
        return now not in ("0", pid) and killed.host.run("test -S /run/haproxy/admin.sock").rc == 0

    # With cgroups of version 1, nobody tells systemd in a container that the last process is gone: it may take 90 s.
    until(again, 120)
    until(lambda: set(before) <= set(killed.table()), 60)
    learnt = killed.table()
    assert {source: BACKENDS[learnt[source]] for source in before} == before
    assert places(killed) == before


def test_a_drained_backend_gets_nobody_and_loses_nobody(fronts, places, session, settings):
    held, where = session
    drained = next(name for name in BACKENDS if BACKENDS[name] == where)
    assert where in places(fronts[0]).values()
    done = settings("--check", "--diff", haproxy_drained=[drained])
    assert done.returncode == 0 and " disabled" in done.stdout, done.stdout
    assert "UP" in fronts[0].status("imaps")[drained]  # nothing was changed
    done = settings(haproxy_drained=[drained])
    assert done.returncode == 0, done.stdout
    for front in fronts:
        assert front.status("imaps")[drained] == "MAINT"
        assert where not in places(front).values()
    time.sleep(5)
    assert held.noop()[0] == "OK"


def test_draining_by_the_socket(fronts, places, session):
    held, where = session
    drained = next(name for name in BACKENDS if BACKENDS[name] == where)
    fronts[0].ask(f"set server imaps/{drained} state maint")
    try:
        assert where not in places(fronts[0]).values()
        assert held.noop()[0] == "OK"
    finally:
        fronts[0].ask(f"set server imaps/{drained} state ready")


def test_a_reload_keeps_sessions_and_places(fronts, places, session, settings):
    held, _ = session
    before = places(fronts[0])
    pids = [front.host.check_output("pgrep -u haproxy haproxy").split() for front in fronts]
    done = settings(haproxy_check_interval=3)
    assert done.returncode == 0, done.stdout
    now = [front.host.check_output("pgrep -u haproxy haproxy").split() for front in fronts]
    assert all(set(new) - set(old) for new, old in zip(now, pids, strict=True))
    assert held.noop()[0] == "OK"
    for front in fronts:
        assert places(front) == before


def test_a_backend_with_another_name_on_its_certificate_gets_nobody(fronts, places, settings, address):
    backends = {
        "be1": {"host": "be1.lab.test", "address": address("back12")},
        "be2": {"host": "other.lab.test", "address": address("back13")},
    }
    done = settings(backends=backends)
    assert done.returncode == 0, done.stdout
    until(lambda: fronts[0].status("imaps_terminated") == {"be1": "UP", "be2": "DOWN"}, 30)
    assert "L6RSP" in fronts[0].ask("show stat") and fronts[0].status("imaps") == {"be1": "UP", "be2": "UP"}
    # A check of be1 that is late, on a busy machine, leaves nobody to send clients to.
    until(lambda: set(places(fronts[0], 1993).values()) == {"back12"}, 30)
    backends["be1"]["host"] = "other.lab.test"
    done = settings(backends=backends)
    assert done.returncode == 0, done.stdout
    until(lambda: set(fronts[0].status("imaps_terminated").values()) == {"DOWN"}, 30)
    # Not even when there is nothing to choose from.
    assert all("EOF" in said or "Error" in said for said in places(fronts[0], 1993).values())


def test_when_no_check_passes_clients_are_let_in_all_the_same(fronts, places, settings):
    before = places(fronts[0])
    done = settings(haproxy_probe_password="that-was-changed")
    assert done.returncode == 0, done.stdout
    until(lambda: set(fronts[0].status("imaps").values()) == {"DOWN"}, 60)
    assert places(fronts[0]) == before


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_a_backend_s_listener_believes_front_ends_alone(speak, address, lines, backend):
    says = "PROXY TCP4 192.0.2.77 192.0.2.78 1000 993\\r\\n"
    known = {"front12": address("front12"), "client": address("client")}
    assert speak("listener", address(backend), 10993, known["front12"], says, host="front12") == backend
    assert "rip=192.0.2.77, lip=192.0.2.78" in lines(backend, BE)
    assert "Error" in speak("listener", address(backend), 10993, known["client"], says)
    assert f"Client not trusted (rip={known['client']})" in lines(backend, BE)
    # A front end that does not say for whom it speaks.
    assert "Error" in speak("listener", address(backend), 10993, known["front12"], "", host="front12")
    assert speak("listener", address(backend), 993, known["client"], "") == backend


def test_lmtp_goes_to_the_user_s_own_backend(mail_on, fronts, another):
    """By the user's shard, wherever clients are."""
    own = BACKENDS["be1" if shard_of("ann@example.org") in parse_shards("0-127") else "be2"]
    for front in fronts:
        subject = f"own-{time.time()}"
        assert mail_on(front.host, "lmtp", "127.0.0.1", "", subject, 0, "ann@example.org") == {}
        search = f"doveadm -c /etc/dovecot/backends/be.conf search -u ann@example.org HEADER Subject {subject}"
        assert [name for name in BACKENDS.values() if another(name).check_output(search).strip()] == [own]


def service_addresses(front):
    lines = front.host.check_output("ip -4 -o address show dev eth0").splitlines()
    return [line.split()[3].split("/")[0] for line in lines if "secondary" in line]


def test_keepalived_moves_the_address_of_a_front_end_that_is_silent(fronts):
    until(lambda: [len(service_addresses(front)) for front in fronts] == [1, 1], 60)
    fronts[0].host.check_output("systemctl kill --signal=STOP haproxy")
    try:
        until(lambda: len(service_addresses(fronts[1])) == 2, 60)
    finally:
        fronts[0].host.check_output("systemctl kill --signal=CONT haproxy")
    until(lambda: [len(service_addresses(front)) for front in fronts] == [1, 1], 60)


def test_backends_that_are_all_gone_cost_no_front_end_its_address(fronts, another):
    until(lambda: [len(service_addresses(front)) for front in fronts] == [1, 1], 60)
    for backend in BACKENDS.values():
        another(backend).check_output(f"systemctl stop {BE}")
    try:
        end = time.time() + 20
        while time.time() < end:
            assert [len(service_addresses(front)) for front in fronts] == [1, 1]
            time.sleep(1)
        assert "reaches no backend" in fronts[0].host.check_output(
            "journalctl --since -20s -t front-end-check -o cat; true"
        )
    finally:
        for backend in BACKENDS.values():
            another(backend).check_output(f"systemctl start {BE}")


def test_secrets_are_root_s(fronts):
    secret = base64.b64encode(b"\0probe@example.org\0" + PASSWORD.encode()).decode()
    for front in fronts:
        file = front.host.file("/etc/haproxy/probe.cfg")
        assert (file.user, file.mode) == ("root", 0o600) and secret in file.content_string
        assert secret not in front.host.file("/etc/haproxy/haproxy.cfg").content_string
        told = front.host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -u haproxy -o cat")
        assert "haproxy" in told and secret not in told
        socket_file = front.host.file("/run/haproxy/admin.sock")
        assert (socket_file.user, socket_file.mode) == ("root", 0o600)


def test_metrics_are_for_the_host_itself(fronts, another):
    for front in fronts:
        code = "import sys,urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
        shown = front.host.check_output("python3 -c %s %s", code, "http://127.0.0.1:8405/metrics")
        assert 'haproxy_server_status{proxy="imaps",server="be1",state="UP"} 1' in shown
        assert (
            "Connection refused"
            in another("client").run("python3 -c %s %s", code, f"http://{front.address}:8405/metrics").stderr
        )
