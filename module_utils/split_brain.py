"""Which side of a split brain is which, what differs, and how to show it: pure logic, on the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from module_utils.drbd import SYNCING, diverged
from module_utils.mail_difference import Mails, count, only_in

WHOLE = {"UpToDate", "Consistent", "Outdated"}  # an Inconsistent disk is neither old nor new


def split_sides(
    looks: Mapping[str, Mapping[str, Any]], running: Mapping[str, Sequence[str]], backend: str, mount: str
) -> dict[str, Any]:
    """Tell the side that serves from the other one, and say what is in the way of comparing them.

    looks has what drbd_resource_info returned of each node, running the backends whose instance answers there.
    """
    nodes = sorted(looks)
    if len(nodes) != 2:
        return {"state": "unknown", "problems": [f"{backend} is on {', '.join(nodes)}; only pairs are known here"]}
    status = {node: looks[node]["status"] for node in nodes}
    serving = [node for node in nodes if backend in running[node] and mount in looks[node]["mounted"]]
    primaries = [node for node in nodes if status[node]["role"] == "Primary"]
    problems = []
    if len(serving) != 1 or primaries != serving:
        problems.append(
            f"exactly one node must run {backend}, with its file system, and be its only primary: it is primary on"
            f" {_and(primaries)}, mounted at {mount} and answers on {_and(serving)}. Have Pacemaker run it on the node"
            " whose side stays, and nothing of it on the other"
        )
        return {"state": "unknown", "problems": problems}
    other = next(node for node in nodes if node not in serving)
    found = {"serving": serving[0], "other": other}
    if status[other]["role"] == "Unconfigured":
        problems.append(f"{backend} is down on {other}; bring it up: drbdadm up {backend}")
    elif status[other]["disk_state"] in WHOLE:
        if {status[node]["connection"] for node in nodes} == {"Connected"}:
            problems.append(f"there is no split brain: {backend} is connected on both nodes")
        elif not diverged(*(looks[node]["generation"] for node in nodes)):
            problems.append(
                f"there is no split brain: one side of {backend} has only missed what the other one wrote, and DRBD"
                f" syncs it when they are connected (drbdadm connect {backend}): {_states(status)}"
            )
    elif status[other]["replication"] in SYNCING:
        return {**found, "state": "syncing", "problems": []}
    else:
        problems.append(f"the disk of {backend} on {other} is {status[other]['disk_state']}: nothing there can be read")
    return {**found, "state": "unknown" if problems else "split", "problems": problems}


def _and(names: Sequence[str]) -> str:
    return " and ".join(names) or "no node"


def _states(status: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{node} is {values['connection']}, {values['disk_state']}" for node, values in status.items())


def untouched(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a side is as it was: nothing has been written, nobody has used it."""
    return all(
        (look["status"]["role"], look["status"]["written_bytes"], look["generation"], look["mounted"])
        == ("Secondary", before["status"]["written_bytes"], before["generation"], [])
        for look in (before, now)
    )


def differing_users(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Users who have not the same mails on both sides, by their hashes."""
    return sorted(user for user in {*one, *other} if one.get(user) != other.get(user))


def side_table(sides: Mapping[str, str], looks: Mapping[str, Any], totals: Mapping[str, Any]) -> list[str]:
    """Set out what is known of both sides."""
    nodes = [sides["serving"], sides["other"]]
    status = [looks[node]["status"] for node in nodes]
    rows = [
        ("", [f"{nodes[0]} (serves)", f"{nodes[1]} (given up)"]),
        ("DRBD", [f"{values['role']}, {values['connection']}, {values['disk_state']}" for values in status]),
        ("generation", [looks[node]["generation"][0] for node in nodes]),
        ("went on from", [looks[node]["generation"][1] for node in nodes]),
        ("differs from the peer", [f"{values['out_of_sync_bytes'] / 2**20:.1f} MiB" for values in status]),
        ("mails", [str(totals[node]["count"]) for node in nodes]),
        ("newest mail", [totals[node]["newest"] or "none" for node in nodes]),
    ]
    return [f"{name:<22} {one:<36} {other}".rstrip() for name, (one, other) in rows]


def difference_table(
    sides: Mapping[str, str], listed: Mapping[str, Mapping[str, Mails]], key: str = "mails"
) -> list[str]:
    """Set out which mails are on one side alone."""
    nodes = [sides["serving"], sides["other"]]
    lines = []
    for here, there in (nodes, nodes[::-1]):
        only = only_in(listed[here][key], listed[there][key])
        lines.append(f"only on {here}: {count(only)} mails")
        for user, mails in only.items():
            lines += [
                f"  {user}  {mail['received']}  {mail['folder']}  {mail['size']} bytes"
                f"  {mail['id'] or 'no Message-ID'}{'  ' if mail['flags'] else ''}{mail['flags']}"
                for mail in mails
            ]
    return lines
