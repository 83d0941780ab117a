"""What provisioning does to servers that run: one play for the pairs of both releases."""

import re

import pytest
from shared.pods import until

from module_utils.mail_route import parse_shards, shard_of

testinfra_hosts = ["ansible://deb13a"]
CONVERGE = "molecule/user_dns/converge.yml"
PRIMARIES = ("deb12a", "deb13a")
USER, NAME = "ann.smith+lists@example.org", "ann-smith-x2blists.imap.example.org"
# Where the user isn't by the shard.
BACKEND, ADDRESS = ("be2", "192.0.2.32") if shard_of(USER) in parse_shards("0-127") else ("be1", "192.0.2.31")
USERS = ["ann@example.org", USER, "jean-luc.picard@example.org", "_x@example.org", "ann@example.net"]
OVERRIDES = "/var/lib/user-dns/overrides"


@pytest.fixture
def primaries(another):
    return [another(name) for name in PRIMARIES]


@pytest.fixture
def ask(another):
    """Return a function that asks all servers and returns the set of what they say."""

    def ask(name, kind="CNAME"):
        said = set()
        for host in ("deb12a", "deb12b", "deb13a", "deb13b"):
            found = another(host)
            address = found.ansible.get_variables()["mail_client_address"]
            said.add(found.check_output(f"dig +short @{address} {name} {kind}"))
        return said

    return ask


@pytest.fixture
def says(ask):
    """Return a function that waits until all servers say this: secondaries learn of a change after the primary."""
    return lambda name, wanted: until(lambda: ask(name) == {wanted}, 10)


@pytest.fixture
def moved(play, ask):
    """The user, moved on both primaries."""
    done = play("molecule/user_dns/move.yml", primary="primaries", user=USER, backend=BACKEND)
    assert done.returncode == 0, done.stdout
    yield {f"{BACKEND}.x--backend.imap.example.org."}
    done = play("molecule/user_dns/move.yml", primary="primaries", user=USER)
    assert done.returncode == 0, done.stdout


def test_it_changes_nothing_and_keeps_moved_users(play, ask, moved):
    before = ask("imap.example.org", "SOA")
    done = play(CONVERGE)
    assert done.stdout.count("changed=0") == 4, done.stdout
    assert ask("imap.example.org", "SOA") == before
    assert ask(NAME) == moved


def test_users_who_come_and_go_cost_a_record_each(play, says, primaries, another):
    """A lost update is made good, too: an override says that the user has moved, and the record doesn't."""
    since = primaries[0].check_output("date +%s")
    line = f"{USER}:::::::host={BACKEND}.lab.test hostip={ADDRESS}"
    for primary in primaries:
        primary.check_output(f"echo '{line}' > {OVERRIDES}")
    names = [user for user in USERS if user != "_x@example.org"]
    try:
        done = play(CONVERGE, user_dns_users=[*names, "new@example.org"])
        assert done.returncode == 0, done.stdout
        says("new.imap.example.org", f"{shard_of('new@example.org'):02x}.x--shard.imap.example.org.")
        says("x--x5fx.imap.example.org", "")
        says(NAME, f"{BACKEND}.x--backend.imap.example.org.")
    finally:
        for primary in primaries:
            primary.check_output(f": > {OVERRIDES}")
        done = play(CONVERGE)
    assert done.returncode == 0, done.stdout
    says("new.imap.example.org", "")
    says(NAME, f"{shard_of(USER):02x}.x--shard.imap.example.org.")
    for secondary in ("deb12b", "deb13b"):
        log = another(secondary).check_output(f"journalctl -u knot -o cat --since=@{since}")
        assert log.count("IXFR, incoming") >= 2
        assert "AXFR" not in log


def test_a_collision_is_refused_before_anything_changes(play, ask, primaries):
    before = ask("imap.example.org", "SOA"), [host.check_output("cat /var/lib/user-dns/users") for host in primaries]
    done = play(CONVERGE, user_dns_users=[*USERS, "new@example.org", "ANN@example.org", "no domain"])
    assert done.returncode != 0
    said = re.sub(r"\s+", " ", done.stdout)
    assert "user ANN@example.org: the name ann.imap.example.org. is that of a user before already" in said
    assert "'no domain': wanted LOCAL@DOMAIN" in said
    assert not re.search("changed=[1-9]", said)
    after = ask("imap.example.org", "SOA"), [host.check_output("cat /var/lib/user-dns/users") for host in primaries]
    assert after == before


def test_a_primary_made_anew_must_know_who_has_moved(play, ask, primaries, moved):
    zone = "/var/lib/knot/imap.example.org.zone"
    for host in primaries:
        host.check_output(
            f"systemctl stop knot; mkdir /root/old; cd /var/lib/knot; mv journal timers {zone} /root/old/"
        )
        host.check_output(f"mv {OVERRIDES} /root/old/")
    try:
        done = play(CONVERGE)
        assert done.returncode != 0
        said = re.sub(r"\s+", " ", done.stdout)
        assert said.count("has the zone imap.example.org, so users may have moved") >= 2
    finally:
        for host in primaries:
            host.check_output(f"mv /root/old/overrides {OVERRIDES}; rm -r /root/old")
        done = play(CONVERGE)
    assert done.returncode == 0, done.stdout
    assert ask(NAME) == moved
