"""What tests of several scenarios share."""

import json
from pathlib import Path

import pytest

SOURCE = (Path(__file__).parent / "shared" / "mail.py").read_text()


@pytest.fixture
def mail(host):
    """Return a function that speaks a mail protocol on the host: mail(NAME, ARGUMENT...) -> dict."""

    def speak(*arguments):
        return json.loads(host.check_output("python3 -c %s " + "%s " * len(arguments), SOURCE, *map(str, arguments)))

    return speak
