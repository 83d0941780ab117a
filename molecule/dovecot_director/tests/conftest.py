"""What the tests of directors share."""

import contextlib
import functools
import imaplib
import json
import os
import socket
import ssl
from pathlib import Path

import pytest
from shared.pods import lab, until
from shared.settings import changed_back

BACKENDS = {"be1": "back12", "be2": "back13"}
FRONTS = ("front1", "front2")
CONTEXT = ssl.create_default_context(cafile=Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory" / "ca.pem")
PASSWORD = "not-a-secret-of-any-site"
DOVEADM = "doveadm -c /etc/dovecot/backends/be.conf"


class Imap(imaplib.IMAP4):
    """A session of the machine that runs the tests, through a front end."""

    def _create_socket(self, timeout):
        return CONTEXT.wrap_socket(socket.create_connection((self.host, 993), timeout), server_hostname="mail.lab.test")

    def lives(self):
        """Whether it still answers."""
        try:
            return self.noop()[0] == "OK"
        except (OSError, imaplib.IMAP4.error):
            return False


class Front:
    """A front end."""

    def __init__(self, name, host):
        self.name, self.host = name, host
        self.address = host.ansible.get_variables()["mail_client_address"]

    def status(self):
        """How the ring is seen from here."""
        return json.loads(self.host.run("director-check status").stdout)

    def backends(self):
        """Whether each backend is in the ring, and takes users."""
        return {name: backend["up"] for name, backend in self.status()["backends"].items()}

    def weights(self):
        """That of each backend."""
        return {name: backend["weight"] for name, backend in self.status()["backends"].items()}

    def well(self):
        """Whether the ring is as described, and all backends are in it."""
        try:
            seen = self.status()
        except (RuntimeError, ValueError):  # no power; or Dovecot has just been started
            return False
        return not seen["problems"] and all(backend["up"] for backend in seen["backends"].values())


@pytest.fixture
def fronts(another):
    """Give both front ends."""
    return [Front(name, another(name)) for name in FRONTS]


@pytest.fixture(autouse=True)
def all_is_well(fronts):
    """Every test begins with a whole ring, which has forgotten where users were."""
    for front in fronts:
        until(front.well, 90)
    fronts[0].host.check_output("doveadm director flush -F all")
    for front in fronts:
        until(lambda front=front: sum(item["users"] for item in front.status()["backends"].values()) < 5, 10)


@pytest.fixture
def service_address(fronts):
    """The address that keepalived moves."""
    return f"{fronts[0].address.rpartition('.')[0]}.101"


@pytest.fixture
def address(another):
    """Return a function that gives a host's own address."""
    return lambda name: another(name).ansible.get_variables()["mail_client_address"]


@pytest.fixture
def log_in():
    """Return a function that opens a session, which ends with the test."""
    opened = []

    def log_in(address, user):
        session = Imap(address, timeout=30)
        opened.append(session)
        session.login(user, PASSWORD)
        return session

    yield log_in
    for session in opened:
        with contextlib.suppress(OSError):
            session.shutdown()


@pytest.fixture
def sessions(another):
    """Return a function that counts users' sessions on each backend: {ann@example.org: {be1: 2}}."""

    def sessions():
        found = {}
        for backend, name in BACKENDS.items():
            try:
                said = another(name).run(f"{DOVEADM} who -1").stdout
            except RuntimeError:  # no power
                continue
            for line in said.splitlines()[1:]:
                user, protocol, *_ = line.split()
                if protocol == "imap" and not user.startswith("probe"):
                    count = found.setdefault(user, {})
                    count[backend] = count.get(backend, 0) + 1
        return found

    return sessions


@pytest.fixture
def places(sessions):
    """Return a function that says on which backend each of some users is; none of them on two."""

    def places(users):
        found = sessions()
        assert all(len(found.get(user, {})) < 2 for user in users), found
        return {user: next(iter(found.get(user, {})), None) for user in users}

    return places


@pytest.fixture
def place(places):
    """Return a function that says on which backend a user has sessions."""
    return lambda user: places([user])[user]


@pytest.fixture
def settings(play):
    """Return a function that changes what directors look after, by the role; afterwards it is as before."""
    run = functools.partial(play, "molecule/dovecot_director/converge.yml", "--tags=director")
    with changed_back(run) as change:
        yield change


@pytest.fixture
def site(play, address):
    """Return a function that runs an operator's playbook."""
    backends = {name: {"address": address(host)} for name, host in BACKENDS.items()}
    return functools.partial(play, mail_front_end="director", mail_backends=backends)


__all__ = ["lab"]
