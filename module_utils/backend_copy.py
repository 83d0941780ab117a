"""A copy of a backend's mail, such as last night's, and what a user has lost since it was made."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.backend_store import BackendStore, StoreError
from ansible.module_utils.mail_difference import Mail

TOKENS = "/etc/afs-token.json"  # of role afs_client


def lost(before: Iterable[Mail], now: Sequence[Mail], trash: str) -> list[Mail]:
    """Give what a user had and has no more, each mail once for each folder where it was.

    What is in another folder now was moved, which is no loss unless that is the trash.
    """
    kept = {mail["key"] for mail in now if mail["folder"] != trash}
    thrown = {mail["key"] for mail in now if mail["folder"] == trash}
    found = {
        (mail["folder"], mail["key"]): mail
        for mail in before
        if mail["key"] not in kept and not (mail["folder"] == trash and mail["key"] in thrown)
    }
    return list(found.values())


def use_token() -> None:
    """Reach mail in AFS, also by doveadm: role afs_client keeps the token in root's keyring of user sessions."""
    if not Path(TOKENS).exists():
        return  # mail is elsewhere
    library = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
    if library.keyctl_join_session_keyring(b"_uid_ses.0") < 0:
        raise StoreError(f"no keyring with a token: {os.strerror(ctypes.get_errno())}")


@contextmanager
def taken(store: BackendStore, copy: str, user: str) -> Iterator[BackendStore]:
    """Have a user's mail of a copy in a folder of its own, for the user who owns mail; it is gone afterwards.

    Dovecot 2.3 reads nothing that it cannot write to, and what was copied from a running system may need repair. What a
    killed run left at work ends before the next one begins, as doveadm holds the lock, too.
    """
    home = BackendStore(store.backend, copy).home(user)
    if not home.is_dir():
        raise StoreError(f"user: {user} has no mail in {copy}, {home} is not there")
    owner, group = store.setting("mail_uid"), store.setting("mail_gid")
    # Beside, not in a folder of root's alone: doveadm reads it as the user who owns mail.
    folder = Path("/var/lib", f"dovecluster-restore-{store.backend}")
    with Path("/run/lock", folder.name).open("a") as lock:  # anybody may make files there: write into none
        fcntl.flock(lock, fcntl.LOCK_EX)
        store.held.append(lock.fileno())
        try:
            if folder.exists():
                shutil.rmtree(folder)
            size = int(store.run("du", "--summarize", "--block-size=1", str(home)).split()[0])
            if size > shutil.disk_usage(folder.parent).free:
                raise StoreError(
                    f"{store.backend}: {home} has {size} bytes, more than there is room for in {folder.parent}"
                )
            then = BackendStore(store.backend, str(folder))
            then.held.append(lock.fileno())
            folder.mkdir(mode=0o700)
            then.home(user).parent.mkdir()
            store.run("cp", "--recursive", "--preserve=timestamps", str(home), str(then.home(user)))
            store.run("chown", "--recursive", f"{owner}:{group}", str(folder))
            yield then
        finally:
            if folder.exists():  # mail in clear must not stay: what can't be removed is told
                shutil.rmtree(folder)
            store.held.remove(lock.fileno())
