"""What DRBD's configuration says and what its tools report: pure logic, also used by the role's script on the nodes.

Understands DRBD 8.4 (text of `drbdsetup status`) and 9 (JSON). A resource has one volume and two or more nodes.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

SECRET = re.compile(r'(shared-secret\s+)"[^"]*"')
MASK = '"********"'
JUST_CREATED = "0000000000000004"  # the generation of metadata that has never been in use
MIN_BYTES = 16 * 1024 * 1024
GROWTH = 1024 * 1024  # less than this is rounding, not growth
# Debian's handler, with a translation: see roles/drbd/templates/fence-peer.j2.
FENCE = "/usr/local/lib/dovecluster/drbd-fence-peer /usr/lib/drbd/"
HANDLERS = {
    8: {"fence-peer": FENCE + "crm-fence-peer.sh", "after-resync-target": "/usr/lib/drbd/crm-unfence-peer.sh"},
    9: {"fence-peer": FENCE + "crm-fence-peer.9.sh", "unfence-peer": "/usr/lib/drbd/crm-unfence-peer.9.sh"},
}
SYNCING = {
    "SyncSource",
    "SyncTarget",
    "PausedSyncS",
    "PausedSyncT",
    "StartingSyncS",
    "StartingSyncT",
    "Ahead",
    "Behind",
}
VERIFYING = {"VerifyS", "VerifyT"}


@dataclass
class Status:
    """What the kernel says of a resource on this node and, summed up, of its peers."""

    role: str = "Unconfigured"
    connection: str = "Unconfigured"
    disk_state: str = "Unconfigured"
    peer_role: str = "Unknown"
    peer_disk_state: str = "DUnknown"
    replication: str = "Off"
    sync_percent: float | None = None
    out_of_sync_bytes: int = 0
    size_bytes: int = 0
    written_bytes: int = 0  # to this node's disk, since it was attached
    suspended: bool = False
    minors: list[int] = field(default_factory=list)

    @property
    def up(self) -> bool:
        """Whether the kernel knows the resource."""
        return self.role != "Unconfigured"

    @property
    def healthy(self) -> bool:
        """Whether all copies are there, good, and at rest."""
        return (self.connection, self.disk_state, self.peer_disk_state, self.replication) == (
            "Connected",
            "UpToDate",
            "UpToDate",
            "Established",
        )

    def facts(self) -> dict[str, Any]:
        """For a module's result."""
        return {name: value for name, value in asdict(self).items() if name != "minors"}


