"""A node that loses the cluster is dead before its peer takes over: by poison pill, or by its watchdog alone.

Both clusters break at the same time, as most of a test is waiting.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from shared.pods import PODS, Pod, lab, until


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


def booted(pod, name):
    """When a node's kernel started; nothing while it does not answer."""
    found = pod.ask(name, "sed -n 's/^btime //p' /proc/stat")
    return int(found) if found.strip() else None


def test_sbd_guards_every_node(pods, disk):
    def check(pod):
        for host in pod.hosts.values():
            # No program but the guardian has the watchdog, and it has Pacemaker, the cluster and the disk in view.
            found = host.check_output(
                "systemctl is-active sbd pacemaker; ps -o args= -C sbd; fuser /dev/watchdog1 || true"
            )
            assert found.startswith("active\nactive\n")
            for part in ["inquisitor", "watcher: Pacemaker", "watcher: Cluster"] + ["/dev/ubda"] * disk:
                assert part in found, f"{host}: no {part} in {found}"

    each(pods, check)


def test_times_follow_the_rules(pods, disk):
    """What sbd(8) and Pacemaker's documentation ask of them."""

    def check(pod):
        host = pod.hosts[pod.names[0]]

        def seconds(name):
            return int(host.run("crm_attribute --query --quiet --name %s", name).stdout.strip().rstrip("s") or 0)

        settings = dict(line.split("=") for line in host.check_output("grep ^SBD_ /etc/default/sbd").splitlines())
        watchdog = int(settings["SBD_WATCHDOG_TIMEOUT"])
        assert watchdog > 15, "longer than corosync waits for the third vote"
        if disk:
            header = dict(re.findall(r"Timeout .(\w+).\s+: (\d+)", host.check_output("sbd -d /dev/ubda dump")))
            assert int(header["watchdog"]) == watchdog
            trusted = int(header["msgwait"])
            assert seconds("stonith-watchdog-timeout") == 0
        else:
            trusted = seconds("stonith-watchdog-timeout")
        assert trusted >= 2 * watchdog
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


def test_a_node_that_lost_the_cluster_is_dead_before_its_peer_takes_over(pods, disk):
    def pills(pod, peer, holder):
        """How many pills a node has given another."""
        pill = f"targeting {holder} using fence_sbd returned 0"
        return int(pod.hosts[peer].run("grep -c %s /var/log/pacemaker/pacemaker.log", pill).stdout)

    def cut(pod):
        holder = pod.holder()
        peer = pod.peer(holder)
        before = booted(pod, holder)
        given = pills(pod, peer, holder)
        lab("cut", holder, "cluster")
        seconds = until(lambda: pod.has_address(peer))
        taken = int(pod.hosts[peer].check_output("date +%s"))
        print(f"{holder} cut off: {pod.address} on {peer} after {seconds:.1f} s")
        lab("join", holder, "cluster")
        until(lambda: booted(pod, holder))
        died = booted(pod, holder)
        assert died > before + 5, f"{holder} was not reset"
        assert died < taken, f"{holder} started again at {died}, {peer} had the address at {taken} already"
        print(pod.hosts[peer].check_output(f"stonith_admin --history {holder}"))
        # With a disk it was the pill; without, the peer could only trust the watchdog and wait.
        assert pills(pod, peer, holder) - given == int(disk)
        # It joins again by itself; what moved stays.
        until(lambda: pod.online(peer), 180)
        assert pod.holder() == peer

    each(pods, cut)
