#!/usr/bin/python
"""Make a GFS2 where nothing is, give it journals for all nodes, and grow it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: gfs2_filesystem
short_description: Make a GFS2 where nothing is, give it journals for all nodes, and grow it
description:
  - Makes a file system only on a device that is blank (see M(device_content)). One of this cluster by this name is
    kept. Anything else is refused with what was found, also a GFS2 whose lock table is another cluster's.
  - A file system that is mounted on this node gets missing journals, and grows to its device's size, while all nodes
    use it. gfs2-utils do neither unmounted; then missing journals are an error, and growth is told of.
  - Run it on one node of the cluster, on one that has the file system mounted if any has.
options:
  device:
    description: The device, by a stable name such as those in C(/dev/disk/by-id) or C(/dev/drbd).
    type: path
    required: true
  cluster:
    description: Name of the cluster, as corosync has it. First half of the lock table.
    type: str
    required: true
  name:
    description: Name of the file system, different from all others of the cluster. Second half of the lock table.
    type: str
    required: true
  journals:
    description: How many journals it has at least; every node that mounts needs one. None is ever removed.
    type: int
    required: true
  journal_size:
    description: MiB of each journal of a new file system, 32 to 1024. Those added later are as big as the biggest.
    type: int
    default: 128
  erase:
    description: >-
      Devices whose content may be lost; it counts if it has O(device), written in the same way. Not needed for a blank
      device, and of no effect on one that holds this file system already.
    type: list
    elements: path
    default: []
  erase_variable:
    description: The variable behind O(erase), for the message that refuses a device.
    type: str
    default: erase
requirements: [gfs2-utils (not for check mode on a device without the file system), util-linux]
attributes:
  check_mode:
    support: full
    description: Says what it would do. Works before gfs2-utils is installed, and then does not look at journals.
  diff_mode:
    support: full
    description: Shows the file system before and after.
author: Dovecluster
"""

EXAMPLES = r"""
- name: A file system for mail on a LUN
  gfs2_filesystem:
    device: /dev/mapper/mail
    cluster: pod_a
    name: mail
    journals: 3
  run_once: true

- name: Make it where an old one was
  gfs2_filesystem:
    device: /dev/mapper/mail
    cluster: pod_a
    name: mail
    journals: 3
    erase: [/dev/mapper/mail]
  run_once: true
"""

RETURN = r"""
uuid:
  description: UUID of the file system; empty in check mode when it would be made.
  returned: always
  type: str
lock_table:
  description: Its lock table.
  returned: always
  type: str
  sample: pod_a:mail
journals:
  description: How many journals it has.
  returned: always
  type: int
journal_sizes:
  description: Size of each journal in MiB; empty in check mode without gfs2-utils.
  returned: always
  type: list
  elements: int
size:
  description: Bytes of the device that the file system uses; in check mode as it would be, about.
  returned: always
  type: int
device_size:
  description: Bytes of the device.
  returned: always
  type: int
mounted:
  description: Where it is mounted on this node; empty if it is not.
  returned: always
  type: str
waits:
  description: What has to be done yet, and needs the file system mounted.
  returned: always
  type: list
  elements: str
"""

import os
import shutil
import stat

from ansible.module_utils import gfs2 as logic
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.devices import Device, holds, refusal, verdict

TOOLS = ("mkfs.gfs2", "gfs2_edit", "gfs2_jadd", "gfs2_grow")


class Host:
    """The commands that look at a device and change it."""

    def __init__(self, module: AnsibleModule, device: str) -> None:
        """Remember the module, for its commands and errors."""
        self.module = module
        self.device = device
        self.tools = all(shutil.which(tool) for tool in TOOLS)

    def output(self, argv: list[str], text: str = "") -> str:
        """What a command prints; it has to succeed."""
        code, out, err = self.module.run_command(argv, data=text)
        if code != 0:
            self.module.fail_json(msg=f"{' '.join(argv)} failed ({code}): {(err.strip() or out.strip())}")
        return out

    def mountpoint(self) -> str | None:
        """Where the device is mounted on this node."""
        number = os.stat(self.device).st_rdev
        mounts = self.output(["findmnt", "--json", "--list", "--output", "MAJ:MIN,TARGET,FSTYPE"])
        return logic.mountpoint(mounts, f"{os.major(number)}:{os.minor(number)}")

    def superblock(self) -> logic.Superblock:
        """The superblock, read past the cache, as another node may have written it."""
        device = Device(self.device)
        try:
            found = logic.parse_superblock(device.read(logic.SUPERBLOCK_AT, logic.SUPERBLOCK_LENGTH))
        finally:
            os.close(device.handle)
        if found is None:
            self.module.fail_json(msg=f"{self.device} has no superblock of a GFS2 where one has to be")
        return found

    def size(self) -> int:
        """Bytes of the device."""
        device = Device(self.device)
        os.close(device.handle)
        return device.size

    def read(self, superblock: logic.Superblock, mountpoint: str | None) -> logic.Found:
        """All that there is to know of the file system. Its blocks are read past the cache (gfs2_edit does so)."""
        device_size = self.size()
        if not self.tools:
            return logic.Found(superblock, (), device_size, device_size, mountpoint)
        journals = logic.parse_journals(self.output(["gfs2_edit", "-p", "journals", self.device]))
        blocks = logic.parse_blocks(self.output(["gfs2_edit", "-p", "rindex", self.device]))
        size = blocks * superblock.block_size
        growth = logic.unmounted_growth(size, device_size)
        if mountpoint:
            _code, out, err = self.module.run_command(["gfs2_grow", "-T", mountpoint])
            growth = logic.parse_growth(out + err)
        return logic.Found(superblock, journals, size, device_size, mountpoint, growth)

    def make(self, wanted: logic.Wanted, erase: bool) -> None:
        """Make the file system. Without -O mkfs.gfs2 asks a person, also on a blank device; run() has looked."""
        device = Device(self.device)
        os.close(device.handle)
        if erase:
            device.erase()
        argv = ["mkfs.gfs2", "-O", "-K", "-p", "lock_dlm", "-t", wanted.table, "-j", str(wanted.journals)]
        self.output([*argv, "-J", str(wanted.journal_size), self.device])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "path", "required": True},
            "cluster": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "journals": {"type": "int", "required": True},
            "journal_size": {"type": "int", "default": 128},
            "erase": {"type": "list", "elements": "path", "default": []},
            "erase_variable": {"type": "str", "default": "erase"},
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted = logic.Wanted(*(given[key] for key in ("device", "cluster", "name", "journals", "journal_size")))
    host = Host(module, wanted.device)
    refuse(module, logic.declaration_problems(wanted))
    if not host.tools and not module.check_mode:
        refuse(module, [f"one of {', '.join(TOOLS)} is missing: install gfs2-utils"])
    try:
        if not stat.S_ISBLK(os.stat(wanted.device).st_mode):
            refuse(module, [f"{wanted.device} is no block device"])
        run(module, host, wanted)
    except OSError as error:
        refuse(module, [f"{wanted.device} cannot be used: {error.strerror or error}; wanted a free block device"])
    except ValueError as error:
        module.fail_json(msg=str(error))


