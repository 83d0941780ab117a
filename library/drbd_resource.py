#!/usr/bin/python
"""Declare a DRBD resource on this node, without ever destroying data."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drbd_resource
short_description: Declare a DRBD resource on this node, without ever destroying data
description:
  - Writes C(/etc/drbd.d/NAME.res), creates metadata, brings it up and adjusts it. Run it on each of its nodes.
  - Metadata is created only on a device that is blank, as M(device_content) defines it. A device with this resource's
    own metadata is kept; the metadata's device-uuid is noted in C(/var/lib/dovecluster/drbd). Anything else is refused.
  - It never promotes a resource, except for the moment that O(first_sync=source) needs. What Pacemaker manages it
    never brings up.
  - All problems are reported together, and then nothing is changed. Works with the DRBD that the kernel has, 8.4 or 9.
options:
  name:
    description: Name of the resource.
    type: str
    required: true
  minor:
    description: Number of its device, C(/dev/drbdMINOR).
    type: int
    required: true
  port:
    description: TCP port of its connection.
    type: int
    required: true
  nodes:
    description: All nodes, in the same order everywhere.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name as C(uname -n) says it.
        type: str
        required: true
      address:
        description: Address in the replication network.
        type: str
        required: true
      disk:
        description: The device that holds the data.
        type: path
        required: true
  secret:
    description: Shared secret of the nodes, 8 to 63 characters.
    type: str
    required: true
  protocol:
    description: When a write counts as done. Only C means on both nodes.
    type: str
    choices: [A, B, C]
    default: C
  fencing:
    description: What happens to a peer that does not answer. All but dont-care use Pacemaker's handlers.
    type: str
    choices: [dont-care, resource-only, resource-and-stonith]
    default: resource-and-stonith
  two_primaries:
    description: Both nodes may be primary at a time, as a cluster file system needs it.
    type: bool
    default: false
  hmac_alg:
    description: How peers prove that they know the secret.
    type: str
    default: sha256
  verify_alg:
    description: Checksum of the online verify.
    type: str
    default: crc32c
  csums_alg:
    description: Checksum by which a resync leaves out blocks that are equal.
    type: str
    default: sha256
  sync_max_rate:
    description: Most that a resync may use, in DRBD's units a second.
    type: str
    default: 100M
  split_brain_handler:
    description: Program to run when a split brain is detected.
    type: str
    default: ""
  erase:
    description: The disk of this node in O(nodes), if its content may be lost. Its ends are overwritten with zeros.
    type: list
    elements: path
    default: []
  erase_variable:
    description: The variable behind O(erase), for messages.
    type: str
    default: erase
  first_sync:
    description:
      - C(skip) declares devices equal that were all blank (RV(blank)), C(source) copies this node's device.
      - Does something only once, when no side has data. For one node.
    type: str
    choices: [none, skip, source]
    default: none
  smallest_bytes:
    description: Smallest RV(device_bytes) of all nodes. The resource grows online when that leaves room. For one node.
    type: int
    default: 0
  wait_seconds:
    description: How long to wait for the peer before the first sync.
    type: int
    default: 60
requirements: [drbd-utils]
attributes:
  check_mode:
    support: full
    description: Says in RV(actions) what it would do. Needs no drbd-utils.
  diff_mode:
    support: full
    description: Shows the configuration, without the secret.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Replicate a disk
  drbd_resource:
    name: mail
    minor: 0
    port: 7788
    nodes:
      - {name: mail1, address: 198.51.100.1, disk: /dev/vg0/mail}
      - {name: mail2, address: 198.51.100.2, disk: /dev/vg0/mail}
    secret: "{{ drbd_secret }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be.
  returned: always
  type: list
  elements: str
problems:
  description: Why nothing was done.
  returned: on failure
  type: list
  elements: str
status:
  description: >-
    role, connection, disk_state, peer_role, peer_disk_state, replication, sync_percent, out_of_sync_bytes, size_bytes,
    written_bytes, suspended.
  returned: success
  type: dict
  sample: {role: Secondary, connection: Connected, disk_state: UpToDate, out_of_sync_bytes: 0}
generation:
  description: Generation identifiers of the data - current, bitmap, history.
  returned: success
  type: list
  elements: str
content:
  description: Structures on this node's disk, C(drbd) and a file system for example.
  returned: always
  type: list
  elements: str
blank:
  description: Metadata was put onto a blank device that nobody has written to before.
  returned: always
  type: bool
fresh:
  description: The metadata is not made yet, or has never been in use.
  returned: always
  type: bool
split_brain:
  description: Both sides went on alone.
  returned: always
  type: bool
device_bytes:
  description: Size of this node's disk.
  returned: always
  type: int
version:
  description: The kernel's DRBD, major and minor.
  returned: always
  type: list
  elements: int
managed_by_pacemaker:
  description: Pacemaker brings it up and down.
  returned: always
  type: bool
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.module_utils import drbd as logic
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.devices import Device, first_data, parse_wipefs, structures
from ansible.module_utils.drbd_kernel import NOTES, Kernel

CONFIGURATION = Path("/etc/drbd.d")


class Node(Kernel):
    """This node and one resource on it."""

    status: logic.Status

    def __init__(self, module: AnsibleModule) -> None:
        """Read what is, change nothing."""
        super().__init__(module, module.params["name"])
        self.given: dict[str, Any] = module.params
        self.here = os.uname().nodename
        self.mine = next((node for node in self.given["nodes"] if node["name"] == self.here), None)
        self.file = CONFIGURATION / f"{self.name}.res"
        self.note = NOTES / f"{self.name}.json"
        self.known: dict[str, Any] = json.loads(self.note.read_text()) if self.note.exists() else {}
        self.actions: list[str] = []
        self.content: list[str] = []
        self.uuid: str | None = None
        self.device_bytes = 0
        self.problems = logic.declaration_problems(self.given, self.here)

    # ------------------------------------------------------------------ what is wrong

    def look(self) -> str:
        """Find all problems; say what the disk needs: keep, use or erase."""
        if self.version is None:
            self.problems.append(
                "the kernel has no DRBD (modinfo drbd); wanted one that has, such as linux-image-amd64's"
            )
        else:
            self.problems += [
                f"{option} is {self.given[option]}, which this kernel does not have"
                for option in ("hmac_alg", "verify_alg", "csums_alg")
                if not self.has_algorithm(self.given[option])
            ]
        if self.split():
            self.problems.append(
                "split brain: both sides went on alone and are not connected again."
                " Nothing is thrown away by itself: playbooks/split_brain.yml shows what differs, saves it and"
                " gives one side up"
            )
        if self.mine is None:
            return "keep"
        self.look_at_network()
        return self.look_at_disk()

    def has_algorithm(self, name: str) -> bool:
        """Whether the kernel has a hash, loaded or as a module."""
        if f": {name}\n" in Path("/proc/crypto").read_text():
            return True
        return (
            any(self.ask("modprobe", "--dry-run", "--verbose", alias) for alias in (f"crypto-{name}", name))
            or (Path("/sys/module") / name).exists()
        )

    def look_at_network(self) -> None:
        """Address, port and minor are ours to use."""
        assert self.mine is not None
        address, port, minor = self.mine["address"], self.given["port"], self.given["minor"]
        if f" {address}/" not in self.ask("ip", "-oneline", "address"):
            self.problems.append(f"address {address} is not one of this node's; give {self.here} its own")
        others = [path for path in CONFIGURATION.glob("*.res") if path != self.file]
        for path in others:
            for what in logic.taken(path.read_text(), minor, port, address):
                self.problems.append(f"{what} is taken by {path}; give each resource its own")
        for name, status in self.all_status().items():
            if name != self.name and minor in status.minors:
                self.problems.append(f"minor {minor} is taken by resource {name}, which is up")
        tables = "".join(path.read_text() for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists())
        if not self.status.up and logic.listeners(tables, port):
            who = self.ask("ss", "-Hltnp", f"sport = :{port}").strip()
            self.problems.append(f"port {port} is in use ({who or 'by the kernel'}); choose a free one")

    def look_at_disk(self) -> str:
        """What is on the disk, and what follows."""
        assert self.mine is not None
        path, erase = self.mine["disk"], self.given["erase"]
        action = "keep"
        try:
            device = Device(path)
            self.device_bytes = device.size
            wipefs = self.run("wipefs", "--json", "--no-act", path)
            self.content = parse_wipefs(wipefs)
            attached = logic.parse_disk(self.ask("drbdsetup", "show", self.name)) if self.status.up else None
            if attached and os.path.realpath(attached) == os.path.realpath(path):
                self.uuid = logic.parse_uuid(wipefs)
                return "keep"
            if device.size < logic.MIN_BYTES:
                self.problems.append(
                    f"{path} has {device.size} bytes; wanted {logic.MIN_BYTES} or more: choose a larger device"
                )
            found = structures(device.read(0, min(512, device.size)), wipefs)
            data_at = None if found else first_data(device.size, device.read)
            self.uuid = logic.parse_uuid(wipefs)
            held, action = logic.verdict(path, found, data_at, self.uuid, self.known, path in erase)
            if attached:
                self.problems.append(
                    f"{attached} is attached to {self.name}; wanted {path}. To change disks: drbdadm detach {self.name}"
                )
            if action == "refuse":
                self.problems.append(
                    f"{path} holds {held}; wanted a blank device or this resource's own metadata."
                    f" If that may be lost, name {path} in {self.given['erase_variable']}"
                )
            os.close(device.claim())
        except OSError as error:
            self.problems.append(
                f"{path} cannot be used: {error.strerror or error}; wanted a free block device (unmounted, in no use)"
            )
        return action

    # ------------------------------------------------------------------ what is done

    def act(self, text: str, *argv: str) -> None:
        """Note an action; do it unless in check mode."""
        self.actions.append(text)
        if argv and not self.module.check_mode:
            self.run(*argv)

    def remember(self, **values: Any) -> None:
        """Write the note, whole or not at all."""
        if self.module.check_mode:
            return
        NOTES.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.known = {**self.known, **values}
        new = self.note.with_suffix(".new")
        new.write_text(json.dumps(self.known))
        new.replace(self.note)

    def configure(self, text: str) -> str:
        """Write the file, after DRBD's own tools have read it; give what was there before."""
        before = self.file.read_text() if self.file.exists() else ""
        if before != text or (before and self.file.stat().st_mode & 0o777 != 0o600):
            self.actions.append(f"write {self.file}")
            if not self.module.check_mode:
                new = self.file.with_suffix(".new")
                new.touch(mode=0o600)
                new.chmod(0o600)
                new.write_text(text)
                self.run("drbdadm", "--config-file", str(new), "dump", self.name)
                new.replace(self.file)
        return before

    def prepare(self, action: str) -> None:
        """Put metadata onto a disk that was proved blank, or may be erased."""
        assert self.mine is not None
        disk = self.mine["disk"]
        if action == "keep":
            if self.uuid and self.uuid != self.known.get("uuid"):
                self.remember(disk=disk, uuid=self.uuid, pending=False)
            return
        if action == "erase":
            self.act(f"erase {disk}")
            if not self.module.check_mode:
                Device(disk).erase()
        self.remember(disk=disk, pending=True, uuid=None, blank=action == "use")
        # No --force: drbdmeta looks for data too, and refuses where it would have to ask.
        self.act(f"create metadata on {disk}", "drbdadm", "create-md", self.name)
        if not self.module.check_mode:
            self.uuid = logic.parse_uuid(self.run("wipefs", "--json", "--no-act", disk))
            self.remember(pending=False, uuid=self.uuid)

    def bring_up(self, pacemaker: bool) -> None:
        """Bring it up, or let the kernel follow the file."""
        if not self.status.up:
            if not pacemaker:
                self.act("bring up", "drbdadm", "up", self.name)
        elif self.module.check_mode:
            if any(action.startswith("write") for action in self.actions):
                self.actions.append("adjust")
        elif self.run("drbdadm", "--dry-run", "adjust", self.name).strip():
            self.act("adjust", "drbdadm", "adjust", self.name)
        if not self.module.check_mode:
            self.status = self.read_status()

    def sync_first(self) -> None:
        """Skip the first sync, or begin it here."""
        wanted = self.given["first_sync"]
        until = time.monotonic() + self.given["wait_seconds"]
        while (what := logic.first_sync(self.status, self.generation(), wanted)) == "wait":
            if self.module.check_mode:
                return
            if time.monotonic() > until:
                self.module.fail_json(
                    msg=f"{self.name}: the peer did not connect within {self.given['wait_seconds']} s"
                )
            time.sleep(0.5)
            self.status = self.read_status()
        if what == "skip":
            self.act("skip the first sync", "drbdadm", "new-current-uuid", "--clear-bitmap", f"{self.name}/0")
        elif what == "source":
            self.act("begin the first sync from here", "drbdadm", "primary", "--force", self.name)
            if not self.module.check_mode:
                self.run("drbdadm", "secondary", self.name)

    def grow(self) -> None:
        """Use what the disks have gained."""
        if logic.grows(self.status, self.given["smallest_bytes"]):
            self.act("grow", "drbdadm", "resize", self.name)

    def facts(self) -> dict[str, Any]:
        """What is returned in any case."""
        generation = self.generation()
        return {
            "content": self.content,
            "blank": bool(self.known.get("blank")),
            "fresh": generation[0] == logic.JUST_CREATED if generation else not self.known.get("uuid"),
            "generation": generation,
            "split_brain": self.split(),
            "device_bytes": self.device_bytes,
            "version": self.version or [],
            "managed_by_pacemaker": self.by_pacemaker(),
            "status": self.status.facts(),
        }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "minor": {"type": "int", "required": True},
            "port": {"type": "int", "required": True},
            "nodes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "disk": {"type": "path", "required": True},
                },
            },
            "secret": {"type": "str", "required": True, "no_log": True},
            "protocol": {"type": "str", "choices": ["A", "B", "C"], "default": "C"},
            "fencing": {
                "type": "str",
                "choices": ["dont-care", "resource-only", "resource-and-stonith"],
                "default": "resource-and-stonith",
            },
            "two_primaries": {"type": "bool", "default": False},
            "hmac_alg": {"type": "str", "default": "sha256"},
            "verify_alg": {"type": "str", "default": "crc32c"},
            "csums_alg": {"type": "str", "default": "sha256"},
            "sync_max_rate": {"type": "str", "default": "100M"},
            "split_brain_handler": {"type": "str", "default": ""},
            "erase": {"type": "list", "elements": "path", "default": []},
            "erase_variable": {"type": "str", "default": "erase"},
            "first_sync": {"type": "str", "choices": ["none", "skip", "source"], "default": "none"},
            "smallest_bytes": {"type": "int", "default": 0},
            "wait_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    node = Node(module)
    action = node.look()
    if node.problems:
        module.fail_json(
            msg=f"{node.name}: " + "; ".join(node.problems) + ". Nothing was changed",
            problems=[f"{node.name}: {problem}" for problem in node.problems],
            **node.facts(),
        )
    assert node.version is not None
    if not module.check_mode:
        node.run("modprobe", "drbd")
    text = logic.render(node.given, node.version[0])
    before = node.configure(text)
    node.prepare(action)
    node.bring_up(node.by_pacemaker())
    node.sync_first()
    node.grow()
    if node.actions and not module.check_mode:
        node.status = node.read_status()
    module.exit_json(
        changed=bool(node.actions),
        actions=node.actions,
        diff={"before": logic.mask(before), "after": logic.mask(text)},
        **node.facts(),
    )


if __name__ == "__main__":
    main()
