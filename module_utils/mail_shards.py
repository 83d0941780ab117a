"""The shard table of a host: which backend each shard of users is sent to. Dovecot reads it as it reads overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.mail_route import HELD_ADDRESS, HELD_HOST, KEPT, Backend, RouteError, ranges

TABLE = "/etc/dovecot/routes/shards"
Table = dict[str, dict[str, str]]  # by shard, in two hexadecimal digits


def line_of(backend: Backend) -> dict[str, str]:
    """Return the fields that send a shard to a backend."""
    return {"host": backend.host, "hostip": backend.address}


def table_of(backends: Mapping[str, Backend]) -> Table:
    """Return the table in which each backend has its shards."""
    return {f"{shard:02x}": line_of(backend) for backend in backends.values() for shard in backend.shards}


def sent_to(fields: Mapping[str, str]) -> str:
    """Return the host that a line sends a shard to; of a held one, the host that it was sent to before."""
    return fields.get(KEPT, "") if fields["host"] == HELD_HOST else fields["host"]


def name_of(host: str, backends: Mapping[str, Backend]) -> str:
    """Return the name of the backend that a host is: a site's hosts have their names, in a domain that may change."""
    return next((backend.name for backend in backends.values() if backend.host == host), host.partition(".")[0])


def moving(table: Table, backends: Mapping[str, Backend]) -> list[dict[str, Any]]:
    """Return the shards that a table sends, or has sent before they were held, to another backend than wanted."""
    found = []
    for backend in backends.values():
        for shard in sorted(backend.shards):
            fields = table.get(f"{shard:02x}")
            if not fields:
                continue
            now = name_of(sent_to(fields), backends)
            if now != backend.name or fields["host"] == HELD_HOST:
                found.append({"shard": shard, "from": now, "to": backend.name})
    return found


def plan_table(table: Table, backends: Mapping[str, Backend], state: str) -> Table:
    """Return the table as a state wants it; see module mail_shards for the states."""
    wanted = table_of(backends)
    if state == "moved" or not table:
        return wanted
    moves = moving(table, backends)
    if state == "present":
        if moves:
            raise RouteError(
                f"{described(moves)}: users may have sessions there, and mail: playbooks/move_shards.yml moves shards"
            )
        return wanted
    planned = dict(table)
    for move in moves:
        shard = f"{move['shard']:02x}"
        host = sent_to(table[shard])
        if state == "held":
            planned[shard] = {"host": HELD_HOST, "hostip": HELD_ADDRESS, KEPT: host}
        elif table[shard]["host"] == HELD_HOST:
            before = backends.get(name_of(host, backends))
            if before is None:
                raise RouteError(f"shard {move['shard']} was on {host}, which is no backend: give it back")
            planned[shard] = line_of(before)
    return planned


def described(moves: list[dict[str, Any]]) -> str:
    """Say which shards move: 0-63 from be1 to be3."""
    by_way: dict[tuple[str, str], list[int]] = {}
    for move in moves:
        by_way.setdefault((move["from"], move["to"]), []).append(move["shard"])
    return "; ".join(f"{ranges(shards)} from {old} to {new}" for (old, new), shards in by_way.items())
