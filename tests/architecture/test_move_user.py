"""An operator gives a user another backend, and is interrupted."""

import subprocess

import pytest

from tests.architecture.users import backends_serving, can_log_in
from tests.ledger.checker import fetch_user
from tests.ledger.front import FAILURES
from tests.proofs.lab import ROOT, ansible, wait_for
from tests.proofs.plays import kill

# One host: the test is about the cluster.
testinfra_hosts = ["ansible://mail1"]


def start(lab, user, backend):
    """Start the playbook."""
    argv = [ansible("ansible-playbook"), "-i", lab.info["inventory"], "playbooks/move_user.yml"]
    more = ["-e", f"user={user}", "-e", f"backend={backend}"]
    return subprocess.Popen(
        [*argv, *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def routes(lab, user):
    """What each host that knows routes says of the user; nothing where the shard decides."""
    lines = {node: lab.ssh(node, "cat /etc/dovecot/routes/overrides") for node in lab.route_hosts}
    return {node: next((x for x in text.splitlines() if x.startswith(f"{user}:")), "") for node, text in lines.items()}


@pytest.fixture
def user(lab):
    """A demo user, sent by the shard before and after."""
    found = lab.front().users[0]
    assert set(routes(lab, found.user).values()) == {""}
    yield found
    if lab.own_mail and lab.site["mail_store"] != "afs":  # the mail is where the test left it
        shown, _ = (back := start(lab, found.user, lab.backend_of(found.user))).communicate(timeout=300)
        assert back.returncode == 0, shown
    for node in lab.route_hosts:
        lab.ssh(node, f"sed -i '/^{found.user}:/d' /etc/dovecot/routes/overrides")
    lab.forget_name(found.user)
    wait_for("the shard decides again", lambda: can_log_in(lab.front(), found), 20)


def leaving(lab, user, backend):
    """Whether the user's mail has left its place, of a backend that has mail of its own."""
    name, _, domain = user.rpartition("@")
    return lab.ssh(lab.placement()[backend][0], f"ls -d /srv/mail/{backend}/.leaving/{domain}/{name}/", check=False)


def test_a_move_that_is_killed_is_made_by_the_next_run(lab, user):
    if len(lab.backends) < 2:
        pytest.fail("an architecture with one backend has nowhere to move a user to")
    old = lab.backend_of(user.user)
    new = next(name for name in lab.backends if name != old and lab.backends[name]["pod"] == lab.backends[old]["pod"])
    if lab.site["mail_store"] == "afs":  # nothing could take the mail along
        shown, _ = (refused := start(lab, user.user, new)).communicate(timeout=300)
        assert refused.returncode and "which no playbook can move yet" in " ".join(shown.split()), shown
        assert set(routes(lab, user.user).values()) == {""}
        return
    front = lab.front()
    sessions = [front.imap(door, user) for door, _ in zip(front.doors(), front.addresses, strict=False)]
    mails = sorted(map(str, fetch_user(front, user)))

    killed = start(lab, user.user, new)
    wait_for("the user is held somewhere", lambda: any("held" in line for line in routes(lab, user.user).values()), 60)
    if lab.own_mail:
        wait_for("the mail is on its way", lambda: leaving(lab, user.user, old), 120)
    kill(killed)  # with its workers, which would go on and end sessions
    killed.communicate()
    held = routes(lab, user.user)
    assert any("held.invalid" in line for line in held.values()), held

    again = start(lab, user.user, new)
    shown, _ = again.communicate(timeout=300)
    assert again.returncode == 0, shown
    host = lab.backends[new]["host"] if "host" in lab.backends[new] else lab.backends[new]["address"]
    assert all(host in line and "held" not in line for line in routes(lab, user.user).values()), routes(lab, user.user)
    # The sessions from before are ended, and new ones are on the new backend, with the same mail.
    for session in sessions:
        with pytest.raises(FAILURES):
            session.noop()
    wait_for("the user can log in", lambda: can_log_in(front, user), 20)
    assert sorted(map(str, fetch_user(front, user))) == mails
    client = front.imap(next(front.doors()), user)
    where = backends_serving(lab, user.user)
    client.logout()
    assert where == {new}
    if lab.own_mail:
        assert not leaving(lab, user.user, old)
        # A delivery that was under way to the old backend makes no mailbox there: the MTA has to try again.
        late = f"c = smtplib.LMTP('/run/dovecot-{old}/lmtp'); c.sendmail('', '{user.user}', 'Subject: late\\n\\n')"
        shown = lab.ssh(lab.placement()[old][0], f'python3 -c "import smtplib; {late}" 2>&1', check=False)
        assert "SMTPDataError: (451" in shown, shown
