"""The node that runs the first backend loses power; later it comes back."""

from __future__ import annotations

import json
import threading
import time

from tests.ledger.checker import loss_window

from .lab import parse_synced, wait_for
from .proof import FAILOVER, Proof


def run(proof: Proof, number: int = 0) -> None:
    """Kill the node that runs the backend of this number; see the peer take over; let it come back."""
    lab = proof.lab
    victim = proof.victim(number)
    moved, survivors, on_victim = victim.backends, victim.others, victim.users

    with proof.writing():
        status: list[str] = []
        uid = 0
        if lab.replicated:
            uid = _next_uid(proof, survivors[0], on_victim)
            watcher = lab.synced(victim.node)
            reader = threading.Thread(target=lambda: status.extend(watcher.stdout or []), daemon=True)
            reader.start()
            wait_for("the replication status", lambda: parse_synced("".join(status)), 20)
        proof.say(f"cut the power of {victim.node}, which runs {', '.join(moved)}")
        killed = lab.kill(victim.node)
        if lab.replicated:
            watcher.kill()
            watcher.wait()
            reader.join(5)

        # Only clients are asked: a survivor with a slow kernel is not to spend its time on our questions.
        failover = proof.back(killed, lambda user, path: user in on_victim and path == "imap")
        proof.numbers["failover_s"] = round(failover, 1)
        wait_for(
            f"{', '.join(moved)} run on a survivor",
            lambda: all(len(nodes) == 1 for nodes in lab.placement(survivors).values()),
            FAILOVER,
        )
        if lab.replicated:
            _window(proof, survivors[0], killed, "".join(status), on_victim)
        proof.numbers["others_s"] = round(proof.back(killed), 1)
        if lab.replicated:
            # UIDs that the victim gave out last, unseen, are not given out again.
            gap = _next_uid(proof, survivors[0], on_victim) - uid
            proof.expect(gap > 10_000, f"{survivors[0]} goes on only {gap} UIDs later")
        proof.say(f"served again by {survivors} after {failover:.1f} s")
        time.sleep(5)
        proof.served(killed, time.time())

        proof.say(f"power for {victim.node}")
        lab.start(victim.node)
        proof.whole()
        time.sleep(5)
    proof.count()


def _next_uid(proof: Proof, node: str, users: set[str]) -> int:
    """Return the lowest next UID that a node's replica has for the users' INBOXes."""
    command = "doveadm -c /etc/dovecot/replica.conf -f json mailbox status -A uidnext INBOX"
    rows = json.loads(proof.lab.ssh(node, command))
    return min(int(row["uidnext"]) for row in rows if row["username"] in users)


def _window(proof: Proof, survivor: str, killed: float, status: str, on_victim: set[str]) -> None:
    """Measure what the survivor lacks, and see that none of it had been synced."""
    listing = proof.lab.listing(survivor)
    # The ledger is read after the listing: writers went on changing mail meanwhile, and it must know which.
    window = loss_window(proof.mails(), listing, killed)
    mine = [mail for mail in window["mails"] if mail["user"] in on_victim]
    synced = parse_synced(status)
    proof.expect(bool(synced), "the replication status could not be read, so the last completed sync is unknown")
    proof.numbers["window_mails"] = window["missing"]
    proof.numbers["window_ms"] = window["window_ms"]
    if synced:
        proof.numbers["synced_ms_before_kill"] = round((killed - min(synced.values())) * 1000)
    for mail in mine:
        until = synced.get(mail["user"], synced.get("*", 0.0))
        acknowledged = killed - mail["before_kill_ms"] / 1000
        proof.expect(
            acknowledged >= until,
            f"{mail['id']} is missing, acknowledged {until - acknowledged:.3f} s before the last completed sync",
        )
    others = [mail for mail in window["mails"] if mail["user"] not in on_victim]
    proof.expect(not others, f"mails of users of other backends are missing: {others[:3]}")
    proof.say(
        f"loss window: {window['missing']} of {window['acknowledged']} mails, the oldest acknowledged"
        f" {window['window_ms']} ms before the power was gone"
    )
