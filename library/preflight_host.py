#!/usr/bin/python
"""Look at one host before anything is changed on it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_host
short_description: Look at one host before anything is changed on it
description:
  - Reads release, name, clock, free space and addresses of a host, and whether service addresses answer from there.
  - Changes nothing and reports problems in its result, so that those of all hosts can be shown together.
options:
  name:
    description: The name that the host should have.
    type: str
    required: true
  controller_time:
    description: The controller's clock (seconds since 1970, UTC).
    type: float
    required: true
  clock_skew:
    description: How far, in seconds, the host's clock may be off.
    type: float
    default: 30
  service_addresses:
    description: Addresses that only this site may use. Those on a network that the host is on are tried.
    type: list
    elements: str
    default: []
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
    controller_time: "{{ now(utc=true).timestamp() }}"
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
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

RELEASES = ("12", "13")
PORTS = (993, 25, 22)


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


def clock_problems(host: float, controller: float, allowed: float) -> list[dict[str, str]]:
    """Compare the clocks; the way from the controller to here takes a while, which is allowed for."""
    skew = host - controller
    if abs(skew) <= allowed:
        return []
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the controller"
    return [{"variable": "clock", "found": found, "wanted": f"at most {allowed:.0f} s; set it"}]


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
            "controller_time": {"type": "float", "required": True},
            "clock_skew": {"type": "float", "default": 30},
            "service_addresses": {"type": "list", "elements": "str", "default": []},
            "free_space": {"type": "int", "default": 1024},
        },
        supports_check_mode=True,
    )
    now = time.time()
    given: dict[str, Any] = module.params
    with open("/etc/os-release", encoding="utf-8") as file:
        system = parse_os_release(file.read())
    problems = release_problems(system)
    problems += clock_problems(now, given["controller_time"], given["clock_skew"])
    name = socket.gethostname()
    if name.split(".")[0] != given["name"]:
        problems.append({"variable": "hostname", "found": name, "wanted": f"{given['name']}, as in the inventory"})
    space = os.statvfs("/var")
    free = space.f_bavail * space.f_frsize // 1048576
    if free < given["free_space"]:
        problems.append({"variable": "/var", "found": f"{free} MB free", "wanted": f"{given['free_space']} MB free"})

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
        answering=answering,
    )


if __name__ == "__main__":
    main()
