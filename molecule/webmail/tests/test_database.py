"""The role finds out by itself whether and where a database may be started."""

import pytest
from conftest import Pair
from shared.pods import until

# Hosts are found by the fixtures.
testinfra_hosts = ["ansible://client"]
COUNT = "SELECT count(*) FROM users"


@pytest.fixture
def pair(another):
    """One pair is enough: the role decides, not the release."""
    pair = Pair("13", another)
    until(pair.is_whole, 60)
    return pair


@pytest.fixture
def run(pair, play):
    """Return a function that runs the role on a pair and its third vote."""

    def go(**more):
        limit = ",".join([*pair.names, pair.vote])
        return play("molecule/webmail/converge.yml", "--tags=galera", f"--limit={limit}", **more)

    return go


def stop(pair, *names):
    """Stop members, one after the other."""
    for name in names:
        pair.hosts[name].check_output("systemctl stop mariadb")


def test_members_that_were_stopped_start_from_the_last(pair, run):
    count = pair.sql(pair.names[0], COUNT)
    first, last = pair.names
    stop(pair, first)
    pair.sql(last, "UPDATE users SET language = 'xx'")
    stop(pair, last)
    done = run()
    assert done.returncode == 0, done.stdout
    started = done.stdout.partition("[galera : Start the cluster]")[2].partition("TASK [")[0]
    assert f"changed: [{last}]" in started and f"changed: [{first}]" not in started, started
    assert pair.sql(first, COUNT) == count
    assert set(pair.sql(first, "SELECT language FROM users").split()) <= {"xx"}
    pair.sql(last, "UPDATE users SET language = 'en_US'")


def test_none_is_started_when_none_knows_that_it_has_the_newest_data(pair, run):
    stop(pair, *pair.names)
    # As after a crash of one that was the last.
    change = "s/^safe_to_bootstrap:.*/safe_to_bootstrap: 0/; s/^seqno:.*/seqno: -1/"
    pair.hosts[pair.names[0]].check_output(f"sed -i '{change}' /var/lib/mysql/grastate.dat")
    done = run()
    assert done.returncode != 0
    assert "none knows that it has the newest data" in done.stdout, done.stdout
    assert not any(host.service("mariadb").is_running for host in pair.hosts.values())
    # The operator looked, and says which.
    done = run(galera_start_from=pair.names[1])
    assert done.returncode == 0, done.stdout
    assert pair.is_whole()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"galera_arbitrators": {}}, "three votes or more"),
        ({"galera_databases": {"Round cube": "www-data"}}, "galera_databases"),
        ({"galera_start_from": "web99"}, "a name of galera_members in galera_start_from"),
    ],
)
def test_what_cannot_work_is_refused(run, more, says):
    done = run(**more)
    assert done.returncode != 0 and says in done.stdout, done.stdout


def test_a_server_with_data_of_its_own_is_no_member(another, play):
    """It would get the cluster's data in place of its own."""
    host = another("client")
    host.check_output("mkdir -p /var/lib/mysql/shop")
    address = host.ansible.get_variables()["mail_client_address"]
    variables = {"galera_members": {"client": address, "x": "192.0.2.1"}, "galera_arbitrators": {"y": "192.0.2.2"}}
    try:
        done = play("molecule/webmail/stranger.yml", "--limit=client", **variables)
        assert done.returncode != 0 and "no member of dovecluster: shop" in " ".join(done.stdout.split()), done.stdout
        assert "changed=0" in done.stdout
    finally:
        host.check_output("rm -r /var/lib/mysql")


def test_members_of_two_releases_are_refused(play, another):
    addresses = {n: another(n).ansible.get_variables()["mail_client_address"] for n in ("web12a", "web13a")}
    done = play(
        *("molecule/webmail/converge.yml", "--tags=galera", f"--limit={','.join(addresses)}"),
        galera_members=addresses,
        galera_arbitrators={"elsewhere": "192.0.2.1"},
    )
    assert done.returncode != 0 and "wanted one release" in done.stdout, done.stdout


def test_a_second_run_changes_nothing(run):
    done = run()
    assert done.returncode == 0 and "changed=1" not in done.stdout, done.stdout
