"""What can be known to be wrong with the description of a site's AFS cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.afs import CELL, AfsError, name_problems, parse_size
from ansible.module_utils.inventory_stores import check_storage_network

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check

LONGEST_USER = 63  # of the cell


def check_afs(check: Check) -> None:
    """Check the cell, its servers, and the volume of each backend."""
    if check.site.get("mail_store") != "afs":
        return
    check_storage_network(check, "AFS", "mail_nodes", "afs_servers")
    cell = check.site.get("mail_afs")
    if not isinstance(cell, dict):
        check.report("site", "mail_afs", cell, "the cell, such as {cell: example.com}")
    elif not CELL.fullmatch(str(cell.get("cell"))):
        check.report("site", "mail_afs.cell", cell.get("cell"), "a domain in small letters, such as example.com")
    if not check.groups.get("afs_servers"):
        check.report("site", "group afs_servers", None, "the hosts that serve the cell")
    for host in sorted(set(check.groups.get("afs_servers", [])) & set(check.groups.get("mail_nodes", []))):
        wanted = "a host of its own: fencing it would take away the mail of other nodes"
        check.report(host, "groups", "afs_servers and mail_nodes", wanted)
    for node in sorted(check.groups.get("mail_nodes", [])):
        user = f"mail.{node}.{check.site.get('mail_node_domain')}"
        if len(user) > LONGEST_USER:
            wanted = f"a shorter name: the cell's user {user} may have {LONGEST_USER} characters"
            check.report(node, "inventory_hostname", node, wanted)
    check_volumes(check)


def check_volumes(check: Check) -> None:
    """Check each backend's volume: its name, the server that has it, and its quota."""
    servers = sorted(check.groups.get("afs_servers", []))
    for name, backend in check.backends.items():
        if not isinstance(backend, dict):
            continue
        for problem in name_problems(f"mail.{name}"):
            check.report("site", f"mail_backends.{name}", name, f"another name: {problem}")
        server = backend.get("file_server")
        if server not in servers:
            wanted = f"the host that has its volume: {' or '.join(servers) or 'one of afs_servers'}"
            check.report("site", f"mail_backends.{name}.file_server", server, wanted)
        try:
            parse_size(str(backend.get("quota", 0)))
        except AfsError:
            check.report("site", f"mail_backends.{name}.quota", backend["quota"], "such as 500G, or nothing: no limit")
