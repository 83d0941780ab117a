"""Sessions of real clients, through both directors."""

import time

import pytest
from conftest import BACKENDS, DOVEADM, lab
from shared.pods import until

BE = "dovecot-backend@be.service"
USERS = [f"user{number}@example.org" for number in range(50)]
# What docs/dovecot_director.md says of the longest time until a backend that fails is out.
OUT_SECONDS = 15
BACK_SECONDS = 30


def other(backend):
    return next(name for name in BACKENDS if name != backend)


def test_the_ring_has_both_directors_and_nothing_else(fronts, another):
    addresses = {front.host.ansible.get_variables()["mail_cluster_address"] for front in fronts}
    for front in fronts:
        lines = front.host.check_output("doveadm director ring status").splitlines()[1:]
        assert {line.split()[0] for line in lines} == addresses
        listening = front.host.check_output("ss -Hltn sport = :9090").split()[3]
        assert listening.rpartition(":")[0] in addresses
    assert sorted(front.status()["decides"] for front in fronts) == [False, True]


def test_a_user_is_on_one_backend_through_both_directors(fronts, log_in, sessions):
    for front in fronts:
        for user in USERS:
            log_in(front.address, user)
    found = sessions()
    assert {user: list(found[user].values()) for user in USERS} == {user: [2] for user in USERS}
    assert {backend for user in USERS for backend in found[user]} == set(BACKENDS)


def test_mail_is_delivered_where_the_user_is(fronts, mail_on, another, log_in, place):
    """Backends have mail of their own here, so that a mail elsewhere would not be seen."""
    for number, user in enumerate(USERS[:6]):
        session = log_in(fronts[number % 2].address, user)
        wanted = int(session.select("INBOX")[1][0])
        for name in ("front1", "front2", "mta"):
            detail = user.replace("@", "+detail@")
            for recipient in (user, detail):
                assert mail_on(another(name), "lmtp", "127.0.0.1", "", f"by {name}", 0, recipient) == {}
                wanted += 1
        session.noop()
        assert int(session.select("INBOX")[1][0]) == wanted
        assert place(user)


def test_other_protocols_go_there_too(fronts, mail_on, another, log_in, place):
    user = USERS[7]
    log_in(fronts[0].address, user)
    backend = place(user)
    for front in fronts:
        assert "count" in mail_on(another("mta"), "pop3", front.address, "mail.lab.test", user)
        put = mail_on(another("mta"), "sieve", front.address, "mail.lab.test", user, "keep;\\n")
        assert put == {"said": ["OK", "OK", "OK"], "plain_before_tls": False}
    log = another(BACKENDS[backend]).check_output(f"journalctl -o cat --since -2min -u {BE}")
    assert sum(f"pop3-login: {word}: user=<{user}>" in log for word in ("Login", "Logged in")) == 1
    assert sum(f"managesieve-login: {word}: user=<{user}>" in log for word in ("Login", "Logged in")) == 1


def test_backends_see_the_client_s_address(fronts, another, log_in):
    session = log_in(fronts[0].address, USERS[8])
    own = session.sock.getsockname()[0]
    seen = [another(name).check_output(f"{DOVEADM} who {USERS[8]}") for name in BACKENDS.values()]
    assert f"({own})" in "".join(seen)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_stops_is_taken_out_and_put_back(fronts, another, log_in, sessions, backend):
    opened = {user: log_in(fronts[number % 2].address, user) for number, user in enumerate(USERS[:20])}
    found = sessions()
    before = {user: next(iter(found[user])) for user in opened}
    assert set(before.values()) == set(BACKENDS)
    host = another(BACKENDS[backend])
    stopped = fronts[0].host.check_output("date '+%F %T.%6N'")
    host.check_output(f"systemctl stop {BE}")
    try:
        start = time.monotonic()
        for front in fronts:
            until(lambda front=front: front.backends() == {backend: False, other(backend): True}, OUT_SECONDS)
        until(lambda: all(front.status()["backends"][backend]["users"] == 0 for front in fronts), 10)
        print(f"{backend} was out, and its users moved, after {time.monotonic() - start:.1f} s")
        for user, session in opened.items():
            assert session.lives() is (before[user] != backend), user
            log_in(fronts[0].address, user)
        found = sessions()
        assert {tuple(found[user]) for user in opened} == {(other(backend),)}
        said = fronts[0].host.check_output(f"journalctl -o cat --since '{stopped}' -u director-check")
        assert "HOST-UP" not in said
    finally:
        host.check_output(f"systemctl start {BE}")
    took = until(lambda: all(front.well() for front in fronts), BACK_SECONDS)
    print(f"{backend} was back after {took:.1f} s")
    # Users stay where their sessions are, through either director.
    for user in opened:
        log_in(fronts[1].address, user)
    found = sessions()
    assert {tuple(found[user]) for user in opened} == {(other(backend),)}


