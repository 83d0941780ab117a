"""Replicated disks as the proofs see them: what each side says, and whether both hold the same, whole file system."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from module_utils.drbd import Status, parse_status, parse_version

from .lab import Lab, wait_for

if TYPE_CHECKING:
    from .proof import Proof

SYNC = 180.0  # seconds for a resync or a verify of the lab's small disks


def states(lab: Lab, node: str) -> dict[str, Status]:
    """What a node's kernel says of its resources; nothing when it does not answer."""
    version = parse_version(lab.ssh(node, "cat /proc/drbd", check=False))
    if version is None:
        return {}
    command = "drbdsetup status --verbose --statistics" + (" --json" if version[0] >= 9 else "")
    return parse_status(lab.ssh(node, command, check=False), version[0])


def state(lab: Lab, node: str, backend: str) -> Status:
    """What a node's kernel says of one of them."""
    return states(lab, node).get(backend, Status())


def healthy(lab: Lab) -> bool:
    """Whether every backend's disks are good and connected on every node, and no promotion is forbidden."""
    for name, backend in lab.backends.items():
        for node in backend["nodes"]:
            if not state(lab, node, name).healthy:
                return False
    return not fenced(lab)


def fenced(lab: Lab) -> bool:
    """Whether DRBD's handlers still forbid a node to be promoted."""
    query = "cibadmin --query --scope constraints"
    return "drbd-fence-by-handler" in lab.ssh(lab.group("mail_nodes")[0], query, timeout=60)


def compare(proof: Proof) -> None:
    """Have the disks compared by DRBD, as the timer does it, and the file systems checked."""
    lab = proof.lab
    wait_for("DRBD is healthy again", lambda: healthy(lab), SYNC, pause=1)
    start = time.monotonic()
    for node in lab.group("mail_nodes"):
        # It fails when a verify was cut short.
        lab.ssh(node, "systemctl start dovecluster-drbd-verify.service", timeout=SYNC)
        log = lab.ssh(
            node, f"journalctl -u dovecluster-drbd-verify.service -t dovecluster-drbd -o cat -n {2 * len(lab.backends)}"
        )
        found = states(lab, node)
        proof.expect(set(found) == set(lab.backends), f"{node} tells of {sorted(found)} alone")
        for name, state in found.items():
            if state.role == "Primary":
                proof.expect(f"{name}: verify begins" in log, f"{node} did not verify {name}: {log}")
            proof.expect(
                not state.out_of_sync_bytes, f"{name}: {state.out_of_sync_bytes} bytes differ between the copies"
            )
    proof.numbers["verify_s"] = round(time.monotonic() - start, 1)
    for name, node in wait_for("each backend runs on one node", lab.settled, 60).items():
        _check_file_system(proof, name, node)


def _check_file_system(proof: Proof, backend: str, node: str) -> None:
    """Check it on its primary while the backend is stopped, by way of the cluster."""
    lab = proof.lab
    minor = lab.backends[backend]["drbd_minor"]
    target = f"crm_resource --resource {backend} --meta"
    lab.ssh(node, f"{target} --set-parameter target-role --parameter-value Stopped")
    try:
        wait_for(
            f"{backend} is unmounted",
            lambda: "free" in lab.ssh(node, f"findmnt /srv/mail/{backend} || echo free", check=False),
            90,
            pause=1,
        )
        checked = lab.ssh(node, f"e2fsck -f -n /dev/drbd{minor} 2>&1; echo ended with $?", timeout=120)
        proof.expect("ended with 0" in checked, f"the file system of {backend} is not clean: {checked}")
    finally:
        lab.ssh(node, f"{target} --delete-parameter target-role")
    wait_for(f"{backend} runs again", lab.settled, 120, pause=1)
