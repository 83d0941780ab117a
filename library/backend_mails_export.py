#!/usr/bin/python
"""Write some mails of a disk into an encrypted file."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backend_mails_export
short_description: Write some mails of a disk into an encrypted file
description:
  - Takes mails out of a copy-on-write copy of a disk, as M(backend_mails_info) lists it, and writes them with flags and
    dates into one file for M(backend_mails_import).
  - In clear they exist in the private copy alone, which is gone when the module is.
  - The file is there only when it holds every mail that was asked for.
options:
  backend:
    description: Name of the backend, whose configuration is in C(/etc/dovecot/backends).
    type: str
    required: true
  root:
    description: Where its mail is when it runs here.
    type: path
    required: true
  disk:
    description: The disk, not mounted.
    type: path
    required: true
  filesystem:
    description: The file system on O(disk).
    type: str
    choices: [ext4, xfs]
    default: ext4
  mails:
    description: The mails for each user, as M(backend_mails_info) returned them.
    type: dict
    required: true
  dest:
    description: The file to write.
    type: path
    required: true
  key:
    description: What it is encrypted by.
    type: str
    required: true
requirements: [dovecot, dmsetup, openssl]
attributes:
  check_mode:
    support: full
    description: Writes no file.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Take mails out
  backend_mails_export:
    backend: be1
    root: /srv/mail/be1
    disk: /dev/vdb
    mails: "{{ only_there }}"
    dest: /var/lib/dovecluster/drbd/be1.mails
    key: "{{ key }}"
"""

RETURN = r"""
count:
  description: How many mails are in the file, or would be.
  returned: success
  type: int
"""

import os
from typing import Any

from ansible.module_utils.backend_store import BackendStore, StoreError
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_difference import count, only_in


def export(given: dict[str, Any]) -> None:
    """Copy each user's mails into an mdbox within the private copy, and archive these."""
    store = BackendStore(given["backend"], given["root"])
    with store.private_copy(given["disk"], given["filesystem"]):
        out = store.root / f".export-{os.getpid()}"
        out.mkdir(mode=0o700)
        owner = store.root.stat()
        os.chown(out, owner.st_uid, owner.st_gid)
        for user, mails in given["mails"].items():
            store.copy(user, mails, store.source(user), "", str(out / user))
            there = {user: store.mails(user, str(out / user))}
            if missing := count(only_in({user: mails}, there)):
                raise StoreError(
                    f"{store.backend}: {missing} mails of {user} could not be taken out of {given['disk']}"
                )
        store.pack(out, given["dest"], given["key"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "disk": {"type": "path", "required": True},
            "filesystem": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
            "mails": {"type": "dict", "required": True},
            "dest": {"type": "path", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    if not module.check_mode:
        try:
            export(module.params)
        except (StoreError, OSError, ValueError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=True, count=count(module.params["mails"]))


if __name__ == "__main__":
    main()
