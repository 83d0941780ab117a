import pytest

from module_utils.mail_route import parse_shards, shard_of

testinfra_hosts = ["ansible://fronts"]
USERS = [f"user{number}.Name@dom{number % 7}.example.org" for number in range(2000)]


def test_every_user_has_the_shard_that_modules_compute(host):
    out = host.check_output("doveadm auth lookup " + " ".join(USERS))
    hosts = [line.split()[-1] for line in out.splitlines() if line.split()[:1] == ["host"]]
    wanted = [f"be{1 if shard_of(user) in parse_shards('0-127') else 2}.lab.test" for user in USERS]
    assert hosts == wanted


def test_no_login_without_tls(host, another):
    """Asks from outside: Dovecot takes a host's own connections for safe."""
    address = host.check_output("hostname -I").split()[0]
    script = (
        "import imaplib,sys\n"
        "m=imaplib.IMAP4(sys.argv[1])\n"
        "try: m.login('ann@example.org','not-a-secret-of-any-site')\n"
        "except imaplib.IMAP4.error as error: print('LOGINDISABLED' in m.capabilities, error)"
    )
    assert another("back13").check_output("python3 -c %s %s", script, address).startswith("True ")


@pytest.mark.parametrize("user", ["ann@example.org", "bob@example.org", "cat@example.org"])
def test_mail_goes_through_to_the_users_backend(mail, user):
    assert mail("lmtp", "127.0.0.1", "", "through", 0, user) == {}
    found = mail("imap", "127.0.0.1", "mail.lab.test", user)
    assert "through" in found["subjects"]
    assert mail("pop3", "127.0.0.1", "mail.lab.test", user)["count"] == found["folders"]["INBOX"]


def test_wrong_password_and_unknown_user_are_refused(mail):
    found = mail("imap", "127.0.0.1", "mail.lab.test", "ann@example.org", "wrong")
    assert "AUTHENTICATIONFAILED" in found["error"]
    assert mail("lmtp", "127.0.0.1", "", "x", 0, "nobody@example.org") == {"nobody@example.org": 550}


def test_sieve_through_the_proxy(mail):
    put = mail("sieve", "127.0.0.1", "mail.lab.test", "cat@example.org", "keep;\\n")
    assert put == {"said": ["OK", "OK", "OK"], "plain_before_tls": False}


def test_overrides_are_the_same_everywhere(host):
    assert host.file("/etc/dovecot/routes/overrides").mode == 0o640
    assert host.file("/etc/dovecot/routes/overrides").content_string == ""
