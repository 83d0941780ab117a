#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_client_check
short_description: Tells whether a host can be the client of an AFS cell that is wanted
description:
  - Compares what role C(afs_client) is told with the host, and fails with all problems at once. Changes nothing.
options:
  cell:
    description: The cell.
    type: str
    required: true
  databases:
    description: Its database servers by name, each with its address.
    type: dict
    required: true
  principal:
    description: Whom the host's services are in the cell.
    type: str
    required: true
  keytab:
    description: A keytab with keys of O(principal), in base64. If empty, those in O(keytab_file) count.
    type: str
    required: true
  keytab_file:
    description: Where the host has its keys.
    type: path
    required: true
  users:
    description: Users who shall have a token.
    type: list
    elements: str
    required: true
  mounts:
    description: Volumes, and where they shall be mounted.
    type: list
    elements: dict
    required: true
    suboptions:
      volume:
        description: The volume's name.
        type: str
        required: true
      path:
        description: Where.
        type: str
        required: true
  cache_free:
    description: How much of the cache's file system stays free, in percent.
    type: int
    required: true
attributes:
  check_mode:
    support: full
author: Dovecluster
"""

EXAMPLES = r"""
- name: See whether this host can be a client of the cell
  afs_client_check:
    cell: example.org
    databases: {afs1.example.org: 192.0.2.61}
    principal: mail/a.example.org@EXAMPLE.ORG
    keytab: ""
    keytab_file: /etc/afs-client.keytab
    users: [vmail]
    mounts: [{volume: mail.a, path: /srv/mail/a}]
    cache_free: 20
"""

RETURN = r"""
principals:
  description: Whose keys the host has, or gets.
  returned: success
  type: list
  elements: str
  sample: [mail/a.example.org@EXAMPLE.ORG]
"""

import base64
import binascii
import os
import pwd

from ansible.module_utils.afs import AfsError, ClientHost, client_problems
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kerberos import KerberosError, Key, read_keytab

OTHER_CLIENT = "openafs-client.service"


def keys(given: str, path: str) -> list[Key]:
    """Return the keys that are given, or else those in the file."""
    if given:
        return read_keytab(base64.b64decode(given, validate=True))
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return read_keytab(file.read())


def missing(users: list[str]) -> list[str]:
    """Return those of the users whom the host does not have."""
    return [user for user in users if user not in {entry.pw_name for entry in pwd.getpwall()}]


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "cell": text,
            "databases": {"type": "dict", "required": True},
            "principal": text,
            "keytab": {**text, "no_log": True},
            "keytab_file": {"type": "path", "required": True},
            "users": {"type": "list", "elements": "str", "required": True},
            "mounts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"volume": text, "path": text},
            },
            "cache_free": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    kafs, _, _ = module.run_command(["modprobe", "--dry-run", "--quiet", "kafs"])
    other, _, _ = module.run_command(["systemctl", "is-active", "--quiet", OTHER_CLIENT])
    problems, found = [], []
    try:
        found = keys(module.params["keytab"], module.params["keytab_file"])
    except (KerberosError, binascii.Error) as error:
        problems.append(f"afs_client_keytab, or {module.params['keytab_file']} without it, is no keytab: {error}")
    host = ClientHost(found, kafs == 0, missing(module.params["users"]), [OTHER_CLIENT] * (other == 0))
    problems += client_problems(module.params, host)
    if problems:
        module.fail_json(msg=f"{AfsError(*problems)}. Nothing was changed")
    module.exit_json(changed=False, principals=sorted({key.principal for key in found}))


if __name__ == "__main__":
    main()
