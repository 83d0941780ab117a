#!/usr/bin/python
DOCUMENTATION = r"""
---
module: mail_shards
short_description: Keeps the table of shards on a host that knows routes
description:
  - The table says which backend each of 256 shards of users is sent to. Dovecot reads it again within two seconds.
  - The file is replaced in one step, and only if what it says changes.
  - A shard that just went to another backend would have its users on two of them, as sessions stay where they are.
    playbooks/move_shards.yml holds the shards on all hosts, ends sessions, and only then lets users in.
options:
  backends:
    description: Backends by name, each with C(host), C(address) and C(shards), as in C(dovecot_proxy_backends).
    type: dict
    required: true
  state:
    description:
      - V(present) keeps the table as O(backends) says, and refuses to give a shard to another backend.
      - V(held) sends shards that are to go to another backend nowhere; logins and deliveries fail for now and are
        tried again.
      - V(moved) sends all shards where O(backends) says.
      - V(back) sends held shards where they were sent before.
    type: str
    choices: [present, held, moved, back]
    default: present
  path:
    description: The table.
    type: path
    default: /etc/dovecot/routes/shards
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
- name: Keep the table of shards
  mail_shards:
    backends: "{{ dovecot_proxy_backends }}"
"""

RETURN = r"""
moving:
  description: Shards that the table sent to another backend than wanted, or that were held, before this.
  returned: always
  type: list
  elements: dict
  sample: [{shard: 17, from: be1, to: be3}]
described:
  description: The same for people.
  returned: always
  type: str
  sample: 17-20 from be1 to be3
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import RouteError, parse_backends, read_routes, render_routes, write_routes
from ansible.module_utils.mail_shards import TABLE, described, moving, plan_table


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backends": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "held", "moved", "back"], "default": "present"},
            "path": {"type": "path", "default": TABLE},
            "group": {"type": "str", "default": "dovecot"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        backends = parse_backends(wanted["backends"])
        _, text, table = read_routes(wanted["path"])
        moves = moving(table, backends)
        planned = plan_table(table, backends, wanted["state"])
        changed = planned != table
        new_text = render_routes(planned) if changed else text
        if changed and not module.check_mode:
            write_routes(wanted["path"], new_text, wanted["group"])
    except (RouteError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed,
        moving=moves,
        described=described(moves),
        diff={"before": text, "after": new_text, "before_header": wanted["path"], "after_header": wanted["path"]},
    )


if __name__ == "__main__":
    main()
