"""Everything about a site's description that can be known to be wrong before a host is touched."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.inventory_afs import check_afs
from ansible.module_utils.inventory_balancer import VIRTUAL, check_balancer
from ansible.module_utils.inventory_director import check_director
from ansible.module_utils.inventory_dns import check_dns
from ansible.module_utils.inventory_kerberos import check_kerberos
from ansible.module_utils.inventory_ldap import check_ldap
from ansible.module_utils.inventory_routes import check_routes
from ansible.module_utils.inventory_stores import check_drbd, check_dsync, check_nfs, check_san
from ansible.module_utils.inventory_webmail import check_webmail
from ansible.module_utils.mail_route import ranges

# What site.yml can build today: a choice that it would pass over must not be taken.
STORES = ("dsync", "drbd", "drbd_gfs2", "nfs", "san_gfs2", "afs")
FRONT_ENDS = ("proxy", "haproxy", "lvs", "perdition", "dns", "director", "external")
# Those that spread clients over backends without regard to the user.
SPREADING = ("haproxy", "lvs", "external")
# What HAProxy does with TLS.
FRONT_END_TLS = ("passthrough", "terminate")
# How packets reach a backend with LVS.
FORWARDING = ("nat", "direct")
# Stores on which nodes may serve one user at a time.
SHARED_STORES = ("drbd_gfs2", "san_gfs2")
FORMATS = ("mdbox", "sdbox", "maildir", "mbox")
FENCING = ("ipmi", "sbd")
DIRECTORIES = ("passwd_file", "ldap")
ROUTES = ("shards", "ldap")
LARGEST_POD = 16
SHARDS = 256
LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
ACCOUNT = re.compile(r"^[A-Za-z0-9._+-]+@[^@]+$")
RANGE = re.compile(r"^(\d{1,3})(?:-(\d{1,3}))?$")

Problem = dict[str, str]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_domain(name: Any) -> bool:
    """Tell whether a name is a domain of two labels or more."""
    return (
        isinstance(name, str)
        and len(name) <= 253
        and "." in name
        and all(LABEL.match(label) for label in name.lower().split("."))
    )


def parse_shards(text: Any) -> set[int]:
    """Return the shards that '0-127', '7' or '0-9,20' name."""
    shards: set[int] = set()
    for part in str(text).replace(" ", "").split(","):
        match = RANGE.match(part)
        if not match:
            raise ValueError(f"'{part}' is neither a number nor a range")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= SHARDS:
            raise ValueError(f"'{part}' is not within 0-{SHARDS - 1}, first before last")
        shards |= set(range(first, last + 1))
    return shards


class Check:
    """One site's description and what is wrong with it."""

    def __init__(self, site: dict[str, Any], hosts: dict[str, dict[str, Any]], groups: dict[str, list[str]]) -> None:
        """Take site variables, each host's variables, and groups with their hosts."""
        self.site, self.hosts, self.groups = site, hosts, groups
        self.problems: list[Problem] = []
        self.networks: dict[str, Network] = {}
        self.taken: dict[Address, str] = {}
        backends = site.get("mail_backends")
        self.backends: dict[str, Any] = backends if isinstance(backends, dict) else {}
        members = set(groups.get("mail_nodes", []))
        named = {item.get("pod") for item in self.backends.values() if isinstance(item, dict)}
        # Pods are the groups inside mail_nodes, and what backends name as such.
        roles = {"all", "ungrouped", "mail_nodes", "quorum", "front_ends", "mta"}
        self.pods = {
            name: list(nodes)
            for name, nodes in groups.items()
            if name not in roles and nodes and set(nodes) <= members and (name.startswith("pod") or name in named)
        }

    def report(self, where: str, variable: str, found: Any, wanted: str) -> None:
        """Note a problem."""
        text = "nothing" if found in (None, "", [], {}) else str(found)
        self.problems.append({"where": where, "variable": variable, "found": text, "wanted": wanted})

    def address(self, where: str, variable: str, value: Any, network_name: str, what: str) -> Address | None:
        """Check an address: well-formed, in its network, not taken."""
        if not value:
            self.report(where, variable, value, f"an address in {self.networks.get(network_name, network_name)}")
            return None
        try:
            address = ipaddress.ip_address(str(value))
        except ValueError:
            self.report(where, variable, value, "a well-formed IPv4 or IPv6 address")
            return None
        network = self.networks.get(network_name)
        if network is not None:
            if address not in network:
                self.report(where, variable, value, f"an address inside mail_networks.{network_name}, {network}")
            elif network.num_addresses > 2 and address in (network.network_address, network.broadcast_address):
                self.report(where, variable, value, f"not the network's own or broadcast address of {network}")
        if address in self.taken:
            self.report(where, variable, value, f"an address of its own; this one is {self.taken[address]}")
        self.taken.setdefault(address, what)
        return address

    def check_names(self) -> None:
        """Check choices and names of the site."""
        for variable, choices in (
            ("mail_store", STORES),
            ("mail_front_end", FRONT_ENDS),
            ("mail_front_end_tls", FRONT_END_TLS),
            ("mail_front_end_forwarding", FORWARDING),
            ("mail_format", FORMATS),
            ("mail_directory", DIRECTORIES),
            ("mail_routes", ROUTES),
        ):
            if self.site.get(variable) not in choices:
                self.report("site", variable, self.site.get(variable), f"one of {', '.join(choices)}")
        if not isinstance(self.site.get("mail_submission", False), bool):
            self.report("site", "mail_submission", self.site["mail_submission"], "true or false")
        webmail = ["mail_webmail_hostname"] if self.groups.get("webmail") else []
        for variable in ("mail_hostname", "mail_node_domain", *webmail):
            if not is_domain(self.site.get(variable)):
                self.report("site", variable, self.site.get(variable), "a full domain name, such as mail.example.org")
        domains = self.site.get("mail_domains")
        if not isinstance(domains, list) or not domains:
            self.report("site", "mail_domains", domains, "a list of the domains that receive mail")
            domains = []
        for domain in domains:
            if not is_domain(domain):
                self.report("site", "mail_domains", domain, "a domain name, such as example.org")
        for variable, purpose in (("mail_probe_user", "health checks"), ("mail_postmaster", "mail to postmaster")):
            user = self.site.get(variable)
            if not isinstance(user, str) or not ACCOUNT.match(user):
                self.report("site", variable, user, f"an account local@domain for {purpose}")
            elif user.split("@")[1].lower() not in [str(domain).lower() for domain in domains]:
                self.report("site", variable, user, "an account in one of mail_domains")
        for host in sorted(self.hosts):
            if not LABEL.match(host):
                wanted = "a name of at most 63 small letters, digits and hyphens, without a dot"
                self.report(host, "inventory name", host, wanted)

    def check_networks(self) -> None:
        """Check networks, then each host's addresses in them."""
        networks = self.site.get("mail_networks")
        networks = networks if isinstance(networks, dict) else {}
        for name in sorted({"clients", "cluster", *networks}):
            try:
                self.networks[name] = ipaddress.ip_network(str(networks[name]))
            except KeyError:
                self.report("site", f"mail_networks.{name}", None, "a network, such as 192.0.2.0/24")
            except ValueError as error:
                self.report(
                    "site", f"mail_networks.{name}", networks[name], f"a network, such as 192.0.2.0/24 ({error})"
                )
        names = sorted(self.networks)
        for number, name in enumerate(names):
            for other in names[number + 1 :]:
                one, two = self.networks[name], self.networks[other]
                if one.version == two.version and one.overlaps(two):
                    self.report("site", f"mail_networks.{name}", one, f"a network apart from {other}, {two}")
        for host, values in sorted(self.hosts.items()):
            self.address(host, "mail_client_address", values.get("mail_client_address"), "clients", f"{host}'s own")
            self.address(host, "mail_cluster_address", values.get("mail_cluster_address"), "cluster", f"{host}'s own")

    def check_groups(self) -> None:
        """Check who is in which pod, votes, and that there is a front end."""
        if not self.groups.get("mail_nodes"):
            self.report("site", "group mail_nodes", None, "hosts, in a pod's group inside mail_nodes")
        if not self.groups.get("front_ends") and self.site.get("mail_front_end") not in ("dns", "external"):
            self.report("site", "group front_ends", None, "at least one host, better two")
        if not self.groups.get("mta"):
            self.report("site", "group mta", None, "at least one host that takes mail in (the front ends can)")
        quorum = self.groups.get("quorum", [])
        for host in sorted(self.hosts):
            pods = sorted(pod for pod, nodes in self.pods.items() if host in nodes)
            if len(pods) > 1:
                self.report(host, "groups", ", ".join(pods), "one pod only: a node shares one store")
            if host in self.groups.get("mail_nodes", []) and not pods:
                self.report(host, "groups", "mail_nodes", "a pod: a group inside mail_nodes that mail_backends names")
            if host in quorum and host in self.groups.get("mail_nodes", []):
                self.report(
                    host, "groups", "quorum and mail_nodes", "a quorum host that is no mail node: it votes apart"
                )
        for pod, nodes in sorted(self.pods.items()):
            if len(nodes) > LARGEST_POD:
                self.report("site", f"group {pod}", f"{len(nodes)} nodes", f"at most {LARGEST_POD}; make another pod")
            if len(nodes) == 1:
                self.report("site", f"group {pod}", "1 node", "at least 2, or nothing takes over")
            self.check_votes(pod, nodes)

    def check_votes(self, cluster: str, nodes: list[str]) -> None:
        """Check that a cluster's nodes are told apart, and that halves of it can decide."""
        if len(nodes) % 2 == 0 and not self.groups.get("quorum"):
            wanted = "a host in group quorum, outside the cluster: with an even number of votes halves can't decide"
            self.report("site", f"group {cluster}", f"{len(nodes)} nodes and no quorum host", wanted)
        self.check_numbers("mail_node_id", cluster, nodes)

    def check_numbers(self, variable: str, group: str, hosts: list[str], most: int | None = None) -> None:
        """Check that each host of a group has a number of its own, from 1 on."""
        numbers: dict[int, str] = {}
        for host in hosts:
            number = self.hosts.get(host, {}).get(variable)
            if not isinstance(number, int) or number < 1 or (most and number > most):
                self.report(
                    host, variable, number, f"a number from 1 {f'to {most}' if most else 'on'}, of its own in {group}"
                )
            elif number in numbers:
                self.report(host, variable, number, f"a number of its own; {numbers[number]} of {group} has this one")
            else:
                numbers[number] = host

    def check_front(self) -> None:
        """Check the service addresses of front ends."""
        external = self.site.get("mail_front_end") == "external"
        # Where clients go straight to backends, MTAs alone have such addresses.
        front_ends = self.groups.get("mta" if self.site.get("mail_front_end") == "dns" else "front_ends", [])
        addresses = self.site.get("mail_front_addresses")
        if not isinstance(addresses, list) or not addresses:
            if external:
                self.report("site", "mail_front_addresses", addresses, "a list of the balancer's virtual addresses")
            elif front_ends:
                self.report("site", "mail_front_addresses", addresses, "a list of addresses in mail_networks.clients")
            return
        if front_ends and not external and len(addresses) > len(front_ends):
            wanted = f"at most one for each host that takes them ({len(front_ends)})"
            self.report("site", "mail_front_addresses", f"{len(addresses)} addresses", wanted)
        for address in addresses:
            # A balancer that is not ours may have them in a network that the site does not know.
            network, what = ("", VIRTUAL) if external else ("clients", "a front end's service address")
            self.address("site", "mail_front_addresses", address, network, what)

    def check_spread(self) -> None:
        """Check that clients may be spread over backends without regard to the user."""
        front_end, store = self.site.get("mail_front_end"), self.site.get("mail_store")
        if front_end not in SPREADING:
            return
        if store in STORES and store not in SHARED_STORES and self.site.get("mail_front_end_allowed") != front_end:
            wanted = f"proxy, which keeps a user on one node, or mail_front_end_allowed: {front_end} if you know better"
            self.report("site", "mail_front_end", f"{front_end} with the store {store}", wanted)
        if len(self.pods) > 1:
            found = f"{front_end} with the pods {', '.join(sorted(self.pods))}"
            self.report("site", "mail_front_end", found, "proxy: a client's address does not tell the user's pod")
        addresses = self.site.get("mail_front_addresses") or []
        versions = [":" in str(address) for address in addresses] if isinstance(addresses, list) else []
        if (front_end, self.site.get("mail_front_end_forwarding")) == ("lvs", "nat") and len(versions) > len(
            {*versions}
        ):
            wanted = "one of each kind with mail_front_end_forwarding nat, as answers pass through one front end"
            self.report("site", "mail_front_addresses", ", ".join(map(str, addresses)), wanted)

    def check_backends(self) -> None:
        """Check each backend's pod, node, address and shards."""
        if not self.backends:
            self.report("site", "mail_backends", self.site.get("mail_backends"), "at least one backend")
            return
        owners: dict[int, list[str]] = {}
        malformed = False
        for name, backend in self.backends.items():
            variable = f"mail_backends.{name}"
            if not LABEL.match(str(name)):
                self.report("site", variable, name, "a name of small letters, digits and hyphens")
            if name in self.hosts:
                self.report("site", variable, name, "a name that no host has")
            if not isinstance(backend, dict):
                self.report("site", variable, backend, "pod, address and node, and shards if it has users")
                malformed = True
                continue
            pod, node = backend.get("pod"), backend.get("node")
            if pod not in self.pods:
                self.report("site", f"{variable}.pod", pod, f"one of {', '.join(sorted(self.pods)) or 'the pods'}")
            if node not in self.hosts:
                self.report("site", f"{variable}.node", node, "a host of the inventory")
            elif pod in self.pods and node not in self.pods[pod]:
                self.report("site", f"{variable}.node", node, f"a node of {pod}: {', '.join(self.pods[pod])}")
            self.address("site", f"{variable}.address", backend.get("address"), "clients", f"backend {name}'s")
            try:
                # One without shards has nobody yet, or users who were moved there.
                for shard in parse_shards(backend["shards"]) if "shards" in backend else ():
                    owners.setdefault(shard, []).append(name)
            except ValueError as error:
                malformed = True
                self.report(
                    "site", f"{variable}.shards", backend.get("shards"), f"ranges such as 0-127 or 0-9,20 ({error})"
                )
        twice = {shard: names for shard, names in owners.items() if len(names) > 1}
        if twice:
            names = " and ".join(sorted({name for shared in twice.values() for name in shared}))
            self.report(
                "site", "mail_backends.*.shards", f"{ranges(twice)} in {names}", "each shard in one backend only"
            )
        missing = set(range(SHARDS)) - set(owners)
        if missing and not malformed:
            self.report(
                "site", "mail_backends.*.shards", f"no backend has {ranges(missing)}", "all of 0-255, once each"
            )

    def check_fencing(self) -> None:
        """Check that each node can be switched off by another."""
        method = self.site.get("fencing_method")
        if method not in FENCING:
            wanted = f"one of {', '.join(FENCING)}: without it two nodes may write one mailbox"
            self.report("site", "fencing_method", method, wanted)
        if method != "ipmi":
            return
        servers = self.groups.get("nfs_servers", [])
        for host in sorted({*self.groups.get("mail_nodes", []), *(servers if len(servers) == 2 else [])}):
            values = self.hosts.get(host, {})
            self.address(host, "fencing_ipmi_address", values.get("fencing_ipmi_address"), "", f"{host}'s BMC's")
            if not values.get("fencing_ipmi_user"):
                self.report(host, "fencing_ipmi_user", None, "the BMC's user who may switch power")

    def check_releases(self, releases: dict[str, str]) -> None:
        """Check that the architecture exists on the hosts' releases."""
        if self.site.get("mail_front_end") == "lvs" and self.site.get("mail_front_end_forwarding") == "direct":
            for node in sorted(self.groups.get("mail_nodes", [])):
                if releases.get(node) == "12":
                    wanted = "nat: backends of Dovecot 2.3 cannot share the service address of a node"
                    self.report(node, "mail_front_end_forwarding", "direct on Debian 12", wanted)
        for pod, nodes in sorted(self.pods.items()):
            old = sorted(node for node in nodes if releases.get(node) == "12")
            if self.site.get("mail_store") == "dsync" and len(nodes) > 2 and old:
                found = f"{len(nodes)} nodes, Debian 12 on {', '.join(old)}"
                wanted = "2 nodes, or Debian 13 on all: Dovecot 2.3 replicates to one peer only"
                self.report("site", f"group {pod}", found, wanted)

    def check_names_known(self, names_known: dict[str, dict[str, list[str]]]) -> None:
        """Check that no host has another idea of the others' names: its own lines come before those of role base."""
        domain = self.site.get("mail_node_domain")
        wanted: dict[str, str] = {}
        for name, values in self.hosts.items():
            wanted |= dict.fromkeys((name, f"{name}.{domain}"), str(values.get("mail_cluster_address")))
        for name, backend in self.backends.items():
            if isinstance(backend, dict):
                wanted[f"{name}.{domain}"] = str(backend.get("address"))
        for host, names in sorted(names_known.items()):
            for name in sorted(wanted.keys() & names):
                if name in (host, f"{host}.{domain}"):
                    # Its own name may be any address of its own, and role base takes Debian's 127.0.1.1 away.
                    wrong = [item for item in names[name] if item.startswith("127.") and item != "127.0.1.1"]
                else:
                    wrong = [item for item in names[name] if item != wanted[name]]
                if wrong:
                    found = f"{name} is {', '.join(wrong)}"
                    self.report(host, "/etc/hosts", found, f"{wanted[name]}, or no such line: role base writes it")


