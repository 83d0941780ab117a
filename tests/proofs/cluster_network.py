"""A node's cable to the cluster network is pulled, its clients' network stays."""

from __future__ import annotations

import threading
import time

from .lab import Lab, wait_for
from .proof import FAILOVER, Proof


class Watch:
    """Looks at all nodes again and again for a backend that runs twice."""

    def __init__(self, lab: Lab) -> None:
        """Start looking."""
        self.lab, self.looks, self.twice = lab, 0, list[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.2):
            self.looks += 1
            for backend, nodes in self.lab.placement().items():
                # Two nodes are not asked in the same instant: only one that runs it before *and* after counts.
                if len(nodes) > 1 and self.lab.placement(nodes)[backend] == nodes:
                    self.twice.append(f"{backend} on {' and '.join(nodes)}")


def run(proof: Proof) -> None:
    """Cut off the node that runs the first backend; exactly one side serves; plug in; all is whole."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    cut_off = next(iter(where.values()))
    moved = [backend for backend, node in where.items() if node == cut_off]
    others = [node for node in lab.backends[moved[0]]["nodes"] if node != cut_off]
    on_it = {user.user for user in proof.front.users if lab.backend_of(user.user) in moved}

    with proof.writing():
        watch = Watch(lab)
        proof.say(f"pull {cut_off}'s cable to the cluster network")
        cut = lab.cut(cut_off, "cluster")
        try:
            wait_for(
                f"{', '.join(moved)} run on {others} and not on {cut_off}",
                lambda: all(lab.placement()[name] and cut_off not in lab.placement()[name] for name in moved),
                FAILOVER,
            )
            started = time.time()
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
            lab.join(cut_off, "cluster")
        _power_on(lab, cut_off)
        proof.whole()
        time.sleep(3)
        watch.stop()
    proof.numbers["looks"] = watch.looks
    proof.expect(watch.looks > 20, f"only {watch.looks} looks at who serves")
    proof.expect(not watch.twice, f"a backend ran twice: {watch.twice[:5]}")
    proof.count()


def _power_on(lab: Lab, node: str) -> None:
    """Start a node that fencing turned off; one that it rebooted needs no help."""
    if lab.run("ssh", node, "true", timeout=15, check=False).returncode:
        lab.start(node)
