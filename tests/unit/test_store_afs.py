"""The store afs: names in the cell, volumes, mounts."""

import subprocess
from typing import Any

import pytest

from filter_plugins import store_afs
from module_utils.cib import constraint_id

HOSTVARS: dict[str, dict[str, Any]] = {
    f"afs{number}": {"mail_storage_address": f"203.0.113.{number}"} for number in range(1, 5)
}


@pytest.mark.parametrize(("servers", "databases"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_databases_are_an_odd_number(servers: int, databases: int) -> None:
    found = store_afs.afs_databases(list(HOSTVARS)[:servers], HOSTVARS, "nodes.lab.test")
    assert found == {f"afs{number}.nodes.lab.test": f"203.0.113.{number}" for number in range(1, databases + 1)}


def test_who_has_keys() -> None:
    people, cell = store_afs.afs_kerberos_principals(["mail1"], "lab.test", "nodes.lab.test", "LAB.TEST")
    assert people == {"names": ["mail/mail1.nodes.lab.test@LAB.TEST", "admin@LAB.TEST"]}
    assert cell == {"names": ["afs/lab.test@LAB.TEST"], "enctypes": ["aes256-cts-hmac-sha1-96"]}
    assert store_afs.afs_users(["mail1"], "nodes.lab.test") == ["mail.mail1.nodes.lab.test"]


def test_volumes() -> None:
    backends = {"be1": {"file_server": "afs1"}, "be2": {"file_server": "afs2", "partition": "b", "quota": "10G"}}
    assert store_afs.afs_volumes(backends, HOSTVARS) == [
        {"name": "mail.be1", "server": "203.0.113.1", "partition": "a"},
        {"name": "mail.be2", "server": "203.0.113.2", "partition": "b", "quota": "10G"},
    ]


def test_the_cluster_mounts_what_the_client_has_units_for() -> None:
    paths = [mount["path"] for mount in store_afs.afs_mounts(["be1", "be-2"])]
    assert paths == ["/srv/mail/be1", "/srv/mail/be-2"]
    escaped = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", *paths], capture_output=True, text=True, check=True
    ).stdout.split()
    watch, *resources = store_afs.afs_cluster_resources(["be1", "be-2"])
    assert [resource["agent"] for resource in resources] == [f"systemd:{unit}" for unit in escaped]
    assert [resource["id"] for resource in resources] == ["be1_volume", "be-2_volume"]
    assert (watch["id"], watch["agent"]) == ("token_watch", "systemd:afs-token-watch")


def test_backends_run_where_there_is_a_token_and_not_without() -> None:
    better, never = store_afs.afs_cluster_constraints(["be1"])
    rule = ("resource", "attribute", "operation", "value")
    assert [better[key] for key in rule] == ["be1", "token_held", "gte", 1]
    assert better["score"] > 100  # more than what keeps it in its place
    assert [never[key] for key in rule] == ["be1", "token_held", "lt", 0]
    assert never["score"] == "-INFINITY" and constraint_id(better) != constraint_id(never)
