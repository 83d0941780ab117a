"""Names lead each user to the backend; who comes to another one is passed on, and touches mail on one node."""

import imaplib
import json
import poplib
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from module_utils.dns_client import look_up
from module_utils.mail_clients import Door, Imap, Pop3, Sieve, SieveError, tls_context
from module_utils.user_names import host_of, split
from tests.proofs.lab import ROOT, Lab, ansible

# One host: the tests look at all of them.
testinfra_hosts = ["ansible://mail1"]
HELD = "held.invalid hostip=255.255.255.255 held_from=shard"


@pytest.fixture(scope="module")
def lab(host):
    return Lab(host.ansible.get_variables()["lab_name"])


@pytest.fixture(scope="module")
def servers(lab):
    return [lab.variables(node)["mail_client_address"] for node in lab.group("dns_servers")]


@pytest.fixture(scope="module")
def user(lab):
    return next(user for user in lab.info["users"] if user.startswith("bob@"))


@pytest.fixture
def wrong(lab, user):
    """The backend that a user is not on."""
    return next(name for name in lab.backends if name != lab.backend_of(user))


@pytest.fixture(scope="module")
def door(lab):
    """Return a function that gives a backend's door by the user's own name, as one with an old answer would use it."""
    tls = tls_context(lab.info["front_door"]["ca_file"])

    def door(backend, user):
        return Door(lab.backends[backend]["address"], host_of(user, [split(user)[1]], "imap"), tls, 30)

    return door


@pytest.fixture
def log_in(lab, door):
    """Return a function that logs a user in by IMAP at a backend."""

    def log_in(backend, user, password=None):
        client = Imap(door(backend, user))
        client.login(user, password or lab.info["users"][user])
        return client

    return log_in


def sessions(lab, user):
    """Who serves a user: {backend: [address of the client]}."""
    found = {}
    for name, nodes in lab.placement().items():
        shown = json.loads(lab.ssh(nodes[0], f"doveadm -c /etc/dovecot/backends/{name}.conf -f json who -1 {user}"))
        # Who passes a session on lists it as well, as its login process's.
        if serving := [row["ip"] for row in shown if row["service"] == "imap"]:
            found[name] = serving
    return found


@contextmanager
def override(lab, user, text):
    """Have all hosts that know routes say something of a user."""
    path = "/etc/dovecot/routes/overrides"
    for node in lab.route_hosts:
        lab.ssh(node, f"cp -p {path} /root/overrides; echo '{user}:::::::host={text}' >> {path}")
    time.sleep(2)  # Dovecot reads it again
    try:
        yield
    finally:
        for node in lab.route_hosts:
            lab.ssh(node, f"cp -p /root/overrides {path}; touch {path}")
        time.sleep(2)


def test_each_server_leads_each_user_to_the_backend(lab, servers):
    for user in lab.info["users"]:
        name = host_of(user, ["example.com"], "imap")
        for server in servers:
            assert look_up(server, name) == lab.backends[lab.backend_of(user)]["address"], name


def test_a_client_at_another_backend_is_passed_on(lab, user, wrong, log_in, door):
    """The node that has the mail sees the client's own address, and no other node serves the user."""
    client = log_in(wrong, user)
    try:
        client.select("INBOX")
        ours = client.sock.getsockname()[0]
        assert sessions(lab, user) == {lab.backend_of(user): [ours]}
    finally:
        client.logout()
    pop3 = Pop3(door(wrong, user))
    pop3.user(user)
    pop3.pass_(lab.info["users"][user])
    pop3.quit()
    sieve = Sieve(door(wrong, user))
    sieve.login(user, lab.info["users"][user])
    assert sieve.names() == []
    sieve.close()


def test_a_client_at_the_right_backend_is_served_there(lab, user, log_in):
    client = log_in(lab.backend_of(user), user)
    try:
        assert list(sessions(lab, user)) == [lab.backend_of(user)]
    finally:
        client.logout()


def test_who_has_no_right_to_is_not_passed_on(lab, user, wrong, log_in):
    for backend in (wrong, lab.backend_of(user)):
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            log_in(backend, user, "wrong")
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            log_in(backend, "nobody@example.com", "wrong")


