#!/usr/bin/python
DOCUMENTATION = r"""
---
module: user_dns_record
short_description: Sends a user's personal name to a backend by one dynamic update
description:
  - Runs on the primary of role C(user_dns), where the key is. Asks it for the user's record, sends one update if that
    is not as wanted, has the other servers told at once, and waits until all give the new answer.
  - The record is not all of a move. M(mail_route) writes the override, which the zone is compared with when the role
    runs again, and a user's sessions must end before another backend takes over.
options:
  user:
    description: The user's name. Case does not matter.
    type: str
    required: true
  backend:
    description: Backend to send the user to. Without, the user's shard decides.
    type: str
  state:
    description: V(present) makes a name for a new user, too. V(absent) takes it out.
    type: str
    choices: [present, absent]
    default: present
  timeout:
    description: Seconds to wait for all servers. One that does not follow is named in RV(behind), with a warning.
    type: int
    default: 5
  description:
    description: What role C(user_dns) has written.
    type: path
    default: /etc/dovecluster/user_dns.json
  key_file:
    description: File with the key that may update the zone.
    type: path
    default: /etc/dovecluster/user_dns.key
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows the user's record.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Send a user's name to be2
  user_dns_record:
    user: anna.b@example.org
    backend: be2

- name: Let the shard decide again
  user_dns_record:
    user: anna.b@example.org
"""

RETURN = r"""
name:
  description: The user's personal name.
  returned: always
  type: str
  sample: anna-b.imap.example.org
seconds:
  description: From the update until all servers gave the new answer; 0 if nothing was sent.
  returned: always
  type: float
  sample: 0.2
behind:
  description: Addresses of servers that did not give it in time.
  returned: always
  type: list
  elements: str
  sample: []
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import RouteError, shard_of
from ansible.module_utils.user_dns import (
    DESCRIPTION,
    KEY_FILE,
    Site,
    Zone,
    ZoneError,
    answered,
    read_site,
    shown,
    update,
)
from ansible.module_utils.user_names import NamingError, host_of, label_of, split


def ask(module: AnsibleModule, zone: Zone, server: str, label: str) -> tuple[str, ...] | None:
    """Return what a server says of a label; None if it doesn't answer."""
    command = ["kdig", f"@{server}", zone.full(label), "CNAME", "+noall", "+answer", "+timeout=1", "+retry=1"]
    code, out, _ = module.run_command(command)
    return dict(answered(zone, out.splitlines())).get(label, ()) if code == 0 else None


def wanted_record(site: Site, zone: Zone, params: dict) -> tuple[str, ...]:
    """Return the record that the user must have."""
    if params["state"] == "absent":
        return ()
    backend = params["backend"]
    if backend is None:
        return zone.to_shard(shard_of(params["user"]))
    if backend not in site.backends:
        raise ZoneError([f"backend {backend} is unknown; known are {', '.join(sorted(site.backends))}"])
    return zone.to_backend(backend)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "backend": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "timeout": {"type": "int", "default": 5},
            "description": {"type": "path", "default": DESCRIPTION},
            "key_file": {"type": "path", "default": KEY_FILE, "no_log": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    seconds = 0.0
    behind: list[str] = []
    try:
        site = read_site(params["description"])
        name = host_of(params["user"], site.domains, site.prefix)
        local, domain = split(params["user"])
        zone, label = site.zone(domain), label_of(local)
        primary, *_ = servers = list(site.servers.values())
        wanted = wanted_record(site, zone, params)
        found = ask(module, zone, primary, label)
        if found is None:
            raise ZoneError([f"the primary at {primary} does not answer for {name}"])
        changes = {label: (found, wanted)} if found != wanted else {}
        if changes and not module.check_mode:
            start = time.monotonic()
            module.run_command(
                ["knsupdate", "-k", params["key_file"]], data="".join(update(zone, primary, changes)), check_rc=True
            )
            # Left alone, Knot waits a second before it tells the others.
            module.run_command(["knotc", "zone-notify", zone.name], check_rc=True)
            behind = servers
            while behind and time.monotonic() < start + params["timeout"]:
                behind = [server for server in behind if ask(module, zone, server, label) != wanted]
            seconds = time.monotonic() - start
    except (ZoneError, NamingError, RouteError, OSError) as error:
        module.fail_json(msg=str(error))
    if behind:
        module.warn(f"{name}: {', '.join(behind)} did not give the new answer within {params['timeout']} s")
    module.exit_json(
        changed=bool(changes),
        name=name,
        seconds=round(seconds, 3),
        behind=behind,
        diff={
            "before": shown(zone, changes, 0),
            "after": shown(zone, changes, 1),
            "before_header": name,
            "after_header": name,
        },
    )


if __name__ == "__main__":
    main()
