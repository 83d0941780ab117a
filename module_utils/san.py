"""LUNs and the paths to them, out of what the kernel shows; records of iSCSI sessions.

Nothing here touches a host: iscsi_session and san_lun do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# What iscsiadm ends with (iscsi_err.h), and what to do about it.
LOGIN_ERRORS = {
    4: "does not answer",
    8: "does not answer in time",
    19: "has no such target",
    24: "does not accept this initiator's name or password, or sent a wrong one back",
}
END_OF_RECORD = "# END RECORD"


@dataclass(frozen=True)
class Path:
    """One path to a LUN."""

    disk: str  # sdb
    wwid: str  # as multipath writes it, in small letters
    state: str  # running, or what the kernel says instead
    through: str  # the portal's address, or the remote port's name
    size: int  # bytes


def login_problem(portal: str, source: str, code: int, said: str) -> str:
    """Say why a portal could not be logged in to."""
    reason = LOGIN_ERRORS.get(code, f"refuses: {(said.strip().splitlines() or ['no word'])[-1]}")
    return f"portal {portal}, from {source}, {reason}"


def record(text: str, settings: Mapping[str, str]) -> str:
    """Return the text of a session's record with these settings in it."""
    left = dict(settings)
    lines = []
    for line in text.splitlines():
        name = line.partition(" = ")[0]
        if name in left:
            line = f"{name} = {left.pop(name)}"
        elif line == END_OF_RECORD:
            lines += [f"{name} = {value}" for name, value in left.items()]
            left = {}
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def settings_of(text: str) -> dict[str, str]:
    """Return the settings of a session's record."""
    pairs = (line.partition(" = ") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, equals, value in pairs if equals}


def wwid_of(page: str) -> str:
    """Return the WWID that multipath makes of a disk's wwid in sysfs (naa.6001405…); empty for other kinds."""
    kind, _, digits = page.strip().lower().partition(".")
    return f"3{digits}" if kind == "naa" else ""


def path_problems(wwid: str, paths: Sequence[Path], wanted: int, through: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with the paths to a LUN; through names the portals or ports that lead to it, where known."""
    problems = []
    alive = [path for path in paths if path.state == "running"]
    if not paths:
        return [f"LUN {wwid} is not there: is it mapped to this host, and is the host zoned or logged in?"]
    problems += [
        f"LUN {wwid}: the path {path.disk} through {path.through} is {path.state}"
        for path in sorted(paths, key=lambda path: path.disk)
        if path not in alive
    ]
    seen = {path.through for path in paths}
    problems += [f"LUN {wwid}: no path through {name}" for name in through if name not in seen]
    if len(alive) < wanted and not problems:
        found = ", ".join(sorted(path.through for path in alive))
        problems.append(f"LUN {wwid} has {len(alive)} paths ({found}); wanted {wanted}")
    return problems


def to_resize(paths: Iterable[Path], device_size: int) -> bool:
    """Tell whether a LUN has grown: all its paths agree on a size that is not the device's."""
    sizes = {path.size for path in paths}
    return len(sizes) == 1 and device_size not in sizes