def parse_version(text: str) -> tuple[int, int] | None:
    """Major and minor version, out of /proc/drbd or `modinfo -F version drbd`."""
    found = re.search(r"(?:version:\s*|^)(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


# ------------------------------------------------------------------ status


def parse_status(text: str, major: int) -> dict[str, Status]:
    """All resources that the kernel knows, by name, out of `drbdsetup status --verbose --statistics`."""
    return _parse_json(text) if major >= 9 else _parse_text(text)


def _parse_text(text: str) -> dict[str, Status]:
    found: dict[str, Status] = {}
    status, peer = Status(), False
    for line in text.splitlines():
        words = line.split()
        pairs = dict(word.split(":", 1) for word in words if ":" in word)
        if not words:
            continue
        if not line.startswith(" "):
            status, peer = Status(), False
            found[words[0]] = status
            status.role, status.suspended = pairs["role"], pairs.get("suspended", "no") != "no"
            # Without a peer's section the resource has no connection.
            status.connection, status.disk_state = "StandAlone", "Diskless"
            continue
        if "connection" in pairs or (words[0] == "peer"):
            peer = True
            status.connection = pairs.get("connection", "Connected")
            status.peer_role = pairs.get("role", "Unknown")
        elif peer:
            status.replication = pairs.get("replication", status.replication)
            status.peer_disk_state = pairs.get("peer-disk", status.peer_disk_state)
            status.out_of_sync_bytes += 1024 * int(pairs.get("out-of-sync", 0))
            if "done" in pairs:
                status.sync_percent = float(pairs["done"])
        else:
            status.disk_state = pairs.get("disk", status.disk_state)
            status.size_bytes += 1024 * int(pairs.get("size", 0))
            status.written_bytes += 1024 * int(pairs.get("written", 0))
            if "minor" in pairs:
                status.minors.append(int(pairs["minor"]))
    return found


def _parse_json(text: str) -> dict[str, Status]:
    found = {}
    for resource in json.loads(text or "[]"):
        devices, connections = resource.get("devices", []), resource.get("connections", [])
        status = Status(role=resource["role"], connection="StandAlone", disk_state="Diskless")
        status.suspended = bool(resource.get("suspended", False))
        status.minors = [device["minor"] for device in devices]
        status.size_bytes = 1024 * sum(device.get("size", 0) for device in devices)
        status.written_bytes = 1024 * sum(device.get("written", 0) for device in devices)
        if devices:
            status.disk_state = devices[0]["disk-state"]
        states = [connection["connection-state"] for connection in connections]
        # The worst of several: one that is not Connected.
        status.connection = next((s for s in states if s != "Connected"), "Connected" if states else "StandAlone")
        roles = {connection.get("peer-role", "Unknown") for connection in connections}
        status.peer_role = "Primary" if "Primary" in roles else next(iter(sorted(roles)), "Unknown")
        peers = [peer for connection in connections for peer in connection.get("peer_devices", [])]
        states = [peer.get("replication-state", "Off") for peer in peers]
        status.replication = next((s for s in states if s != "Established"), "Established" if states else "Off")
        states = [peer.get("peer-disk-state", "DUnknown") for peer in peers]
        status.peer_disk_state = next((s for s in states if s != "UpToDate"), "UpToDate" if states else "DUnknown")
        status.out_of_sync_bytes = 1024 * sum(peer.get("out-of-sync", 0) for peer in peers)
        if status.replication not in ("Off", "Established"):
            status.sync_percent = min(float(peer.get("percent-in-sync", 0)) for peer in peers)
        found[resource["name"]] = status
    return found


def parse_out_of_sync(proc: str) -> dict[int, int]:
    """Bytes out of sync for each minor, out of DRBD 8.4's /proc/drbd.

    `drbdsetup status` does not say them of a resource that has no connection, which is what a split brain leaves.
    """
    return {
        int(minor): 1024 * int(kib)
        for minor, kib in re.findall(r"^\s*(\d+): cs:(?:(?!^\s*\d+: cs:)[\s\S])*?\boos:(\d+)", proc, re.MULTILINE)
    }


def parse_disk(show: str) -> str | None:
    """The backing device that this node has attached, out of `drbdsetup show NAME`."""
    here = show.partition("_this_host")[2]
    found = re.search(r'disk\s+"?([^"\s;{]+)"?;', here)
    return found[1] if found and found[1] != "none" else None


def parse_generation(text: str) -> list[str]:
    """Generation identifiers - current, bitmap, history - out of `drbdadm get-gi NAME`."""
    return [part for part in text.strip().split(":") if re.fullmatch(r"[0-9A-Fa-f]{16}", part)]


def parse_uuid(wipefs: str) -> str | None:
    """The device-uuid of the DRBD metadata on a device, out of `wipefs --json`."""
    if not wipefs.strip():
        return None
    return next((item["uuid"] for item in json.loads(wipefs)["signatures"] if item["type"] == "drbd"), None)


# ------------------------------------------------------------------ configuration


def render(resource: dict[str, Any], major: int) -> str:
    """The resource's file in /etc/drbd.d, for the DRBD that the kernel has."""
    fenced = resource["fencing"] != "dont-care"
    net = {
        "protocol": resource["protocol"],
        "cram-hmac-alg": resource["hmac_alg"],
        "shared-secret": f'"{resource["secret"]}"',
        "verify-alg": resource["verify_alg"],
        "csums-alg": resource["csums_alg"],
        # Tenths of seconds and seconds: a dead peer is noticed before the cluster has fenced it, so it waits not.
        "timeout": "30",
        "ping-timeout": "10",
        "ping-int": "4",
        "connect-int": "4",
        "allow-two-primaries": "yes" if resource["two_primaries"] else "no",
        # What split is never thrown away by a rule: people decide.
        "after-sb-0pri": "disconnect",
        "after-sb-1pri": "disconnect",
        "after-sb-2pri": "disconnect",
    }
    disk = {
        "on-io-error": "detach",
        "c-plan-ahead": "20",
        "c-fill-target": "1M",
        "c-max-rate": resource["sync_max_rate"],
    }
    (net if major >= 9 else disk)["fencing"] = resource["fencing"]
    handlers = {}
    if fenced:
        handlers = {name: f'"{script}"' for name, script in HANDLERS[min(major, 9)].items()}
    if resource["split_brain_handler"]:
        handlers["split-brain"] = f'"{resource["split_brain_handler"]}"'
    lines = ["# Managed by Ansible.", f"resource {resource['name']} {{"]
    for name, section in (("net", net), ("disk", disk), ("handlers", handlers)):
        if section:
            lines += [f"  {name} {{", *(f"    {key} {value};" for key, value in section.items()), "  }"]
    for index, node in enumerate(resource["nodes"]):
        lines += [
            f"  on {node['name']} {{",
            f"    device /dev/drbd{resource['minor']} minor {resource['minor']};",
            f'    disk "{node["disk"]}";',
            f"    address {node['address']}:{resource['port']};",
            "    meta-disk internal;",
            *([f"    node-id {index};"] if major >= 9 else []),
            "  }",
        ]
    if major >= 9 and len(resource["nodes"]) > 2:
        lines += ["  connection-mesh {", f"    hosts {' '.join(n['name'] for n in resource['nodes'])};", "  }"]
    return "\n".join([*lines, "}"]) + "\n"


def mask(text: str) -> str:
    """A configuration without its secrets."""
    return SECRET.sub(rf"\1{MASK}", text)


def taken(text: str, minor: int, port: int, address: str) -> list[str]:
    """What another resource's file takes of ours: its minor number, its port."""
    found = []
    if re.search(rf"\bminor\s+{minor}\s*;|/dev/drbd{minor}\s*;", text):
        found.append(f"minor {minor}")
    if re.search(rf"\baddress\s+(ipv4\s+)?{re.escape(address)}:{port}\s*;", text):
        found.append(f"port {port}")
    return found


def listeners(tables: str, port: int) -> bool:
    """Whether somebody listens on a TCP port, out of /proc/net/tcp and tcp6."""
    return bool(re.search(rf"^\s*\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 0A ", tables, re.M))


# ------------------------------------------------------------------ decisions


def declaration_problems(resource: dict[str, Any], here: str) -> list[str]:
    """What is wrong with a resource before a look at any device."""
    name, nodes = resource["name"], resource["nodes"]
    names = [node["name"] for node in nodes]
    found = []
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        found.append(f"name {name} is no name for a resource: use letters, digits, _ and -, a letter first")
    if len(nodes) < 2 or len(set(names)) < len(names):
        found.append(f"nodes are {', '.join(names) or 'none'}; wanted two or more, each once")
    if here not in names:
        found.append(
            f"this node calls itself {here} (uname -n), but nodes are {', '.join(names)}: name them as they do"
        )
    if len({node["address"] for node in nodes}) < len(nodes):
        found.append("two nodes have the same address")
    if resource["fencing"] == "dont-care" and resource["two_primaries"]:
        found.append(
            "fencing is dont-care with two primaries, which would tear the data apart; wanted resource-and-stonith"
        )
    if '"' in resource["secret"] or "\n" in resource["secret"] or not 8 <= len(resource["secret"]) <= 63:
        found.append("secret must have 8 to 63 characters, no quotation mark, no line break")
    return found


def verdict(
    device: str, found: list[str], data_at: int | None, uuid: str | None, known: dict[str, Any], erase: bool
) -> tuple[str, str]:
    """What a device holds, and what follows: `keep` (ours), `use` (blank), `erase` or `refuse`."""
    if "drbd" in found:
        same = known.get("disk") == device and bool(uuid) and known.get("uuid") == uuid
        # Cut short between proof, metadata and note: nothing else can be on the device but what we put there.
        unfinished = known.get("disk") == device and known.get("pending") and found == ["drbd"]
        if same or unfinished:
            return "metadata of this resource", "keep"
        content = f"DRBD metadata that is not this resource's (device-uuid {uuid})"
        others = [name for name in found if name != "drbd"]
        content += f" and {', '.join(others)}" if others else ""
        return content, "erase" if erase else "refuse"
    if not found and data_at is None:
        return "blank", "use"
    content = ", ".join(found) or f"unknown data at byte {data_at}"
    return content, "erase" if erase else "refuse"


def first_sync(status: Status, generation: list[str], wanted: str) -> str:
    """What the first sync needs: `none`, `wait` (for the peer), `skip` or `source`."""
    if wanted == "none" or not status.up or status.disk_state != "Inconsistent":
        return "none"
    if not generation or generation[0] != JUST_CREATED:
        return "none"  # a sync has begun before, and DRBD ends it by itself
    if status.connection != "Connected" or status.peer_disk_state == "DUnknown":
        return "wait"
    # A peer with data is the source by DRBD's own rules.
    return wanted if status.peer_disk_state == "Inconsistent" and status.replication == "Established" else "none"


def diverged(one: list[str], other: list[str]) -> bool:
    """Whether two sides, by their generation identifiers, both went on alone.

    Neither has the other's present generation in its past, as the peer of a side that merely missed something would.
    What both come from is not asked for: a side that was forced to be primary has forgotten it.
    """

    def plain(generation: list[str]) -> list[int]:
        return [int(identifier, 16) & ~1 for identifier in generation]  # the lowest bit says: was primary

    first, second = plain(one), plain(other)
    if not first or not second or JUST_CREATED in (one[0], other[0]):
        return False
    return first[0] not in second and second[0] not in first


def usable_bytes(device_bytes: int) -> int:
    """What internal metadata leaves of a device: one bit for each 4 KiB, an activity log and a header."""
    bitmap = -(-device_bytes // 4096 // 8 // 4096) * 4096
    return (device_bytes // 4096 * 4096) - bitmap - 36 * 1024


def grows(status: Status, smallest_bytes: int) -> bool:
    """Whether the devices below have room that the resource does not use yet."""
    return bool(smallest_bytes) and status.healthy and usable_bytes(smallest_bytes) - status.size_bytes >= GROWTH


def may_verify(name: str, here: str, nodes: list[str], all_status: dict[str, Status]) -> str:
    """Why this node must not verify a resource now, or nothing. Exactly one node of a healthy resource gets nothing."""
    status = all_status.get(name, Status())
    if any(other.replication in SYNCING | VERIFYING for other in all_status.values()):
        return "a sync or verify is running"
    if not status.healthy:
        return f"not healthy: {status.connection}, {status.disk_state}, {status.peer_disk_state}"
    if status.role == status.peer_role:
        return "" if here == nodes[0] else f"{nodes[0]} does it"
    return "" if status.role == "Primary" else "the primary does it"


def metrics(all_status: dict[str, Status], split: set[str], verified: dict[str, float], names: list[str]) -> str:
    """The state in Prometheus' text format."""
    series: dict[str, tuple[str, Any]] = {
        "drbd_up": ("the kernel knows the resource", lambda n, s: int(s.up)),
        "drbd_primary": ("this node is primary", lambda n, s: int(s.role == "Primary")),
        "drbd_connected": ("the peer is connected", lambda n, s: int(s.connection == "Connected")),
        "drbd_up_to_date": ("this node's copy is good", lambda n, s: int(s.disk_state == "UpToDate")),
        "drbd_syncing": ("a sync is running", lambda n, s: int(s.replication in SYNCING)),
        "drbd_out_of_sync_bytes": (
            "how much differs between the copies, as far as known",
            lambda n, s: s.out_of_sync_bytes,
        ),
        "drbd_split_brain": ("both sides went on alone", lambda n, s: int(n in split)),
        "drbd_last_verify_seconds": (
            "when a verify that compared everything ended here",
            lambda n, s: verified.get(n, 0),
        ),
    }
    lines = []
    for metric, (text, value) in series.items():
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge"]
        lines += [f'{metric}{{resource="{n}"}} {value(n, all_status.get(n, Status())):.15g}' for n in names]
    return "\n".join(lines) + "\n"
