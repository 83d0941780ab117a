"""What the choice of a front end makes of the roles' variables."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = ("dovecot_proxy_protocols", "dovecot_proxy_lookups", "keepalived_checks", "pki_units", "firewall_allow")
OWN: dict[str, dict[str, Any]] = {
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


def variables(
    host: str, inventory: str, shown: Sequence[str], more: Sequence[Path] = (), **given: Any
) -> dict[str, Any]:
    """What a host's variables are when the site's description is changed; more inventories may add hosts."""
    text = "{{ {" + ", ".join(f"'{name}': {name}" for name in shown) + "} | to_json }}"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), host, f"--inventory=inventories/{inventory}"),
            *("--playbook-dir=playbooks", "--one-line", "--module-name=ansible.builtin.debug", f"--args=msg={text}"),
            *(f"--extra-vars={json.dumps(given)}", *(f"--inventory={path}" for path in more)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.partition("=> ")[2])["msg"]
    return json.loads(found) if isinstance(found, str) else found


def opened(rules: list[dict[str, Any]], zone: str) -> set[int]:
    """The ports that a firewall opens for a zone."""
    return {port for rule in rules if rule["zone"] == zone for port in rule.get("ports", [])}


@pytest.mark.parametrize("front_end", OWN)
def test_one_program_answers_clients_is_checked_and_reads_new_certificates(front_end: str) -> None:
    found = variables("front1", "dsync", SHOWN, mail_front_end=front_end)
    wanted = OWN[front_end]
    assert found["dovecot_proxy_protocols"] == [*wanted["protocols"], "submission"]
    assert found["dovecot_proxy_lookups"] is wanted["lookups"]
    assert found["keepalived_checks"] == [wanted["check"], "smtp"]
    assert {"dovecot.service", "haproxy.service", "perdition@*.service"} <= set(found["pki_units"])
    assert opened(found["firewall_allow"], "world") - {25} == wanted["ports"] | {465, 587}


VIRTUAL = "203.0.113.100"
BALANCER = {"product": "other", "networks": ["192.0.2.248/30"], "drained": ["be2"]}


@pytest.mark.parametrize(
    ("forwarding", "gateway", "zone", "ports"),
    [
        ("proxy", "", "balancer", {10993, 10995, 14190}),
        ("source_nat", "", "balancer", {993, 995, 4190}),
        ("transparent", "", "world", {993, 995, 4190}),
        ("transparent", "192.0.2.249", "world", {993, 995, 4190}),
    ],
)
def test_nodes_behind_a_balancer_that_is_not_ours(forwarding: str, gateway: str, zone: str, ports: set[int]) -> None:
    shown = (
        *("dovecot_backend_haproxy_networks", "dovecot_backend_trusted_networks", "firewall_allow", "firewall_zones"),
        *("mail_lvs_backend", "lvs_backend_service_addresses", "lvs_backend_front_ends", "backend_health_backends"),
        *("backend_health_drained", "balancer_plan_services", "balancer_plan_backends", "balancer_plan_addresses"),
        *("pki_names", "base_hosts", "mail_front_hosts", "prove_addresses", "prove_delivery_addresses", "prove_route"),
        "__reached",
    )
    found = variables(
        *("mail1", "dsync_dns", shown),
        mail_front_end="external",
        mail_front_addresses=[VIRTUAL],
        mail_balancer=BALANCER | {"forwarding": forwarding, "gateway": gateway},
        fencing_ipmi_password="given",
    )
    networks = BALANCER["networks"]
    assert found["dovecot_backend_haproxy_networks"] == (networks if forwarding == "proxy" else [])
    # Nobody who is let in by the balancer may say for whom it speaks in Dovecot's own way.
    assert found["dovecot_backend_trusted_networks"] == ["192.0.2.14", "192.0.2.15"]
    assert found["firewall_zones"]["balancer"]["sources"] == networks
    rules = found["firewall_allow"]
    assert opened(rules, "balancer") | opened(rules, "world") == {9910} | ports
    assert ports <= opened(rules, zone) and 9910 in opened(rules, "balancer")
    assert found["mail_lvs_backend"] is bool(gateway)
    assert (found["lvs_backend_service_addresses"], found["lvs_backend_front_ends"]) == ([gateway], networks)
    assert found["backend_health_backends"] == found["balancer_plan_backends"]
    assert {name: backend["host"] for name, backend in found["backend_health_backends"].items()} == {
        "be1": "be1.nodes.example.com",
        "be2": "be2.nodes.example.com",
    }
    assert found["backend_health_drained"] == ["be2"]
    assert {service.get("backend_port", service["port"]) for service in found["balancer_plan_services"]} == ports
    assert found["balancer_plan_addresses"] == found["prove_addresses"] == [VIRTUAL]
    assert found["prove_route"] == "client" and "mail.example.com" in found["pki_names"]
    # Mail comes in, and nodes send it, by the MTAs' own addresses; keepalived has nothing to keep.
    assert found["prove_delivery_addresses"] == ["192.0.2.14", "192.0.2.15"]
    assert found["mail_front_hosts"] == []
    assert "mail.example.com" in found["base_hosts"]["192.0.2.14"] and VIRTUAL not in found["base_hosts"]
    assert found["__reached"]["front_ends"]["hosts"] == ["192.0.2.14", "192.0.2.15"]


def test_mtas_beside_a_balancer_that_is_not_ours() -> None:
    shown = ("dovecot_proxy_protocols", "mail_front_hosts", "firewall_allow", "base_hosts")
    found = variables(
        *("mx1", "dsync_dns", shown),
        mail_front_end="external",
        mail_front_addresses=[VIRTUAL],
        mail_balancer=BALANCER | {"forwarding": "proxy"},
    )
    assert found["dovecot_proxy_protocols"] == ["lmtp"]
    assert "vrrp" not in [rule.get("protocol") for rule in found["firewall_allow"]]
    assert found["base_hosts"][VIRTUAL] == ["mail.example.com"]


def test_directors_are_all_front_ends_and_nobody_else_reaches_the_ring():
    names = ["dovecot_proxy_routes", "dovecot_proxy_ring", "dovecot_proxy_ring_address", "dovecot_proxy_lmtp_tls_port"]
    names += [
        "dovecot_director_ring",
        "dovecot_director_backends",
        "firewall_allow",
        "firewall_zones",
        "pki_units_at_once",
    ]
    names += ["mail_cluster_address", "mail_backends", "prove_route"]
    fronts = [variables(host, "drbd_gfs2", names, mail_front_end="director") for host in ("front1", "front2")]
    ring = [front["mail_cluster_address"] for front in fronts]
    for front in fronts:
        assert (front["dovecot_proxy_routes"], front["prove_route"], front["pki_units_at_once"]) == (
            "director",
            "ring",
            1,
        )
        assert front["dovecot_proxy_ring"] == front["dovecot_director_ring"] == ring
        assert front["dovecot_proxy_ring_address"] == front["mail_cluster_address"]
        assert front["dovecot_director_backends"] == {
            name: {"address": backend["address"]} for name, backend in front["mail_backends"].items()
        }
        assert {rule["zone"] for rule in front["firewall_allow"] if 9090 in rule.get("ports", [])} == {"directors"}
        assert front["dovecot_proxy_lmtp_tls_port"] == 0
        assert not [rule for rule in front["firewall_allow"] if 2424 in rule.get("ports", [])]
        assert front["firewall_zones"]["directors"]["sources"] == ring
    node = variables("mail1", "drbd_gfs2", ["pki_addresses", "dovecot_backend_routes"], mail_front_end="director")
    assert node["pki_addresses"] == [backend["address"] for backend in fronts[0]["mail_backends"].values()]
    assert variables("mail1", "drbd_gfs2", ["pki_addresses"], mail_front_end="proxy")["pki_addresses"] == []
    away = variables("front1", "drbd_gfs2", names[:4], mail_front_end="proxy")
    assert list(away.values()) == ["shards", [], "", 0]


def test_an_mta_that_is_no_director_hands_mail_to_one(tmp_path):
    own = {"mail_client_address": "192.0.2.41", "mail_cluster_address": "198.51.100.41"}
    (tmp_path / "mta.yml").write_text(json.dumps({"all": {"children": {"mta": {"hosts": {"mta1": own}}}}}))
    names = [
        "dovecot_proxy_routes",
        "dovecot_proxy_ring_address",
        "dovecot_proxy_lmtp_tls_port",
        "dovecot_proxy_protocols",
    ]
    names += ["dovecot_proxy_directors", "firewall_allow", "mail_front_addresses", "mail_hostname"]
    found = variables("mta1", "drbd_gfs2", names, [tmp_path / "mta.yml"], mail_front_end="director")
    assert [found[name] for name in names[:4]] == ["director", "", 0, ["lmtp"]]
    front = {"host": found["mail_hostname"], "address": found["mail_front_addresses"][0], "port": 2424}
    assert found["dovecot_proxy_directors"] == front
    director = variables("front1", "drbd_gfs2", names, [tmp_path / "mta.yml"], mail_front_end="director")
    assert director["dovecot_proxy_lmtp_tls_port"] == 2424
    assert {rule["zone"] for rule in director["firewall_allow"] if 2424 in rule.get("ports", [])} == {"front_ends"}
