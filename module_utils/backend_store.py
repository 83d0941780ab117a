"""A backend's mail on this node, where the cluster mounted it or in a private copy of a disk, as doveadm shows it.

Nothing needs the backend's instance: users are those who have a home, and doveadm asks no userdb.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils import mail_difference
from ansible.module_utils.mail_difference import Mail

CONFIGURATION = "/etc/dovecot/backends/{}.conf"
SCRATCH = "/var/tmp"
LEAVING = ".leaving"  # beside the homes: those that are on their way to another backend
# A folder as one file, and back. The file is there only when it is whole.
PACK = r"""
set -o pipefail
umask 077
tar --create --directory "$1" . | openssl enc -aes-256-cbc -pbkdf2 -pass env:KEY -out "$2.new"
sync "$2.new"
mv "$2.new" "$2"
"""
UNPACK = r"""
set -o pipefail
openssl enc -d -aes-256-cbc -pbkdf2 -pass env:KEY -in "$2" | tar --extract --directory "$1"
"""
CLONE_NEWNS = 0x20000


class BackendStore:
    """The homes of a backend's users."""

    def __init__(self, backend: str, root: str) -> None:
        """Read how the backend keeps mail."""
        self.backend = backend
        self.root = Path(root)
        self.configuration = CONFIGURATION.format(backend)
        self.held: list[int] = []  # files that commands keep open, such as a lock
        self.old = self.run("dovecot", "--version").startswith("2.3.")
        self.plugins = self.setting("mail_plugins") if self.old else ""

    def run(self, *argv: str, user: str | None = None, tries: int = 1, **environment: str) -> str:
        """Run a command that has to succeed; doveadm for a user finds their name in the environment."""
        if user:
            environment |= {"USER": user, "HOME": str(self.home(user))}
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **environment}
        for _ in range(tries):
            # Not Ansible's run_command: it loses the output of a command that was silent for a second and then ends at
            # the wrong moment, and a mail that is not listed is a mail that is thrown away.
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, env=environment, pass_fds=self.held, check=False
            )
            out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
            if not done.returncode:
                return out
        who, why = f" for {user}" if user else "", (err or out).strip()[-500:]
        raise StoreError(f"{self.backend}: {' '.join(argv[:8])}{who} failed ({done.returncode}): {why}")

    def setting(self, name: str) -> str:
        """One setting of the backend."""
        return self.run("doveconf", "-h", "-c", self.configuration, name).strip()

    def users(self) -> list[str]:
        """Everybody who has a home."""
        homes = (path for path in self.root.glob("[!.]*.*/*") if path.is_dir())  # no lost+found
        for home in self.root.glob(f"{LEAVING}/*/*/"):
            who = f"{home.name}@{home.parent.name}"
            raise StoreError(
                f"{self.backend}: the mail of {who} is on its way to another backend: run move_user.yml again"
            )
        return sorted(f"{home.name}@{home.parent.name}" for home in homes)

    def home(self, user: str) -> Path:
        """Where a user's mail is."""
        name, _, domain = user.rpartition("@")
        return self.root / domain / name

    def doveadm(
        self, user: str, command: str, *argv: str, location: str | None = None, form: str = "json", tries: int = 1
    ) -> str:
        """Run a doveadm command in the user's mail, or in an mdbox at a location. No quota: mail is saved, not sent."""
        # Said once more: what HOME says is not all of it, 2.4 made the home of the setting, too.
        home = ["-o", f"mail_home={self.home(user)}"]
        if self.old:
            mine = ["-o", f"mail_location=mdbox:{location}"] if location else []
            quota = " ".join(plugin for plugin in self.plugins.split() if plugin != "quota")
            options = [*home, *mine, "-o", f"mail_plugins={quota}", command]
        else:
            mine = ["mail_driver=mdbox", f"mail_path={location}", "mail_inbox_path="] if location else []
            options = [*home, *(word for setting in [*mine, "mail_plugins/quota=no"] for word in ("-o", setting))]
            options += [command, "--no-userdb-lookup"]
        return self.run("doveadm", "-c", self.configuration, "-f", form, *options, *argv, user=user, tries=tries)

    def mails(self, user: str, location: str | None = None) -> list[Mail]:
        """All mails of a user."""
        if not location and not self.home(user).is_dir():
            return []  # doveadm would make the home
        # An index that a dead node left broken is built anew by the first try, which fails.
        text = self.doveadm(user, "fetch", mail_difference.FIELDS, "ALL", location=location, tries=2)
        mails = mail_difference.parse(text)
        for mail in mails:
            if not mail["key"]:
                where = ("mailbox-guid", mail["mailbox"], "uid", str(mail["uid"]))
                # As JSON, 2.4.1 dies of some texts.
                body = self.doveadm(user, "fetch", "text", *where, location=location, form="flow")
                if not body.startswith("text="):
                    raise StoreError(f"{self.backend}: a mail of {user} in {mail['folder']} has no text: {body[:80]!r}")
                mail["key"] = "sha256:" + hashlib.sha256(body.encode("utf-8", "surrogateescape")).hexdigest()
        return mails

    def source(self, user: str) -> list[str]:
        """The user's own mail, as `doveadm import` wants its source."""
        home = f"{self.home(user)}/"
        if self.old:
            return [self.setting("mail_location").replace("~/", home)]
        inbox = self.setting("mail_inbox_path").replace("~/", home)
        path = self.setting("mail_path").replace("~/", home)
        return [*(["-p", f"mail_inbox_path={inbox}"] if inbox else []), f"{self.setting('mail_driver')}:{path}"]

    def copy(self, user: str, mails: Iterable[Mail], source: list[str], parent: str, location: str | None) -> None:
        """Copy mails with flags and dates below a folder of the user, or into an mdbox at a location."""
        subscribe = ["-s"] if parent else []
        for mailbox, uids in mail_difference.uid_sets(mails):
            wanted = ("mailbox-guid", mailbox, "uid", ",".join(map(str, uids)))
            self.doveadm(user, "import", *subscribe, *source, parent, *wanted, location=location)

    def pack(self, folder: Path, dest: str, key: str) -> None:
        """Write a folder into one encrypted file."""
        self.run("bash", "-ec", PACK, "pack", str(folder), dest, KEY=key)

    def unpack(self, src: str, folder: Path, key: str) -> None:
        """Make a folder, for the user who owns mail, of what pack() wrote. What an earlier run left is removed."""
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        owner = self.root.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        self.run("bash", "-ec", UNPACK, "unpack", str(folder), src, KEY=key)

    @contextmanager
    def private_copy(self, disk: str, filesystem: str) -> Iterator[None]:
        """Show a disk's file system at the root, to this process and its children alone, and write nothing to the disk.

        What the journal's replay and Dovecot's indexes write goes into a file that has no name. All of it is gone when
        this process is, however it ends.
        """
        self.run("modprobe", "--all", "loop", "dm-snapshot")
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise StoreError(f"{self.backend}: no namespace for mounts: {os.strerror(ctypes.get_errno())}")
        self.run("mount", "--make-rprivate", "/")
        # DRBD wrote past the page cache: what it holds of the disk may be old.
        self.run("blockdev", "--flushbufs", disk)
        size = int(self.run("blockdev", "--getsize64", disk))
        name = f"dovecluster-{self.backend}-{os.getpid()}"
        with tempfile.NamedTemporaryFile(dir=SCRATCH, prefix=f"{name}-") as changes:
            changes.truncate(size + size // 64)
            # The disk is DRBD's alone, but a read-only loop device may look.
            origin = self.run("losetup", "--find", "--show", "--read-only", "--direct-io=on", disk).strip()
            loops = [origin]
            try:
                loops.append(self.run("losetup", "--find", "--show", changes.name).strip())
                table = f"0 {size // 512} snapshot {origin} {loops[1]} N 8"
                self.run("dmsetup", "create", name, "--table", table)
            finally:
                for loop in loops:
                    self.run("losetup", "--detach", loop)  # once nobody uses it any more
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            options = "noatime,nodev,nosuid,noexec" + (",nouuid" if filesystem == "xfs" else "")
            self.run("mount", "-t", filesystem, "-o", options, f"/dev/mapper/{name}", str(self.root))
        finally:
            self.run("dmsetup", "remove", "--deferred", name)  # once it is mounted no more
        try:
            yield
        finally:
            self.run("umount", "--lazy", str(self.root))


class StoreError(Exception):
    """Something that had to succeed did not."""
