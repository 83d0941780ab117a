"""Mail, flags and expunges reach the peer, also after it was away and after the daemon was killed."""

import imaplib
import json
import ssl
import time
from pathlib import Path

import pytest
import testinfra

PAIRS = {"12": ("deb12a", "deb12b"), "13": ("deb13a", "deb13b")}


def until(condition, seconds=60, otherwise=lambda: ""):
    """Wait for something that comes by itself; fail when it does not, and say what is there instead."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s; {otherwise()}"
        time.sleep(0.2)
    return value


class Pair:
    """Two hosts that replicate to each other."""

    def __init__(self, release, get_host):
        self.release = release
        self.left, self.right = (get_host(name) for name in PAIRS[release])

    def login(self, host, user):
        variables = host.ansible.get_variables()
        context = ssl.create_default_context(cadata=host.file("/etc/ssl/dovecluster/ca.pem").content_string)
        context.check_hostname = False  # by address: the controller does not know the lab's names
        imap = imaplib.IMAP4_SSL(variables["mail_client_address"], ssl_context=context)
        imap.login(user, "secret")
        imap.select()
        return imap

    def append(self, host, user, *names):
        imap = self.login(host, user)
        for name in names:
            status, _ = imap.append("INBOX", None, None, f"Subject: {name}\r\n\r\nhello\r\n".encode())
            assert status == "OK"
        imap.logout()

    def mails(self, host, user):
        """Subjects with flags, in order of UID."""
        imap = self.login(host, user)
        _, data = imap.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        imap.logout()
        return [
            (part[1].decode().strip().removeprefix("Subject: "), b"\\Flagged" in part[0])
            for part in data
            if isinstance(part, tuple)
        ]

    def subjects(self, host, user):
        return [subject for subject, _ in self.mails(host, user)]

    def same(self, user, expected):
        """Wait until both sides hold exactly this."""
        until(
            lambda: self.subjects(self.left, user) == self.subjects(self.right, user) == expected,
            otherwise=lambda: "\n".join(self.told(host, user) for host in (self.left, self.right)),
        )

    def told(self, host, user):
        """What a side holds, and what it logged last."""
        journal = host.run("journalctl -n 15 -u dovecot-syncd -u dovecot-replica").stdout
        return f"{self.subjects(host, user)}\n{journal}"


@pytest.fixture(params=sorted(PAIRS))
def pair(request):
    inventory = request.config.getoption("--ansible-inventory")

    def get_host(name):
        return testinfra.get_host(f"ansible://{name}?ansible_inventory={inventory}")

    return Pair(request.param, get_host)


@pytest.fixture
def user(request, pair):
    """An account for each test, empty on both sides."""
    names = [name for name in vars(request.module) if name.startswith("test_")]
    user = f"user{names.index(request.node.originalname)}@lab.test"
    for host in (pair.left, pair.right):
        imap = pair.login(host, user)
        imap.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.logout()
    pair.same(user, [])
    return user


def stop(host, unit):
    assert host.run(f"systemctl stop {unit}").rc == 0


def start(host, unit):
    assert host.run(f"systemctl start {unit}").rc == 0


def test_mail_flags_and_expunges_reach_the_peer(pair, user):
    pair.append(pair.left, user, "one", "two", "three")
    pair.same(user, ["one", "two", "three"])
    imap = pair.login(pair.left, user)
    imap.store("1", "+FLAGS", "(\\Flagged)")
    imap.store("2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.logout()
    until(lambda: pair.mails(pair.right, user) == [("one", True), ("three", False)])


def test_both_directions(pair, user):
    pair.append(pair.right, user, "from the right")
    pair.same(user, ["from the right"])


def test_peer_away_and_back_merges_without_duplicates_or_resurrection(pair, user):
    pair.append(pair.left, user, "keep", "expunge", "last")
    pair.same(user, ["keep", "expunge", "last"])
    stop(pair.right, "dovecot-replica")
    stop(pair.left, "dovecot-replica")
    pair.append(pair.left, user, "left")
    imap = pair.login(pair.right, user)
    imap.store("2:3", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.logout()
    pair.append(pair.right, user, "right")
    start(pair.left, "dovecot-replica")
    start(pair.right, "dovecot-replica")

    def merged(host):
        return sorted(pair.subjects(host, user)) == ["keep", "left", "right"]

    until(lambda: merged(pair.left) and merged(pair.right), 120)


def test_replicas_that_look_alike_are_compared(pair, user):
    """As many mails and changes on both sides, which to a sync without a state is the same."""
    pair.append(pair.left, user, "first", "second")
    pair.same(user, ["first", "second"])
    units = "dovecot-replication-tunnel dovecot-replication-entry"
    for host in (pair.left, pair.right):
        stop(host, units)
    for number, host in (("1", pair.left), ("2", pair.right)):
        imap = pair.login(host, user)
        imap.store(number, "+FLAGS", "(\\Flagged)")
        imap.logout()
    for host in (pair.left, pair.right):
        start(host, units)
    for host in (pair.left, pair.right):
        until(lambda host=host: pair.mails(host, user) == [("first", True), ("second", True)], 90)


@pytest.mark.parametrize("pair", ["12"], indirect=True)
def test_replicators_of_other_backends_leave_a_user_alone(pair, user):
    """What they bring to the peer is beyond the state of the user's own: expunged mail would be back."""
    for name in ("first", "second"):
        pair.append(pair.left, user, name)
        pair.same(user, ["first", "second"][: 1 + (name == "second")])
    pid = pair.left.check_output("pgrep -f '^dovecot-be1/replicator'")
    pair.left.check_output(f"kill -STOP {pid}")  # it is busy
    try:
        pair.append(pair.left, user, "expunged")
        start(pair.left, "dovecot-backend@be2")
        time.sleep(5)  # it would sync everybody at its start
        imap = pair.login(pair.left, user)
        imap.store("3", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.logout()
    finally:
        pair.left.check_output(f"kill -CONT {pid}")
    pair.append(pair.left, user, "third")
    until(lambda: "third" in pair.subjects(pair.right, user))
    try:
        pair.same(user, ["first", "second", "third"])
    finally:
        stop(pair.left, "dovecot-backend@be2")


@pytest.mark.parametrize("pair", ["12"], indirect=True)
def test_a_backend_that_stops_has_its_last_changes_synced(pair, user):
    stop(pair.right, "dovecot-replica")
    pair.append(pair.left, user, "last")
    time.sleep(2)
    assert pair.subjects(pair.right, user) == []
    start(pair.right, "dovecot-replica")
    stop(pair.left, "dovecot-backend@be1")
    try:
        assert pair.subjects(pair.right, user) == ["last"]  # without waiting: it may serve now
    finally:
        start(pair.left, "dovecot-backend@be1")


@pytest.mark.parametrize("pair", ["13"], indirect=True)
def test_a_backend_that_stops_waits_for_its_last_changes(pair, user):
    pair.right.check_output("systemctl kill --signal STOP dovecot-replica")
    try:
        pair.append(pair.left, user, "last")
        later = "systemd-run --on-active=2 --timer-property=AccuracySec=100ms"
        pair.right.check_output(f"{later} systemctl kill --signal CONT dovecot-replica")
        stop(pair.left, "dovecot-backend@be1")
        assert pair.subjects(pair.right, user) == ["last"]  # it may serve now
    finally:
        pair.right.check_output("systemctl kill --signal CONT dovecot-replica")
        start(pair.left, "dovecot-backend@be1")


@pytest.mark.parametrize("pair", ["13"], indirect=True)
def test_mail_that_the_peer_brought_and_this_side_expunged_stays_gone(pair, user):
    """A user goes to the peer and comes back: the daemon must not begin where its own last sync ended."""
    pair.append(pair.left, user, "here")
    pair.same(user, ["here"])
    time.sleep(6)  # nobody can serve a user here, there and here again in less time than the daemon keeps dsync's state
    pair.append(pair.right, user, "there")
    pair.same(user, ["here", "there"])
    imap = pair.login(pair.left, user)
    imap.store("1", "+FLAGS", "(\\Flagged)")
    imap.store("2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.logout()
    until(lambda: pair.mails(pair.right, user) == [("here", True)])
    assert pair.mails(pair.left, user) == [("here", True)]


def test_a_user_who_is_moved_there_and_back(pair, user):
    """What playbooks/move_user.yml does on both nodes before another one serves the user."""

    def move():
        for host in (pair.left, pair.right):
            host.check_output("dovecot-sync-user %s", user)

    pair.append(pair.left, user, "here")
    move()
    # At once: a mail that came here now must not get a UID that was given there.
    assert pair.subjects(pair.right, user) == ["here"]
    pair.append(pair.right, user, "there")
    move()
    assert pair.subjects(pair.left, user) == ["here", "there"]
    imap = pair.login(pair.left, user)
    imap.store("1", "+FLAGS", "(\\Flagged)")
    imap.store("2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.logout()
    until(lambda: pair.mails(pair.right, user) == [("here", True)])
    assert pair.mails(pair.left, user) == [("here", True)]


def test_sieve_scripts_reach_the_peer(pair, user, mail_on):
    address = pair.left.ansible.get_variables()["mail_client_address"]
    put = mail_on(pair.left, "sieve", address, "be1.lab.test", user, rf"keep; # {time.time()}\n", "secret")
    assert put["said"] == ["OK", "OK", "OK"]
    name, _, domain = user.partition("@")
    home = f"/srv/mail/{domain}/{name}"

    def active(host):
        return host.run("cat %s/.dovecot.sieve", home).stdout

    assert active(pair.left)
    until(lambda: active(pair.right) == active(pair.left), otherwise=lambda: pair.right.run("ls -la %s", home).stdout)


def test_events_arrive_after_the_daemon_restarted(pair, user):
    if pair.release == "13":
        assert pair.left.run("systemctl restart dovecot-syncd.service").rc == 0
    else:
        assert pair.left.run("systemctl reload dovecot-backend@be1.service").rc == 0
    pair.append(pair.left, user, "after")
    pair.same(user, ["after"])


def test_users_queued_when_the_daemon_is_killed_are_synced(pair, user):
    if pair.release == "12":  # Dovecot's replicator is part of the backend, and its list is gone with it
        stop(pair.right, "dovecot-replica")
        pair.append(pair.left, user, "queued")
        stop(pair.left, "dovecot-backend@be1")
        start(pair.right, "dovecot-replica")
        start(pair.left, "dovecot-backend@be1")
    else:
        stop(pair.right, "dovecot-replica")
        pair.append(pair.left, user, "queued")
        until(lambda: json.loads(pair.left.run("dovecot-syncd status --json").stdout)[0]["queued"])
        assert pair.left.run("systemctl kill --signal=KILL dovecot-syncd.service").rc == 0
        start(pair.right, "dovecot-replica")
    pair.same(user, ["queued"])


TLS = "/etc/ssl/dovecluster"
ASK = "(printf 'VERSION\\tdoveadm-server\\t1\\t0\\n'; sleep 3)"


def tls_client(host):
    """A command that talks TLS to a node's port for peers."""
    address = host.ansible.get_variables()["mail_cluster_address"]
    return f"openssl s_client -quiet -connect {address}:12345 -CAfile {TLS}/ca.pem -verify_return_error"


def test_only_peers_are_let_in(pair):
    """Who has no certificate of a peer's name does not get to the replica instance."""
    with_own = f"-cert {TLS}/host.pem -key {TLS}/host.key"
    of_nobody = "-cert /tmp/x.pem -key /tmp/x.key"
    make = "openssl req -x509 -newkey ed25519 -nodes -keyout /tmp/x.key -out /tmp/x.pem -days 1 -subj /CN=x 2>/dev/null"
    assert pair.right.run(make).rc == 0

    def answer(asker, certificate):
        return asker.run(f"{ASK} | timeout 10 {tls_client(pair.left)} {certificate} 2>/dev/null").stdout

    assert answer(pair.right, with_own)
    assert not answer(pair.right, "")
    assert not answer(pair.right, of_nobody)
    assert not answer(pair.left, with_own), "its own name is no peer's"


def test_a_peer_that_vanished_holds_nothing(pair):
    """A peer without power closes no connection; its half of a sync and the lock with it must end."""
    address = pair.left.ansible.get_variables()["mail_cluster_address"]
    peer = pair.right.ansible.get_variables()["mail_cluster_address"]

    def connections():
        """Those of the replica instance, where the lock is held, with the tunnel."""
        return len(pair.left.run("ss -Htn state established src 127.0.0.1:12347").stdout.splitlines())

    def device(host, other):
        return host.run("ip -o -4 route get %s", other).stdout.split(" dev ")[1].split()[0]

    assert not connections()
    link, own_link = device(pair.right, address), device(pair.left, peer)
    # One says nothing, the other one is about to. If openssl fails there is no connection, and the next lines say so.
    client = f"{tls_client(pair.left)} -cert {TLS}/host.pem -key {TLS}/host.key"
    for name in ("quiet", "talking"):
        command = f"mkfifo /tmp/{name} && {client} <>/tmp/{name}"
        assert pair.right.run(f"systemd-run --unit=half-a-sync-{name} bash -c %s", command).rc == 0
    until(lambda: connections() == 2)
    time.sleep(15)  # longer than the keepalive takes: both live on while the peer does
    assert connections() == 2
    try:
        # What is asked comes in, and the answer gets nowhere: data is under way when the peer is gone.
        assert pair.left.run(f"ip neigh replace {peer} lladdr 02:00:00:00:00:01 dev {own_link} nud permanent").rc == 0
        assert pair.right.run("printf 'VERSION\\tdoveadm-server\\t1\\t0\\n' > /tmp/talking").rc == 0
        until(lambda: "timer:(on," in pair.left.run(f"ss -Htno state established src {address}:12345").stdout, 10)
        assert pair.right.run(f"ip link set {link} down").rc == 0
        until(lambda: connections() == 1, 30)
        until(lambda: not connections(), 75)
    finally:
        pair.left.run(f"ip neigh del {peer} dev {own_link}")
        pair.right.run(f"ip link set {link} up; systemctl stop 'half-a-sync-*'; rm /tmp/quiet /tmp/talking")


def test_a_node_that_is_left_alone_leaves_a_gap_in_uids(pair, user):
    """UIDs that a dead node gave out last, and nobody knows of, are not given out again.

    There is no cluster here: its answer is made up. The proofs of the architecture have the real one.
    """

    def uidnext():
        status = pair.left.run("doveadm -c /etc/dovecot/replica.conf mailbox status -u %s uidnext INBOX", user)
        return int(status.stdout.split("uidnext=")[1])

    def restart(partition):
        answer = f"printf '#!/bin/sh\\necho {partition}\\n' > /usr/sbin/crm_node && chmod 755 /usr/sbin/crm_node"
        assert pair.left.run(answer).rc == 0
        assert pair.left.run("systemctl restart dovecot-backend@be1.service").rc == 0
        assert pair.left.run("rm /usr/sbin/crm_node").rc == 0

    pair.append(pair.left, user, "before")
    before = uidnext()
    restart("left right")
    assert uidnext() == before
    # What the node that is gone had not synced comes here when it is back, though nobody asks for it.
    stop(pair.right, "dovecot-replication-tunnel dovecot-replication-entry")
    pair.append(pair.right, user, "unsynced")
    if pair.release == "12":
        stop(pair.right, "dovecot-catch-up.timer")  # left has to do it
    stop(pair.right, "dovecot-backend@be1")
    restart("left")
    assert uidnext() >= before + 100_000
    assert pair.subjects(pair.left, user) == ["before"]
    start(pair.right, "dovecot-replication-tunnel dovecot-replication-entry")
    until(lambda: pair.subjects(pair.left, user) == ["before", "unsynced"])
    if pair.release == "12":
        start(pair.right, "dovecot-catch-up.timer")
    start(pair.right, "dovecot-backend@be1")
    pair.append(pair.left, user, "after")
    pair.same(user, ["before", "unsynced", "after"])


def test_a_node_that_boots_gives_and_takes_before_peers_reach_it(pair, user):
    """Left is gone with mail that is nowhere else, right serves the user meanwhile and gives out the same UIDs."""
    tunnel, entry = "dovecot-replication-tunnel", "dovecot-replication-entry"
    syncs = "dovecot-catch-up.timer" if pair.release == "12" else "dovecot-syncd"

    def replica(host):
        """What is there now, through the replica instance."""
        fetch = "doveadm -c /etc/dovecot/replica.conf -f flow fetch -u %s 'uid hdr.subject' mailbox INBOX"
        return host.check_output(fetch, user).splitlines()

    pair.append(pair.left, user, "keep", "expunged", "last")
    pair.same(user, ["keep", "expunged", "last"])
    for host in (pair.left, pair.right):
        stop(host, f"{tunnel} {entry}")
    pair.append(pair.left, user, "given", "given too")
    imap = pair.login(pair.right, user)
    imap.store("2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.logout()
    pair.append(pair.right, user, "right", "right too", "and right")
    stop(pair.left, f"{syncs} dovecot-backend@be1")
    try:
        start(pair.right, f"{tunnel} {entry}")
        start(pair.left, tunnel)
        pair.left.check_output("systemctl restart dovecot-rejoin")
        there = replica(pair.right)
        subjects = [line.partition("hdr.subject=")[2] for line in there]
        assert sorted(subjects) == ["and right", "given", "given too", "keep", "last", "right", "right too"]
        assert replica(pair.left) == there
        # Whoever has been serving users must not do it again.
        start(pair.left, "dovecot-backend@be1")
        pair.append(pair.left, user, "served")
        pair.left.check_output("systemctl restart dovecot-rejoin")
        assert "nothing to do" in pair.left.check_output("journalctl --unit dovecot-rejoin --lines 5")
        assert len(replica(pair.left)) == len(there) + 1
    finally:
        start(pair.left, f"dovecot-backend@be1 {entry} {syncs}")
    pair.same(user, [*subjects, "served"])


def test_no_sync_that_is_broken_off_loses_mail(pair):
    """All ways in which dovecot-rejoin can be broken off, and those of a two-way sync: they are why it is there.

    When Dovecot's two-way sync has stopped to lose mail, this says so.
    """
    program = Path(__file__).with_name("cut_syncs.py").read_text()
    pair.left.check_output("printf %%s %s > /root/cut_syncs.py", program)
    told = json.loads(pair.left.check_output("python3 /root/cut_syncs.py 1200"))
    assert told["rejoin"]["cuts"] > 20
    assert not told["rejoin"]["harm"]
    assert told["two ways"]["harm"], told


def test_status_and_metrics(pair, user):
    if pair.release == "12":
        status = pair.left.run("doveadm -c /etc/dovecot/backends/be1.conf replicator status")
        assert "Total number of known users" in status.stdout
    else:
        before = json.loads(pair.left.run("dovecot-syncd status --json").stdout)[0]["events"]
        pair.append(pair.left, user, "seen")
        until(lambda: json.loads(pair.left.run("dovecot-syncd status --json").stdout)[0]["events"] > before)
        status = json.loads(pair.left.run("dovecot-syncd status --json").stdout)
        assert time.time() - status[0]["last_event"] < 120
        assert status[0]["peer"] == "deb13b.lab.test" and status[0]["up"]
        metrics = pair.left.run(
            "python3 -c 'import urllib.request as u;print(u.urlopen(\"http://127.0.0.1:9901/metrics\").read().decode())'"
        )
        assert 'dovecot_syncd_peer_up{peer="deb13b.lab.test"} 1' in metrics.stdout


def test_secrets_are_for_root_only(pair):
    files = ["/etc/dovecot/replica.conf"] + (["/etc/dovecot/syncd.key"] if pair.release == "13" else [])
    for path in files:
        file = pair.left.file(path)
        assert (file.user, file.mode) == ("root", 0o600)
