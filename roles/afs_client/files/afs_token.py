#!/usr/bin/python3
"""Keeps the tokens that users of this host have in an AFS cell: keys of the kernel's, in their user-session keyrings.

`renew` gets a ticket with the host's keytab and makes a token of it for each user, in place of the one that was there.
It ends old sessions: a process writes to a file with the token that was there when it opened the file, and what it
writes after that token's end is lost, in the middle of an index. `check` says how long tokens hold, and fails when one
is missing or ends soon. `watch` goes on checking, has the token renewed as soon as that fails, and tells the cluster by
the node's attribute token_held: 1, or 0 when it ends soon, or -1 when nothing must write any more.

Why there: the kernel's client, when it walks along a path, looks for a key in the session's keyring itself, not in
keyrings that are linked to it; services have no session's keyring with KeyringMode=inherit, and then it looks in the
user-session keyring. What is deeper is not found, and access is refused as to anybody.
"""

import argparse
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/afs-token.json")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
WATCH_SECONDS = 10
STOP_SECONDS = 120  # of a token's life that are left for backends to stop in
LONGEST = "30d"  # that AFS knows; the KDC gives what it allows


class TokenError(Exception):
    """Why there is no token."""


def seconds_left(keys: str, key: int) -> int:
    """Return how long a key holds, as /proc/keys says: rounded down to seconds, minutes, hours, days or weeks."""
    found = re.search(rf"^{key:08x} \S+ +\d+ +(\d+)([smhdw]) ", keys, re.MULTILINE)
    return int(found[1]) * SECONDS[found[2]] if found else 0


def shown(seconds: int) -> str:
    """Return a time for a person, in the largest unit."""
    unit = max((unit for unit in SECONDS if SECONDS[unit] <= seconds), key=SECONDS.__getitem__, default="s")
    return f"{seconds // SECONDS[unit]} {unit}"


def output(*argv: str, user: str = "root", **environment: str) -> str:
    """Run a program as a user; return what it prints."""
    found = pwd.getpwnam(user)
    done = subprocess.run(
        argv,
        **({} if user == "root" else {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}),
        env={**os.environ, **environment, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise TokenError(f"{argv[0]}: {' '.join((done.stdout + done.stderr).split())}")
    return done.stdout.strip()


def renew(settings: dict[str, Any]) -> None:
    """Replace all tokens."""
    cell, realm = settings["cell"], settings["realm"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # each user finds his own ticket
        ticket = f"{folder}/ticket"
        # For the cell alone: with it nobody gets another one.
        service = ["-S", f"afs/{cell}@{realm}", "-l", LONGEST]
        output("kinit", "-k", "-t", settings["keytab"], *service, settings["principal"], KRB5CCNAME=f"FILE:{ticket}")
        for user in settings["users"]:
            own = shutil.copy(ticket, f"{ticket}-{user}")
            os.chmod(own, 0o600)
            shutil.chown(own, user)
            output("aklog-kafs", "-k", "uid-session", cell, realm, user=user, KRB5CCNAME=f"FILE:{own}")


def left(settings: dict[str, Any], user: str) -> int:
    """Return for how many seconds a user's token holds."""
    # Its owner alone sees it.
    key = int(output("keyctl", "search", "@us", "rxrpc", f"afs@{settings['cell']}", user=user))
    return seconds_left(output("cat", "/proc/keys", user=user), key)


def check(settings: dict[str, Any], least: int) -> list[str]:
    """Return what there is to say of each token, if all hold long enough."""
    said, bad = [], False
    for user in settings["users"]:
        try:
            seconds = left(settings, user)
        except TokenError as error:
            said.append(f"{user} has no token for {settings['cell']} ({error})")
            bad = True
            continue
        bad |= seconds < least
        wanted = f", wanted {shown(least)} or more" if seconds < least else ""
        said.append(f"{user} is {settings['principal']} for {shown(seconds)}{wanted}")
    if bad:
        raise TokenError(f"{'; '.join(said)}: see systemctl status afs-token")
    return said


def holds(settings: dict[str, Any], least: int) -> bool:
    """Tell whether all tokens hold that long."""
    try:
        return bool(check(settings, least))
    except TokenError:
        return False


def watch(settings: dict[str, Any], least: int) -> None:
    """Look once, and tell."""
    held, delay = 1, f"{3 * WATCH_SECONDS}s"
    try:
        check(settings, least)
    except TokenError as error:
        print(f"afs-token: {error}", file=sys.stderr, flush=True)
        # Collected for a while: where no KDC answers, no node is to say so before the others.
        held, delay = (0, delay) if holds(settings, STOP_SECONDS) else (-1, "0s")
        output("systemctl", "start", "--no-block", "afs-token.service")
    output("attrd_updater", "--name", "token_held", f"--update-both={held}", "--delay", delay)


def older(programs: list[str], users: list[str], seconds: float, proc: Path = Path("/proc")) -> list[int]:
    """Return the processes of these programs and users that began more than so many seconds ago."""
    uids = {pwd.getpwnam(user).pw_uid for user in users}
    up = float((proc / "uptime").read_text().split()[0])
    found = []
    for folder in proc.glob("[0-9]*"):
        try:
            # The folder's owner is root where a process has changed its user.
            user = int(re.search(r"^Uid:\t(\d+)", (folder / "status").read_text(), re.MULTILINE)[1])
            name, fields = re.fullmatch(r"\d+ \((.*)\) (.*)", (folder / "stat").read_text().strip()).groups()
        except OSError:  # it has ended
            continue
        began = int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
        if name in programs and user in uids and up - began > seconds:
            found.append(int(folder.name))
    return sorted(found)


def end_old(settings: dict[str, Any]) -> None:
    """End sessions that have gone on for half of a token's life."""
    life = min(left(settings, user) for user in settings["users"])
    for pid in older(settings["sessions"], settings["users"], life / 2):
        print(f"{pid} has open files from {shown(life // 2)} ago or before, and is ended")
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("renew", help="get a new token")
    helps = {"check": "fail without a token that holds", "watch": "check for ever, and tell the cluster"}
    for name, text in helps.items():
        commands.add_parser(name, help=text).add_argument(
            "--least", type=int, default=300, help="seconds (default: 300)"
        )
    arguments = parser.parse_args()
    settings = json.loads(SETTINGS.read_text())
    try:
        if arguments.command == "renew":
            renew(settings)
            end_old(settings)
        while arguments.command == "watch":
            watch(settings, arguments.least)
            time.sleep(WATCH_SECONDS)
        print("\n".join(check(settings, 1 if arguments.command == "renew" else arguments.least)))
    except TokenError as error:
        print(f"afs-token: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
