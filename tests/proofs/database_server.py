"""One of three AFS database servers loses power: nobody waits, also not when a backend is mounted elsewhere."""

from __future__ import annotations

import time

from .afs import file_servers
from .lab import ProofError, wait_for
from .proof import FAILOVER, Proof

AWAY = 20.0  # seconds


def run(proof: Proof) -> None:
    """Kill the database server without volumes; see all served; have a node's backends go elsewhere and back."""
    lab = proof.lab
    others = [server for server in lab.group("afs_servers")[:3] if server not in file_servers(lab)]
    if len(others) != 1 or len(lab.group("afs_servers")) < 3:
        raise ProofError("one of three database servers has to be one without volumes")
    victim = proof.victim()
    boots = lab.boots()
    with proof.writing():
        proof.say(f"cut the power of {others[0]}")
        killed = lab.kill(others[0])
        time.sleep(AWAY)
        proof.numbers["all_s"] = round(proof.back(killed), 1)
        proof.say(f"{victim.node} is drained")
        drained = time.time()
        lab.ssh(victim.node, f"crm_standby --node {victim.node} --update on", timeout=60)
        try:
            wait_for(
                f"{victim.node} is drained", lambda: not lab.running(victim.node) and lab.settled(), FAILOVER, pause=1
            )
            proof.numbers["moved_s"] = round(proof.back(drained), 1)
            proof.served(killed, time.time())
        finally:
            lab.ssh(victim.node, f"crm_standby --node {victim.node} --delete", timeout=60)
            proof.say(f"power for {others[0]}")
            lab.start(others[0])
        proof.whole()
    proof.expect(lab.boots() == boots, "a mail node was fenced for a database server")
    proof.count()
