"""A host that is in several groups: what each of them names, of certificates and of the firewall, is the host's."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shown(architecture, host):
    """The names on a host's certificate, and (zone, port) of all that its firewall lets in."""
    shown = "{{ {'names': pki_names, 'rules': firewall_allow} | to_json }}"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), host, f"--inventory=inventories/{architecture}"),
            *("--playbook-dir=playbooks", "--one-line", "--module-name=ansible.builtin.debug", f"--args=msg={shown}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.partition("=> ")[2])["msg"]
    found = json.loads(found) if isinstance(found, str) else found
    return found["names"], {
        (rule["zone"], port) for rule in found["rules"] for port in rule.get("ports", [rule.get("protocol")])
    }


def test_a_front_end_with_an_ldap_server_has_the_names_and_ports_of_all_its_groups():
    names, ports = shown("dsync_ldap", "front1")
    assert names == ["front1.nodes.example.com", "mail.example.com"]
    assert {("world", 25), ("world", 993), ("cluster", 636), ("front_ends", "vrrp")} <= ports
    assert {zone for zone, port in ports if port == 636} == {"cluster"}


def test_clients_whom_names_lead_reach_backends_and_name_servers():
    names, ports = shown("dsync_dns", "mail1")
    assert set(names) == {*(f"{name}.nodes.example.com" for name in ("mail1", "be1", "be2")), "*.imap.example.com"}
    assert {port for zone, port in ports if zone == "world"} == {993, 995, 4190}
    assert {zone for zone, port in ports if port == 24} == {"front_ends", "mail_nodes"}
    names, ports = shown("dsync_dns", "mx1")
    assert set(names) == {
        *("mx1.nodes.example.com", "mail.example.com"),
        *("autoconfig.example.com", "autodiscover.example.com"),
    }
    assert {port for zone, port in ports if zone == "world"} == {25, 53, 443}
    assert ("front_ends", "vrrp") in ports


def test_backends_behind_front_ends_are_not_for_the_world():
    names, ports = shown("dsync", "mail1")
    assert not [port for zone, port in ports if zone == "world"]
    assert not [name for name in names if "*" in name]
