"""The live site gets another front end: the inventory says so, site.yml does it, and no mail is lost meanwhile."""

from __future__ import annotations

import time
from typing import Any

from .plays import play, recap
from .proof import Proof


def change(proof: Proof, front_end: str, **variables: Any) -> None:
    """Describe the site so, run site.yml while mail is written, then prove.yml."""
    lab = proof.lab
    proof.say(f"from {lab.site['mail_front_end']} to {front_end}")
    by_table = lab.by_table
    lab.describe(mail_front_end=front_end, **variables)
    proof.__dict__.pop("front", None)  # clients are told of the front door's new addresses first
    # One front end changes after the other, so that both kinds decide for a moment.
    proof.one_node_each = by_table and lab.by_table
    with proof.writing(rate=0.2):
        began = time.time()
        provision(proof)
        proof.numbers["served_again_s"] = round(proof.back(time.time()), 1)
        proof.served(began, time.time())
    proof.lab.wait_until_spread()
    proved = play(lab, "prove.yml")
    (proof.folder / "prove.log").write_text(proved.stdout + proved.stderr)
    proof.expect(proved.returncode == 0, f"prove.yml ended with {proved.returncode}: see {proof.folder}")
    proof.count()


def provision(proof: Proof) -> None:
    """Run site.yml."""
    proof.say("run site.yml")
    began = time.monotonic()
    done = play(proof.lab, "site.yml")
    (proof.folder / "site.log").write_text(done.stdout + done.stderr)
    proof.numbers["site_s"] = round(time.monotonic() - began, 1)
    proof.expect(
        done.returncode == 0 and bool(recap(done.stdout)), f"site.yml ended with {done.returncode}: see {proof.folder}"
    )
