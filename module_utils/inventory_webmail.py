"""What can be known to be wrong with the description of a site's webmail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check


def check_webmail(check: Check) -> None:
    """Check that hosts of webmail can share a database, and have a front door to send and read through."""
    hosts = check.groups.get("webmail", [])
    if not hosts:
        return
    if check.site.get("mail_submission") is not True:
        wanted = "true with hosts in group webmail, or nobody could send mail there"
        check.report("site", "mail_submission", check.site.get("mail_submission"), wanted)
    if not check.groups.get("front_ends"):
        check.report("site", "front_ends", None, "hosts for HAProxy, through which browsers come to group webmail")
    if len(hosts) < 2:
        check.report("site", "webmail", ", ".join(hosts), "two hosts or more in this group")
    elif len(hosts) % 2 == 0 and not check.groups.get("quorum"):
        wanted = f"a host in this group, for a third vote where {len(hosts)} hosts in group webmail share a database"
        check.report("site", "quorum", None, wanted)
