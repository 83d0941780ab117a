"""What can be known to be wrong with the description of a site's store."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ansible.module_utils.fc import WWN, wwn

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check

FILESYSTEMS = ("ext4", "xfs")
MINORS = 256  # more backends than a pod ever has
NFS_DIRECTORY = "/srv/nfs"  # role nfs_server's default
NFS_VERSIONS = ("3", "4.1", "4.2")
NFS_SECURITY = ("sys", "krb5", "krb5i", "krb5p")
IQN = re.compile(r"^iqn\.\d{4}-\d{2}(\.[a-z0-9-]+)+(:[a-z0-9:.-]+)?$")
WWID = re.compile(r"^3([0-9a-f]{16}|[0-9a-f]{32})$")
LIO_WWID = "36001405"  # what those of a Linux host begin with


def check_dsync(check: Check) -> None:
    """Check that dsync can merge what it replicates."""
    found = check.site.get("mail_format")
    if check.site.get("mail_store") == "dsync" and found in ("sdbox", "maildir", "mbox"):
        check.report("site", "mail_format", found, "mdbox: in others dsync loses mail, or brings it back")


def check_drbd(check: Check) -> None:
    """Check what DRBD replicates, and over which network."""
    store = check.site.get("mail_store")
    if store not in ("drbd", "drbd_gfs2"):
        return
    check_storage_network(check, "DRBD", "mail_nodes")
    for pod, nodes in sorted(check.pods.items()):
        if len(nodes) != 2:
            check.report("site", f"group {pod}", f"{len(nodes)} nodes", "2 nodes: the kernel's DRBD replicates to one")
    if store == "drbd":
        check_backend_disks(check)
    else:
        check_volumes(check)


def check_storage_network(check: Check, purpose: str, *groups: str) -> None:
    """Check the network for storage alone, and the addresses in it."""
    if "storage" not in check.networks:
        check.report("site", "mail_networks.storage", None, f"a network for {purpose} alone, such as 203.0.113.0/24")
    for host in sorted({host for group in groups for host in check.groups.get(group, [])}):
        value = check.hosts.get(host, {}).get("mail_storage_address")
        check.address(host, "mail_storage_address", value, "storage", f"{host}'s own")


def check_nfs(check: Check) -> None:
    """Check what each pod mounts, and from whom."""
    if check.site.get("mail_store") != "nfs":
        return
    check_storage_network(check, "NFS", "mail_nodes", "nfs_servers")
    check_nfs_servers(check)
    exports = check.site.get("mail_nfs")
    if not isinstance(exports, dict):
        check.report("site", "mail_nfs", exports, "for each pod the server and what it exports")
        return
    taken: dict[tuple[str, str], str] = {}
    for pod in sorted(check.pods.keys() | exports.keys()):
        variable, values = f"mail_nfs.{pod}", exports.get(pod)
        if pod not in check.pods:
            check.report("site", variable, pod, f"one of {', '.join(sorted(check.pods)) or 'the pods'}")
        elif not isinstance(values, dict):
            check.report("site", variable, values, "the server and what it exports to this pod")
        else:
            check_export(check, variable, values)
            export = (str(values.get("server")), str(values.get("export")))
            if export in taken:
                wanted = f"a directory of its own: {taken[export]} has this one, and pods share nothing"
                check.report("site", f"{variable}.export", export[1], wanted)
            taken.setdefault(export, pod)


def check_export(check: Check, variable: str, values: dict[str, Any]) -> None:
    """Check what a pod mounts."""
    server, export = values.get("server"), values.get("export")
    service = check.site.get("mail_nfs_service")
    ours = service.get("address") if isinstance(service, dict) else None
    if not isinstance(server, str) or not server:
        check.report("site", f"{variable}.server", server, "the server's name or address")
    elif check.groups.get("nfs_servers") and server != ours:
        check.report("site", f"{variable}.server", server, f"mail_nfs_service.address, {ours}, or no nfs_servers")
    place = f"{NFS_DIRECTORY}/" if check.groups.get("nfs_servers") else "/"
    if not isinstance(export, str) or not export.startswith(place) or export == place:
        check.report("site", f"{variable}.export", export, f"a directory of the server below {place}")
    if str(values.get("version", "4.2")) not in NFS_VERSIONS:
        check.report("site", f"{variable}.version", values["version"], f"one of {', '.join(NFS_VERSIONS)}")
    if values.get("security", "sys") not in NFS_SECURITY:
        check.report("site", f"{variable}.security", values["security"], f"one of {', '.join(NFS_SECURITY)}")


def check_nfs_servers(check: Check) -> None:
    """Check NFS servers of our own: one, or a pair."""
    servers, service = check.groups.get("nfs_servers", []), check.site.get("mail_nfs_service")
    if not servers:
        if service:
            check.report("site", "mail_nfs_service", service, "hosts in group nfs_servers, or nothing")
        return
    for host in sorted(set(servers) & set(check.groups.get("mail_nodes", []))):
        check.report(host, "groups", "nfs_servers and mail_nodes", "a host of its own: no server mounts from itself")
    if len(servers) > 2:
        check.report("site", "group nfs_servers", f"{len(servers)} hosts", "one host, or a pair")
    if not isinstance(service, dict):
        check.report("site", "mail_nfs_service", service, "the service's address, and its disk on each server")
    elif len(servers) == 1:
        own = check.hosts.get(servers[0], {}).get("mail_storage_address")
        if service.get("address") != own:
            wanted = f"the mail_storage_address of {servers[0]}, {own}"
            check.report("site", "mail_nfs_service.address", service.get("address"), wanted)
        disk = service.get("disk", "/dev/")
        if not isinstance(disk, str) or not disk.startswith("/dev/"):
            check.report("site", "mail_nfs_service.disk", disk, "a block device, such as /dev/vg0/mail, or nothing")
    else:
        check.address("site", "mail_nfs_service.address", service.get("address"), "storage", "the NFS service's")
        check_disk(check, "mail_nfs_service", service)
        check.check_votes("nfs_servers", servers)


def check_backend_disks(check: Check) -> None:
    """Check the disk that each backend has to itcheck."""
    taken: dict[tuple[str, str, str], str] = {}
    for name, backend in check.backends.items():
        if not isinstance(backend, dict):
            continue
        check_disk(check, f"mail_backends.{name}", backend)
        filesystem = backend.get("filesystem", "ext4")
        if filesystem not in FILESYSTEMS:
            check.report("site", f"mail_backends.{name}.filesystem", filesystem, f"one of {', '.join(FILESYSTEMS)}")
        for variable in ("disk", "drbd_minor"):
            value = backend.get(variable)
            key = (str(backend.get("pod")), variable, str(value))
            if value is not None and key in taken:
                check.report("site", f"mail_backends.{name}.{variable}", value, f"its own, not that of {taken[key]}")
            taken.setdefault(key, name)


def check_volumes(check: Check) -> None:
    """Check the disk that all nodes of a pod have in use."""
    volumes = check.site.get("mail_volumes")
    if not isinstance(volumes, dict):
        check.report("site", "mail_volumes", volumes, "for each pod its disk and drbd_minor")
        return
    for pod in sorted(check.pods.keys() | volumes.keys()):
        if pod not in check.pods:
            check.report("site", f"mail_volumes.{pod}", pod, f"one of {', '.join(sorted(check.pods)) or 'the pods'}")
        elif not isinstance(volumes.get(pod), dict):
            check.report("site", f"mail_volumes.{pod}", volumes.get(pod), "the pod's disk and drbd_minor")
        else:
            check_disk(check, f"mail_volumes.{pod}", volumes[pod])


def check_disk(check: Check, variable: str, values: dict[str, Any]) -> None:
    """Check one disk that DRBD replicates."""
    disk, minor = values.get("disk"), values.get("drbd_minor")
    if not isinstance(disk, str) or not disk.startswith("/dev/"):
        check.report("site", f"{variable}.disk", disk, "a block device, such as /dev/vg0/mail")
    if not isinstance(minor, int) or isinstance(minor, bool) or not 0 <= minor < MINORS:
        wanted = f"a number from 0 to {MINORS - 1}: the device is /dev/drbdNUMBER"
        check.report("site", f"{variable}.drbd_minor", minor, wanted)


def check_san(check: Check) -> None:
    """Check the array, the ways to it, and the LUN of each pod."""
    if check.site.get("mail_store") != "san_gfs2":
        return
    san = check.site.get("mail_san")
    san = san if isinstance(san, dict) else {}
    if "wwpns" in san:
        check_fibre_channel(check, san)
    else:
        check_iscsi(check, san)
    check_luns(check)


def check_fibre_channel(check: Check, san: dict[str, Any]) -> None:
    """Check the names of the array's ports."""
    for variable in ("target", "portals"):
        if variable in san:
            wanted = "nothing beside wwpns, which are for Fibre Channel; target and portals are for iSCSI"
            check.report("site", f"mail_san.{variable}", san[variable], wanted)
    if check.groups.get("iscsi_targets"):
        wanted = "no group: an array with wwpns is reached over Fibre Channel"
        check.report("site", "group iscsi_targets", ", ".join(sorted(check.groups["iscsi_targets"])), wanted)
    wwpns = san["wwpns"]
    if not isinstance(wwpns, list) or len(wwpns) < 2:
        check.report("site", "mail_san.wwpns", wwpns, "two ports of the array, each in a fabric of its own")
        return
    for index, wwpn in enumerate(wwpns):
        if not WWN.fullmatch(str(wwpn).lower()):
            wanted = "a port's name in quotes, such as 50:06:01:60:3b:20:10:aa"
            check.report("site", "mail_san.wwpns", wwpn, wanted)
        elif wwn(wwpn) in [wwn(str(other)) for other in wwpns[:index]]:
            check.report("site", "mail_san.wwpns", wwpn, "each port once: two ports are two paths")


