"""The lab's command line: see `script/lab --help` and molecule/lab/README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from . import machine, site
from .commands import STATE, LabError, networks, run
from .images import SUITES
from .labs import Lab, labs


def main() -> int:
    """Parse the command line and do what it says; errors are one line."""
    arguments = parser().parse_args()
    # Mitogen ties what it starts to one processor, and hosts would inherit that.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        machine.give_podman_settings()
        return arguments.action(arguments) or 0
    except LabError as problem:
        print(f"lab: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `down` removes what was made, `up` goes on", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="script/lab", description="Test hosts: see them, reach them, break them.")
    top.add_argument("--lab", default=os.environ.get("LAB"), help="which lab; needless while there is only one")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Any, text: str, *words: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        for word in words:
            sub.add_argument(word)
        sub.set_defaults(action=action)
        return sub

    sub = command("up", up, "make a lab's hosts, or start those that are missing")
    sub.add_argument(
        "--platforms", required=True, type=Path, metavar="FILE", help="a molecule.yml that describes hosts"
    )
    sub.add_argument(
        "--template", type=Path, metavar="DIR", help="the inventory template to make the lab's inventory from"
    )
    sub.add_argument("--release", default="13", choices=list(SUITES), help="Debian release of hosts that name none")
    command("status", status, "a table of all labs' hosts")
    sub = command("info", info, "addresses, networks, disks, state; front door; demo users; CA file")
    sub.add_argument("--json", action="store_true", help="for programs")
    command("welcome", welcome, "how to log in with a mail client")
    sub = command("ssh", ssh, "a shell on a host, or a command's output and exit code", "host")
    sub.add_argument("command", nargs=argparse.REMAINDER)
    command("kill", lambda a: chosen(a).kill(a.host), "power loss, without warning", "host")
    command("start", start, "power on; returns when ssh answers", "host")
    command("cut", lambda a: chosen(a).cut(a.host, a.network), "pull a cable", "host", "network")
    command("join", lambda a: chosen(a).join(a.host, a.network), "plug a cable in again", "host", "network")
    command("fail", lambda a: chosen(a).set_disk(a.host, a.disk, True), "break a disk (own kernel)", "host", "disk")
    command("mend", lambda a: chosen(a).set_disk(a.host, a.disk, False), "have the disk work again", "host", "disk")
    command("refuse", lambda a: chosen(a).set_bmc(a.host, True), "have a host's BMC refuse every command", "host")
    command("obey", lambda a: chosen(a).set_bmc(a.host, False), "have it obey again", "host")
    command("freeze", lambda a: chosen(a).freeze(a.host), "stop all that runs on a host", "host")
    command("thaw", lambda a: chosen(a).thaw(a.host), "have a frozen host go on", "host")
    command("console", console, "follow what a host prints while it boots", "host")
    sub = command("down", down, "remove a lab; nothing stays behind")
    sub.add_argument("--all", action="store_true", help="remove every lab of this machine")
    return top


def chosen(arguments: argparse.Namespace) -> Lab:
    """The lab that was named, or the only one there is."""
    if arguments.lab:
        return Lab.load(arguments.lab)
    names = labs()
    if len(names) != 1:
        raise LabError(f"name a lab with --lab or LAB=: {', '.join(names)}" if names else "there is no lab here")
    return Lab.load(names[0])


def up(arguments: argparse.Namespace) -> None:
    """Make a lab from a molecule.yml."""
    platforms = yaml.safe_load(arguments.platforms.read_text())["platforms"]
    Lab(arguments.lab or arguments.platforms.parent.name).up(platforms, arguments.release, arguments.template)


def status(arguments: argparse.Namespace) -> None:
    """Print a table of hosts."""
    rows = [("LAB", "HOST", "DEBIAN", "KERNEL", "STATE", "ADDRESSES")]
    for name in [arguments.lab] if arguments.lab else labs():
        lab = Lab.load(name)
        for host in lab.data["hosts"]:
            addresses = " ".join(
                f"{network}={port['address']}{' (cut)' if port['cut'] else ''}"
                for network, port in host["networks"].items()
            )
            state = lab.container_state(host["name"]) or "missing"
            rows.append((name, host["name"], host["release"], host["kernel"], state, addresses))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[5]]))


def info(arguments: argparse.Namespace) -> None:
    """Print all that is known of a lab."""
    lab = chosen(arguments)
    document = {
        "lab": lab.name,
        "release": lab.data["release"],
        "inventory": str(lab.directory / "inventory"),
        "ssh_key": str(lab.directory / "id_ed25519"),
        "networks": {name: network["subnet"] for name, network in lab.data["networks"].items()},
        "hosts": {
            host["name"]: {
                **{key: host[key] for key in ("release", "kernel", "groups", "disks", "power", "networks")},
                "bmc_address": host.get("bmc_address"),
                "state": lab.container_state(host["name"]) or "missing",
            }
            for host in lab.data["hosts"]
        },
        "bmc": lab.data["bmc"],
        "front_door": site.front_door(lab.data, lab.directory),
        "users": lab.data["users"],
    }
    print(json.dumps(document, indent=2) if arguments.json else yaml.safe_dump(document, sort_keys=False))


def welcome(arguments: argparse.Namespace) -> None:
    """Tell a person how to use what runs."""
    lab = chosen(arguments)
    door = site.front_door(lab.data, lab.directory)
    if not door:
        raise LabError(f"lab {lab.name} has no front door: it was not made from an inventory template")
    ports = door["ports"]
    first, last = (list(lab.data["users"].items())[index] for index in (0, -1))
    print(
        f"""
  Mail server   {door["login_hostname"]}: IMAP {ports["imaps"]} (TLS) or {ports["imap"]} (STARTTLS), \
