#!/usr/bin/python
DOCUMENTATION = r"""
---
module: mail_users_info
short_description: Lists the users of some shards that a node knows
description:
  - Asks a Dovecot instance of a mail node for all its users, in the directory that it has.
options:
  config:
    description: The instance's configuration.
    type: path
    required: true
  shards:
    description: Shards whose users to list.
    type: list
    elements: int
    required: true
  without:
    description: Users to leave out, as an override sends them elsewhere.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: List the users of two shards
  mail_users_info:
    config: /etc/dovecot/replica.conf
    shards: [17, 18]
"""

RETURN = r"""
users:
  description: The users.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import shard_of


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "required": True},
            "shards": {"type": "list", "elements": "int", "required": True},
            "without": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    _, out, _ = module.run_command(["doveadm", "-c", wanted["config"], "user", "*"], check_rc=True)
    shards, without = set(wanted["shards"]), {user.lower() for user in wanted["without"]}
    known = {user.lower() for user in out.split()}
    users = sorted(user for user in known - without if shard_of(user) in shards)
    module.exit_json(changed=False, users=users)


if __name__ == "__main__":
    main()
