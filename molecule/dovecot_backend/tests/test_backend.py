import re
import time

import pytest

FOLDERS = {"Drafts", "Sent", "Junk", "Trash", "Archive"}


@pytest.fixture
def address(host):
    return re.findall(r"inet ([\d.]+)/\d+ .*\beth0", host.check_output("ip -4 -o address show dev eth0"))[0]


@pytest.fixture
def deliver(mail, address):
    return lambda subject, *recipients, size=0: mail("lmtp", address, "be1.lab.test", subject, size, *recipients)


def test_stock_service_is_masked(host):
    assert host.run("systemctl is-enabled dovecot.service").stdout.strip() == "masked"
    assert not host.service("dovecot").is_running


def test_mail_comes_in_and_out_over_verified_tls(mail, address, deliver):
    subject = f"in and out {time.time()}"
    assert deliver(subject, "ann@example.org") == {}
    found = mail("imap", address, "be1.lab.test", "Ann@Example.org")
    assert subject in found["subjects"]
    assert set(found["folders"]) - {"INBOX"} >= FOLDERS
    assert mail("pop3", address, "be1.lab.test", "ann@example.org")["count"] == found["folders"]["INBOX"]


def test_certificate_of_another_name_is_refused(mail, address):
    assert "Hostname mismatch" in mail("imap", address, "be9.lab.test", "ann@example.org")["error"]


def test_wrong_password_is_refused(mail, address):
    found = mail("imap", address, "be1.lab.test", "ann@example.org", "wrong")
    assert "AUTHENTICATIONFAILED" in found["error"]


def test_unknown_user_is_refused_at_once(deliver):
    assert deliver("x", "nobody@example.org") == {"nobody@example.org": 550}


def test_quota_of_user_and_default(mail, address):
    assert mail("imap", address, "be1.lab.test", "ann@example.org")["quota"].endswith(" 1048576)")
    assert mail("imap", address, "be1.lab.test", "bob@example.org")["quota"].endswith(" 1024)")


def test_full_mailbox_defers_mail(deliver):
    for _ in range(2):
        deliver("large", "bob@example.org", size=700_000)
    answer = deliver("large", "bob@example.org", size=700_000)
    assert answer.get("bob@example.org", answer.get("data")) // 100 == 4


def test_sieve_files_mail(mail, address, deliver):
    script = 'require ["fileinto"];\\nif header :contains "subject" "archive" { fileinto "Archive"; }\\n'
    put = mail("sieve", address, "be1.lab.test", "cat@example.org", script)
    assert put == {"said": ["OK", "OK", "OK"], "plain_before_tls": False}
    before = mail("imap", address, "be1.lab.test", "cat@example.org")["folders"]
    deliver("to the archive", "cat@example.org")
    after = mail("imap", address, "be1.lab.test", "cat@example.org")["folders"]
    assert after["Archive"] == before["Archive"] + 1
    assert after["INBOX"] == before["INBOX"]


def test_detail_goes_to_the_same_mailbox(deliver):
    assert deliver("detail", "ann+list@example.org") == {}


def test_metrics(host, address):
    script = f"import urllib.request; print(urllib.request.urlopen('http://{address}:9900/metrics').read().decode())"
    assert "dovecot_imap_command_total" in host.check_output("python3 -c %s", script)


def test_doveadm_listener_wants_tls_and_password(host):
    config = host.file("/etc/dovecot/backends/be.conf")
    assert config.mode == 0o600
    command = "timeout 5 openssl s_client -quiet -connect %s:12345 </dev/null 2>&1"
    assert "CN" in host.run(command, "127.0.2.2").stdout


def test_instances_are_apart(host):
    be, other = (host.check_output(f"systemctl show -P MainPID dovecot-backend@{name}") for name in ("be", "other"))
    assert be != other
    assert "/run/dovecot-other" in host.check_output("doveconf -c /etc/dovecot/backends/other.conf base_dir")


def test_mail_belongs_to_vmail_alone(host):
    home = host.file("/srv/mail/example.org/ann")
    assert (home.user, home.uid, home.mode & 0o077) == ("vmail", 5000, 0)


def test_reloads_keep_a_session(host):
    """The second one crashes 2.4.1 if instance_name is set; shutdown_clients ends sessions after 6 seconds."""
    script = (
        "import imaplib,ssl,subprocess,time\n"
        "m=imaplib.IMAP4_SSL('127.0.2.2',ssl_context=ssl._create_unverified_context())\n"
        "m.login('ann@example.org','not-a-secret-of-any-site')\n"
        "for _ in range(3):\n"
        "    subprocess.run(['systemctl','try-reload-or-restart','dovecot-backend@*.service'],check=True)\n"
        "    time.sleep(1)\n"
        "time.sleep(7)\n"
        "print(m.noop()[0], m.select()[0])"
    )
    assert host.check_output("python3 -c %s", script) == "OK OK"
    assert host.service("dovecot-backend@be").is_running


def test_stop_ends_sessions_and_leaves_nothing_behind(host):
    script = (
        "import imaplib,ssl,subprocess\n"
        "m=imaplib.IMAP4_SSL('127.0.2.2',ssl_context=ssl._create_unverified_context())\n"
        "m.login('ann@example.org','not-a-secret-of-any-site')\n"
        "subprocess.run(['systemctl','stop','dovecot-backend@other'],check=True)\n"
        "try: m.noop()\n"
        "except (OSError, imaplib.IMAP4.abort): print('ended')"
    )
    try:
        assert host.check_output("python3 -c %s", script) == "ended"
        assert not host.file("/run/dovecot-other").exists
        assert not host.socket("tcp://127.0.2.2:993").is_listening
    finally:
        host.check_output("systemctl start dovecot-backend@other")


def test_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security dovecot-backend@be --no-pager | tail -n 1")
    assert float(re.findall(r"\d+\.\d+", score)[0]) < 5
