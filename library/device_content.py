#!/usr/bin/python
"""Tell what block devices hold, and refuse what may be somebody's data."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: device_content
short_description: Tell what block devices hold, and refuse what may be somebody's data
description:
  - To be asked before anything writes a new structure onto a device. A device passes when it is blank, or when it
    holds one of the structures in O(accept). Anything else fails, also data that no tool knows.
  - Blank means that the first and last 16 MiB and samples of all that is between read as zeros. No free device of
    that kind has a signature, whatever tool wrote it, as all known ones are at one of the ends.
  - Problems of all devices are reported together, and then nothing is changed.
options:
  devices:
    description: The devices, by stable names such as those in C(/dev/disk/by-id).
    type: list
    elements: path
    required: true
  accept:
    description:
      - Structures that may be there, as C(wipefs) names them (C(gfs2), C(drbd), C(LVM2_member)), and C(sbd).
        They are left as they are, also when O(erase) names the device.
    type: list
    elements: str
    default: []
  erase:
    description: >-
      Those of O(devices), written in the same way, whose content may be lost. The first and last 16 MiB are overwritten
      with zeros, unless the device is blank or holds what is accepted.
    type: list
    elements: path
    default: []
  erase_variable:
    description: The variable behind O(erase), for the message that refuses a device.
    type: str
    default: erase
attributes:
  check_mode:
    support: full
    description: Erases nothing, says what it would erase.
  diff_mode:
    support: full
    description: Shows what each device holds, before and after.
author: Dovecluster
"""

EXAMPLES = r"""
- name: The disk is blank or SBD's
  device_content:
    devices: [/dev/disk/by-id/wwn-0x600140500000001]
    accept: [sbd]
  register: disks

- name: Write a header where there is none
  ansible.builtin.command:
    argv: [sbd, -d, "{{ item }}", create]
  loop: "{{ disks.blank }}"
  changed_when: true
"""

RETURN = r"""
content:
  description: What each device holds - C(blank), or names of structures. An erased device is blank.
  returned: always
  type: dict
  sample: {/dev/disk/by-id/wwn-0x600140500000001: sbd}
blank:
  description: Devices that are blank, in the order of O(devices). A structure may be written onto these.
  returned: always
  type: list
  elements: str
erased:
  description: Devices that were erased.
  returned: always
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.devices import BLANK, Device, holds, refusal, verdict


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "path", "required": True},
            "accept": {"type": "list", "elements": "str", "default": []},
            "erase": {"type": "list", "elements": "path", "default": []},
            "erase_variable": {"type": "str", "default": "erase"},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    before: dict[str, str] = {}
    actions: dict[str, str] = {}
    problems: list[str] = []
    for path in given["devices"]:
        try:
            found, data_at = holds(path, lambda argv: module.run_command(argv, check_rc=True)[1])
            before[path], actions[path] = verdict(path, found, data_at, given["accept"], given["erase"])
            if actions[path] == "refuse":
                problems.append(refusal(path, before[path], given["accept"], given["erase_variable"]))
            elif actions[path] != "keep":
                os.close(Device(path).claim())
        except OSError as error:
            problems.append(f"{path} cannot be used: {error.strerror or error}; wanted a free block device")
    problems += [
        f"{path} is in {given['erase_variable']}, but not among the devices {', '.join(given['devices']) or '(none)'}"
        for path in given["erase"]
        if path not in given["devices"]
    ]
    if problems:
        module.fail_json(msg="; ".join(problems) + ". Nothing was changed")

    erased = [path for path, action in actions.items() if action == "erase"]
    if not module.check_mode:
        for path in erased:
            Device(path).erase()
    after = {path: BLANK if path in erased else content for path, content in before.items()}
    module.exit_json(
        changed=bool(erased),
        content=after,
        blank=[path for path, content in after.items() if content == BLANK],
        erased=erased,
        diff={"before": listing(before), "after": listing(after)},
    )


def listing(content: dict[str, str]) -> str:
    """Lines for the difference that is shown."""
    return "".join(f"{path}: {text}\n" for path, text in content.items())


if __name__ == "__main__":
    main()
