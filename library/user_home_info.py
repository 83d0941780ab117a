#!/usr/bin/python
"""Say where a user's mail is, of a backend that runs on this node."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: user_home_info
short_description: Say whether a backend that runs on this node has a user's mail
description:
  - For stores where each backend has mail of its own. M(user_home) brings the mail to another backend.
options:
  backend:
    description: Name of the backend, whose configuration is in C(/etc/dovecot/backends).
    type: str
    required: true
  root:
    description: Where its file system is mounted.
    type: path
    required: true
  user:
    description: The user, as user@domain.
    type: str
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Is Anna's mail here?
  user_home_info:
    backend: be1
    root: /srv/mail/be1
    user: anna@example.org
  register: found
"""

RETURN = r"""
place:
  description: >-
    V(here); V(leaving) when it is on its way to another backend; V(gone) when another one has it; V(none) when there
    never was any.
  returned: success
  type: str
"""

from ansible.module_utils.backend_store import StoreError
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.user_home import UserHome


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        home = UserHome(module.params["backend"], module.params["root"], module.params["user"])
        module.exit_json(changed=False, place=home.place())
    except (StoreError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
