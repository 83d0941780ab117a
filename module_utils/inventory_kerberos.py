"""What can be known to be wrong with the description of a site's Kerberos realm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check

REALM = re.compile(r"[A-Z0-9]([A-Z0-9.-]*[A-Z0-9])?")


def check_kerberos(check: Check) -> None:
    """Check that there is one realm, ours or somebody else's, and that its hosts can get keys."""
    ours, realm = check.groups.get("kerberos_servers", []), check.site.get("mail_kerberos")
    wanted = secured(check)
    if not (ours or realm or wanted):
        return
    if not isinstance(realm, dict) or not realm:
        needed = f"{', '.join(wanted)} needs one" if wanted else "there are hosts in group kerberos_servers"
        check.report("site", "mail_kerberos", realm, f"the realm, such as {{realm: EXAMPLE.COM}}: {needed}")
        return
    if not isinstance(realm.get("realm"), str) or not REALM.fullmatch(realm["realm"]):
        check.report("site", "mail_kerberos.realm", realm.get("realm"), "a name in capitals, such as EXAMPLE.COM")
    for variable, text in (("kdcs", "the names of its KDCs"), ("keytabs", "a directory with HOST.keytab of each host")):
        value = realm.get(variable)
        if ours and value:
            check.report("site", f"mail_kerberos.{variable}", value, "nothing: it follows from group kerberos_servers")
        elif not ours and not value:
            check.report("site", f"mail_kerberos.{variable}", value, f"{text}, or hosts in group kerberos_servers")
    if ours and not wanted:
        uses = "mail_store afs, security: krb5p in mail_nfs, or no such hosts"
        check.report("site", "group kerberos_servers", ", ".join(ours), uses)


def secured(check: Check) -> list[str]:
    """Return what of the site's description wants Kerberos."""
    if check.site.get("mail_store") == "afs":
        return ["mail_store afs"]
    exports = check.site.get("mail_nfs")
    if check.site.get("mail_store") != "nfs" or not isinstance(exports, dict):
        return []
    return [
        f"mail_nfs.{pod}.security"
        for pod, values in sorted(exports.items())
        if isinstance(values, dict) and str(values.get("security", "sys")).startswith("krb5")
    ]
