"""Sessions through front ends from many addresses, with backends that each have mail of their own (front_door.yml)."""

import json
import time
from pathlib import Path

import pytest

SOURCE = (Path(__file__).parent / "front_door_client.py").read_text()
BACKENDS = {"be1": "back12", "be2": "back13"}


@pytest.fixture
def address(another):
    """Return a function that gives a host's own address."""
    return lambda name: another(name).ansible.get_variables()["mail_client_address"]


@pytest.fixture
def sources(address):
    """Addresses of clients."""
    return [f"{address('client').rpartition('.')[0]}.{number}" for number in range(201, 209)]


@pytest.fixture
def speak(another):
    """Return a function that speaks from a host: speak(NAME, ARGUMENT..., host="client")."""

    def speak(*arguments, host="client"):
        command = "python3 -c %s " + "%s " * len(arguments)
        return json.loads(another(host).check_output(command, SOURCE, *map(str, arguments)))

    return speak


@pytest.fixture
def lines(another):
    """Return a function that gives a unit's log since the test began."""
    begin = time.time()
    return lambda name, unit: another(name).check_output(f"journalctl -o cat --since @{begin:.6f} -u {unit}")
