"""A node's cable to one of two storage networks is pulled: it goes on through the other one, nobody is fenced."""

from __future__ import annotations

import time

from .lab import wait_for
from .proof import Proof


def run(proof: Proof) -> None:
    """Pull it, see users served where they were, plug it in, and see the path come back."""
    lab = proof.lab
    boots = lab.boots()
    victim = proof.victim()
    where = wait_for("each backend runs on one node", lab.settled, 60)
    with proof.writing():
        proof.say(f"pull {victim.node}'s cable to storage2; it runs {', '.join(victim.backends)}")
        cut = lab.cut(victim.node, "storage2")
        try:
            proof.numbers["served_s"] = round(proof.back(cut, lambda user, path: user in victim.users), 1)
            wait_for("the path is known to be lost", lambda: _running(proof, victim.node) == 1, 60, pause=1)
            # Longer than anything that could fence or move would take to begin.
            time.sleep(20)
            proof.served(cut, time.time())
        finally:
            proof.say("plug the cable in")
            lab.join(victim.node, "storage2")
        start = time.monotonic()
        wait_for("both paths are there", lambda: _running(proof, victim.node) == 2, 120, pause=1)
        proof.numbers["path_back_s"] = round(time.monotonic() - start, 1)
        time.sleep(5)
    now = wait_for("each backend runs on one node", lab.settled, 60)
    proof.expect(now == where, f"backends moved: {now}, before: {where}")
    proof.expect(lab.boots() == boots, "a node was fenced though it had a path left")
    proof.count()


def _running(proof: Proof, node: str) -> int:
    """The number of paths that work."""
    shown = proof.lab.ssh(node, "multipathd show paths raw format '%m %t'", check=False)
    return shown.split("\n").count("mail active")
