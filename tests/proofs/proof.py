"""What every proof does: writers at work, something breaks, the count is drawn."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.ledger.checker import Report, check, compare, difference
from tests.ledger.front import Front
from tests.ledger.journal import ACKNOWLEDGED, MERGING, SENT, Journal, Mail, mails, read, stalls
from tests.ledger.writer import Writer

from . import drbd, file_systems, sessions
from .lab import Lab, ProofError, wait_for
from .watch import Watch, twice

# Seconds after which a failover counts as not happening; a mail node with a slow kernel of its own can take 120.
FAILOVER = 240.0
QUEUE = 300.0  # seconds in which the MTAs must have delivered what waited for the cluster
# Of each client, a second; more and the lab's cores are busy with the writers alone, or a mail node's slow kernel is.
RATE = {"shared": 1.0, "own": 0.2, "full": 0.05}
# Seconds that a client waits for an answer. After a takeover all of them come at a time: those that give up a slow
# login and begin anew would keep a slow kernel from ever ending one.
PATIENCE = {"shared": 5.0, "own": 15.0, "full": 30.0}


@dataclass
class Victim:
    """The node that a proof breaks, and what follows."""

    node: str
    backends: list[str]  # that run on it
    others: list[str]  # the other nodes of its pod
    users: set[str]  # of those backends


@dataclass
class Proof:
    """One proof: its numbers, and what went wrong."""

    name: str
    lab: Lab
    numbers: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    # Whether a user with sessions on two nodes is a fault: no where front ends do not know users, or are being changed.
    one_node_each: bool = True

    def __post_init__(self) -> None:
        """Make a folder for the ledger, kept when something goes wrong."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"proof-{self.name}-"))
        self.path = self.folder / "ledger"
        self.journal = Journal(self.path)
        # Users for whom two sides took mail, since when, and when they met again; nobody as a rule.
        self.parted: set[str] = set()
        self.apart, self.met = float("inf"), float("inf")

    @cached_property
    def front(self) -> Front:
        """The front door; its CA exists once the site is provisioned."""
        return self.lab.front(PATIENCE[self.kernel])

    @property
    def kernel(self) -> str:
        """Which kernel mail nodes have: the machine's, one of their own, or that of a full machine."""
        return self.lab.info["hosts"][self.lab.group("mail_nodes")[0]]["kernel"]

    def say(self, text: str) -> None:
        """Show progress."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", flush=True)

    def expect(self, ok: bool, fault: str) -> None:
        """Note a fault and go on, so that one run shows them all."""
        if not ok:
            self.faults.append(fault)
            self.say(f"FAULT: {fault}")

    @contextmanager
    def writing(self, seconds: float = 6.0, rate: float | None = None) -> Iterator[Writer]:
        """Have writers at work; all of them must get through, and go on so for the given seconds.

        A first delivery waits until the MTA has verified the recipient. Meanwhile nodes are asked who has sessions.
        """
        watch = sessions.watch(self.lab, self.kernel)
        writer = Writer(self.front, self.journal, rate=rate or RATE[self.kernel])
        writer.start()

        def all_write() -> bool:
            rows = stalls(self.entries())
            return len(rows) == 2 * len(self.front.users) and all(row.acknowledged for row in rows)

        try:
            wait_for("every writer gets through before anything is broken", all_write, 60)
            time.sleep(seconds)
            yield writer
        finally:
            writer.stop()
            watch.stop()
            self.one_node(watch)

    def one_node(self, watch: Watch) -> None:
        """See that nobody had sessions on two nodes at a time."""
        users = {user.user for user in self.front.users}
        seen = {user for looks in watch.looks.values() for _, there in looks for user in there}
        self.numbers["watched"] = self.numbers.get("watched", 0) + sum(map(len, watch.looks.values()))
        self.expect(seen >= users, f"users were never seen on a mail node: {users - seen}")
        both = twice(watch.looks, users, sessions.BLIND[self.kernel])
        if self.lab.spreads or not self.one_node_each:
            self.numbers["on_two_nodes"] = self.numbers.get("on_two_nodes", 0) + len(both)
        else:
            self.expect(not both, f"users had sessions on two nodes: {', '.join(both)}")

    def entries(self) -> list[dict[str, Any]]:
        """The ledger so far."""
        return list(read([self.path]))

    def mails(self) -> dict[str, Mail]:
        """The wanted end of each mail so far."""
        found = mails(self.entries())
        for mail in found.values():
            taken_apart = mail.user in self.parted and (mail.acknowledged or 0) >= self.apart
            if taken_apart and (mail.change_acknowledged or 0) >= self.met:
                mail.change_state = MERGING
        return found

    def victim(self, number: int = 0) -> Victim:
        """Choose the node that runs the backend of this number, once each backend runs on one node."""
        where = wait_for("each backend runs on one node", self.lab.settled, 120)
        homes = self.homes()
        backend = list(where)[number]
        if backend not in homes.values():  # of those that front ends use; all clients of a lab have one address
            backend = sorted(set(homes.values()))[number % len(set(homes.values()))]
        node = where[backend]
        backends = [name for name, there in where.items() if there == node]
        others = [other for other in self.lab.backends[backend]["nodes"] if other != node]
        users = {user for user, home in homes.items() if home in backends}
        self.expect(bool(users), f"no demo user lives on {', '.join(backends)}")
        return Victim(node, backends, others, users)

    def homes(self) -> dict[str, str]:
        """Return the backend of each user: by the table, or where front ends that decide lead all who log in."""
        if self.lab.by_table:
            return {user.user: self.lab.backend_of(user.user) for user in self.front.users}
        found = sessions.homes(self.lab, self.front)
        if several := {user: backends for user, backends in found.items() if len(backends) > 1}:
            raise ProofError(f"users have sessions on several backends: {several}")
        return {user: next(iter(backends)) for user, backends in found.items()}

    def back(self, since: float, wanted: Callable[[str, str], bool] = lambda user, path: True) -> float:
        """Wait until each client was served again after an incident; return the seconds the slowest waited."""
        keys = {(user.user, path) for user in self.front.users for path in ("imap", "smtp")}
        keys = {key for key in keys if wanted(*key)}
        if not keys:
            raise ProofError("no client would notice")

        def times() -> dict[tuple[str, str], float] | None:
            first: dict[tuple[str, str], float] = {}
            asked: set[tuple[str, str]] = set()
            for entry in self.entries():
                key = (entry.get("user", ""), entry.get("path", ""))
                if key not in keys or entry["at"] < since:
                    continue
                # Asked and answered after the incident: an answer that was under way does not count.
                if entry.get("state") == SENT:
                    asked.add(key)
                elif entry.get("state") == ACKNOWLEDGED and key in asked:
                    first.setdefault(key, entry["at"])
            return first if keys <= first.keys() else None

        first = wait_for("every client is served again", times, FAILOVER)
        return max(first.values()) - since

    def unplugged(self, victim: Victim, *networks: str) -> None:
        """Pull a node's cables, see its users served by other nodes, and plug them in again."""
        self.say(f"pull {victim.node}'s cable to {' and '.join(networks)}; it runs {', '.join(victim.backends)}")
        try:
            cut = max(self.lab.cut(victim.node, network) for network in networks)
            failover = self.back(cut, lambda user, path: user in victim.users and path == "imap")
            self.numbers["failover_s"] = round(failover, 1)
            wait_for(
                f"{', '.join(victim.backends)} run on another node",
                lambda: all(len(nodes) == 1 for nodes in self.lab.placement(victim.others).values()),
                FAILOVER,
            )
            self.numbers["others_s"] = round(self.back(cut), 1)
            time.sleep(5)
            self.served(cut, time.time())
        finally:
            self.say("plug in again")
            for network in networks:
                self.lab.join(victim.node, network)
        self.whole()

    def served(self, since: float, until: float) -> None:
        """Note how the clients were served between two times."""
        entries = [entry for entry in self.entries() if entry["event"] == "begin" or since - 5 <= entry["at"] <= until]
        rows = stalls(entries)
        for path in ("imap", "smtp"):
            mine = [row for row in rows if row.path == path]
            self.numbers[f"{path}_stall_s"] = round(max((row.recovery for row in mine), default=0.0), 2)

    def whole(self, seconds: float = 240.0) -> None:
        """Wait until the cluster has all its nodes, and each backend runs once."""
        start = time.monotonic()
        wait_for("all nodes are online and each backend runs once", self.lab.whole, seconds, pause=1)
        self.numbers["whole_s"] = round(time.monotonic() - start, 1)

    def count(self) -> Report:
        """Compare the ledger with what the front door shows once nothing is queued, and with each replica."""
        start = time.monotonic()
        self.say(f"the MTAs have {self.lab.drain()} mails left to deliver")
        wait_for("the MTAs' queues are empty", lambda: not self.lab.drain(), QUEUE, pause=5)
        self.numbers["drained_s"] = round(time.monotonic() - start, 1)
        report = check(self.front, self.mails(), 20)
        print(report.table(), flush=True)
        self.numbers |= {
            "acknowledged": report.imap + report.smtp,
            "lost": len(report.lost),
            "duplicate": len(report.duplicate),
            "resurrected": len(report.resurrected),
            "redelivered": len(report.redelivered),
            "undone": len(report.undone),
        }
        self.expect(report.status == 0, f"the ledger does not balance: {report.faults} faults, status {report.status}")
        if self.lab.replicated:
            self.converge()
        if drbd.resources(self.lab):
            drbd.compare(self)
        file_systems.check(self)
        return report

    def converge(self, seconds: float = 90.0) -> None:
        """Wait until the replicas hold the same, then compare each with the ledger."""
        start = time.monotonic()
        for pod in sorted({values["pod"] for values in self.lab.backends.values()}):
            first, *others = self.lab.group(pod)
            for other in others:
                left: dict[str, Any] = {}
                while True:
                    one, two = self.lab.listing(first), self.lab.listing(other)
                    left = difference(one, two)
                    if not any(left.values()) or time.monotonic() - start > seconds:
                        break
                    time.sleep(1)
                only = {name: len(items) for name, items in left.items()}
                self.expect(
                    not any(left.values()), f"{first} and {other} did not converge: {only} {json.dumps(left)[:600]}"
                )
                for node, copies in ((first, one), (other, two)):
                    report = compare(self.mails(), copies)
                    if report.status:
                        print(report.table(), flush=True)
                    self.expect(report.status == 0, f"the replica on {node} does not balance: {report.faults} faults")
        self.numbers["converged_s"] = round(time.monotonic() - start, 1)

    def result(self) -> dict[str, Any]:
        """Return it all for JSON."""
        self.journal.close()
        return {
            "proof": self.name,
            "passed": not self.faults and bool(self.numbers),
            "numbers": self.numbers,
            "faults": self.faults,
            "ledger": str(self.path),
        }


def summary(results: list[dict[str, Any]]) -> str:
    """Set the results out for people."""
    lines = []
    for result in results:
        numbers = ", ".join(f"{name} {value}" for name, value in result["numbers"].items())
        lines.append(f"{'ok' if result['passed'] else 'FAILED':<8}{result['proof']:<18}{numbers}")
        lines += [f"        {fault}" for fault in result["faults"]]
    return "\n".join(lines)
