"""The checker: what every folder holds, compared with what the ledger says it must hold."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from module_utils.mail_clients import Imap

from .front import FAILURES, Front, User, close
from .journal import ACKNOWLEDGED, MERGING, Mail

KEPT_FLAGS = {"\\Flagged", "\\Answered", "\\Seen", "\\Deleted", "\\Draft"}
LEDGER_ID = re.compile(r"<([0-9a-f]{8})\.[0-9a-f]{12}\.(?:imap|smtp)@ledger\.invalid>")
HEADERS = "(UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID RECEIVED)])"


@dataclass(frozen=True)
class Copy:
    """One mail as it was found."""

    user: str
    folder: str
    id: str
    flags: frozenset[str] = frozenset()
    delivery: str = ""  # LMTP's id of the delivery that stored it


@dataclass
class Report:
    """What the comparison found. Everything but the counts, `redelivered` and `undone` must be empty."""

    imap: int = 0  # acknowledged, for each path
    smtp: int = 0
    expunged: int = 0
    uncertain: int = 0
    found: int = 0
    foreign: int = 0  # mails that no run of this ledger wrote
    lost: list[dict[str, Any]] = field(default_factory=list)
    duplicate: list[dict[str, Any]] = field(default_factory=list)
    resurrected: list[dict[str, Any]] = field(default_factory=list)
    unexpected: list[dict[str, Any]] = field(default_factory=list)
    wrong_folder: list[dict[str, Any]] = field(default_factory=list)
    wrong_flags: list[dict[str, Any]] = field(default_factory=list)
    # The MTA delivered twice, as it must when the answer to the first delivery was lost (RFC 5321, 6.1):
    # the copies carry different LMTP ids. Copies with one id were made by the store, and are duplicates.
    redelivered: list[dict[str, Any]] = field(default_factory=list)
    # Changes made while replicas were merged that had both taken mail: of these dsync may undo some.
    undone: list[dict[str, Any]] = field(default_factory=list)

    FAULTS = ("lost", "duplicate", "resurrected", "unexpected", "wrong_folder", "wrong_flags")

    @property
    def faults(self) -> int:
        """Count everything that must not be."""
        return sum(len(getattr(self, name)) for name in self.FAULTS)

    @property
    def status(self) -> int:
        """Exit status: 2 when nothing was counted through one of the paths, 1 when anything is wrong."""
        if not self.imap or not self.smtp:
            return 2
        return 1 if self.faults else 0

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {**asdict(self), "faults": self.faults, "status": self.status}

    def table(self) -> str:
        """Return the counts for people, and the first few of each fault."""
        verdict = ["every acknowledged mail is where it must be", "FAILED", "NOTHING COUNTED"][self.status]
        names = ("imap", "smtp", "expunged", "uncertain", "found", "foreign", *self.FAULTS, "redelivered", "undone")
        rows = []
        for name in names:
            value = getattr(self, name)
            rows.append(f"  {name.replace('_', ' '):<14}{value if isinstance(value, int) else len(value):>8}")
            if name in self.FAULTS:
                rows += [f"      {json.dumps(item, sort_keys=True)}" for item in value[:5]]
        return "\n".join([f"ledger: {verdict}", *rows])


def compare(mails: dict[str, Mail], copies: Iterable[Copy]) -> Report:
    """Compare the wanted end of each mail with the copies found."""
    report = Report()
    runs = {match[1] for ident in mails if (match := LEDGER_ID.fullmatch(ident))}
    found: dict[str, list[Copy]] = defaultdict(list)
    for copy in copies:
        match = LEDGER_ID.fullmatch(copy.id)
        if copy.id in mails and mails[copy.id].user == copy.user:
            report.found += 1
            found[copy.id].append(copy)
        elif match and match[1] in runs:
            report.unexpected.append({"id": copy.id, "user": copy.user, "folder": copy.folder})
        else:
            report.foreign += 1
    for mail in mails.values():
        _compare_one(report, mail, found[mail.id])
    return report


def _compare_one(report: Report, mail: Mail, copies: list[Copy]) -> None:
    acknowledged = mail.state == ACKNOWLEDGED
    report.imap += acknowledged and mail.path == "imap"
    report.smtp += acknowledged and mail.path == "smtp"
    report.expunged += mail.expunged
    report.uncertain += mail.uncertain
    what = {"id": mail.id, "user": mail.user, "path": mail.path, "acknowledged": mail.acknowledged}
    copies, extra = _redelivered(mail, copies)
    if extra:
        report.redelivered.append({**what, "folder": [copy.folder for copy in extra]})
    where = [copy.folder for copy in copies]
    flags = set().union(*(copy.flags for copy in copies)) & KEPT_FLAGS
    if mail.change_state == MERGING:
        if not copies and mail.change != "expunge":
            report.lost.append({**what, "folder": sorted(mail.folders)})
        elif where != ([] if mail.change == "expunge" else [mail.moved_to or mail.folder]) or flags != mail.flags:
            report.undone.append({**what, "change": mail.change, "folder": where})
        return
    if not copies:
        if mail.must_exist:
            report.lost.append({**what, "folder": sorted(mail.folders)})
        return
    if mail.must_be_gone:
        kind = report.resurrected if mail.expunged else report.unexpected
        kind.append({**what, "folder": where, "change_acknowledged": mail.change_acknowledged})
        return
    if len(copies) > 1:
        deliveries = {copy.delivery for copy in copies}
        again = mail.path == "smtp" and "" not in deliveries and len(deliveries) == len(copies)
        (report.redelivered if again else report.duplicate).append({**what, "folder": where})
    if not set(where) <= mail.folders:
        report.wrong_folder.append({**what, "folder": where, "wanted": sorted(mail.folders)})
    if mail.flags_known and flags != mail.flags:
        report.wrong_flags.append({**what, "flags": sorted(flags), "wanted": sorted(mail.flags)})


def _redelivered(mail: Mail, copies: list[Copy]) -> tuple[list[Copy], list[Copy]]:
    """Part the copies that the MTA delivered beside the one that the user has changed: they are as they came."""
    if not mail.changed_delivery or mail.change_state != ACKNOWLEDGED:
        return copies, []
    mine: list[Copy] = []
    again: list[Copy] = []
    seen = {mail.changed_delivery}
    for copy in copies:
        new = copy.folder == mail.folder and copy.delivery and copy.delivery not in seen
        (again if new else mine).append(copy)
        seen.add(copy.delivery)
    return mine, again


def difference(one: Iterable[Copy], other: Iterable[Copy]) -> dict[str, list[Any]]:
    """Say what two replicas hold differently: nothing, when they have converged."""
    first, second = (
        sorted((copy.user, copy.folder, copy.id, sorted(copy.flags & KEPT_FLAGS)) for copy in copies)
        for copies in (one, other)
    )
    return {"only_first": _without(first, second), "only_second": _without(second, first)}


def _without(some: list[Any], others: list[Any]) -> list[Any]:
    left = list(map(json.dumps, others))
    counts: dict[str, int] = defaultdict(int)
    for line in left:
        counts[line] += 1
    only = []
    for item in some:
        line = json.dumps(item)
        counts[line] -= 1
        if counts[line] < 0:
            only.append(item)
    return only


def loss_window(mails: dict[str, Mail], copies: Iterable[Copy], killed: float) -> dict[str, Any]:
    """Say which mail appended before the kill the survivor lacks, and how long before it was acknowledged.

    Mail that came by SMTP may still be in the MTA's queue, so it is counted apart. Mail that was being changed after
    the kill may have been on its way from one folder to another when the copies were listed: it does not count.
    """
    present = {copy.id for copy in copies}
    before = [
        mail
        for mail in mails.values()
        if mail.must_exist
        and mail.acknowledged
        and mail.acknowledged < killed
        and (mail.change is None or (mail.change_acknowledged or killed) < killed)
    ]
    missing = [mail for mail in before if mail.id not in present]
    rows = [
        {
            "id": mail.id,
            "user": mail.user,
            "before_kill_ms": round((killed - (mail.acknowledged or 0)) * 1000),
        }
        for mail in missing
        if mail.path == "imap"
    ]
    return {
        "acknowledged": sum(mail.path == "imap" for mail in before),
        "missing": len(rows),
        "window_ms": max((int(str(row["before_kill_ms"])) for row in rows), default=0),
        "mails": rows,
        "queued_or_missing_smtp": sum(mail.path == "smtp" for mail in missing),
    }


def delivery_id(headers: str) -> str:
    """Return LMTP's id in the newest Received line, or nothing."""
    unfolded = re.sub(r"\r?\n[ \t]+", " ", headers)
    for line in unfolded.splitlines():
        if line.lower().startswith("received:"):
            match = re.search(r"with LMTPS?A? id (\S+)", line)
            return match[1].rstrip(";") if match else ""
    return ""


