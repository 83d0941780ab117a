"""A host that is in several groups: what each of them names, of certificates and of the firewall, is the host's."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_front_end_with_an_ldap_server_has_the_names_and_ports_of_all_its_groups():
    shown = "{{ {'names': pki_names, 'rules': firewall_allow} | to_json }}"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), "front1", "--inventory=inventories/dsync_ldap"),
            *("--playbook-dir=playbooks", "--one-line", "--module-name=ansible.builtin.debug", f"--args=msg={shown}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.partition("=> ")[2])["msg"]
    found = json.loads(found) if isinstance(found, str) else found
    assert found["names"] == ["front1.nodes.example.com", "mail.example.com"]
    ports = {(rule["zone"], port) for rule in found["rules"] for port in rule.get("ports", [])}
    assert {("world", 25), ("world", 993), ("cluster", 636)} <= ports
    assert {rule["zone"] for rule in found["rules"] if 636 in rule.get("ports", [])} == {"cluster"}
