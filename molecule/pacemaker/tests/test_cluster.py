"""Votes, fencing and an address that moves: the cluster of each release, as it stands and when it breaks."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import testinfra

ROOT = Path(__file__).parents[3]
PODS = {"12": ("deb12a", "deb12b"), "13": ("deb13a", "deb13b")}


def lab(*argv):
    """Do something to the test hosts from outside."""
    subprocess.run([ROOT / "script/lab", "--lab", os.environ.get("LAB", "pacemaker"), *argv], check=True, timeout=120)


def until(condition, seconds=120):
    """Wait for something that comes by itself; say how long it took, fail when it does not come."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, f"not within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - start


class Pod:
    """The two nodes of a cluster."""

    def __init__(self, release, get_host):
        self.names = PODS[release]
        self.hosts = {name: get_host(name) for name in self.names}
        octet = {"12": "231", "13": "232"}[release]
        first = self.hosts[self.names[0]].ansible.get_variables()["mail_client_address"]
        self.address = first.rsplit(".", 1)[0] + "." + octet

    def ask(self, name, command):
        """A command's output; nothing from a node without power, which is how testinfra says it."""
        try:
            return self.hosts[name].run(command).stdout
        except RuntimeError:
            return ""

    def has_address(self, name):
        return self.address + "/" in self.ask(name, "ip -4 -br address")

    def holder(self):
        holders = [name for name in self.names if self.has_address(name)]
        assert len(holders) == 1, f"{self.address} is on {holders}, wanted on one node"
        return holders[0]

    def peer(self, name):
        return next(other for other in self.names if other != name)

    def online(self, name):
        """Whether all nodes are online in the eyes of one."""
        found = self.ask(name, "crm_mon --one-shot --output-as xml")
        return found.count('online="true"') == len(self.names) and 'pending="true"' not in found


@pytest.fixture(params=PODS)
def pod(request):
    inventory = request.config.getoption("--ansible-inventory")

    def get_host(name):
        return testinfra.get_host(f"ansible://{name}?ansible_inventory={inventory}")

    return Pod(request.param, get_host)


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
