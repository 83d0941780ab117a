"""Sessions of real clients through a balancer that was made from the plan alone."""

import re
import time

import pytest
from conftest import BACKENDS, read_plan
from shared.pods import until

BE = "dovecot-backend@be.service"
INTERVAL = 5
# What docs/external.md promises: a check that was just made, the next one, and its timeout.
NOTICED = INTERVAL + 4


@pytest.fixture
def virtual(plan):
    """The virtual address."""
    [found] = plan["virtual_servers"][0]["addresses"]
    return found


@pytest.fixture
def places(speak, sources, virtual):
    """Return a function that says which backend each client gets."""
    return lambda port=993: speak("imap", virtual, port, *sources)


def logged_in(log, service, source):
    """How many logins of a client a log tells of, in the words of either release."""
    words = rf"{service}-login: (Login|Logged in): user=<ann@example\.org>, .*rip={re.escape(source)}, "
    return len(re.findall(words, log))


def shut(host, address, port):
    """Whether a firewall drops what a host sends."""
    code = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    return "TimeoutError" in host.run("python3 -c %s %s %s", code, address, str(port)).stderr


def test_clients_are_spread_kept_on_one_backend_and_known_by_address(
    balancer, places, speak, lines, mail_on, another, address, virtual
):
    first = places()
    assert set(first.values()) == set(BACKENDS.values())
    assert places() == first
    for source in first:
        assert speak("pop3", virtual, 995, source).startswith("+OK")
    put = mail_on(another("client"), "sieve", virtual, "mail.lab.test", "ann@example.org", "keep;\\n")
    assert put["said"] == ["OK", "OK", "OK"]
    sieve = 0
    for backend in BACKENDS.values():
        log = lines(backend, BE)
        for source, place in first.items():
            assert [logged_in(log, name, source) for name in ("imap", "pop3")] == [
                2 * (place == backend),
                int(place == backend),
            ]
        sieve += logged_in(log, "managesieve", address("client"))
    assert sieve == 1


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_the_balancer_alone_speaks_proxy_protocol(balancer, speak, address, lines, another, backend):
    says = "PROXY TCP4 192.0.2.77 192.0.2.78 1000 993\\r\\n"
    assert speak("listener", address(backend), 10993, address("balancer"), says, host="balancer") == backend
    assert "rip=192.0.2.77, lip=192.0.2.78" in lines(backend, BE)
    # The firewall lets nobody else in, and Dovecot believes nobody else.
    for port in (10993, 10995, 14190, 993, 9910):
        assert shut(another("client"), address(backend), port)
    assert "Error" in speak("listener", address(backend), 10993, address(backend), says, host=backend)
    assert f"Client not trusted (rip={address(backend)})" in lines(backend, BE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_stops_says_so_is_taken_out_and_put_back(balancer, places, another, address, backend):
    other = next(name for name in BACKENDS if name != backend)
    where = address(BACKENDS[backend])
    assert BACKENDS[backend] in places().values()
    assert balancer.health(where) == "200"
    another(BACKENDS[backend]).check_output(f"systemctl stop {BE}")
    try:
        # Two seconds for asking by ssh.
        print("503 after", until(lambda: balancer.health(where) == "503", NOTICED + 2))
        print("out after", until(lambda: balancer.status() == {backend: "DOWN", other: "UP"}, 3 * INTERVAL))
        assert set(places().values()) == {BACKENDS[other]}
    finally:
        another(BACKENDS[backend]).check_output(f"systemctl start {BE}")
    print("200 after", until(lambda: balancer.health(where) == "200", NOTICED + 2))
    until(lambda: set(balancer.status().values()) == {"UP"}, 3 * INTERVAL)
    balancer.ask("clear table mail_clients")
    assert BACKENDS[backend] in places().values()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_where_nobody_can_log_in_says_so(balancer, places, another, address, backend):
    """Its ports are open and it greets."""
    host = another(BACKENDS[backend])
    host.check_output("cp -a /etc/dovecot/users /etc/dovecot/users.kept && truncate -s 0 /etc/dovecot/users")
    try:
        until(lambda: balancer.health(address(BACKENDS[backend])) == "503", 2 * NOTICED)
        until(lambda: balancer.status()[backend] == "DOWN", 3 * INTERVAL)
        assert BACKENDS[backend] not in places().values()
    finally:
        host.check_output("mv /etc/dovecot/users.kept /etc/dovecot/users")
    until(lambda: balancer.health(address(BACKENDS[backend])) == "200", 2 * NOTICED)


def test_when_no_backend_passes_clients_are_let_in_all_the_same(balancer, places, settings, address):
    done = settings(health_password="that-was-changed")
    assert done.returncode == 0, done.stdout
    until(lambda: set(balancer.status().values()) == {"DOWN"}, 60)
    assert {balancer.health(address(backend)) for backend in BACKENDS.values()} == {"503"}
    assert set(places().values()) == set(BACKENDS.values())


def test_a_name_that_is_not_on_the_certificate(balancer, settings, address):
    backends = {
        "be1": {"host": "other.lab.test", "address": address("back12")},
        "be2": {"host": "be2.lab.test", "address": address("back13")},
    }
    done = settings(backends=backends)
    assert done.returncode == 0, done.stdout
    assert [balancer.health(address(name)) for name in ("back12", "back13")] == ["503", "200"]


def test_a_drained_backend_gets_nobody_and_loses_nobody(balancer, places, settings, another, address, sources, virtual):
    assert "back12" in places().values()
    held = (
        "import socket,ssl,sys,time\n"
        "c = ssl.create_default_context(cafile='/etc/ssl/dovecluster/ca.pem')\n"
        "raw = socket.create_connection((sys.argv[1], 993), 20, source_address=(sys.argv[2], 0))\n"
        "s = c.wrap_socket(raw, server_hostname='mail.lab.test')\n"
        "s.recv(999); s.sendall(b'a LOGIN ann@example.org not-a-secret-of-any-site\\r\\n'); s.recv(9999)\n"
        "open('/run/held', 'w').write('open')\n"
        "while True:\n"
        "    time.sleep(1); s.sendall(b'b NOOP\\r\\n'); said = s.recv(9999)\n"
        "    open('/run/held', 'w').write(f'{time.time()} {said!r}')\n"
    )
    client = another("client")
    source = next(source for source, place in places().items() if place == "back12")
    client.check_output("systemd-run --quiet --unit=held python3 -c %s %s %s", held, virtual, source)
    try:
        until(lambda: client.run("test -s /run/held").rc == 0, 20)
        done = settings(drained=["be1"])
        assert done.returncode == 0, done.stdout
        assert [balancer.health(address(name)) for name in ("back12", "back13")] == ["503", "200"]
        until(lambda: balancer.status() == {"be1": "DOWN", "be2": "UP"}, 3 * INTERVAL)
        assert set(places().values()) == {"back13"}
        time.sleep(2)
        told, said = client.check_output("cat /run/held").split(" ", 1)
        assert "b OK" in said and time.time() - float(told) < 10
    finally:
        client.run("systemctl stop held; systemctl reset-failed held; rm -f /run/held")


def test_asking_often_costs_no_logins(balancer, another, address, lines):
    """A thousand probes, beside a hundred connections that say nothing."""
    begin = time.time()
    many = (
        "import socket,sys,time,urllib.request\n"
        "silent = [socket.create_connection((sys.argv[1], 9910), 5) for _ in range(40)]\n"
        "begin = time.time()\n"
        "for _ in range(1000): assert urllib.request.urlopen(f'http://{sys.argv[1]}:9910/', timeout=5).status == 200\n"
        "more = [socket.create_connection((sys.argv[1], 9910), 5) for _ in range(100)]\n"
        "time.sleep(4)\n"
        "assert urllib.request.urlopen(f'http://{sys.argv[1]}:9910/', timeout=5).status == 200\n"
        "print(time.time() - begin)\n"
    )
    print("1000 probes in", balancer.host.check_output("python3 -c %s %s", many, address("back12")))
    seconds = time.time() - begin
    log = lines("back12", BE)
    logins = len(re.findall(r"imap-login: (?:Login|Logged in): user=<probe@", log))
    assert 0 < logins <= seconds / INTERVAL + 2


def test_a_backend_is_answered_for_where_its_address_is(balancer, another, virtual):
    """be3 is nowhere. Its address and its instance come to a node, as the cluster brings them."""
    where = f"{virtual.rpartition('.')[0]}.103"
    assert "No route" in balancer.health(where) or "timed out" in balancer.health(where)
    node = another("back12")
    node.check_output(
        "sed 's/^listen = .*/listen = %s/; s,/run/dovecot-be$,/run/dovecot-be3,' /etc/dovecot/backends/be.conf "
        "> /etc/dovecot/backends/be3.conf && ip address add %s/24 dev eth0",
        where,
        where,
    )
    try:
        until(lambda: balancer.health(where) == "503", 20)
        node.check_output("systemctl start dovecot-backend@be3")
        until(lambda: balancer.health(where) == "200", NOTICED + 2)
    finally:
        node.run(
            "systemctl stop dovecot-backend@be3; ip address del %s/24 dev eth0; rm /etc/dovecot/backends/be3.conf",
            where,
        )


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_the_service_can_do_little(another, backend):
    host = another(backend)
    pid = host.check_output("systemctl show --property=MainPID --value backend-health")
    status = host.check_output(f"cat /proc/{pid}/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE) and re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert host.check_output(f"ps -o user= -p {pid}") == "backend-health"
    config = host.file("/etc/dovecluster/backend_health.json")
    assert (config.user, config.mode) == ("backend-health", 0o400)
    told = host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -u backend-health -o cat")
    assert "backend_health.py" in told and "not-a-secret-of-any-site" not in told


def test_clients_reach_backends_by_source_nat(balancer, settings, places, address, lines, another):
    done = settings(forwarding="source_nat")
    assert done.returncode == 0, done.stdout
    balancer.carry_out(read_plan())
    until(lambda: set(balancer.status().values()) == {"UP"}, 60)
    first = places()
    assert set(first.values()) == set(BACKENDS.values())
    for backend in BACKENDS.values():
        assert shut(another("client"), address(backend), 993)
        assert logged_in(lines(backend, BE), "imap", address("balancer")) == list(first.values()).count(backend)


def test_backends_see_clients_through_a_balancer_that_is_transparent(balancer, settings, another, places, lines):
    """It takes their addresses, and backends send what they answer them back through it."""
    done = settings(forwarding="transparent")
    assert done.returncode == 0, done.stdout
    plan = read_plan()
    servers = ", ".join(server["address"] for server in plan["real_servers"])
    ports = ", ".join(str(virtual["real_port"]) for virtual in plan["virtual_servers"])
    back = (
        "table ip lab_balancer {\nchain in {\ntype filter hook prerouting priority mangle\n"
        f"ip saddr {{ {servers} }} tcp sport {{ {ports} }} meta mark set 1\n}}\n}}"
    )
    try:
        balancer.host.check_output(
            "ip rule add fwmark 1 lookup 100 && ip route add local default dev lo table 100 && echo %s | nft -f -", back
        )
        balancer.carry_out(plan)
        until(lambda: set(balancer.status().values()) == {"UP"}, 60)
        first = places()
        assert set(first.values()) == set(BACKENDS.values())
        for backend in BACKENDS.values():
            log = lines(backend, BE)
            for source, place in first.items():
                assert logged_in(log, "imap", source) == (place == backend)
    finally:
        balancer.host.run("nft delete table ip lab_balancer; ip rule del fwmark 1; ip route flush table 100")
        for backend in BACKENDS.values():
            another(backend).check_output("systemctl disable --now lvs-backend")
