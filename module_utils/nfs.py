"""What is wrong with an NFS export, out of what was seen when it was tried.

Nothing here touches a host: nfs_mount_check does.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

NOBODY = (65534, 4294967294)
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Seen:
    """What happened when an export was mounted and written to; the numbers are errno, uids, gids and seconds."""

    mount_errno: int = 0
    owner: int = 0
    group: int = 0
    mode: int = 0
    root_writes: bool = False
    create_errno: int = 0
    write_errno: int = 0
    lock_errno: int = 0
    file_owner: int = 0
    skew: float = 0.0


def kernel_options(address: str, version: str, security: str) -> str:
    """Return the options by which the kernel mounts without mount.nfs. A server that does not answer makes an error."""
    options = [f"addr={address}", f"vers={version}", f"sec={security}", "proto=tcp", "soft", "timeo=50", "retrans=1"]
    if version == "3":
        options += [f"mountaddr={address}", "mountproto=tcp", "nolock"]
    else:
        options.append("clientaddr=0.0.0.0")  # asked for, though since 4.1 the server calls back on the same connection
    return ",".join(options)


def mountpoint_problems(mountinfo: str, mountpoint: str, source: str) -> tuple[bool, list[str]]:
    """Tell whether the export is mounted at its place, and what else is there, out of /proc/self/mountinfo."""
    there = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[4] == mountpoint:
            there = right.split()[:2]  # the last one covers those before it
    if there is None:
        return False, []
    kind, what = there
    if kind.startswith("nfs") and what == source:
        return True, []
    return False, [f"{mountpoint} has something else mounted, {what} ({kind}); wanted {source}"]


def mount_problem(source: str, version: str, number: int) -> str:
    """Say why an export could not be mounted."""
    server, _, export = source.rpartition(":")
    reasons = {
        errno.ECONNREFUSED: f"{server} answers, but runs no NFS server on TCP port 2049",
        errno.ETIMEDOUT: f"{server} does not answer: is it up, and TCP port 2049 open?",
        errno.EHOSTUNREACH: f"{server} cannot be reached: is it up, and on a network of this host?",
        errno.EPROTONOSUPPORT: f"{server} does not speak NFS {version}: set another version",
        errno.EACCES: f"{server} does not export {export} to this host, or not with this security: change the export",
        errno.EPERM: f"{server} does not let this host mount {export}: change the export",
        errno.ENOENT: f"{server} exports no {export}",
        errno.ENODEV: f"the kernel {os.uname().release} has no NFS {version} client",
    }
    return f"{source} cannot be mounted: {reasons.get(number, os.strerror(number))}"


def problems(source: str, seen: Seen, uid: int, gid: int, clock_skew: float) -> list[str]:
    """Say all that is wrong with an export that could be mounted."""
    found = []
    here = f"{source} belongs to {seen.owner}:{seen.group}, mode {seen.mode:o}"
    if seen.create_errno in FULL or seen.write_errno in FULL:
        found.append(f"{source} is full: make room before mail comes")
    elif seen.create_errno:
        found.append(
            f"user {uid} cannot write there ({os.strerror(seen.create_errno)}): {here}."
            f" On the server, give it to {uid}:{gid}, or have the export map everybody to {uid}"
        )
    elif seen.write_errno:
        found.append(f"{source} takes no data: {os.strerror(seen.write_errno)}")
    elif seen.file_owner != uid:
        mapped = "nobody" if seen.file_owner in NOBODY else f"user {seen.file_owner}"
        found.append(
            f"what user {uid} writes to {source} belongs to {mapped}: have the server keep numbers (no id mapping),"
            f" or map everybody to {uid}"
        )
    if not seen.create_errno and not seen.root_writes:
        found.append(
            f"root cannot write there, by which the cluster finds a server that hangs: {here}. Have the export"
            f" map root, or everybody, to {uid}"
        )
    if seen.lock_errno:
        found.append(f"{source} gives no locks: {os.strerror(seen.lock_errno)}")
    if seen.skew > clock_skew:
        found.append(
            f"the clocks of this host and of {source} differ by {seen.skew:.1f} s; wanted {clock_skew:g} s at most:"
            " have both follow the same time servers"
        )
    return found
