"""A node's cable to the cluster network is pulled, its clients' network stays."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from .lab import Lab, wait_for
from .proof import FAILOVER, Proof

Look = tuple[float, set[str]]  # when, in seconds, and the backends that ran
BLIND = 2.0  # seconds between two looks at a node after which nothing is known of the time between


class Watch:
    """Looks at all nodes all the time, to see whether a backend runs twice."""

    def __init__(self, lab: Lab) -> None:
        """Start looking."""
        self.lab = lab
        self.looks: dict[str, list[Look]] = {node: [] for node in lab.group("mail_nodes")}
        self._stop = threading.Event()
        self._streams: dict[str, subprocess.Popen[str]] = {}
        self._threads = [threading.Thread(target=self._look, args=(node,), daemon=True) for node in self.looks]
        for thread in self._threads:
            thread.start()

    def moved(self, backends: Iterable[str], away: str) -> float | None:
        """Return since when, in seconds, all the backends run on other nodes than one; nothing while they do not."""
        others = [looks[:] for node, looks in self.looks.items() if node != away]
        found = {name: [since for looks in others if (since := running_since(looks, name))] for name in backends}
        return max(map(max, found.values())) if all(found.values()) else None

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for stream in list(self._streams.values()):
            stream.kill()
        for thread in self._threads:
            thread.join()

    def _look(self, node: str) -> None:
        while not self._stop.wait(0.5):  # a stream ends when its node is gone
            stream = self._streams[node] = self.lab.running_stream(node)
            for line in stream.stdout or []:
                if line.endswith("\n"):  # the last one may be cut short
                    self.looks[node].append(self.lab.parse_running(line))
            stream.kill()
            stream.wait()


def running_since(looks: Sequence[Look], backend: str) -> float | None:
    """Return when, in seconds, a backend that the last look found running was first found so."""
    stretch = itertools.takewhile(lambda look: backend in look[1], reversed(looks))
    return min((when for when, _ in stretch), default=None)


def spans(looks: Sequence[Look], backend: str) -> list[tuple[float, float]]:
    """Return the stretches of time, each (from, to) in seconds, in which every look found a backend running."""
    found: list[tuple[float, float]] = []
    for (since, before), (until, after) in itertools.pairwise(looks):
        if backend not in before or backend not in after or until - since > BLIND:
            continue
        if found and found[-1][1] == since:
            found[-1] = (found[-1][0], until)
        else:
            found.append((since, until))
    return found


def twice(looks: Mapping[str, Sequence[Look]], backends: Iterable[str]) -> list[str]:
    """Say which backends ran on two nodes at a time, and for how long."""
    found = []
    for backend in backends:
        for one, other in itertools.combinations(looks, 2):
            pairs = itertools.product(spans(looks[one], backend), spans(looks[other], backend))
            overlaps = [min(a[1], b[1]) - max(a[0], b[0]) for a, b in pairs if max(a[0], b[0]) < min(a[1], b[1])]
            if overlaps:
                found.append(f"{backend} on {one} and {other} for {sum(overlaps):.1f} s")
    return found


def run(proof: Proof, networks: Sequence[str] = ("cluster",)) -> None:
    """Cut off the node that runs the first backend; exactly one side serves; plug in; all is whole."""
    lab = proof.lab
    victim = proof.victim()
    cut_off, moved, others, on_it = victim.node, victim.backends, victim.others, victim.users

    with proof.writing():
        watch = Watch(lab)
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
