#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_server_check
short_description: Tells whether a host can be the server of an AFS cell that is wanted
description:
  - Compares what role C(afs_server) is told with the host, and fails with all problems at once. Changes nothing.
options:
  cell:
    description: The cell.
    type: str
    required: true
  databases:
    description: Its database servers by name, each with its address.
    type: dict
    required: true
  address:
    description: The host's address for AFS.
    type: str
    required: true
  partitions:
    description: The host's partitions.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: One or two letters.
        type: str
        required: true
      folder:
        description: Whether it is a folder of another file system.
        type: bool
        default: false
  principal:
    description: Whose keys the cell has.
    type: str
    required: true
  keytab:
    description: A keytab with them, in base64.
    type: str
    required: true
  superusers:
    description: Users who may do everything.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
author: Dovecluster
"""

EXAMPLES = r"""
- name: See whether this host can be a server of the cell
  afs_server_check:
    cell: example.org
    databases: {afs1.example.org: 192.0.2.61}
    address: 192.0.2.61
    partitions: [{name: a}]
    principal: afs/example.org@EXAMPLE.ORG
    keytab: "{{ hostvars['kdc1'].principal.keytabs['afs/example.org@EXAMPLE.ORG'] }}"
    superusers: []
"""

RETURN = r"""
runs:
  description: Whether servers run on the host already.
  returned: success
  type: bool
attached:
  description: Partitions that its file server has.
  returned: success
  type: list
  elements: str
  sample: [/vicepa]
"""

import base64
import binascii
import json
import os

from ansible.module_utils.afs import AfsError, Folder, server_problems
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kerberos import KerberosError, Key, read_keytab

THIS_CELL = "/etc/openafs/server/ThisCell"


def present_cell() -> str:
    """Return the cell that the host is a server of."""
    if not os.path.exists(THIS_CELL):
        return ""
    with open(THIS_CELL, encoding="utf-8") as file:
        return file.read().strip()


def addresses(module: AnsibleModule) -> set[str]:
    """Return the host's own addresses."""
    _, out, _ = module.run_command(["ip", "-json", "address"], check_rc=True)
    return {address["local"] for link in json.loads(out) for address in link.get("addr_info", []) if "local" in address}


def look(path: str) -> Folder:
    """Return what is at a path."""
    if not os.path.isdir(path):
        return Folder()
    return Folder(True, os.path.ismount(path), tuple(sorted(os.listdir(path))))


def attached(module: AnsibleModule, address: str) -> list[str]:
    """Return the partitions of the file server that runs; none if it does not answer."""
    code, out, _ = module.run_command(["vos", "listpart", address, "-noauth"])
    return [word for word in out.split() if word.startswith("/vicep")] if code == 0 else []


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "cell": {"type": "str", "required": True},
            "databases": {"type": "dict", "required": True},
            "address": {"type": "str", "required": True},
            "partitions": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "folder": {"type": "bool", "default": False},
                },
            },
            "principal": {"type": "str", "required": True},
            "keytab": {"type": "str", "required": True, "no_log": True},
            "superusers": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params, problems = module.params, []
    keys: list[Key] = []
    try:
        if params["keytab"]:
            keys = read_keytab(base64.b64decode(params["keytab"], validate=True))
    except (KerberosError, binascii.Error) as error:
        problems.append(f"afs_server_keytab is no keytab in base64: {error}")
    found = server_problems(params, present_cell(), addresses(module), keys, look)
    problems += [problem for problem in found if not (problems and problem.startswith("afs_server_keytab"))]
    if problems:
        module.fail_json(msg=f"{AfsError(*problems)}. Nothing was changed")
    code, _, _ = module.run_command(["systemctl", "is-active", "--quiet", "openafs-fileserver.service"])
    runs = code == 0
    module.exit_json(changed=False, runs=runs, attached=attached(module, params["address"]) if runs else [])


if __name__ == "__main__":
    main()
