#!/usr/bin/python
"""Say in what state a DRBD resource is on this node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drbd_resource_info
short_description: Say in what state a DRBD resource is on this node
description:
  - Reads what the kernel says, with or without a connection to the peer. Changes nothing.
options:
  name:
    description: Name of the resource.
    type: str
    required: true
requirements: [drbd-utils]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Look at a resource
  drbd_resource_info:
    name: be1
  register: look
"""

RETURN = r"""
status:
  description: >-
    role, connection, disk_state, peer_role, peer_disk_state, replication, sync_percent, out_of_sync_bytes, size_bytes,
    written_bytes, suspended. All is Unconfigured when the resource is down.
  returned: always
  type: dict
  sample: {role: Secondary, connection: StandAlone, disk_state: UpToDate, out_of_sync_bytes: 4096}
healthy:
  description: Connected, and both copies are good.
  returned: always
  type: bool
generation:
  description: Generation identifiers of the data - current, bitmap, history.
  returned: always
  type: list
  elements: str
disk:
  description: The device below it; empty when none is attached.
  returned: always
  type: str
mounted:
  description: Where its device is mounted.
  returned: always
  type: list
  elements: str
split_brain:
  description: DRBD told a split brain here, and the sides are not connected since.
  returned: always
  type: bool
"""

from pathlib import Path

from ansible.module_utils import drbd as logic
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.drbd_kernel import Kernel


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    kernel = Kernel(module, module.params["name"])
    status = kernel.status
    if kernel.version and kernel.version[0] < 9 and status.connection != "Connected":
        known = logic.parse_out_of_sync(Path("/proc/drbd").read_text()) if status.up else {}
        status.out_of_sync_bytes = sum(known.get(minor, 0) for minor in status.minors)
    mounts = [line.split()[:2] for line in Path("/proc/self/mounts").read_text().splitlines()]
    module.exit_json(
        changed=False,
        status=status.facts(),
        healthy=status.healthy,
        generation=kernel.generation(),
        disk=(logic.parse_disk(kernel.ask("drbdsetup", "show", kernel.name)) if status.up else None) or "",
        mounted=[where for device, where in mounts if device in [f"/dev/drbd{minor}" for minor in status.minors]],
        split_brain=kernel.split(),
    )


if __name__ == "__main__":
    main()
