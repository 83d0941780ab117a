#!/usr/bin/python
"""Prove that a cluster's fencing is configured, enabled, and answers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: fencing_check
short_description: Prove that a cluster's fencing is configured, enabled, and answers
description:
  - To be asked before anything that loses data when a failed node goes on writing, such as a file system that
    several nodes mount. Looks at what is to be declared over what the live cluster has, if Pacemaker runs on this node.
  - Fencing has to be enabled, and some device has to be there for every node, or a watchdog.
  - Every device is then asked by this node, by the action monitor of its agent. For sbd the watchdog is looked at - its
    guardian has it open on a node that runs Pacemaker, and starts with the cluster on one that does not yet.
  - Changes nothing and kills nobody. All problems are reported together.
options:
  nodes:
    description: Names of all nodes of the cluster.
    type: list
    elements: str
    required: true
  resources:
    description: Resources that are to be declared, as for M(pacemaker_cib); fence devices among them count.
    type: list
    elements: dict
    default: []
  properties:
    description: Cluster properties that are to be declared.
    type: dict
    default: {}
  timeout:
    description: Seconds that a device has to answer.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: The same.
  diff_mode:
    support: none
    description: Nothing changes.
author: Dovecluster
"""

EXAMPLES = r"""
- name: A node that fails will be killed
  fencing_check:
    nodes: [mail1, mail2]
    resources: "{{ fencing_resources }}"
    properties: "{{ fencing_properties }}"
"""

RETURN = r"""
devices:
  description: Fence devices that answered.
  returned: success
  type: list
  elements: str
watchdog:
  description: Whether a node's own watchdog kills it, alone or by a pill on a disk.
  returned: success
  type: bool
"""

import glob
import os
import re
import subprocess
from typing import Any

from ansible.module_utils import cib, fencing
from ansible.module_utils.basic import AnsibleModule


def output(*argv: str) -> str | None:
    """What a command prints, or nothing when it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def live_configuration() -> str | None:
    """The cluster's configuration, if Pacemaker runs on this node."""
    if output("systemctl", "is-active", "pacemaker") is None:
        return None
    return output("cibadmin", "--query")


def ask(name: str, device: dict[str, Any], timeout: int) -> str | None:
    """Ask a device, and say what is wrong with it."""
    try:
        done = subprocess.run(
            [f"/usr/sbin/{os.path.basename(device['agent'])}"],
            input=fencing.question(device["options"]),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError:
        return f"fence device {name}: its agent {device['agent']} is not installed on this node"
    except subprocess.TimeoutExpired:
        return f"fence device {name} ({device['agent']}) has not answered this node in {timeout} s"
    if done.returncode == 0:
        return None
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"fence device {name} ({device['agent']}) does not answer this node: {said[-1] if said else 'no word'}"


def watchdog_problem() -> str | None:
    """What is wrong with sbd and its watchdog."""
    try:
        with open("/etc/default/sbd", encoding="utf-8") as file:
            setting = re.search(r"^SBD_WATCHDOG_DEV=[\"']?([^\"'\n]*)", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return "sbd is not installed, which keeps the watchdog"
    watchdog = setting.group(1) if setting else "/dev/watchdog"
    if output("systemctl", "is-active", "sbd"):
        held = [os.path.realpath(link) for pid in (output("pidof", "sbd") or "").split() for link in links(pid)]
        return None if os.path.realpath(watchdog) in held else f"sbd runs, and has not opened {watchdog}"
    if output("systemctl", "is-active", "pacemaker"):
        return "pacemaker runs without sbd, which keeps the watchdog: restart the cluster on this node"
    if not output("systemctl", "is-enabled", "sbd"):
        return "sbd is not enabled, so it would not start with the cluster"
    return None if os.path.exists(watchdog) else f"the watchdog {watchdog} is not there"


def links(pid: str) -> list[str]:
    """What a process has open."""
    return glob.glob(f"/proc/{pid}/fd/*")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "resources": {"type": "list", "elements": "dict", "default": []},
            "properties": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    given = module.params
    # Ansible shows a task's options with -vvv: passwords are masked there too.
    module.no_log_values.update(cib.secrets(cib.Declaration(resources=given["resources"])))
    found = fencing.read(live_configuration(), given["resources"], given["properties"])
    problems: list[str | None] = list(fencing.problems(found, given["nodes"]))
    problems += [ask(name, device, given["timeout"]) for name, device in sorted(found.devices.items())]
    if found.needs_watchdog:
        problems.append(watchdog_problem())
    if any(problems):
        module.fail_json(msg="this cluster's fencing does not work: " + "; ".join(filter(None, problems)))
    module.exit_json(changed=False, devices=sorted(found.devices), watchdog=found.needs_watchdog)


if __name__ == "__main__":
    main()
