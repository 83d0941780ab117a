"""Users send mail through the front door, and nobody else does."""

import smtplib
import uuid

import pytest

from module_utils.mail_clients import Submission
from tests.ledger.checker import fetch_user
from tests.proofs.lab import wait_for

# One host: the test is about the front door.
testinfra_hosts = ["ansible://mail1"]


@pytest.fixture(params=[0, 1])
def client(request, lab):
    """A connection to each of the front addresses."""
    with Submission(next(lab.front().doors(smtp=True, start=request.param))) as client:
        yield client


def test_what_a_user_sends_arrives(lab, client):
    front = lab.front()
    sender, receiver = front.users[:2]
    ident = f"<{uuid.uuid4().hex}@test.invalid>"
    client.login(sender.user, sender.password)
    client.sendmail(sender.user, [receiver.user], f"From: {sender.user}\r\nMessage-ID: {ident}\r\n\r\nHello.\r\n")
    wait_for("it arrives", lambda: ident in {copy.id for copy in fetch_user(front, receiver)}, 30)


def test_nobody_sends_without_a_login(lab, client):
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        client.sendmail("ann@example.net", ["bob@example.net"], "Hello.")
    assert refused.value.smtp_code == 530


def test_a_wrong_password_is_none(lab, client):
    with pytest.raises(smtplib.SMTPAuthenticationError):
        client.login(lab.front().users[0].user, "wrong")
