"""A renewed certificate is in use at once, on backends, front ends and MTAs of both releases, and ends no session."""

import imaplib
import os
import smtplib
import socket
import ssl
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PASSWORD = "not-a-secret-of-any-site"
# Where Molecule's inventory is, and so the CA.
CA = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory" / "ca.pem"
# What a site's hosts are told to reload.
UNITS = yaml.safe_load((ROOT / "playbooks/group_vars/all.yml").read_text())["pki_units"]


@pytest.fixture
def renew(play):
    """Return a function that renews what ends within so many days, and says what Ansible did."""

    def run(days):
        variables = {"pki_units": UNITS, "pki_renew_days": days, "pki_ca_certificate_file": str(CA)}
        done = play("molecule/shared/certificates.yml", "--verbose", **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def serial(connection):
    return connection.getpeercert()["serialNumber"]


def test_renewed_certificate_is_used_and_sessions_stay(another, renew):
    context = ssl.create_default_context(cafile=CA)
    address = {
        name: another(name).check_output("hostname -I").split()[0]
        for name in ("back12", "back13", "front12", "front13")
    }

    class Imap(imaplib.IMAP4_SSL):
        def _create_socket(self, timeout):
            connection = socket.create_connection((self.host, self.port), timeout)
            return context.wrap_socket(connection, server_hostname="mail.lab.test")

    def imap(name):
        session = Imap(address[name], timeout=20)
        session.login("ann@example.org", PASSWORD)
        session.select()
        return session

    def smtp(name):
        session = smtplib.SMTP(address[name], 25, timeout=20)
        session._host = "mail.lab.test"
        session.starttls(context=context)
        session.ehlo()
        return session

    doors = [(imap, name) for name in address] + [(smtp, "front12"), (smtp, "front13")]
    sessions = [door(name) for door, name in doors]
    before = [serial(session.sock) for session in sessions]

    said = renew(9999)  # longer than any certificate is valid
    for unit in ("dovecot-backend@be.service", "dovecot-backend@other.service", "dovecot.service", "postfix.service"):
        assert said.count(unit) >= 2, said
    time.sleep(8)  # Dovecot would end sessions of an old configuration after 6 seconds

    assert [session.noop()[0] for session in sessions] == ["OK"] * len(address) + [250, 250]
    after = [serial(door(name).sock) for door, name in doors]
    assert not set(before) & set(after)
    assert "changed=0" in (again := renew(60)) and "changed=1" not in again
