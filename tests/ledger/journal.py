"""The journal: one JSON line for each thing a client did and what it was told, flushed at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

ACKNOWLEDGED = "acknowledged"  # the server said it is done
REFUSED = "refused"  # the server said it is not done
SENT = "sent"  # about to ask; without a later line nobody knows the outcome
UNCERTAIN = "uncertain"  # the connection died before the answer
MERGING = "merging"  # done, while replicas were merged that had both taken mail: such a change may come undone


class Journal:
    """Writes entries of many threads to an append-only file."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, **entry: Any) -> None:
        """Append one entry with the time and flush it."""
        entry.setdefault("at", time.time())
        line = json.dumps(entry, sort_keys=True)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield the entries of journals; a last line cut short by a crash is skipped."""
    for path in paths:
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                if number == len(lines):  # no newline after it: the writer was killed
                    continue
                raise ValueError(f"{path}:{number}: not a line of a ledger: {line[:80]!r}") from None
            yield entry


@dataclass
class Mail:
    """One mail, and in which states it may end."""

    id: str
    user: str
    path: str
    folder: str
    state: str = SENT
    sent: float = 0.0
    acknowledged: float | None = None
    flags: set[str] = field(default_factory=set)
    change: str | None = None  # flag, move, expunge: at most one for each mail
    change_state: str | None = None
    change_acknowledged: float | None = None
    moved_to: str | None = None
    changed_delivery: str = ""  # LMTP's id of the copy that was changed: the MTA may deliver another later

    @property
    def must_exist(self) -> bool:
        """Say whether it was acknowledged and nobody may have expunged it."""
        return self.state == ACKNOWLEDGED and not (self.change == "expunge" and self.change_state != REFUSED)

    @property
    def must_be_gone(self) -> bool:
        """Say whether its expunge was acknowledged, or it was never accepted."""
        return self.expunged or self.state == REFUSED

    @property
    def expunged(self) -> bool:
        """Say whether its expunge was acknowledged."""
        return self.change == "expunge" and self.change_state == ACKNOWLEDGED

    @property
    def uncertain(self) -> bool:
        """Say whether it, or its change, may have ended either way."""
        return self.state in (SENT, UNCERTAIN) or self.change_state in (SENT, UNCERTAIN)

    @property
    def folders(self) -> set[str]:
        """Name the folders it may be in."""
        if self.change != "move" or self.change_state == REFUSED:
            return {self.folder}
        moved = self.moved_to or ""
        return {moved} if self.change_state == ACKNOWLEDGED else {self.folder, moved}

    @property
    def flags_known(self) -> bool:
        """Say whether a change of flags left no doubt."""
        return self.change_state in (None, ACKNOWLEDGED, REFUSED)


def mails(entries: Iterable[dict[str, Any]]) -> dict[str, Mail]:
    """Fold journal entries into the wanted end of each mail."""
    found: dict[str, Mail] = {}
    for entry in entries:
        event, state = entry["event"], entry.get("state", "")
        if event == "deliver":
            mail = found.setdefault(entry["id"], Mail(entry["id"], entry["user"], entry["path"], entry["folder"]))
            mail.state = state
            if state == SENT:
                mail.sent = entry["at"]
            elif state == ACKNOWLEDGED:
                mail.acknowledged = entry["at"]
        elif event in ("flag", "move", "expunge"):
            mail = found[entry["id"]]
            mail.change, mail.change_state = event, state
            mail.moved_to = entry.get("to")
            mail.changed_delivery = entry.get("delivery", "")
            if state == ACKNOWLEDGED:
                mail.change_acknowledged = entry["at"]
                if event == "flag":
                    mail.flags = set(entry["flags"])
    return found


@dataclass
class Stall:
    """How one kind of client of one user was served."""

    user: str
    path: str
    acknowledged: int = 0
    errors: int = 0
    longest: float = 0.0
    longest_from: float = 0.0
    recovery: float = 0.0  # from the first error of an outage to the next acknowledgement


def stalls(entries: Iterable[dict[str, Any]]) -> list[Stall]:
    """Measure for each user and path how long it went without an acknowledgement."""
    rows: dict[tuple[str, str], Stall] = {}
    last: dict[tuple[str, str], float] = {}
    failing: dict[tuple[str, str], float] = {}
    for entry in entries:
        key = (entry.get("user", ""), entry.get("path", ""))
        if entry["event"] == "begin":
            rows[key], last[key] = Stall(*key), entry["at"]
        if key not in rows:
            continue
        row = rows[key]
        failed = entry["event"] == "error" or entry.get("state") in (UNCERTAIN, REFUSED)
        good = entry.get("state") == ACKNOWLEDGED
        if failed:
            row.errors += 1
            failing.setdefault(key, entry["at"])
        if good:
            row.acknowledged += entry["event"] == "deliver"
            if key in failing:
                row.recovery = max(row.recovery, entry["at"] - failing.pop(key))
        if good or entry["event"] == "end":
            gap = entry["at"] - last[key]
            if gap > row.longest:
                row.longest, row.longest_from = gap, last[key]
            last[key] = entry["at"]
            if entry["event"] == "end" and key in failing:
                row.recovery = max(row.recovery, entry["at"] - failing.pop(key))
    return sorted(rows.values(), key=lambda row: (row.user, row.path))
