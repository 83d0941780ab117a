#!/usr/bin/python3
"""Leave a gap in the UIDs of all mailboxes when this node is the only one left of its pod and takes over a backend.

The node that is gone may have given out UIDs that never came here. Were they given out again, dsync would have to
renumber mail on both sides when that node is back, under the hands of clients, who then change the wrong UID. Behind a
gap only the mail of the node that comes back is renumbered, and nobody uses that.

On Debian 12 all users are noted for `dovecot-catch-up`, too: the node may have kept changes that never came here.

While other nodes are there nothing is done: raising UIDs where a user is not served would make what it prevents.
Users are taken in the order of their last sync, the latest first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

GAP = 100_000  # UIDs; there are 4294967295
BATCH = 200  # users whose mailboxes are read together
REPLICA = "/etc/dovecot/replica.conf"
CATCH_UP = Path("/var/lib/dovecot/catch-up")  # where there is a replicator


def plan(status: str) -> tuple[int, dict[str, list[str]]]:
    """Read `doveadm -f json mailbox status uidnext`: the UID to go on from, and for each mailbox name its users."""
    users: dict[str, list[str]] = defaultdict(list)
    top = 0
    for row in json.loads(status or "[]"):
        users[row["mailbox"]].append(row["username"])
        top = max(top, int(row["uidnext"]))
    return top + GAP, dict(users)


def by_last_sync(users: Sequence[str], mail_root: Path) -> list[str]:
    """Sort users by the time of their last sync, the latest first; those without mail here are left out."""
    times = {}
    for user in users:
        local, _, domain = user.rpartition("@")
        home = mail_root / domain / local
        if home.is_dir():
            times[user] = home.stat().st_mtime  # each sync makes and removes a lock there
    return sorted(times, key=lambda user: -times[user])


def batches(users: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut the users into batches."""
    for start in range(0, len(users), BATCH):
        yield users[start : start + BATCH]


def doveadm(*arguments: str, users: Sequence[str] = ()) -> tuple[bool, str]:
    """Run doveadm on the replica instance for some users; return whether that worked for all, and its output."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("".join(f"{user}\n" for user in users))
        file.flush()
        argv = ["doveadm", "-c", REPLICA, *(file.name if word == "USERS" else word for word in arguments)]
        done = subprocess.run(argv, capture_output=True, text=True)
    if done.stderr:
        print(f"{' '.join(arguments)}: {done.stderr.strip()[:500]}", file=sys.stderr)
    return done.returncode == 0, done.stdout


def alone() -> bool:
    """Whether no other node is in this node's part of the cluster. Without a cluster nothing is taken over."""
    try:
        done = subprocess.run(["crm_node", "--partition"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return False
    return len(done.stdout.split()) == 1


def main(mail_root: str) -> int:
    """Raise the next UID of every mailbox."""
    if not alone():
        print("not alone: nothing to do")
        return 0
    worked, known = doveadm("user", "*")
    if CATCH_UP.is_dir():
        for user in known.split():
            (CATCH_UP / user).touch()
    users = by_last_sync(known.split(), Path(mail_root))
    mailboxes = 0
    for batch in batches(users):
        read, status = doveadm("-f", "json", "mailbox", "status", "-F", "USERS", "uidnext", "*", users=batch)
        worked = worked and read
        uid, wanted = plan(status)
        for mailbox, holders in wanted.items():
            if doveadm("mailbox", "update", "-F", "USERS", "--min-next-uid", str(uid), mailbox, users=holders)[0]:
                mailboxes += len(holders)
            else:
                worked = False
    print(f"{mailboxes} mailboxes of {len(users)} users go on behind a gap in their UIDs")
    if not worked:
        print("some have none, see above: dsync renumbers mail where both nodes gave the same UIDs", file=sys.stderr)
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