def test_a_backend_that_loses_power_is_taken_out(fronts, log_in, sessions):
    users = USERS[20:40]
    for user in users:
        log_in(fronts[0].address, user)
    found = sessions()
    assert {backend for user in users for backend in found[user]} == set(BACKENDS)
    lab("kill", BACKENDS["be2"])
    try:
        start = time.monotonic()
        for front in fronts:
            until(lambda front=front: front.backends() == {"be1": True, "be2": False}, OUT_SECONDS)
        print(f"be2 was out {time.monotonic() - start:.1f} s after the loss of power")
        for user in users:
            until(lambda user=user: log_in(fronts[1].address, user).lives(), 30)
        found = sessions()
        assert {tuple(found[user]) for user in users} == {("be1",)}
    finally:
        lab("start", BACKENDS["be2"])
    until(lambda: all(front.well() for front in fronts), 60)


def test_the_last_backend_stays(fronts, another):
    hosts = [another(name) for name in BACKENDS.values()]
    for host in hosts:
        host.check_output(f"systemctl stop {BE}")
    try:
        time.sleep(2 * OUT_SECONDS)
        # The first one that fails may have been out before the second one failed.
        assert any(fronts[0].backends().values())
    finally:
        for host in hosts:
            host.check_output(f"systemctl start {BE}")


def test_a_director_loses_power(fronts, log_in, places, service_address, another):
    """Users who have been moved are where the ring has them, and not where their hash says."""
    moved = USERS[40:50]
    for user in moved:
        log_in(fronts[0].address, user)
    first = places(moved)
    for user in moved:
        target = another(BACKENDS[other(first[user])]).ansible.get_variables()["mail_client_address"]
        fronts[0].host.check_output(f"doveadm director move {user} {target}")
    time.sleep(3)
    for user in moved:
        log_in(fronts[0].address, user)
    before = places(moved)
    hashed = fronts[1].host.check_output(f"doveadm director status {moved[0]}")
    current, by_hash, _ = (line.split()[1] for line in hashed.replace("Initial config", "Config").splitlines())
    assert current != by_hash
    holder = next(front for front in fronts if f" {service_address}/" in front.host.check_output("ip -4 address"))
    left = next(front for front in fronts if front is not holder)
    staying = log_in(left.address, USERS[0])
    lab("kill", holder.name)
    try:
        start = time.monotonic()
        until(lambda: f" {service_address}/" in left.host.check_output("ip -4 address"), 20)
        new = log_in(service_address, "ann@example.org")
        print(f"a new user was in {time.monotonic() - start:.1f} s after the loss of power")
        for user in moved:
            log_in(service_address, user)
        # Sessions through the one that is gone may still be there, on the same backend.
        assert places(moved) == before
        assert staying.lives() and new.lives()
        took = until(lambda: left.status()["decides"], 60)
        print(f"the other one decided alone {time.monotonic() - start:.1f} s after the loss of power ({took:.1f})")
    finally:
        lab("start", holder.name)
    until(holder.well, 90)
    for user in moved:
        log_in(holder.address, user)
    assert places(moved) == before


def test_a_reload_ends_the_sessions_of_one_director_and_the_ring_remembers(fronts, log_in, places, address):
    """As site.yml does it: one director after the other."""
    users = USERS[10:20]
    for user in users:
        log_in(fronts[0].address, user)
    first = places(users)
    for user in users:
        fronts[0].host.check_output(f"doveadm director move {user} {address(BACKENDS[other(first[user])])}")
    time.sleep(3)
    moved = {user: other(backend) for user, backend in first.items()}
    staying = {user: log_in(fronts[1].address, user) for user in users}
    ended = {user: log_in(fronts[0].address, user) for user in users}
    fronts[0].host.check_output("systemctl reload dovecot")
    until(lambda: not any(session.lives() for session in ended.values()), 20)
    assert all(session.lives() for session in staying.values())
    until(fronts[0].well, 20)
    fronts[1].host.check_output("systemctl reload dovecot")
    until(fronts[1].well, 20)
    for user in users:
        log_in(fronts[0].address, user)
    assert places(users) == moved


