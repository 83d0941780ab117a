"""Where hosts send users now, against the inventory: users must be moved, not just be sent elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.mail_route import HELD_HOST, RouteError, parse_backends
from ansible.module_utils.mail_shards import described, moving, name_of

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check


def check_routes(check: Check, routes: dict[str, dict[str, Any]]) -> None:
    """Check the table of shards and the overrides that hosts were found to have, if any."""
    domain = check.site.get("mail_node_domain")
    try:
        backends = parse_backends(
            {name: {**backend, "host": f"{name}.{domain}"} for name, backend in check.backends.items()}
        )
    except (RouteError, TypeError):
        return  # other checks say what is wrong with the backends
    for host, found in sorted(routes.items()):
        # With routes in LDAP, shards lead health checks alone.
        moves = moving(found.get("shards", {}), backends) if check.site.get("mail_routes") != "ldap" else []
        if moves:
            wanted = "playbooks/move_shards.yml, which moves their users, or the backends as they were"
            check.report(host, "mail_backends.*.shards", described(moves), wanted)
        hosts = set(found.get("overrides", [])) - {HELD_HOST}
        if unknown := sorted({name_of(name, backends) for name in hosts} - backends.keys()):
            wanted = "a backend for them, or playbooks/move_user.yml, before theirs goes"
            check.report(host, "mail_backends", f"users were moved to {', '.join(unknown)}", wanted)
