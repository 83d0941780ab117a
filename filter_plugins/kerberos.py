"""Filters for hosts that need keys of a Kerberos realm."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError


def keytab(
    file: str,
    name: str,
    kerberos: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> str:
    """Give a keytab in base64: that of a name, from our own KDC, or of somebody else's realm a file of the site.

    Nothing where our KDC was not part of the run. Fails when the file cannot be read.
    """
    if servers := groups.get("kerberos_servers"):
        principal = f"{name}@{kerberos['realm']}"
        for exported in hostvars[servers[0]].get("mail_kerberos_keys", {}).get("results", []):
            if principal in exported.get("keytabs", {}):
                return str(exported["keytabs"][principal])
        return ""
    path = Path(kerberos["keytabs"]) / file
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise AnsibleFilterError(f"mail_kerberos.keytabs: {path} with the key of {name}: {error.strerror}") from error


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name them."""
        return {"keytab": keytab}
