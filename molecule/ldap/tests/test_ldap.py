import contextlib
import time

import pytest
from shared.pods import until

testinfra_hosts = ["ansible://fronts"]
SERVERS = ("back12", "back13")
# fay and gil are of a small site's list, which names no backend: they are on that of their shard.
BACKENDS = {"ann": "back12", "bob": "back13", "cat": "back12", "fay": "back13", "gil": "back12"}


def login(mail, user):
    return mail("imap", "127.0.0.1", "mail.lab.test", f"{user}@example.org")


def deliver(mail, subject, user):
    return mail("lmtp", "127.0.0.1", "", subject, 0, f"{user}@example.org")


@contextlib.contextmanager
def stopped(another, *names):
    """Without some of the LDAP servers."""
    try:
        for name in names:
            another(name).check_output("systemctl stop slapd")
        yield
    finally:
        for name in names:
            another(name).check_output("systemctl start slapd")


def refused_for_now(host, mail, user, why):
    """A login and a delivery are to fail, in a way that is tried again, and the log is to say why."""
    since = int(time.time())
    assert "UNAVAILABLE" in login(mail, user)["error"]
    assert deliver(mail, "x", user)[f"{user}@example.org"] // 100 == 4
    assert host.check_output(f"journalctl -u dovecot --since @{since} -o cat").count(why) >= 2


@pytest.mark.parametrize("user", BACKENDS)
def test_mail_goes_to_the_host_that_ldap_names(mail, another, user):
    subject = f"to {user} {time.time()}"
    assert deliver(mail, subject, user) == {}
    assert subject in login(mail, user)["subjects"]
    homes = [name for name in SERVERS if another(name).file(f"/srv/mail/example.org/{user}").exists]
    assert homes == [BACKENDS[user]]


def test_wrong_password_and_unknown_user_are_refused(mail):
    found = mail("imap", "127.0.0.1", "mail.lab.test", "ann@example.org", "wrong")
    assert "AUTHENTICATIONFAILED" in found["error"]
    assert deliver(mail, "x", "nobody") == {"nobody@example.org": 550}
    assert "AUTHENTICATIONFAILED" in login(mail, "nobody")["error"]


def test_a_name_is_no_filter(mail):
    assert deliver(mail, "x", "*") == {"*@example.org": 550}
    assert "AUTHENTICATIONFAILED" in login(mail, "a*")["error"]


def test_user_without_backend_waits(host, mail):
    refused_for_now(host, mail, "dan", "no-mailhost.is-no-backend.invalid")


def test_user_of_an_unknown_backend_waits(host, mail):
    refused_for_now(host, mail, "eve", "be9.lab.test.is-no-backend.invalid")


def test_probe_is_not_in_ldap(mail):
    assert deliver(mail, "probe", "probe") == {}
    assert "probe" in login(mail, "probe")["subjects"]


def test_override_goes_before_ldap(host, mail):
    host.check_output(
        "echo 'ann@example.org:::::::host=held.invalid hostip=255.255.255.255' > /etc/dovecot/routes/overrides"
    )
    try:
        time.sleep(2)
        assert deliver(mail, "x", "ann")["ann@example.org"] // 100 == 4
    finally:
        host.check_output("truncate --size 0 /etc/dovecot/routes/overrides")
        time.sleep(2)


@pytest.mark.parametrize("name", SERVERS)
def test_one_server_is_enough(mail, another, name):
    with stopped(another, name):
        for user in BACKENDS:
            subject = f"without {name} {time.time()}"
            assert deliver(mail, subject, user) == {}
            assert subject in login(mail, user)["subjects"]


def test_without_any_server_mail_waits(mail, another):
    with stopped(another, *SERVERS):
        assert deliver(mail, "x", "ann")["ann@example.org"] // 100 == 4
        assert deliver(mail, "x", "nobody")["nobody@example.org"] // 100 == 4
        assert "UNAVAILABLE" in login(mail, "ann")["error"]
        assert deliver(mail, "probe", "probe") == {}
    subject = f"afterwards {time.time()}"
    for _ in range(40):
        if deliver(mail, subject, "ann") == {}:
            break
        time.sleep(0.5)
    assert subject in login(mail, "ann")["subjects"]


