"""Filters for stores on DRBD: backends or pods as DRBD resources, those as what the cluster runs; split brains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# On the controller Ansible offers the project's module_utils to modules alone.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from filter_plugins.pod import mount_point
from module_utils import mail_difference, split_brain

FIRST_PORT = 7788  # TCP port of minor 0


def drbd_resources(
    backends: Mapping[str, Mapping[str, Any]], nodes: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give the DRBD resource of each backend, on all nodes of its pod, its own node first."""
    return [
        {
            "name": name,
            "minor": backend["drbd_minor"],
            "port": FIRST_PORT + int(backend["drbd_minor"]),
            "filesystem": backend.get("filesystem", "ext4"),
            "nodes": _drbd_nodes(
                sorted(nodes, key=lambda node: (node != backend["node"], node)), backend["disk"], hostvars
            ),
        }
        for name, backend in backends.items()
    ]


def drbd_resource(
    volume: Mapping[str, Any], name: str, nodes: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """Give the DRBD resource that is not one backend's: two_primaries, or with a filesystem and its mountpoint."""
    return {
        "name": name,
        "minor": volume["drbd_minor"],
        "port": FIRST_PORT + int(volume["drbd_minor"]),
        "nodes": _drbd_nodes(sorted(nodes), volume["disk"], hostvars),
        **more,
    }


def _drbd_nodes(nodes: Sequence[str], disk: str, hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": node, "address": hostvars[node]["mail_storage_address"], "disk": disk} for node in nodes]


def drbd_cluster_resources(resources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give each DRBD resource, and the mount of one that has a file system, as resources of the cluster."""
    found: list[dict[str, Any]] = []
    for resource in resources:
        found.append(_drbd(resource["name"]))
        if "filesystem" in resource:
            found.append(_filesystem(resource))
    return found


def _drbd(name: str) -> dict[str, Any]:
    return {
        "id": f"{name}_drbd",
        "agent": "ocf:linbit:drbd",
        "options": {"drbd_resource": name},
        "operations": [
            {"name": "start", "interval": "0s", "timeout": "240s"},
            # Longer than the handler that fences the peer may take.
            {"name": "promote", "interval": "0s", "timeout": "120s"},
            {"name": "demote", "interval": "0s", "timeout": "90s"},
            {"name": "stop", "interval": "0s", "timeout": "100s"},
            {"name": "monitor", "interval": "29s", "role": "Promoted", "timeout": "60s"},
            {"name": "monitor", "interval": "31s", "role": "Unpromoted", "timeout": "60s"},
        ],
    }


def _filesystem(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{resource['name']}_filesystem",
        "agent": "ocf:heartbeat:Filesystem",
        "options": {
            "device": f"/dev/drbd{resource['minor']}",
            "directory": resource.get("mountpoint", mount_point(resource["name"])),
            "fstype": resource["filesystem"],
            "options": "noatime,nodev,nosuid,noexec",
        },
        "operations": [
            {"name": "start", "interval": "0s", "timeout": "60s"},
            {"name": "stop", "interval": "0s", "timeout": "60s"},
            # Level 20 writes and reads a file: a mount that hangs is found.
            {"name": "monitor", "interval": "20s", "timeout": "60s", "options": {"OCF_CHECK_LEVEL": "20"}},
        ],
    }


def drbd_cluster_clones(resources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the clone of each DRBD resource: up on all its nodes, promoted on one, or on all where all mount it."""
    clones: list[dict[str, Any]] = []
    for resource in resources:
        nodes = len(resource["nodes"])
        meta: dict[str, Any] = {"promotable": True, "notify": True, "clone-max": nodes, "promoted-max": 1}
        if resource.get("two_primaries"):
            # Interleaved, a mount waits for the promotion on its own node alone.
            meta |= {"promoted-max": nodes, "interleave": True}
        clones.append({"id": f"{resource['name']}_drbd_clone", "of": f"{resource['name']}_drbd", "meta": meta})
    return clones


def drbd_cluster_constraints(resources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the constraints by which a backend's group runs where its DRBD resource is promoted, and after that."""
    found: list[dict[str, Any]] = []
    for resource in resources:
        group, clone = resource["name"], f"{resource['name']}_drbd_clone"
        found += [
            {"type": "colocation", "resource": group, "with": clone, "with_role": "Promoted", "score": "INFINITY"},
            {"type": "order", "first": clone, "first_action": "promote", "then": group, "then_action": "start"},
        ]
    return found


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {
            "drbd_resources": drbd_resources,
            "drbd_resource": drbd_resource,
            "drbd_cluster_resources": drbd_cluster_resources,
            "drbd_cluster_clones": drbd_cluster_clones,
            "drbd_cluster_constraints": drbd_cluster_constraints,
            "split_sides": split_brain.split_sides,
            "side_untouched": split_brain.untouched,
            "side_table": split_brain.side_table,
            "difference_table": split_brain.difference_table,
            "differing_users": split_brain.differing_users,
            "mails_only_in": mail_difference.only_in,
            "mails_count": mail_difference.count,
            "saved_folder": mail_difference.folder_for,
        }
