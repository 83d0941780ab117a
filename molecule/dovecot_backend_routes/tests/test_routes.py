"""Whatever backend a client or a mail comes to, only the user's own touches mail."""

import time
from contextlib import contextmanager

import pytest

from module_utils.mail_route import parse_shards, shard_of

testinfra_hosts = ["ansible://back12"]
HOSTS = {"be1": "back12", "be2": "back13"}
SHARDS = {"be1": "0-127", "be2": "128-255"}
USERS = [f"{name}@example.org" for name in ("ann", "bob", "cat", "probe")]
BACKENDS = sorted(HOSTS)
OVERRIDES = "/etc/dovecot/routes/overrides"


def home(user):
    return next(name for name, shards in SHARDS.items() if shard_of(user) in parse_shards(shards))


def away(user):
    return next(name for name in BACKENDS if name != home(user))


@pytest.fixture
def backends(another):
    return {name: another(host) for name, host in HOSTS.items()}


@pytest.fixture
def address(backends):
    return {name: host.ansible.get_variables()["mail_client_address"] for name, host in backends.items()}


@pytest.fixture
def log_in(mail, address):
    """Return a function that logs in at a backend from another host than that of most, and says what is there."""
    return lambda backend, user, *password: mail("imap", address[backend], backend + ".lab.test", user, *password)


@pytest.fixture
def deliver(mail, address):
    return lambda backend, subject, *users: mail("lmtp", address[backend], backend + ".lab.test", subject, 0, *users)


@pytest.fixture
def served(backends):
    """Return a function that says which backends have logged a user in since, for a service."""

    def served(since, user, service="imap"):
        log = "journalctl -u dovecot-backend@be -o cat --since=@%s"
        # A session that was passed on says so in the login process alone; the process that serves it says how it ended.
        mark = f"{service}({user})<"
        return {name for name, host in backends.items() if mark in host.check_output(log, since)}

    return served


@contextmanager
def overridden(backends, user, fields):
    for host in backends.values():
        host.check_output(f"echo '{user}:::::::{fields}' >> {OVERRIDES}")
    time.sleep(2)  # Dovecot reads it again
    try:
        yield
    finally:
        for host in backends.values():
            host.check_output(f"sed -i '/^{user}:/d' {OVERRIDES}; touch {OVERRIDES}")
        time.sleep(2)


def test_there_are_users_of_both():
    assert {home(user) for user in USERS} == set(BACKENDS)


@pytest.mark.parametrize("user", USERS)
def test_mail_and_clients_end_where_the_user_is(backends, log_in, deliver, served, user):
    since = backends["be1"].check_output("sleep 1; date +%s")
    for backend in BACKENDS:
        subject = f"by {backend} {time.time()}"
        assert deliver(backend, subject, user) == {}
        for door in BACKENDS:
            assert subject in log_in(door, user.upper())["subjects"]
    assert served(since, user) == {home(user)}
    assert served(since, user, "lmtp") == {home(user)}


@pytest.mark.parametrize("user", USERS)
def test_pop3_and_sieve_are_passed_on(mail, address, user):
    script = 'require ["fileinto"];\\nkeep;\\n'
    for backend in BACKENDS:
        name = f"{backend}.lab.test"
        assert mail("pop3", address[backend], name, user)["count"] == len(
            mail("imap", address[backend], name, user)["subjects"]
        )
        assert mail("sieve", address[backend], name, user, script)["said"] == ["OK", "OK", "OK"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_has_no_right_to_gets_nowhere(log_in, deliver, backend):
    """Of this backend, of the other, or of none."""
    for user in (USERS[0], USERS[2], "nobody@example.org"):
        assert "AUTHENTICATIONFAILED" in log_in(backend, user, "wrong")["error"]
    assert "error" in log_in(backend, USERS[0], "")
    assert deliver(backend, "x", "nobody@example.org") == {"nobody@example.org": 550}


@pytest.mark.parametrize("user", USERS[1:3])
def test_a_moved_user_is_served_by_the_new_backend(backends, address, log_in, served, user):
    since = backends["be1"].check_output("sleep 1; date +%s")
    fields = f"host={away(user)}.lab.test hostip={address[away(user)]}"
    with overridden(backends, user, fields):
        for door in BACKENDS:
            assert "subjects" in log_in(door, user)
        assert served(since, user) == {away(user)}


@pytest.mark.parametrize("user", USERS[1:3])
def test_a_held_user_is_refused_for_now(backends, log_in, deliver, served, user):
    since = backends["be1"].check_output("sleep 1; date +%s")
    with overridden(backends, user, "host=held.invalid hostip=255.255.255.255 held_from=shard"):
        for door in BACKENDS:
            assert "UNAVAILABLE" in log_in(door, user)["error"]
            answer = deliver(door, "x", user)
            assert answer.get(user, answer.get("data")) // 100 == 4
        assert served(since, user) == served(since, user, "lmtp") == set()
    assert "subjects" in log_in(home(user), user)


@pytest.mark.parametrize(
    ("change", "file", "back"),
    [
        ("mv %s /root/away", "shards", "mv /root/away %s"),
        ("chmod 600 %s", "shards", "chmod 640 %s"),
        ("chmod 600 %s", "overrides", "chmod 640 %s"),
    ],
)
def test_who_cannot_know_serves_nobody(backends, log_in, deliver, served, change, file, back):
    """Not even with a wrong password, and mail is not refused for good."""
    since = backends["be1"].check_output("sleep 1; date +%s")
    path = f"/etc/dovecot/routes/{file}"
    for host in backends.values():
        host.check_output(change + "; systemctl reload dovecot-backend@be", path)
    time.sleep(2)
    try:
        for user in USERS[1:3]:
            for door in BACKENDS:
                assert "error" in log_in(door, user)
                answer = deliver(door, "x", user)
                assert answer.get(user, answer.get("data")) // 100 == 4
            assert served(since, user) == served(since, user, "lmtp") == set()
        assert "error" in log_in("be1", USERS[0], "wrong")
    finally:
        for host in backends.values():
            host.check_output(back + "; systemctl reload dovecot-backend@be", path)
        time.sleep(2)
    assert "subjects" in log_in("be1", USERS[0])


def test_no_instance_starts_without_overrides(backends):
    """For Dovecot, nobody would have moved."""
    for host in backends.values():
        host.check_output(f"systemctl stop dovecot-backend@be; mv {OVERRIDES} /root/away")
        try:
            assert host.run("systemctl start dovecot-backend@be").rc != 0
        finally:
            host.check_output(f"mv /root/away {OVERRIDES}; systemctl start dovecot-backend@be")


def test_the_backend_sees_the_client_and_not_who_passed_it_on(backends, address, log_in):
    since = backends["be1"].check_output("sleep 1; date +%s")
    user = next(user for user in USERS if home(user) == "be1")
    assert "subjects" in log_in("be2", user)
    log = backends["be1"].check_output(f"journalctl -u dovecot-backend@be -o cat --since=@{since}")
    logins = [line for line in log.splitlines() if "imap-login" in line and f"<{user}>" in line]
    assert logins
    # The tests' client is on back12.
    assert all(f"rip={address['be1']}" in line for line in logins), logins
