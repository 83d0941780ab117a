"""An operator gives a shard to another backend: site.yml refuses, move_shards.yml does it, also after it was killed."""

import re

import pytest

from module_utils.mail_route import parse_shards, ranges, shard_of
from tests.architecture.users import backends_serving, can_log_in
from tests.ledger.checker import fetch_user
from tests.ledger.front import FAILURES
from tests.proofs.lab import wait_for
from tests.proofs.plays import kill, play, start

# One host: the test is about the cluster.
testinfra_hosts = ["ansible://mail1"]


def table(lab, node):
    """What a host sends shards to."""
    return lab.ssh(node, "cat /etc/dovecot/routes/shards")


@pytest.fixture
def edit(lab):
    """Have the inventory say otherwise, and put it and the shards back."""
    before = lab.described
    yield lambda **changes: lab.describe(**{**before, **changes})
    lab.describe(**before)
    if lab.site.get("mail_routes", "shards") == "shards" and not lab.own_mail:
        back = play(lab, "move_shards.yml")
        assert back.returncode == 0, back.stdout


def given(lab, old, new, shard):
    """The backends, with a shard of one given to another."""
    backends = {name: {k: v for k, v in values.items() if k != "nodes"} for name, values in lab.backends.items()}
    for name, change in ((old, set.difference), (new, set.union)):
        backends[name]["shards"] = ranges(change(set(parse_shards(str(backends[name]["shards"]))), {shard}))
    return backends


def test_a_shard_moves_with_its_users_or_not_at_all(lab, edit, tmp_path):
    front = lab.front()
    user = front.users[1]
    old = lab.backend_of(user.user)
    new = next(name for name in lab.backends if name != old and lab.backends[name]["pod"] == lab.backends[old]["pod"])
    before = {node: table(lab, node) for node in lab.route_hosts}
    mails = sorted(map(str, fetch_user(front, user)))
    held = [front.imap(door, user) for door, _ in zip(front.doors(), front.addresses, strict=False)]
    edit(mail_backends=given(lab, old, new, shard_of(user.user)))

    if lab.site.get("mail_routes", "shards") == "ldap":
        done = play(lab, "move_shards.yml")
        assert done.returncode and "Routes are in LDAP" in done.stdout, done.stdout
        return
    refused = play(lab, "site.yml", "--tags=preflight")
    assert refused.returncode and f"{shard_of(user.user)} from {old} to {new}" in refused.stdout, refused.stdout
    assert {node: table(lab, node) for node in lab.route_hosts} == before
    if lab.own_mail:
        done = play(lab, "move_shards.yml")
        assert done.returncode and "users are moved one by one" in done.stdout, done.stdout
        assert {node: table(lab, node) for node in lab.route_hosts} == before
        return
    with (tmp_path / "killed.log").open("w") as log:
        killed = start(lab, log, "move_shards.yml")
        wait_for("the shard is held somewhere", lambda: any("held" in table(lab, n) for n in lab.route_hosts), 60)
        kill(killed)
    refused = play(lab, "site.yml", "--tags=preflight")
    assert refused.returncode and f"{shard_of(user.user)} from {old} to {new}" in refused.stdout, refused.stdout
    done = play(lab, "move_shards.yml")
    assert done.returncode == 0, done.stdout
    assert not any("held" in table(lab, node) for node in lab.route_hosts)
    # Those from before are ended, new ones are on the new backend alone, with the same mail.
    for session in held:
        with pytest.raises(FAILURES):
            session.noop()
    wait_for("the user can log in", lambda: can_log_in(front, user), 20)
    client = front.imap(next(front.doors()), user)
    assert backends_serving(lab, user.user) == {new}
    client.logout()
    assert sorted(map(str, fetch_user(front, user))) == mails
    assert play(lab, "site.yml", "--tags=preflight").returncode == 0
    # Once more there is nothing to do.
    again = play(lab, "move_shards.yml")
    assert again.returncode == 0 and not re.search(r"changed=[1-9]", again.stdout), again.stdout
