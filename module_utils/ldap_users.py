"""Users of a small site's list as entries of LDAP."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.mail_route import Backend, shard_of
from ansible.module_utils.password_hash import slapd_hash

AT_A_TIME = 200  # users that one search asks for


class UserError(Exception):
    """A user who cannot be an entry."""


def stored(name: str, password: str) -> str:
    """Return a password's hash as slapd takes it; raises UserError where it cannot check it."""
    try:
        return slapd_hash(password)
    except ValueError as error:
        raise UserError(f"user {name}: {error}") from error


def entry(user: Mapping[str, Any], base: str, backends: Mapping[str, Backend]) -> str:
    """Return a user's entry as LDIF; every value in base64, so that none can be taken for something else."""
    name = str(user["name"]).lower()
    values = [
        *(("objectClass", kind) for kind in ("inetOrgPerson", "inetLocalMailRecipient", "mailQuotaUser")),
        *((key, name) for key in ("cn", "sn", "mail")),
        *(("mailHost", backend.name) for backend in backends.values() if shard_of(name) in backend.shards),
        *([("mailQuota", str(user["quota"]))] if user.get("quota") is not None else []),
        ("userPassword", stored(name, str(user.get("password", "")))),
    ]
    lines = [("dn", f"mail={escaped(name)},{base}"), *values]
    return "".join(f"{key}:: {base64.b64encode(value.encode()).decode()}\n" for key, value in lines)


def escaped(name: str) -> str:
    """Return a value as it stands in an entry's name (RFC 4514)."""
    return re.sub(r'([,+"\\<>;=#])', r"\\\1", name)


def search_filters(names: Iterable[str]) -> list[str]:
    """Return filters that find these users; addresses have none of the characters that a filter takes for its own."""
    listed = sorted(names)
    return [
        "(|" + "".join(f"(mail={name})" for name in listed[start : start + AT_A_TIME]) + ")"
        for start in range(0, len(listed), AT_A_TIME)
    ]


def found_users(text: str) -> set[str]:
    """Return the users in what ldapsearch printed."""
    return {found.lower() for found in re.findall(r"^mail: (\S+)$", text, re.MULTILINE)}
