"""What tests of several scenarios share."""

import functools
import json
import os
import subprocess
from pathlib import Path

import pytest
import testinfra

from tests.proofs.lab import Lab

ROOT = Path(__file__).parents[1]
SOURCE = (Path(__file__).parent / "shared" / "mail.py").read_text()


@pytest.fixture
def mail_on():
    """Return a function that speaks a mail protocol on a host: mail_on(HOST, NAME, ARGUMENT...) -> dict."""

    def speak(host, *arguments):
        return json.loads(host.check_output("python3 -c %s " + "%s " * len(arguments), SOURCE, *map(str, arguments)))

    return speak


@pytest.fixture
def mail(host, mail_on):
    """Return a function that speaks a mail protocol on the test's host: mail(NAME, ARGUMENT...) -> dict."""
    return functools.partial(mail_on, host)


@pytest.fixture
def another(request):
    """Return a function that gives another host of the scenario by its name."""
    inventory = request.config.getoption("ansible_inventory")
    return lambda name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)


@pytest.fixture
def play(request):
    """Return a function that runs a playbook of the project as a person would: play(NAME, ARGUMENT...)."""
    lab = request.config.getoption("ansible_inventory")

    def run(name, *arguments, inventory=lab, **variables):
        command = [
            "ansible-playbook",
            f"--inventory={inventory}",
            name,
            *arguments,
            f"--extra-vars={json.dumps(variables)}",
        ]
        environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )

    return run


@pytest.fixture
def told(capsys):
    """Return a function that prints what was measured."""

    def tell(**measured):
        with capsys.disabled():
            print(f"\n  {json.dumps(measured)}")

    return tell


@pytest.fixture
def lab(host):
    """Return the lab that the test's host is in."""
    return Lab(host.ansible.get_variables()["lab_name"])


@pytest.fixture
def node(host):
    """Return the host's name in the inventory."""
    return host.backend.host
