#!/usr/bin/python
"""Find a LUN by its WWID, wait for its paths, and follow its size."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: san_lun
short_description: Find a LUN by its WWID, wait for its paths, and follow its size
description:
  - Works over iSCSI and Fibre Channel alike, as the kernel shows both as SCSI disks. Looks for new LUNs and paths
    (a rescan) where some are missing, and waits for them.
  - A LUN that has grown on the array is followed through all layers, each path and multipath's map, while it is in use.
  - Fails with the path that is missing, and where it should come from.
options:
  wwid:
    description: The LUN's WWID as multipath writes it, such as C(36001405...).
    type: str
    required: true
  name:
    description: >-
      The name of multipath's map, which has to have this WWID. The device is C(/dev/mapper/NAME). Without one only the
      paths are looked for.
    type: str
    default: ""
  paths:
    description: How many paths it has to have.
    type: int
    default: 2
  through:
    description: The portals' addresses or the remote ports' names (WWPN) that lead to it, to tell which one does not.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for paths and map.
    type: float
    default: 30
requirements: [multipath-tools]
attributes:
  check_mode:
    support: full
    description: Neither rescans nor resizes, and waits for nothing.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: See the LUN through both fabrics
  san_lun:
    wwid: "360014050000000000000000000000001"
    name: mail
    through: [203.0.113.20, 198.18.0.20]
"""

RETURN = r"""
device:
  description: The device to use, if O(name) is given.
  returned: always
  type: str
  sample: /dev/mapper/mail
size:
  description: Its size in bytes.
  returned: always
  type: int
paths:
  description: The paths that were found.
  returned: always
  type: list
  elements: dict
  sample: [{disk: sdb, state: running, through: 203.0.113.20}]
"""

import glob
import os
import time
from pathlib import Path as File
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.fc import wwn
from ansible.module_utils.san import Path, path_problems, to_resize, wwid_of

SECTOR = 512


def text(*parts: str) -> str:
    """What a file of the kernel says; empty when it is gone."""
    try:
        return File(*parts).read_text().strip()
    except OSError:
        return ""


def through(device: str) -> str:
    """The portal's address or the remote port's name that a SCSI device is reached through."""
    for part in os.path.realpath(device).split("/"):
        if part.startswith("session"):
            return text(f"/sys/class/iscsi_connection/connection{part.removeprefix('session')}:0/persistent_address")
        if part.startswith("rport-"):
            return wwn(text(f"/sys/class/fc_remote_ports/{part}/port_name"))
    return "this host"


def paths(wwid: str) -> list[Path]:
    """All paths to a LUN."""
    found = []
    for disk in glob.glob("/sys/block/sd*"):
        device = f"{disk}/device"
        if wwid_of(text(device, "wwid")) == wwid.lower():
            size = int(text(disk, "size") or 0) * SECTOR
            found.append(Path(os.path.basename(disk), wwid.lower(), text(device, "state"), through(device), size))
    return sorted(found, key=lambda path: path.disk)


def map_wwid(name: str) -> str:
    """The WWID of a multipath map."""
    try:
        number = os.path.basename(os.path.realpath(f"/dev/mapper/{name}"))
    except OSError:
        return ""
    return text(f"/sys/block/{number}/dm/uuid").removeprefix("mpath-").lower()


def map_size(name: str) -> int:
    """The size of a map in bytes."""
    number = os.path.basename(os.path.realpath(f"/dev/mapper/{name}"))
    return int(text(f"/sys/block/{number}/size") or 0) * SECTOR


def rescan() -> None:
    """Ask every host adapter for new targets and LUNs."""
    for adapter in glob.glob("/sys/class/scsi_host/host*/scan"):
        File(adapter).write_text("- - -")


def grow(module: AnsibleModule, name: str, found: list[Path]) -> bool:
    """Follow the LUN's size; tell whether it had changed."""
    for path in found:
        if not module.check_mode:
            File(f"/sys/block/{path.disk}/device/rescan").write_text("1")
    found = paths(found[0].wwid)
    if not to_resize(found, map_size(name)):
        return False
    if not module.check_mode:
        module.run_command(["multipathd", "resize", "map", name], check_rc=True)
        if to_resize(found, map_size(name)):
            module.fail_json(
                msg=f"{name} does not take the size of its paths, {found[0].size} bytes: multipathd resize map"
            )
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "wwid": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "paths": {"type": "int", "default": 2},
            "through": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    wwid, name = given["wwid"].lower(), given["name"]
    ways = [wwn(way) for way in given["through"]]
    deadline = time.monotonic() + (0 if module.check_mode else given["timeout"])
    scanned = False
    while True:
        found = paths(wwid)
        problems = path_problems(wwid, found, given["paths"], ways)
        if problems and not scanned and not module.check_mode:
            rescan()
            scanned = True
            continue
        if not problems and name and (has := map_wwid(name)) != wwid:
            problems.append(f"/dev/mapper/{name} is {has or 'not there'}; wanted multipath's map of {wwid}")
        if not problems or time.monotonic() > deadline:
            break
        time.sleep(1)
    if problems:
        module.fail_json(msg="; ".join(problems))
    module.exit_json(
        changed=bool(name) and grow(module, name, found),
        device=f"/dev/mapper/{name}" if name else "",
        size=map_size(name) if name else found[0].size,
        paths=[{"disk": path.disk, "state": path.state, "through": path.through} for path in found],
    )


if __name__ == "__main__":
    main()
