"""AFS cells: what their programs print, what is wanted, and what leads from one to the other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    r"lost\+found|AFSIDat|Lock|V\d+\.vol|\.vol(ume|headers)\.lock|AlwaysAttach|NeverAttach|FORCESALVAGE|aquota\.\w+"
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
        problems.append(
            f"this is a server of the cell {present_cell}, not of {cell}: take another host, or its own cell"
        )
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
        problems.append(
            "this host has no afs_server_partitions and is not in afs_server_databases: it would do nothing"
        )
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


# Of a volume or of a copy.
MOUNTED = re.compile(r"[A-Za-z0-9_.-]{1,31}")
PATH = re.compile(r"(/[^/\s%]+)+")


@dataclass(frozen=True)
class ClientHost:
    """What was found on a host that shall be a client: who has keys, users that are missing, services in the way."""

    keys: Sequence[Key]
    has_kafs: bool = True
    missing_users: Sequence[str] = ()
    others: Sequence[str] = ()


def client_problems(wanted: Mapping[str, Any], host: ClientHost) -> list[str]:
    """Return all that is wrong with what role afs_client is told, and with the host."""
    cell, principal, mounts = wanted["cell"], wanted["principal"], wanted["mounts"]
    problems = [] if CELL.fullmatch(cell) else [f"afs_client_cell is {cell!r}, wanted a name such as example.org"]
    if not host.has_kafs:
        problems.append("this kernel has no kafs: run the one of Debian (linux-image-amd64)")
    problems += [
        f"{unit} runs here, the other client of AFS: take it off, it uses the same port" for unit in host.others
    ]
    problems += [f"afs_client_users: this host has no user {user}" for user in host.missing_users]
    if not wanted["databases"]:
        problems.append("afs_client_databases is empty")
    for name, value in wanted["databases"].items():
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            problems.append(f"afs_client_databases: {name} has {value!r}, which is no IPv4 address")
    present = {key.principal for key in host.keys}
    if principal not in present:
        found = ", ".join(sorted(present)) or "none"
        problems.append(f"no key of {principal} (afs_client_keytab, {wanted['keytab_file']}), but {found}")
    problems += [
        f"volume {mount['volume']!r}: wanted letters, digits, dots, hyphens and underscores, 31 at most"
        for mount in mounts
        if not MOUNTED.fullmatch(mount["volume"])
    ]
    paths = [mount["path"] for mount in mounts]
    problems += [f"path {path!r}: wanted such as /srv/mail/a" for path in paths if not PATH.fullmatch(path)]
    problems += [f"path {path}: is given twice" for path in sorted({path for path in paths if paths.count(path) > 1})]
    if wanted["cache_free"] != 0 and not 5 <= wanted["cache_free"] <= 90:
        problems.append(f"afs_client_cache_free is {wanted['cache_free']}, wanted 0, or 5 to 90")
    return problems


KEY_LINE = re.compile(r"^rxkad_krb5\s+kvno\s+(\d+)\s+enctype\s+(\d+); key is: ([0-9a-f]+)$", re.MULTILINE)


def read_keys(output: str, principal: str) -> list[Key]:
    """Return the keys that `asetkey list` prints; the cell's servers do not keep whose they are."""
    return sorted(
        Key(principal, int(version), int(enctype), bytes.fromhex(secret))
        for version, enctype, secret in KEY_LINE.findall(output)
    )


