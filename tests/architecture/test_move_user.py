"""An operator gives a user another backend, and is interrupted."""

import os
import signal
import subprocess

import pytest

from tests.ledger.checker import fetch_user
from tests.ledger.front import FAILURES
from tests.proofs.lab import ROOT, ansible, wait_for

# One host: the test is about the cluster.
testinfra_hosts = ["ansible://quorum"]


def start(lab, user, backend):
    """Start the playbook."""
    argv = [ansible("ansible-playbook"), "-i", lab.info["inventory"], "playbooks/move_user.yml"]
    more = ["-e", f"user={user}", "-e", f"backend={backend}"]
    return subprocess.Popen(
        [*argv, *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def routes(lab, user):
    """What each front end says of the user; nothing where the shard decides."""
    lines = {node: lab.ssh(node, "cat /etc/dovecot/routes/overrides") for node in lab.group("front_ends")}
    return {node: next((x for x in text.splitlines() if x.startswith(f"{user}:")), "") for node, text in lines.items()}


@pytest.fixture
def user(lab):
    """A demo user, sent by the shard before and after."""
    found = lab.front().users[0]
    assert set(routes(lab, found.user).values()) == {""}
    yield found
    for node in lab.group("front_ends"):
        lab.ssh(node, f"sed -i '/^{found.user}:/d' /etc/dovecot/routes/overrides")
    wait_for("the shard decides again", lambda: fetch_user(lab.front(), found) is not None, 20)


def test_a_move_that_is_killed_is_made_by_the_next_run(lab, user):
    if len(lab.backends) < 2:
        pytest.fail("an architecture with one backend has nowhere to move a user to")
    old = lab.backend_of(user.user)
    new = next(name for name in lab.backends if name != old and lab.backends[name]["pod"] == lab.backends[old]["pod"])
    if not lab.replicated:  # each backend has mail of its own
        refused = start(lab, user.user, new)
        shown, _ = refused.communicate(timeout=60)
        assert refused.returncode and "mail of its own" in shown, shown
        assert set(routes(lab, user.user).values()) == {""}
        return
    front = lab.front()
    sessions = [front.imap(door, user) for door, _ in zip(front.doors(), front.addresses, strict=False)]

    killed = start(lab, user.user, new)
    wait_for("the user is held somewhere", lambda: any("held" in line for line in routes(lab, user.user).values()), 60)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    held = routes(lab, user.user)
    assert any("held.invalid" in line for line in held.values()), held

    again = start(lab, user.user, new)
    shown, _ = again.communicate(timeout=180)
    assert again.returncode == 0, shown
    host = lab.backends[new]["host"] if "host" in lab.backends[new] else lab.backends[new]["address"]
    assert all(host in line and "held" not in line for line in routes(lab, user.user).values()), routes(lab, user.user)
    # The sessions from before are ended, and new ones are on the new backend, with the same mail.
    for session in sessions:
        with pytest.raises(FAILURES):
            session.noop()
    wait_for("the user can log in", lambda: can_log_in(front, user), 20)
    client = front.imap(next(front.doors()), user)
    where = {
        name
        for name, values in lab.backends.items()
        for node in lab.placement()[name]
        if user.user in lab.ssh(node, f"doveadm -c /etc/dovecot/backends/{name}.conf who -1")
    }
    client.logout()
    assert where == {new}


def can_log_in(front, user):
    """Whether mail can be read through every front address."""
    try:
        return all(fetch_user(front, user, start) is not None for start in range(len(front.addresses)))
    except FAILURES:
        return False
