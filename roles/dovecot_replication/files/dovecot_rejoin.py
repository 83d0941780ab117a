#!/usr/bin/python3
"""Have a node that boots give peers what only it holds, and take what they hold, before they reach it.

A node that lost power holds mail that its peers lack, and they have taken mail for the same users since. A two-way sync
of two such replicas that is broken off leaves on each side what had come by then, and the next sync takes whatever is
missing below that for expunged: it loses mail (docs/dsync.md). Two syncs of one direction each do not, however often
they are broken off: the first only adds to the peer, the second makes this node's replica the same, and is finished
once begun.

This is for users who changed here in the last moments and who were still to be synced; nobody else has mail that is
here alone. It does nothing where backends run or may: they have served users since.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPLICA = "/etc/dovecot/replica.conf"
TAKING = Path("/var/lib/dovecot/rejoin")  # an empty file for each user whose replica here is being made the same
CATCH_UP = Path("/var/lib/dovecot/catch-up")  # where there is a replicator
SYNCD = Path("/usr/local/sbin/dovecot-syncd")  # where there is none
LAST = 120.0  # seconds before this node's last change in which a user may have changed without being known as unsynced
WORKERS = 4  # users at a time
TRIES = 5  # for each direction
PEER_SECONDS = 60.0  # to wait for a peer
REFUSED_SECONDS = 10.0  # to wait for one that is up and lets nobody in: it boots, too, and has served nobody
# -f: or mailboxes are left out that look alike, of as many mails and changes on both sides.
GIVE = ("sync", "-f", "-1")
TAKE = ("backup", "-f", "-R")
CHANGED_MEANWHILE, NO_USER = 2, 67  # doveadm's exit codes


def home(user: str) -> str:
    """A user's folder below the mail root."""
    local, _, domain = user.lower().partition("@")
    return f"{domain}/{local}" if domain else local


def changed_last(listing: Iterable[str], users: Iterable[str]) -> list[str]:
    """Pick users with a change in the last moments before the last change of all.

    listing: lines of mtime in seconds, a tab, and the path of one of Dovecot's logs below the mail root.
    """
    names = {home(user): user for user in users}
    latest: dict[str, float] = {}
    for line in listing:
        when, _, path = line.partition("\t")
        first, _, rest = path.partition("/")
        user = names.get(f"{first}/{rest.partition('/')[0]}") or names.get(first)
        if user:
            latest[user] = max(latest.get(user, 0.0), float(when))
    end = max(latest.values(), default=0.0)
    return sorted((user for user in latest if latest[user] >= end - LAST), key=lambda user: -latest[user])


def output(*argv: str) -> str:
    """Run a command and return its output. Raises when it fails: a user who is left out may lose mail."""
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout


def unsynced() -> list[str]:
    """Users of whom this node knew that they were still to be synced."""
    if CATCH_UP.is_dir():
        return [file.name for file in CATCH_UP.iterdir()]
    return output("runuser", "-u", "dovecot-syncd", "--", str(SYNCD), "queued").split()


def all_users() -> list[str]:
    """All users; the directory may come up after this node."""
    began = time.monotonic()
    while True:
        try:
            return output("doveadm", "-c", REPLICA, "user", "*").split()
        except subprocess.CalledProcessError:
            if time.monotonic() > began + PEER_SECONDS:
                raise
        time.sleep(2)


def candidates(mail_root: str) -> list[str]:
    """Users who may have mail that is on this node alone, the latest first."""
    if not Path(mail_root).is_dir():
        return []
    users = all_users()
    listing = output("find", mail_root, "-name", "dovecot*.log", "-printf", "%T@\\t%P\\n").splitlines()
    known = set(users)
    noted = [*(file.name for file in TAKING.iterdir()), *unsynced()]
    return list(dict.fromkeys([*changed_last(listing, users), *(user for user in noted if user in known)]))


def serves() -> bool:
    """Whether backends run on this node, or may at any time."""
    states = "--state=active,reloading,activating,deactivating"
    units = ("dovecot-backend@*.service", "pacemaker.service")
    return bool(output("systemctl", "list-units", "--plain", "--no-legend", states, *units).strip())


