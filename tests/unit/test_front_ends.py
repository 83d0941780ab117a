"""What the choice of a front end makes of the roles' variables."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = ("dovecot_proxy_protocols", "dovecot_proxy_lookups", "keepalived_checks", "pki_units", "firewall_allow")
OWN = {
    "proxy": {
        "protocols": ["imap", "pop3", "lmtp", "sieve"],
        "lookups": False,
        "check": "imap",
        "ports": {143, 993, 110, 995, 4190},
    },
    "haproxy": {"protocols": ["lmtp"], "lookups": False, "check": "haproxy", "ports": {993, 995, 4190}},
    "director": {
        "protocols": ["imap", "pop3", "lmtp", "sieve"],
        "lookups": False,
        "check": "imap",
        "ports": {143, 993, 110, 995, 4190},
    },
    "perdition": {"protocols": ["lmtp"], "lookups": True, "check": "perdition", "ports": {143, 993, 110, 995, 4190}},
}


@pytest.mark.parametrize("front_end", OWN)
def test_one_program_answers_clients_is_checked_and_reads_new_certificates(front_end):
    shown = "{{ {" + ", ".join(f"'{name}': {name}" for name in SHOWN) + "} | to_json }}"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), "front1", "--inventory=inventories/dsync"),
            *("--playbook-dir=playbooks", "--one-line", "--module-name=ansible.builtin.debug", f"--args=msg={shown}"),
            f"--extra-vars=mail_front_end={front_end}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.partition("=> ")[2])["msg"]
    found = json.loads(found) if isinstance(found, str) else found
    wanted = OWN[front_end]
    assert found["dovecot_proxy_protocols"] == wanted["protocols"]
    assert found["dovecot_proxy_lookups"] is wanted["lookups"]
    assert found["keepalived_checks"] == [wanted["check"], "smtp"]
    assert {"dovecot.service", "haproxy.service", "perdition@*.service"} <= set(found["pki_units"])
    ports = {port for rule in found["firewall_allow"] if rule["zone"] == "world" for port in rule["ports"]}
    assert ports - {25} == wanted["ports"]
