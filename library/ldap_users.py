#!/usr/bin/python
"""Make the users of a small list in an LDAP server of our own, where they are missing."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ldap_users
short_description: Make users in this host's LDAP server, where they are missing
description:
  - Asks the server of this host, over ldapi and as root, which of the users it has, and makes the others.
  - A user who is there is left as found, whatever the list says, as it is LDAP that is kept from then on.
  - Nobody is removed.
options:
  base:
    description: The entry below which users are.
    type: str
    required: true
  users:
    description:
      - The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The address, which is the login name as well.
        type: str
        required: true
      password:
        description:
          - A hash with its scheme, as C(doveadm pw) prints it.
          - Schemes that slapd knows as well are taken, C(ARGON2ID), C(ARGON2I), C(SSHA) and those of crypt.
        type: str
        required: true
      quota:
        description: Storage, such as C(1G).
        type: str
  backends:
    description:
      - Backends by name, each with C(host), C(address) and C(shards).
      - A user's mailHost is the backend that has the user's shard. Without backends, users have no mailHost.
    type: dict
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    description: Shows names, no passwords.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Make the users of a small site
  ldap_users:
    base: ou=users,dc=example,dc=org
    users: [{name: ann@example.org, password: "{ARGON2ID}$argon2id$v=19$...", quota: 2G}]
    backends: "{{ dovecot_proxy_backends }}"
"""

RETURN = r"""
made:
  description: Users that were missing.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ldap_users import UserError, entry, found_users, search_filters
from ansible.module_utils.mail_route import RouteError, parse_backends

LDAP = ["-Q", "-Y", "EXTERNAL", "-H", "ldapi:///"]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "str", "required": True},
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "quota": {"type": "str"},
                },
            },
            "backends": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    base, users = module.params["base"], module.params["users"]
    try:
        backends = parse_backends(module.params["backends"]) if module.params["backends"] else {}
        entries = {user["name"].lower(): entry(user, base, backends) for user in users}
    except (RouteError, UserError) as error:
        module.fail_json(msg=f"{error}. Nothing was changed")
    there: set[str] = set()
    for text in search_filters(entries):
        arguments = ["ldapsearch", *LDAP, "-LLL", "-o", "ldif-wrap=no", "-s", "one", "-b", base, text, "mail"]
        code, out, said = module.run_command(arguments)
        # 32: no such object. Nothing is there before a first run, of which check mode only tells.
        if code and not (code == 32 and module.check_mode):
            module.fail_json(msg=f"{base} cannot be searched: {said.strip()}. Nothing was changed")
        there |= found_users(out)
    missing = sorted(entries.keys() - there)
    if missing and not module.check_mode:
        text = "\n".join(entries[name] for name in missing)
        code, _, said = module.run_command(["ldapadd", *LDAP], data=text)
        if code:
            module.fail_json(msg=f"users could not all be made: {said.strip()}; those before it were")
    after = "".join(f"{name}\n" for name in missing)
    module.exit_json(changed=bool(missing), made=missing, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
