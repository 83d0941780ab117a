"""site.yml is run again on the live cluster: nothing changes and no session drops."""

from __future__ import annotations

import time

from tests.ledger.holder import Holder

from .plays import play, recap
from .proof import Proof


def run(proof: Proof) -> None:
    """Run it while sessions are held and mail is written."""
    proof.lab.wait_until_spread()
    holder = Holder(proof.front, sessions=2 * len(proof.front.addresses) * len(proof.lab.backends))
    holder.start()
    # Minutes of writing, on a site at its ordinary load.
    with proof.writing(rate=0.2):
        start = time.time()
        proof.say("run site.yml")
        done = play(proof.lab, "site.yml")
        proof.numbers["site_s"] = round(time.time() - start, 1)
        (proof.folder / "site.log").write_text(done.stdout + done.stderr)
        proof.served(start, time.time())
    held = holder.stop()
    hosts = recap(done.stdout)
    changed = {host: counts["changed"] for host, counts in hosts.items() if counts["changed"]}
    proof.numbers |= {"sessions": held["sessions"], "looks": held["checks"], "dropped": held["dropped"]}
    proof.expect(
        done.returncode == 0 and bool(hosts), f"site.yml ended with {done.returncode}: see {proof.folder}/site.log"
    )
    proof.expect(not changed, f"a second run changed something: {changed}")
    proof.expect(bool(holder.checks), "no session was looked at")
    proof.expect(not holder.dropped, f"sessions dropped: {holder.dropped[:3]}")
    proof.count()
