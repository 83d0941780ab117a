#!/usr/bin/python
"""Export block devices by iSCSI from a Linux host (LIO)."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: iscsi_export
short_description: Export block devices by iSCSI from a Linux host (LIO)
description:
  - Makes one target with its LUNs, portals and initiators what is wanted, and saves it across boots. Other targets of
    the host are left alone.
  - Each initiator sees every LUN, and has to prove who it is; the target proves itself in return (CHAP both ways).
  - What somebody uses is never dropped - while an initiator has a session, the run fails and changes nothing.
  - The devices' contents are neither read nor written.
options:
  target:
    description: Name of the target, an IQN.
    type: str
    required: true
  portals:
    description: Addresses that it listens on, port 3260.
    type: list
    elements: str
    required: true
  luns:
    description: What is exported.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the backstore on this host.
        type: str
        required: true
      device:
        description: The block device, by a name that is stable across boots.
        type: path
        required: true
      wwid:
        description: The WWID that initiators see - C(36001405) and 25 more hexadecimal digits.
        type: str
        required: true
  initiators:
    description: Names of those who may log in, IQNs.
    type: list
    elements: str
    required: true
  password:
    description: With this the initiators prove who they are; the user is the initiator's name.
    type: str
    required: true
  mutual_password:
    description: With this the target proves who it is; the user is the target's name. Another one than O(password).
    type: str
    required: true
requirements: [python3-rtslib-fb]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Dovecluster
"""

EXAMPLES = r"""
- name: Export a disk to two hosts
  iscsi_export:
    target: iqn.2026-11.com.example:array1
    portals: [203.0.113.20]
    luns:
      - {name: mail, device: /dev/vdb, wwid: "360014050000000000000000000000001"}
    initiators: [iqn.2026-11.com.example:mail1, iqn.2026-11.com.example:mail2]
    password: "{{ san_password }}"
    mutual_password: "{{ san_mutual_password }}"
"""

RETURN = r"""
sessions:
  description: Initiators that were logged in.
  returned: always
  type: list
  elements: str
"""

import glob
import os
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lio import Export, listing, refusals, wanted

try:
    import rtslib_fb as rtslib
except ImportError:
    rtslib = None

# Nobody who is not listed, nobody without a password.
GUARD = {"authentication": "1", "generate_node_acls": "0"}
CONFIGFS = "/sys/kernel/config/target/iscsi"


