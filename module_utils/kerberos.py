"""Kerberos principals and keytabs: what a KDC and a keytab hold, what is wanted, and the commands between."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Numbers of kinds of keys (RFC 3962, RFC 8009); the first ones are what new keys are made of.
ENCTYPES = {"aes256-cts-hmac-sha384-192": 20, "aes256-cts-hmac-sha1-96": 18}
NAMES = {number: name for name, number in ENCTYPES.items()}
NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?@[A-Za-z0-9.-]+")


class KerberosError(Exception):
    """Something that is not what it must be."""


@dataclass(frozen=True, order=True)
class Key:
    """A key of a keytab; the key itself is never shown."""

    principal: str
    version: int
    enctype: int
    secret: bytes = field(repr=False)

    def __str__(self) -> str:
        """Say which key it is."""
        return f"{self.principal} version {self.version} {NAMES.get(self.enctype, f'enctype {self.enctype}')}"


def read_keytab(data: bytes) -> list[Key]:
    """Return the keys in a keytab, sorted."""
    if data[:2] != b"\x05\x02":
        raise KerberosError("this is no keytab")
    keys, at = [], 2
    try:
        while at < len(data):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            if size > 0:
                if at + size > len(data):
                    raise KerberosError("this keytab is cut off")
                keys.append(read_entry(data[at : at + size]))
            at += abs(size)  # a negative one is a hole
    except struct.error as error:
        raise KerberosError(f"this keytab is broken: {error}") from error
    return sorted(keys)


def read_entry(data: bytes) -> Key:
    """Return the key in an entry of a keytab."""
    at = 2

    def text() -> bytes:
        nonlocal at
        (length,) = struct.unpack_from(">H", data, at)
        at += 2 + length
        return data[at - length : at]

    (components,) = struct.unpack_from(">H", data)
    realm = text().decode()
    name = "/".join(text().decode() for _ in range(components))
    _, _, version, enctype = struct.unpack_from(">IIBH", data, at)
    at += 11
    secret = text()
    if len(data) >= at + 4:  # versions beyond 255
        version = struct.unpack_from(">I", data, at)[0] or version
    return Key(f"{name}@{realm}", version, enctype, secret)


@dataclass(frozen=True)
class Principal:
    """A principal as the KDC has it: kinds of keys by version."""

    keys: dict[int, tuple[str, ...]]

    def newest(self) -> tuple[str, ...]:
        """Return the kinds of the newest keys."""
        return self.keys[max(self.keys)] if self.keys else ()

    def shown(self) -> str:
        """Return lines for a person."""
        return "".join(f"  version {version}: {', '.join(kinds)}\n" for version, kinds in sorted(self.keys.items()))


def read_principal(output: str) -> Principal:
    """Return what kadmin's getprinc says."""
    keys: dict[int, list[str]] = {}
    for version, kind in re.findall(r"^Key: vno (\d+), (?:DEPRECATED:)?([^,:\s]+)", output, re.MULTILINE):
        keys.setdefault(int(version), []).append(kind)
    return Principal({version: tuple(kinds) for version, kinds in keys.items()})


def check(names: Iterable[str], enctypes: Sequence[str]) -> None:
    """Raise an error that has all that is wrong with what is wanted."""
    problems = [
        f"{name!r} is no principal such as host/a.example.org@REALM" for name in names if not NAME.fullmatch(name)
    ]
    problems += [f"{kind}: wanted {' or '.join(ENCTYPES)}" for kind in enctypes if kind not in ENCTYPES]
    if not enctypes:
        problems.append("enctypes is empty")
    if problems:
        raise KerberosError("; ".join(problems))


def queries(name: str, found: Principal | None, wanted: Sequence[str] | None, rotate: bool, purge: bool) -> list[str]:
    """Return what kadmin has to do so that a principal has the kinds of keys wanted; None: so that it is gone."""
    if wanted is None:
        return [f"delprinc -force {name}"] if found else []
    kinds = ",".join(f"{kind}:normal" for kind in wanted)
    if not found:
        return [f"addprinc -randkey -e {kinds} {name}"]
    needed = []
    if rotate or sorted(found.newest()) != sorted(wanted):
        needed.append(f"cpw -randkey -keepold -e {kinds} {name}")
    if purge and len(found.keys) + len(needed) > 1:
        needed.append(f"purgekeys {name}")
    return needed


def expected(found: Principal | None, wanted: Sequence[str] | None, needed: Sequence[str]) -> Principal | None:
    """Return what the principal is once kadmin has done what is needed."""
    if wanted is None:
        return None
    keys = dict(found.keys) if found else {}
    if any(query.startswith(("addprinc", "cpw")) for query in needed):
        keys[max(keys, default=0) + 1] = tuple(wanted)
    if any(query.startswith("purgekeys") for query in needed):
        keys = {max(keys): keys[max(keys)]}
    return Principal(keys)
