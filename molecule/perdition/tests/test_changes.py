"""What changes front ends, or breaks them; apart from the rest, as it takes both."""

import pytest
from conftest import Imap, gets_in, said
from shared.pods import until

FRONTS = ("front12", "front13")


def own(another, name):
    return another(name).ansible.get_variables()["mail_client_address"]


def service_addresses(host):
    lines = host.check_output("ip -4 -o address show dev eth0").splitlines()
    return {line.split()[3].split("/")[0] for line in lines if "secondary" in line}


def test_a_backend_of_another_ca_gets_no_password(another, play):
    def front_ends(**variables):
        done = play("molecule/perdition/converge.yml", "--tags=perdition", **variables)
        assert done.returncode == 0, done.stdout

    kept = {}
    try:
        for name in FRONTS:
            kept[name] = Imap(own(another, name))
            kept[name].login("ann@example.org", "not-a-secret-of-any-site")
        front_ends(perdition_tls_ca="/etc/ssl/certs/ssl-cert-snakeoil.pem", perdition_protocols=["imaps", "pop3s"])
        for name in FRONTS:
            assert kept[name].noop()[0] == "OK"
            assert said(Imap(own(another, name))).startswith(("abort", "SSLEOFError", "ConnectionResetError"))
            assert not another(name).socket("tcp://0.0.0.0:143").is_listening
    finally:
        front_ends()
    for name in FRONTS:
        until(lambda name=name: gets_in(own(another, name)), 20)
        assert another(name).socket("tcp://0.0.0.0:143").is_listening


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"perdition_protocols": ["imaps", "smtp"]}, "value of perdition_protocols must be one or more of"),
        ({"perdition_connections": "many"}, "cannot be converted to an int"),
    ],
)
def test_bad_value_is_refused(play, variables, words):
    done = play("molecule/perdition/converge.yml", "--tags=perdition", **variables)
    assert done.returncode != 0
    assert all(f"fatal: [{name}]" in done.stdout for name in FRONTS)
    assert words in " ".join(done.stdout.split()), done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout


@pytest.fixture(params=FRONTS)
def pair(request, another):
    """A front end and its peer, which have one address each."""
    fronts = [another(name) for name in (request.param, *(name for name in FRONTS if name != request.param))]
    until(lambda: [len(service_addresses(host)) for host in fronts] == [1, 1], 60)
    yield fronts
    until(lambda: [len(service_addresses(host)) for host in fronts] == [1, 1], 60)


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        ("systemctl stop perdition@imaps", "systemctl start perdition@imaps"),
        ("systemctl stop perdition-map.socket perdition-map", "systemctl start perdition-map.socket"),
        ("systemctl kill --signal=STOP perdition-map", "systemctl kill --signal=CONT perdition-map"),
        ("systemctl stop dovecot", "systemctl start dovecot"),
    ],
)
def test_a_front_end_that_lets_nobody_in_gives_its_address_up(pair, break_it, mend_it):
    host, peer = pair
    host.check_output(break_it)
    try:
        until(lambda: len(service_addresses(peer)) == 2, 60)
    finally:
        host.check_output(mend_it)


def test_a_backend_that_is_down_costs_no_address(another):
    """It is the one of the probe."""
    fronts = [another(name) for name in FRONTS]
    until(lambda: [len(service_addresses(host)) for host in fronts] == [1, 1], 60)
    another("back13").check_output("systemctl stop dovecot-backend@be")
    try:
        for host in fronts:
            until(
                lambda host=host: host.run("runuser -u keepalived_script /usr/local/sbin/front-end-check").rc == 0, 30
            )
    finally:
        another("back13").check_output("systemctl start dovecot-backend@be")
