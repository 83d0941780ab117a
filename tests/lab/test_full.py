"""Full machines: Debian's own kernel, and all that the lab promises of other hosts."""

import pytest

from . import checks
from .checks import each
from .conftest import made

FULL = ["full12", "full13"]
# What User-Mode Linux lacks, and some of what it has.
MODULES = "fcoe tcm_fc target_core_iblock target_core_file kafs cachefiles dm_multipath gfs2 dlm nf_tables"


@pytest.fixture(scope="module")
def lab():
    with made("full-test", "--platforms", "tests/lab/full.yml") as lab:
        yield lab


def test_full_machines_run_debians_own_kernel(lab):
    def check(host):
        assert lab.ssh(host, "cat /etc/debian_version").startswith(host.removeprefix("full"))
        assert lab.ssh(host, "uname -n -r").split()[0] == host
        assert lab.ssh(host, "uname -r").strip().endswith("-amd64")
        assert lab.ssh(host, "systemctl is-system-running --wait").strip() == "running"
        assert lab.ssh(host, f"modprobe --all --dry-run {MODULES} && echo all").strip() == "all"
        assert lab.ssh(host, "command -v ethtool").strip() == "/usr/sbin/ethtool", (
            "its packages are there from the start"
        )
        assert lab.info()["hosts"][host]["kernel"] == "full"

    each(FULL, check)


def test_devices_files_and_clock_are_a_machines(lab):
    def check(host):
        write = "'echo x > /dev/null && head -c 1 /dev/zero > /tmp/a && stat -c %U /tmp/a'"
        assert lab.ssh(host, f"setpriv --reuid nobody --clear-groups sh -c {write}").strip() == "nobody"
        assert lab.ssh(host, "findmnt --noheadings --output FSTYPE,SOURCE /").split() == ["ext4", "/dev/vda"]
        assert (
            lab.ssh(host, "ls /lab-root* 2> /dev/null; getent hosts deb.debian.org > /dev/null && echo named").strip()
            == "named"
        )
        there, here = (float(lab.ssh(name, "date +%s.%N")) for name in (host, "shared13"))
        assert abs(there - here) < 5

    each(FULL, check)


def test_every_host_reaches_every_other_on_both_networks(lab):
    checks.every_host_reaches_every_other(lab)


def test_disks_own_and_shared(lab):
    checks.disks_are_own_and_shared(lab, FULL, "vdb", "vdc")


def test_power_loss_keeps_what_was_synced_and_nothing_else(lab):
    checks.power_loss_keeps_what_was_synced(lab, FULL, "vdb")


def test_cable_is_cut_and_joined(lab):
    checks.cable_is_cut_and_joined(lab, "full13", "shared13")


def test_a_frozen_machine_goes_on_or_loses_power(lab):
    checks.frozen_host_goes_on_or_loses_power(lab, "full12", "shared13")


def test_bmc_cuts_and_gives_power(lab):
    checks.bmc_cuts_and_gives_power(lab, "shared13", "full13")


def test_a_machine_that_reboots_or_is_reset_by_its_watchdog_comes_back(lab):
    # Closed in the middle of its count, a watchdog goes on to count.
    ends = {"full12": "systemctl reboot", "full13": "wdctl --settimeout 4 > /dev/null; echo > /dev/watchdog"}
    each(FULL, lambda host: checks.host_comes_back(lab, host, ends[host]))


def test_down_leaves_nothing(lab):
    assert len(lab.traces()) > 6, "the check for traces sees none where there are many"
    lab.run("down")
    assert lab.traces() == []
