"""Filters for proofs: the probe account of each backend, and the report of the role prove."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

# On the controller Ansible offers the project's module_utils to modules alone.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from module_utils.mail_probe_users import probe_users
from module_utils.mail_route import RouteError
from module_utils.prove_report import report


def mail_probe_users(backends: Mapping[str, Mapping[str, Any]], user: str) -> dict[str, str]:
    """Map backends to probe accounts: {be1: probe-2@example.org, be2: probe-1@example.org}."""
    try:
        return probe_users(user, backends)
    except (AttributeError, KeyError, TypeError, ValueError, RouteError) as error:
        raise AnsibleFilterError(f"mail_probe_users: {error}") from error


def prove_backends(
    backends: Mapping[str, Mapping[str, Any]], user: str, groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Turn the site's mail_backends into what the role prove wants: {be1: {user, nodes}}."""
    users = mail_probe_users(backends, user)
    try:
        return {name: {"user": users[name], "nodes": list(groups[backends[name]["pod"]])} for name in users}
    except KeyError as error:
        raise AnsibleFilterError(f"prove_backends: no group or key {error}") from error


def probed_backends(
    pod_backends: Mapping[str, Mapping[str, Any]], domain: str, user: str, backends: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Give what checks of a pod's backends need of each: its name on certificates, its address, its probe account."""
    users = mail_probe_users(backends, user)
    return {
        name: {"host": f"{name}.{domain}", "address": backend["address"], "user": users[name]}
        for name, backend in pod_backends.items()
    }


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {
            "mail_probe_users": mail_probe_users,
            "prove_backends": prove_backends,
            "probed_backends": probed_backends,
            "prove_report": report,
        }
