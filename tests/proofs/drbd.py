"""Replicated disks as the proofs see them: what each side says, and whether both hold the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from module_utils.drbd import Status, parse_status, parse_version

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
    """Have the disks compared by DRBD, as the timer does it."""
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


def minor(lab: Lab, resource: str) -> int:
    """The number of a resource's device."""
    return state(lab, resources(lab)[resource][0], resource).minors[0]
