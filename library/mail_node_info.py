#!/usr/bin/python
"""Say which sessions a node serves, and which mails its replica holds."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mail_node_info
short_description: Say which backends a node runs, whose sessions it serves, and which mails its replica holds
description:
  - Asks the Dovecot instances themselves, so it sees what is, not what is configured.
  - A backend's instance that does not answer does not run here.
options:
  backends:
    description: Names of the backends to look for.
    type: list
    elements: str
    required: true
  users:
    description: Users whose sessions to return. All when empty.
    type: list
    elements: str
    default: []
  mails:
    description: Mails to look for in the replica, as (user, id, at), C(at) being the time they were delivered.
    type: list
    elements: dict
    default: []
  wait:
    description: Seconds to wait for O(mails).
    type: float
    default: 10
  config_dir:
    description: Where the instances' configuration files are.
    type: path
    default: /etc/dovecot/backends
  replica_config:
    description: Configuration of the replica's instance.
    type: path
    default: /etc/dovecot/replica.conf
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Ask which node serves the probe's sessions
  mail_node_info:
    backends: [be1, be2]
    users: [probe-1@example.org]
"""

RETURN = r"""
running:
  description: Backends that run here.
  returned: always
  type: list
  elements: str
  sample: [be1]
sessions:
  description: Sessions of O(users) that the backends here serve.
  returned: always
  type: list
  elements: dict
  sample: [{backend: be1, user: probe-1@example.org, service: imap, pid: 4749, client: 192.0.2.21}]
replicated:
  description: O(mails) with the milliseconds from delivery until the replica here held it, or null.
  returned: always
  type: list
  elements: dict
  sample: [{user: probe-1@example.org, id: <1@example.org>, lag_ms: 85.0}]
"""

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.doveadm_who import parse_who

Run = Callable[[list[str]], tuple[int, str, str]]


def sessions(run: Run, params: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Ask each backend's instance."""
    running, found = [], []
    for backend in params["backends"]:
        config = f"{params['config_dir']}/{backend}.conf"
        code, out, _ = run(["doveadm", "-c", config, "-f", "json", "who", "-1"])
        if code == 0:
            running.append(backend)
            found += parse_who(backend, out)
    return running, [row for row in found if not params["users"] or row["user"] in params["users"]]


def replicated(run: Run, params: dict[str, Any], clock: Callable[[], float] = time.time) -> list[dict[str, Any]]:
    """Wait for the mails to be in the replica."""
    end = clock() + params["wait"]
    found = []
    for mail in params["mails"]:
        argv = ["doveadm", "-c", params["replica_config"], "search", "-u", mail["user"]]
        lag = None
        while lag is None:
            code, out, _ = run([*argv, "mailbox", "INBOX", "HEADER", "Message-ID", mail["id"]])
            if code == 0 and out.strip():
                lag = round((clock() - float(mail["at"])) * 1000, 1)
            elif clock() > end:
                break
        found.append({"user": mail["user"], "id": mail["id"], "lag_ms": lag})
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backends": {"type": "list", "elements": "str", "required": True},
            "users": {"type": "list", "elements": "str", "default": []},
            "mails": {"type": "list", "elements": "dict", "default": []},
            "wait": {"type": "float", "default": 10},
            "config_dir": {"type": "path", "default": "/etc/dovecot/backends"},
            "replica_config": {"type": "path", "default": "/etc/dovecot/replica.conf"},
        },
        supports_check_mode=True,
    )
    module.get_bin_path("doveadm", required=True)
    running, found = sessions(module.run_command, module.params)
    lags = replicated(module.run_command, module.params)
    module.exit_json(changed=False, running=running, sessions=found, replicated=lags)


if __name__ == "__main__":
    main()
