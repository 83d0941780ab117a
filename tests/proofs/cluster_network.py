"""A node's cable to the cluster network is pulled, its clients' network stays."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .lab import Lab, wait_for
from .proof import FAILOVER, Proof
from .watch import Watch, twice


def run(proof: Proof, networks: Sequence[str] = ("cluster",)) -> None:
    """Cut off the node that runs the first backend; exactly one side serves; plug in; all is whole."""
    lab = proof.lab
    victim = proof.victim()
    cut_off, moved, others, on_it = victim.node, victim.backends, victim.others, victim.users

    with proof.writing():
        watch = Watch(lab, lab.running_stream, lab.parse_running)
        proof.say(f"pull {cut_off}'s cable to {', '.join(networks)}")
        cut = max(lab.cut(cut_off, network) for network in networks)
        try:
            started = wait_for(
                f"{', '.join(moved)} run on {others}", lambda: watch.moved(moved, away=cut_off), FAILOVER
            )
            proof.numbers["started_s"] = round(started - cut, 1)
            served = proof.back(started, lambda user, path: user in on_it and path == "imap")
            proof.numbers["failover_s"] = round(started - cut + served, 1)
            time.sleep(5)
            placement = lab.placement()
            proof.expect(
                all(len(nodes) == 1 and cut_off not in nodes for nodes in placement.values()),
                f"not exactly one side serves while the cable is out: {placement}",
            )
            proof.served(cut, time.time())
        finally:
            proof.say("plug the cable in")
            # The side that was cut off took mail until it was fenced. dsync gives what was stored on both sides since
            # then new UIDs, and a client that changes such a mail at that moment changes the old one.
            if lab.replicated:
                proof.parted, proof.apart, proof.met = on_it, cut, time.time()
            for network in networks:
                lab.join(cut_off, network)
        _power_on(lab, cut_off)
        proof.whole()
        time.sleep(3)
        watch.stop()
    looks = {node: len(looks) for node, looks in watch.looks.items()}
    proof.numbers["looks"] = min(looks.values())
    proof.expect(min(looks.values()) > 20, f"too few looks at who serves: {looks}")
    ran_twice = twice(watch.looks, lab.backends)
    proof.expect(not ran_twice, f"a backend ran twice: {', '.join(ran_twice)}")
    proof.count()


def _power_on(lab: Lab, node: str) -> None:
    """Start a node that fencing turned off; one that it rebooted needs no help."""
    if lab.run("ssh", node, "true", timeout=15, check=False).returncode:
        lab.start(node)
