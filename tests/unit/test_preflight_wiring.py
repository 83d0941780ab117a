"""The whole way from an inventory as people write it to the list of its problems; its hosts refuse connections."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOWHERE = {"ansible_host": "127.0.0.1", "ansible_port": 1, "mail_ca_file": "/nonexistent/ca.pem"}
SECRETS = (
    *("corosync_authkey", "mail_doveadm_password", "mail_replication_api_key", "mail_probe_password", "pki_ca_key"),
    "fencing_ipmi_password",
)


def told(variables: dict[str, Any], architecture: str = "dsync", *more: Path) -> set[str]:
    """Run site.yml on the template, and more inventories, with some variables changed; return what is listed.

    That is host and variable; that no host can be reached is listed, too, and left out.
    """
    done = subprocess.run(
        [
            *(
                str(Path(sys.executable).parent / "ansible-playbook"),
                *(f"--inventory={path}" for path in (f"inventories/{architecture}", *more)),
                "playbooks/site.yml",
            ),
            f"--extra-vars={json.dumps(NOWHERE | variables)}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "Nothing has been changed." in done.stdout, done.stdout + done.stderr
    _, _, listed = done.stdout.partition('"msg": [')
    rows = json.loads("[" + listed.partition("]\n}")[0] + "]")
    return {": ".join(row.split(": ")[:2]) for row in rows if ": ansible_host: " not in row}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (dict.fromkeys(SECRETS, "given"), set()),
        ({}, {f"site: {name}" for name in SECRETS}),
        (
            # Not even the kind of value that is wanted.
            {
                **dict.fromkeys(SECRETS, "given"),
                "mail_domains": "example.com",
                "mail_hostname": None,
                "mail_node_domain": None,
                "mail_front_addresses": "192.0.2.21",
                "mail_backends": ["be1"],
                "directory_users": ["ann"],
            },
            {
                *("site: mail_domains", "site: mail_hostname", "site: mail_node_domain", "site: mail_backends"),
                *("site: mail_front_addresses", "site: directory_users", "site: mail_probe_user"),
                "site: mail_postmaster",
            },
        ),
        (
            {
                **dict.fromkeys(SECRETS, "given"),
                "mail_backends": {"be1": None, "be2": {"pod": "pod_a", "node": "mail2", "shards": "0-255"}},
                "mail_front_addresses": None,
                "mail_networks": None,
                "directory_users": None,
            },
            {
                *("site: mail_backends.be1", "site: mail_backends.be2.address", "site: mail_front_addresses"),
                *("site: mail_networks.clients", "site: mail_networks.cluster"),
            },
        ),
    ],
)
def test_what_is_told(variables: dict[str, Any], expected: set[str]) -> None:
    assert told(variables) == expected


@pytest.mark.parametrize("store", ["drbd", "drbd_gfs2", "nfs"])
def test_a_store_s_own_secret_is_told(store: str) -> None:
    secrets = {f"site: {name}" for name in SECRETS}
    assert told({}, store) == secrets - {"site: mail_replication_api_key"} | {"site: drbd_secret"}


def test_secret_of_a_realm_of_our_own_is_told() -> None:
    secrets = {f"site: {name}" for name in SECRETS}
    assert told({}, "afs") == secrets - {"site: mail_replication_api_key"} | {"site: kerberos_master_password"}


def test_secrets_of_ldap_are_told() -> None:
    assert told({}, "dsync_ldap") == {
        *(f"site: {name}" for name in SECRETS),
        *("site: mail_ldap_password", "site: mail_ldap_admin_password"),
    }


def test_secrets_of_name_servers_are_told() -> None:
    keys = {"site: user_dns_update_key", "site: user_dns_transfer_key"}
    assert told({}, "dsync_dns") == {f"site: {name}" for name in SECRETS} | keys


def test_names_that_lead_to_no_backend_are_told(tmp_path: Path) -> None:
    given = dict.fromkeys((*SECRETS, "user_dns_update_key", "user_dns_transfer_key"), "given") | {
        "mail_domains": ["example.com", "example.net"],
        "mail_routes": "ldap",
        "mail_ldap": {"uris": ["ldaps://dc1.example.com"], "base": "dc=example,dc=com", "account": "cn=mail"},
        "mail_ldap_password": "given",
        "user_dns_users_file": str(tmp_path / "missing"),
        "mail_hostname": "mail.imap.example.com",
    }
    expected = {"site: mail_routes", "site: user_dns_users_file", "site: users", "site: mail_hostname"}
    assert told(given, "dsync_dns") == expected


def test_ldap_servers_that_nobody_asks_are_told() -> None:
    """What is left out of the inventory has its default, which preflight knows."""
    given = {**dict.fromkeys(SECRETS, "given"), "mail_directory": "passwd_file", "mail_routes": "shards"}
    assert told(given | {"mail_ldap_admin_password": "given"}, "dsync_ldap") == {"site: mail_directory"}


def test_two_directors_with_different_rings_are_told(tmp_path: Path) -> None:
    given = {**dict.fromkeys((*SECRETS, "drbd_secret"), "given"), "mail_front_end": "director"}
    assert told(given, "drbd_gfs2") == set()
    assert told(given, "dsync") == {"site: mail_front_end"}
    ring = {"all": {"hosts": {"front2": {"dovecot_proxy_ring": ["198.51.100.15"]}}}}
    (tmp_path / "ring.yml").write_text(json.dumps(ring))
    assert told(given, "drbd_gfs2", tmp_path / "ring.yml") == {"front2: dovecot_proxy_ring"}


def test_a_balancer_that_is_not_described_is_told() -> None:
    given = dict.fromkeys(SECRETS, "given") | {"mail_front_end": "external", "mail_front_addresses": ["203.0.113.100"]}
    expected = {"site: mail_front_end", "site: mail_balancer"}
    assert told(given, "dsync_dns") == expected
    assert told(given | {"mail_balancer": "ace"}, "dsync_dns") == expected