POP3 {ports["pop3s"]}, ManageSieve {ports["managesieve"]}
  Its addresses {", ".join(door["login_addresses"])} (for /etc/hosts on this machine, or the client)
  Mail comes in {door["hostname"]}: SMTP {ports["smtp"]} at {", ".join(door["addresses"])}
  CA to trust   {door["ca_file"]}
  Users         {first[0]} with password {first[1]}
                {last[0]} with password {last[1]}
                all of them: script/lab --lab {lab.name} info

  Read mail     curl --cacert {door["ca_file"]} --resolve {door["login_hostname"]}:993:{door["login_addresses"][0]} \\
                  --user {first[0]} imaps://{door["login_hostname"]}/INBOX
  Look inside   script/lab --lab {lab.name} status
                script/lab --lab {lab.name} ssh mail1 crm_mon -1
  Break it      script/lab --lab {lab.name} kill mail1
  End it        script/lab --lab {lab.name} down
"""
    )


def ssh(arguments: argparse.Namespace) -> int:
    """Replace this process by ssh."""
    argv = [*chosen(arguments).ssh_argv(arguments.host), *arguments.command]
    os.execvp(argv[0], argv)


def start(arguments: argparse.Namespace) -> None:
    """Power on and wait until the host answers."""
    lab = chosen(arguments)
    lab.start(arguments.host)
    lab.wait_for_ssh(lab.host(arguments.host))


def console(arguments: argparse.Namespace) -> int:
    """Follow the container's output."""
    lab = chosen(arguments)
    lab.host(arguments.host)
    os.execvp("podman", ["podman", "logs", "--follow", lab.container(arguments.host)])


def down(arguments: argparse.Namespace) -> None:
    """Remove one lab or all; a lab whose making was interrupted has no lab.json, but its name."""
    if arguments.all:
        for name in sorted(left_behind()):
            Lab(name).down()
        return
    Lab(arguments.lab or chosen(arguments).name).down()


def left_behind() -> set[str]:
    """Names of labs that have anything on this machine: state, containers or networks."""
    states = [path.name for path in STATE.glob("*")]
    listed = run(["podman", "ps", "--all", "--format", '{{index .Labels "dovecluster.lab"}}']).split()
    labels = [(network.get("labels") or {}).get("dovecluster.lab") for network in networks()]
    return {name for name in [*states, *listed, *labels] if name}


if __name__ == "__main__":
    sys.exit(main())
