"""Who comes too often is told to come back later, and with greylisting who comes for the first time."""

import time

import pytest
from shared.settings import changed_back

FRONTS = {"front12": "front13", "front13": "front12"}
BEGIN = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], 25, local_hostname="client.lab.test", timeout=30) as server:
    server.ehlo()
    answer = server.mail(sys.argv[2])[0]
    print(server.rcpt("ann@example.org")[0] if answer == 250 else answer)
"""


@pytest.fixture
def change(play):
    """Return a function that provisions the MTAs with other values."""

    def run(**values):
        done = play("molecule/shared/mtas.yml", **values)
        assert done.returncode == 0, done.stdout
        return done

    with changed_back(run) as change:
        yield change


@pytest.fixture
def begin(another):
    """Return a function that begins a mail at a front end, from the other one or the host itself: its last answer."""

    def run(front, sender="s@lab.test", trusted=False):
        host, address = another(front), "127.0.0.1"
        if not trusted:
            address = host.check_output("hostname -I").split()[0]
            host = another(FRONTS[front])
        return int(host.check_output("python3 -c %s %s %s", BEGIN, address, sender))

    return run


def test_who_sends_too_much_is_told_to_come_back(change, begin):
    change(postfix_client_messages=3)
    for front in FRONTS:
        assert [begin(front) for _ in range(5)] == [250, 250, 250, 450, 450]
        assert [begin(front, trusted=True) for _ in range(5)] == [250] * 5


def test_strangers_are_taken_when_they_come_again(change, begin, another):
    change(postfix_greylisting=True, postfix_greylisting_delay=8)
    for front in FRONTS:
        assert begin(front) == 450
        assert begin(front) == 450
        assert begin(front, trusted=True) == 250
    time.sleep(9)
    for front in FRONTS:
        assert begin(front) == 250
        assert begin(front, "other@lab.test") == 450
        # Without what remembers them nobody waits.
        another(front).check_output("systemctl stop postgrey.service")
        assert begin(front, "third@lab.test") == 250
    assert "changed=0" not in change(postfix_greylisting=True, postfix_greylisting_delay=8).stdout  # it runs again
    assert all(another(front).service("postgrey").is_running for front in FRONTS)
    listening = another("front13").check_output("ss --no-header --listening --tcp --numeric 'sport = 10023'").split()
    assert listening[3] == "127.0.0.1:10023"
