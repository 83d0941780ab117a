"""Votes, fencing and an address that moves: the cluster of each release, as it stands and when it breaks."""

import re

import pytest
from shared.pods import PODS, Pod, lab, until


@pytest.fixture(params=PODS)
def pod(request):
    return Pod(request.param, request.config.getoption("--ansible-inventory"))


def test_three_votes_over_encrypted_links(pod):
    for host in pod.hosts.values():
        status = host.check_output("corosync-quorumtool -s")
        assert "Quorate:          Yes" in status and "Total votes:      3" in status
        assert "totem.crypto_cipher (str) = aes256" in host.check_output("corosync-cmapctl")
        assert re.search(r"State:\s+Connected", host.check_output("corosync-qdevice-tool -s"))


def test_the_address_is_where_it_belongs(pod):
    assert pod.holder() == pod.names[0]


def test_no_device_is_on_the_node_it_kills(pod):
    host = pod.hosts[pod.names[0]]
    for name in pod.names:
        where = host.check_output(f"crm_resource --resource fence_{name} --locate")
        assert "is running on: " + pod.peer(name) in where


def test_passwords_are_roots_alone(pod):
    for host in pod.hosts.values():
        password = host.ansible.get_variables()["lab_bmc_password"]
        assert password not in host.check_output("cibadmin --query")
        assert host.file("/usr/local/sbin/dovecluster-ipmitool").mode == 0o500
        assert host.file("/etc/corosync/authkey").mode == 0o400
        assert host.file("/etc/corosync/authkey").size >= 128


def test_a_node_loses_power(pod):
    holder = pod.holder()
    peer = pod.peer(holder)
    lab("kill", holder)
    seconds = until(lambda: pod.has_address(peer))
    print(f"power lost: address on the peer after {seconds:.1f} s")
    # Fencing gives the power back; what moved stays.
    until(lambda: pod.online(peer), 180)
    assert pod.holder() == peer


def test_the_cluster_network_is_cut(pod):
    holder = pod.holder()
    lab("cut", holder, "cluster")
    try:
        # The half without the third vote is fenced, so exactly one has the address.
        seconds = until(lambda: pod.has_address(pod.peer(holder)) and not pod.has_address(holder))
        print(f"cluster network cut: address on the peer alone after {seconds:.1f} s")
    finally:
        lab("join", holder, "cluster")
    until(lambda: pod.online(pod.peer(holder)), 180)
    pod.holder()
