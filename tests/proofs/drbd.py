"""Replicated disks as the proofs see them: what each side says, and whether both hold the same, whole file system."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from module_utils.drbd import Status, parse_status, parse_version

from . import gfs2, nfs
from .lab import Lab, wait_for

if TYPE_CHECKING:
    from .proof import Proof

SYNC = 180.0  # seconds for a resync or a verify of the lab's small disks


def resources(lab: Lab) -> dict[str, list[str]]:
    """The nodes of each DRBD resource; none when the store has none."""
    store = lab.site["mail_store"]
    if store == "drbd":  # one for each backend
        return {name: backend["nodes"] for name, backend in lab.backends.items()}
    if store == "drbd_gfs2":
        return {"mail": lab.group("mail_nodes")}
    servers = lab.group("nfs_servers")
    return {"nfs": servers} if len(servers) == 2 else {}


def hosts(lab: Lab) -> list[str]:
    """The nodes of all of them."""
    return list(dict.fromkeys(node for nodes in resources(lab).values() for node in nodes))


def states(lab: Lab, node: str) -> dict[str, Status]:
    """What a node's kernel says of its resources; nothing when it does not answer."""
    version = parse_version(lab.ssh(node, "cat /proc/drbd", check=False))
    if version is None:
        return {}
    command = "drbdsetup status --verbose --statistics" + (" --json" if version[0] >= 9 else "")
    return parse_status(lab.ssh(node, command, check=False), version[0])


def state(lab: Lab, node: str, resource: str) -> Status:
    """What a node's kernel says of one of them."""
    return states(lab, node).get(resource, Status())


def healthy(lab: Lab) -> bool:
    """Whether all disks are good and connected on every node, and no promotion is forbidden."""
    for name, nodes in resources(lab).items():
        if not all(state(lab, node, name).healthy for node in nodes):
            return False
    return not fenced(lab)


def fenced(lab: Lab) -> bool:
    """Whether DRBD's handlers still forbid a node to be promoted."""
    query = "cibadmin --query --scope constraints"
    return "drbd-fence-by-handler" in lab.ssh(hosts(lab)[0], query, timeout=60)


def compare(proof: Proof) -> None:
    """Have the disks compared by DRBD, as the timer does it, and the file systems checked."""
    lab = proof.lab
    names = set(resources(lab))
    wait_for("DRBD is healthy again", lambda: healthy(lab), SYNC, pause=1)
    start = time.monotonic()
    verified = set()
    for node in hosts(lab):
        # It fails when a verify was cut short.
        lab.ssh(node, "systemctl start dovecluster-drbd-verify.service", timeout=SYNC)
        log = lab.ssh(node, f"journalctl -u dovecluster-drbd-verify.service -t dovecluster-drbd -o cat -n {len(names)}")
        verified |= {name for name in names if f"{name}: verify begins" in log}
        for name, state in states(lab, node).items():
            proof.expect(
                not state.out_of_sync_bytes, f"{name}: {state.out_of_sync_bytes} bytes differ between the copies"
            )
    proof.expect(verified == names, f"no node verified {', '.join(sorted(names - verified))}")
    proof.numbers["verify_s"] = round(time.monotonic() - start, 1)
    where = wait_for("each backend runs on one node", lab.settled, 60)
    match lab.site["mail_store"]:
        case "drbd_gfs2":
            check = f"fsck.gfs2 -n /dev/drbd{_minor(lab, 'mail')}"
            found = _check_file_system(lab, "gfs2_mail_clone", "/srv/mail", check, hosts(lab)[0])
            leaked, wrong = gfs2.read_check(found)
            proof.numbers["leaked_blocks"] = leaked
            proof.expect(not wrong, f"{check}: {wrong}")
        case "drbd":
            for name, node in where.items():
                _check_ext4(proof, name, f"/srv/mail/{name}", node)
        case "nfs":
            _check_ext4(proof, "nfs", nfs.directory(lab), nfs.server(lab))


def _check_ext4(proof: Proof, resource: str, mount: str, node: str) -> None:
    """Check the file system of a resource, which a group of the same name mounts on this node."""
    check = f"e2fsck -f -n /dev/drbd{_minor(proof.lab, resource)}"
    found = _check_file_system(proof.lab, resource, mount, check, node)
    proof.expect("ended with 0" in found, f"{check}: {found}")


def _minor(lab: Lab, resource: str) -> int:
    """The number of a resource's device."""
    return state(lab, resources(lab)[resource][0], resource).minors[0]


def _check_file_system(lab: Lab, stopped: str, mount: str, check: str, node: str) -> str:
    """Check it on a node while what mounts it is stopped, by way of the cluster; return what the check printed."""
    target = f"crm_resource --resource {stopped} --meta"
    lab.ssh(node, f"{target} --set-parameter target-role --parameter-value Stopped")
    try:

        def unmounted() -> bool:
            query = f"findmnt {mount} || echo free"
            return all("free" in lab.ssh(there, query, check=False) for there in hosts(lab))

        wait_for(f"{mount} is unmounted", unmounted, 90, pause=1)
        found = lab.ssh(node, f"{check} 2>&1; echo ended with $?", timeout=120)
    finally:
        lab.ssh(node, f"{target} --delete-parameter target-role")
    wait_for("each backend runs on one node again", lab.settled, 120, pause=1)
    return found
