"""Filters that turn the site's description of a pod into what its cluster runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# A node's backend stays where it is after a failover: moving back would end sessions a second time for nothing.
PREFERENCE = 100


def pod_backends(backends: Mapping[str, Mapping[str, Any]], pod: str) -> dict[str, Mapping[str, Any]]:
    """Give the backends of one pod."""
    return {name: backend for name, backend in backends.items() if backend["pod"] == pod}


def backend_resources(backends: Mapping[str, Mapping[str, Any]], prefix: int) -> list[dict[str, Any]]:
    """Give the cluster resources of backends: the service address and the Dovecot instance of each.

    prefix is the length of the clients network's prefix in bits.
    """
    resources: list[dict[str, Any]] = []
    for name, backend in backends.items():
        resources += [
            {
                "id": f"{name}_address",
                "agent": "ocf:heartbeat:IPaddr2",
                "options": {"ip": backend["address"], "cidr_netmask": str(prefix)},
                "operations": [{"name": "monitor", "interval": "10s", "timeout": "20s"}],
            },
            {
                "id": f"{name}_dovecot",
                "agent": f"systemd:dovecot-backend@{name}",
                "operations": [
                    {"name": "monitor", "interval": "10s", "timeout": "30s"},
                    {"name": "start", "interval": "0s", "timeout": "60s"},
                    {"name": "stop", "interval": "0s", "timeout": "60s"},
                ],
            },
        ]
    return resources


def backend_groups(backends: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the resource group of each backend, which starts in order and stops in reverse."""
    return [{"id": name, "resources": [f"{name}_address", f"{name}_dovecot"]} for name in backends]


def backend_preferences(backends: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the location constraints that put each backend on its own node at first."""
    return [
        {"id": f"{name}_prefers", "resource": name, "node": backend["node"], "score": PREFERENCE}
        for name, backend in backends.items()
    ]


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {
            "pod_backends": pod_backends,
            "backend_resources": backend_resources,
            "backend_groups": backend_groups,
            "backend_preferences": backend_preferences,
        }
