"""Measure what it does to a mailbox when two nodes write it at a time, against one node alone.

    python3 -m tests.bench.two_nodes [--lab NAME] [--rounds 3] [--formats maildir,mdbox] [--json FILE]

In each round one side delivers by LMTP while the other has an IMAP session that marks, copies, appends and expunges. It
is done with the store's own settings, with those that Dovecot has for mail that several hosts write over NFS, and with
Dovecot's defaults. Errors are answers that were not wanted; lost, doubled and otherwise wrong mails are counted as new
sessions on both nodes show them; complaints are lines of Dovecot's about broken indexes and locks.
"""

from __future__ import annotations

import argparse
import imaplib
import json
import secrets
import shlex
import smtplib
import sys
import time
from pathlib import Path
from typing import Any

from tests.proofs import formats
from tests.proofs.lab import Lab, ProofError

SETTINGS: dict[str, dict[str, str]] = {
    "the store's": {},
    "several hosts": {
        **{"mmap_disable": "yes", "mail_fsync": "always", "mail_nfs_storage": "yes", "mail_nfs_index": "yes"},
        "lock_method": "fcntl",
    },
    "Dovecot's defaults": {
        **{"mmap_disable": "no", "mail_fsync": "optimized", "mail_nfs_storage": "no", "mail_nfs_index": "no"},
        "lock_method": "fcntl",
    },
}
WRONG = ("lost", "there more than once", "there, though it should not be", "no longer marked as seen", "not whole")
FAILURES = (ProofError, imaplib.IMAP4.error, smtplib.SMTPException, OSError)


def measure(lab: Lab, user: str, password: str, deliverer: str, reader: str) -> dict[str, Any]:
    """One round; return what was written, how fast, and what was wrong."""
    row: dict[str, Any] = {"acts": 0, "seconds": 0.0, "errors": [], **dict.fromkeys(WRONG, 0)}
    start = time.monotonic()
    try:
        written = formats.write(lab, user, password, deliverer, reader)
    except FAILURES as error:
        return row | {"seconds": time.monotonic() - start, "errors": [f"{type(error).__name__}: {error}"]}
    row |= {"acts": len(written.delivered) + written.changes, "seconds": written.seconds}
    for backend in dict.fromkeys((reader, deliverer)):
        try:
            faults = formats.compare(formats.show(lab, user, password, backend), written)
        except FAILURES as error:
            row["errors"].append(f"{type(error).__name__}: {error}")
            continue
        for what in WRONG:
            named = [fault.partition(f"{what}: ")[2] for fault in faults if f": {what}: " in fault]
            row[what] = max(row[what], sum(len(names.split(", ")) for names in named))
    return row


def complaints(lab: Lab, since: float) -> int:
    """How many lines of Dovecot's tell of broken indexes or locks since a time."""
    query = (
        f"journalctl --since @{since:.0f} -o cat -u 'dovecot-backend@*' | grep -ciE {shlex.quote(formats.COMPLAINTS)}"
    )
    return sum(int(lab.ssh(node, f"{query}; true")) for node in lab.group("mail_nodes"))


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", default="maildir,mdbox")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    lab = Lab(options.lab)
    where = lab.settled() or {}
    here, there = list(lab.backends)[:2]
    if where.get(here) == where.get(there):
        raise SystemExit(f"{here} and {there} must run on two nodes, found: {where}")
    ways = [
        (form, name, nodes)
        for form in options.formats.split(",")
        for name in SETTINGS
        for nodes in ("one node", "two nodes")
    ]
    kinds = {
        f"bench-{number}-{turn}": (form, SETTINGS[name])
        for number, (form, name, _) in enumerate(ways)
        for turn in range(options.rounds)
    }
    password = secrets.token_hex(16)
    rows = []
    print(f"{'format':<8} {'settings':<19} {'written by':<10} acts/s errors lost doubled other complaints", flush=True)
    with formats.accounts(lab, password, kinds) as domain:
        for number, (form, name, nodes) in enumerate(ways):
            since = time.time()
            rounds = [
                measure(lab, f"bench-{number}-{turn}@{domain}", password, here, there if nodes == "two nodes" else here)
                for turn in range(options.rounds)
            ]
            row = {
                **{"format": form, "settings": name, "nodes": nodes},
                "acts_per_s": sum(one["acts"] for one in rounds) / sum(one["seconds"] for one in rounds),
                "errors": [error for one in rounds for error in one["errors"]],
                **{what: sum(one[what] for one in rounds) for what in WRONG},
                "complaints": complaints(lab, since),
            }
            rows.append(row)
            other = sum(row[what] for what in WRONG[2:])
            print(
                f"{form:<8} {name:<19} {nodes:<10} {row['acts_per_s']:6.1f} {len(row['errors']):6} {row['lost']:4}"
                f" {row['there more than once']:7} {other:5} {row['complaints']:10}",
                flush=True,
            )
    for row in rows:
        for error in row["errors"]:
            print(f"{row['format']}, {row['settings']}, {row['nodes']}: {error[:300]}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
