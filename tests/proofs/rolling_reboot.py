"""Each mail node is drained and rebooted, one after the other, as for a new kernel."""

from __future__ import annotations

import time

from . import drbd
from .lab import wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof) -> None:
    """Put each node on standby, reboot it, and wait for it, while writers are at work."""
    lab = proof.lab
    wait_for("each backend runs on one node", lab.settled, 60)
    with proof.writing():
        start = time.time()
        for node in lab.group("mail_nodes"):
            _reboot(proof, node)
        proof.numbers["rolled_s"] = round(time.time() - start, 1)
        proof.back(time.time())
        proof.served(start, time.time())
    proof.count()


def _reboot(proof: Proof, node: str) -> None:
    lab = proof.lab
    proof.say(f"drain and reboot {node}")
    before = lab.boot(node)
    lab.ssh(node, f"crm_standby --node {node} --update on", timeout=60)
    wait_for(f"{node} is drained", lambda: not lab.running(node) and lab.settled(), FAILOVER, pause=1)
    lab.ssh(node, "systemctl reboot", check=False)
    wait_for(f"{node} is back", lambda: lab.boot(node) not in ("", before), 240, pause=2)
    wait_for(f"{node} is a member again", lambda: node in lab.online(node), 120, pause=1)
    lab.ssh(node, f"crm_standby --node {node} --delete", timeout=60)
    proof.whole()
    if drbd.resources(lab):  # the next node may go when this one has what was written meanwhile
        wait_for("DRBD is healthy again", lambda: drbd.healthy(lab), drbd.SYNC, pause=1)
