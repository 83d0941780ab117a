"""What can be known to be wrong with a ring of directors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check

# Stores on which the ring would do harm: it sends a user to another node after a while without sessions, and at once
# when a backend fails its check, before the node is fenced.
HARMED = {
    "dsync": "a director may send a user to another node before that has the user's last mail",
    "drbd": "a director sends users to any backend, and each has only mail of its own",
    "nfs": "a director sends users on before a node that fails is fenced, and two that write at a time spoil a mailbox",
}
HEAVIEST = 1000  # more, Dovecot refuses


def check_director(check: Check, releases: dict[str, str]) -> None:
    """Check that directors may decide where users are, on these hosts and this store, and that there is one ring."""
    if check.site.get("mail_front_end") != "director":
        return
    for host in sorted({*check.groups.get("front_ends", []), *check.groups.get("mta", [])}):
        if releases.get(host, "") not in ("", "12"):
            wanted = "proxy, which keeps a user on one backend, too: Dovecot 2.4 has no director; or Debian 12"
            check.report(host, "mail_front_end", f"director on Debian {releases[host]}", wanted)
    store = str(check.site.get("mail_store"))
    if store in HARMED and check.site.get("mail_front_end_allowed") != "director":
        wanted = f"proxy: {HARMED[store]}; or mail_front_end_allowed: director if you know better"
        check.report("site", "mail_front_end", f"director with the store {store}", wanted)
    if len(check.pods) > 1:
        found = f"director with the pods {', '.join(sorted(check.pods))}"
        check.report("site", "mail_front_end", found, "proxy: a director sends users to any backend, in any pod")
    if check.site.get("mail_routes") == "ldap":
        check.report(
            "site", "mail_routes", "ldap", "shards, or the front end proxy: directors read no routes from LDAP"
        )
    check_weights(check)
    check_rings(check)


def check_weights(check: Check) -> None:
    """Check the share of users that each backend gets."""
    backends = {name: backend for name, backend in check.backends.items() if isinstance(backend, dict)}
    for name, backend in backends.items():
        weight = backend.get("weight", 100)
        if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= HEAVIEST:
            check.report("site", f"mail_backends.{name}.weight", weight, f"a whole number from 0 to {HEAVIEST}")
    if backends and all(backend.get("weight", 100) == 0 for backend in backends.values()):
        check.report("site", "mail_backends.*.weight", "0 in all", "a backend that gets users")


def check_rings(check: Check) -> None:
    """Check that all directors are told of the same ring: all front ends."""
    directors = check.groups.get("front_ends", [])
    ring = [check.hosts.get(host, {}).get("mail_cluster_address") for host in directors]
    for host in directors:
        # What playbooks/group_vars computes is right, and not seen here: only what the inventory says in its place.
        own = check.hosts.get(host, {}).get("dovecot_proxy_ring", "")
        if own == "":
            continue
        if not isinstance(own, list) or sorted(map(str, own)) != sorted(map(str, ring)):
            all_of_them = ", ".join(map(str, ring))
            wanted = f"the cluster addresses of all front ends, {all_of_them}: leave it out, or there are two rings"
            check.report(host, "dovecot_proxy_ring", own, wanted)
