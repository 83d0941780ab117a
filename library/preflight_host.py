#!/usr/bin/python
"""Look at one host before anything is changed on it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_host
short_description: Look at one host before anything is changed on it
description:
  - Reads release, name, free space, addresses, names in C(/etc/hosts), routes and certificate of a host, and whether
    service addresses and DNS answer from there. Its action plugin in role C(preflight) adds the clock.
  - Changes nothing and reports problems in its result, so that those of all hosts can be shown together.
options:
  name:
    description: The name that the host should have.
    type: str
    required: true
  service_addresses:
    description: Addresses that only this site may use. Those on a network that the host is on are tried.
    type: list
    elements: str
    default: []
  dns_name:
    description: A name that DNS is asked for. That there is no such name is an answer, too. Not asked if empty.
    type: str
    default: ""
  free_space:
    description: Megabytes that must be free below C(/var).
    type: int
    default: 1024
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Look at the host
  preflight_host:
    name: "{{ inventory_hostname }}"
    service_addresses: [192.0.2.31]
"""

RETURN = r"""
problems:
  description: What is wrong, as C({variable, found, wanted}).
  returned: always
  type: list
  elements: dict
release:
  description: Debian's major release.
  returned: always
  type: str
addresses:
  description: The host's own addresses.
  returned: always
  type: list
  elements: str
names:
  description: Names in C(/etc/hosts) and their addresses, without what role C(base) wrote there.
  returned: always
  type: dict
routes:
  description: The table of C(shards), and the hosts that C(overrides) send users to, where the host has them.
  returned: always
  type: dict
  sample: {shards: {"1f": {host: be1.example.org, hostip: 192.0.2.31}}, overrides: [be2.example.org]}
certificate:
  description: The certificate that role C(pki) installed before (PEM), or nothing.
  returned: always
  type: str
clock:
  description: The least and the most that the host's clock is ahead of the controller's, in seconds.
  returned: always
  type: list
  elements: float
answering:
  description: Service addresses that answer on the network.
  returned: always
  type: list
  elements: str
"""

import errno
import ipaddress
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_route import OVERRIDES, RouteError, read_routes
from ansible.module_utils.mail_shards import TABLE

RELEASES = ("12", "13")
PORTS = (993, 25, 22)
CERTIFICATE = "/etc/ssl/dovecluster/host.pem"


def parse_os_release(text: str) -> dict[str, str]:
    """Read NAME=value lines."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, _, value in pairs}


def release_problems(system: dict[str, str]) -> list[dict[str, str]]:
    """Refuse anything but the supported releases of Debian."""
    if system.get("ID") == "debian" and system.get("VERSION_ID") in RELEASES:
        return []
    found = system.get("PRETTY_NAME", "an unknown system")
    return [{"variable": "release", "found": found, "wanted": "Debian 12 or 13"}]


def dns_problems(name: str, lookup: Callable[..., Any] = socket.getaddrinfo) -> list[dict[str, str]]:
    """Tell whether DNS answers; what it says is another matter."""
    try:
        if name:
            lookup(name, None)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            wanted = "name servers in /etc/resolv.conf that answer this host"
            return [{"variable": "DNS", "found": f"no answer about {name}", "wanted": wanted}]
    return []


def parse_hosts_file(text: str) -> dict[str, list[str]]:
    """Read names and their addresses, but for the block that role base writes."""
    names: dict[str, list[str]] = {}
    ours = False
    for line in text.splitlines():
        if line.startswith(("# BEGIN dovecluster", "# END dovecluster")):
            ours = line.startswith("# BEGIN")
        address, *carried = line.partition("#")[0].split() or [""]
        for name in carried if not ours else []:
            names.setdefault(name.lower(), []).append(address)
    return names


def read(path: str) -> str:
    """Read a text file, if there is one."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def read_tables(shards: str = TABLE, overrides: str = OVERRIDES) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Read where the host sends users, and what is wrong with that."""
    routes: dict[str, Any] = {}
    try:
        routes["shards"] = read_routes(shards)[2]
        routes["overrides"] = sorted({fields["host"] for fields in read_routes(overrides)[2].values()})
    except RouteError as error:
        return routes, [{"variable": "routes", "found": str(error), "wanted": "a file as roles and playbooks write it"}]
    return routes, []


def parse_addresses(text: str) -> dict[str, str]:
    """Read addresses, each with its network, from `ip -json address`."""
    return {
        item["local"]: f"{item['local']}/{item['prefixlen']}"
        for link in json.loads(text or "[]")
        for item in link.get("addr_info", [])
        if "local" in item
    }


def on_link(address: str, networks: Iterable[str]) -> bool:
    """Tell whether the host can judge an address: beyond a router, the router or a firewall may answer for it."""
    try:
        return any(ipaddress.ip_address(address) in ipaddress.ip_interface(network).network for network in networks)
    except ValueError:  # no address at all: the inventory's check reports it
        return False


def reachable(text: str) -> bool:
    """Tell from `ip -json neigh show to ADDRESS` whether its neighbour has just answered."""
    return any("lladdr" in item and "REACHABLE" in item.get("state", []) for item in json.loads(text or "[]"))


def connects(address: str) -> bool:
    """Tell whether the address takes or refuses a connection: either way somebody is there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in PORTS:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.3)
            try:
                sock.connect((address, port))
                return True
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    return True
    return False


def wake(address: str) -> None:
    """Make the kernel ask for the address's neighbour."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"", (address, 9))
        except OSError:
            return  # no way there: then nobody answers


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "service_addresses": {"type": "list", "elements": "str", "default": []},
            "dns_name": {"type": "str", "default": ""},
            "free_space": {"type": "int", "default": 1024},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    system = parse_os_release(read("/etc/os-release"))
    problems = release_problems(system) + dns_problems(given["dns_name"])
    name = socket.gethostname()
    if name.split(".")[0] != given["name"]:
        problems.append({"variable": "hostname", "found": name, "wanted": f"{given['name']}, as in the inventory"})
    space = os.statvfs("/var")
    free = space.f_bavail * space.f_frsize // 1048576
    if free < given["free_space"]:
        problems.append({"variable": "/var", "found": f"{free} MB free", "wanted": f"{given['free_space']} MB free"})

    routes, faults = read_tables()
    problems += faults
    addresses = parse_addresses(module.run_command(["ip", "-json", "address"], check_rc=True)[1])
    others = [
        item for item in given["service_addresses"] if item not in addresses and on_link(item, addresses.values())
    ]
    for address in others:
        wake(address)
    if others:
        time.sleep(1)
    answering = [
        item
        for item in others
        if reachable(module.run_command(["ip", "-json", "neigh", "show", "to", item])[1]) or connects(item)
    ]
    module.exit_json(
        changed=False,
        problems=problems,
        release=system.get("VERSION_ID", ""),
        addresses=list(addresses),
        names=parse_hosts_file(read("/etc/hosts")),
        routes=routes,
        certificate=read(CERTIFICATE),
        answering=answering,
    )


if __name__ == "__main__":
    main()
