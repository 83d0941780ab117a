#!/usr/bin/python
"""List the mails of a backend, as they are on this node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backend_mails_info
short_description: List the mails of a backend, as they are on this node
description:
  - Lists by doveadm what is at O(root), whether the backend runs here or not. Users are those who have a home there.
  - With O(disk), lists a copy-on-write copy of that disk, mounted for this module alone. Nothing is written to the
    disk, not even by the replay of the file system's journal, and DRBD may have it in use as a secondary.
  - Returns one hash for each user, and the mails themselves of O(users).
options:
  backend:
    description: Name of the backend, whose configuration is in C(/etc/dovecot/backends).
    type: str
    required: true
  root:
    description: Where its mail is.
    type: path
    required: true
  disk:
    description: A disk that is not mounted, to be looked at in place of what is mounted.
    type: path
  filesystem:
    description: The file system on O(disk).
    type: str
    choices: [ext4, xfs]
    default: ext4
  users:
    description: Users whose mails to return. Without it only the hashes of all users are.
    type: list
    elements: str
requirements: [dovecot, "with O(disk): dmsetup"]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Ask what the secondary's disk holds
  backend_mails_info:
    backend: be1
    root: /srv/mail/be1
    disk: /dev/vdb
  register: found
"""

RETURN = r"""
digests:
  description: For each user a hash, the same wherever the same mails are, in whatever folders.
  returned: always
  type: dict
mails:
  description: >-
    Mails of O(users) - folder, mailbox, uid, id, size, received, flags, and key, which is the same for the same mail.
  returned: always
  type: dict
newest:
  description: When the newest of the mails looked at was received.
  returned: always
  type: str
count:
  description: How many mails were looked at.
  returned: always
  type: int
"""

from contextlib import nullcontext
from typing import Any

from ansible.module_utils.backend_store import BackendStore, StoreError
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_difference import digest


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "disk": {"type": "path"},
            "filesystem": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
            "users": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        store = BackendStore(given["backend"], given["root"])
        with store.private_copy(given["disk"], given["filesystem"]) if given["disk"] else nullcontext():
            users = store.users() if given["users"] is None else given["users"]
            mails = {user: store.mails(user) for user in users}
    except (StoreError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        digests={user: digest(found) for user, found in mails.items()},
        mails={} if given["users"] is None else mails,
        newest=max((mail["received"] for found in mails.values() for mail in found), default=""),
        count=sum(map(len, mails.values())),
    )


if __name__ == "__main__":
    main()
