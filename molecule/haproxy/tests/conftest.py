"""What the tests of HAProxy share."""

import csv
import functools
import io

import pytest
from shared.front_door import BACKENDS, address, lines, sources, speak
from shared.settings import changed_back

__all__ = ["BACKENDS", "address", "lines", "sources", "speak"]  # fixtures among them
ASK = (
    "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock');"
    "s.sendall(sys.argv[1].encode()+b'\\n'); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
)


class Front:
    """A front end."""

    def __init__(self, host):
        self.host = host
        # Service addresses come after the host's own.
        self.address = host.ansible.get_variables()["mail_client_address"]

    def ask(self, command):
        """What HAProxy answers on its socket."""
        return self.host.check_output("python3 -c %s %s", ASK, command)

    def states(self):
        """The status of each service's backends: {imaps: {be1: UP}}."""
        states = {}
        for row in csv.DictReader(io.StringIO(self.ask("show stat").lstrip("# ").strip())):
            if row["svname"] in BACKENDS:
                states.setdefault(row["pxname"], {})[row["svname"]] = row["status"]
        return states

    def status(self, service):
        """That of one service."""
        return self.states()[service]

    def table(self, name="mail"):
        """Which client is on which backend."""
        words = [line.split() for line in self.ask(f"show table {name}_clients").splitlines() if "server_key=" in line]
        rows = [dict(word.split("=", 1) for word in line if "=" in word) for line in words]
        return {row["key"].removeprefix("::ffff:"): row["server_key"] for row in rows}

    def checks_since(self, start):
        """What the log says of backends that went or came since a time, in seconds."""
        log = self.host.check_output("journalctl -u haproxy -o cat --since @%s", str(int(start)))
        return [line for line in log.splitlines() if line.startswith("Server ")]

    def all_up(self):
        """Whether the check of every backend passes."""
        checked = {name: backends for name, backends in self.states().items() if not name.endswith("_unchecked")}
        return len(checked) == 6 and all(set(backends.values()) == {"UP"} for backends in checked.values())


@pytest.fixture
def fronts(another):
    """Give both front ends."""
    return [Front(another(name)) for name in ("front12", "front13")]


@pytest.fixture
def places(speak, sources):
    """Return a function that says which backend each client gets through a front end."""
    return lambda front, port=993: speak("imap", front.address, port, *sources)


@pytest.fixture
def settings(play):
    """Return a function that changes front ends by the role; afterwards they are as before."""
    run = functools.partial(play, "molecule/haproxy/converge.yml", "--tags=haproxy")
    with changed_back(run) as change:
        yield change
