"""What can be known to be wrong with the description of a balancer that is not ours."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible.module_utils.inventory_checks import Check

PRODUCTS = ("ace", "other")
# How connections reach backends.
FORWARDING = ("proxy", "transparent", "source_nat")
KNOWN = (
    *("product", "forwarding", "networks", "gateway", "health_port", "drained"),
    *("client_vlan", "server_vlan", "nat_pool"),
)
VIRTUAL = "the balancer's virtual address"
# What listens on a backend's address, of those that health could be told at.
PORTS = {9900: "metrics", 10993: "imaps", 10995: "pop3s", 12345: "doveadm", 14190: "managesieve"}


def check_balancer(check: Check) -> None:
    """Check who the balancer is, where it connects from, and what it is told."""
    if check.site.get("mail_front_end") != "external":
        return
    if check.groups.get("front_ends"):
        wanted = "no such hosts with the front end external: the balancer takes their place"
        check.report("site", "group front_ends", ", ".join(check.groups["front_ends"]), wanted)
    if check.site.get("mail_submission"):
        check.report(
            "site", "mail_submission", True, "false with the front end external, whose plan has no port for it"
        )
    balancer = check.site.get("mail_balancer")
    if not isinstance(balancer, dict) or not balancer:
        check.report("site", "mail_balancer", balancer, "product, forwarding and networks of the balancer")
        return
    for key in sorted(map(str, balancer.keys() - set(KNOWN))):
        check.report("site", f"mail_balancer.{key}", balancer[key], f"one of {', '.join(KNOWN)}")
    for key, choices in (("product", PRODUCTS), ("forwarding", FORWARDING)):
        if balancer.get(key) not in choices:
            check.report("site", f"mail_balancer.{key}", balancer.get(key), f"one of {', '.join(choices)}")
    check_networks(check, balancer)
    check_gateway(check, balancer)
    check_health(check, balancer)
    if balancer.get("product") == "ace":
        check_ace(check, balancer)


def check_networks(check: Check, balancer: dict[str, Any]) -> None:
    """Check that what is trusted as the balancer is the balancer alone."""
    networks = balancer.get("networks")
    if not isinstance(networks, list) or not networks:
        wanted = "a list of the networks that its connections and probes come from, such as 192.0.2.250/32"
        check.report("site", "mail_balancer.networks", networks, wanted)
        return
    for value in networks:
        try:
            network = ipaddress.ip_network(str(value))
        except ValueError as error:
            check.report("site", "mail_balancer.networks", value, f"a network, such as 192.0.2.250/32 ({error})")
            continue
        inside = [what for address, what in check.taken.items() if address in network and what != VIRTUAL]
        if inside:
            shown = ", ".join(inside[:3]) + (" and more" if len(inside) > 3 else "")
            wanted = f"the balancer's own addresses alone; those of the site are no balancer: {shown}"
            check.report("site", "mail_balancer.networks", value, wanted)


def check_gateway(check: Check, balancer: dict[str, Any]) -> None:
    """Check the way back to the balancer."""
    gateway = balancer.get("gateway")
    if not gateway:
        return
    if balancer.get("forwarding") in FORWARDING and balancer["forwarding"] != "transparent":
        wanted = "none with this forwarding: answers go to the balancer, as connections come from there"
        check.report("site", "mail_balancer.gateway", f"{gateway} with {balancer['forwarding']}", wanted)
        return
    check.address("site", "mail_balancer.gateway", gateway, "clients", "the balancer's, through which backends answer")


def check_health(check: Check, balancer: dict[str, Any]) -> None:
    """Check where backends tell how they are, and who is to be left alone."""
    port = balancer.get("health_port", 9910)
    if not isinstance(port, int) or isinstance(port, bool) or not 1024 <= port <= 65535:
        check.report("site", "mail_balancer.health_port", port, "a port from 1024 to 65535")
    elif port in PORTS:
        check.report("site", "mail_balancer.health_port", port, f"a port of its own; this one is for {PORTS[port]}")
    drained = balancer.get("drained", [])
    unknown = [name for name in drained if name not in check.backends] if isinstance(drained, list) else [drained]
    if unknown:
        wanted = f"a list with names of mail_backends: {', '.join(map(str, check.backends))}"
        check.report("site", "mail_balancer.drained", ", ".join(map(str, unknown)), wanted)
    elif check.backends and not set(check.backends) - set(drained):
        check.report("site", "mail_balancer.drained", ", ".join(drained), "one backend that is left")


def check_ace(check: Check, balancer: dict[str, Any]) -> None:
    """Check what a Cisco ACE can do, and what its configuration needs."""
    if balancer.get("forwarding") == "proxy":
        wanted = "transparent or source_nat: a Cisco ACE knows no PROXY protocol"
        check.report("site", "mail_balancer.forwarding", "proxy with the product ace", wanted)
    values = [backend.get("address") for backend in check.backends.values() if isinstance(backend, dict)]
    addresses = check.site.get("mail_front_addresses")
    found = [str(value) for value in values + (addresses if isinstance(addresses, list) else []) if ":" in str(value)]
    if found:
        wanted = "IPv4 with the product ace, whose configuration is written for that alone; or the product other"
        check.report("site", "mail_balancer.product", f"ace with {', '.join(found)}", wanted)
    for key in ("client_vlan", "server_vlan"):
        vlan = balancer.get(key)
        if not isinstance(vlan, int) or isinstance(vlan, bool) or not 2 <= vlan <= 4094:
            wanted = "a number from 2 to 4094: where the ACE's configuration is applied (both alike if it has one arm)"
            check.report("site", f"mail_balancer.{key}", vlan, wanted)
    if balancer.get("forwarding") == "source_nat":
        check_pool(check, balancer)


def check_pool(check: Check, balancer: dict[str, Any]) -> None:
    """Check the addresses that an ACE connects from: backends let in no others."""
    pool = balancer.get("nat_pool")
    wanted = "the first and the last address that connections come from, within mail_balancer.networks"
    try:
        first, last = (ipaddress.IPv4Address(str(item)) for item in (pool if isinstance(pool, list) else []))
        pieces = list(ipaddress.summarize_address_range(first, last))
    except ValueError:
        check.report("site", "mail_balancer.nat_pool", pool, wanted)
        return
    if not all(is_within(piece, balancer.get("networks")) for piece in pieces):
        check.report("site", "mail_balancer.nat_pool", f"{first} to {last}", wanted)


def is_within(piece: ipaddress.IPv4Network, networks: Any) -> bool:
    """Tell whether one of some networks, of which not all may be well-formed, has a piece of a range."""
    for value in networks if isinstance(networks, list) else []:
        try:
            network = ipaddress.ip_network(str(value))
        except ValueError:
            continue
        if isinstance(network, ipaddress.IPv4Network) and piece.subnet_of(network):
            return True
    return False
