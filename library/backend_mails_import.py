#!/usr/bin/python
"""Save mails that a backend lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backend_mails_import
short_description: Save mails that a backend lacks
description:
  - Takes the file that M(backend_mails_export) wrote and saves, with flags and dates, what a user has in no folder.
    What is there already is not saved again, so it may be killed and run again.
  - Runs on the node that runs the backend; sessions go on meanwhile.
options:
  backend:
    description: Name of the backend, whose configuration is in C(/etc/dovecot/backends).
    type: str
    required: true
  root:
    description: Where its mail is.
    type: path
    required: true
  src:
    description: The file, on this node.
    type: path
    required: true
  key:
    description: What it was encrypted by.
    type: str
    required: true
  folder:
    description: The folder below which mails are saved, each in a folder of its old folder's name. Subscribed to.
    type: str
    required: true
requirements: [dovecot, openssl]
attributes:
  check_mode:
    support: full
    description: Counts what it would save.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Save mails of the other side
  backend_mails_import:
    backend: be1
    root: /srv/mail/be1
    src: /var/lib/dovecluster/drbd/be1.mails
    key: "{{ key }}"
    folder: Saved from mail2
"""

RETURN = r"""
count:
  description: How many mails were saved, or would be.
  returned: success
  type: int
"""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.backend_store import BackendStore, StoreError
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_difference import only_in


def save(given: dict[str, Any], check_mode: bool) -> int:
    """Unpack each user's mdbox, save from it, and remove it."""
    store = BackendStore(given["backend"], given["root"])
    # Beside, not in a folder of root's alone: doveadm reads it as the user who owns mail.
    unpacked = Path("/var/lib", f"dovecluster-import-{store.backend}")
    # Held by doveadm, too: what a killed run left at work ends before the next one begins.
    lock = os.open(f"/run/lock/{unpacked.name}", os.O_CREAT | os.O_RDWR, 0o600)
    store.held.append(lock)
    fcntl.flock(lock, fcntl.LOCK_EX)
    saved = 0
    try:
        store.unpack(given["src"], unpacked, given["key"])
        for box in sorted(unpacked.iterdir()):
            user = box.name
            lacking = only_in({user: store.mails(user, str(box))}, {user: store.mails(user)}).get(user, [])
            if not check_mode:
                store.copy(user, lacking, [f"mdbox:{box}"], given["folder"], None)
            saved += len(lacking)
    finally:
        if unpacked.exists():  # mail in clear must not stay: what can't be removed is told
            shutil.rmtree(unpacked)
    return saved


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "src": {"type": "path", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "folder": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        saved = save(module.params, module.check_mode)
    except (StoreError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(saved), count=saved)


if __name__ == "__main__":
    main()
