"""The lab as the proofs use it: script/lab's commands, and what the inventory says of the cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from module_utils.mail_route import parse_shards, shard_of
from tests.ledger.checker import Copy, parse_doveadm
from tests.ledger.front import Front, User

ROOT = Path(__file__).resolve().parents[2]
LISTING = "doveadm -c /etc/dovecot/replica.conf -f json fetch -A 'user mailbox flags hdr.message-id hdr.received' ALL"


class ProofError(Exception):
    """The cluster did not do what it must, or the lab did not do what it was told."""


def wait_for(what: str, condition: Callable[[], Any], seconds: float, pause: float = 0.3) -> Any:
    """Wait until a condition holds and return it; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise ProofError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause)
    return value


class Lab:
    """One lab, provisioned by site.yml."""

    def __init__(self, name: str | None = None) -> None:
        """Name the lab; needless while there is only one."""
        self._env = {**os.environ, **({"LAB": name} if name else {})}

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of one of script/lab's commands."""
        return [str(ROOT / "script" / "lab"), *arguments]

    def run(self, *arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of script/lab's commands."""
        try:
            done = subprocess.run(
                self.command(*arguments),
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            if check:
                raise ProofError(f"lab {' '.join(arguments)}: no end after {timeout:.0f} s") from error
            return subprocess.CompletedProcess(error.cmd, 124, "", "timed out")
        if check and done.returncode:
            raise ProofError(f"lab {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
        return done

    def stream(self, node: str, script: str) -> subprocess.Popen[str]:
        """Start a command on a node and return it running, with its output as a pipe."""
        return subprocess.Popen(
            self.command("ssh", node, script),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ssh(self, node: str, script: str, timeout: float = 30, check: bool = True) -> str:
        """Run a command on a node and return its output; nothing when it failed and may."""
        done = self.run("ssh", node, script, timeout=timeout, check=check)
        return "" if done.returncode and not done.stdout else done.stdout

    def kill(self, node: str) -> float:
        """Cut a node's power; return when it was surely gone."""
        self.run("kill", node)
        return time.time()

    def start(self, node: str) -> None:
        """Give it power, and return when it answers."""
        self.run("start", node, timeout=180)

    def cut(self, node: str, network: str) -> float:
        """Pull a cable; return when it was surely out."""
        self.run("cut", node, network)
        return time.time()

    def join(self, node: str, network: str) -> None:
        """Plug it in again."""
        self.run("join", node, network)

    def freeze(self, node: str) -> float:
        """Have all that runs on a node stand still; return when it surely does."""
        self.run("freeze", node)
        return time.time()

    def thaws(self, node: str) -> bool:
        """Have a frozen node go on; tell whether it still could."""
        return not self.run("thaw", node, check=False).returncode

    def fail(self, node: str, disk: str) -> None:
        """Break a disk."""
        self.run("fail", node, disk)

    def mend(self, node: str, disk: str) -> None:
        """Have it work again."""
        self.run("mend", node, disk)

    def refuse(self, node: str) -> None:
        """Have a node's BMC refuse every command."""
        self.run("refuse", node)

    def obey(self, node: str) -> None:
        """Have it obey again."""
        self.run("obey", node)

    @cached_property
    def info(self) -> dict[str, Any]:
        """What script/lab says of the lab."""
        return json.loads(self.run("info", "--json").stdout)

    @cached_property
    def inventory(self) -> dict[str, Any]:
        """The inventory as Ansible sees it."""
        argv = [ansible("ansible-inventory"), "-i", self.info["inventory"], "--list"]
        done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise ProofError(f"ansible-inventory ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)

    def describe(self, **variables: Any) -> None:
        """Have the inventory say something else of the site, as an operator does; nothing: what it said before."""
        self._description.unlink(missing_ok=True)
        if variables:
            self._description.write_text(yaml.safe_dump(variables))
        for name in ("inventory", "site", "backends"):
            self.__dict__.pop(name, None)

    @property
    def described(self) -> dict[str, Any]:
        """What describe() has the inventory say."""
        return yaml.safe_load(self._description.read_text()) if self._description.exists() else {}

    @property
    def _description(self) -> Path:
        return Path(self.info["inventory"]) / "group_vars" / "all" / "zz_proof.yml"

    def variables(self, host: str) -> dict[str, Any]:
        """The variables of one host."""
        return self.inventory["_meta"]["hostvars"][host]

    def group(self, name: str) -> list[str]:
        """The hosts of a group and of its children."""
        found = self.inventory.get(name, {})
        children = [host for child in found.get("children", []) for host in self.group(child)]
        return list(dict.fromkeys([*found.get("hosts", []), *children]))

    @cached_property
    def site(self) -> dict[str, Any]:
        """The site's variables."""
        return self.variables(self.group("mail_nodes")[0])

    @cached_property
    def backends(self) -> dict[str, dict[str, Any]]:
        """The site's backends, each with the nodes of its pod."""
        return {
            name: {**values, "nodes": self.group(values["pod"])} for name, values in self.site["mail_backends"].items()
        }

    @property
    def replicated(self) -> bool:
        """Whether each node holds a replica."""
        return self.site["mail_store"] == "dsync"

    @property
    def own_mail(self) -> bool:
        """Whether each backend has mail of its own, that no other backend's node reaches."""
        return self.site["mail_store"] in ("drbd", "afs")

    @property
    def spreads(self) -> bool:
        """Whether front ends go by the client, whoever the user is."""
        return self.site["mail_front_end"] in ("haproxy", "lvs", "external")

    @property
    def by_table(self) -> bool:
        """Whether a table tells each user's backend."""
        return not self.spreads and self.site["mail_front_end"] != "director"

    def front(self, timeout: float = 5.0) -> Front:
        """The front door, with the demo users."""
        door = self.info["front_door"]
        users = [User(user, password) for user, password in self.info["users"].items()]
        ports = door.get("ports", {})
        names = [self.variables(host)["mail_client_address"] for host in self.group("dns_servers")]
        return Front(
            list(self.site["mail_front_addresses"]),
            door["hostname"],
            door["ca_file"],
            users,
            imap_port=ports.get("imaps", 993),
            smtp_port=ports.get("smtp", 25),
            timeout=timeout,
            name_servers=names,
        )

    @property
    def front_hosts(self) -> list[str]:
        """The hosts that have the front door's addresses."""
        return self.group("mta" if self.site["mail_front_end"] == "dns" else "front_ends")

    @property
    def route_hosts(self) -> list[str]:
        """The hosts that know which backend each user is on."""
        groups = ["front_ends", "mta", *(["mail_nodes", "dns_servers"] if self.site["mail_front_end"] == "dns" else [])]
        return list(dict.fromkeys(host for group in groups for host in self.group(group)))

    def backend_of(self, user: str) -> str:
        """The backend that the shard table gives a user."""
        for name, values in self.backends.items():
            if "shards" in values and shard_of(user) in parse_shards(str(values["shards"])):
                return name
        raise ProofError(f"no backend has the shard of {user}")

    def forget_name(self, user: str) -> None:
        """Have a user's name lead where the shard says, where users have names."""
        for primary in self.group("dns_servers")[:1]:
            argv = [
                ansible("ansible"),
                primary,
                "-i",
                self.info["inventory"],
                "-m",
                "user_dns_record",
                "-a",
                f"user={user}",
            ]
            done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                raise ProofError(f"user_dns_record: {done.stdout[-500:]}")

    def running(self, node: str, timeout: float = 5) -> set[str]:
        """The backends whose instance runs on a node; none when it does not answer."""
        return self._alive(self.ssh(node, self._states, timeout=timeout, check=False).split())

    def running_stream(self, node: str) -> subprocess.Popen[str]:
        """Start printing, again and again, the time on a node and what parse_running() reads."""
        return self.stream(node, f"while sleep 0.1; do echo $(date +%s.%N; {self._states}); done")

    def parse_running(self, line: str) -> tuple[float, set[str]]:
        """Read a line of running_stream(): the node's time in seconds, and the backends that run there."""
        stamp, *states = line.split()
        return float(stamp), self._alive(states)

    @property
    def _states(self) -> str:
        return "systemctl is-active " + " ".join(f"dovecot-backend@{name}.service" for name in self.backends)

    def _alive(self, states: list[str]) -> set[str]:
        # An instance counts until it is gone: one that is starting or stopping may have sessions.
        alive = {"active", "activating", "deactivating", "reloading"}
        return {name for name, state in zip(self.backends, states, strict=False) if state in alive}

    def placement(self, nodes: list[str] | None = None) -> dict[str, list[str]]:
        """For each backend the nodes that run it, asked at the same time."""
        nodes = nodes or self.group("mail_nodes")
        with ThreadPoolExecutor(len(nodes)) as pool:
            found = dict(zip(nodes, pool.map(self.running, nodes), strict=True))
        return {name: [node for node in nodes if name in found[node]] for name in self.backends}

    def settled(self) -> dict[str, str] | None:
        """Where each backend runs, once each runs on exactly one node."""
        placement = self.placement()
        if all(len(nodes) == 1 for nodes in placement.values()):
            return {name: nodes[0] for name, nodes in placement.items()}
        return None

    def holders(self) -> dict[str, str]:
        """Which front end has which service address."""
        found: dict[str, str] = {}
        for node in self.front_hosts:
            text = self.ssh(node, "ip -o -4 address", timeout=10, check=False)
            found |= {address: node for address in self.site["mail_front_addresses"] if f" {address}/" in text}
        return found

    def wait_until_spread(self) -> None:
        """Wait until no service address is about to move: one that goes home ends its sessions, whatever is tested."""
        hosts = min(len(self.site["mail_front_addresses"]), len(self.front_hosts))
        wait_for(f"{hosts} hosts have addresses", lambda: len(set(self.holders().values())) == hosts, 120, pause=1)

    def boot(self, node: str) -> str:
        """The id of a node's boot; nothing when it does not answer."""
        return self.ssh(node, "cat /proc/sys/kernel/random/boot_id", timeout=10, check=False).strip()

    def boots(self) -> dict[str, str]:
        """The boot of each mail node, to see later that none was fenced."""
        return {node: self.boot(node) for node in self.group("mail_nodes")}

    def online(self, asked: str) -> set[str]:
        """The members of the cluster that a node sees online."""
        text = self.ssh(asked, "crm_mon -1 --output-as=xml", check=False)
        try:
            tree = ET.fromstring(text)
        except ET.ParseError:
            return set()
        return {node.get("name", "") for node in tree.iterfind("./nodes/node") if node.get("online") == "true"}

    def whole(self) -> bool:
        """Whether every node sees every node online, and each backend runs once."""
        clusters = [self.group(pod) for pod in {values["pod"] for values in self.backends.values()}]
        if len(servers := self.group("nfs_servers")) == 2:
            clusters.append(servers)
        return all(len(self.online(node)) == len(nodes) for nodes in clusters for node in nodes) and bool(
            self.settled()
        )

    def drain(self) -> int:
        """Tell the MTAs to deliver what they have now; return how many mails that was."""
        command = "set -o pipefail; postqueue -j | wc -l && postqueue -f"
        return sum(int(self.ssh(node, command)) for node in self.group("mta"))

    def listing(self, node: str) -> list[Copy]:
        """What a node's replica holds, of the demo users."""
        copies = parse_doveadm(self.ssh(node, LISTING, timeout=120))
        return [copy for copy in copies if copy.user in self.info["users"]]

    def synced(self, node: str) -> subprocess.Popen[str]:
        """Start printing, again and again, up to when a node's changes have reached its peers."""
        if self.info["hosts"][node]["release"] == "12":
            status = "; ".join(
                f"doveadm -c /etc/dovecot/backends/{name}.conf replicator status '*' 2>/dev/null"
                for name in self.backends
            )
        else:
            status = "dovecot-syncd status --json | tr -d '\\n'"
        return self.stream(node, f'while sleep 0.1; do echo "=$(date +%s.%N)"; {status}; echo; done')


def ansible(program: str) -> str:
    """The program of the Python that runs this."""
    beside = Path(sys.executable).parent / program
    return str(beside) if beside.exists() else program


# Events take a moment to reach the replicator's queue; a status older than that says nothing of newer mail.
QUEUE_DELAY = 0.3


def parse_synced(text: str) -> dict[str, float]:
    """Read the last complete status that Lab.synced() printed: {user: time}, `*` for all users.

    What was acknowledged before that time has been synced: the queue held nothing older.
    """
    blocks = re.split(r"(?m)^=", text)[1:-1]  # the last one may be cut short
    for block in reversed(blocks):
        stamp, _, body = block.partition("\n")
        found = _parse_status(float(stamp) - QUEUE_DELAY, body)
        if found:
            return found
    return {}


def _parse_status(now: float, body: str) -> dict[str, float]:
    if body.lstrip().startswith("["):  # dovecot-syncd
        try:
            peers = json.loads(body)
        except ValueError:
            return {}
        return {"*": now - max((peer["lag_seconds"] for peer in peers), default=0.0)} if peers else {}
    found = {}
    for line in body.splitlines():
        # user  priority  fast sync  full sync  success sync  failed
        match = re.fullmatch(r"(\S+@\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*", line)
        if match and match[2] == "none" and match[3] == "-":
            continue  # a replicator that never synced the user: another backend's
        if match and match[2] == "none" and match[6] == "-":
            found[match[1]] = now
        elif match and (ago := re.fullmatch(r"(\d+):(\d+):(\d+)", match[5])):
            hours, minutes, seconds = map(int, ago.groups())
            found[match[1]] = now - (hours * 3600 + minutes * 60 + seconds + 1)
    return found
