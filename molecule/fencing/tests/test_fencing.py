"""A node that loses the cluster is dead before its peer takes over: by poison pill, or by its watchdog alone.

Both clusters break at the same time, as most of a test is waiting.
"""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from shared.pods import PODS, ROOT, Pod, lab, until


@pytest.fixture(scope="module")
def pods(request):
    return [Pod(release, request.config.getoption("--ansible-inventory")) for release in PODS]


@pytest.fixture(scope="module")
def disk(pods):
    """Whether a disk carries poison pills at this stage of the scenario."""
    settings = {pod.ask(pod.names[0], "grep ^SBD_DEVICE= /etc/default/sbd").strip() for pod in pods}
    assert settings in ({'SBD_DEVICE="/dev/ubda"'}, {'SBD_DEVICE=""'})
    return settings == {'SBD_DEVICE="/dev/ubda"'}


def each(pods, action):
    """Do the same to all clusters at a time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(action, pods))


def test_sbd_guards_every_node(pods, disk):
    def check(pod):
        for host in pod.hosts.values():
            assert host.check_output("systemctl is-active sbd pacemaker").split() == ["active", "active"]
            # What runs, not what is in a file: the guardian alone has the watchdog, and it looks at a disk only if there is one.
            assert host.check_output("ps -o args= -p $(fuser /dev/watchdog1 2> /dev/null)") == "sbd: inquisitor"
            found = host.check_output("ps -o args= -C sbd")
            assert "watcher: Pacemaker" in found and "watcher: Cluster" in found
            assert ("watcher: /dev/ubda" in found) == disk, f"{host}: {found}"

    each(pods, check)


def test_times_follow_the_rules(pods, disk):
    """What sbd(8) and Pacemaker's documentation ask of them."""

    def check(pod):
        host = pod.hosts[pod.names[0]]

        def seconds(name):
            return int(host.run("crm_attribute --query --quiet --name %s", name).stdout.strip().rstrip("s") or 0)

        settings = dict(line.split("=") for line in host.check_output("grep ^SBD_ /etc/default/sbd").splitlines())
        watchdog = int(settings["SBD_WATCHDOG_TIMEOUT"])
        if disk:
            header = dict(re.findall(r"Timeout .(\w+).\s+: (\d+)", host.check_output("sbd -d /dev/ubda dump")))
            assert int(header["watchdog"]) == watchdog
            trusted = int(header["msgwait"])
            assert seconds("stonith-watchdog-timeout") == 0
        else:
            trusted = seconds("stonith-watchdog-timeout")
        # The peer may have the third vote at once and the lost node wait for it; sbd then believes its last good word
        # for 4 s, and its watchdog takes its time. 10 s are for Pacemaker on a slow node.
        third_vote = int(host.check_output("corosync-cmapctl -g quorum.device.sync_timeout").split()[-1]) / 1000
        assert watchdog > third_vote
        assert trusted >= third_vote + 4 + watchdog + 10
        assert seconds("stonith-timeout") >= 1.2 * trusted
        # Token and consensus, by which the others notice a loss.
        assert int(settings["SBD_DELAY_START"]) >= trusted + 3 + 3.6

    each(pods, check)


def test_the_disk_keeps_its_header(pods, disk):
    """A second run with fencing_sbd_erase still set (idempotence) has left it alone: both nodes have a slot."""
    if disk:
        for pod in pods:
            slots = pod.hosts[pod.names[0]].check_output("sbd -d /dev/ubda list")
            assert all(f"\t{name}\tclear" in slots for name in pod.names), slots


def powered(name):
    """Whether a node runs; its power is back 15 s after it has reset itself."""
    info = json.loads(subprocess.check_output([ROOT / "script/lab", "--lab", os.environ["LAB"], "info", "--json"]))
    return info["hosts"][name]["state"] == "running"


def test_a_node_that_lost_the_cluster_is_dead_before_its_peer_takes_over(pods, disk):
    def pills(pod, peer, holder):
        """How many pills a node has given another."""
        pill = f"targeting {holder} using fence_sbd returned 0"
        return int(pod.hosts[peer].run("grep -c %s /var/log/pacemaker/pacemaker.log", pill).stdout)

    def cut(pod):
        holder = pod.holder()
        peer = pod.peer(holder)
        given = pills(pod, peer, holder)
        lab("cut", holder, "cluster")
        dead = until(lambda: not powered(holder) or pod.has_address(peer))
        assert not pod.has_address(peer), f"{pod.address} on {peer} after {dead:.1f} s, and {holder} was alive"
        taken = dead + until(lambda: pod.has_address(peer))
        print(f"{holder} cut off: dead after {dead:.1f} s, {pod.address} on {peer} after {taken:.1f} s")
        lab("join", holder, "cluster")
        # With a disk it was the pill; without, the peer could only trust the watchdog and wait.
        assert pills(pod, peer, holder) - given == int(disk)
        # It joins again by itself; what moved stays.
        until(lambda: pod.online(peer), 180)
        assert pod.holder() == peer

    each(pods, cut)
