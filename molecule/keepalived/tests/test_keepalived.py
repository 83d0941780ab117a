import time

import pytest

testinfra_hosts = ["ansible://front12a", "ansible://front13a"]


@pytest.fixture
def peer(host, another):
    return another(host.backend.get_hostname().replace("a", "b"))


def service_addresses(host):
    lines = host.check_output("ip -4 -o address show dev eth0").splitlines()
    return {line.split()[3].split("/")[0] for line in lines if "secondary" in line}


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} seconds")


def test_addresses_are_spread(host, peer):
    wait_for(lambda: len(service_addresses(host)) == len(service_addresses(peer)) == 1)


@pytest.mark.parametrize(
    "break_it, mend_it",
    [
        ("systemctl stop dovecot", "systemctl start dovecot"),
        ("systemctl kill --signal=STOP dovecot", "systemctl kill --signal=CONT dovecot"),
        ("systemctl stop postfix", "systemctl start postfix"),
        ("systemctl stop keepalived", "systemctl start keepalived"),
    ],
)
def test_a_host_that_does_not_answer_gives_its_address_up(host, peer, break_it, mend_it):
    wait_for(lambda: len(service_addresses(host)) == 1)
    host.run(break_it)
    try:
        wait_for(lambda: len(service_addresses(peer)) == 2)
    finally:
        host.run(mend_it)
    wait_for(lambda: len(service_addresses(host)) == len(service_addresses(peer)) == 1)


def test_secret_is_for_the_check_alone(host):
    file = host.file("/etc/keepalived/check.json")
    assert (file.user, file.mode) == ("keepalived_script", 0o400)