def test_mail_that_comes_to_another_backend_is_passed_on(lab, user, wrong):
    """As when the MTA's routes are behind; nobody but MTAs and mail nodes can try."""
    ident = f"passed-on-{time.time()}"
    script = (
        "import smtplib, ssl, socket\n"
        "class Lmtp(smtplib.LMTP):\n"
        "    def _get_socket(self, host, port, timeout):\n"
        "        tls = ssl.create_default_context(cafile='/etc/ssl/dovecluster/ca.pem')\n"
        "        return tls.wrap_socket(socket.create_connection((host, port), 10), server_hostname=host)\n"
        f"client = Lmtp('{wrong}.nodes.example.com', 24)\n"
        f"client.sendmail('', '{user}', 'Message-ID: <{ident}@example.com>\\n\\n')\n"
        "try:\n"
        f"    client.sendmail('', 'nobody@example.com', 'Subject: no\\n\\n')\n"
        "except smtplib.SMTPRecipientsRefused as error:\n"
        "    print(error)\n"
    )
    shown = lab.ssh(lab.group("mta")[0], f'python3 - <<"END"\n{script}END\n')
    assert "550" in shown, shown
    # Only who stores a mail says so in the log of its backend.
    saved = f"msgid=<{ident}@example.com>: saved mail to INBOX"
    for backend, nodes in lab.placement().items():
        log = lab.ssh(nodes[0], f"journalctl -u dovecot-backend@{backend} -o cat --since=-1min")
        assert (saved in log) == (backend == lab.backend_of(user)), log


def test_a_held_user_is_refused_everywhere_for_now(lab, user, log_in):
    with override(lab, user, HELD):
        for backend in lab.backends:
            with pytest.raises(imaplib.IMAP4.error, match=r"UNAVAILABLE|Temporary|try again"):
                log_in(backend, user)
        assert sessions(lab, user) == {}
    log_in(lab.backend_of(user), user).logout()


def logged_in(log_in, backend, user):
    """Whether a user can log in at a backend."""
    try:
        log_in(backend, user).logout()
    except (imaplib.IMAP4.error, OSError):
        return False
    return True


def test_names_follow_a_user_who_moves(lab, user, wrong, servers, log_in):
    """When the user is let in again, names lead to the new backend; a client with the old answer is passed on."""
    old, new = lab.backend_of(user), wrong
    name = host_of(user, ["example.com"], "imap")
    seen = {}
    stop = threading.Event()

    def watch():
        """Note when all servers gave the new address, and when a client with the old answer was on the new backend."""
        while not stop.is_set():
            if {look_up(server, name) for server in servers} == {lab.backends[new]["address"]}:
                seen.setdefault("name", time.monotonic())
            if "name" in seen and logged_in(log_in, old, user):
                seen.setdefault("login", time.monotonic())
                return
            time.sleep(0.1)

    session = log_in(old, user)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        move(lab, user, new)
        thread.join(20)
    finally:
        stop.set()
        thread.join()
    try:
        with pytest.raises((imaplib.IMAP4.error, OSError)):
            session.noop()
        assert seen.keys() == {"name", "login"}
        print(f"let in {seen['login'] - seen['name']:.2f} s after names led to {new}")
        for backend in lab.backends:
            client = log_in(backend, user)
            assert list(sessions(lab, user)) == [new]
            client.logout()
    finally:
        move(lab, user, old)
        forget(lab, user)
    assert {look_up(server, name) for server in servers} == {lab.backends[old]["address"]}


def move(lab, user, backend):
    """Move a user as an operator does."""
    argv = [ansible("ansible-playbook"), "-i", lab.info["inventory"], "playbooks/move_user.yml"]
    done = subprocess.run(
        [*argv, "-e", f"user={user}", "-e", f"backend={backend}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def forget(lab, user):
    """Let the shard decide again."""
    for node in lab.route_hosts:
        lab.ssh(node, f"sed -i '/^{user}:/d' /etc/dovecot/routes/overrides")
    lab.forget_name(user)


def test_name_servers_know_who_has_moved(lab):
    texts = {lab.ssh(node, "cat /etc/dovecot/routes/overrides") for node in lab.route_hosts}
    assert len(texts) == 1


def test_mail_clients_are_told_the_user_s_own_name(lab, user, servers):
    tls = tls_context(lab.info["front_door"]["ca_file"])
    for address in servers:
        site = Door(address, "autoconfig.example.com", tls)
        with site.secure(site.connect(443)) as sock:
            question = f"GET /mail/config-v1.1.xml?emailaddress={user} HTTP/1.0\r\n\r\n"
            sock.sendall(question.encode())
            told = sock.makefile().read()
        assert f"<hostname>{host_of(user, ['example.com'], 'imap')}</hostname>" in told


def test_pop3_and_sieve_refuse_a_wrong_password(lab, user, wrong, door):
    pop3 = Pop3(door(wrong, user))
    pop3.user(user)
    with pytest.raises(poplib.error_proto):
        pop3.pass_("wrong")
    sieve = Sieve(door(wrong, user))
    with pytest.raises(SieveError):
        sieve.login(user, "wrong")
