"""The zone of users' personal host names: what must be in it, what is, and the updates between.

A user's name is an alias of the user's shard, or of a backend if the user has an override; a shard's is an alias of its
backend, and only a backend's has an address. So a backend with another address, a shard with another backend and a user
who moves each cost one record. Records are kept as text: by owner, relative to the zone, a sorted tuple of 'TTL TYPE
DATA'.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.mail_route import (
    BY_SHARD,
    HELD_HOST,
    KEPT,
    SHARDS,
    Backend,
    RouteError,
    parse_backends,
    shard_of,
)
from ansible.module_utils.user_names import PORTS, NamingError, label_of, split

Records = dict[str, tuple[str, ...]]
Changes = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
Overrides = Mapping[str, Mapping[str, str]]
# No user's label is one of these: two hyphens there are followed by an x.
BACKEND_NAMES = "x--backend"
SHARD_NAMES = "x--shard"
DESCRIPTION = "/etc/dovecluster/user_dns.json"
KEY_FILE = "/etc/dovecluster/user_dns.key"
# A host or domain name in lower case, and one label of it.
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
FIXED_TTL = 3600
SHOWN = 20
SHOWN_IN_DIFF = 1000
# One message, which may have 64 KiB, carries no more names than this.
BATCH = 200


class ZoneError(Exception):
    """Users or a zone that are not what they must be; has all problems."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep the problems, of which no more are shown than a person reads."""
        self.problems = list(problems)
        more = [f"and {len(self.problems) - SHOWN} more"] if len(self.problems) > SHOWN else []
        super().__init__("; ".join(self.problems[:SHOWN] + more))


@dataclass(frozen=True)
class Zone:
    """A domain's zone, and what all its records have in common."""

    name: str
    ttl: int

    def alias(self, target: str) -> tuple[str, ...]:
        """Return the record that makes a name an alias of another one in the zone."""
        return (f"{self.ttl} CNAME {target}.{self.name}.",)

    def to_shard(self, shard: int) -> tuple[str, ...]:
        """Return the record that sends a name to a shard."""
        return self.alias(f"{shard:02x}.{SHARD_NAMES}")

    def to_backend(self, backend: str) -> tuple[str, ...]:
        """Return the record that sends a name to a backend."""
        return self.alias(f"{backend}.{BACKEND_NAMES}")

    def full(self, owner: str) -> str:
        """Return the whole name of an owner."""
        return f"{self.name}." if owner == "@" else f"{owner}.{self.name}."


@dataclass(frozen=True)
class Site:
    """What the role writes to DESCRIPTION: all that names and zones follow from, beside users and overrides."""

    prefix: str
    domains: tuple[str, ...]
    ttl: int
    servers: dict[str, str]
    backends: dict[str, Backend]
    common: dict[str, str]

    def zone(self, domain: str) -> Zone:
        """Return the zone of a domain."""
        return Zone(f"{self.prefix}.{domain}", self.ttl)


def parse_site(described: Mapping[str, Any]) -> Site:
    """Return the site that is described; raise an error that has all problems."""
    problems = []
    names = [described["prefix"], *described["domains"], *described["servers"], *described["common"].values()]
    problems += [f"{name!r} is no host or domain name" for name in names if not NAME.fullmatch(name)]
    for server in described["servers"]:
        for zone in (f"{described['prefix']}.{domain}" for domain in described["domains"]):
            if server == zone or server.endswith(f".{zone}"):
                problems.append(f"{server}: a name server's name must not be in the zone {zone}, which is for users")
    addresses = {**described["servers"], **{name: b.get("address") for name, b in described["backends"].items()}}
    for name, address in addresses.items():
        try:
            ipaddress.ip_address(address)
        except ValueError:
            problems.append(f"{name}: {address!r} is not an address")
    problems += [f"backend {name!r}: not a label" for name in described["backends"] if not LABEL.fullmatch(name)]
    problems += [f"{service}: known services are {', '.join(PORTS)}" for service in described["common"].keys() - PORTS]
    problems += [f"user_dns_{name}: none is given" for name in ("domains", "servers") if not described[name]]
    if described["ttl"] < 1:
        problems.append(f"TTL {described['ttl']}: wanted at least 1 s")
    backends = {}
    try:
        backends = parse_backends(described["backends"])
    except RouteError as error:
        problems.append(str(error))
    if problems:
        raise ZoneError(problems)
    return Site(
        described["prefix"],
        tuple(described["domains"]),
        described["ttl"],
        dict(described["servers"]),
        backends,
        dict(described["common"]),
    )


def read_site(path: str) -> Site:
    """Return the site that a file on the host describes."""
    with open(path, encoding="utf-8") as file:
        return parse_site(json.load(file))


def address_record(ttl: int, address: str) -> str:
    """Return the record of an address."""
    parsed = ipaddress.ip_address(address)
    return f"{ttl} {'A' if parsed.version == 4 else 'AAAA'} {parsed}"


