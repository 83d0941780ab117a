"""The inventory of a lab: the architecture's own template, with the lab's addresses, connection and secrets."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

import yaml

from .commands import LabError, run

# The networks that inventory templates are written with (RFC 5737, 2544), by name of the lab network in their place.
TEMPLATE_NETWORKS = {
    "clients": "192.0.2.0/24",
    "cluster": "198.51.100.0/24",
    "storage": "203.0.113.0/24",
    "storage2": "198.18.0.0/24",
}
TEMPLATE_DISK = re.compile(r"/dev/vd([b-i])\b")
# What site.yml installs on every host: one with its own kernel has it before that kernel starts, which saves minutes.
PACKAGES = ["chrony", "openssl", "python3-cryptography", "ssl-cert", "unattended-upgrades"]
DEMO_USERS = ["alice", "bob", "carol", "dave", "erin", "frank", "postmaster"]


def template_octets(template: Path) -> dict[str, int]:
    """The fourth octet of each host of a template, from its address in the clients network."""
    octets: dict[str, int] = {}

    def visit(group: dict[str, Any]) -> None:
        for name, variables in (group.get("hosts") or {}).items():
            address = (variables or {}).get("mail_client_address")
            if address:
                octets[name] = int(str(address).rsplit(".", 1)[1])
        for child in (group.get("children") or {}).values():
            visit(child or {})

    hosts = template / "hosts.yml"
    if not hosts.exists():
        raise LabError(f"{template} is no inventory template: it has no hosts.yml")
    visit(yaml.safe_load(hosts.read_text())["all"])
    return octets


def write_inventory(lab: dict[str, Any], directory: Path, template: Path | None) -> None:
    """Write DIRECTORY/inventory: what a person does with `cp -r` and an editor, and what the lab alone knows."""
    inventory = directory / "inventory"
    if template:
        shutil.copytree(template, inventory)
        for path in inventory.rglob("*.yml"):
            path.write_text(adapted(path.read_text(), lab["networks"]))
        lab["users"] = {f"{name}@example.com": secrets.token_urlsafe(9) for name in DEMO_USERS}
        users = [
            {"name": name, "password": "{SHA512-CRYPT}" + crypt(password), "quota": "1G"}
            for name, password in lab["users"].items()
        ]
        listed = yaml.safe_dump({"directory_users": users}, sort_keys=False)
        write_private(inventory / "group_vars" / "all" / "users.yml", listed)
    connection = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(directory / "id_ed25519"),
        # A host that lost its power closes no connection: who waits for its answer has to notice.
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={directory}/known_hosts -o IdentitiesOnly=yes"
        " -o ServerAliveInterval=15 -o ServerAliveCountMax=4",
    }
    hosts: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    for host in lab["hosts"]:
        variables: dict[str, Any] = {"ansible_host": next(iter(host["networks"].values()))["address"]}
        if host["kernel"] == "own":
            variables["mail_firewall"] = False  # User-Mode Linux has no nftables for IP, on neither release
            variables["fencing_sbd_watchdog"] = "/dev/watchdog1"  # the first one is the kernel's own and does nothing
            variables["pacemaker_wait_seconds"] = 400  # one start of a unit may take it a minute on a busy machine
            variables["nfs_server_root"] = "/var/nfs"  # a folder of the machine, as its root is, cannot be exported
        if not template:
            names = {network: f"mail_{network.removesuffix('s')}_address" for network in TEMPLATE_NETWORKS}
            variables |= {names[n]: p["address"] for n, p in host["networks"].items() if n in names}
            for group in host["groups"]:
                groups.setdefault(group, {"hosts": {}})["hosts"][host["name"]] = {}
        hosts[host["name"]] = variables
    inventory.mkdir(exist_ok=True)
    document = {"all": {"hosts": hosts, "children": groups, "vars": connection}}
    (inventory / "lab.yml").write_text("# Written by the lab: how to reach its hosts.\n" + yaml.safe_dump(document))
    private = {
        "lab_name": lab["name"],
        "lab_bmc_user": lab["bmc"]["user"],
        "lab_bmc_password": lab["bmc"]["password"],
        "fencing_ipmi_password": lab["bmc"]["password"],
    }
    write_private(inventory / "group_vars" / "all" / "lab.yml", yaml.safe_dump(private))
    write_private(directory / "lab.json", json.dumps(lab, indent=2))


def adapted(text: str, networks: dict[str, dict[str, str]]) -> str:
    """The text of a template with the lab's networks and disks in place of the template's."""
    for name, network in networks.items():
        old = str(ipaddress.ip_network(TEMPLATE_NETWORKS[name]).network_address).removesuffix("0")
        new = str(ipaddress.ip_network(network["subnet"]).network_address).removesuffix("0")
        text = text.replace(old, new)
    # A template's first disk for mail is /dev/vdb, after the system's; the lab's first is /dev/ubda.
    return TEMPLATE_DISK.sub(lambda found: f"/dev/ubd{chr(ord(found[1]) - 1)}", text)


def crypt(password: str) -> str:
    """A SHA512-CRYPT hash of a password, which is passed by standard input."""
    return run(["openssl", "passwd", "-6", "-stdin"], stdin=password + "\n").strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def front_door(lab: dict[str, Any], directory: Path) -> dict[str, Any]:
    """What a mail client needs to know of a lab that was made from a template."""
    site_file = directory / "inventory" / "group_vars" / "all" / "site.yml"
    if not site_file.exists():
        return {}
    described = yaml.safe_load(site_file.read_text())
    hostname, addresses = described["mail_hostname"], described["mail_front_addresses"]
    login = {"login_hostname": hostname, "login_addresses": addresses}
    if described.get("mail_front_end") == "dns":
        # A name for each user, here the first one's; every backend passes on who belongs to another.
        user, _, domain = next(iter(lab["users"])).partition("@")
        backends = [backend["address"] for backend in described["mail_backends"].values()]
        login = {"login_hostname": f"{user}.imap.{domain}", "login_addresses": backends}
    return {
        "hostname": hostname,
        "addresses": addresses,
        **login,
        "ports": {"smtp": 25, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "managesieve": 4190}
        | ({"submission": 587, "submissions": 465} if described.get("mail_submission") else {}),
        "ca_file": str(directory / "inventory" / "ca.pem"),
    }
