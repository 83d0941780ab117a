"""AFS cells: what their programs print, what is wanted, and what leads from one to the other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible.module_utils.kerberos import Key

# The kinds of Kerberos keys that OpenAFS 1.8 and kafs know, with their numbers (RFC 3962). Newer kinds can be given to
# asetkey, but no ticket of theirs is understood.
ENCTYPES = {18: "aes256-cts-hmac-sha1-96", 17: "aes128-cts-hmac-sha1-96"}
CELL = re.compile(r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
PARTITION = re.compile(r"[a-z]|[a-h][a-z]|i[a-v]")
USER = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
# What a file server keeps on a partition, and what a file system has by itself.
ON_PARTITION = re.compile(
    r"lost\+found|AFSIDat|Lock|V\d+\.vol|AlwaysAttach|NeverAttach|FORCESALVAGE|salvage\.\w+|\.snapshot|aquota\..*"
)
# One more character, and the read-only copy's name would be too long for the database.
VOLUME_NAME = 22
VOLUME = re.compile(r"[A-Za-z0-9_.-]+")
CLONES = (".readonly", ".backup")


class AfsError(Exception):
    """Something that is not what it must be; has all problems."""

    def __init__(self, *problems: str) -> None:
        """Keep the problems."""
        super().__init__("; ".join(problems))


@dataclass(frozen=True)
class Folder:
    """What was found where a partition is wanted."""

    exists: bool = False
    mounted: bool = False
    names: tuple[str, ...] = ()


def server_problems(
    wanted: Mapping[str, Any],
    present_cell: str,
    own_addresses: Iterable[str],
    keys: Sequence[Key],
    look: Callable[[str], Folder],
) -> list[str]:
    """Return all that is wrong with what role afs_server is told, and with the host."""
    cell, address, principal = wanted["cell"], wanted["address"], wanted["principal"]
    problems = [] if CELL.fullmatch(cell) else [f"afs_server_cell is {cell!r}, wanted a name such as example.org"]
    if present_cell not in ("", cell):
        problems.append(f"this is a server of the cell {present_cell}, not of {cell}: take another host, or its own cell")
    if len(wanted["databases"]) not in (1, 3):
        problems.append(f"afs_server_databases has {len(wanted['databases'])} servers, wanted 1 or 3")
    for name, value in [*wanted["databases"].items(), ("afs_server_address", address)]:
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            problems.append(f"{name}: {value!r} is not an IPv4 address, which is all that AFS knows")
    if len(set(wanted["databases"].values())) < len(wanted["databases"]):
        problems.append("afs_server_databases has an address twice")
    if address not in own_addresses:
        problems.append(f"afs_server_address is {address}, which this host does not have")
    if not wanted["partitions"] and address not in wanted["databases"].values():
        problems.append("this host has no afs_server_partitions and is not in afs_server_databases: it would do nothing")
    problems += key_problems(keys, principal)
    problems += [
        f"afs_server_superusers: {name!r} is no name such as ann or ann.admin"
        for name in wanted["superusers"]
        if not USER.fullmatch(name)
    ]
    letters = [partition["name"] for partition in wanted["partitions"]]
    problems += [f"partition {name}: is given twice" for name in sorted({n for n in letters if letters.count(n) > 1})]
    for partition in wanted["partitions"]:
        problems += partition_problems(partition["name"], partition["folder"], look)
    return problems


def key_problems(keys: Sequence[Key], principal: str) -> list[str]:
    """Return what is wrong with a cell's keys."""
    if not keys:
        return [f"afs_server_keytab is empty, wanted the keytab of {principal}"]
    strangers = sorted({key.principal for key in keys} - {principal})
    problems = [f"afs_server_keytab has a key of {name}, wanted {principal} alone" for name in strangers]
    problems += [
        f"afs_server_keytab: {key} is of no use to AFS, wanted {' or '.join(ENCTYPES.values())}"
        for key in keys
        if key.enctype not in ENCTYPES and key.principal == principal
    ]
    return problems


def partition_problems(name: str, folder: bool, look: Callable[[str], Folder]) -> list[str]:
    """Return why a partition cannot be used."""
    path = f"/vicep{name}"
    if not PARTITION.fullmatch(name):
        return [f"partition {name!r}: wanted a to z, or aa to iv"]
    found = look(path)
    if not found.mounted and not folder:
        what = "nothing is mounted there" if found.exists else "does not exist"
        return [f"{path} {what}: mount a file system, or set folder for it"]
    strange = [entry for entry in found.names if not ON_PARTITION.fullmatch(entry)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        return [f"{path} holds something else than volumes: {', '.join(strange[:3])}{more}"]
    return []


KEY_LINE = re.compile(r"^rxkad_krb5\s+kvno\s+(\d+)\s+enctype\s+(\d+); key is: ([0-9a-f]+)$", re.MULTILINE)


def read_keys(output: str, principal: str) -> list[Key]:
    """Return the keys that `asetkey list` prints; the cell's servers do not keep whose they are."""
    return sorted(
        Key(principal, int(version), int(enctype), bytes.fromhex(secret))
        for version, enctype, secret in KEY_LINE.findall(output)
    )


@dataclass(frozen=True, order=True)
class Site:
    """Where a volume, or a copy of it, is."""

    server: str
    partition: str

    def __str__(self) -> str:
        """Say where."""
        return f"{self.server} {self.partition}"


@dataclass(frozen=True)
class Volume:
    """A volume as the cell has it. Sizes are in KiB, times in seconds; copies that are not there have none."""

    site: Site
    used: int
    quota: int
    updated: int
    usable: bool = True
    copies: Mapping[Site, int] = field(default_factory=dict)
    backup: int = 0

    def stale(self) -> list[Site]:
        """Return the sites of read-only copies that are older than the volume, or not there yet."""
        return [site for site, made in self.copies.items() if made <= self.updated]
