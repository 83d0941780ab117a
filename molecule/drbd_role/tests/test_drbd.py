"""Two copies of the same: what is written survives a change of primaries, differences are found, splits are told."""

import re
import time

import pytest
import testinfra

PAIRS = {"12": ("deb12a", "deb12b"), "13": ("deb13a", "deb13b")}
METRICS = "/usr/local/sbin/dovecluster-drbd metrics; cat /var/lib/prometheus/node-exporter/drbd.prom"


@pytest.fixture(params=PAIRS)
def pair(request):
    inventory = request.config.getoption("--ansible-inventory")
    return [testinfra.get_host(f"ansible://{name}?ansible_inventory={inventory}") for name in PAIRS[request.param]]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.5)


def good(host, name):
    return re.search(r"disk:UpToDate[\s\S]*peer-disk:UpToDate", host.check_output(f"drbdadm status {name}"))


def test_equal_without_a_sync(pair):
    for host in pair:
        assert good(host, "mail") and good(host, "spare")
        assert "done:" not in host.check_output("drbdadm status")
        log = host.check_output("dmesg")
        assert "Resync done" not in log and "Began resync" not in log
        assert host.file("/etc/drbd.d/mail.res").mode == 0o600
        assert host.check_output("systemctl is-enabled drbd || true") == "disabled"
        assert "crm-fence-peer.sh" in host.check_output("cat /etc/drbd.d/mail.res")


def test_data_survives_a_change_of_primaries(pair, play):
    one, two = pair
    one.check_output("drbdadm primary mail && mount /dev/drbd0 /mnt && echo letter > /mnt/mail && sync")
    names = ",".join(host.backend.host for host in pair)
    # A whole run beside a busy primary changes nothing.
    one.check_output("systemd-run --quiet --unit=busy sh -c 'while date >> /mnt/busy; do sync; done'")
    done = play("molecule/drbd_role/converge.yml", f"--limit={names}")
    one.check_output("systemctl stop busy")
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0", "0"], done.stdout[-3000:]
    one.check_output("umount /mnt && drbdadm secondary mail")
    two.check_output("drbdadm primary mail && mount /dev/drbd0 /mnt")
    assert two.check_output("cat /mnt/mail") == "letter"
    two.check_output("umount /mnt && drbdadm secondary mail")


def test_verify_finds_a_difference(pair):
    one, two = pair
    # Behind DRBD's back, on one side, in the middle of nowhere.
    two.check_output("drbdadm down spare && printf planted | dd of=/dev/ubdb bs=1M seek=50 conv=notrunc,fsync")
    two.check_output("drbdadm up spare")
    until(lambda: good(one, "spare"))
    other = two.check_output("/usr/local/sbin/dovecluster-drbd verify")
    assert f"spare: {one.backend.host} does it" in other
    assert "spare: verify begins" in one.check_output("/usr/local/sbin/dovecluster-drbd verify")
    found = re.search(r'drbd_out_of_sync_bytes\{resource="spare"\} (\d+)', one.check_output(METRICS))
    assert found and int(found[1]) == 4096


def test_a_verify_that_is_cut_short_does_not_count(pair):
    one, _two = pair
    verified = "/var/lib/dovecluster/drbd/mail.verified"
    one.check_output(f"rm -f {verified}")
    cut = "until drbdsetup status mail | grep -q Verify; do sleep 0.1; done; drbdadm disconnect mail"
    one.check_output(f"systemd-run --quiet --collect sh -c '{cut}'")
    done = one.run("/usr/local/sbin/dovecluster-drbd verify")
    assert done.rc != 0 and "cut short: mail: StandAlone" in done.stderr, done
    assert not one.file(verified).exists
    one.check_output("drbdadm connect mail")
    until(lambda: good(one, "mail"))
    assert one.run("/usr/local/sbin/dovecluster-drbd verify").rc == 0
    assert one.file(verified).exists


def test_a_split_brain_is_told(pair, play):
    one, two = pair
    for host in pair:
        host.check_output("drbdadm disconnect spare")
    for host in pair:
        host.check_output(
            "drbdadm primary spare && date | dd of=/dev/drbd1 oflag=direct conv=sync bs=4096 && drbdadm secondary spare"
        )
    for host in pair:
        host.run("drbdadm connect spare")
    until(lambda: any('drbd_split_brain{resource="spare"} 1' in host.check_output(METRICS) for host in pair))
    done = play("molecule/drbd_role/converge.yml", f"--limit={one.backend.host},{two.backend.host}")
    assert done.returncode != 0 and "split brain" in done.stdout
    two.check_output("drbdadm disconnect spare; drbdadm connect --discard-my-data spare")
    one.run("drbdadm connect spare")
    until(lambda: good(one, "spare"))
    assert 'drbd_split_brain{resource="spare"} 0' in one.check_output(METRICS)
