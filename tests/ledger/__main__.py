"""Command line of the ledger: `python3 -m tests.ledger write|check|direct|window|converged|hold`.

FRONT is a JSON file: {"addresses": [...], "hostname": "mail.example.org", "ca": "ca.pem",
"users": [{"user": "...", "password": "..."}], "smtp_addresses": [...], "imap_port": 993, "smtp_port": 25}.

Exit status: 0 all is well, 1 something is wrong, 2 nothing was counted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from .checker import check, compare, difference, loss_window, parse_doveadm
from .front import Front
from .holder import Holder
from .journal import Journal, mails, read, stalls
from .writer import Writer, write

LISTING = "output of: doveadm -c CONF -f json fetch -A 'user mailbox flags hdr.message-id hdr.received' ALL"


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    options = parser().parse_args(arguments)
    return options.command(options)


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="ledger", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = top.add_subparsers(required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=run)
        sub.add_argument("--json", type=Path, help="write the result here too")
        return sub

    sub = command("write", run_write, "append, deliver and change mail, and record what is acknowledged")
    sub.add_argument("front", type=Path)
    sub.add_argument("ledger", type=Path, help="append-only file of JSON lines")
    sub.add_argument("--seconds", type=float, help="default: until SIGTERM or SIGINT")
    sub.add_argument(
        "--rate", type=float, default=5.0, help="turns a second of each client (one IMAP, one SMTP a user)"
    )
    sub.add_argument("--changes", type=float, default=0.3, help="share of the IMAP turns that flag, move or expunge")
    sub.add_argument("--size", type=int, default=1024, help="bytes of a mail")

    sub = command("check", run_check, "compare every folder, fetched through the front door, with the ledger")
    sub.add_argument("front", type=Path)
    sub.add_argument("ledger", type=Path, nargs="+")
    sub.add_argument("--wait", type=float, default=60.0, help="seconds to wait for mail that the MTA still has")

    sub = command("direct", run_direct, "compare a replica on its own disk with the ledger")
    sub.add_argument("listing", type=Path, help=LISTING)
    sub.add_argument("ledger", type=Path, nargs="+")

    sub = command("window", run_window, "list acknowledged mail that the survivor of a kill lacks")
    sub.add_argument("listing", type=Path, help=LISTING)
    sub.add_argument("killed", type=float, help="time of the kill, in seconds since 1970")
    sub.add_argument("ledger", type=Path, nargs="+")

    sub = command("converged", run_converged, "compare two replicas with each other")
    sub.add_argument("one", type=Path, help=LISTING)
    sub.add_argument("other", type=Path, help=LISTING)

    sub = command("hold", run_hold, "hold IMAP sessions and count those that the servers end")
    sub.add_argument("front", type=Path)
    sub.add_argument("--seconds", type=float, help="default: until SIGTERM or SIGINT")
    sub.add_argument("--sessions", type=int, default=8)
    sub.add_argument("--interval", type=float, default=2.0, help="seconds between two looks at a session")
    return top


def run_write(options: argparse.Namespace) -> int:
    """Write until told to stop, then print how each client was served."""
    writer = Writer(Front.load(options.front), Journal(options.ledger), options.rate, options.changes, options.size)
    write(writer, options.seconds, told_to_stop())
    entries = [entry for entry in read([options.ledger])]
    rows = stalls(entries)
    print(f"{'user':<32}{'path':<6}{'acks':>8}{'errors':>8}{'longest s':>11}{'recovery s':>12}")
    for row in rows:
        print(
            f"{row.user:<32}{row.path:<6}{row.acknowledged:>8}{row.errors:>8}{row.longest:>11.3f}{row.recovery:>12.3f}"
        )
    save(options, [vars(row) for row in rows])
    return 0 if all(row.acknowledged for row in rows) else 2


def run_check(options: argparse.Namespace) -> int:
    """Check through the front door."""
    report = check(Front.load(options.front), mails(read(options.ledger)), options.wait)
    print(report.table())
    save(options, report.as_dict())
    return report.status


def run_direct(options: argparse.Namespace) -> int:
    """Check a replica."""
    report = compare(mails(read(options.ledger)), parse_doveadm(options.listing.read_text(encoding="utf-8")))
    print(report.table())
    save(options, report.as_dict())
    return report.status


def run_window(options: argparse.Namespace) -> int:
    """Measure the loss window."""
    copies = parse_doveadm(options.listing.read_text(encoding="utf-8"))
    window = loss_window(mails(read(options.ledger)), copies, options.killed)
    print(
        f"loss window: {window['missing']} of {window['acknowledged']} appended mails missing,"
        f" the oldest acknowledged {window['window_ms']} ms before the kill"
    )
    save(options, window)
    return 0 if window["acknowledged"] else 2


def run_converged(options: argparse.Namespace) -> int:
    """Compare two replicas."""
    one, other = (parse_doveadm(path.read_text(encoding="utf-8")) for path in (options.one, options.other))
    result = difference(one, other)
    print(f"replicas: {len(one)} and {len(other)} mails, {json.dumps(result)[:2000]}")
    save(options, result)
    if not one and not other:
        return 2
    return 1 if any(result.values()) else 0


def run_hold(options: argparse.Namespace) -> int:
    """Hold sessions until told to stop."""
    holder = Holder(Front.load(options.front), options.sessions, options.interval)
    stop = told_to_stop()
    holder.start()
    stop.wait(options.seconds)
    result = holder.stop()
    print(json.dumps(result, indent=2))
    save(options, result)
    if not holder.checks:
        return 2
    return 1 if holder.dropped else 0


def told_to_stop() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def save(options: argparse.Namespace, result: Any) -> None:
    """Write the result as JSON where it was asked for."""
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
