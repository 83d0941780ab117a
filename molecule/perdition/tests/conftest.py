"""What the tests of perdition share."""

import contextlib
import imaplib
import os
import poplib
import socket
import ssl
import time
from pathlib import Path

import pytest

PASSWORD = "not-a-secret-of-any-site"
NAME = "mail.lab.test"
BACKENDS = ("back12", "back13")
CONFIG = "/etc/dovecot/backends/be.conf"


def context():
    """Trust the scenario's CA."""
    return ssl.create_default_context(cafile=Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory" / "ca.pem")


class Imap(imaplib.IMAP4):
    """IMAP to an address, with a certificate for the name that clients use; TLS from the start on port 993."""

    def __init__(self, address, port=993):
        """Connect."""
        super().__init__(address, port, timeout=40)

    def _create_socket(self, timeout):
        connection = socket.create_connection((self.host, self.port), timeout)
        return context().wrap_socket(connection, server_hostname=NAME) if self.port == 993 else connection

    def starttls(self):
        """Begin TLS."""
        self.host = NAME  # what is verified
        return super().starttls(context())


class Pop3(poplib.POP3):
    """The same for POP3."""

    def __init__(self, address, port=995):
        """Connect."""
        super().__init__(address, port, timeout=40)

    def _create_socket(self, timeout):
        connection = socket.create_connection((self.host, self.port), timeout)
        return context().wrap_socket(connection, server_hostname=NAME) if self.port == 995 else connection

    def stls(self):
        """Begin TLS."""
        self.host = NAME
        return super().stls(context())


def said(session, user="ann@example.org", password=PASSWORD):
    """Log in, and return the refusal, if it is one."""
    try:
        session.login(user, password)
    except (OSError, imaplib.IMAP4.error) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def gets_in(address, user="ann@example.org"):
    """Tell whether a user gets in."""
    try:
        return said(Imap(address), user) == ""
    except (OSError, imaplib.IMAP4.error):
        return False


@pytest.fixture
def address(host):
    """Give the front end's own address."""
    return host.ansible.get_variables()["mail_client_address"]


@pytest.fixture
def sessions(address):
    """Return a function that opens a session which ends with the test: sessions(USER)."""
    opened = []

    def session(user="ann@example.org"):
        opened.append(Imap(address))
        opened[-1].login(user, PASSWORD)
        return opened[-1]

    yield session
    for session in opened:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            session.shutdown()


@pytest.fixture
def place(another):
    """Return a function that says on which backends a user has sessions."""

    def where(user):
        found = {}
        for name in BACKENDS:
            lines = another(name).check_output(f"doveadm -c {CONFIG} who -1 {user}").splitlines()
            count = sum(line.split()[:1] == [user] for line in lines)
            if count:
                found[name] = count
        return found

    return where


@pytest.fixture
def logins(another):
    """Return a function that gives what a backend logged of logins since the test began."""
    begin = time.time()

    def lines(name):
        logged = another(name).check_output(f"journalctl -o cat -u dovecot-backend@be --since @{begin:.3f}")
        return [line for line in logged.splitlines() if "-login: " in line]

    return lines


@pytest.fixture
def route(host):
    """Return a function that sets a user's override, as mail_route does; afterwards there is none."""
    path = "/etc/dovecot/routes/overrides"

    def override(user, where, hostip):
        host.check_output(f"echo {user}:::::::host={where} hostip={hostip} > {path}")
        time.sleep(2)

    yield override
    host.check_output(f"truncate --size 0 {path}")
    time.sleep(2)
