"""Replication on each node: both directions healthy, through the replica instance alone."""

import json

testinfra_hosts = ["ansible://mail_nodes"]


def variables(host):
    return host.ansible.get_variables()


def release(host):
    return host.system_info.release.split(".")[0]


def test_replica_listens_on_the_cluster_network_alone(host):
    assert host.service("dovecot-replica").is_running
    assert host.service("dovecot-replica").is_enabled
    address = variables(host)["mail_cluster_address"]
    listeners = [s for s in host.socket.get_listening_sockets() if s.endswith(":12345")]
    others = {f"tcp://{b['address']}:12345" for b in variables(host)["mail_backends"].values()}
    assert f"tcp://{address}:12345" in listeners
    assert set(listeners) - others == {f"tcp://{address}:12345"}


def test_replication_is_healthy(host):
    if release(host) == "12":
        for name in variables(host)["mail_backends"]:
            if host.service(f"dovecot-backend@{name}").is_running:
                command = f"doveadm -c /etc/dovecot/backends/{name}.conf replicator status"
                failing = [line for line in host.check_output(command).splitlines() if "failed" in line]
                assert failing and all(line.split()[-1] == "0" for line in failing), failing
        return
    assert host.service("dovecot-syncd").is_running
    peers = json.loads(host.check_output("dovecot-syncd status --json"))
    assert peers
    for peer in peers:
        assert peer["up"] and not peer["error"] and not peer["failing"], peer
