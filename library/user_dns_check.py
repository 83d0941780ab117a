#!/usr/bin/python
DOCUMENTATION = r"""
---
module: user_dns_check
short_description: Checks users and description of role user_dns before anything is changed
description:
  - Says everything that is wrong, at once. Runs where the users are, on the controller.
options:
  description:
    description: What role C(user_dns) is about to write; keys as in module_utils/user_dns.py.
    type: dict
    required: true
  users:
    description: Users.
    type: list
    elements: str
    default: []
  users_file:
    description: More users, one in each line.
    type: path
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Check the users
  user_dns_check:
    description:
      prefix: imap
      domains: [example.org]
      ttl: 60
      servers: {ns1.example.org: 192.0.2.53}
      backends: {be1: {host: be1.example.org, address: 192.0.2.31, shards: 0-255}}
      common: {}
    users: [ann@example.org]
  delegate_to: localhost
"""

RETURN = r"""
users:
  description: How many users there are.
  returned: always
  type: int
  sample: 1500000
"""

from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import RouteError
from ansible.module_utils.user_dns import ZoneError, check_users, parse_site


def read(users: list[str], path: str | None) -> Iterator[str]:
    """Yield all users."""
    yield from users
    if path:
        with open(path, encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "description": {"type": "dict", "required": True},
            "users": {"type": "list", "elements": "str", "default": []},
            "users_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        site = parse_site(module.params["description"])
        count = check_users(site, read(module.params["users"], module.params["users_file"]))
    except (ZoneError, RouteError, OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, users=count)


if __name__ == "__main__":
    main()
