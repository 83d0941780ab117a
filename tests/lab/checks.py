"""What the lab promises of hosts of every kind, or of all that have a kernel of their own."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .conftest import Lab, until


def each(hosts: Collection[str], action: Callable[[str], Any]) -> dict[str, Any]:
    """Do the same to several hosts at a time, since hosts with their own kernel are slow."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(action, hosts), strict=True))


def pings(lab: Lab, host: str, address: str) -> bool:
    """Whether a host is answered; lost packets alone do not count."""
    return lab.ssh(host, f"ping -n -q -c 5 -i 0.3 -w 4 {address} > /dev/null && echo yes || echo no").strip() == "yes"


def every_host_reaches_every_other(lab: Lab) -> None:
    """On all networks, by ICMP and TCP, whose checksums kernels leave to each other."""
    hosts = lab.info()["hosts"]
    addresses = [port["address"] for host in hosts.values() for port in host["networks"].values()]
    greeted = "timeout 5 bash -c 'head -c 3 < /dev/tcp/$0/22' $a | grep -q SSH"
    reach = f"for a in {' '.join(addresses)}; do ping -n -q -c 1 -W 2 $a > /dev/null && {greeted} || echo $a; done"
    assert each(hosts, lambda host: lab.ssh(host, reach)) == dict.fromkeys(hosts, "")


def disks_are_own_and_shared(lab: Lab, hosts: Sequence[str], own: str, shared: str) -> None:
    """Two hosts have 256M each, left mounted on /mnt with the host's name in it, and 64M together."""

    def format_and_sign(host: str) -> None:
        lab.ssh(host, f"mkfs.ext4 -q /dev/{own} && mount /dev/{own} /mnt && echo {host} > /mnt/name && sync")
        offset = hosts.index(host)
        lab.ssh(host, f"echo {host} | dd of=/dev/{shared} bs=4096 seek={offset} conv=sync,fsync status=none")

    each(hosts, format_and_sign)

    def read(host: str) -> list[str]:
        skip = 1 - hosts.index(host)
        seen = f"dd if=/dev/{shared} bs=4096 skip={skip} count=1 iflag=direct status=none | tr -d '\\0'"
        return lab.ssh(host, f"cat /mnt/name; {seen}; blockdev --getsize64 /dev/{own} /dev/{shared}").split()

    for host, found in each(hosts, read).items():
        peer = hosts[1 - hosts.index(host)]
        assert found == [host, peer, str(256 << 20), str(64 << 20)]


def power_loss_keeps_what_was_synced(lab: Lab, hosts: Sequence[str], disk: str) -> None:
    """A crash is a real one: the page cache of the host's own kernel is gone for its disks.

    Comes after disks_are_own_and_shared().
    """
    places = ["/root", "/var/tmp", "/mnt"]

    def write(host: str) -> None:
        lab.ssh(host, "; ".join(f"echo kept > {p}/synced && sync {p}/synced {p}" for p in places))
        lab.ssh(host, "setpriv --reuid nobody --clear-groups sh -c 'echo x > /var/tmp/of && sync /var/tmp/of /var/tmp'")
        # Written, and readable, but not synced; lost as the power goes within a second or two.
        lab.ssh(host, "sync; dd if=/dev/zero of=/mnt/unsynced bs=1M count=4 status=none; cat /mnt/unsynced | wc -c")
        lab.run("kill", host)

    each(hosts, write)
    info = lab.info()["hosts"]
    assert all(info[host]["power"] == "off" and info[host]["state"] == "exited" for host in hosts)
    each(hosts, lambda host: lab.run("start", host))

    def left(host: str) -> list[str]:
        lab.ssh(host, f"mount /dev/{disk} /mnt")
        kept = "cat /root/synced /var/tmp/synced /mnt/synced; stat -c %U /var/tmp/of"
        return lab.ssh(host, f"{kept}; du -k /mnt/unsynced 2>/dev/null | cut -f1; cat /mnt/name").split()

    for host, found in each(hosts, left).items():
        assert found[:4] == ["kept", "kept", "kept", "nobody"] and found[-1] == host
        assert "4096" not in found, f"{host}: all unsynced data survived: {found}"


def cable_is_cut_and_joined(lab: Lab, host: str, asker: str) -> None:
    """Another host notices, the host itself does not."""
    address = lab.info()["hosts"][host]["networks"]["cluster"]["address"]
    clients = lab.info()["hosts"][host]["networks"]["clients"]["address"]
    lab.run("cut", host, "cluster")
    assert lab.info()["hosts"][host]["networks"]["cluster"]["cut"]
    assert not pings(lab, asker, address)
    assert pings(lab, asker, clients), "only one cable was pulled"
    # The host sees no link loss, as behind a switch.
    assert "LOWER_UP" in lab.ssh(host, "ip -oneline link show eth1")
    lab.run("join", host, "cluster")
    assert pings(lab, asker, address)


def frozen_host_goes_on_or_loses_power(lab: Lab, host: str, asker: str) -> None:
    """All that runs there stands still, and never goes on when it lost power meanwhile."""
    count = "n=0; while sleep 0.1; do n=$((n + 1)); echo $n > /run/count; done"
    lab.ssh(host, f"systemd-run --quiet --unit=count sh -c {shlex.quote(count.replace('$', '$$'))}")
    until(lambda: int(lab.ssh(host, "cat /run/count 2> /dev/null || echo 0")) > 5)
    lab.run("freeze", host)
    assert lab.info()["hosts"][host]["state"] == "paused"
    address = lab.info()["hosts"][host]["networks"]["cluster"]["address"]
    assert not pings(lab, asker, address) or host.startswith("shared"), "its own kernel stands still, too"
    lab.run("thaw", host)
    before = int(lab.ssh(host, "cat /run/count"))
    until(lambda: int(lab.ssh(host, "cat /run/count")) > before)
    lab.run("freeze", host)
    lab.run("kill", host)
    assert lab.info()["hosts"][host]["state"] == "exited"
    assert subprocess.run(lab.argv("thaw", host), capture_output=True).returncode == 1
    lab.run("start", host)
    assert lab.ssh(host, "test -e /run/count || echo new").strip() == "new"


def bmc_cuts_and_gives_power(lab: Lab, asker: str, victim: str) -> None:
    """By IPMI from another host, as fencing does it."""
    info = lab.info()
    bmc = info["hosts"][victim]["bmc_address"]
    user, password = info["bmc"]["user"], shlex.quote(info["bmc"]["password"])
    lab.ssh(asker, "command -v ipmitool || apt-get install -y -qq --no-install-recommends ipmitool > /dev/null")

    def power(action: str, password: str = password) -> str:
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


def host_comes_back(lab: Lab, host: str, command: str) -> None:
    """By itself, after a command on it that ends it, and as a new boot."""
    before = lab.ssh(host, "cat /proc/sys/kernel/random/boot_id; date +%s > /run/this-boot")
    subprocess.run(lab.argv("ssh", host, command), capture_output=True, timeout=60)

    def back() -> str:
        argv = lab.argv("ssh", host, "test ! -e /run/this-boot && cat /proc/sys/kernel/random/boot_id")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    after = until(back, 240)
    assert host.startswith("shared") or before != after
