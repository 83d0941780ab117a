"""A lab: networks and hosts that belong together, their state on disk, power and cables."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import machine, site
from .commands import CACHE, STATE, LabError, environment, networks, run, say
from .images import ensure_image

SUBNETS = [f"10.231.{third}.0/24" for third in range(1, 255)]
FIRST_HOST = 11  # fourth octet of the first host that names none
BMC_OFFSET = 100  # a host's BMC has the host's fourth octet plus this
# Over podman's own default: addresses and firewall, ARP probes, reboot of the host's own process namespace, corosync's
# real-time priority.
CAPABILITIES = ["NET_ADMIN", "NET_RAW", "SYS_BOOT", "SYS_NICE"]
# The names of its disks, after those that its own system has.
DISK_NAMES = {
    "own": [f"ubd{letter}" for letter in "abcdefgh"],
    "full": [f"vd{letter}" for letter in "bcdefghi"],
}
BOOT_SECONDS = {"shared": 90, "own": 90, "full": 300}
PODMAN_SECONDS = 60
# What podman says of a host that has power.
ON = ("running", "paused")
MARK = "DOVECLUSTER_LAB"  # in the environment of all that `up` starts, by which `down` finds it
PACKAGES_SECONDS = 300


class Lab:
    """One lab by its name; everything known of it is in its state directory."""

    def __init__(self, name: str) -> None:
        """Name a lab; load() or create() fills it."""
        self.name = name
        self.directory = STATE / name
        self.data: dict[str, Any] = {}

    @classmethod
    def load(cls, name: str) -> Lab:
        """The lab of this name, which must exist."""
        lab = cls(name)
        if not (lab.directory / "lab.json").exists():
            raise LabError(f"there is no lab '{name}'; labs here: {', '.join(labs()) or 'none'}")
        lab.data = json.loads((lab.directory / "lab.json").read_text())
        return lab

    def save(self) -> None:
        """Write the state, readable by root alone as it holds passwords."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = self.directory / "lab.json.new"
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(self.data, indent=2))
        scratch.rename(self.directory / "lab.json")

    # -- making and removing

    def up(self, platforms: list[dict[str, Any]], release: str, template: Path | None) -> None:
        """Make all that is missing of the lab: networks, hosts, BMCs and the inventory."""
        # Seen by others from now on: the package cache stays while a lab is being made.
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.environ[MARK] = self.name
        with lock():
            machine.prepare()
            images = {(str(p.get("release", release)), p.get("kernel", "shared")): "" for p in platforms}
            for key in images:
                images[key] = ensure_image(*key)
        if (self.directory / "lab.json").exists():
            self.data = json.loads((self.directory / "lab.json").read_text())
        else:
            self.remove()  # what an interrupted run left
            self.plan(platforms, release, template)
        for host in self.data["hosts"]:
            if not self.container_state(host["name"]):
                self.create_host(host, images[host["release"], host["kernel"]])
        for host in self.data["hosts"]:
            if self.container_state(host["name"]) != "running":
                self.start(host["name"])
        self.start_power_daemon()
        for host in self.data["hosts"]:
            self.wait_for_ssh(host)
        say(f"lab {self.name} is up: {len(self.data['hosts'])} hosts")

    def plan(self, platforms: list[dict[str, Any]], release: str, template: Path | None) -> None:
        """Decide names and addresses, and make the networks."""
        fixed = site.template_octets(template) if template else {}
        network_names = list(dict.fromkeys(n for p in platforms for n in networks_of(p)))
        self.data = {
            "name": self.name,
            "release": release,
            "networks": {},
            "hosts": [],
            "bmc": {"user": "admin", "password": secrets.token_urlsafe(12)},
            "users": {},
        }
        with lock():
            for name in network_names:
                self.data["networks"][name] = self.create_network(name)
        for index, platform in enumerate(platforms):
            octet = fixed.get(platform["name"], FIRST_HOST + index)
            kernel = platform.get("kernel", "shared")
            of_sites = site.PACKAGES if template and kernel == "own" else []
            host = {
                "name": platform["name"],
                "release": str(platform.get("release", release)),
                "kernel": kernel,
                "memory": platform.get("memory", "768M"),
                "disks": platform.get("disks", []),
                "packages": platform.get("packages", []) + of_sites,
                "groups": platform.get("groups", []),
                "power": "on",
                "bmc_refuses": False,
                "networks": {},
            }
            for position, network in enumerate(networks_of(platform)):
                subnet = ipaddress.ip_network(self.data["networks"][network]["subnet"])
                host["networks"][network] = {
                    "address": str(subnet[octet]),
                    "interface": f"eth{position}",
                    "cut": False,
                }
                if network == "cluster":
                    host["bmc_address"] = str(subnet[octet + BMC_OFFSET])
            self.data["hosts"].append(host)
        self.make_keys()
        self.save()
        site.write_inventory(self.data, self.directory, template)

    def create_network(self, name: str) -> dict[str, str]:
        """Make a podman network on the first free subnet of the lab's range."""
        taken = {subnet["subnet"] for network in networks() for subnet in network.get("subnets", [])}
        subnet = next((s for s in SUBNETS if s not in taken), None)
        if subnet is None:
            raise LabError(f"all {len(SUBNETS)} subnets of 10.231.0.0/16 are taken; 'script/lab down --all' frees them")
        full_name = f"{self.name}-{name}"
        argv = ["podman", "network", "create", "--label", f"dovecluster.lab={self.name}", "--disable-dns"]
        run([*argv, "--subnet", subnet, *([] if name == "clients" else ["--internal"]), full_name])
        found = json.loads(run(["podman", "network", "inspect", full_name]))[0]
        return {"subnet": subnet, "podman": full_name, "bridge": found["network_interface"]}

    def make_keys(self) -> None:
        """An ssh key for the lab and a host key for each host, so that connections are verified from the first."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keygen(self.directory / "id_ed25519", f"lab-{self.name}")
        known = []
        for host in self.data["hosts"]:
            path = self.directory / "host-keys" / host["name"]
            path.parent.mkdir(exist_ok=True)
            self.keygen(path, host["name"])
            public = path.with_suffix(".pub").read_text().strip()
            known += [f"{net['address']} {public}" for net in host["networks"].values()]
        (self.directory / "known_hosts").write_text("\n".join(known) + "\n")

    @staticmethod
    def keygen(path: Path, comment: str) -> None:
        """A fresh ed25519 key pair without passphrase."""
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])

    def create_host(self, host: dict[str, Any], image: str) -> None:
        """Make a host's container, not yet started, with its keys and its package proxy in place."""
        argv = ["podman", "create", "--name", self.container(host["name"]), "--hostname", host["name"]]
        # podman would write /etc/hosts anew at each start; a machine keeps its own.
        argv += ["--label", f"dovecluster.lab={self.name}", "--no-hosts"]
        for network, port in host["networks"].items():
            podman_name = self.data["networks"][network]["podman"]
            options = f"ip={port['address']},mac={hardware_address(port['address'])},interface_name={port['interface']}"
            argv += ["--network", f"{podman_name}:{options}"]
        if host["kernel"] == "shared":
            # corosync keeps its connections in /dev/shm, which podman makes too small for a cluster.
            argv += [*machine.systemd_arguments(self.name, host["name"]), "--shm-size", "512m"]
            argv += ["--cap-add", ",".join(CAPABILITIES)]
        else:
            argv += machine.kernel_arguments(host["kernel"], image)
            argv += ["--systemd=false", "--env", f"LAB_MEMORY={host['memory']}", "--env", f"LAB_NAME={self.name}"]
            argv += ["--env", f"LAB_PACKAGES={', '.join(host['packages'])}"]
            for index, size in enumerate(host["disks"]):
                device = f"{DISK_NAMES[host['kernel']][index]}{'-shared' if '=' in size else ''}"
                argv += ["--volume", f"{self.make_disk(host['name'], index, size)}:/lab-disks/{device}"]
        run([*argv, image])
        address = next(iter(host["networks"].values()))["address"]
        copies = {
            "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{address} {host['name']}\n",
            "etc/apt/apt.conf.d/91lab-cache": f'Acquire::http::Proxy "{machine.PROXY}";\n',
            "root/.ssh/authorized_keys": (self.directory / "id_ed25519.pub").read_text(),
            "etc/ssh/ssh_host_ed25519_key": (self.directory / "host-keys" / host["name"]).read_text(),
        }
        self.copy_in(host["name"], copies)

    def copy_in(self, host: str, files: dict[str, str]) -> None:
        """Put small files into a container that may not run yet, readable by root alone."""
        staging = self.directory / "staging" / host
        for path, content in files.items():
            target = staging / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
            target.chmod(0o600)
        (staging / "root" / ".ssh").chmod(0o700)
        for public in ("etc/apt/apt.conf.d/91lab-cache", "etc/hosts"):
            (staging / public).chmod(0o644)
        for part in ("root/.ssh", "etc/apt/apt.conf.d/91lab-cache", "etc/hosts", "etc/ssh/ssh_host_ed25519_key"):
            run(["podman", "cp", str(staging / part), f"{self.container(host)}:/{Path(part).parent}/"])
        shutil.rmtree(staging)

    def make_disk(self, host: str, index: int, size: str) -> Path:
        """A sparse file for a host's disk, or a shared one where the size is written as NAME=SIZE."""
        name, _, amount = size.rpartition("=")
        path = self.directory / "disks" / (f"{name}.shared" if name else f"{host}-{index}")
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            run(["truncate", "--size", amount, str(path)])
        return path

    def down(self) -> None:
        """Remove all of the lab, and what runs for all labs with the last one."""
        self.remove()
        if self.directory.exists():
            shutil.rmtree(self.directory)
        with lock():
            if not any(STATE.glob("*")):
                machine.clean_up()

    def remove(self) -> None:
        """Remove all that runs, also what an interrupted run left behind."""
        self.end_processes()
        label = f"label=dovecluster.lab={self.name}"
        containers = run(["podman", "ps", "--all", "--quiet", "--filter", label]).split()
        if containers:
            run(["podman", "rm", "--force", "--time", "0", *containers])
        machine.remove_cgroups(self.name)
        mine = run(["podman", "network", "ls", "--quiet", "--filter", label]).split()
        if mine:
            run(["podman", "network", "rm", "--force", *mine])

    # -- power and cables

    def container(self, host: str) -> str:
        """The container's name for a host's name."""
        return f"{self.name}-{host}"

    def host(self, name: str) -> dict[str, Any]:
        """A host's data by its name."""
        for host in self.data["hosts"]:
            if host["name"] == name:
                return host
        raise LabError(
            f"no host '{name}' in lab {self.name}; hosts: {', '.join(h['name'] for h in self.data['hosts'])}"
        )

    def container_state(self, host: str) -> str:
        """podman's word for the container's state: running, paused, exited, created; empty when there is none."""
        return run(
            ["podman", "container", "inspect", "--format", "{{.State.Status}}", self.container(host)],
            check=False,
        ).strip()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change the lab's state, and what has to go with it, while nobody else does."""
        with lock(self.directory):
            self.data = json.loads((self.directory / "lab.json").read_text())
            yield
            self.save()

    def set_power(self, host: str, power: str) -> None:
        """Record what the host's power should be, for the daemon that starts a host again after its own reboot."""
        with self.changing():
            self.host(host)["power"] = power

    def kill(self, host: str) -> None:
        """Power loss: all that runs on the host is gone at once, without warning."""
        self.host(host)
        self.set_power(host, "off")
        state = self.container_state(host)
        if state == "paused":
            # podman refuses to kill what is frozen. A signal from outside is there before anything else of it can run.
            pid = run(["podman", "container", "inspect", "--format", "{{.State.Pid}}", self.container(host)])
            os.kill(int(pid), signal.SIGKILL)
            run(["podman", "unpause", self.container(host)], check=False)
        elif state == "running":
            run(["podman", "kill", "--signal", "KILL", self.container(host)])
        if state in ON:
            run(["podman", "wait", self.container(host)], check=False)

    def freeze(self, host: str) -> None:
        """Stop all that runs on the host, until it goes on or loses power."""
        self.host(host)
        if self.container_state(host) != "running":
            raise LabError(f"{host} is {self.container_state(host)}: only a running host can be frozen")
        run(["podman", "pause", self.container(host)])

    def thaw(self, host: str) -> None:
        """Have a frozen host go on."""
        self.host(host)
        if self.container_state(host) != "paused":
            raise LabError(f"{host} is not frozen, but {self.container_state(host)}")
        run(["podman", "unpause", self.container(host)])

    def start(self, host: str) -> None:
        """Power on; cables that were cut stay cut, and podman plugs in the others."""
        self.host(host)
        self.set_power(host, "on")
        with self.changing():
            if self.container_state(host) not in ON:
                run(["podman", "start", self.container(host)])
            for network, port in self.host(host)["networks"].items():
                if port["cut"]:
                    self.unplug(host, network)

    def cut(self, host: str, network: str) -> None:
        """Pull the cable: the host's port leaves the bridge, its interface notices nothing."""
        with self.changing():
            self.port(host, network)["cut"] = True
            if self.container_state(host) in ON:
                self.unplug(host, network)

    def join(self, host: str, network: str) -> None:
        """Plug the cable in again."""
        with self.changing():
            self.port(host, network)["cut"] = False
            if self.container_state(host) in ON:
                bridge = self.data["networks"][network]["bridge"]
                run(["ip", "link", "set", self.port_interface(host, network), "master", bridge])

    def port(self, host: str, network: str) -> dict[str, Any]:
        """A host's port to a network; its cable's state outlives a power cycle."""
        ports = self.host(host)["networks"]
        if network not in ports:
            raise LabError(f"{host} has no network '{network}'; it has: {', '.join(ports)}")
        return ports[network]

    def set_disk(self, host: str, disk: str, failed: bool) -> None:
        """Make every read and write of a disk fail, or work again."""
        if self.host(host)["kernel"] != "own":
            raise LabError(f"{host} has kernel: {self.host(host)['kernel']}; only disks of kernel: own can fail")
        present = run(["podman", "exec", self.container(host), "ls", "/lab-disks"]).split()
        if disk not in present:
            raise LabError(f"{host} has no disk '{disk}'; it has: {', '.join(present) or 'none'}")
        verb = ["touch"] if failed else ["rm", "--force"]
        run(["podman", "exec", self.container(host), *verb, f"/lab-failed-{disk}"])

    def set_bmc(self, host: str, refuses: bool) -> None:
        """Have the host's BMC refuse every command, or work again."""
        with self.changing():
            self.host(host)["bmc_refuses"] = refuses

    def unplug(self, host: str, network: str) -> None:
        """Take the host's port off the bridge."""
        run(["ip", "link", "set", self.port_interface(host, network), "nomaster"])

    def port_interface(self, host: str, network: str) -> str:
        """This machine's end of the host's cable."""
        interface = self.port(host, network)["interface"]
        index = run(["podman", "exec", self.container(host), "cat", f"/sys/class/net/{interface}/iflink"]).strip()
        for link in json.loads(run(["ip", "-json", "link"])):
            if link["ifindex"] == int(index):
                return link["ifname"]
        raise LabError(f"{host}'s cable to {network} (interface {index}) is not on this machine")

    # -- reaching hosts

    def ssh_argv(self, host: str) -> list[str]:
        """An ssh command for the host over the first of its networks whose cable is in and that answers."""
        ports = [p for p in self.host(host)["networks"].values() if not p["cut"]] or list(
            self.host(host)["networks"].values()
        )
        address = next((p["address"] for p in ports if answers(p["address"])), ports[0]["address"])
        return [
            *(
                "ssh",
                "-i",
                str(self.directory / "id_ed25519"),
                "-o",
                f"UserKnownHostsFile={self.directory}/known_hosts",
            ),
            *(
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "LogLevel=ERROR",
                "-o",
                "ConnectTimeout=10",
                # a host whose power was cut does not say goodbye
                "-o",
                "ServerAliveInterval=2",
                "-o",
                "ServerAliveCountMax=2",
                f"root@{address}",
            ),
        ]

    def wait_for_ssh(self, host: dict[str, Any]) -> None:
        """Until the host's ssh answers, or an error with the end of its console."""
        addresses = [p["address"] for p in host["networks"].values() if not p["cut"]]
        seconds = BOOT_SECONDS[host["kernel"]] + (PACKAGES_SECONDS if host["packages"] else 0)
        deadline = time.monotonic() + seconds
        while not any(answers(a) for a in addresses):
            # It ends when a package cannot be installed.
            ended = self.container_state(host["name"]) in ("exited", "stopped")
            if ended or time.monotonic() > deadline:
                what = "ended while it came up" if ended else f"did not come up within {seconds} s"
                console = run(
                    ["podman", "logs", "--tail", "20", self.container(host["name"])], check=False, errors=True
                )
                raise LabError(f"{host['name']} {what}; its console ends with:\n{console}")
            time.sleep(0.5)

    # -- the daemon behind the BMCs

    def start_power_daemon(self) -> None:
        """Start the lab's BMCs unless they run."""
        pid_file = self.directory / "power.pid"
        if pid_file.exists() and int(pid_file.read_text() or 0) in marked_processes(self.name):
            return
        with (self.directory / "power.log").open("a") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "lab.power", self.name],
                env={**environment(), "PYTHONPATH": str(Path(__file__).parent.parent)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pid_file.write_text(str(daemon.pid))

    def end_processes(self) -> None:
        """End the BMCs, and what an interrupted run started. podman may finish, or it would leave halves behind."""
        patience = time.monotonic() + PODMAN_SECONDS
        while found := marked_processes(self.name):
            for pid, name in found.items():
                if name != "podman" or time.monotonic() > patience:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        (self.directory / "power.pid").unlink(missing_ok=True)


def marked_processes(lab: str) -> dict[int, str]:
    """Processes that `up` of a lab started, but not those that hold its containers, which go with them."""
    found = {}
    ours = os.readlink("/proc/self/ns/pid")  # a container may have a lab of its own, and of the same name
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            name = (process / "comm").read_text().strip()
            marked = f"{MARK}={lab}".encode() in (process / "environ").read_bytes().split(b"\0")
            here = os.readlink(process / "ns/pid") == ours
            if marked and here and name != "conmon" and int(process.name) != os.getpid():
                found[int(process.name)] = name
    return found


def hardware_address(address: str) -> str:
    """A port's MAC address: the same after a power loss, as a machine's is, so that its neighbours find it at once."""
    return ":".join(f"{octet:02x}" for octet in (0x02, 0xDC, *ipaddress.IPv4Address(address).packed))


def networks_of(platform: dict[str, Any]) -> list[str]:
    """Names of the networks that a host of molecule.yml is on."""
    return [n["name"] for n in platform.get("networks", [{"name": "clients"}, {"name": "cluster"}])]


def labs() -> list[str]:
    """Names of all labs on this machine that are made."""
    return sorted(p.parent.name for p in STATE.glob("*/lab.json"))


def answers(address: str) -> bool:
    """Whether an ssh server greets at this address."""
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            connection.settimeout(2)
            return connection.recv(4).startswith(b"SSH")
    except OSError:
        return False


@contextmanager
def lock(directory: Path = CACHE) -> Iterator[None]:
    """Hold the machine's or a lab's lock."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
