#!/usr/bin/python
"""Find everything that would keep this host from keeping mail on an NFS export."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nfs_mount_check
short_description: Find everything that would keep this host from keeping mail on an NFS export
description:
  - Mounts the export for a moment, where no other process sees it, and does there what a mail server does.
  - Changes nothing on the host; in the export it makes and removes one file.
  - Returns problems rather than failing, so that all of them are shown at once.
options:
  server:
    description: Name or address of the server.
    type: str
    required: true
  export:
    description: What it exports.
    type: path
    required: true
  mountpoint:
    description: Where it is to be mounted.
    type: path
    required: true
  version:
    description: Version of the protocol.
    type: str
    choices: ["3", "4.1", "4.2"]
    default: "4.2"
  security:
    description: Security flavour.
    type: str
    default: sys
  uid:
    description: Who writes there.
    type: int
    required: true
  gid:
    description: The group.
    type: int
    required: true
  clock_skew:
    description: Seconds that the server's clock may be off.
    type: float
    default: 1
  timeout:
    description: Seconds to wait for the server.
    type: float
    default: 30
requirements: [a kernel with NFS]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Look whether mail can be kept there
  nfs_mount_check:
    server: filer.example.org
    export: /vol/mail
    mountpoint: /srv/mail
    uid: 5000
    gid: 5000
  register: looked
"""

RETURN = r"""
problems:
  description: What is wrong, and what to do about it; empty when nothing is.
  returned: always
  type: list
  elements: str
mounted:
  description: Whether the export is mounted at its place already.
  returned: always
  type: bool
"""

import ctypes
import json
import os
import signal
import socket
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.nfs import Seen, kernel_options, mount_problem, mountpoint_problems, problems

CLONE_NEWNS = 0x20000
MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
MS_REC_PRIVATE = 16384 | 1 << 18


def call(function: Any, *arguments: Any) -> None:
    """Call a function of the C library that sets errno."""
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def address_of(server: str) -> str:
    """Return the server's address."""
    return str(socket.getaddrinfo(server, None, type=socket.SOCK_STREAM)[0][4][0])


def visit(source: str, version: str, options: str, uid: int, gid: int) -> dict[str, Any]:
    """Mount the export and write there; return what was seen, ready for `Seen`. The process must be of no more use."""
    libc = ctypes.CDLL(None, use_errno=True)
    call(libc.unshare, CLONE_NEWNS)
    call(libc.mount, None, b"/", None, MS_REC_PRIVATE, None)
    place = "/run"  # seen by this process alone
    kind = b"nfs" if version == "3" else b"nfs4"
    try:
        call(libc.mount, source.encode(), place.encode(), kind, MS_NOSUID_NODEV_NOEXEC, options.encode())
    except OSError as error:
        return {"mount_errno": error.errno}
    status = os.stat(place)
    seen: dict[str, Any] = {"owner": status.st_uid, "group": status.st_gid, "mode": status.st_mode & 0o7777}
    path = f"{place}/.dovecluster-check-{os.uname().nodename}-{os.getpid()}"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(path)
        seen["root_writes"] = True
    except OSError:
        seen["root_writes"] = False
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError as error:
        return seen | {"create_errno": error.errno}
    try:
        before = time.time()
        os.write(file, b"x" * 4096)
        os.fsync(file)
        after = time.time()
        written = os.fstat(file)
        # How far the server's time is outside of the moment in which it was set.
        seen["skew"] = max(before - written.st_mtime, written.st_mtime - after, 0.0)
        seen["file_owner"] = written.st_uid
        if version != "3":  # there locks stay on the host
            try:
                os.lockf(file, os.F_TLOCK, 0)
            except OSError as error:
                seen["lock_errno"] = error.errno
    except OSError as error:
        seen["write_errno"] = error.errno
    finally:
        os.unlink(path)
        os.close(file)
    return seen


def look(given: dict[str, Any], source: str, options: str) -> Seen | str:
    """Visit the export in a process of its own, which can be killed when the server hangs; or say what went wrong."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = visit(source, given["version"], options, given["uid"], given["gid"])
        except OSError as error:
            found = {"failed": str(error)}
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    end = time.monotonic() + given["timeout"]
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.close(reader)
            return (
                f"{source} does not answer within {given['timeout']:.0f} s: is the server up, and TCP port 2049 open?"
            )
        time.sleep(0.05)
    with os.fdopen(reader) as pipe:
        found = json.loads(pipe.read() or '{"failed": "the process that looked died"}')
    if "failed" in found:
        return f"{source} could not be tried: {found['failed']}"
    return Seen(**found)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "export": {"type": "path", "required": True},
            "mountpoint": {"type": "path", "required": True},
            "version": {"type": "str", "choices": ["3", "4.1", "4.2"], "default": "4.2"},
            "security": {"type": "str", "default": "sys"},
            "uid": {"type": "int", "required": True},
            "gid": {"type": "int", "required": True},
            "clock_skew": {"type": "float", "default": 1},
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    given = module.params
    source = f"{given['server']}:{given['export']}"
    with open("/proc/self/mountinfo") as file:
        mounted, found = mountpoint_problems(file.read(), given["mountpoint"], source)
    if not mounted and os.path.isdir(given["mountpoint"]) and (files := os.listdir(given["mountpoint"])):
        found.append(
            f"{given['mountpoint']} holds files ({', '.join(sorted(files)[:3])}), which would vanish behind {source}:"
            " move them away"
        )
    module.run_command(["modprobe", "--quiet", "nfsv3" if given["version"] == "3" else "nfsv4"])
    try:
        address = address_of(given["server"])
    except OSError as error:
        found.append(f"{given['server']} has no address: {error.strerror}")
    else:
        seen = look(given, source, kernel_options(address, given["version"], given["security"]))
        if isinstance(seen, str):
            found.append(seen)
        elif seen.mount_errno:
            found.append(mount_problem(source, given["version"], seen.mount_errno))
        else:
            found += problems(source, seen, given["uid"], given["gid"], given["clock_skew"])
    module.exit_json(changed=False, problems=found, mounted=mounted)


if __name__ == "__main__":
    main()
