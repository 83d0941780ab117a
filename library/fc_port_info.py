#!/usr/bin/python
"""Say which Fibre Channel ports this host has, and what they see."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: fc_port_info
short_description: Say which Fibre Channel ports this host has, and what they see
description:
  - Reads what the kernel says of every adapter alike, software FCoE too. Changes nothing.
  - Waits for ports, and for those of an array, where it is told what is wanted; fails with what is missing and what to
    do.
options:
  ports:
    description: How many ports have to be Online.
    type: int
    default: 0
  targets:
    description: WWPNs of the array's ports. Each has to be seen, as a target, by at least one port of this host.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for them.
    type: float
    default: 0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: See what is to be zoned
  fc_port_info:
  register: look

- name: Wait for both ports of the array
  fc_port_info:
    ports: 2
    targets: ["50:06:01:60:3b:20:10:aa", "50:06:01:68:3b:20:10:aa"]
    timeout: 30
"""

RETURN = r"""
ports:
  description: This host's ports. A fabric without a name is none, as when ports are joined without a switch.
  returned: always
  type: list
  elements: dict
  sample:
    - host: host2
      wwpn: 20:00:00:25:b5:00:00:1a
      state: Online
      speed: 16 Gbit
      fabric: 10:00:00:05:1e:7a:7b:8c
      name: lpfc
      remotes: [{wwpn: 50:06:01:60:3b:20:10:aa, state: Online, roles: FCP Target}]
wwpns:
  description: Their names, which are to be zoned with the array's.
  returned: always
  type: list
  elements: str
  sample: [20:00:00:25:b5:00:00:1a]
silent:
  description: Those that are Online and see none of O(targets) as a target.
  returned: always
  type: list
  elements: str
  sample: [host2]
"""

import time
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.fc import Port, Remote, fabric, problems, silent, wwn

SYS = Path("/sys/class")


def text(path: Path) -> str:
    """What a file of the kernel says; empty when it is gone."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def remotes(host: str, root: Path) -> tuple[Remote, ...]:
    """What a port sees."""
    number = host.removeprefix("host")
    return tuple(
        Remote(wwn(text(path / "port_name")), text(path / "port_state"), text(path / "roles"))
        for path in sorted(root.glob(f"fc_remote_ports/rport-{number}:*"))
    )


def look(root: Path = SYS) -> list[Port]:
    """All ports of this host."""
    return [
        Port(
            path.name,
            wwn(text(path / "port_name")),
            text(path / "port_state"),
            text(path / "speed"),
            fabric(text(path / "fabric_name")),
            text(path / "symbolic_name") or text(root / "scsi_host" / path.name / "proc_name"),
            remotes(path.name, root),
        )
        for path in sorted(root.glob("fc_host/host*"), key=lambda path: int(path.name.removeprefix("host")))
    ]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "int", "default": 0},
            "targets": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    given = module.params
    deadline = time.monotonic() + given["timeout"]
    while (missing := problems(found := look(), given["ports"], given["targets"])) and time.monotonic() < deadline:
        time.sleep(1)
    result = {
        "ports": [asdict(port) for port in found],
        "wwpns": [port.wwpn for port in found],
        "silent": silent(found, given["targets"]),
    }
    if missing:
        module.fail_json(msg="; ".join(missing), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
