"""File systems with mail, checked while the cluster has stopped what mounts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import drbd, gfs2, nfs
from .lab import Lab, wait_for

if TYPE_CHECKING:
    from .proof import Proof


def check(proof: Proof) -> None:
    """Check the file systems of a store that has some of its own."""
    lab = proof.lab
    match lab.site["mail_store"]:
        case "drbd_gfs2":
            _check_gfs2(proof, f"/dev/drbd{drbd.minor(lab, 'mail')}")
        case "san_gfs2":
            _check_gfs2(proof, "/dev/mapper/mail")
        case "drbd":
            for name, node in wait_for("each backend runs on one node", lab.settled, 60).items():
                _check_ext4(proof, name, f"/srv/mail/{name}", node)
        case "nfs" if drbd.resources(lab):
            _check_ext4(proof, "nfs", nfs.directory(lab), nfs.server(lab))


def _check_gfs2(proof: Proof, device: str) -> None:
    """Check the file system that all mail nodes mount."""
    command = f"fsck.gfs2 -n {device}"
    nodes = proof.lab.group("mail_nodes")
    leaked, wrong = gfs2.read_check(_check(proof.lab, "gfs2_mail_clone", "/srv/mail", command, nodes, nodes[0]))
    proof.numbers["leaked_blocks"] = leaked
    proof.expect(not wrong, f"{command}: {wrong}")


def _check_ext4(proof: Proof, resource: str, mount: str, node: str) -> None:
    """Check the file system of a DRBD resource, which a group of the same name mounts on this node."""
    command = f"e2fsck -f -n /dev/drbd{drbd.minor(proof.lab, resource)}"
    found = _check(proof.lab, resource, mount, command, drbd.hosts(proof.lab), node)
    proof.expect("ended with 0" in found, f"{command}: {found}")


def _check(lab: Lab, stopped: str, mount: str, command: str, nodes: list[str], node: str) -> str:
    """Check it on a node while the cluster has stopped what mounts it on all; return what the check printed."""
    target = f"crm_resource --resource {stopped} --meta"
    lab.ssh(node, f"{target} --set-parameter target-role --parameter-value Stopped")
    try:

        def unmounted() -> bool:
            query = f"findmnt {mount} || echo free"
            return all("free" in lab.ssh(there, query, check=False) for there in nodes)

        wait_for(f"{mount} is unmounted", unmounted, 90, pause=1)
        found = lab.ssh(node, f"{command} 2>&1; echo ended with $?", timeout=120)
    finally:
        lab.ssh(node, f"{target} --delete-parameter target-role")
    wait_for("each backend runs on one node again", lab.settled, 120, pause=1)
    return found
