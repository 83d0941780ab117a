#!/usr/bin/python
DOCUMENTATION = r"""
---
module: mail_sessions
short_description: Ends users' sessions on the backends of a node
description:
  - Ends sessions until the backends that run here have none of these users left, and fails when some stay.
  - It is of use once nobody can log in anew, when users are held.
options:
  backends:
    description: Names of the backends to look at. Those that do not run here have no sessions here.
    type: list
    elements: str
    required: true
  users:
    description: Users whose sessions to end.
    type: list
    elements: str
    default: []
  shards:
    description: End the sessions of all users of these shards, too.
    type: list
    elements: int
    default: []
  without:
    description: Users of these shards who keep their sessions, as an override sends them elsewhere.
    type: list
    elements: str
    default: []
  seconds:
    description: How long to go on trying.
    type: float
    default: 20
attributes:
  check_mode:
    support: full
    description: Says whose sessions would end.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: End a held user's sessions
  mail_sessions:
    backends: [be1, be2]
    users: [anna@example.org]
"""

RETURN = r"""
ended:
  description: Users who had sessions.
  returned: always
  type: list
  elements: str
"""

import os
import time
from collections.abc import Iterable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.doveadm_who import parse_who
from ansible.module_utils.mail_route import shard_of

INSTANCE = "/run/dovecot-{}/master.pid"
CONFIG = "/etc/dovecot/backends/{}.conf"
PATIENCE = "5"  # seconds that an instance has for an answer


def meant(users: Iterable[str], named: set[str], shards: set[int], without: set[str]) -> set[str]:
    """Return which of these users the options mean."""
    return {user for user in users if user in named or (shard_of(user) in shards and user not in without)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backends": {"type": "list", "elements": "str", "required": True},
            "users": {"type": "list", "elements": "str", "default": []},
            "shards": {"type": "list", "elements": "int", "default": []},
            "without": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    named, without = ({user.lower() for user in wanted[option]} for option in ("users", "without"))
    ended: set[str] = set()
    end = time.monotonic() + wanted["seconds"]
    while True:
        last = time.monotonic() > end  # a look that begins in time is followed by another: it sees who was ended
        left: dict[str, set[str]] = {}
        silent = []
        for backend in wanted["backends"]:
            if not os.path.exists(INSTANCE.format(backend)):
                continue
            doveadm = ["timeout", PATIENCE, "doveadm", "-c", CONFIG.format(backend)]
            code, out, _ = module.run_command([*doveadm, "-f", "json", "who", "-1"])
            if code:
                silent.append(backend)
                continue
            there = (session["user"] for session in parse_who(backend, out))
            left[backend] = meant(there, named, set(wanted["shards"]), without)
            ended |= left[backend]
            for user in left[backend] if not module.check_mode else ():
                module.run_command([*doveadm, "kick", user])
        if module.check_mode or not (silent or any(left.values())):
            break
        if last:
            stay = [f"{user} on {backend}" for backend, users in left.items() for user in sorted(users)]
            stay += [f"perhaps some on {backend}, which does not answer" for backend in silent]
            module.fail_json(msg=f"sessions do not end: {', '.join(stay)}")
        time.sleep(0.5)
    module.exit_json(changed=bool(ended), ended=sorted(ended))


if __name__ == "__main__":
    main()
