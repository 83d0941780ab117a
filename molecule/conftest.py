"""What tests of several scenarios share."""

import json
from pathlib import Path

import pytest
import testinfra

SOURCE = (Path(__file__).parent / "shared" / "mail.py").read_text()


@pytest.fixture
def mail(host):
    """Return a function that speaks a mail protocol on the host: mail(NAME, ARGUMENT...) -> dict."""

    def speak(*arguments):
        return json.loads(host.check_output("python3 -c %s " + "%s " * len(arguments), SOURCE, *map(str, arguments)))

    return speak


@pytest.fixture
def another(request):
    """Return a function that gives another host of the scenario by its name."""
    inventory = request.config.getoption("ansible_inventory")
    return lambda name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)