class Target:
    """One target of this host, as it is and as it is made."""

    def __init__(self, name: str, password: str, mutual_password: str) -> None:
        """Take its name and passwords; nothing is made yet."""
        self.name = name
        self.credentials = {"password": password, "mutual_userid": name, "mutual_password": mutual_password}

    def found(self) -> Any:
        """The target's one portal group, or nothing."""
        targets = [target for target in rtslib.RTSRoot().targets if target.wwn == self.name]
        return next(iter(targets[0].tpgs), None) if targets else None

    def credentials_of(self, acl: Any) -> bool:
        """Whether an initiator's passwords are those that are wanted."""
        now = {key: getattr(acl, f"chap_{key}") for key in self.credentials}
        return now == self.credentials and acl.chap_userid == acl.node_wwn

    def export(self) -> Export:
        """What is exported now."""
        tpg = self.found()
        if tpg is None:
            return Export()
        acls = list(tpg.node_acls)
        return Export(
            luns={lun.storage_object.name: device_and_serial(lun.storage_object) for lun in tpg.luns},
            portals={portal.ip_address.strip("[]") for portal in tpg.network_portals},
            initiators={
                acl.node_wwn: {mapped.tpg_lun.storage_object.name for mapped in acl.mapped_luns} for acl in acls
            },
            trusted={acl.node_wwn for acl in acls if self.credentials_of(acl)},
            guarded=all(tpg.get_attribute(key) == value for key, value in GUARD.items()),
            enabled=tpg.enable,
        )

    def make(self, then: Export) -> None:
        """Change what differs; what is not wanted has nobody who uses it."""
        tpg = self.found() or rtslib.TPG(rtslib.Target(rtslib.FabricModule("iscsi"), self.name), 1)
        for key, value in GUARD.items():
            tpg.set_attribute(key, value)
        for acl in tpg.node_acls:
            if acl.node_wwn not in then.initiators:
                acl.delete()
        for lun in tpg.luns:
            if lun.storage_object.name not in then.luns:
                store = lun.storage_object
                lun.delete()
                store.delete()
        for portal in tpg.network_portals:
            if portal.ip_address.strip("[]") not in then.portals:
                portal.delete()
        for name, (device, serial) in then.luns.items():
            store = next((item for item in rtslib.RTSRoot().storage_objects if item.name == name), None)
            store = store or rtslib.BlockStorageObject(name, dev=device, wwn=serial)
            if name not in {lun.storage_object.name for lun in tpg.luns}:
                rtslib.LUN(tpg, storage_object=store)
        for initiator in then.initiators:
            acl = rtslib.NodeACL(tpg, initiator)
            acl.chap_userid = initiator
            for key, value in self.credentials.items():
                setattr(acl, f"chap_{key}", value)
            seen = {mapped.tpg_lun.lun for mapped in acl.mapped_luns}
            for lun in tpg.luns:
                if lun.lun not in seen:
                    rtslib.MappedLUN(acl, lun.lun, tpg_lun=lun)
        for portal in then.portals:
            rtslib.NetworkPortal(tpg, f"[{portal}]" if ":" in portal else portal, 3260)
        tpg.enable = True
        rtslib.RTSRoot().save_to_file()


def device_and_serial(store: Any) -> tuple[str, str]:
    """Device and unit serial of a backstore."""
    return store.udev_path, store.wwn


def backstores() -> dict[str, tuple[str, str]]:
    """All backstores of this host."""
    return {store.name: device_and_serial(store) for store in rtslib.RTSRoot().storage_objects}


def sessions(target: str) -> list[str]:
    """Initiators with a session on this target; the kernel says so in each initiator's folder."""
    found = []
    for path in glob.glob(f"{CONFIGFS}/{target}/tpgt_*/acls/*/info"):
        with open(path) as file:
            if not file.read().startswith("No active iSCSI Session"):
                found.append(path.split("/")[-2])
    return sorted(found)


def device_problem(device: str) -> str:
    """What is wrong with a device, if anything."""
    if not os.path.exists(device):
        return f"{device} is not there"
    return "" if stat.S_ISBLK(os.stat(device).st_mode) else f"{device} is no block device"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "target": {"type": "str", "required": True},
            "portals": {"type": "list", "elements": "str", "required": True},
            "luns": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "device": {"type": "path", "required": True},
                    "wwid": {"type": "str", "required": True},
                },
            },
            "initiators": {"type": "list", "elements": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "mutual_password": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    then, problems = wanted(given["luns"], given["portals"], given["initiators"])
    if given["password"] == given["mutual_password"]:
        problems.append(
            "password and mutual_password are the same: initiators refuse a target that sends their own back"
        )
    problems += [problem for lun in given["luns"] if (problem := device_problem(lun["device"]))]
    if rtslib is None and not module.check_mode:
        module.fail_json(msg="this host has no python3-rtslib-fb: the role iscsi_target installs it")
    target = Target(given["target"], given["password"], given["mutual_password"])
    now = target.export() if rtslib else Export()
    users = sessions(given["target"])
    problems += refusals(now, then, backstores() if rtslib else {}, users)
    if problems:
        module.fail_json(msg="; ".join(problems) + ". Nothing was changed")
    if now != then and not module.check_mode:
        try:
            target.make(then)
        except rtslib.RTSLibError as error:
            module.fail_json(msg=f"{given['target']}: {error}")
    module.exit_json(changed=now != then, sessions=users, diff={"before": listing(now), "after": listing(then)})


if __name__ == "__main__":
    main()
