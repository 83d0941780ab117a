"""A backend is drained behind front ends that decide for themselves; then the other one, so that all come back."""

from __future__ import annotations

import time
from functools import partial

from tests.ledger.holder import Holder

from .changed import provision
from .lab import ProofError, wait_for
from .plays import play
from .proof import Proof
from .sessions import homes


def run(proof: Proof) -> None:
    """Drain the backend that has users, then the one that got them."""
    lab = proof.lab
    if lab.by_table:
        raise ProofError(f"behind {lab.site['mail_front_end']} a backend is drained by move_shards.yml")
    described = lab.described
    first = busiest(proof)
    second = next(name for name in lab.backends if name != first)
    for number, (drained, other) in enumerate(((first, second), (second, first))):
        holder = Holder(proof.front, sessions=len(proof.front.users))
        holder.start()
        with proof.writing(rate=0.2):
            began = time.time()
            drain(proof, drained, other, described)
            wait_for(f"all users get to {other}", partial(lead, proof, other), 60, pause=2)
            proof.back(time.time())
            proof.served(began, time.time())
        dropped = holder.stop()["dropped"]
        proof.numbers[f"dropped_{number + 1}"] = dropped
        # Directors move users, which ends sessions; others leave sessions where they are.
        proof.expect(not (lab.spreads and dropped), f"{dropped} sessions dropped when {drained} was drained")
    drain(proof, "", second, described)
    proof.count()


def busiest(proof: Proof) -> str:
    """Return the backend that has most users."""
    homes = list(proof.homes().values())
    return max(set(homes), key=homes.count)


def lead(proof: Proof, backend: str) -> bool:
    """Tell whether front ends lead all users who log in to a backend; old sessions may be elsewhere."""
    return all(backend in there for there in homes(proof.lab, proof.front).values())


def drain(proof: Proof, drained: str, other: str, described: dict[str, object]) -> None:
    """Have one backend get nobody new, if any, and the other one be as always."""
    lab = proof.lab
    front_end = lab.site["mail_front_end"]
    proof.say(f"drain {drained}" if drained else "drain nobody")
    if front_end == "director":
        steps = [["-e", f"backend={other}", "-e", "back=true"]] + ([["-e", f"backend={drained}"]] if drained else [])
        for step in steps:
            done = play(lab, "director_flush.yml", *step)
            if done.returncode:
                raise ProofError(f"director_flush.yml {step}: {done.stdout[-500:]}")
        return
    lab.describe(**described, **{f"{front_end}_drained": [drained] if drained else []})
    provision(proof)