def run(module: AnsibleModule, host: Host, wanted: logic.Wanted) -> None:
    """Look, decide, do, and leave the module."""
    erase, variable = module.params["erase"], module.params["erase_variable"]
    mountpoint = host.mountpoint()
    structures, data_at = holds(wanted.device, host.output)
    content, action = verdict(wanted.device, structures, data_at, ["gfs2"], erase)
    before = None
    if action == "refuse":
        refuse(module, [refusal(wanted.device, content, [f"the GFS2 {wanted.table}"], variable)])
    if action == "keep":
        superblock = host.superblock()
        content = f"gfs2, lock table {superblock.table}"
        problem = logic.identity_problem(wanted, superblock)
        if superblock.table != wanted.table and wanted.device in erase:
            action = "erase"
        elif superblock.table != wanted.table:
            refuse(module, [f"{problem}. If it may be lost, name {wanted.device} in {variable}"])
        else:
            refuse(module, [problem])
            before = host.read(superblock, mountpoint)
    if before:
        keep(module, host, wanted, before)
    if mountpoint:
        refuse(module, [f"{wanted.device} ({content}) is mounted on {mountpoint}; it is not erased while it is"])
    refuse(module, [logic.space_problem(wanted, host.size())])
    os.close(Device(wanted.device).claim())
    made = logic.Superblock("lock_dlm", wanted.table, "", 4096)
    sizes = (wanted.journal_size,) * wanted.journals
    result = logic.Found(made, sizes, host.size(), host.size())
    if not module.check_mode:
        host.make(wanted, action == "erase")
        result = host.read(host.superblock(), None)
    leave(module, wanted, None, result, content)


def keep(module: AnsibleModule, host: Host, wanted: logic.Wanted, before: logic.Found) -> None:
    """Bring a file system that is ours to its declaration."""
    if not host.tools:  # check mode
        leave(module, wanted, before, before)
    todo = logic.plan(wanted, before)
    refuse(module, todo.problems)
    result = logic.after(wanted, before, todo)
    if not module.check_mode and result != before and before.mountpoint:
        # Room first: journals take theirs.
        if todo.grow:
            host.output(["gfs2_grow", before.mountpoint])
        if todo.add_journals:
            count, size = str(todo.add_journals), str(todo.add_journal_size)
            host.output(["gfs2_jadd", "-j", count, "-J", size, before.mountpoint])
        result = host.read(before.superblock, before.mountpoint)
        if len(result.journal_sizes) < wanted.journals:
            module.fail_json(
                msg=f"{wanted.device}: {len(result.journal_sizes)} journals after gfs2_jadd; wanted {wanted.journals}"
            )
    leave(module, wanted, before, result, waits=todo.waits)


def leave(
    module: AnsibleModule,
    wanted: logic.Wanted,
    before: logic.Found | None,
    result: logic.Found,
    content: str = "",
    waits: tuple[str, ...] = (),
) -> None:
    """Say what there is and leave the module."""
    for wait in waits:
        module.warn(wait)
    texts = {
        "before": logic.listing(wanted.device, before, content),
        "after": logic.listing(wanted.device, result, content),
    }
    module.exit_json(changed=texts["before"] != texts["after"], diff=texts, waits=list(waits), **logic.describe(result))


def refuse(module: AnsibleModule, problems: list[str | None] | list[str] | tuple[str, ...]) -> None:
    """Report problems, if any; nothing has changed."""
    found = [problem for problem in problems if problem]
    if found:
        module.fail_json(msg="; ".join(found) + ". Nothing was changed")


if __name__ == "__main__":
    main()
