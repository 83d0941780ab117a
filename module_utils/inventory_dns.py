"""What can be known to be wrong with the description of a site where names lead users to their backends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ansible.module_utils.user_dns import LABEL, SHOWN, Site, ZoneError, check_users

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check


def check_dns(check: Check) -> None:
    """Check name servers, names that are not users', and users."""
    servers = check.groups.get("dns_servers", [])
    if check.site.get("mail_front_end") != "dns":
        if servers:
            found = f"hosts in dns_servers: {', '.join(servers)}"
            check.report("site", "mail_front_end", found, "dns; or no hosts in that group")
        return
    if len(servers) < 2:
        wanted = "at least two hosts: while none answers, no client finds its mail"
        check.report("site", "group dns_servers", ", ".join(servers), wanted)
    if check.groups.get("front_ends"):
        wanted = "no such hosts with the front end dns: clients connect to backends"
        check.report("site", "group front_ends", ", ".join(check.groups["front_ends"]), wanted)
    if check.site.get("mail_routes") == "ldap":
        wanted = "shards: names follow from shards and from users who were moved"
        check.report("site", "mail_routes", "ldap with the front end dns", wanted)
    if check.site.get("mail_directory") == "ldap" and not check.site.get("user_dns_users_file"):
        wanted = "a file on the controller with each user of the LDAP servers in a line of its own"
        check.report("site", "user_dns_users_file", None, wanted)
    prefix = check.site.get("user_dns_prefix")
    if not isinstance(prefix, str) or not LABEL.fullmatch(prefix):
        wanted = "one label of small letters, digits and hyphens: users' names are USER.PREFIX.DOMAIN"
        check.report("site", "user_dns_prefix", prefix, wanted)
        return
    listed = check.site.get("mail_domains")
    domains = [name.lower() for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    for variable in ("mail_hostname", "mail_node_domain"):
        name = str(check.site.get(variable)).lower()
        for zone in (f"{prefix}.{domain}" for domain in domains):
            if name == zone or name.endswith(f".{zone}"):
                check.report("site", variable, name, f"a name outside of the zone {zone}, which is for users")
    if domains:
        try:
            check_users(Site(prefix, tuple(domains), 1, {}, {}, {}), users(check.site))
        except ZoneError as error:
            for problem in error.problems[:SHOWN]:
                found, _, wanted = problem.partition(": wanted ")
                check.report("site", "users", found, wanted or "users with names of their own, in each of mail_domains")


def users(site: dict[str, Any]) -> Iterator[str]:
    """Yield all who get a name: those of the inventory or of the file, and the probe account for all made from it."""
    path = site.get("user_dns_users_file")
    if not path:
        yield from site.get("user_dns_users") or []
    elif os.path.isfile(path):  # that it is missing is said elsewhere
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                yield line.rstrip("\n")
    probe = site.get("mail_probe_user")
    if isinstance(probe, str) and "@" in probe:
        yield probe
