"""A user's mail as a whole, on its way from one backend's file system to another's.

Where a user's mail was is left a file in place of the folder. It says which backend has the mail, and whatever still
comes to the old one, such as the end of a delivery that began before, fails for the moment and is sent again elsewhere:
never is a new, empty mailbox made there.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from ansible.module_utils.backend_store import LEAVING, BackendStore, StoreError
from ansible.module_utils.mail_difference import Mail

ARRIVING = ".arriving"
AT_FDCWD, RENAME_EXCHANGE = -100, 2
# Where mail may be when a state is asked for, and where that changes nothing. What is leaving where mail shall be here
# is what an earlier move left behind; what shall be back may never have left, as when somebody used it.
FROM = {
    "leaving": ("here", "leaving"),
    "here": ("none", "gone", "leaving"),
    "back": ("leaving", "here"),
    "gone": ("gone", "leaving"),
}
UNCHANGED = (("back", "here"), ("gone", "gone"))


class UserHome:
    """The mail of one user of a backend that runs on this node."""

    def __init__(self, backend: str, root: str, user: str) -> None:
        """Look for nothing yet."""
        self.root = Path(root)
        if not re.fullmatch(r"[^./@\s][^/@\s]*@[^./@\s][^/@\s]*", user):
            raise StoreError(f"{user!r} is no address")
        if not self.root.is_mount():
            raise StoreError(f"{backend}: nothing is mounted on {root} here")
        self.store = BackendStore(backend, root)
        self.user = user
        self.home = self.store.home(user)
        self.leaving = self.aside(LEAVING)
        self.arriving = self.aside(ARRIVING)

    def aside(self, name: str) -> Path:
        """Where the mail is while it travels."""
        return self.root / name / self.home.relative_to(self.root)

    def place(self) -> str:
        """Say where the mail is: here, leaving, gone (to another backend), or none (there was none ever)."""
        if self.home.is_dir():
            return "here"
        if self.leaving.is_dir():
            return "leaving"
        return "gone" if self.home.exists() else "none"

    def check(self, state: str) -> str:
        """Say where the mail is; fail when the state cannot be reached from there."""
        place = self.place()
        if place not in FROM[state]:
            raise StoreError(f"{self.store.backend}: the mail of {self.user} is {place}, so it cannot be {state}")
        return place

    def mails(self, name: str) -> list[Mail]:
        """Its mails while they travel."""
        return BackendStore(self.store.backend, str(self.root / name)).mails(self.user)

    def make_parents(self, path: Path) -> None:
        """Make the folders above, as the root is."""
        owner = self.root.stat()
        for parent in reversed(path.relative_to(self.root).parents[:-1]):
            folder = self.root / parent
            if not folder.exists():
                folder.mkdir(mode=0o700)
                os.chown(folder, owner.st_uid, owner.st_gid)

    def leave(self, to: str, seconds: float) -> None:
        """Put the mail aside and a file in its place, once no process has any of it open."""
        wait_until_unused(self.home, seconds)
        self.make_parents(self.leaving)
        self.leaving.write_text(f"The mail of {self.user} is on {to}.\n")
        exchange(self.home, self.leaving)
        try:
            wait_until_unused(self.leaving, seconds)
        except StoreError:
            self.come_back()
            raise
        self.sync()

    def come_back(self) -> None:
        """Undo leave()."""
        exchange(self.home, self.leaving)
        self.leaving.unlink()
        self.sync()

    def arrive(self) -> None:
        """Put what has arrived in its place."""
        self.make_parents(self.home)
        self.sync()
        if self.home.exists():
            exchange(self.home, self.arriving)
            self.arriving.unlink()  # the file that said where it was
        else:
            self.arriving.rename(self.home)
        self.forget()
        self.sync()

    def forget(self) -> None:
        """Remove what another backend has in whole."""
        if self.leaving.is_dir():
            shutil.rmtree(self.leaving)

    def sync(self) -> None:
        """Bring all of it to the disk."""
        self.store.run("sync", "-f", str(self.root))


def exchange(one: Path, other: Path) -> None:
    """Give two paths each other's name, in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        raise StoreError(f"{one} and {other} could not be exchanged: {os.strerror(ctypes.get_errno())}")


def users_of(path: Path, links: Iterable[Path]) -> list[int]:
    """Give the processes of which one of these links in /proc leads to a path, or below it."""
    found = set()
    for link in links:
        try:
            target = os.readlink(link)
        except OSError:
            continue  # it has ended
        if target == str(path) or target.startswith(f"{path}/"):
            found.add(int(link.parts[2]))
    return sorted(found)


def wait_until_unused(path: Path, seconds: float) -> None:
    """Wait until no process has a file open below a path; fail when one still has after that time."""
    end = time.monotonic() + seconds
    while pids := users_of(path, [*Path("/proc").glob("[0-9]*/fd/*"), *Path("/proc").glob("[0-9]*/cwd")]):
        if time.monotonic() > end:
            raise StoreError(f"{path} is still in use after {seconds:.0f} s, by processes {', '.join(map(str, pids))}")
        time.sleep(0.5)