def parse_fetch(user: str, folder: str, answer: list[Any]) -> list[Copy]:
    """Turn imaplib's answer to a FETCH of HEADERS into copies."""
    copies = []
    for number, item in enumerate(answer):
        if not isinstance(item, tuple):
            continue
        # Flags may stand before the literal or, on some servers, after it.
        after = answer[number + 1] if number + 1 < len(answer) else b""
        around = item[0] + (after if isinstance(after, bytes) else b"")
        flags = re.search(rb"FLAGS \(([^)]*)\)", around)
        headers = item[1].decode("utf-8", "replace")
        ident = re.search(r"(?im)^message-id:\s*(\S+)", headers)
        copies.append(
            Copy(
                user,
                folder,
                ident[1] if ident else "",
                frozenset(flags[1].decode().split()) if flags else frozenset(),
                delivery_id(headers),
            )
        )
    return copies


def parse_doveadm(text: str) -> list[Copy]:
    """Read `doveadm -f json fetch -A 'user mailbox flags hdr.message-id hdr.received' ALL`."""
    copies = []
    for row in json.loads(text or "[]"):
        ident = (row.get("hdr.message-id") or "").split()
        flags = frozenset((row.get("flags") or "").split()) - {"\\Recent"}
        received = "Received: " + (row.get("hdr.received") or "")
        copies.append(Copy(row["user"], row["mailbox"], ident[0] if ident else "", flags, delivery_id(received)))
    return copies


