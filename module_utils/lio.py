"""What has to change in what a Linux iSCSI target exports, and what must not.

Nothing here touches a host: iscsi_export does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# LIO makes a device's name out of its unit serial: NAA 6, its company number, the serial's first 25 hexadecimal digits.
WWID_PREFIX = "36001405"
WWID_LENGTH = 33


@dataclass
class Export:
    """A target: what it offers, where, and to whom."""

    # LUN's name: (device, serial)
    luns: dict[str, tuple[str, str]] = field(default_factory=dict)
    portals: set[str] = field(default_factory=set)
    # Initiator: LUNs that it sees
    initiators: dict[str, set[str]] = field(default_factory=dict)
    # Initiators whose passwords are those that are wanted
    trusted: set[str] = field(default_factory=set)
    # Only listed initiators, only with passwords, and open for them
    guarded: bool = False
    enabled: bool = False


def serial(wwid: str) -> str:
    """Return the unit serial by which LIO gives a LUN this WWID; an error where no serial does."""
    digits = wwid.removeprefix(WWID_PREFIX)
    if len(wwid) != WWID_LENGTH or digits == wwid or set(digits) - set("0123456789abcdef"):
        missing = WWID_LENGTH - len(WWID_PREFIX)
        raise ValueError(f"WWID {wwid}: LIO's are {WWID_PREFIX} and {missing} more hexadecimal digits")
    return digits


def wanted(
    luns: Sequence[Mapping[str, str]], portals: Iterable[str], initiators: Sequence[str]
) -> tuple[Export, list[str]]:
    """Return what is to be exported, every LUN to every initiator, and what is wrong with it."""
    problems = []
    found = {}
    for lun in luns:
        try:
            found[lun["name"]] = (lun["device"], serial(lun["wwid"]))
        except ValueError as error:
            problems.append(f"LUN {lun['name']} has {error}")
    for key in ("name", "device", "wwid"):
        values = [lun[key] for lun in luns]
        problems += [f"{key} {value} is there twice" for value in sorted({v for v in values if values.count(v) > 1})]
    twice = sorted({name for name in initiators if initiators.count(name) > 1})
    problems += [f"initiator {name} is there twice: each host needs a name of its own" for name in twice]
    members = set(initiators)
    return Export(found, set(portals), {name: set(found) for name in members}, members, True, True), problems


def refusals(now: Export, then: Export, backstores: Mapping[str, tuple[str, str]], users: Iterable[str]) -> list[str]:
    """Return what must not be changed: what somebody uses, and what is another's.

    backstores are all of the host, those of other targets too; users are initiators with a session.
    """
    used = sorted(users)
    problems = []
    for name, (device, number) in then.luns.items():
        found = backstores.get(name)
        if found and found != (device, number):
            problems.append(
                f"{name} is {found[0]} with serial {found[1]}; wanted {device} with serial {number}:"
                f" take it out of the target by hand first (targetcli)"
            )
        holder = next(
            (other for other, (used_by, _) in backstores.items() if used_by == device and other != name), None
        )
        if holder:
            problems.append(f"{device} ({name}) is exported as {holder} already")
    if used:
        who = f"{', '.join(used)} {'has a session' if len(used) == 1 else 'have sessions'}"
        gone = sorted(now.luns.keys() - then.luns.keys())
        problems += [f"LUN {name} is not wanted any more, but {who}: log out there first" for name in gone]
        closed = sorted(now.portals - then.portals)
        problems += [f"portal {portal} is not wanted any more, but {who}: log out there first" for portal in closed]
    dropped = sorted((now.initiators.keys() - then.initiators.keys()) & set(used))
    problems += [f"initiator {name} is not wanted any more, but has a session: log out there first" for name in dropped]
    return problems


def listing(export: Export) -> str:
    """Write an export for a difference that is shown: a line for each thing."""
    return "".join(
        f"{line}\n"
        for line in [
            *(f"lun {name}: {device}, serial {number}" for name, (device, number) in sorted(export.luns.items())),
            *(f"portal {portal}" for portal in sorted(export.portals)),
            *(
                f"initiator {name}: {', '.join(sorted(luns))}, {'' if name in export.trusted else 'not '}the password"
                for name, luns in sorted(export.initiators.items())
            ),
            f"guarded: {export.guarded}",
            f"enabled: {export.enabled}",
        ]
    )
