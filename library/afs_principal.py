#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_principal
short_description: Keeps users and groups of an AFS cell
description:
  - Runs on a server of the cell as root, by C(pts -localauth).
  - Makes who is missing and never removes a user or a group. A group that is given has the members given, no others.
options:
  users:
    description: >-
      Users, by the name that AFS has for a Kerberos principal: C(ann) for C(ann@REALM), C(mail.host) for
      C(mail/host@REALM).
    type: list
    elements: str
    default: []
  groups:
    description: Groups by name, each with the list of its members.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows users who are made, and members.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Keep an administrator, and who reads all mail
  afs_principal:
    users: [ann.admin, mail]
    groups:
      system:administrators: [ann.admin]
      mailservers: [mail]
"""

RETURN = r"""
steps:
  description: Commands of C(pts) that were needed.
  returned: success
  type: list
  elements: str
  sample: [createuser ann.admin]
"""

from ansible.module_utils.afs import AfsError, principal_problems, read_members, read_names
from ansible.module_utils.basic import AnsibleModule


def pts(module: AnsibleModule, *arguments: str) -> str:
    """Have pts do something; return what it prints."""
    code, out, err = module.run_command(["pts", *arguments, "-localauth"], environ_update={"LC_ALL": "C"})
    if code != 0 or err.startswith("pts:"):
        raise AfsError(f"pts {' '.join(arguments)}: {' '.join((out + err).split())}")
    return out


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "users": {"type": "list", "elements": "str", "default": []},
            "groups": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    users, groups = module.params["users"], module.params["groups"]
    before, after, needed = "", "", []
    try:
        present = read_names(pts(module, "listentries", "-users", "-groups"))
        problems = principal_problems(present, users, groups)
        if problems:
            raise AfsError(*problems)
        for name in users:
            before += f"{name}\n" if name in present else ""
            after += f"{name}\n"
            needed += [["createuser", name]] if name not in present else []
        for group, members in groups.items():
            found = read_members(pts(module, "membership", group)) if group in present else set()
            if group in present:
                before += f"{group}: {', '.join(sorted(found))}\n"
            else:
                needed.append(["creategroup", group, "system:administrators"])
            after += f"{group}: {', '.join(sorted(members))}\n"
            needed += [["adduser", name, group] for name in members if name not in found]
            needed += [["removeuser", name, group] for name in sorted(found - set(members))]
        for step in [] if module.check_mode else needed:
            pts(module, *step)
    except AfsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(needed), steps=[" ".join(step) for step in needed], diff={"before": before, "after": after}
    )


if __name__ == "__main__":
    main()