SIZE = re.compile(r"(\d+)([KMGT]?)")
FACTORS = {"": 1, "K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
# Quotas are kept in 31 bits, in KiB.
LARGEST_QUOTA = (1 << 31) - 1


@dataclass(frozen=True, order=True)
class Site:
    """Where a volume, or a copy of it, is: a file server's address, and a partition."""

    server: str
    partition: str

    def __str__(self) -> str:
        """Say where."""
        return f"{self.server} {self.partition}"


@dataclass(frozen=True)
class Entry:
    """What the database says of a volume: its site, and those of read-only copies, which may not be there yet."""

    site: Site
    copies: tuple[Site, ...] = ()
    locked: bool = False


@dataclass(frozen=True)
class Status:
    """What a file server says of a volume. Sizes are in KiB, times in seconds."""

    site: Site
    used: int
    quota: int
    updated: int
    backup: int
    usable: bool


@dataclass(frozen=True)
class Volume:
    """A volume as the cell has it. Of each copy it says as of when it is, of the backup clone when it was made."""

    site: Site
    used: int
    quota: int
    updated: int
    copies: Mapping[Site, int] = field(default_factory=dict)
    backup: int = 0

    def shown(self, name: str) -> str:
        """Return lines for a person."""
        lines = [f"{name}: {self.site}", f"quota: {self.quota} KiB"]
        for site, updated in sorted(self.copies.items()):
            lines.append(f"read-only copy: {site}{'' if updated == self.updated else ', not up to date'}")
        lines.append(
            f"backup clone: {'up to date' if self.backup > self.updated else 'older' if self.backup else 'none'}"
        )
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Wanted:
    """A volume as it shall be. None leaves things as they are."""

    name: str
    site: Site
    quota: int | None = None
    copies: tuple[Site, ...] | None = None
    backup: bool = False


def parse_size(text: str) -> int:
    """Return a size in KiB."""
    found = SIZE.fullmatch(text)
    size = int(found[1]) * FACTORS[found[2]] if found else -1
    if not 0 <= size <= LARGEST_QUOTA:
        raise AfsError(f"quota {text}: wanted KiB, or a number with M, G or T, below 2T; 0 for none")
    return size


def parse_partition(text: str) -> str:
    """Return a partition's path from any of its usual names."""
    letters = text.removeprefix("/").removeprefix("vicep")
    if not PARTITION.fullmatch(letters):
        raise AfsError(f"partition {text}: wanted a to z, or aa to iv")
    return f"/vicep{letters}"


def name_problems(name: str) -> list[str]:
    """Return what is wrong with a volume's name."""
    problems = []
    if len(name) > VOLUME_NAME:
        problems.append(f"volume {name}: the name has {len(name)} characters, allowed are {VOLUME_NAME}")
    if not VOLUME.fullmatch(name) or name.isdigit():
        problems.append(f"volume {name!r}: wanted letters, digits, dots, hyphens and underscores, not digits alone")
    problems += [f"volume {name}: names in {end} are those of copies" for end in CLONES if name.endswith(end)]
    return problems


SITE_LINE = re.compile(r"^ +server (\S+) partition (\S+) (RW|RO) Site", re.MULTILINE)


def read_entry(output: str) -> Entry | None:
    """Return what `vos listvldb -name NAME -noresolve` prints."""
    sites = SITE_LINE.findall(output)
    found = [Site(server, partition) for server, partition, kind in sites if kind == "RW"]
    if not found:
        return None
    copies = tuple(Site(server, partition) for server, partition, kind in sites if kind == "RO")
    return Entry(found[0], copies, "LOCKED" in output)


def read_status(output: str) -> list[Status]:
    """Return what `vos examine NAME -format -noresolve` prints, for each site that answered."""
    found = []
    for block in re.split(r"^name\t", output, flags=re.MULTILINE)[1:]:
        values = dict(re.findall(r"^(\w+)\t+(\S+)", block, re.MULTILINE))
        found.append(
            Status(
                Site(values["serv"], values["part"]),
                int(values["diskused"]),
                int(values["maxquota"]),
                int(values["updateDate"]),
                int(values["backupDate"]) if int(values["backupID"]) else 0,
                values["status"] == "OK" and values["needsSalvaged"] == "N",
            )
        )
    return found


def read_servers(output: str) -> list[list[str]]:
    """Return the addresses of each file server, as `vos listaddrs -printuuid -noresolve` prints them."""
    blocks = re.split(r"^UUID: .*$", output, flags=re.MULTILINE)[1:]
    return [re.findall(r"\d+\.\d+\.\d+\.\d+", block) for block in blocks]


def read_free(output: str) -> dict[str, int]:
    """Return the free KiB of each partition, as `vos partinfo` prints them."""
    return {
        partition: int(free)
        for partition, free in re.findall(r"^Free space on partition (\S+): (-?\d+) K", output, re.MULTILINE)
    }


def join(name: str, entry: Entry, status: Sequence[Status], copies: Sequence[Status]) -> Volume:
    """Return the volume of which the database and file servers say this; fail unless it can be worked with."""
    here = [one for one in status if one.site == entry.site]
    if entry.locked:
        raise AfsError(
            f"volume {name}: something else works with it; if that was broken off, give it back by `vos unlock {name}`"
        )
    if not here:
        raise AfsError(f"volume {name}: its file server {entry.site.server} says nothing about it: see that it runs")
    if not here[0].usable:
        raise AfsError(
            f"volume {name}: is not usable on {entry.site}, see `vos examine {name}`; `bos salvage` may help"
        )
    updates = {one.site: one.updated for one in copies}
    return Volume(
        entry.site,
        here[0].used,
        here[0].quota,
        here[0].updated,
        {site: updates.get(site, 0) for site in entry.copies},
        here[0].backup,
    )


def volume_problems(wanted: Wanted, found: Volume | None, free: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return why a volume cannot be as wanted. free has the free KiB of partitions by server that is asked for."""
    problems = name_problems(wanted.name)
    sites = [wanted.site, *(wanted.copies or ())]
    for site in dict.fromkeys(sites):
        if site.partition not in free[site.server]:
            known = ", ".join(free[site.server]) or "none"
            problems.append(f"{site.server} has no partition {site.partition}, but {known}")
    servers = [site.server for site in wanted.copies or ()]
    problems += [
        f"volume {wanted.name}: two read-only copies on {server}, which takes one"
        for server in sorted({server for server in servers if servers.count(server) > 1})
    ]
    if not found:
        return problems
    if wanted.quota and wanted.quota < found.used:
        problems.append(
            f"volume {wanted.name}: a quota of {wanted.quota} KiB is below the {found.used} KiB that are stored"
        )
    if found.site != wanted.site and free[wanted.site.server].get(wanted.site.partition, found.used) < found.used:
        room = free[wanted.site.server][wanted.site.partition]
        problems.append(f"volume {wanted.name}: {wanted.site} has {room} KiB free, and {found.used} KiB are stored")
    return problems


def steps(wanted: Wanted, found: Volume | None) -> list[list[str]]:
    """Return the commands for vos that make a volume as wanted."""
    name, site = wanted.name, wanted.site
    needed = []
    if not found:
        quota = wanted.quota or 0
        needed.append(["create", site.server, site.partition, name, "-maxquota", str(quota)])
        found = Volume(site, 0, quota, 0)
    if found.site != site:
        needed.append(["move", name, found.site.server, found.site.partition, site.server, site.partition])
    if wanted.quota not in (None, found.quota):
        needed.append(["setfields", name, "-maxquota", str(wanted.quota)])
    stale = any(updated != found.updated for updated in found.copies.values())
    if wanted.copies is not None:
        stale = any(found.copies.get(copy) != found.updated for copy in wanted.copies)
        for copy, updated in found.copies.items():
            if copy not in wanted.copies:
                what = ["remove", "-id", f"{name}.readonly"] if updated else ["remsite", "-id", name]
                needed.append([*what, "-server", copy.server, "-partition", copy.partition])
        needed += [["addsite", copy.server, copy.partition, name] for copy in wanted.copies if copy not in found.copies]
    if stale:
        needed.append(["release", name])
    # A move takes the clone away.
    if wanted.backup and (found.backup <= found.updated or found.site != site):
        needed.append(["backup", name])
    return needed


def expected(wanted: Wanted, found: Volume | None) -> Volume:
    """Return the volume once it is as wanted."""
    then = found or Volume(wanted.site, 0, 0, 1)
    copies = then.copies if wanted.copies is None else wanted.copies
    moved = then.site != wanted.site
    return Volume(
        wanted.site,
        then.used,
        then.quota if wanted.quota is None else wanted.quota,
        then.updated,
        dict.fromkeys(copies, then.updated),
        then.updated + 1 if wanted.backup else 0 if moved else then.backup,
    )


DUMP_BEGINS = bytes.fromhex("01b3a11322")
DUMP_ENDS = bytes.fromhex("043a214b6e")


def dump_problem(begin: bytes, end: bytes) -> str | None:
    """Return what is wrong with a dump that begins and ends like this."""
    if not begin.startswith(DUMP_BEGINS):
        return "is no dump of a volume"
    return None if end.endswith(DUMP_ENDS) else "is cut off"


def read_members(output: str) -> set[str]:
    """Return the members that `pts membership GROUP` prints."""
    return set(re.findall(r"^  (\S+)$", output, re.MULTILINE))


def read_names(output: str) -> dict[str, int]:
    """Return the users and groups that `pts listentries -users -groups` prints, with their numbers."""
    return {name: int(number) for name, number in re.findall(r"^(\S+) +(-?\d+) +-?\d+ +-?\d+ *$", output, re.MULTILINE)}


def principal_problems(
    present: Mapping[str, int], users: Sequence[str], groups: Mapping[str, Iterable[str]]
) -> list[str]:
    """Return what is wrong with users and groups wanted."""
    problems = [f"user {name!r}: wanted such as ann or ann.admin" for name in users if not USER.fullmatch(name)]
    problems += [f"user {name}: is a group already" for name in users if present.get(name, 0) < 0]
    for group, members in groups.items():
        if group not in present and not USER.fullmatch(group):
            problems.append(
                f"group {group!r}: wanted such as mail; those with a colon belong to a user, who makes them"
            )
        if present.get(group, -1) >= 0:
            problems.append(f"group {group}: is a user already")
        problems += [
            f"group {group}: its member {name} is unknown"
            for name in members
            if name not in present and name not in users
        ]
    return problems


RIGHTS = {"r": 1, "l": 8, "i": 4, "d": 16, "w": 2, "k": 32, "a": 64}
RIGHTS |= {letter: 1 << 24 + number for number, letter in enumerate("ABCDEFGH")}
SHORTHANDS = {"read": "rl", "write": "rlidwk", "all": "rlidwka", "none": ""}


@dataclass(frozen=True)
class AccessList:
    """Who may do what in a folder, and who may not all the same, by name with rights as letters."""

    allows: Mapping[str, str]
    denies: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> str:
        """Return lines for a person."""
        lines = [f"{name}: {rights}" for name, rights in sorted(self.allows.items())]
        lines += [f"not {name}: {rights}" for name, rights in sorted(self.denies.items())]
        return "".join(f"{line}\n" for line in lines)

    def text(self) -> str:
        """Return what file servers take; without a zero byte they refuse it."""
        entries = [*sorted(self.allows.items()), *sorted(self.denies.items())]
        lines = [f"{name} {sum(RIGHTS[letter] for letter in rights)}" for name, rights in entries]
        return "".join(f"{line}\n" for line in [str(len(self.allows)), str(len(self.denies)), *lines]) + "\0"


def read_access_list(text: str) -> AccessList:
    """Return the list that a file server gave, which ends with a zero byte."""
    try:
        allowed, denied, *words = text.rstrip("\0").split()
        entries = [(name, letters(int(number))) for name, number in zip(words[::2], words[1::2], strict=True)]
        first, last = int(allowed), int(allowed) + int(denied)
    except ValueError as error:
        raise AfsError(f"not understood as an access list: {text!r}") from error
    return AccessList(dict(entries[:first]), dict(entries[first:last]))


def letters(number: int) -> str:
    """Return rights as letters, in their usual order."""
    return "".join(letter for letter, bit in RIGHTS.items() if number & bit)


def wanted_access_list(allows: Mapping[str, str], denies: Mapping[str, str]) -> AccessList:
    """Return the list that is meant by letters in any order, or by words; nobody is in it without a right."""
    problems = [
        f"{name!r}: {rights!r}: wanted a name with letters of {''.join(RIGHTS)}, or with {', '.join(SHORTHANDS)}"
        for name, rights in [*allows.items(), *denies.items()]
        if set(SHORTHANDS.get(rights, rights)) - set(RIGHTS) or not re.fullmatch(r"[a-z0-9_.:@-]+", name)
    ]
    if problems:
        raise AfsError(*problems)
    kept = [{name: usual(rights) for name, rights in given.items() if usual(rights)} for given in (allows, denies)]
    if not kept[0]:
        raise AfsError("nobody would have a right")
    return AccessList(*kept)


def usual(rights: str) -> str:
    """Return rights, given by a word or as letters, as letters in their usual order."""
    return "".join(letter for letter in RIGHTS if letter in SHORTHANDS.get(rights, rights))