def check_iscsi(check: Check, san: dict[str, Any]) -> None:
    """Check the array's portals, and the nodes' ways to them and names there."""
    if not IQN.match(str(san.get("target"))):
        check.report("site", "mail_san.target", san.get("target"), "an IQN, such as iqn.2026-11.com.example:array1")
    used = check_portals(check, san.get("portals"))
    nodes = check.groups.get("mail_nodes", [])
    taken: dict[str, str] = {}
    for node in sorted(nodes):
        values = check.hosts.get(node, {})
        for network in used:
            check.address(
                node, f"mail_{network}_address", values.get(f"mail_{network}_address"), network, f"{node}'s own"
            )
        name = str(values.get("mail_initiator") or "")
        if not IQN.match(name):
            wanted = f"the node's own IQN, such as iqn.2026-11.com.example:{node}"
            check.report(node, "mail_initiator", name, wanted)
        elif name in taken:
            wanted = f"a name of its own: {taken[name]} has this one, and an array takes one for the other"
            check.report(node, "mail_initiator", name, wanted)
        taken.setdefault(name, node)
    check_targets(check, san)


def check_portals(check: Check, portals: Any) -> list[str]:
    """Check the addresses by which nodes reach the array, and return the networks that these are in."""
    used: list[str] = []
    if not isinstance(portals, list) or len(portals) < 2:
        check.report("site", "mail_san.portals", portals, "two addresses of the array, each in a network of its own")
        return used
    storage = {name: network for name, network in check.networks.items() if name.startswith("storage")}
    for portal in portals:
        name = next((name for name, network in storage.items() if in_network(portal, network)), None)
        if name is None:
            wanted = f"an address in one of mail_networks' {', '.join(sorted(storage)) or 'storage, storage2'}"
            check.report("site", "mail_san.portals", portal, wanted)
        elif name in used:
            wanted = f"an address in another network than {name}: one that fails would cut both ways to the array"
            check.report("site", "mail_san.portals", portal, wanted)
        else:
            used.append(name)
    return used


