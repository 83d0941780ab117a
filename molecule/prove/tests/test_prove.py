import json

import pytest


def rows(host, name):
    report = json.loads(host.file(f"/root/{name}.json").content_string)
    return {(row["what"], row["ok"]) for row in report["rows"]}


STEPS = ["IMAP login", "LMTP in", "IMAP out", "POP3 out", "quota visible", "ManageSieve upload", "session kept"]


@pytest.mark.parametrize("step", [*STEPS, "runs on one node", "one backend rule"])
def test_every_row_holds(host, step):
    assert (step, True) in rows(host, "good")
    assert (step, False) not in rows(host, "good")


@pytest.mark.parametrize("step", [*STEPS, "one backend rule"])
def test_without_a_verified_certificate_nothing_holds(host, step):
    assert (step, False) in rows(host, "bad")
    assert (step, True) not in rows(host, "bad")


def test_probes_leave_nothing_behind(host):
    command = "doveadm -c /etc/dovecot/backends/be1.conf search -u probe-1@example.org ALL"
    assert host.check_output(command) == ""
    assert host.run("ls -d /tmp/prove-*").stdout == ""
