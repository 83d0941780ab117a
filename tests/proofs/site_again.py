"""site.yml is run again on the live cluster: nothing changes and no session drops."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.ledger.holder import Holder

from .lab import ROOT, Lab, ansible
from .proof import Proof

PLAIN = {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}  # Molecule asks for colours
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def playbook(lab: Lab, name: str = "site.yml") -> list[str]:
    """The command that provisions the lab."""
    return [ansible("ansible-playbook"), "-i", lab.info["inventory"], f"playbooks/{name}"]


def provision(lab: Lab, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    environment = {**os.environ, **PLAIN}
    argv = playbook(lab)
    return subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )


def kill(play: subprocess.Popen[str]) -> None:
    """Kill a playbook with all that it started: its workers have process groups of their own, and ssh below them."""
    for pid in family(play.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    play.wait()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def recap(text: str) -> dict[str, dict[str, int]]:
    """Read a play's recap."""
    names = ("ok", "changed", "unreachable", "failed")
    return {m[1]: dict(zip(names, map(int, m.groups()[1:]), strict=True)) for m in RECAP.finditer(text)}


def run(proof: Proof) -> None:
    """Run it while sessions are held and mail is written."""
    proof.spread()
    holder = Holder(proof.front, sessions=2 * len(proof.front.addresses) * len(proof.lab.backends))
    holder.start()
    # Minutes of writing, on a site at its ordinary load.
    with proof.writing(rate=0.2):
        start = time.time()
        proof.say("run site.yml")
        done = provision(proof.lab)
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
