"""An operator takes a mail node out of its pod, and puts it in again; who has mail on other nodes notices nothing."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from tests.ledger.holder import Holder

from .changed import provision
from .lab import ProofError, wait_for
from .plays import play, recap
from .proof import Proof


def run(proof: Proof) -> None:
    """Give the last node's backends to the first, remove the node, delete it from the inventory, and add it again."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 120)
    pod = next(values["pod"] for values in lab.backends.values())
    first, *_, node = lab.group(pod)
    its = {name for name, there in where.items() if there == node}
    if len(lab.group(pod)) < 3 or not its:
        raise ProofError(f"there have to be three nodes, and backends on {node}: {where}")
    users = {user for user, home in proof.homes().items() if home in its}
    boots, described = lab.boots(), lab.described
    backends = {name: {k: v for k, v in each.items() if k != "nodes"} for name, each in lab.backends.items()}
    moved = {name: {**each, "node": first} if each["node"] == node else each for name, each in backends.items()}

    refused = play(lab, "remove_node.yml", "-e", f"node={node}")
    proof.expect(
        bool(refused.returncode)
        and "give it another node" in refused.stdout
        and not any(counts["changed"] for counts in recap(refused.stdout).values()),
        "a node was removed though backends belong there",
    )
    holder = Holder(proof.front, sessions=len(proof.front.users))
    holder.start()
    with proof.writing(rate=0.2):
        began = time.time()
        proof.say(f"remove {node}")
        lab.describe(**{**described, "mail_backends": moved})
        done = play(lab, "remove_node.yml", "-e", f"node={node}")
        (proof.folder / "remove_node.log").write_text(done.stdout + done.stderr)
        proof.expect(done.returncode == 0, f"remove_node.yml ended with {done.returncode}: see {proof.folder}")
        proof.numbers["removed_s"] = round(time.time() - began, 1)
        proof.numbers["back_s"] = round(proof.back(time.time()), 1)
        proof.served(began, time.time())
    holder.stop()
    dropped = {str(drop["user"]) for drop in holder.dropped}
    proof.numbers["dropped"] = len(dropped)
    proof.expect(dropped <= users, f"sessions of users of other nodes dropped: {dropped - users}")
    again = play(lab, "remove_node.yml", "-e", f"node={node}")
    proof.expect(again.returncode == 0, "remove_node.yml cannot be run again")

    texts = {path: path.read_text() for path in Path(lab.info["inventory"]).glob("*.yml")}
    try:
        for path, text in texts.items():
            path.write_text(without(text, node))
        lab.describe(**lab.described)
        provision(proof)
        proof.expect(node not in lab.online(first), f"{first} still counts {node}")
        proof.count()
    finally:
        for path, text in texts.items():
            path.write_text(text)
        lab.describe(**described)
    with proof.writing(rate=0.2):
        proof.say(f"add {node} again")
        provision(proof)
        proof.back(time.time())
        proof.whole()
    changed = {host: counts for host, counts in recap(play(lab, "site.yml").stdout).items() if counts["changed"]}
    proof.expect(not changed, f"site.yml once more changed something: {changed}")
    proof.expect(lab.boots() == boots, "a node was fenced")
    proof.count()


def without(text: str, node: str) -> str:
    """Take a host out of all groups of an inventory."""
    inventory = yaml.safe_load(text)

    def prune(group: dict[str, object]) -> None:
        for name, part in group.items():
            if name == "hosts" and isinstance(part, dict):
                part.pop(node, None)
            elif isinstance(part, dict):
                prune(part)

    prune(inventory)
    return yaml.safe_dump(inventory, sort_keys=False)
