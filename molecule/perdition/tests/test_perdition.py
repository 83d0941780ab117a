"""Real clients, through front ends of both releases."""

import contextlib
import imaplib
import poplib
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import BACKENDS, NAME, PASSWORD, Imap, Pop3, context, gets_in, said
from shared.pods import until

testinfra_hosts = ["ansible://fronts"]
PLACES = {"ann": "back12", "bob": "back13", "cat": "back13"}
NO_BACKEND = "Could not determine server"


def statuses(host):
    """Say what the kernel says of perdition's processes, which come and go: keepalived logs in now and then."""
    return host.run("for pid in $(pgrep -f '^perdition:'); do cat /proc/$pid/status; done").stdout


@contextlib.contextmanager
def without(another, unit, *names):
    """Without a service of some hosts."""
    try:
        for name in names:
            another(name).check_output(f"systemctl stop {unit}")
        yield
    finally:
        for name in names:
            another(name).check_output(f"systemctl start {unit}")


@pytest.mark.parametrize("user", PLACES)
def test_mail_and_logins_reach_the_host_that_ldap_names(mail, another, address, user):
    subject = f"to {user} {time.time()}"
    assert mail("lmtp", "127.0.0.1", "", subject, 0, f"{user}@example.org") == {}
    found = mail("imap", address, NAME, f"{user}@example.org")
    assert subject in found["subjects"]
    assert mail("pop3", address, NAME, f"{user}@example.org")["count"] == len(found["subjects"])
    assert said(Imap(address), f"{user.title()}@Example.Org") == ""
    homes = [name for name in BACKENDS if another(name).file(f"/srv/mail/example.org/{user}").exists]
    assert homes == [PLACES[user]]


def test_probe_which_is_not_in_ldap_gets_in(address):
    assert said(Imap(address), "probe@example.org") == ""


def test_clients_learn_what_the_backend_can_do(address):
    session = Imap(address)
    session.login("ann@example.org", PASSWORD)
    assert "IDLE" in session.capability()[1][0].decode().split()


def test_starttls(address):
    session = Imap(address, 143)
    assert "LOGINDISABLED" in session.capabilities
    session.starttls()
    assert said(session) == ""
    pop3 = Pop3(address, 110)
    pop3.stls()
    pop3.user("ann@example.org")
    assert pop3.pass_(PASSWORD).startswith(b"+OK")


def test_a_second_attempt(address):
    session = Imap(address)
    assert "AUTHENTICATIONFAILED" in said(session, password="wrong")
    assert said(session) == ""


def test_a_client_that_takes_long_words_apart(address):
    """Name and password as literals, which come in pieces of their own."""
    user = "ann@example.org"
    session = Imap(address).sock
    session.sendall(f"a LOGIN {{{len(user)}}}\r\n".encode())
    assert session.recv(1000).startswith(b"+")
    session.sendall(f"{user} {{{len(PASSWORD)}}}\r\n".encode())
    assert session.recv(1000).startswith(b"+")
    session.sendall(f"{PASSWORD}\r\n".encode())
    answer = b""
    while b"\na " not in answer:
        answer += session.recv(4000)
    assert b"\na OK" in answer


def test_nobody_gets_in_without_tls(address, logins):
    assert "Login Disabled" in said(Imap(address, 143))
    pop3 = Pop3(address, 110)
    with pytest.raises(poplib.error_proto):
        pop3.user("ann@example.org")
        pop3.pass_(PASSWORD)
    sieve = Sieve(address)
    assert sieve.login("ann@example.org").startswith("NO")
    for name in BACKENDS:
        assert not [line for line in logins(name) if "ann@example.org" in line]


def test_what_comes_before_tls_is_not_taken_for_what_comes_within(address):
    session = socket.create_connection((address, 143), 20)
    session.recv(1000)
    session.sendall(b"a STARTTLS\r\nb CAPABILITY\r\n")
    answer = session.recv(1000)
    assert answer.startswith(b"a OK") and b"b " not in answer
    with contextlib.suppress(OSError):
        session = context().wrap_socket(session, server_hostname=NAME)
        session.sendall(b"c NOOP\r\n")
        assert b"b " not in session.recv(1000)


class Sieve:
    """ManageSieve."""

    def __init__(self, address):
        """Connect, and read what the server can do."""
        self.connection = socket.create_connection((address, 4190), 40)
        self.greeting = self.answer()

    def answer(self):
        """Read up to the line that ends an answer."""
        text = ""
        while not re.search(r"^(OK|NO|BYE)\b.*\n", text, re.MULTILINE):
            data = self.connection.recv(4096)
            if not data:
                break
            text += data.decode()
        return text

    def login(self, user):
        """Log in, and return the answer."""
        import base64

        word = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        self.connection.sendall(f'AUTHENTICATE "PLAIN" "{word}"\r\n'.encode())
        return self.answer()


def test_sieve(mail, address, another):
    kept = mail("sieve", address, NAME, "cat@example.org", "keep;\\n")
    assert kept["said"] == ["OK", "OK", "OK"]
    extensions = [
        set(re.search(r'"SIEVE" "(.*)"', Sieve(where).greeting)[1].split())
        for where in (address, *(another(name).ansible.get_variables()["mail_client_address"] for name in BACKENDS))
    ]
    assert extensions[0] == extensions[1] == extensions[2]


@pytest.mark.parametrize("user", ["nobody", "dan", "eve", "a*", "ann@example.org)(mail=*", "x" * 500])
def test_who_has_no_backend_is_refused(address, logins, user):
    assert NO_BACKEND in said(Imap(address), f"{user}@example.org")
    for name in BACKENDS:
        assert not [line for line in logins(name) if f"{user}@" in line]


