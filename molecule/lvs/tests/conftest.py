"""What the tests of LVS share."""

import functools
import itertools

import pytest
from shared.front_door import BACKENDS, address, lines, sources, speak
from shared.pods import until
from shared.settings import changed_back

__all__ = ["BACKENDS", "address", "lines", "sources", "speak"]  # fixtures among them
PORTS = {"imaps": 993, "pop3s": 995, "sieve": 4190}


class Front:
    """A front end."""

    def __init__(self, name, host):
        self.name, self.host = name, host
        self.own = host.ansible.get_variables()["mail_client_address"]

    def weights(self, address, port=993):
        """The backends of a service by their addresses, with weights: {192.0.2.11: 1}."""
        words = [line.split() for line in self.host.check_output(f"ipvsadm -L -n -t {address}:{port}").splitlines()]
        return {word[1].rpartition(":")[0]: int(word[3]) for word in words if word[0] == "->" and word[1][0].isdigit()}

    def connections(self):
        """Connections that the kernel knows, (client, backend), its own and those it was told of."""
        words = [line.split() for line in self.host.check_output("ipvsadm -L -n -c").splitlines()]
        return {(word[3], word[5]) for word in words if word[0] == "TCP" and word[2] == "ESTABLISHED"}

    def service_addresses(self):
        """Those it has."""
        lines = self.host.check_output("ip -4 -o address show dev eth0").splitlines()
        found = [line.split()[3].split("/")[0] for line in lines]
        return [address for address in found if address != self.own]


@pytest.fixture
def fronts(another):
    """Give both front ends."""
    return [Front(name, another(name)) for name in ("front12", "front13")]


@pytest.fixture
def service(fronts):
    """The service address."""
    return fronts[0].own.rpartition(".")[0] + ".101"


@pytest.fixture
def holder(fronts, service):
    """Return a function that gives the front end that has the service address, and the other one."""

    def find():
        return sorted(fronts, key=lambda front: service not in front.service_addresses())

    return find


@pytest.fixture
def where(address):
    """Backends' hosts by their addresses."""
    return {address(name): name for name in BACKENDS.values()}


@pytest.fixture
def all_is_well(fronts, service, where):
    """Return a function that waits until one front end has the address and both have all backends."""

    def wait(backends=None):
        until(lambda: [has for front in fronts for has in front.service_addresses()] == [service], 90)
        wanted = dict.fromkeys(backends or where, 1)
        for front, port in itertools.product(fronts, PORTS.values()):
            until(lambda f=front, p=port: f.weights(service, p) == wanted, 60)

    return wait


@pytest.fixture
def places(speak, sources):
    """Return a function that says which backend each client gets at an address."""
    return lambda address, port=993: speak("imap", address, port, *sources)


@pytest.fixture
def settings(play):
    """Return a function that changes front ends by the role; afterwards they are as before."""
    run = functools.partial(play, "molecule/lvs/converge.yml")
    with changed_back(run) as change:

        def good(*arguments, **values):
            done = change(*arguments, **values)
            assert done.returncode == 0, done.stdout
            return done.stdout

        yield good