def test_move_a_user(fronts, log_in, place, site):
    user = USERS[3]
    opened = [log_in(front.address, user) for front in fronts]
    target = other(place(user))
    done = site("playbooks/director_move_user.yml", user=user, backend=target)
    assert done.returncode == 0, done.stdout
    assert not any(session.lives() for session in opened)
    for front in fronts:
        log_in(front.address, user)
    assert place(user) == target


def test_move_nobody_to_nowhere(site):
    done = site("playbooks/director_move_user.yml", user=USERS[3], backend="be9")
    assert done.returncode and "Say which user to move and where to" in done.stdout and "changed=1" not in done.stdout


def test_drain_a_backend(fronts, log_in, sessions, site):
    users = USERS[:20]
    opened = {user: log_in(fronts[number % 2].address, user) for number, user in enumerate(users)}
    found = sessions()
    before = {user: next(iter(found[user])) for user in users}
    done = site("playbooks/director_flush.yml", backend="be1")
    assert done.returncode == 0, done.stdout
    try:
        for user, session in opened.items():
            assert session.lives() is (before[user] == "be2")
            log_in(fronts[0].address, user)
        found = sessions()
        assert {tuple(found[user]) for user in users} == {("be2",)}
        last = site("playbooks/director_flush.yml", backend="be2")
        assert last.returncode and "be2 is the last one that takes users" in last.stdout
        time.sleep(12)  # checks go on
        assert [front.weights() for front in fronts] == [{"be1": 0, "be2": 100}] * 2
        assert all(front.well() for front in fronts)
    finally:
        done = site("playbooks/director_flush.yml", backend="be1", back=True)
        assert done.returncode == 0, done.stdout
    assert [front.weights() for front in fronts] == [{"be1": 100, "be2": 100}] * 2


def test_a_running_ring_takes_changes_over(fronts, log_in, place, places, settings, address):
    addresses = {name: {"address": address(host)} for name, host in BACKENDS.items()}
    staying = {user: log_in(fronts[number % 2].address, user) for number, user in enumerate(USERS[:20])}
    before = places(staying)
    weighed = {"be1": addresses["be1"], "be2": addresses["be2"] | {"weight": 50}}
    done = settings(described_backends=weighed)
    assert done.returncode == 0, done.stdout
    assert [front.weights() for front in fronts] == [{"be1": 100, "be2": 50}] * 2
    assert all(session.lives() for session in staying.values())

    done = settings(described_backends={"be1": addresses["be1"]})
    assert done.returncode == 0, done.stdout
    assert [front.weights() for front in fronts] == [{"be1": 100}] * 2
    assert {user: session.lives() for user, session in staying.items()} == {
        user: backend == "be1" for user, backend in before.items()
    }

    done = settings(described_backends=addresses)
    assert done.returncode == 0, done.stdout
    assert [front.weights() for front in fronts] == [{"be1": 100, "be2": 100}] * 2
    again = settings(described_backends=addresses)
    assert again.returncode == 0 and "changed=1" not in again.stdout, again.stdout
    fresh = next(
        user
        for user in ("bob@example.org", "cat@example.org", *USERS[20:])
        if not place(user) and log_in(fronts[0].address, user) and place(user) == "be2"
    )
    assert fresh


def test_a_session_outlives_the_time_for_which_the_ring_remembers(fronts, log_in, place, address, play):
    seconds = 20
    done = play("molecule/dovecot_director/converge.yml", user_expire=seconds)
    assert done.returncode == 0, done.stdout
    try:
        for front in fronts:
            until(front.well, 60)
        user = USERS[9]
        log_in(fronts[0].address, user)
        target = other(place(user))
        fronts[0].host.check_output(f"doveadm director move {user} {address(BACKENDS[target])}")
        time.sleep(3)
        session = log_in(fronts[0].address, user)
        time.sleep(3 * seconds)
        for front in fronts:
            assert f"Current: {address(BACKENDS[target])} " in front.host.check_output(
                f"doveadm director status {user}"
            )
        log_in(fronts[1].address, user)
        assert place(user) == target and session.lives()
    finally:
        done = play("molecule/dovecot_director/converge.yml")
        assert done.returncode == 0, done.stdout


def test_two_rings_are_told_apart(fronts, settings):
    own = fronts[1].host.ansible.get_variables()["mail_cluster_address"]
    done = settings("--limit=front2", ring=[own])
    found = " ".join(done.stdout.split())
    assert done.returncode and "Seen from front2: the ring has director" in found, found
    assert "All directors must have the same dovecot_director_ring" in found
    assert all(len(front.status()["directors"]) == 2 for front in fronts)
