#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_volume
short_description: Keeps a volume of an AFS cell where it is wanted, with its quota and copies
description:
  - Runs on a server of the cell as root, by C(vos -localauth).
  - Makes a volume that is not there, empty or from a dump. Moves one that is elsewhere, while it is in use.
  - Never removes a volume, and never overwrites one.
options:
  name:
    description: The volume. With 22 characters at most, as copies' names are longer.
    type: str
    required: true
  server:
    description: The file server that has it, by name or address.
    type: str
    required: true
  partition:
    description: Where it is there, such as V(a) for C(/vicepa).
    type: str
    required: true
  quota:
    description: How much may be stored, in KiB, or such as V(10G); V(0) is no limit. Not less than what is stored.
    type: str
  copies:
    description: >-
      Where read-only copies are; each file server has one at most. They are brought up to date when the volume has
      changed. Others are removed. Without, copies that are there are brought up to date.
    type: list
    elements: dict
    suboptions:
      server:
        description: A file server.
        type: str
        required: true
      partition:
        description: Where it is there.
        type: str
        required: true
  backup:
    description: A backup clone (C(NAME.backup)) of what the volume holds now. Files that do not change are shared.
    type: bool
    default: false
  dump:
    description: A file of M(afs_volume_dump) that the volume is made from while it does not exist.
    type: path
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows where the volume and its copies are, and the quota.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Keep a user's volume, with a backup clone of each day
  afs_volume:
    name: mail.ann
    server: fs1.example.org
    partition: a
    quota: 10G
    backup: true

- name: Keep read-only copies of the cell's root
  afs_volume:
    name: root.cell
    server: fs1.example.org
    partition: a
    copies:
      - {server: fs1.example.org, partition: a}
      - {server: fs2.example.org, partition: a}
"""

RETURN = r"""
steps:
  description: Commands of C(vos) that were needed.
  returned: success
  type: list
  elements: str
  sample: ["create 192.0.2.61 /vicepa mail.ann -maxquota 10485760"]
used:
  description: KiB that the volume held before.
  returned: success
  type: int
"""

import os
import socket
import time
from typing import Any

from ansible.module_utils.afs import (
    AfsError,
    Site,
    Volume,
    Wanted,
    dump_problem,
    expected,
    join,
    name_problems,
    parse_partition,
    parse_size,
    read_entry,
    read_free,
    read_servers,
    read_status,
    steps,
    volume_problems,
)
from ansible.module_utils.basic import AnsibleModule

STALE_SECONDS = 30.0


def vos(module: AnsibleModule, *arguments: str) -> str:
    """Have vos do something; return what it prints."""
    code, out, err = module.run_command(["vos", *arguments, "-localauth"], environ_update={"LC_ALL": "C"})
    if code != 0:
        raise AfsError(f"vos {' '.join(arguments)}: {' '.join((out + err).split())}")
    return out


def find(module: AnsibleModule, name: str) -> Volume | None:
    """Return a volume as the cell has it."""
    try:
        entry = read_entry(vos(module, "listvldb", "-name", name, "-noresolve"))
    except AfsError as error:
        if "no such entry" in str(error):
            return None
        raise
    if not entry:
        raise AfsError(f"volume {name}: only copies of it are left; see `vos listvldb {name}`")

    def status(which: str) -> str:
        # It fails when one of several servers does not answer, and prints what the others say.
        _, out, _ = module.run_command(["vos", "examine", which, "-format", "-noresolve", "-localauth"])
        return out

    copies = read_status(status(f"{name}.readonly")) if entry.copies else []
    return join(name, entry, read_status(status(name)), copies)


def find_made(module: AnsibleModule, name: str) -> Volume | None:
    """Return a volume that was just made. A database server that was away answers for some seconds with what it had."""
    end = time.monotonic() + STALE_SECONDS
    while not (found := find(module, name)) and time.monotonic() < end:
        time.sleep(1)
    return found


class Servers:
    """The cell's file servers."""

    def __init__(self, module: AnsibleModule) -> None:
        """Ask the database for them."""
        self.module = module
        self.known = read_servers(vos(module, "listaddrs", "-printuuid", "-noresolve"))

    def site(self, server: str, partition: str) -> Site:
        """Return a site as the database has it; a server may have several addresses there."""
        try:
            address = socket.gethostbyname(server)
        except OSError as error:
            raise AfsError(f"server {server}: {error}") from error
        for addresses in self.known:
            if address in addresses:
                return Site(addresses[0], parse_partition(partition))
        listed = ", ".join(addresses[0] for addresses in self.known) or "none"
        raise AfsError(f"server {server} ({address}) is no file server of this cell; known are {listed}")

    def free(self, wanted: Wanted) -> dict[str, dict[str, int]]:
        """Return the free KiB of the partitions of all servers that are asked for."""
        servers = {site.server for site in (wanted.site, *(wanted.copies or ()))}
        return {server: read_free(vos(self.module, "partinfo", server)) for server in servers}


def read_wanted(params: dict[str, Any], servers: Servers) -> Wanted:
    """Return what is wanted, or an error that has all that is wrong with it."""
    problems = name_problems(params["name"])
    sites = []
    for given in [params, *(params["copies"] or [])]:
        try:
            sites.append(servers.site(given["server"], given["partition"]))
        except AfsError as error:
            problems.append(str(error))
    try:
        quota = None if params["quota"] is None else parse_size(params["quota"])
    except AfsError as error:
        problems.append(str(error))
    if problems:
        raise AfsError(*dict.fromkeys(problems))
    copies = None if params["copies"] is None else tuple(dict.fromkeys(sites[1:]))
    return Wanted(params["name"], sites[0], quota, copies, params["backup"])


def check_dump(path: str) -> None:
    """Fail unless a file is a whole dump."""
    try:
        with open(path, "rb") as file:
            begin = file.read(16)
            file.seek(max(0, os.path.getsize(path) - 16))
            problem = dump_problem(begin, file.read())
    except OSError as error:
        raise AfsError(f"dump {path}: {error.strerror}") from error
    if problem:
        raise AfsError(f"dump {path} {problem}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "partition": {"type": "str", "required": True},
            "quota": {"type": "str"},
            "copies": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "server": {"type": "str", "required": True},
                    "partition": {"type": "str", "required": True},
                },
            },
            "backup": {"type": "bool", "default": False},
            "dump": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    done: list[list[str]] = []
    try:
        servers = Servers(module)
        wanted = read_wanted(params, servers)
        before = found = find(module, wanted.name)
        problems = volume_problems(wanted, found, servers.free(wanted))
        if problems:
            raise AfsError(*problems)
        if not found and params["dump"]:
            check_dump(params["dump"])
            step = ["restore", wanted.site.server, wanted.site.partition, wanted.name, "-file", params["dump"]]
            done.append(step)
            if module.check_mode:
                found = Volume(wanted.site, 0, wanted.quota or 0, 1)
            else:
                vos(module, *step)
                found = find_made(module, wanted.name)
                problems = volume_problems(wanted, found, servers.free(wanted))
                if problems:
                    raise AfsError(f"{AfsError(*problems)}; it was restored with the quota that it had")
        needed = steps(wanted, found)
        done += needed
        for step in [] if module.check_mode else needed:
            vos(module, *step)
    except AfsError as error:
        module.fail_json(msg=str(error))
    after = expected(wanted, found)
    module.exit_json(
        changed=bool(done),
        steps=[" ".join(step) for step in done],
        used=before.used if before else 0,
        diff={
            "before": before.shown(wanted.name) if before else "",
            "after": (after if done else before or after).shown(wanted.name),
        },
    )


if __name__ == "__main__":
    main()
