"""A backend is added to the live site, takes over a half of another one's users, gives them back, and is taken away."""

from __future__ import annotations

import ipaddress
import itertools
import time

from module_utils.mail_route import parse_shards, ranges, shard_of
from tests.ledger.journal import ACKNOWLEDGED

from .lab import ProofError, wait_for
from .plays import play
from .proof import Proof
from .sessions import where

NEW = "added"


def run(proof: Proof) -> None:
    """Provision it, move shards while clients are at work, see where their sessions are, and undo it all."""
    lab = proof.lab
    backends = {name: {k: v for k, v in each.items() if k != "nodes"} for name, each in lab.backends.items()}
    busy = [lab.backend_of(user.user) for user in proof.front.users]
    giver = max(backends, key=busy.count)
    leaving = {user.user for user in proof.front.users if lab.backend_of(user.user) == giver}
    leaving = set(sorted(leaving)[: (len(leaving) + 1) // 2])
    given = {shard_of(user) for user in leaving}
    left = parse_shards(str(backends[giver]["shards"])) - given
    more = {NEW: {"pod": backends[giver]["pod"], "node": backends[giver]["node"], "address": free_address(proof)}}

    with proof.writing(rate=0.2):
        site(proof, "the backend is added", {**backends, **more})
    wait_for("the new backend runs", lab.settled, 120)

    shares = {giver: {**backends[giver], "shards": ranges(left)}, NEW: {**more[NEW], "shards": ranges(given)}}
    with proof.writing():
        proof.say(f"give shards {ranges(given)} of {giver}, with {len(leaving)} users, to {NEW}")
        began = time.time()
        move(proof, {**backends, **shares})
        proof.back(time.time())
        proof.served(began, time.time())
        time.sleep(5)
        stall(proof, leaving, began)
        sessions(proof, leaving, giver)
    site(proof, "names and checks follow", {**backends, **shares})
    with proof.writing(rate=0.2):
        proof.say(f"give the shards back to {giver}")
        move(proof, {**backends, **more})
        site(proof, f"{NEW} is taken away", backends)
        proof.back(time.time())
    lab.describe()  # which says the same
    unit = f"dovecot-backend@{NEW}.service"
    states = {
        node: lab.ssh(node, f"systemctl is-active {unit}", check=False).strip() for node in lab.group("mail_nodes")
    }
    proof.expect(set(states.values()) == {"inactive"}, f"{unit} after it was taken away: {states}")
    proof.count()


def site(proof: Proof, what: str, backends: dict[str, dict[str, object]]) -> None:
    """Run site.yml with these backends."""
    proof.say(f"run site.yml: {what}")
    proof.lab.describe(mail_backends=backends)
    began = time.monotonic()
    done = play(proof.lab, "site.yml")
    (proof.folder / f"{what.replace(' ', '-')}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ProofError(f"site.yml ended with {done.returncode}: see {proof.folder}")
    proof.numbers.setdefault("site_s", []).append(round(time.monotonic() - began, 1))


def move(proof: Proof, backends: dict[str, dict[str, object]]) -> None:
    """Run move_shards.yml with these backends."""
    proof.lab.describe(mail_backends=backends)
    began = time.monotonic()
    done = play(proof.lab, "move_shards.yml")
    (proof.folder / "move_shards.log").write_text(done.stdout + done.stderr)
    proof.numbers.setdefault("moved_s", []).append(round(time.monotonic() - began, 1))
    proof.expect(done.returncode == 0, f"move_shards.yml ended with {done.returncode}: see {proof.folder}")


def free_address(proof: Proof) -> str:
    """Return the address after the last backend's."""
    last = max(ipaddress.ip_address(each["address"]) for each in proof.lab.backends.values())
    return str(last + 1)


def stall(proof: Proof, users: set[str], since: float) -> None:
    """Note how long those who moved were without an answer."""
    longest = 0.0
    for user in users:
        answers = [
            entry["at"]
            for entry in proof.entries()
            if entry.get("user") == user and entry.get("path") == "imap" and entry.get("state") == ACKNOWLEDGED
        ]
        near = [at for at in answers if at >= since - 5]
        longest = max([longest, *(later - at for at, later in itertools.pairwise(near))])
    proof.numbers["movers_stall_s"] = round(longest, 1)


def sessions(proof: Proof, movers: set[str], giver: str) -> None:
    """See on which backends users have sessions, as backends themselves say."""
    found = where(proof.lab)
    astray = {user: backends for user, backends in found.items() if user in movers and backends != {NEW}}
    proof.expect(not astray, f"users who moved have sessions elsewhere: {astray}")
    proof.expect(any(user in found for user in movers), "nobody who moved has a session")
    both = {user: backends for user, backends in found.items() if len(backends) > 1}
    proof.expect(not both, f"users have sessions on two backends: {both}")
    there = sorted(user for user, backends in found.items() if backends == {giver})
    proof.say(f"on {NEW}: {', '.join(sorted(movers & found.keys()))}; on {giver}: {', '.join(there)}")
