"""Routes: the backend of a user, computed as Dovecot does, and the file of overrides."""

from __future__ import annotations

import grp
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

OVERRIDES = "/etc/dovecot/routes/overrides"
SHARDS = 256
# A held user's connections must fail at once, and as a temporary failure: no host is behind these.
HELD_HOST = "held.invalid"
HELD_ADDRESS = "255.255.255.255"
HELD = "held"
# A held user's line says where the user comes from, so that a move that was cut short can be made again. Dovecot
# ignores it.
KEPT = "held_from"
BY_SHARD = "shard"
# Where routes are in LDAP, the line also says which host that named.
KEPT_HOME = "held_home"
BY_LDAP = "ldap"


class RouteError(Exception):
    """A route, backend or overrides file that is not what it must be."""


@dataclass(frozen=True)
class Backend:
    """Where front ends find a backend, and the shards it has."""

    name: str
    host: str
    address: str
    shards: frozenset[int]


def shard_of(user: str) -> int:
    """Return the user's shard.

    Dovecot takes the first 8 bytes of the MD5 digest as a big-endian number, modulo 256: the eighth byte.
    """
    return hashlib.md5(user.lower().encode(), usedforsecurity=False).digest()[7]


def parse_shards(text: str) -> frozenset[int]:
    """Return the shards of a description such as ``0-63,128``."""
    shards: set[int] = set()
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise RouteError(f"shards {text!r}: wanted numbers or ranges with commas between, such as 0-63,128")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= SHARDS:
            raise RouteError(f"shards {text!r}: {part} is not a range in 0-{SHARDS - 1}")
        shards.update(range(first, last + 1))
    return frozenset(shards)


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as ranges: 1-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def parse_backends(described: dict[str, dict[str, Any]]) -> dict[str, Backend]:
    """Return the backends of ``{name: {host, address, shards}}``; every shard must belong to exactly one.

    A backend without shards has only users with an override.
    """
    backends: dict[str, Backend] = {}
    owner: dict[int, str] = {}
    for name, value in described.items():
        missing = [key for key in ("host", "address") if key not in value]
        if missing:
            raise RouteError(f"backend {name}: {', '.join(missing)} missing")
        backend = Backend(
            name, value["host"], value["address"], parse_shards(value["shards"]) if "shards" in value else frozenset()
        )
        for shard in backend.shards:
            if shard in owner:
                raise RouteError(f"shard {shard} belongs to both {owner[shard]} and {name}: give it to one")
            owner[shard] = name
        backends[name] = backend
    unowned = sorted(set(range(SHARDS)) - set(owner))
    if unowned:
        raise RouteError(f"shards {', '.join(map(str, unowned))} belong to no backend: give them to one")
    return backends


def parse_routes(text: str, path: str = OVERRIDES) -> dict[str, dict[str, str]]:
    """Return the fields of each user, or shard, in a file of routes."""
    overrides: dict[str, dict[str, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(":", 7)
        if len(parts) != 8 or not parts[0]:
            raise RouteError(f"{path}, line {number}: found {line!r}, wanted USER:::::::host=HOST hostip=ADDRESS")
        fields = dict(field.partition("=")[::2] for field in parts[7].split())
        if not fields.get("host") or not fields.get("hostip"):
            raise RouteError(f"{path}, line {number}: {parts[0]} has no host= or no hostip=")
        overrides[parts[0]] = fields
    return overrides


def render_routes(overrides: dict[str, dict[str, str]]) -> str:
    """Return the text of a file of routes, sorted by user or shard."""
    lines = []
    for user, fields in sorted(overrides.items()):
        lines.append(f"{user}:::::::" + " ".join(f"{key}={value}" for key, value in fields.items()) + "\n")
    return "".join(lines)


def check_user(user: str) -> str:
    """Return the user's name as Dovecot looks it up, or say what is wrong with it."""
    if not user or re.search(r"[\s:#]", user):
        raise RouteError(f"user {user!r}: wanted a name without spaces, colons or number signs")
    return user.lower()


def route_of(
    user: str, backends: dict[str, Backend], overrides: dict[str, dict[str, str]], ldap_host: str = ""
) -> dict[str, Any]:
    """Return where front ends send a user: backend, host, address, and whether a shard, LDAP or an override says so.

    A held user has the backend ``held``; `home` is the backend that has the mail all the same. Where routes are in
    LDAP, `ldap_host` is the host that the front end would send the user to; of a held user, that was written down.
    """
    user = check_user(user)
    shard = shard_of(user)
    by_shard = next(backend for backend in backends.values() if shard in backend.shards)
    by_host = {backend.host: backend for backend in backends.values()}
    fields = overrides.get(user, {})
    ldap_host = fields.get(KEPT_HOME, "" if fields else ldap_host)
    default = by_host.get(ldap_host) if ldap_host else by_shard
    host = fields.get("host", ldap_host or by_shard.host)
    kept = fields.get(KEPT, BY_SHARD) if host == HELD_HOST else fields.get("host", BY_SHARD)
    home = default if kept == BY_SHARD else by_host.get(kept)
    by_default = BY_LDAP if ldap_host else BY_SHARD
    return {
        "backend": HELD if host == HELD_HOST else home and home.name,
        "home": home and home.name,
        "host": host,
        "address": fields.get("hostip", default and default.address),
        "shard": shard,
        "by": by_default if kept == BY_SHARD else "override",
    }


def plan(
    user: str,
    state: str,
    backend: Backend | None,
    overrides: dict[str, dict[str, str]],
    ldap_host: str = "",
) -> dict[str, dict[str, str]]:
    """Return the overrides with this user's route as wanted; the same ones if it is so already.

    `ldap_host` is the host that LDAP names, where routes are there.
    """
    user = check_user(user)
    wanted = dict(overrides)
    if state == "absent":
        wanted.pop(user, None)
        return wanted
    if state == "held":
        if wanted.get(user, {}).get("host") == HELD_HOST:
            return wanted  # and it still says where from
        kept = wanted.get(user, {}).get("host", BY_SHARD)
        fields = {"host": HELD_HOST, "hostip": HELD_ADDRESS, KEPT: kept}
        if kept == BY_SHARD and ldap_host:
            fields[KEPT_HOME] = ldap_host
    else:
        assert backend is not None
        fields = {"host": backend.host, "hostip": backend.address}
    wanted[user] = fields
    return wanted


def read_routes(path: str) -> tuple[bool, str, dict[str, dict[str, str]]]:
    """Return whether the file exists, its text, and what it says."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return False, "", {}
    return True, text, parse_routes(text, path)


def write_routes(path: str, text: str, group: str) -> None:
    """Replace the file in one step, on disk before its name is. The group may read it."""
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise RouteError(f"group {group} does not exist: install Dovecot first") from None
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), os.geteuid(), gid)
            os.fchmod(file.fileno(), 0o640)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
