"""Each node's disks, mounts and instances."""

from tests.proofs import drbd

testinfra_hosts = ["ansible://mail_nodes"]


def test_disks_are_equal_and_connected(lab, node):
    states = drbd.states(lab, node)
    assert set(states) == set(lab.backends)
    assert [name for name, state in states.items() if not state.healthy] == []


def test_a_backend_is_mounted_where_its_disk_is_primary_and_nowhere_else(host, lab, node):
    for name, state in drbd.states(lab, node).items():
        mount = host.mount_point(f"/srv/mail/{name}")
        assert mount.exists == (state.role == "Primary") == (lab.settled()[name] == node), name
        if mount.exists:
            assert (mount.device, mount.filesystem) == (f"/dev/drbd{lab.backends[name]['drbd_minor']}", "ext4")
            assert {"noatime", "nodev", "nosuid", "noexec"} <= set(mount.options)


def test_an_instance_does_not_start_without_its_mount(host, lab, node):
    elsewhere = [name for name, there in lab.settled().items() if there != node]
    for name in elsewhere:
        started = host.run(f"systemctl start dovecot-backend@{name}")
        host.run(f"systemctl reset-failed dovecot-backend@{name}")
        assert started.rc != 0
        assert not host.service(f"dovecot-backend@{name}").is_running
    # Both nodes work in normal times; after a failover one of them has none elsewhere.
    assert elsewhere or len([there for there in lab.settled().values() if there == node]) == len(lab.backends)


def test_metrics_tell_of_each_disk(host, lab):
    host.check_output("systemctl start dovecluster-drbd-metrics.service")
    text = host.file("/var/lib/prometheus/node-exporter/drbd.prom").content_string
    for name in lab.backends:
        assert f'drbd_up_to_date{{resource="{name}"}} 1' in text
        assert f'drbd_out_of_sync_bytes{{resource="{name}"}} 0' in text
