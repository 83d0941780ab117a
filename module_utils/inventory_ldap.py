"""What can be known to be wrong with the description of a site's LDAP servers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ansible.module_utils.ldap import servers

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check

LARGEST_ID = 999  # of an LDAP server, as it is written in three digits
CONTEXT = re.compile(r"^(dc|o)=[A-Za-z0-9 -]+(,(dc|o|c)=[A-Za-z0-9 -]+)*$")
USERS = ("mail_directory", "mail_routes")


def check_ldap(check: Check) -> None:
    """Check who uses LDAP, and the servers: our own, or others."""
    ours = check.groups.get("ldap_servers", [])
    described = check.site.get("mail_ldap")
    if "ldap" not in [check.site.get(variable) for variable in USERS]:
        if ours or described:
            found = f"hosts in ldap_servers: {', '.join(ours)}" if ours else "mail_ldap, and nothing that uses it"
            check.report("site", "mail_directory", found, "ldap, or mail_routes: ldap; or no LDAP servers")
        return
    if not isinstance(described, dict):
        check.report("site", "mail_ldap", described, "the servers: base, and with servers of others uris and account")
        return
    if ours:
        check_own_servers(check, ours, described)
    else:
        check_others_servers(check, described)


def check_own_servers(check: Check, hosts: list[str], described: dict[str, Any]) -> None:
    """Check servers of our own."""
    base = described.get("base")
    if not isinstance(base, str) or not CONTEXT.match(base):
        check.report("site", "mail_ldap.base", base, "the naming context, such as dc=example,dc=org")
    for name in sorted({"uris", "account"} & described.keys()):
        wanted = "no such thing: it follows from the group ldap_servers; or no hosts in that group"
        check.report("site", f"mail_ldap.{name}", described[name], wanted)
    check.check_numbers("mail_ldap_id", "ldap_servers", hosts, LARGEST_ID)


def check_others_servers(check: Check, described: dict[str, Any]) -> None:
    """Check servers that somebody else runs."""
    for name, wanted in (
        ("base", "the entry below which users are, such as ou=people,dc=example,dc=org"),
        ("account", "the account that looks users up, such as cn=mail,dc=example,dc=org"),
    ):
        value = described.get(name)
        if not isinstance(value, str) or "=" not in value:
            check.report("site", f"mail_ldap.{name}", value, wanted)
    uris = described.get("uris")
    if not isinstance(uris, list) or not uris:
        wanted = "a list of servers, such as [ldaps://ldap1.example.org], or hosts of our own in group ldap_servers"
        check.report("site", "mail_ldap.uris", uris, wanted)
        return
    for problem in servers([str(uri) for uri in uris])[1]:
        found, _, wanted = problem.partition("; wanted ")
        check.report("site", "mail_ldap.uris", found, wanted)
