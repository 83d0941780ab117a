"""Filters for mail on an NFS server of ours: what it exports to pods, and what the cluster of a pair runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def nfs_exports(
    pods: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Give what is exported, each pod's directory to its nodes alone."""
    return [
        {"path": values["export"], "clients": [hostvars[node]["mail_storage_address"] for node in groups[pod]]}
        for pod, values in pods.items()
    ]


def nfs_cluster_resources(address: str, prefix: int) -> list[dict[str, Any]]:
    """Give the address and the server as resources of the cluster.

    prefix is the length of the storage network's prefix in bits.
    """
    return [
        {
            "id": "nfs_address",
            "agent": "ocf:heartbeat:IPaddr2",
            "options": {"ip": address, "cidr_netmask": str(prefix)},
            "operations": [{"name": "monitor", "interval": "20s", "timeout": "60s"}],
        },
        {
            "id": "nfs_server",
            "agent": "systemd:dovecluster-nfs-server",
            "operations": [
                {"name": "monitor", "interval": "10s", "timeout": "60s"},
                {"name": "start", "interval": "0s", "timeout": "60s"},
                {"name": "stop", "interval": "0s", "timeout": "60s"},
            ],
        },
    ]


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {"nfs_exports": nfs_exports, "nfs_cluster_resources": nfs_cluster_resources}
