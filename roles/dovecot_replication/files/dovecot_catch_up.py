#!/usr/bin/python3
"""Sync what Dovecot 2.3's replicators leave undone.

A replicator syncs the users who change on its backend, nobody else, and is gone with it. So that no change stays on one
node:

- without arguments, every few seconds: users whose sync failed are synced again at once, for which a replicator would
  take five minutes; and so is everybody who is noted in FOLDER and whom no replicator of this node syncs;
- `--stopped BACKEND`, when a backend has stopped: who was not in step is noted, and synced before another node serves;
- `--all`, at an interval, where backends run: everybody is noted, in case a replicator lost something.

`dovecot-uid-gap` notes everybody, too, where a node takes over from one that is gone, and may have kept mail.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path("/var/lib/dovecot/catch-up")  # an empty file for each user to be synced
BACKENDS = Path("/etc/dovecot/backends")
RUN = Path("/run")
REPLICA = "/etc/dovecot/replica.conf"
WORKERS = 4  # syncs at a time
SECONDS = 40.0  # after which no more syncs are begun; the rest is for the next time
FAILURES = 8  # after which the peer counts as gone
NO_USER = 67  # doveadm's exit code


def failed(status: str) -> dict[str, bool]:
    """Read `doveadm replicator status '*'`: whether the last sync failed, for each user it syncs."""
    rows = [line.split() for line in status.splitlines()[1:]]
    return {user: end == "y" for user, priority, fast, *_, end in rows if priority != "none" or fast != "-"}


def behind(database: str) -> list[str]:
    """Read a stopped replicator's file: users who may have changed since they were last in step.

    A line is: user, priority, time of the last change, fast sync and full sync, failed, dsync's state, last good sync.
    """
    users = []
    for line in database.splitlines():
        user, priority, changed, _, _, failing, _, synced = line.split("\t")[:8]
        if priority != "0" or failing != "0" or (int(changed) and int(changed) >= int(synced)):
            users.append(user)
    return users


def note(users: Iterable[str]) -> None:
    """Have users synced."""
    for user in users:
        if "/" not in user:
            (FOLDER / user).touch()


def say(level: int, text: str) -> None:
    """Tell somebody, or the journal, which keeps what is a notice (5) or worse."""
    print(f"<{level}>{text}" if "JOURNAL_STREAM" in os.environ else text, flush=True)


def doveadm(config: str | Path, *arguments: str) -> str:
    """Run doveadm and return its output. Raises when it fails: who is not named would be synced beside a replicator."""
    return subprocess.run(["doveadm", "-c", config, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def replicators() -> list[Path]:
    """The configurations of this node's running backends."""
    return [file for file in BACKENDS.glob("*.conf") if (RUN / f"dovecot-{file.stem}/replicator-doveadm").is_socket()]


def noted(user: str) -> int:
    """When a user was noted last, in nanoseconds; 0 for one who is not."""
    try:
        return (FOLDER / user).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def sync(user: str) -> str:
    """Sync a user and take the note away, unless it was made again meanwhile; return what went wrong."""
    since = noted(user)
    done = subprocess.run(["dovecot-sync-user", user], stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, NO_USER):
        return done.stderr.strip() or f"dovecot-sync-user failed with {done.returncode}"
    if noted(user) == since:
        (FOLDER / user).unlink(missing_ok=True)
    return ""


def catch_up(users: list[str]) -> None:
    """Sync users while that works, in a new order each time, and tell what became of them."""
    end = time.monotonic() + SECONDS
    errors: list[str] = []
    synced: list[str] = []

    def one(user: str) -> None:
        if time.monotonic() < end and len(errors) < FAILURES:
            error = sync(user)
            errors.append(f"{user}: {error}") if error else synced.append(user)

    random.shuffle(users)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, users))
    if synced:
        say(5, f"{len(synced)} of {len(users)} users synced")
    if errors:
        say(4, f"{len(users) - len(synced)} users are still to be synced; {errors[-1]}")


def tend() -> None:
    """Have failed syncs tried again, and sync whom no replicator syncs."""
    known: set[str] = set()
    for config in replicators():
        users = failed(doveadm(config, "replicator", "status", "*"))
        known |= users.keys()
        for user in (user for user, again in users.items() if again):
            doveadm(config, "replicator", "replicate", "-p", "high", user)
    users_noted = {file.name for file in FOLDER.iterdir()}
    for user in users_noted & known:
        (FOLDER / user).unlink(missing_ok=True)
    catch_up(list(users_noted - known))


def stopped(backend: str) -> None:
    """Note who was not in step on a backend that has stopped, and sync them."""
    database = RUN / f"dovecot-{backend}/replicator.db"
    if database.exists():
        users = behind(database.read_text())
        note(users)
        catch_up(users)
    else:  # it was killed, and took what it knew along
        note(doveadm(REPLICA, "user", "*").split())


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--stopped", metavar="BACKEND", help="this backend has stopped")
    kinds.add_argument("--all", action="store_true", help="note everybody")
    arguments = parser.parse_args()
    if arguments.stopped:
        stopped(arguments.stopped)
    elif not arguments.all:
        tend()
    elif replicators():
        note(doveadm(REPLICA, "user", "*").split())
    return 0


if __name__ == "__main__":
    sys.exit(main())
