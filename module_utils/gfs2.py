"""GFS2 as a value: read what the tools print, say what is wrong, plan what has to be done.

Nothing here runs a command: gfs2_filesystem does, and the unit tests feed it what real hosts printed.
"""

from __future__ import annotations

import json
import re
import struct
import uuid
from dataclasses import dataclass, replace
from typing import Any

MIB = 1024 * 1024
# The superblock is here whatever the block size. Its numbers are big-endian.
SUPERBLOCK_AT = 64 * 1024
SUPERBLOCK_LENGTH = 512
MAGIC = 0x01161970
# gfs2_jadd makes no smaller ones, so no file system gets journals that cannot be added later.
SMALLEST_JOURNAL = 32
# fsck.gfs2 writes this while it runs, so that nobody mounts; it stays when fsck.gfs2 is killed.
FSCK_PROTOCOL = "fsck_"
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
NAME = re.compile(r"[A-Za-z0-9_-]{1,30}")


@dataclass(frozen=True)
class Wanted:
    """A file system as it is declared."""

    device: str
    cluster: str
    name: str
    journals: int
    journal_size: int = 128

    @property
    def table(self) -> str:
        """The name under which the nodes share its locks."""
        return f"{self.cluster}:{self.name}"


@dataclass(frozen=True)
class Superblock:
    """What a file system says of itself at a fixed place."""

    protocol: str
    table: str
    uuid: str
    block_size: int


@dataclass(frozen=True)
class Found:
    """A file system as it is. Sizes are bytes, those of journals MiB."""

    superblock: Superblock
    journal_sizes: tuple[int, ...]
    size: int
    device_size: int
    mountpoint: str | None = None
    growth: int = 0


@dataclass(frozen=True)
class Plan:
    """What to do with a file system that exists, and what has to wait until it is mounted."""

    add_journals: int = 0
    add_journal_size: int = 0
    grow: int = 0
    problems: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()


# ------------------------------------------------------------------ reading


def parse_superblock(data: bytes) -> Superblock | None:
    """A superblock, or none where there is none."""
    if len(data) < SUPERBLOCK_LENGTH or struct.unpack_from(">I", data)[0] != MAGIC:
        return None

    def words(start: int) -> str:
        return data[start : start + 64].split(b"\0")[0].decode("utf-8", "replace")

    return Superblock(words(96), words(160), str(uuid.UUID(bytes=data[256:272])), struct.unpack_from(">I", data, 36)[0])


def parse_journals(text: str) -> tuple[int, ...]:
    """Sizes of all journals in MiB, out of `gfs2_edit -p journals`."""
    found = {int(n): int(size) for n, size in re.findall(r"^journal(\d+):.*?(\d+)MB", text, re.MULTILINE)}
    if sorted(found) != list(range(len(found))) or not found:
        raise ValueError(f"cannot read the list of journals: {text.strip()}")
    return tuple(found[number] for number in sorted(found))


def parse_blocks(text: str) -> int:
    """How many blocks of the device the file system uses, out of `gfs2_edit -p rindex`."""
    starts = [int(n) for n in re.findall(r"^\s*ri_data0\s+(\d+)", text, re.MULTILINE)]
    lengths = [int(n) for n in re.findall(r"^\s*ri_data\s+(\d+)", text, re.MULTILINE)]
    if not starts or len(starts) != len(lengths):
        raise ValueError(f"cannot read the list of resource groups: {text.strip()[-200:]}")
    return max(start + length for start, length in zip(starts, lengths, strict=True))


def parse_growth(text: str) -> int:
    """By how many MiB `gfs2_grow -T` would grow it. Its exit code says nothing: 255 when there is no need."""
    growth = re.search(r"will grow by (\d+)MB", text)
    if growth:
        return int(growth.group(1))
    if "has not grown" in text or "less than one resource group" in text:
        return 0
    raise ValueError(f"gfs2_grow says neither whether {text.strip()!r} can grow nor that it cannot")


def mountpoint(findmnt: str, number: str) -> str | None:
    """Where the device with this major:minor number is mounted as GFS2, out of `findmnt --json --list`."""
    for item in json.loads(findmnt)["filesystems"]:
        if item["maj:min"] == number and item["fstype"] == "gfs2":
            return item["target"]
    return None


# ------------------------------------------------------------------ judging