def send(mail, subject, *names):
    """Send a mail by SMTP; what each recipient got."""
    return mail("smtp", "127.0.0.1", "mail.lab.test", "s@lab.test", subject, *(f"{name}@example.org" for name in names))


def arrived(mail, subject, user):
    """How often a mail is in a user's mailbox."""
    return login(mail, user)["subjects"].count(subject)


@pytest.mark.parametrize("name", ["ann.smith", "SALES"])
def test_mail_for_another_address_of_a_user(mail, name):
    subject = f"to {name} {time.time()}"
    assert send(mail, subject, name)["answers"] == {f"{name}@example.org": 250}
    until(lambda: arrived(mail, subject, "ann") == 1, 20)


def test_mail_that_goes_to_somebody_else(mail):
    subject = f"by way of cat {time.time()}"
    # Not twice where both are recipients.
    assert set(send(mail, subject, "cat", "bob")["answers"].values()) == {250}
    until(lambda: arrived(mail, subject, "bob") == 1, 20)
    assert arrived(mail, subject, "cat") == 0


def test_an_address_that_nobody_has_is_refused_and_is_no_filter(mail):
    assert send(mail, "x", "smith", "*", "a*")["answers"] == {
        f"{name}@example.org": 550 for name in ("smith", "*", "a*")
    }


def test_without_any_server_no_address_is_refused_for_good(mail, another):
    subject = f"while ldap was away {time.time()}"
    with stopped(another, *SERVERS):
        # ann is known from earlier tests; whether the other address exists nobody can say now.
        said = send(mail, subject, "never-asked-for")["answers"]
        assert said["never-asked-for@example.org"] // 100 == 4
        # Mail for postmaster needs no LDAP to be taken in.
        assert send(mail, subject, "postmaster")["answers"]["postmaster@example.org"] // 100 in (2, 4)
    until(lambda: send(mail, subject, "sales")["answers"]["sales@example.org"] == 250, 60)
    until(lambda: arrived(mail, subject, "ann") >= 1, 60)


@pytest.mark.parametrize("name", SERVERS)
def test_backend_lists_users_and_knows_their_quota(another, mail_on, name):
    listed = another(name).check_output("doveadm -c /etc/dovecot/backends/be.conf user '*'").split()
    assert sorted(listed) == [
        f"{user}@example.org" for user in ("ann", "bob", "cat", "dan", "eve", "fay", "gil", "probe")
    ]
    address = another(name).check_output("hostname -I").split()[0]
    quota = {
        user: mail_on(another(name), "imap", address, "be1.lab.test", f"{user}@example.org")["quota"]
        for user in ("dan", "bob")
    }
    assert quota["dan"].endswith(" 1048576)")
    assert quota["bob"].endswith(" 1024)")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("front12", "/etc/dovecot/routes/ldap.conf"),
        ("front13", "/etc/dovecot/routes/ldap.conf"),
        ("back12", "/etc/dovecot/directory-ldap.conf.ext"),
        ("back13", "/etc/dovecot/backends/directory.inc"),
    ],
)
def test_the_password_is_for_dovecot_alone(another, name, file):
    held = another(name).file(file)
    assert (held.user, held.mode) == ("root", 0o600)
    assert "password-of-mail-hosts" in held.content_string
    told = another(name).check_output("grep -rl password-of-mail-hosts /etc").split()
    assert [found for found in told if not found.startswith("/etc/postfix/ldap/")] == [file]


def test_what_postfix_looks_up_is_for_postfix_alone(host):
    for name in ("alias", "forward"):
        held = host.file(f"/etc/postfix/ldap/{name}.cf")
        assert (held.user, held.group, held.mode) == ("root", "postfix", 0o640)
        assert "password-of-mail-hosts" in held.content_string
