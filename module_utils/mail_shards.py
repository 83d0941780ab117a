"""Shards: which of the 256 a user belongs to, and which backend has it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from module_utils.mail_route import shard_of

SHARDS = 256


def parse_shards(text: str | int) -> set[int]:
    """Turn `0-63,128,200-255` into the set of shards; raise ValueError on anything else."""
    shards: set[int] = set()
    for part in str(text).replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"shards are numbers and ranges such as 0-63,128: found {part!r} in {text!r}")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high < SHARDS:
            raise ValueError(f"shards are 0 to {SHARDS - 1}, lower first: found {part!r} in {text!r}")
        shards.update(range(low, high + 1))
    return shards


def probe_users(user: str, backends: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Name one probe account for each backend that has shards.

    A health check or a proof of a backend needs a user that lives there, and must get there as every user
    does: through the shard table, without an entry of its own. So the accounts are USER-1, USER-2, ...: for
    each backend the first number whose shard it has.
    """
    local, _, domain = user.partition("@")
    if not local or not domain:
        raise ValueError(f"the probe user is an address such as probe@example.org: found {user!r}")
    found = {}
    for backend, values in backends.items():
        shards = parse_shards(values["shards"]) if values.get("shards", "") != "" else set()
        if shards:
            names = (f"{local}-{number}@{domain}" for number in itertools.count(1))
            found[backend] = next(name for name in names if shard_of(name) in shards)
    return found