def check_site(
    site: dict[str, Any],
    hosts: dict[str, dict[str, Any]],
    groups: dict[str, list[str]],
    missing_secrets: Iterable[str] = (),
    releases: dict[str, str] | None = None,
    names_known: dict[str, dict[str, list[str]]] | None = None,
    routes: dict[str, dict[str, Any]] | None = None,
) -> list[Problem]:
    """Return every problem of a site's description.

    Releases, names in /etc/hosts with their addresses, and routes are what hosts were found to have.
    """
    check = Check(site, hosts, groups)
    check.check_names()
    check.check_networks()
    check.check_groups()
    check.check_front()
    check.check_spread()
    check.check_backends()
    check_dsync(check)
    check_drbd(check)
    check_nfs(check)
    check_afs(check)
    check_kerberos(check)
    check_san(check)
    check_ldap(check)
    check_dns(check)
    check_webmail(check)
    check_director(check, releases or {})
    check_balancer(check)
    check.check_fencing()
    check.check_releases(releases or {})
    check.check_names_known(names_known or {})
    check_routes(check, routes or {})
    for name in missing_secrets:
        own = name.startswith("fencing_")
        wanted = (
            "the password you were given, in group_vars/all/secrets.yml"
            if own
            else "a value: run playbooks/secrets.yml"
        )
        check.report("site", name, None, wanted)
    return check.problems


def lines(problems: list[Problem]) -> list[str]:
    """Write problems for people, in a line each."""
    return [f"{item['where']}: {item['variable']}: {item['found']}. Wanted: {item['wanted']}" for item in problems]
