"""Speaks through front ends from one of this host's addresses: run there by the tests, prints one JSON object.

client.py NAME [ARGUMENT...]; NAME is a function below, without its underscore.
"""

import http.client
import imaplib
import json
import poplib
import smtplib
import socket
import ssl
import sys

USER, PASSWORD = "ann@example.org", "not-a-secret-of-any-site"
CONTEXT = ssl.create_default_context(cafile="/etc/ssl/dovecluster/ca.pem")
NAME = "mail.lab.test"
FAILURES = (OSError, imaplib.IMAP4.error)


def _connect(source, address, port):
    return socket.create_connection((address, int(port)), 20, source_address=(source, 0))


def _tls(connection):
    return CONTEXT.wrap_socket(connection, server_hostname=NAME)


class _Imap(imaplib.IMAP4):
    def __init__(self, connection):
        self.connection = connection
        super().__init__()

    def _create_socket(self, timeout):
        return self.connection


class _Smtp(smtplib.SMTP):
    def _get_socket(self, host, port, timeout):
        return socket.create_connection((host, port), timeout, self.source_address)


def _backend(connection):
    """Log in, and say which backend's mail is there."""
    session = _Imap(connection)
    session.login(USER, PASSWORD)
    [mark] = session.list('""', "on-*")[1]
    session.logout()
    return mark.split()[-1].decode().removeprefix("on-")


def imap(address, port, *sources):
    """Say for each source which backend a session is on."""
    found = {}
    for source in sources:
        try:
            found[source] = _backend(_tls(_connect(source, address, port)))
        except FAILURES as error:
            found[source] = f"{type(error).__name__}: {error}"
    return found


def pop3(address, port, source):
    """Log in."""

    class Pop3(poplib.POP3):
        def _create_socket(self, timeout):
            return _tls(_connect(source, address, port))

    session = Pop3(address)
    session.user(USER)
    session.pass_(PASSWORD)
    return session.quit().decode()


def smtp(address, port, source):
    """Begin a mail inside TLS."""
    session = _Smtp(source_address=(source, 0), timeout=20)
    session.connect(address, int(port))
    session._host = NAME
    session.starttls(context=CONTEXT)
    session.ehlo()
    return [session.mail("")[0], session.quit()[0]]


def https(address, port, source):
    """Ask for a page, with a false idea of whom it is for."""
    connection = http.client.HTTPSConnection(address, int(port))
    connection.sock = _tls(_connect(source, address, port))
    connection.request("GET", "/", headers={"Host": NAME, "X-Forwarded-For": "192.0.2.99"})
    return json.loads(connection.getresponse().read())


def listener(address, port, source, says):
    """Connect to a backend's own listener, and say first whom it is for, or nothing."""
    connection = _connect(source, address, port)
    connection.sendall(says.replace("\\r\\n", "\r\n").encode())
    try:
        return _backend(_tls(connection))
    except FAILURES as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
