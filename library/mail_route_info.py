#!/usr/bin/python
DOCUMENTATION = r"""
---
module: mail_route_info
short_description: Reads which backend has a user's mail, on a front end
description:
  - Returns the overrides that a front end has, and where it sends the users asked for.
options:
  users:
    description: Users whose routes to return.
    type: list
    elements: str
    default: []
  backends:
    description:
      - Backends by name, each with C(host), C(address) and C(shards).
      - Required to return the routes of O(users).
    type: dict
  ldap_host:
    description:
      - Where routes are in LDAP, the host that the front end sends all of O(users) to, as C(doveadm auth lookup) tells.
      - Not looked at for a user who has an override or is held.
    type: str
    default: ""
  path:
    description: The overrides file.
    type: path
    default: /etc/dovecot/routes/overrides
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Where does this front end send Anna?
  mail_route_info:
    users: [anna@example.org]
    backends: "{{ dovecot_proxy_backends }}"
  register: found
"""

RETURN = r"""
exists:
  description: Whether there is an overrides file.
  returned: always
  type: bool
overrides:
  description: Fields of each user that has an override.
  returned: always
  type: dict
  sample: {anna@example.org: {host: be2.example.org, hostip: 192.0.2.32}}
routes:
  description: Where each of O(users) is sent. A held user's backend is V(held); C(home) is the one that has the mail.
  returned: always
  type: dict
  sample:
    anna@example.org: {backend: be2, home: be2, host: be2.example.org, address: 192.0.2.32, shard: 17, by: override}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import OVERRIDES, RouteError, parse_backends, read_routes, route_of


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "users": {"type": "list", "elements": "str", "default": []},
            "backends": {"type": "dict"},
            "ldap_host": {"type": "str", "default": ""},
            "path": {"type": "path", "default": OVERRIDES},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["users"] and not module.params["backends"]:
            raise RouteError("users: their routes need backends as well")
        exists, _, overrides = read_routes(module.params["path"])
        backends = parse_backends(module.params["backends"]) if module.params["users"] else {}
        named = module.params["ldap_host"]
        routes = {user: route_of(user, backends, overrides, named) for user in module.params["users"]}
    except (RouteError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, exists=exists, overrides=overrides, routes=routes)


if __name__ == "__main__":
    main()
