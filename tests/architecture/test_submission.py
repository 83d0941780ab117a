"""Users send mail through the front door where the site says so, and nobody else does."""

import functools
import smtplib
import uuid
from dataclasses import replace

import pytest

from module_utils.mail_clients import Submission
from tests.ledger.checker import fetch_user
from tests.proofs.lab import wait_for

# One host: the test is about the front door.
testinfra_hosts = ["ansible://mail1"]


def send(door, sender, receiver):
    """Send a mail as a user, and return its Message-ID."""
    ident = f"<{uuid.uuid4().hex}@test.invalid>"
    with Submission(door) as client:
        client.login(sender.user, sender.password)
        text = f"From: {sender.user}\r\nMessage-ID: {ident}\r\n\r\nHello.\r\n"
        client.sendmail(sender.user, [receiver.user], text)
    return ident


def has(front, user, ident):
    """Whether a user has a mail."""
    return ident in {copy.id for copy in fetch_user(front, user)}


def test_users_send_mail_and_nobody_else_does(lab, host):
    front = lab.front()
    sender, receiver = front.users[:2]
    doors = [next(front.doors(smtp=True, start=start)) for start in range(len(front.smtp_addresses))]
    if not host.ansible.get_variables().get("mail_submission"):
        for door in doors:
            with pytest.raises(OSError):
                Submission(door)
        return
    for door in doors:
        ident = send(door, sender, receiver)
        wait_for("it arrives", functools.partial(has, front, receiver, ident), 30)
        with Submission(door) as client, pytest.raises(smtplib.SMTPResponseException) as refused:
            client.sendmail("ann@example.net", ["bob@example.net"], "Hello.")
        assert refused.value.smtp_code == 530
        # Dovecot takes its time with a wrong password.
        with Submission(replace(door, timeout=30)) as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(sender.user, "wrong")
