"""Probe accounts: one for each backend."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from module_utils.mail_route import parse_shards, shard_of


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
        if "shards" in values:
            shards = parse_shards(str(values["shards"]))
            names = (f"{local}-{number}@{domain}" for number in itertools.count(1))
            found[backend] = next(name for name in names if shard_of(name) in shards)
    return found
