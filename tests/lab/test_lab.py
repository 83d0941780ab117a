"""What the lab promises: two networks, disks, power, cables, BMCs, a package cache, and no trace afterwards."""

import signal
import subprocess
import time

import pytest

from . import checks
from .checks import each, pings
from .conftest import STATE, Lab, output, until

HOSTS = {"own12": "12", "own13": "13", "shared12": "12", "shared13": "13"}
OWN = ["own12", "own13"]
CACHE_LOG = "/var/cache/dovecluster-lab/packages/log/apt-cacher.log"


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
    checks.every_host_reaches_every_other(lab)


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
    checks.disks_are_own_and_shared(lab, OWN, "ubda", "ubdb")


def test_power_loss_keeps_what_was_synced_and_nothing_else(lab):
    """Its root is a folder of the machine, where a file is as safe as synced once it is closed; /var is a disk, as
    services that aren't root own files there.
    """
    checks.power_loss_keeps_what_was_synced(lab, OWN, "ubda")


def test_power_of_a_host_with_the_shared_kernel(lab):
    lab.ssh("shared12", "echo kept > /root/synced; echo gone > /run/volatile; sync")
    lab.run("kill", "shared12")
    assert lab.info()["hosts"]["shared12"]["state"] == "exited"
    lab.run("start", "shared12")
    assert lab.ssh("shared12", "test ! -e /run/volatile && cat /root/synced").strip() == "kept"


@pytest.mark.parametrize("host", ["own13", "shared12"])
def test_cable_is_cut_and_joined(lab, host):
    checks.cable_is_cut_and_joined(lab, host, "shared13")


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
    checks.frozen_host_goes_on_or_loses_power(lab, host, "shared13")


@pytest.mark.parametrize(("asker", "victim"), [("shared12", "own12"), ("shared13", "shared12")])
def test_bmc_cuts_and_gives_power(lab, asker, victim):
    checks.bmc_cuts_and_gives_power(lab, asker, victim)


def test_a_host_that_reboots_itself_comes_back(lab):
    each(["own12", "shared13"], lambda host: checks.host_comes_back(lab, host, "systemctl reboot"))


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
    table = "table inet dovecluster_lab" in output("nft", "list", "tables")
    assert table == any(STATE.iterdir()), "it stays for other labs alone"


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
