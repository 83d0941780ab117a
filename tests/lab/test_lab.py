"""What the lab promises: two networks, disks, power, cables, BMCs, a package cache, and no trace afterwards."""

import shlex
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import Lab, until

HOSTS = {"own12": "12", "own13": "13", "shared12": "12", "shared13": "13"}
OWN = ["own12", "own13"]
CACHE_LOG = "/var/cache/dovecluster-lab/packages/log/apt-cacher.log"


def each(hosts, action):
    """Do the same to several hosts at a time, since hosts with their own kernel are slow."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(action, hosts), strict=True))


def pings(lab, host, address):
    return lab.ssh(host, f"ping -n -q -c 5 -i 0.3 -w 4 {address} > /dev/null && echo yes || echo no").strip() == "yes"


def test_info_has_all_that_programs_need(lab):
    info = lab.info()
    assert {name: host["release"] for name, host in info["hosts"].items()} == HOSTS
    assert set(info["networks"]) == {"clients", "cluster"}
    addresses = set()
    for name, host in info["hosts"].items():
        assert host["state"] == "running" and host["power"] == "on"
        assert host["kernel"] == ("own" if name in OWN else "shared")
        assert host["disks"] == (["256M", "both=64M"] if name in OWN else [])
        assert [port["interface"] for port in host["networks"].values()] == ["eth0", "eth1"]
        assert not any(port["cut"] for port in host["networks"].values())
        addresses |= {port["address"] for port in host["networks"].values()} | {host["bmc_address"]}
    assert len(addresses) == 3 * len(HOSTS)
    assert set(info["bmc"]) == {"user", "password"}
    door = info["front_door"]
    assert door["hostname"] and len(door["addresses"]) >= 1 and door["ports"]["imaps"] == 993
    assert door["ca_file"].startswith(info["inventory"])
    assert all("@" in user and password for user, password in info["users"].items()) and len(info["users"]) > 3
    table = lab.run("status")
    for name, host in info["hosts"].items():
        line = next(line for line in table.splitlines() if f" {name} " in line)
        assert "running" in line and all(port["address"] in line for port in host["networks"].values())


def test_hosts_are_what_they_say(lab):
    def check(host):
        return lab.ssh(
            host, "cat /etc/debian_version; uname -n; ls /proc/exitcode 2>/dev/null; systemctl is-system-running --wait"
        )

    for host, found in each(HOSTS, check).items():
        lines = found.split()
        assert lines[0].startswith(HOSTS[host]) and lines[1] == host
        assert ("/proc/exitcode" in lines) == (host in OWN), f"{host}: User-Mode Linux has /proc/exitcode"
        assert lines[-1] == "running"


def test_every_host_reaches_every_other_on_both_networks(lab):
    hosts = lab.info()["hosts"]
    addresses = [port["address"] for host in hosts.values() for port in host["networks"].values()]

    def reach(host):
        return lab.ssh(
            host, "for a in " + " ".join(addresses) + "; do ping -n -q -c 1 -W 2 $a > /dev/null || echo $a; done"
        )

    assert each(HOSTS, reach) == dict.fromkeys(HOSTS, "")


def test_packages_come_through_the_cache(lab):
    def install(host):
        return lab.ssh(
            host, "apt-get install -y -qq --no-install-recommends ipmitool > /dev/null && command -v ipmitool"
        )

    hosts = lab.info()["hosts"]
    for host, found in each(["shared12", "shared13"], install).items():
        assert found.strip() == "/usr/bin/ipmitool"
        # Each line ends with the client's address and the path.
        address = hosts[host]["networks"]["clients"]["address"]
        with open(CACHE_LOG) as log:
            assert any(f"|{address}|" in line and "/ipmitool_" in line for line in log), f"{host} went another way"


def test_disks_own_and_shared(lab):
    def format_and_sign(host):
        lab.ssh(host, f"mkfs.ext4 -q /dev/ubda && mount /dev/ubda /mnt && echo {host} > /mnt/name && sync")
        offset = OWN.index(host)
        lab.ssh(host, f"echo {host} | dd of=/dev/ubdb bs=4096 seek={offset} conv=sync,fsync status=none")

    each(OWN, format_and_sign)

    def read(host):
        peer = OWN[1 - OWN.index(host)]
        seen = f"dd if=/dev/ubdb bs=4096 skip={OWN.index(peer)} count=1 iflag=direct status=none | tr -d '\\0'"
        return lab.ssh(host, f"cat /mnt/name; {seen}; blockdev --getsize64 /dev/ubda /dev/ubdb").split()

    for host, found in each(OWN, read).items():
        peer = OWN[1 - OWN.index(host)]
        assert found == [host, peer, str(256 << 20), str(64 << 20)]


def test_power_loss_keeps_what_was_synced_and_nothing_else(lab):
    """A crash is a real one: the page cache of the host's own kernel is gone for its disks.

    Its root is a folder of the machine, where a file is as safe as synced once it is closed; /var is a disk, as
    services that aren't root own files there.
    """
    places = ["/root", "/var/tmp", "/mnt"]

    def write(host):
        lab.ssh(host, "; ".join(f"echo kept > {p}/synced && sync {p}/synced {p}" for p in places))
        lab.ssh(host, "setpriv --reuid nobody --clear-groups sh -c 'echo x > /var/tmp/of && sync /var/tmp/of /var/tmp'")
        # Written, and readable, but not synced; lost as the power goes within a second or two.
        lab.ssh(host, "sync; dd if=/dev/zero of=/mnt/unsynced bs=1M count=4 status=none; cat /mnt/unsynced | wc -c")
        lab.run("kill", host)

    each(OWN, write)
    info = lab.info()["hosts"]
    assert all(info[host]["power"] == "off" and info[host]["state"] == "exited" for host in OWN)
    each(OWN, lambda host: lab.run("start", host))

    def left(host):
        lab.ssh(host, "mount /dev/ubda /mnt")
        kept = "cat /root/synced /var/tmp/synced /mnt/synced; stat -c %U /var/tmp/of"
        return lab.ssh(host, f"{kept}; du -k /mnt/unsynced 2>/dev/null | cut -f1; cat /mnt/name").split()

    for host, found in each(OWN, left).items():
        assert found[:4] == ["kept", "kept", "kept", "nobody"] and found[-1] == host
        assert "4096" not in found, f"{host}: all unsynced data survived: {found}"


def test_power_of_a_host_with_the_shared_kernel(lab):
    lab.ssh("shared12", "echo kept > /root/synced; echo gone > /run/volatile; sync")
    lab.run("kill", "shared12")
    assert lab.info()["hosts"]["shared12"]["state"] == "exited"
    lab.run("start", "shared12")
    assert lab.ssh("shared12", "test ! -e /run/volatile && cat /root/synced").strip() == "kept"


@pytest.mark.parametrize("host", ["own13", "shared12"])
def test_cable_is_cut_and_joined(lab, host):
    address = lab.info()["hosts"][host]["networks"]["cluster"]["address"]
    clients = lab.info()["hosts"][host]["networks"]["clients"]["address"]
    lab.run("cut", host, "cluster")
    assert lab.info()["hosts"][host]["networks"]["cluster"]["cut"]
    assert not pings(lab, "shared13", address)
    assert pings(lab, "shared13", clients), "only one cable was pulled"
    # The host sees no link loss, as behind a switch.
    assert "LOWER_UP" in lab.ssh(host, "ip -oneline link show eth1")
    lab.run("join", host, "cluster")
    assert pings(lab, "shared13", address)


def test_cut_cable_stays_cut_over_a_power_cycle(lab):
    address = lab.info()["hosts"]["shared12"]["networks"]["cluster"]["address"]
    lab.run("cut", "shared12", "cluster")
    lab.run("kill", "shared12")
    lab.run("start", "shared12")
    assert not pings(lab, "shared13", address)
    lab.run("join", "shared12", "cluster")
    assert pings(lab, "shared13", address)


@pytest.mark.parametrize("host", ["own13", "shared12"])
def test_a_frozen_host_goes_on_or_loses_power(lab, host):
    count = "n=0; while sleep 0.1; do n=$((n + 1)); echo $n > /run/count; done"
    lab.ssh(host, f"systemd-run --quiet --unit=count sh -c {shlex.quote(count.replace('$', '$$'))}")
    until(lambda: int(lab.ssh(host, "cat /run/count 2> /dev/null || echo 0")) > 5)
    lab.run("freeze", host)
    assert lab.info()["hosts"][host]["state"] == "paused"
    address = lab.info()["hosts"][host]["networks"]["cluster"]["address"]
    assert not pings(lab, "shared13", address) or host.startswith("shared"), "its own kernel stands still, too"
    lab.run("thaw", host)
    before = int(lab.ssh(host, "cat /run/count"))
    until(lambda: int(lab.ssh(host, "cat /run/count")) > before)
    lab.run("freeze", host)
    lab.run("kill", host)
    assert lab.info()["hosts"][host]["state"] == "exited"
    assert subprocess.run(lab.argv("thaw", host), capture_output=True).returncode == 1
    lab.run("start", host)
    assert lab.ssh(host, "test -e /run/count || echo new").strip() == "new"


@pytest.mark.parametrize(("asker", "victim"), [("shared12", "own12"), ("shared13", "shared12")])
def test_bmc_cuts_and_gives_power(lab, asker, victim):
    info = lab.info()
    bmc = info["hosts"][victim]["bmc_address"]
    user, password = info["bmc"]["user"], shlex.quote(info["bmc"]["password"])

    def power(action, password=password):
        # ipmitool ends with 1 when it is refused, which is wanted once: what it says is judged, never its exit code.
        ask = f"IPMI_PASSWORD={password} ipmitool -I lanplus -C 3 -E -U {user} -H {bmc} power {action} 2>&1 || true"
        return lab.ssh(asker, ask)

    assert "Power is on" in power("status")
    assert "Power is" not in power("status", "wrong"), "a wrong password must not do"
    power("off")
    assert "Power is off" in power("status")
    assert lab.info()["hosts"][victim]["state"] == "exited"
    power("on")
    assert "Power is on" in power("status")
    until(lambda: lab.info()["hosts"][victim]["state"] == "running")
    lab.run("start", victim)  # which waits until it answers
    assert lab.ssh(victim, "echo up").strip() == "up"


def test_a_host_that_reboots_itself_comes_back(lab):
    def reboot(host):
        before = lab.ssh(host, "cat /proc/sys/kernel/random/boot_id; date +%s > /run/this-boot")
        subprocess.run(lab.argv("ssh", host, "systemctl reboot"), capture_output=True, timeout=60)

        def back():
            argv = lab.argv("ssh", host, "test ! -e /run/this-boot && cat /proc/sys/kernel/random/boot_id")
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
            return done.stdout if done.returncode == 0 else ""

        return before, until(back, 90)

    for host, (before, after) in each(["own12", "shared13"], reboot).items():
        assert host not in OWN or before != after


def test_errors_are_one_line(lab):
    for arguments, wanted in {
        ("kill", "own99"): "no host 'own99' in lab lab-test; hosts: own12, own13, shared12, shared13",
        ("cut", "own12", "storage"): "own12 has no network 'storage'; it has: clients, cluster",
    }.items():
        done = subprocess.run(lab.argv(*arguments), capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr == f"lab: {wanted}\n"


def test_second_up_changes_nothing(lab):
    before = lab.info()
    lab.run("up", "--platforms", "tests/lab/hosts.yml", "--template", "inventories/dsync")
    assert lab.info() == before


def test_down_leaves_nothing(lab):
    bridges = [
        f"/sys/class/net/{name}"
        for name in subprocess.run(
            [
                "podman",
                "network",
                "inspect",
                "--format",
                "{{.NetworkInterface}}",
                "lab-test-clients",
                "lab-test-cluster",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    ]
    assert len(bridges) == 2 and len(lab.traces()) > 6, "the check for traces sees none where there are many"
    lab.run("down")
    assert lab.traces() == []
    assert not any(subprocess.run(["test", "-e", bridge]).returncode == 0 for bridge in bridges)


# When `up` is interrupted: how often something of the lab is there already.
MOMENTS = {
    "first network": "network",
    "first host": "container",
    "last host": "container lab-cut-two",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_down_after_an_interrupted_up_leaves_nothing(how, moment):
    lab = Lab("lab-cut")
    lab.run("down")
    # Started in the background the tests ignore SIGINT, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    up = subprocess.Popen(lab.argv("up", "--platforms", "tests/lab/small.yml"), stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: up.poll() is not None or any(MOMENTS[moment] in trace for trace in lab.traces()))
        assert up.poll() is None, "it was done before it could be interrupted"
        up.send_signal(how)
        up.wait(60)
        assert up.returncode
    finally:
        up.kill()
        lab.run("down")
    time.sleep(0.5)
    assert lab.traces() == []