def fetch_user(front: Front, user: User, start: int = 0) -> list[Copy]:
    """Fetch what every folder of a user holds, through one address of the front door."""
    client: Imap = front.imap(next(front.doors(start=start)), user)
    try:
        copies = []
        kind, folders = client.list()
        if kind != "OK":
            raise client.error(f"LIST for {user.user}: {folders}")
        line: Any
        for line in filter(None, folders):
            # a name sent as a literal comes as a tuple
            text = line if isinstance(line, bytes) else line[0].rpartition(b"{")[0] + b'"' + line[1] + b'"'
            match = re.fullmatch(rb'\(([^)]*)\) (?:"[^"]*"|NIL) (.*)', text)
            if not match or b"\\noselect" in match[1].lower() or b"\\nonexistent" in match[1].lower():
                continue
            quoted = match[2].decode()
            kind, count = client.select(quoted, readonly=True)
            if kind != "OK":
                raise client.error(f"EXAMINE {quoted} of {user.user}: {count}")
            if int(count[0] or 0):
                kind, answer = client.uid("FETCH", "1:*", HEADERS)
                if kind != "OK":
                    raise client.error(f"FETCH in {quoted} of {user.user}: {answer}")
                copies += parse_fetch(user.user, quoted.strip('"'), answer)
        client.logout()
        return copies
    finally:
        close(client)


def fetch(front: Front, wait: float = 60.0) -> list[Copy]:
    """Fetch everything of every user; try the other addresses for so long when one fails."""
    end = time.monotonic() + wait
    copies = []
    for user in front.users:
        attempt = 0
        while True:
            try:
                copies += fetch_user(front, user, attempt)
                break
            except FAILURES:
                attempt += 1
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)
    return copies


def check(front: Front, mails: dict[str, Mail], wait: float = 60.0) -> Report:
    """Compare, and wait for mail that the MTA still has."""
    end = time.monotonic() + wait
    while True:
        report = compare(mails, fetch(front, max(1.0, end - time.monotonic())))
        late = [mail for mail in report.lost if mail["path"] == "smtp"]
        if not late or time.monotonic() > end:
            return report
        time.sleep(1)
