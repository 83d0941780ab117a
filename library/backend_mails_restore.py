#!/usr/bin/python
"""Bring back mails of a user from a copy of the backend's mail."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backend_mails_restore
short_description: Bring back mails of a user from a copy of the backend's mail
description:
  - Copies what the user had at the time of the copy and has no more, with flags and dates, into the folders where it
    was. Nothing else is touched, so newer mail stays, and a second run finds nothing to bring back.
  - A mail that was moved since is not lost; one that is in the trash alone is.
  - Runs on the node that runs the backend; sessions go on meanwhile. The copy is only read.
options:
  backend:
    description: Name of the backend, whose configuration is in C(/etc/dovecot/backends).
    type: str
    required: true
  root:
    description: Where its mail is.
    type: path
    required: true
  copy:
    description: Where the copy of that is.
    type: path
    required: true
  user:
    description: Whose mail.
    type: str
    required: true
  folder:
    description: The one folder to look at, as it was called then. Without it, all are.
    type: str
  trash:
    description: The folder with what users delete.
    type: str
    default: Trash
requirements: [dovecot]
attributes:
  check_mode:
    support: full
    description: Tells what it would bring back.
  diff_mode:
    support: full
    description: Shows the folders and Message-IDs of what comes back.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Bring back a folder
  backend_mails_restore:
    backend: be1
    root: /srv/mail/be1
    copy: /run/dovecluster/restore
    user: ann@example.org
    folder: Work
"""

RETURN = r"""
folders:
  description: How many mails came back, or would, into each folder.
  returned: success
  type: dict
  sample: {INBOX: 2, Work: 17}
"""

from collections import Counter
from typing import Any

from ansible.module_utils.backend_copy import lost, taken, use_token
from ansible.module_utils.backend_store import BackendStore, StoreError
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_difference import Mail


def restore(given: dict[str, Any], check_mode: bool) -> list[Mail]:
    """Give what the user has lost, brought back unless this is a check."""
    use_token()
    store, user = BackendStore(given["backend"], given["root"]), given["user"]
    with taken(store, given["copy"], user) as then:
        before = then.mails(user)
        folders = sorted({mail["folder"] for mail in before})
        if given["folder"] not in (None, *folders):
            raise StoreError(f"folder: {user} had no mail in '{given['folder']}', but in: {', '.join(folders)}")
        wanted = [mail for mail in before if given["folder"] in (None, mail["folder"])]
        found = lost(wanted, store.mails(user), given["trash"])
        if not check_mode:
            store.copy(user, found, then.source(user), "", None)
            if still := lost(found, store.mails(user), given["trash"]):
                raise StoreError(f"{len(still)} of {len(found)} mails of {user} did not come back")
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "copy": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "folder": {"type": "str"},
            "trash": {"type": "str", "default": "Trash"},
        },
        supports_check_mode=True,
    )
    try:
        found = restore(module.params, module.check_mode)
    except (StoreError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(found),
        folders=dict(Counter(mail["folder"] for mail in found)),
        diff={"before": "", "after": "".join(f"{mail['folder']}: {mail['id'] or mail['key']}\n" for mail in found)},
    )


if __name__ == "__main__":
    main()
