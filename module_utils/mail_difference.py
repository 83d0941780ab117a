"""Which mails one side of a split brain has and the other has not: pure logic.

A mail is known by its Message-ID and its size, as other mails can claim the same Message-ID; a mail without one by a
hash of its text. It is on a side wherever in the user's folders it is: a mail that was moved is not missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIELDS = "mailbox mailbox-guid uid hdr.message-id size.virtual date.received flags"
Mail = dict[str, Any]  # folder, mailbox, uid, id, size, received, flags, key
Mails = Mapping[str, Sequence[Mail]]  # by user


def parse(text: str) -> list[Mail]:
    """Read the JSON of `doveadm fetch FIELDS`. A mail without a Message-ID has no key yet."""
    mails = []
    for row in json.loads(text):  # never empty: it is [] for no mails
        ident = " ".join((row["hdr.message-id"] or "").encode(errors="replace").decode().split())
        mails.append(
            {
                "folder": row["mailbox"],
                "mailbox": row["mailbox-guid"],
                "uid": int(row["uid"]),
                "id": ident,
                "size": int(row["size.virtual"]),
                "received": row["date.received"],
                "flags": " ".join(flag for flag in (row["flags"] or "").split() if flag != "\\Recent"),
                "key": f"{ident} {row['size.virtual']}" if ident else "",
            }
        )
    return mails


def digest(mails: Iterable[Mail]) -> str:
    """Give the same for sides that have the same mails, whatever their order, folders and flags."""
    return hashlib.sha256("\n".join(sorted({mail["key"] for mail in mails})).encode()).hexdigest()


def only_in(one: Mails, other: Mails) -> dict[str, list[Mail]]:
    """Give what one side has and the other has not, each mail once, for each user who has such."""
    found: dict[str, list[Mail]] = {}
    for user, mails in sorted(one.items()):
        known = {mail["key"] for mail in other.get(user, [])}
        for mail in mails:
            if mail["key"] not in known:
                known.add(mail["key"])
                found.setdefault(user, []).append(mail)
    return found


def count(mails: Mails) -> int:
    """Count the mails of all users."""
    return sum(map(len, mails.values()))


def uid_sets(mails: Iterable[Mail], most: int = 500) -> list[tuple[str, list[int]]]:
    """Give the UIDs of each mailbox, in pieces that fit into a command line."""
    uids: dict[str, list[int]] = {}
    for mail in mails:
        uids.setdefault(mail["mailbox"], []).append(mail["uid"])
    return [
        (mailbox, numbers[start : start + most])
        for mailbox, numbers in uids.items()
        for start in range(0, len(numbers), most)
    ]


def folder_for(node: str) -> str:
    """Where mails of a node's side are saved. Maildir has no folders with dots in their names."""
    return "Saved from " + re.sub(r"[^\w-]", "-", node)
