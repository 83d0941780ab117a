#!/usr/bin/python
DOCUMENTATION = r"""
---
module: user_dns_zone
short_description: Brings a zone of users' personal names to what users and their routes say, on the primary server
description:
  - Works out the zone of one domain from the users, the description that role C(user_dns) has written, and the
    overrides of module M(mail_route).
  - With O(state=created) it writes the zone file for a server that has none yet. If another server has the zone, it
    needs the file of overrides, even an empty one, as users may have moved.
  - With O(state=current) it fetches the zone from the running server and sends it the differences as dynamic updates,
    so that names that stay are served all the while.
  - Users with no usable name, of other domains or given twice are refused, all at once, before anything is changed.
options:
  domain:
    description: The domain of the users; its zone is named for it.
    type: str
    required: true
  users:
    description: Files with a user in each line, on the host.
    type: list
    elements: path
    required: true
  state:
    description: V(created) is content with any zone file; V(current) asks the running server.
    type: str
    choices: [created, current]
    default: current
  file:
    description: The zone file.
    type: path
    required: true
  overrides:
    description: File with the overrides. There may be none while nobody has moved.
    type: path
    required: true
  description:
    description: What role C(user_dns) has written.
    type: path
    default: /etc/dovecluster/user_dns.json
  key_file:
    description: File with the key that may update and transfer the zone.
    type: path
    default: /etc/dovecluster/user_dns.key
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows records that change, of 1,000 names at most.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Bring the zone to what users and routes say
  user_dns_zone:
    domain: example.org
    users: /var/lib/user-dns/users
    overrides: /var/lib/user-dns/overrides
    file: /var/lib/knot/imap.example.org.zone
"""

RETURN = r"""
changes:
  description: How many names are added, taken out, or get other records.
  returned: always
  type: int
  sample: 3
names:
  description: How many names the zone has; 0 if its file was there and O(state=created).
  returned: always
  type: int
  sample: 1500268
"""

import fileinput
import os
import pwd
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import RouteError, read_routes
from ansible.module_utils.user_dns import (
    DESCRIPTION,
    KEY_FILE,
    Changes,
    Records,
    Site,
    Zone,
    ZoneError,
    answered,
    common_records,
    differences,
    read_site,
    shown,
    update,
    user_records,
    zone_file,
)


def wanted_records(site: Site, params: dict) -> Records:
    """Return all that must be in the zone."""
    domain = params["domain"]
    records = common_records(site, site.zone(domain))
    overrides = read_routes(params["overrides"])[2]
    with fileinput.input(params["users"], encoding="utf-8") as users:
        records.update(user_records(site, domain, (line.rstrip("\n") for line in users), overrides))
    return records


def fetch(zone: Zone, server: str, key_file: str, wanted: Records) -> Changes:
    """Ask the server for the whole zone and return where it differs."""
    command = ["kdig", "-k", key_file, f"@{server}", zone.name, "AXFR", "+noall", "+answer", "+timeout=60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        changes = differences(wanted, answered(zone, asked.stdout))
        complaint = asked.stderr.read().strip()
    if asked.returncode or complaint:
        raise ZoneError([f"the server at {server} does not hand out {zone.name}: {complaint or asked.returncode}"])
    return changes


def must_not_forget(module: AnsibleModule, site: Site, zone: Zone) -> None:
    """Refuse to make a zone without overrides that another server has: users who have moved would be led astray."""
    if os.path.exists(module.params["overrides"]):
        return
    for server in list(site.servers.values())[1:]:
        command = ["kdig", f"@{server}", zone.name, "SOA", "+short", "+timeout=1", "+retry=0"]
        if module.run_command(command)[1].strip():
            raise ZoneError(
                [
                    f"{server} has the zone {zone.name}, so users may have moved, but {module.params['overrides']} is"
                    " gone: put it back, or an empty file if nobody has"
                ]
            )


def create(path: str, site: Site, zone: Zone, wanted: Records) -> None:
    """Write the zone file in one step, for the server."""
    owner = pwd.getpwnam("knot")
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o640)
        os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
        file.writelines(zone_file(site, zone, int(time.time()), wanted.items()))
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "path", "required": True},
            "state": {"type": "str", "choices": ["created", "current"], "default": "current"},
            "file": {"type": "path", "required": True},
            "overrides": {"type": "path", "required": True},
            "description": {"type": "path", "default": DESCRIPTION},
            "key_file": {"type": "path", "default": KEY_FILE, "no_log": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    exists = os.path.exists(params["file"])
    if params["state"] == "created" and exists:
        module.exit_json(changed=False, changes=0, names=0)
    if module.check_mode and not os.path.exists(params["description"]):
        module.exit_json(changed=True, changes=0, names=0)  # nothing is there yet to say more
    try:
        site = read_site(params["description"])
        zone = site.zone(params["domain"])
        server = next(iter(site.servers.values()))
        wanted = wanted_records(site, params)
        names = len(wanted)
        if params["state"] == "created":
            changes: Changes = {owner: ((), values) for owner, values in wanted.items()}
            must_not_forget(module, site, zone)
            if not module.check_mode:
                create(params["file"], site, zone, wanted)
        else:
            changes = fetch(zone, server, params["key_file"], wanted)
            if changes and not module.check_mode:
                module.run_command(
                    ["knsupdate", "-k", params["key_file"]], data="".join(update(zone, server, changes)), check_rc=True
                )
    except (ZoneError, RouteError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(changes),
        changes=len(changes),
        names=names,
        diff={
            "before": shown(zone, changes, 0),
            "after": shown(zone, changes, 1),
            "before_header": zone.name,
            "after_header": zone.name,
        },
    )


if __name__ == "__main__":
    main()
