"""Filters that turn the site's description of a pod into what its cluster runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# A node's backend stays where it is after a failover: moving back would end sessions a second time for nothing.
PREFERENCE = 100
# More than what keeps a backend in its place. A negative score elsewhere would stop it when no node is better.
REACHED = 100000
# systemd kills an instance 25 s after the order at the latest. One that is still there, as its file system hangs, it
# calls stopped, but no sooner than 40 s after the order: by then the stop must have failed, so that the node is fenced.
STOP = "35s"


def pod_backends(backends: Mapping[str, Mapping[str, Any]], pod: str) -> dict[str, Mapping[str, Any]]:
    """Give the backends of one pod."""
    return {name: backend for name, backend in backends.items() if backend["pod"] == pod}


def mount_point(backend: str) -> str:
    """Give the directory where a backend's file system is mounted."""
    return f"/srv/mail/{backend}"


def mounted_backends(backends: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give backends that each have their mail on a file system of their own."""
    return {name: {**backend, "mail_root": mount_point(name)} for name, backend in backends.items()}


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
                "operations": [{"name": "monitor", "interval": "20s", "timeout": "60s"}],
            },
            {
                "id": f"{name}_dovecot",
                "agent": f"systemd:dovecot-backend@{name}",
                "operations": [
                    {"name": "monitor", "interval": "10s", "timeout": "60s"},
                    {"name": "start", "interval": "0s", "timeout": "60s"},
                    {"name": "stop", "interval": "0s", "timeout": STOP},
                ],
            },
        ]
    return resources


def backend_groups(backends: Mapping[str, Mapping[str, Any]], before: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Give the resource group of each backend, which starts in order and stops in reverse.

    before names what the store starts for a backend before its address: its mount, for example.
    """
    parts = [*before, "address", "dovecot"]
    return [{"id": name, "members": [f"{name}_{part}" for part in parts]} for name in backends]


def backend_preferences(backends: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the location constraints that put each backend on its own node at first."""
    return [
        {"type": "location", "resource": name, "node": backend["node"], "score": PREFERENCE}
        for name, backend in backends.items()
    ]


def backends_on_mounts(backends: Mapping[str, Mapping[str, Any]], clones: Sequence[str]) -> list[dict[str, Any]]:
    """Give the constraints by which backends run where every one of the named clones has mounted its file system."""
    found: list[dict[str, Any]] = []
    for name in backends:
        for clone in clones:
            found += [
                {"type": "order", "first": clone, "then": name},
                {"type": "colocation", "resource": name, "with": clone, "score": "INFINITY"},
            ]
    return found


def reach_resources(reached: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the resources by which a node says, in its attribute NAME_reached, how many of some hosts answer it.

    Each has hosts, and the interval in seconds at which they are asked. Hosts that are away are away for all nodes: so
    that none of them says so before the others, what they say is collected (dampen) for longer than a ping can take.
    """
    return [
        {
            "id": f"reach_{name}",
            "agent": "ocf:pacemaker:ping",
            "options": {
                "name": f"{name}_reached",
                "host_list": " ".join(asked["hosts"]),
                "attempts": "2",
                "timeout": "2",
                "dampen": f"{3 * asked['interval']}s",
            },
            "operations": [{"name": "monitor", "interval": f"{asked['interval']}s", "timeout": "60s"}],
        }
        for name, asked in reached.items()
    ]


def reach_clones(reached: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the clones that have all nodes say so."""
    return [{"id": f"reach_{name}_clone", "of": f"reach_{name}"} for name in reached]


def backends_where_reached(
    backends: Mapping[str, Mapping[str, Any]], reached: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give the constraints by which backends run on nodes that reach something of each, if any do."""
    return [
        {
            "type": "location",
            "resource": name,
            "attribute": f"{asked}_reached",
            "operation": "gte",
            "value": 1,
            "score": REACHED,
        }
        for name in backends
        for asked in reached
    ]


def corosync_nodes(nodes: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a pod's nodes as corosync wants them: name, number and the address on the cluster network."""
    return [
        {"name": node, "id": hostvars[node]["mail_node_id"], "addresses": [hostvars[node]["mail_cluster_address"]]}
        for node in nodes
    ]


def ipmi_devices(
    nodes: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], password: str
) -> dict[str, dict[str, str]]:
    """Give the BMC of each of a pod's nodes."""
    return {
        node: {
            "address": hostvars[node]["fencing_ipmi_address"],
            "user": hostvars[node]["fencing_ipmi_user"],
            "password": hostvars[node].get("fencing_ipmi_password", password),
        }
        for node in nodes
    }


def site_hosts(
    hosts: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    backends: Mapping[str, Mapping[str, Any]],
    domain: str,
) -> dict[str, list[str]]:
    """Give the names of every machine (its address on the cluster network) and backend, by address."""
    names = {hostvars[host]["mail_cluster_address"]: [f"{host}.{domain}", host] for host in hosts}
    return names | {backend["address"]: [f"{name}.{domain}"] for name, backend in backends.items()}


def service_addresses(backends: Any, front_addresses: Any) -> list[str]:
    """Give the addresses that move between hosts. Neither argument has been checked yet: what is none is left out."""
    values = backends.values() if isinstance(backends, Mapping) else []
    addresses = [backend.get("address") for backend in values if isinstance(backend, Mapping)]
    addresses += front_addresses if isinstance(front_addresses, list) else [front_addresses]
    return [address for address in addresses if isinstance(address, str)]


def routed_backends(backends: Mapping[str, Mapping[str, Any]], domain: str) -> dict[str, dict[str, str]]:
    """Give what a front end needs to know of each backend: its name on certificates, its address and any shards."""
    return {
        name: {"host": f"{name}.{domain}", "address": backend["address"]}
        | ({"shards": str(backend["shards"])} if "shards" in backend else {})
        for name, backend in backends.items()
    }


def director_backends(backends: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give what directors need to know of each backend: its address and its weight."""
    return {
        name: {key: backend[key] for key in ("address", "weight") if key in backend}
        for name, backend in backends.items()
    }


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {
            "pod_backends": pod_backends,
            "mounted_backends": mounted_backends,
            "backend_resources": backend_resources,
            "backend_groups": backend_groups,
            "backend_preferences": backend_preferences,
            "backends_on_mounts": backends_on_mounts,
            "reach_resources": reach_resources,
            "reach_clones": reach_clones,
            "backends_where_reached": backends_where_reached,
            "corosync_nodes": corosync_nodes,
            "ipmi_devices": ipmi_devices,
            "site_hosts": site_hosts,
            "service_addresses": service_addresses,
            "routed_backends": routed_backends,
            "director_backends": director_backends,
        }
