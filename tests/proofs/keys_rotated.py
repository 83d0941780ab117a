"""An operator gives all services of the realm new keys, and takes the old ones away, while mail is written."""

from __future__ import annotations

import re
import time

from .lab import ProofError, wait_for
from .plays import play, recap
from .proof import Proof


def run(proof: Proof) -> None:
    """Rotate, purge, and see each time which keys the KDC has, and that all are served."""
    lab = proof.lab
    where = wait_for("each backend runs on one node", lab.settled, 60)
    boots = lab.boots()
    first = versions(proof)
    with proof.writing():
        began = time.time()
        step(proof, "rotated")
        rotated = versions(proof)
        step(proof, "purged", "-e", "purge=true")
        proof.numbers["back_s"] = round(proof.back(time.time()), 1)
        proof.served(began, time.time())
    purged = versions(proof)
    newest = {name: max(found) for name, found in rotated.items()}
    proof.expect(
        all(newest[name] > max(found) and found <= rotated[name] for name, found in first.items()),
        f"keys before: {first}, after new ones were made: {rotated}",
    )
    proof.expect(purged == {name: {number} for name, number in newest.items()}, f"keys after the purge: {purged}")
    proof.expect(wait_for("each backend runs on one node", lab.settled, 60) == where, "backends moved")
    proof.expect(lab.boots() == boots, "a node was fenced for new keys")
    proof.count()


def step(proof: Proof, name: str, *extras: str) -> None:
    """Run the playbook."""
    proof.say(f"rotate_keys.yml {' '.join(extras)}")
    began = time.monotonic()
    done = play(proof.lab, "rotate_keys.yml", *extras)
    (proof.folder / f"{name}.log").write_text(done.stdout + done.stderr)
    proof.numbers[f"{name}_s"] = round(time.monotonic() - began, 1)
    if done.returncode or not recap(done.stdout):
        raise ProofError(f"rotate_keys.yml ended with {done.returncode}: see {proof.folder}/{name}.log")


def versions(proof: Proof) -> dict[str, set[int]]:
    """Give the version numbers of the keys of each service that mail needs, as the primary KDC has them."""
    lab = proof.lab
    kdc = lab.group("kerberos_servers")[0]
    names = re.findall(r"^(?:afs|mail|nfs)/\S+", lab.ssh(kdc, "kadmin.local -q listprincs"), re.MULTILINE)
    found = {}
    for name in names:
        shown = lab.ssh(kdc, f"kadmin.local -q 'getprinc {name}'")
        found[name] = {int(number) for number in re.findall(r"^Key: vno (\d+)", shown, re.MULTILINE)}
    if not found or not all(found.values()):
        raise ProofError(f"services without keys: {found}")
    return found