def declaration_problems(wanted: Wanted) -> list[str]:
    """What is wrong with a declaration by itself."""
    found = []
    if not CLUSTER_NAME.fullmatch(wanted.cluster):
        found.append(f"cluster is '{wanted.cluster}'; wanted 1 to 32 letters, digits, '-' and '_'")
    if not NAME.fullmatch(wanted.name):
        found.append(f"name is '{wanted.name}'; wanted 1 to 30 letters, digits, '-' and '_'")
    if wanted.journals < 1:
        found.append(f"journals is {wanted.journals}; wanted at least one for each node")
    if not SMALLEST_JOURNAL <= wanted.journal_size <= 1024:
        found.append(
            f"journal_size is {wanted.journal_size}; wanted {SMALLEST_JOURNAL} to 1024 MiB, as gfs2_jadd makes them"
        )
    return found


def space_problem(wanted: Wanted, device_size: int) -> str | None:
    """Whether a new file system fits."""
    need = 2 * wanted.journals * wanted.journal_size  # mkfs.gfs2 gives journals half of a device at most
    if device_size >= need * MIB:
        return None
    return (
        f"{wanted.device} has {device_size // MIB} MiB; wanted {need} or more: {wanted.journals} journals of"
        f" {wanted.journal_size} MiB (journal_size), and as much for files"
    )


def identity_problem(wanted: Wanted, superblock: Superblock) -> str | None:
    """Whether a file system is another one than the declared."""
    device = wanted.device
    if superblock.table != wanted.table:
        return (
            f"{device} holds a GFS2 with the lock table '{superblock.table}' (UUID {superblock.uuid}); wanted"
            f" '{wanted.table}'. Another cluster may have it mounted. If none has, and its mail belongs here, run:"
            f" tunegfs2 -o lockproto=lock_dlm,locktable={wanted.table} {device}"
        )
    if superblock.protocol.startswith(FSCK_PROTOCOL):
        return (
            f"{device} is being checked, or a check was cut short (lock protocol {superblock.protocol}). If no"
            " fsck.gfs2 runs on any node, run it once more to its end"
        )
    if superblock.protocol != "lock_dlm":
        return (
            f"{device} holds a GFS2 for one host (lock protocol {superblock.protocol}); wanted lock_dlm. Unmount it and"
            f" run: tunegfs2 -o lockproto=lock_dlm {device}"
        )
    return None


def plan(wanted: Wanted, found: Found) -> Plan:
    """What brings a file system of this cluster to its declaration."""
    missing = max(0, wanted.journals - len(found.journal_sizes))
    problems, waits = [], []
    if found.mountpoint is None:
        if missing:
            problems.append(
                f"{wanted.device} ({wanted.table}) has {len(found.journal_sizes)} journals; wanted {wanted.journals}."
                " Journals are added while it is mounted: let the cluster mount it on nodes that have one, then run"
                " again"
            )
        if found.growth:
            waits.append(
                f"{wanted.device} ({wanted.table}) is {found.size // MIB} MiB on {found.device_size // MIB} MiB: it"
                " grows while it is mounted, so run again then"
            )
        return Plan(problems=tuple(problems), waits=tuple(waits))
    # Those that are there have a size that somebody chose; a smaller one than gfs2_jadd makes only mkfs.gfs2 can make.
    size = max(SMALLEST_JOURNAL, max(found.journal_sizes)) if missing else 0
    return Plan(add_journals=missing, add_journal_size=size, grow=found.growth)


def unmounted_growth(size: int, device_size: int) -> int:
    """MiB by which a file system that nobody mounted may grow: only its tool, on the mounted one, knows exactly.

    The smallest resource group is 32 MiB; what is left over at the end is less than that.
    """
    left = (device_size - size) // MIB
    return left if left > 32 else 0


def after(wanted: Wanted, found: Found, todo: Plan) -> Found:
    """The file system as it will be, for check mode."""
    return replace(
        found,
        journal_sizes=found.journal_sizes + (todo.add_journal_size,) * todo.add_journals,
        size=found.size + todo.grow * MIB,
        growth=0 if found.mountpoint else found.growth,
    )


# ------------------------------------------------------------------ for people to read


def describe(found: Found) -> dict[str, Any]:
    """What the module returns of a file system."""
    return {
        "uuid": found.superblock.uuid,
        "lock_table": found.superblock.table,
        "journals": len(found.journal_sizes),
        "journal_sizes": list(found.journal_sizes),
        "size": found.size,
        "device_size": found.device_size,
        "mounted": found.mountpoint or "",
    }


def listing(device: str, found: Found | None, content: str) -> str:
    """Lines for the difference that is shown."""
    if found is None:
        return f"{device}: {content}\n"
    sizes = ", ".join(f"{size} MiB" for size in found.journal_sizes) or "unknown"
    return (
        f"{device}: gfs2\nlock table: {found.superblock.table}\njournals: {sizes}\nsize: {found.size // MIB} MiB\n"
        f"mounted: {found.mountpoint or 'no'}\n"
    )
