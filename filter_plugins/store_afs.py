"""Filters for mail in an AFS cell: who is who there, volumes, and what the cluster runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# On the controller Ansible offers the project's module_utils to modules alone.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from filter_plugins.pod import REACHED, mount_point

# All kinds of keys that OpenAFS 1.8 knows of those that are safe.
CELL_ENCTYPES = ["aes256-cts-hmac-sha1-96"]
ADMINISTRATOR = "admin"


def afs_databases(servers: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], domain: str) -> dict[str, Any]:
    """Give the cell's database servers by name with their addresses: the first three servers, or else the first."""
    chosen = servers[:3] if len(servers) >= 3 else servers[:1]
    return {f"{server}.{domain}": hostvars[server]["mail_storage_address"] for server in chosen}


def afs_kerberos_principals(nodes: Sequence[str], cell: str, domain: str, realm: str) -> list[dict[str, Any]]:
    """Give who needs a key, as options of kerberos_principal: who writes mail on nodes, who administers, the cell."""
    names = [*(f"mail/{node}.{domain}" for node in nodes), ADMINISTRATOR]
    return [
        {"names": [f"{name}@{realm}" for name in names]},
        {"names": [f"afs/{cell}@{realm}"], "enctypes": CELL_ENCTYPES},
    ]


def afs_users(nodes: Sequence[str], domain: str) -> list[str]:
    """Give what the cell calls those who write mail on nodes."""
    return [f"mail.{node}.{domain}" for node in nodes]


def afs_volume_name(backend: str) -> str:
    """Give the name of a backend's volume."""
    return f"mail.{backend}"


def afs_volumes(
    backends: Mapping[str, Mapping[str, Any]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give the volumes of backends, as options of afs_volume."""
    return [
        {
            "name": afs_volume_name(name),
            "server": hostvars[backend["file_server"]]["mail_storage_address"],
            "partition": backend.get("partition", "a"),
        }
        | ({"quota": str(backend["quota"])} if "quota" in backend else {})
        for name, backend in backends.items()
    ]


def afs_mounts(backends: Sequence[str]) -> list[dict[str, str]]:
    """Give where volumes are mounted, as afs_client_mounts has it."""
    return [{"volume": afs_volume_name(name), "path": mount_point(name)} for name in backends]


def afs_cluster_resources(backends: Sequence[str]) -> list[dict[str, Any]]:
    """Give the mount of each backend's volume as a resource of the cluster, and who tells it of the token."""
    watch = {
        "id": "token_watch",
        "agent": "systemd:afs-token-watch",
        "operations": [
            {"name": "monitor", "interval": "30s", "timeout": "60s"},
            {"name": "start", "interval": "0s", "timeout": "60s"},
            {"name": "stop", "interval": "0s", "timeout": "60s"},
        ],
    }
    return [watch] + [
        {
            "id": f"{name}_volume",
            "agent": f"systemd:{mount_unit(mount_point(name))}",
            "operations": [
                {"name": "monitor", "interval": "20s", "timeout": "60s"},
                # The unit itself gives up after 90 s.
                {"name": "start", "interval": "0s", "timeout": "120s"},
                {"name": "stop", "interval": "0s", "timeout": "60s"},
            ],
        }
        for name in backends
    ]


def afs_cluster_constraints(backends: Sequence[str]) -> list[dict[str, Any]]:
    """Give the constraints by which backends run on nodes with a token, and nowhere once none has one.

    What Dovecot writes without a token is lost in the middle of an index. It is built anew then: expunged mail is back.
    """
    held = {"type": "location", "attribute": "token_held"}
    better = held | {"operation": "gte", "value": 1, "score": REACHED}
    never = held | {"operation": "lt", "value": 0, "score": "-INFINITY"}
    return [
        row
        for name in backends
        for row in (better | {"resource": name}, never | {"resource": name, "id": f"{name}_without_token"})
    ]


def mount_unit(path: str) -> str:
    """Give the unit of a mount, as systemd-escape names it: every dash that is no slash has to be told from one."""
    return path.strip("/").replace("-", "\\x2d").replace("/", "-") + ".mount"


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {
            "afs_databases": afs_databases,
            "afs_kerberos_principals": afs_kerberos_principals,
            "afs_users": afs_users,
            "afs_volumes": afs_volumes,
            "afs_volume_name": afs_volume_name,
            "afs_mounts": afs_mounts,
            "afs_cluster_resources": afs_cluster_resources,
            "afs_cluster_constraints": afs_cluster_constraints,
        }
