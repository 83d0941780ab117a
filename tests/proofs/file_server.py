"""The first AFS server loses power: users whose volumes it has wait until it is back, all others go on.

It has the databases that take changes, and the realm's.
"""

from __future__ import annotations

import time

from .afs import file_servers
from .lab import ProofError, wait_for
from .proof import Proof

AWAY = 30.0  # seconds


def run(proof: Proof) -> None:
    """Kill the first file server; see others served; give it power, and see everybody served."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    boots, homes = lab.boots(), proof.homes()
    server = file_servers(lab)[0]
    gone = {name for name, values in lab.backends.items() if values["file_server"] == server}
    if not gone & set(homes.values()) or not set(homes.values()) - gone:
        raise ProofError(f"some users have to be on {server} and some not: {homes}")
    with proof.writing():
        proof.say(f"cut the power of {server}, with the mail of {', '.join(sorted(gone))}")
        killed = lab.kill(server)
        time.sleep(AWAY)
        others = proof.back(killed + 5, lambda user, path: homes[user] not in gone and path == "imap")
        proof.numbers["others_s"] = round(others, 1)
        proof.say(f"power for {server}")
        lab.start(server)
        proof.numbers["back_s"] = round(proof.back(time.time()), 1)
        proof.served(killed, time.time())
        proof.whole()
        time.sleep(5)
    now = wait_for("each backend runs on one node", lab.settled, 60)
    proof.expect(now == where, f"backends moved: {now}, before: {where}")
    proof.expect(lab.boots() == boots, "a mail node was fenced though a file server was away for all of them")
    proof.count()
