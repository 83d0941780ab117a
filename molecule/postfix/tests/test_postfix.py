import time

testinfra_hosts = ["ansible://fronts"]


def send(host, mail, subject, *recipients, sender="s@lab.test"):
    name = host.backend.get_hostname() + ".lab.test"
    return mail("smtp", "127.0.0.1", name, sender, subject, *recipients)


def arrives(mail, subject, user):
    for _ in range(40):
        if subject in mail("imap", "127.0.0.1", "mail.lab.test", user)["subjects"]:
            return
        time.sleep(0.5)
    raise AssertionError(f"{subject!r} did not arrive within 20 seconds")


def test_mail_arrives(host, mail):
    subject = f"in {time.time()}"
    assert send(host, mail, subject, "ann@example.org")["sent"] == 250
    arrives(mail, subject, "ann@example.org")


def test_sieve_redirects_through_the_front_door(host, mail):
    subject = f"redirected {time.time()}"
    script = 'require ["copy"];\\nredirect :copy "ann@example.org";\\n'
    assert mail("sieve", "127.0.0.1", "mail.lab.test", "cat@example.org", script)["said"] == ["OK"] * 3
    try:
        assert send(host, mail, subject, "cat@example.org")["sent"] == 250
        arrives(mail, subject, "ann@example.org")
    finally:
        mail("sieve", "127.0.0.1", "mail.lab.test", "cat@example.org", "keep;\\n")


def test_who_is_accepted(host, mail):
    recipients = ["ann@example.org", "nobody@example.org", "postmaster@example.org"]
    assert send(host, mail, "x", *recipients)["answers"] == {
        "ann@example.org": 250,
        "nobody@example.org": 550,
        "postmaster@example.org": 250,
    }


def test_features(host, mail):
    features = send(host, mail, "x", "nobody@example.org")["features"]
    assert {"size", "8bitmime", "pipelining"} <= set(features)
    assert "smtputf8" not in features


def test_no_open_relay(host, another):
    """Asks from outside: loopback is trusted."""
    address = host.check_output("hostname -I").split()[0]
    script = (
        "import smtplib,sys; s=smtplib.SMTP(sys.argv[1],25); s.ehlo('c.lab.test'); s.mail('s@lab.test');"
        "print(s.rcpt('x@elsewhere.test')[0], s.rcpt('a%elsewhere.test@example.org')[0])"
    )
    assert another("back13").check_output("python3 -c %s %s", script, address) == "554 554"
