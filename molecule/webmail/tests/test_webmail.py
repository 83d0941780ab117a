"""People read and send mail in a browser, whatever happens to the host that serves them."""

import pytest
from conftest import PASSWORD, USER
from shared.pods import lab, until

# Hosts are found by the fixtures.
testinfra_hosts = ["ansible://client"]
DONE = ["logged in", "sent", "read", "logged out"]


@pytest.fixture(autouse=True)
def whole(pair):
    """Every test starts with a pair that is whole, and leaves one."""
    until(pair.is_whole, 60)
    yield
    until(pair.is_whole, 180)


def test_a_person_reads_and_sends_mail(pair, visit):
    said, log = visit()
    assert [line.split()[0] for line in said] == [line.split()[0] for line in DONE], log


def test_a_session_outlives_the_host_that_served_it(pair, visit):
    before = pair.requests()
    killed = []

    def lose_power():
        after = pair.requests()
        served = [name for name in pair.names if after[name] > before[name]]
        assert len(served) == 1, (before, after)
        killed.extend(served)
        lab("kill", served[0])

    try:
        said, log = visit(lose_power)
        assert [line.split()[0] for line in said] == [line.split()[0] for line in DONE], log
        print(f"{killed[0]} lost power; the mail was read after {said[2].split()[1]} s")
    finally:
        for name in killed:
            lab("start", name)


def test_all_hosts_lose_power_together(pair, visit):
    """Members and the third vote: the database comes back by itself, with all it had."""
    users = pair.sql(pair.names[0], "SELECT count(*) FROM users")
    assert int(users) > 0
    names = [*pair.names, pair.vote]
    for name in names:
        lab("kill", name)
    for name in names:
        lab("start", name)
    until(pair.is_whole, 240)
    assert {pair.sql(name, "SELECT count(*) FROM users") for name in pair.names} == {users}
    said, log = visit()
    assert len(said) == len(DONE), log


def test_a_member_that_is_alone_serves_nobody(pair, another):
    """Cut off from the others, it must not take what they would not know of."""
    name, host = pair.names[0], pair.hosts[pair.names[0]]
    others = [another(other) for other in (pair.names[1], pair.vote)]
    addresses = [other.ansible.get_variables()["mail_client_address"] for other in others]
    for address in addresses:
        host.check_output(f"ip route add unreachable {address}")
    try:
        until(lambda: pair.sql(name, "SELECT count(*) FROM users") == "", 60)
        assert int(pair.sql(pair.names[1], "SELECT count(*) FROM users")) >= 0
        health = f"curl -s -o /dev/null -w '%{{http_code}}' -k https://{name}.lab.test:8443/health"
        asked_by = another("front12")
        if pair.vote != "front12":  # else the balancer cannot reach it at all
            until(lambda: asked_by.run(health).stdout == "503", 30)
        until(lambda: "DOWN" in pair.status(name), 30)
    finally:
        for address in addresses:
            host.check_output(f"ip route del unreachable {address}")
    until(lambda: "UP" in pair.status(name), 60)


def test_only_balancers_may_ask_for_health(pair, another):
    host = pair.names[0]
    command = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/ssl/dovecluster/ca.pem https://{host}.lab.test:8443/health"
    assert another("front12").check_output(command) == "200"
    assert pair.client.check_output(command) == "403"


def test_the_database_listens_to_no_client_and_talks_with_tls(pair, another):
    for name in pair.names:
        host = pair.hosts[name]
        ports = {line.split()[3].rpartition(":")[2] for line in host.check_output("ss -Hltn").splitlines()}
        assert "4567" in ports and not ports & {"3306", "4444", "4568"}, ports
        address = host.ansible.get_variables()["mail_client_address"]
        shown = another("client").run(
            f"openssl s_client -connect {address}:4567 -CAfile /etc/ssl/dovecluster/ca.pem < /dev/null"
        )
        assert f"CN = {name}" in shown.stdout or f"CN={name}" in shown.stdout, shown.stdout


def test_no_password_is_kept(pair, visit):
    visit()
    for name in pair.names:
        found = pair.hosts[name].run(
            "grep -rl %s /var/log /etc/roundcube /var/lib/roundcube /var/lib/mysql /tmp", PASSWORD
        )
        assert found.stdout == "", found.stdout


def test_a_wrong_password_is_none(pair):
    command = (
        "cd /root; rm -f jar; page=$(curl -s --cacert /etc/ssl/dovecluster/ca.pem -c jar URL/);"
        'token=$(echo "$page" | grep -o \'_token" value="[^"]*\' | cut -d\'"\' -f3);'
        "curl -s -o /dev/null -w '%{http_code}' --cacert /etc/ssl/dovecluster/ca.pem -b jar -c jar"
        f" -d _task=login -d _action=login -d _token=$token -d _user={USER} -d _pass=wrong URL/?_task=login"
    ).replace("URL", pair.url())
    assert pair.client.run(command).stdout == "401"