def test_wrong_password_is_refused(address):
    assert "AUTHENTICATIONFAILED" in said(Imap(address), password="wrong")
    pop3 = Pop3(address)
    pop3.user("ann@example.org")
    with pytest.raises(poplib.error_proto):
        pop3.pass_("wrong")


def test_wrong_passwords_of_one_do_not_slow_down_others(address):
    """All come from the same address, for backends."""
    with ThreadPoolExecutor(20) as clients:
        assert all(clients.map(lambda number: said(Imap(address), "bob@example.org", f"wrong {number}"), range(20)))
    begin = time.monotonic()
    assert said(Imap(address), "cat@example.org") == ""
    assert time.monotonic() - begin < 5


def test_a_backend_with_another_name_gets_no_password(address, logins):
    assert said(Imap(address), "fay@example.org").startswith(("abort", "SSLEOFError", "ConnectionResetError"))
    until(lambda: [line for line in logins("back12") if "user=<>" in line and f"rip={address}," in line], 10)
    assert not [line for line in logins("back12") if "fay@example.org" in line]


def test_without_ldap_users_are_refused_and_probes_are_not(address, another):
    with without(another, "slapd", *BACKENDS):
        assert NO_BACKEND in said(Imap(address))
        assert said(Imap(address), "probe@example.org") == ""
    until(lambda: gets_in(address), 30)


@pytest.mark.parametrize("name", BACKENDS)
def test_one_ldap_server_is_enough(address, another, name):
    with without(another, "slapd", name):
        assert said(Imap(address)) == said(Imap(address), "bob@example.org") == ""


def test_a_user_who_moves_in_ldap_is_on_the_other_backend_from_the_next_login_on(sessions, place, another):
    def move(backend):
        change = f"dn: mail=cat@example.org,ou=users,dc=example,dc=org\nreplace: mailHost\nmailHost: {backend}\n"
        for name in BACKENDS:
            another(name).run("printf %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", change)

    kept = sessions("cat@example.org")
    assert place("cat@example.org") == {"back13": 1}
    try:
        move("be1")
        sessions("cat@example.org")
        assert place("cat@example.org") == {"back12": 1, "back13": 1}
        another("back13").check_output("doveadm -c /etc/dovecot/backends/be.conf kick cat@example.org")
        with pytest.raises((OSError, imaplib.IMAP4.error)):
            kept.noop()
            kept.noop()
    finally:
        move("be2")


def test_a_held_user_gets_in_nowhere_and_then_where_the_override_says(host, sessions, place, route, address, another):
    """The steps of move_user.yml."""
    kept = sessions("bob@example.org")
    others = sessions("cat@example.org")
    route("bob@example.org", "held.invalid", "255.255.255.255")
    assert NO_BACKEND in said(Imap(address), "bob@example.org")
    assert kept.noop()[0] == "OK"
    until(lambda: host.run("perdition-map end Bob@Example.org").rc == 0, 120)
    assert others.noop()[0] == "OK"  # first: Python 3.13 has it fail with the other one's broken pipe
    with pytest.raises((OSError, imaplib.IMAP4.error)):
        kept.noop()
        kept.noop()
    until(lambda: place("bob@example.org") == {}, 20)
    route("bob@example.org", "be1.lab.test", another("back12").ansible.get_variables()["mail_client_address"])
    sessions("bob@example.org")
    assert place("bob@example.org") == {"back12": 1}


@pytest.mark.parametrize(
    "act", ["restart perdition@imaps", "restart perdition-map", "reload dovecot", "restart dovecot"]
)
def test_sessions_outlive_services(host, sessions, address, act):
    kept = sessions()
    host.check_output(f"systemctl {act}")
    until(lambda: gets_in(address), 20)
    assert kept.noop()[0] == "OK"


def test_many_sessions_at_a_time(host, sessions, place):
    users = [f"{user}@example.org" for user in PLACES] * 20
    with ThreadPoolExecutor(len(users)) as clients:
        opened = list(clients.map(sessions, users))
    assert all(session.noop()[0] == "OK" for session in opened)
    wanted = [{where: 20} for where in PLACES.values()]
    until(lambda: [place(f"{user}@example.org") for user in PLACES] == wanted, 30)  # others end now
    kib = [int(memory) for memory in re.findall(r"^RssAnon:\s+(\d+) kB", statuses(host), re.MULTILINE)]
    assert len(kib) >= len(users)
    assert max(kib) < 4096


def test_backends_see_the_front_end_s_address(address, logins):
    """A limit of perdition: see docs/perdition.md."""
    assert said(Imap(address)) == ""
    until(lambda: [line for line in logins("back12") if "ann@example.org" in line and f"rip={address}," in line], 10)


def test_no_privilege_is_left(host):
    found = statuses(host)
    assert set(re.findall(r"^CapEff:\s+(\w+)", found, re.MULTILINE)) == {"0" * 16}
    assert {int(uid) for uid in re.findall(r"^Uid:\s+(\d+)", found, re.MULTILINE)} == {host.user("perdition").uid}
    assert set(re.findall(r"^Groups:[ \t]*(.*?) *$", found, re.MULTILINE)) == {""}


def test_no_password_is_told(host, sessions):
    sessions()
    told = host.check_output("journalctl --no-pager -o cat") + host.check_output("ps -eww -o args")
    for password in (PASSWORD, "password-of-mail-hosts"):
        assert password not in told
        files = host.run("grep -rlF %s /etc /run /var/log /tmp", password).stdout.split()
        assert {host.file(file).mode & 0o077 for file in files} <= {0}
