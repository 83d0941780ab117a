"""What the proofs ask NFS servers of ours."""

from __future__ import annotations

from .lab import Lab, wait_for


def server(lab: Lab) -> str:
    """The host that serves the mail of all pods."""

    def serving() -> list[str]:
        state = "systemctl is-active nfs-server.service"
        return [host for host in lab.group("nfs_servers") if lab.ssh(host, state, check=False).strip() == "active"]

    return wait_for("one NFS server serves", lambda: found if len(found := serving()) == 1 else None, 120)[0]


def directory(lab: Lab) -> str:
    """Where a server has what it exports."""
    return f"{lab.variables(lab.group('nfs_servers')[0]).get('nfs_server_root', '')}/srv/nfs"
