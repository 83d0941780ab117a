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


def values_of(host, names, front_end, inventory="dsync", more=()):
    """What variables of a host are, with a front end; more inventories may add hosts."""
    shown = "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), host, f"--inventory=inventories/{inventory}"),
            *("--playbook-dir=playbooks", "--one-line", "--module-name=ansible.builtin.debug", f"--args=msg={shown}"),
            *(f"--extra-vars=mail_front_end={front_end}", *(f"--inventory={path}" for path in more)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.partition("=> ")[2])["msg"]
    return json.loads(found) if isinstance(found, str) else found


@pytest.mark.parametrize("front_end", OWN)
def test_one_program_answers_clients_is_checked_and_reads_new_certificates(front_end):
    found = values_of("front1", SHOWN, front_end)
    wanted = OWN[front_end]
    assert found["dovecot_proxy_protocols"] == [*wanted["protocols"], "submission"]
    assert found["dovecot_proxy_lookups"] is wanted["lookups"]
    assert found["keepalived_checks"] == [wanted["check"], "smtp"]
    assert {"dovecot.service", "haproxy.service", "perdition@*.service"} <= set(found["pki_units"])
    ports = {port for rule in found["firewall_allow"] if rule["zone"] == "world" for port in rule["ports"]}
    assert ports - {25} == wanted["ports"] | {465, 587}


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
    fronts = [values_of(host, names, "director", "drbd_gfs2") for host in ("front1", "front2")]
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
    node = values_of("mail1", ["pki_addresses", "dovecot_backend_routes"], "director", "drbd_gfs2")
    assert node["pki_addresses"] == [backend["address"] for backend in fronts[0]["mail_backends"].values()]
    assert values_of("mail1", ["pki_addresses"], "proxy", "drbd_gfs2")["pki_addresses"] == []
    away = values_of("front1", names[:4], "proxy", "drbd_gfs2")
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
    found = values_of("mta1", names, "director", "drbd_gfs2", [tmp_path / "mta.yml"])
    assert [found[name] for name in names[:4]] == ["director", "", 0, ["lmtp"]]
    front = {"host": found["mail_hostname"], "address": found["mail_front_addresses"][0], "port": 2424}
    assert found["dovecot_proxy_directors"] == front
    director = values_of("front1", names, "director", "drbd_gfs2", [tmp_path / "mta.yml"])
    assert director["dovecot_proxy_lmtp_tls_port"] == 2424
    assert {rule["zone"] for rule in director["firewall_allow"] if 2424 in rule.get("ports", [])} == {"front_ends"}