def answers(tunnel_port: int) -> bool:
    """Whether a peer's replica instance says something through the tunnel."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", tunnel_port), timeout=10) as connection:
        connection.sendall(b"VERSION\tdoveadm-server\t1\t0\n")
        return bool(connection.recv(1))
    return False


def refuses(peer: str, port: int) -> bool:
    """Whether a peer is up, and its entry closed."""
    try:
        socket.create_connection((peer, port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


def wait_for(peer: str, port: int, tunnel_port: int) -> bool:
    """Wait until a peer answers; return whether it did."""
    began = time.monotonic()
    refused = 0.0  # since when
    while (now := time.monotonic()) < began + PEER_SECONDS:
        if answers(tunnel_port):
            return True
        refused = (refused or now) if refuses(peer, port) else 0.0
        if refused and now - refused >= REFUSED_SECONDS:
            print(f"{peer} is up and lets nobody in: it boots as well")
            return False
        time.sleep(1)
    print(f"{peer} does not answer")
    return False


def dsync(command: Sequence[str], user: str, tunnel_port: int) -> str:
    """Sync a user in one direction; return what went wrong."""
    argv = ["doveadm", "-c", REPLICA, *command, "-l", "20", "-T", "20", "-u", user, f"tcp:127.0.0.1:{tunnel_port}"]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True)
    if done.returncode in (0, NO_USER):
        return ""
    return f"{user}: {' '.join(command)}: {done.stderr.strip() or f'ended with {done.returncode}'}"


def several_times(work: Callable[[], str]) -> str:
    """Do something until nothing goes wrong; return what did the last time."""
    error = ""
    for attempt in range(TRIES):
        time.sleep(attempt)
        if not (error := work()):
            break
    return error


def forget_deletions(folder: Path) -> None:
    """Forget which mailboxes were deleted here.

    Where UIDs are in the way, `backup` deletes the mailbox, to fetch it anew the next time it runs. If it doesn't, any
    other sync takes that for what the user wanted, and deletes the mailbox of the peer.
    """
    for log in folder.glob("*/dovecot.mailbox.log*"):
        log.unlink()


def note(taking: Path) -> None:
    """Write down, so that a loss of power leaves it, that a replica is not to be given any more."""
    for path, flags in ((taking, os.O_CREAT | os.O_WRONLY), (taking.parent, os.O_RDONLY)):
        descriptor = os.open(path, flags, 0o600)
        os.fsync(descriptor)
        os.close(descriptor)


class Node:
    """What rejoins: this node's mail below `mail_root`, and the ports where tunnels to peers begin."""

    def __init__(self, mail_root: Path, ports: Sequence[int]) -> None:
        """Take both."""
        self.mail_root = mail_root
        self.ports = ports

    def rejoin(self, user: str) -> str:
        """Give all peers what only this node has of a user, then become the same as one; return what went wrong."""
        taking = TAKING / user
        if not taking.exists():
            for port in self.ports:
                if error := several_times(lambda port=port: dsync(GIVE, user, port)):
                    return error
            note(taking)
        if error := several_times(lambda: self.take(user)):
            return error
        taking.unlink()
        return ""

    def take(self, user: str) -> str:
        """Make this node's replica of a user the same as a peer's; return what went wrong."""
        forget_deletions(self.mail_root / home(user))
        return dsync(TAKE, user, self.ports[0])

    def leave(self) -> None:
        """Let users in whose replica was to be taken and is not whole: what is missing is new for the next sync."""
        for taking in TAKING.iterdir():
            forget_deletions(self.mail_root / home(taking.name))
            taking.unlink()


def run(node: Node, users: Sequence[str]) -> bool:
    """Rejoin users, and tell how far that is; return whether it worked for all."""
    failed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, error in enumerate(pool.map(node.rejoin, users), start=1):
            if error:
                failed += 1
                print(error, file=sys.stderr, flush=True)
                if not all(answers(port) for port in node.ports):
                    pool.shutdown(cancel_futures=True)
                    print(f"a peer is gone: {len(users) - number} users are left", file=sys.stderr)
                    return False
            if number % 500 == 0 or number == len(users):
                print(f"{number} of {len(users)} users, {failed} failed", flush=True)
    return not failed


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mail_root")
    parser.add_argument("port", type=int, help="of the peers")
    parser.add_argument("peers", nargs="+", metavar="PEER=PORT", help="name, and where the tunnel to it begins")
    arguments = parser.parse_args()
    if serves():
        print("backends run here, or may: nothing to do")
        return 0
    users = candidates(arguments.mail_root)
    if not users:
        print("nobody has mail here that may be on no peer")
        return 0
    tunnels = [peer.split("=") for peer in arguments.peers]
    ports = [int(tunnel) for peer, tunnel in tunnels if wait_for(peer, arguments.port, int(tunnel))]
    node = Node(Path(arguments.mail_root), ports)
    worked = not ports or run(node, users)
    node.leave()
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
