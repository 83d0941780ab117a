"""Mail in the cell: where volumes are and are mounted, who may read them, and their nightly clones."""

import re

import pytest

from tests.proofs.afs import file_servers, token_held
from tests.proofs.lab import wait_for

testinfra_hosts = ["ansible://mail_nodes"]


@pytest.fixture
def where(lab):
    """Where each backend runs; emulated machines answer late."""
    return wait_for("each backend runs on one node", lab.settled, 120)


def test_a_volume_is_mounted_where_its_backend_runs_and_nowhere_else(host, where, node):
    for name, there in where.items():
        mount = host.mount_point(f"/srv/mail/{name}")
        assert mount.exists == (there == node), name
        if mount.exists:
            assert mount.filesystem == "afs"
            assert f":mail.{name}" in mount.device


def test_an_instance_does_not_start_without_its_volume(host, where, node):
    elsewhere = [name for name, there in where.items() if there != node]
    for name in elsewhere:
        started = host.run(f"systemctl start dovecot-backend@{name}")
        host.run(f"systemctl reset-failed dovecot-backend@{name}")
        assert started.rc != 0
        assert not host.service(f"dovecot-backend@{name}").is_running
    # Both nodes work in normal times; after a failover one of them has none elsewhere.
    assert elsewhere or set(where.values()) == {node}


def test_nobody_reads_mail_but_who_has_the_token(host, where, node):
    for name in (name for name, there in where.items() if there == node):
        # Not even root who has logged in: only services that are to have it.
        for who in ("", "setpriv --reuid=nobody --clear-groups "):
            assert "Permission denied" in host.run(f"{who}ls /srv/mail/{name}").stderr, who
        service = "systemd-run --quiet --wait --pipe --property=KeyringMode=inherit"
        assert host.run(f"{service} ls /srv/mail/{name}").rc == 0


def test_the_token_holds_and_the_cluster_knows(host, lab, node):
    assert host.run("afs-token check").rc == 0
    assert token_held(lab, node)


def test_volumes_are_on_the_servers_that_the_inventory_names(lab):
    for name, values in lab.backends.items():
        server = values["file_server"]
        shown = lab.ssh(server, f"vos examine mail.{name} -localauth -noresolve")
        assert f"server {lab.variables(server)['mail_storage_address']} partition /vicepa RW Site" in shown


def test_each_database_server_answers_and_one_takes_changes(lab):
    servers = lab.group("afs_servers")[:3]
    assert len(servers) == 3
    for port in (7002, 7003):
        shown = [
            lab.ssh(server, f"udebug {lab.variables(server)['mail_storage_address']} {port}") for server in servers
        ]
        assert len([text for text in shown if re.search(r"I am sync site", text)]) == 1
        assert all("Last yes vote" in text or "I am sync site" in text for text in shown)


def test_clones_are_made_each_night(lab):
    for server in file_servers(lab):
        assert lab.ssh(server, "systemctl is-enabled afs-clones.timer").strip() == "enabled"
        lab.ssh(server, "systemctl start afs-clones.service", timeout=60)
    for name, values in lab.backends.items():
        assert "mail." + name + ".backup" in lab.ssh(
            values["file_server"], f"vos examine mail.{name}.backup -localauth"
        )
