"""Filters for mail on a SAN: what an array of ours exports, and which way a node reaches its portals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from netaddr import IPAddress, IPNetwork


def exported_luns(volumes: Mapping[str, Mapping[str, Any]], sbd: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give what a Linux host exports: each pod's disk, and sbd's if there is one."""
    disks = {f"mail_{pod}": volume for pod, volume in volumes.items()} | ({"sbd": sbd} if sbd else {})
    return [{"name": name, "device": disk["disk"], "wwid": disk["wwid"]} for name, disk in disks.items()]


def reached_portals(
    portals: Sequence[str], host: Mapping[str, Any], networks: Mapping[str, str]
) -> list[dict[str, str]]:
    """Give each portal with the address that a host has in the same network."""
    found = []
    for portal in portals:
        name = next((name for name, network in networks.items() if IPAddress(portal) in IPNetwork(network)), None)
        if name is None:
            raise AnsibleFilterError(f"portal {portal} is in none of mail_networks")
        found.append({"address": portal, "source": host[f"mail_{name}_address"]})
    return found


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {"exported_luns": exported_luns, "reached_portals": reached_portals}
