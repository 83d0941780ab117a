#!/usr/bin/python
"""Log in to an iSCSI target, once through each portal."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: iscsi_session
short_description: Log in to an iSCSI target, once through each portal
description:
  - Makes a record and a session for each portal, bound to the interface that leads there, now and at every boot.
  - A portal that does not answer, or does not take the password, is told before anything is changed for any of them; a
    record whose first login fails is taken away again.
  - Settings of a session that is there already are kept for its next login. Sessions to other portals are left alone.
options:
  target:
    description: Name of the target, an IQN.
    type: str
    required: true
  portals:
    description: Where it listens.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: The portal's address; port 3260.
        type: str
        required: true
      source:
        description: The address of this host in the same network.
        type: str
        required: true
  user:
    description: This host's name for CHAP.
    type: str
    required: true
  password:
    description: This host's password.
    type: str
    required: true
  mutual_user:
    description: The target's name for CHAP.
    type: str
    required: true
  mutual_password:
    description: The target's password.
    type: str
    required: true
  settings:
    description: Further settings of the records, such as C(node.session.timeo.replacement_timeout).
    type: dict
    default: {}
requirements: [open-iscsi, iproute2]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Dovecluster
"""

EXAMPLES = r"""
- name: Log in through two networks
  iscsi_session:
    target: iqn.2026-11.com.example:array1
    portals:
      - {address: 203.0.113.20, source: 203.0.113.11}
      - {address: 198.18.0.20, source: 198.18.0.11}
    user: iqn.2026-11.com.example:mail1
    password: "{{ san_password }}"
    mutual_user: iqn.2026-11.com.example:array1
    mutual_password: "{{ san_mutual_password }}"
"""

RETURN = r"""
portals:
  description: >-
    For each portal the interface that it is reached by, and what it had before - C(session), C(record) or C(nothing).
  returned: always
  type: list
  elements: dict
  sample: [{address: 203.0.113.20, interface: eth2, had: session}]
"""

import glob
import json
import os
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.san import login_problem, record, settings_of

PORT = 3260
# Where iscsiadm keeps its records: the second one on Debian 12.
FOLDERS = [Path("/var/lib/iscsi"), Path("/etc/iscsi")]
PATIENCE = 5.0  # seconds until a portal counts as silent


class Portal:
    """One portal, and how this host reaches it."""

    def __init__(self, target: str, address: str, source: str, interface: str) -> None:
        """Take names and addresses."""
        self.target, self.address, self.source, self.interface = target, address, source, interface

    @property
    def file(self) -> Path:
        """The record's file."""
        return folder() / "nodes" / self.target / f"{self.address},{PORT},1" / self.interface

    def has_session(self) -> bool:
        """Whether the kernel has a session through this portal and interface."""
        for session in glob.glob("/sys/class/iscsi_session/session*"):
            number = session.rpartition("session")[2]
            connection = f"/sys/class/iscsi_connection/connection{number}:0/persistent_address"
            try:
                found = [Path(session, name).read_text().strip() for name in ("targetname", "ifacename")]
                if found == [self.target, self.interface] and Path(connection).read_text().strip() == self.address:
                    return True
            except OSError:
                continue  # it ended while we looked
        return False

    def silence(self) -> str:
        """Why the portal cannot be connected to, if so."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.bind((self.source, 0))
                connection.connect((self.address, PORT))
            except OSError as error:
                return f"portal {self.address}, from {self.source}, does not answer: {error.strerror or error}"
        return ""

    def arguments(self, *more: str) -> list[str]:
        """A command line for this record."""
        return [
            "iscsiadm",
            "-m",
            "node",
            "-T",
            self.target,
            "-p",
            f"{self.address}:{PORT},1",
            "-I",
            self.interface,
            *more,
        ]


def folder() -> Path:
    """Where this release keeps records."""
    return next((path for path in FOLDERS if path.is_dir()), FOLDERS[-1])


def interface_of(listed: list[dict[str, Any]], source: str) -> str:
    """The name of the interface that has an address, out of what `ip -json address` lists; empty if none has."""
    for interface in listed:
        if any(address.get("local") == source for address in interface.get("addr_info", [])):
            return str(interface["ifname"])
    return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "target": {"type": "str", "required": True},
            "portals": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "address": {"type": "str", "required": True},
                    "source": {"type": "str", "required": True},
                },
            },
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "mutual_user": {"type": "str", "required": True},
            "mutual_password": {"type": "str", "required": True, "no_log": True},
            "settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    wanted = {str(name): str(value) for name, value in given["settings"].items()} | {
        "node.startup": "automatic",
        "node.session.auth.authmethod": "CHAP",
        "node.session.auth.username": given["user"],
        "node.session.auth.password": given["password"],
        "node.session.auth.username_in": given["mutual_user"],
        "node.session.auth.password_in": given["mutual_password"],
    }
    listed = json.loads(module.run_command(["ip", "-json", "address"], check_rc=True)[1])
    portals = [
        Portal(given["target"], item["address"], item["source"], interface_of(listed, item["source"]))
        for item in given["portals"]
    ]
    had = ["session" if p.has_session() else "record" if p.file.exists() else "nothing" for p in portals]
    problems = [
        f"no interface has the address {p.source}, from which {p.address} is reached"
        for p in portals
        if not p.interface
    ]
    problems += [
        said for p, has in zip(portals, had, strict=True) if p.interface and has != "session" and (said := p.silence())
    ]
    if problems:
        module.fail_json(msg="; ".join(problems) + ". Nothing was changed")

    changed = False
    for portal, has in zip(portals, had, strict=True):
        now = settings_of(portal.file.read_text()) if has != "nothing" and portal.file.exists() else {}
        differs = any(now.get(name) != value for name, value in wanted.items())
        changed = changed or differs or has != "session"
        if module.check_mode:
            continue
        if differs:
            write_record(module, portal, wanted)
        if has != "session":
            code, output, error = module.run_command(portal.arguments("--login"))
            if code:
                if has == "nothing":
                    module.run_command(portal.arguments("-o", "delete"))
                module.fail_json(msg=login_problem(portal.address, portal.source, code, output + error))
    shown = [f"{p.address} by {p.interface}" for p in portals]
    module.exit_json(
        changed=changed,
        portals=[
            {"address": p.address, "interface": p.interface, "had": has} for p, has in zip(portals, had, strict=True)
        ],
        diff={
            "before": "".join(f"{line}: {has}\n" for line, has in zip(shown, had, strict=True)),
            "after": "".join(f"{line}: session\n" for line in shown),
        },
    )


def write_record(module: AnsibleModule, portal: Portal, wanted: dict[str, str]) -> None:
    """Make the record if need be, and write settings into its file: iscsiadm would show passwords in its arguments."""
    if not (folder() / "ifaces" / portal.interface).exists():
        module.run_command(["iscsiadm", "-m", "iface", "-I", portal.interface, "-o", "new"], check_rc=True)
        name = ["-o", "update", "-n", "iface.net_ifacename", "-v", portal.interface]
        module.run_command(["iscsiadm", "-m", "iface", "-I", portal.interface, *name], check_rc=True)
    if not portal.file.exists():
        module.run_command(portal.arguments("-o", "new"), check_rc=True)
    text = record(portal.file.read_text(), wanted)
    new = portal.file.with_name(f".{portal.file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.rename(portal.file)


if __name__ == "__main__":
    main()