def common_records(site: Site, zone: Zone) -> Records:
    """Return what is in the zone beside users: name servers, services with one name for all, shards and backends."""
    records: Records = {"@": tuple(sorted(f"{FIXED_TTL} NS {name}." for name in site.servers))}
    for service, host in site.common.items():
        records[f"_{service}._tcp"] = (f"{FIXED_TTL} SRV 0 1 {PORTS[service]} {host}.",)
    for backend in site.backends.values():
        records[f"{backend.name}.{BACKEND_NAMES}"] = (address_record(zone.ttl, backend.address),)
        for shard in backend.shards:
            records[f"{shard:02x}.{SHARD_NAMES}"] = zone.to_backend(backend.name)
    return records


def named_users(site: Site, users: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each user with domain and label; at the end, raise an error that has all problems."""
    labels: dict[str, set[str]] = {domain: set() for domain in site.domains}
    problems = []
    for user in users:
        try:
            local, domain = split(user)
        except NamingError as error:
            problems.append(str(error))
            continue
        label = label_of(local)
        if domain not in labels:
            problems.append(f"user {user}: {domain} is not one of {', '.join(site.domains)}")
        elif label in labels[domain]:
            name = site.zone(domain).full(label)
            problems.append(f"user {user}: the name {name} is that of a user before already; take one out")
        else:
            labels[domain].add(label)
            yield user, domain, label
    problems += [f"{domain} has no users: all their names would go" for domain in site.domains if not labels[domain]]
    if problems:
        raise ZoneError(problems)


def check_users(site: Site, users: Iterable[str]) -> int:
    """Return how many users there are, or raise an error that has all that is wrong with them."""
    return sum(1 for _ in named_users(site, users))


def user_records(
    site: Site, domain: str, users: Iterable[str], overrides: Overrides
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield label and record of each user of a domain."""
    zone = site.zone(domain)
    by_shard = [zone.to_shard(shard) for shard in range(SHARDS)]
    by_backend = {name: zone.to_backend(name) for name in site.backends}
    for user, of_domain, label in named_users(site, users):
        if of_domain == domain:
            moved = backend_of(site, user, overrides) if user.lower() in overrides else None
            yield label, by_backend[moved] if moved else by_shard[shard_of(user)]


def backend_of(site: Site, user: str, overrides: Overrides) -> str | None:
    """Return the backend that a user's override says; none says the shard. A held user stays where the mail is."""
    fields = overrides[user.lower()]
    host = fields.get(KEPT, BY_SHARD) if fields["host"] == HELD_HOST else fields["host"]
    if host == BY_SHARD:
        return None
    for backend in site.backends.values():
        if backend.host == host:
            return backend.name
    raise ZoneError([f"user {user.lower()}: the override says {host}, which is the host of no backend"])


def zone_file(site: Site, zone: Zone, serial: int, records: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """Yield the lines of a zone file."""
    first = next(iter(site.servers))
    yield f"$ORIGIN {zone.name}.\n"
    yield f"@ {FIXED_TTL} SOA {first}. hostmaster.{first}. {serial} 3600 60 1209600 {zone.ttl}\n"
    for owner, values in records:
        for value in values:
            yield f"{owner} {value}\n"


def answered(zone: Zone, lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each owner and its records out of what kdig prints; SOA records have no place in it."""
    suffix = f".{zone.name}."
    owner = ""
    values: list[str] = []
    for line in lines:
        fields = line.split(None, 4)
        if len(fields) < 5 or fields[0].startswith(";") or fields[3] in ("SOA", "TSIG"):
            continue
        name, ttl, _, kind, data = fields
        relative = "@" if name == suffix[1:] else name.removesuffix(suffix)
        if relative != owner:
            if values:
                yield owner, tuple(sorted(values))
            owner, values = relative, []
        values.append(f"{ttl} {kind} {data.strip()}")
    if values:
        yield owner, tuple(sorted(values))


def differences(wanted: Records, found: Iterable[tuple[str, tuple[str, ...]]]) -> Changes:
    """Return (found, wanted) of each owner where they are not the same; what is wanted is used up."""
    changes: Changes = {}
    for owner, values in found:
        other = wanted.pop(owner, ())
        if other != values:
            changes[owner] = (values, other)
    changes.update((owner, ((), values)) for owner, values in wanted.items())
    return changes


def update(zone: Zone, server: str, changes: Changes) -> Iterator[str]:
    """Yield what knsupdate has to read in order to make the changes."""
    yield f"server {server}\nzone {zone.name}.\n"
    for number, (owner, (found, wanted)) in enumerate(changes.items(), 1):
        name = zone.full(owner)
        # The last name server of a zone can't be taken out, so new ones come first. An alias can't be added to another.
        if owner == "@":
            yield from (f"add {name} {value}\n" for value in wanted if value not in found)
            yield from (f"del {name} {value.partition(' ')[2]}\n" for value in found if value not in wanted)
        else:
            yield from (f"del {name} {kind}\n" for kind in sorted({value.split()[1] for value in found}))
            yield from (f"add {name} {value}\n" for value in wanted)
        if number % BATCH == 0 or number == len(changes):
            yield "send\n"


def shown(zone: Zone, changes: Changes, which: int) -> str:
    """Return one side of the changes for a diff: what is found (0) or wanted (1)."""
    chosen = list(changes.items())[:SHOWN_IN_DIFF]
    return "".join(f"{zone.full(owner)} {value}\n" for owner, sides in chosen for value in sides[which])