def in_network(address: Any, network: Any) -> bool:
    """Tell whether an address, which may be malformed, is in a network."""
    try:
        return ipaddress.ip_address(str(address)) in network
    except ValueError:
        return False


def check_targets(check: Check, san: dict[str, Any]) -> None:
    """Check an array of ours: one Linux host, whose addresses the portals are."""
    targets = check.groups.get("iscsi_targets", [])
    if len(targets) > 1:
        check.report(
            "site", "group iscsi_targets", f"{len(targets)} hosts", "one host: they would not have the same data"
        )
    for host in sorted(set(targets) & set(check.groups.get("mail_nodes", []))):
        check.report(
            host, "groups", "iscsi_targets and mail_nodes", "a host of its own: fencing it would take the array away"
        )
    portals = san.get("portals")
    for host in targets[:1]:
        values = check.hosts.get(host, {})
        own = [values[name] for name in ("mail_storage_address", "mail_storage2_address") if values.get(name)]
        for portal in portals if isinstance(portals, list) else []:
            if str(portal) not in own:
                wanted = f"an address of {host} ({', '.join(own) or 'it has none in a storage network'})"
                check.report("site", "mail_san.portals", portal, wanted)


def check_luns(check: Check) -> None:
    """Check the LUN of each pod."""
    volumes = check.site.get("mail_volumes")
    if not isinstance(volumes, dict):
        check.report("site", "mail_volumes", volumes, "for each pod its LUN")
        return
    taken: dict[tuple[str, str], str] = {}
    for pod in sorted(check.pods.keys() | volumes.keys()):
        if pod not in check.pods:
            check.report("site", f"mail_volumes.{pod}", pod, f"one of {', '.join(sorted(check.pods)) or 'the pods'}")
        else:
            check_lun(check, f"mail_volumes.{pod}", volumes.get(pod), taken)
    sbd = check.site.get("mail_sbd_lun")
    if sbd:
        check_lun(check, "mail_sbd_lun", sbd, taken)


def check_lun(check: Check, variable: str, values: Any, taken: dict[tuple[str, str], str]) -> None:
    """Check one LUN; those before it have taken WWIDs and disks."""
    if not isinstance(values, dict):
        check.report("site", variable, values, "the LUN's WWID")
        return
    ours = bool(check.groups.get("iscsi_targets"))
    wwid, disk = str(values.get("wwid") or ""), values.get("disk")
    if not WWID.match(wwid):
        wanted = "what multipath calls the LUN: 3 and 16 or 32 hexadecimal digits, in quotes and small letters"
        check.report("site", f"{variable}.wwid", wwid, wanted)
    elif ours and not wwid.startswith(LIO_WWID):
        check.report("site", f"{variable}.wwid", wwid, f"{LIO_WWID} and 25 digits: a Linux host's begin with that")
    if ours and not str(disk).startswith("/dev/"):
        check.report("site", f"{variable}.disk", disk, "a block device of the host in iscsi_targets")
    for name, value in (("wwid", wwid), ("disk", disk)):
        if value and (name, value) in taken:
            check.report("site", f"{variable}.{name}", value, f"its own, not that of {taken[name, value]}")
        taken.setdefault((name, str(value)), variable)
