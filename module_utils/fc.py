"""Fibre Channel ports and what they see, out of what the kernel shows.

Nothing here touches a host: fc_port_info and san_lun do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

WWN = re.compile(r"(?:0x)?[0-9a-f]{16}|[0-9a-f]{2}(?::[0-9a-f]{2}){7}")
TARGET = "FCP Target"
GONE = "Not Present"  # the kernel remembers a port that had LUNs


@dataclass(frozen=True)
class Remote:
    """A port that one of ours sees."""

    wwpn: str
    state: str  # Online, or what the kernel says instead
    roles: str  # such as FCP Target

    @property
    def serves(self) -> bool:
        """Whether LUNs can be had of it now."""
        return self.state == "Online" and TARGET in self.roles


@dataclass(frozen=True)
class Port:
    """A port of this host."""

    host: str  # host2
    wwpn: str
    state: str  # Online, or what the kernel says instead
    speed: str
    fabric: str  # the name of its fabric; nothing without one
    name: str  # what its driver calls it
    remotes: tuple[Remote, ...] = ()

    @property
    def online(self) -> bool:
        """Whether it can be used."""
        return self.state == "Online"


def wwn(text: str) -> str:
    """Return a WWPN or WWNN as people write it, such as 20:00:00:25:b5:00:00:1a; what is none stays as it is."""
    name = text.strip().lower()
    if not WWN.fullmatch(name):
        return text.strip()
    digits = name.removeprefix("0x").replace(":", "")
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def fabric(text: str) -> str:
    """Return a fabric's name; without one the kernel says 0 or -1."""
    name = wwn(text)
    return "" if set(name.replace("x", "0")) <= set("0:") or set(name) <= set("f:") else name


def problems(ports: Sequence[Port], wanted: int, targets: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with a host's ports: fewer in use than wanted, or an array's port that none of them sees."""
    online = [port for port in ports if port.online]
    found = []
    if len(online) < wanted:
        found = [
            f"port {port.wwpn} ({port.name}) is {port.state}, wanted Online: look at its cable, and at the switch"
            for port in ports
            if not port.online
        ] or [
            f"{len(online)} Fibre Channel ports are Online ({', '.join(p.wwpn for p in online) or 'there is none'}),"
            f" wanted {wanted}: is the adapter's driver loaded?"
        ]
    ours = ", ".join(port.wwpn for port in online)
    seen = {remote.wwpn: remote for port in online for remote in port.remotes if remote.state != GONE}
    serving = {remote.wwpn for port in online for remote in port.remotes if remote.serves}
    for target in (wwn(target) for target in targets):
        if target in serving:
            continue
        if target not in seen:
            found.append(
                f"no port sees the array's port {target}: zone it with this host's, {ours or 'none is Online'}"
            )
        else:
            found.append(
                f"the array's port {target} is seen, but is {seen[target].state} and no target for this host"
                f" ({seen[target].roles or 'no roles'}): map a LUN to {ours}"
            )
    return found


def silent(ports: Iterable[Port], targets: Collection[str]) -> list[str]:
    """Return the ports of this host, such as host2, that are Online and can use none of an array's ports."""
    wanted = {wwn(target) for target in targets}
    return [
        port.host
        for port in ports
        if port.online and not any(remote.serves and remote.wwpn in wanted for remote in port.remotes)
    ]
