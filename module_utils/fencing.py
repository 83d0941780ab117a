"""Whether a cluster's fencing is there for every node, out of what is declared and what the live cluster has.

Nothing here runs a command: fencing_check does.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any

OFF = ("false", "0", "no", "n", "off")


@dataclass
class Fencing:
    """The cluster's fencing as it is, or as it will be when the declaration is applied."""

    enabled: bool = True
    watchdog: bool = False
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)  # by id: agent, options

    @property
    def needs_watchdog(self) -> bool:
        """Whether a node is killed by its own watchdog, alone or by a pill on a disk."""
        return self.watchdog or any(device["agent"] == "fence_sbd" for device in self.devices.values())


def read(cib: str | None, resources: list[dict[str, Any]], properties: dict[str, Any]) -> Fencing:
    """What fences the cluster: the live configuration (none: Pacemaker does not run), under what is to be declared."""
    values: dict[str, str] = {}
    devices: dict[str, dict[str, Any]] = {}
    if cib:
        live = ET.fromstring(cib)
        for pair in live.findall("configuration/crm_config/cluster_property_set/nvpair"):
            values[pair.get("name", "")] = pair.get("value", "")
        for primitive in live.findall("configuration/resources//primitive[@class='stonith']"):
            options = {p.get("name", ""): p.get("value", "") for p in primitive.findall("instance_attributes/nvpair")}
            devices[primitive.get("id", "")] = {"agent": primitive.get("type", ""), "options": options}
    values |= {name: str(value).lower() for name, value in properties.items()}
    for resource in resources:
        standard, _, agent = resource["agent"].partition(":")
        if standard == "stonith":
            devices[resource["id"]] = {"agent": agent, "options": resource.get("options") or {}}
    seconds = re.match(r"\d+", values.get("stonith-watchdog-timeout", ""))
    return Fencing(values.get("stonith-enabled", "true") not in OFF, bool(seconds and int(seconds[0])), devices)


def nodes_of(options: dict[str, Any]) -> set[str] | None:
    """Names of the nodes that a device kills; none where only the device itself knows them."""
    listed = str(options.get("pcmk_host_list") or "").replace(",", " ").split()
    mapped = [pair.split(":")[0] for pair in re.split(r"[;\s]+", str(options.get("pcmk_host_map") or "")) if pair]
    return set(listed + mapped) or None


def problems(fencing: Fencing, nodes: list[str]) -> list[str]:
    """Why a node that fails would not be killed."""
    found = []
    if not fencing.enabled:
        found.append("stonith-enabled is false; wanted true")
    if fencing.watchdog:
        return found
    if not fencing.devices:
        found.append("no fence device is declared, nor in the live cluster; wanted one for each node")
    elif not any(nodes_of(device["options"]) is None for device in fencing.devices.values()):
        covered = set().union(*(nodes_of(device["options"]) or set() for device in fencing.devices.values()))
        found += [
            f"node {node} is in no fence device's pcmk_host_list ({', '.join(sorted(fencing.devices))})"
            for node in nodes
            if node not in covered
        ]
    return found


def question(options: dict[str, Any], action: str = "monitor") -> str:
    """What a fence agent reads from its standard input. Those with pcmk_ are Pacemaker's own."""
    lines = [f"action={action}"]
    for name, value in options.items():
        if value is not None and not name.startswith("pcmk_"):
            lines.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"
