#!/usr/bin/python
DOCUMENTATION = r"""
---
module: mail_route
short_description: Sets which backend has a user's mail, on a front end
description:
  - A front end finds a user's backend by a shard of the user's name, unless the overrides file has a line for the user.
    This module writes that line, removes it, or holds the user.
  - The file is replaced in one step, and only if it changes. Dovecot reads it again within two seconds.
  - A route belongs on all front ends at once, and a user's sessions must end before another backend takes over;
    playbooks/move_user.yml does both.
options:
  user:
    description: The user's name. Case does not matter.
    type: str
    required: true
  backend:
    description: Backend to send the user to. Required if O(state=present).
    type: str
  backends:
    description: Backends by name, each with C(host), C(address) and C(shards), as in C(dovecot_proxy_backends).
    type: dict
    required: true
  state:
    description:
      - V(present) sends the user to O(backend).
      - V(absent) removes the override, so that the shard decides.
      - V(held) sends the user nowhere; logins and deliveries fail for now and are tried again. Moving a user needs it.
    type: str
    choices: [present, absent, held]
    default: present
  ldap_host:
    description:
      - Where routes are in LDAP, the host that the front end sends the user to, as C(doveadm auth lookup) tells.
      - Not looked at for a user who has an override or is held.
    type: str
    default: ""
  path:
    description: The overrides file.
    type: path
    default: /etc/dovecot/routes/overrides
  group:
    description: Group of the file; Dovecot's auth process reads it.
    type: str
    default: dovecot
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows the lines of the file that change.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Send a user to be2
  mail_route:
    user: anna@example.org
    backend: be2
    backends: "{{ dovecot_proxy_backends }}"

- name: Let the shard decide again
  mail_route:
    user: anna@example.org
    state: absent
    backends: "{{ dovecot_proxy_backends }}"
"""

RETURN = r"""
before:
  description: Where the user was sent.
  returned: always
  type: dict
  sample: {backend: be1, home: be1, host: be1.example.org, address: 192.0.2.31, shard: 17, by: shard}
after:
  description: Where the user is sent now; in check mode, where they would be.
  returned: always
  type: dict
  sample: {backend: be2, home: be2, host: be2.example.org, address: 192.0.2.32, shard: 17, by: override}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import (
    OVERRIDES,
    RouteError,
    parse_backends,
    plan,
    read_routes,
    render_routes,
    route_of,
    write_routes,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "backend": {"type": "str"},
            "backends": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "held"], "default": "present"},
            "ldap_host": {"type": "str", "default": ""},
            "path": {"type": "path", "default": OVERRIDES},
            "group": {"type": "str", "default": "dovecot"},
        },
        required_if=[("state", "present", ["backend"])],
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        backends = parse_backends(wanted["backends"])
        if wanted["state"] == "present" and wanted["backend"] not in backends:
            raise RouteError(
                f"user {wanted['user']}: backend {wanted['backend']} is unknown; "
                f"known are {', '.join(sorted(backends))}"
            )
        _, text, overrides = read_routes(wanted["path"])
        named = wanted["ldap_host"]
        planned = plan(wanted["user"], wanted["state"], backends.get(wanted["backend"]), overrides, named)
        result = {
            "before": route_of(wanted["user"], backends, overrides, named),
            "after": route_of(wanted["user"], backends, planned, named),
        }
        changed = planned != overrides
        new_text = render_routes(planned) if changed else text
        if changed and not module.check_mode:
            write_routes(wanted["path"], new_text, wanted["group"])
    except (RouteError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed,
        diff={"before": text, "after": new_text, "before_header": wanted["path"], "after_header": wanted["path"]},
        **result,
    )


if __name__ == "__main__":
    main()
