#!/usr/bin/python
"""Run a systemd unit with its files as they are now."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: unit_current
short_description: Run a systemd unit with its files as they are now
description:
  - Starts and enables a unit, restarts it where files are newer than its start, and reloads it where files are newer
    than its start and its last reload by this module. Nothing else is disturbed.
  - In place of handlers, which are lost with a play that is killed, and leave a service that has not read its files.
  - Files of the unit itself below C(/etc/systemd/system), drop-ins too, count among O(restart_for).
  - A unit that systemd does not start for a condition of its own (as C(ConditionCapability)) is left alone.
options:
  name:
    description: The unit, with its suffix. With O(state=as_is) it may be a pattern.
    type: str
    required: true
  restart_for:
    description: Files that the unit reads when it starts. A directory counts with all that is in it; patterns work.
    type: list
    elements: path
    default: []
  reload_for:
    description:
      - Files that a reload has it read again, as O(restart_for).
      - A file that went away is noticed only by its directory.
    type: list
    elements: path
    default: []
  state:
    description:
      - V(started) starts and enables the unit.
      - V(as_is) is for units that others start and stop, as a cluster does. What runs is reloaded, and nothing is
        started or restarted.
    type: str
    choices: [started, as_is]
    default: started
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Dovecluster
"""

EXAMPLES = r"""
- name: Run the time service
  unit_current:
    name: chrony.service
    restart_for: [/etc/chrony/chrony.conf]

- name: Have running backends read their configuration again
  unit_current:
    name: dovecot-backend@*.service
    reload_for: [/etc/dovecot/backends]
    state: as_is
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, by unit.
  returned: always
  type: dict
  sample: {dovecot.service: "reload, for /etc/dovecot/dovecot.conf"}
"""

import glob
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule

OWN = "/etc/systemd/system"  # where units and drop-ins are written
STAMPS = "/run/dovecluster/reloaded"  # gone with a boot, which makes everything read its files
SHOWN = (
    "Id,LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,CanReload,ConditionResult,"
    "ConditionTimestamp,InactiveExitTimestamp,ExecMainStartTimestamp"
)


@dataclass
class Files:
    """Files that a task names: the path with the newest of them, and when that changed, in seconds since 1970."""

    path: str = ""
    time: float = 0.0


def seconds(shown: str) -> float:
    """Seconds since 1970 of a time as systemctl shows it with --timestamp=us+utc; 0 for never."""
    if shown in ("", "n/a"):
        return 0.0
    return datetime.strptime(shown, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()


def units(output: str) -> list[dict[str, str]]:
    """The properties of each unit that systemctl show tells of, in its order."""
    return [
        dict.fromkeys(SHOWN.split(","), "") | dict(line.partition("=")[::2] for line in part.splitlines())
        for part in output.split("\n\n")
        if part.strip()
    ]


def newest(paths: list[str]) -> Files:
    """The newest of files, of what is in directories, and of what patterns match."""
    found = Files()
    for path in paths:
        for match in glob.glob(path):
            inside = (os.path.join(at, name) for at, folders, names in os.walk(match) for name in folders + names)
            for file in (match, *inside):
                if (changed := os.lstat(file).st_mtime) > found.time:
                    found = Files(path, changed)
    return found


def action(unit: dict[str, str], restart: Files, reload: Files, reloaded: float, as_is: bool) -> str:
    """What a unit needs: a word for systemctl and why, or nothing. reloaded is in seconds since 1970."""
    runs = unit["ActiveState"] in ("active", "reloading", "activating")
    started = max(seconds(unit["InactiveExitTimestamp"]), seconds(unit["ExecMainStartTimestamp"]))
    if as_is:
        return f"reload, for {reload.path}" if runs and reload.time > max(started, reloaded) else ""
    if not runs:
        unmet = unit["ConditionResult"] == "no" and seconds(unit["ConditionTimestamp"])
        return "start" if not unmet or max(restart.time, reload.time) > unmet else ""
    if restart.time > started:
        return f"restart, for {restart.path}"
    if reload.time > max(started, reloaded):
        return f"{'reload' if unit['CanReload'] == 'yes' else 'restart'}, for {reload.path}"
    return ""


def main() -> None:
    """Run the module."""
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "restart_for": paths,
            "reload_for": paths,
            "state": {"type": "str", "choices": ["started", "as_is"], "default": "started"},
        },
        supports_check_mode=True,
    )
    name, as_is = module.params["name"], module.params["state"] == "as_is"
    if as_is and module.params["restart_for"]:
        module.fail_json(msg=f"{name}: with 'state: as_is' nothing is restarted; take restart_for out")

    def systemctl(*arguments: str) -> str:
        code, output, error = module.run_command(["systemctl", *arguments], environ_update={"LC_ALL": "C"})
        if code:
            module.fail_json(msg=f"systemctl {' '.join(arguments)} failed: {error.strip()}")
        return output

    def show() -> list[dict[str, str]]:
        return units(systemctl("show", "--timestamp=us+utc", f"--property={SHOWN}", "--", name))

    actions = {}
    read = seconds(systemctl("show", "--timestamp=us+utc", "--property=UnitsLoadStartTimestamp", "--value").strip())
    if newest([OWN]).time > read and not module.check_mode:
        systemctl("daemon-reload")
    for unit in show():
        if unit["LoadState"] != "loaded" and not (as_is or module.check_mode):
            module.fail_json(msg=f"{unit['Id']} is {unit['LoadState']}: {name} cannot be started")
        own = [path for path in [unit["FragmentPath"], *unit["DropInPaths"].split()] if path.startswith(OWN)]
        restart, reload = newest([*own, *module.params["restart_for"]]), newest(module.params["reload_for"])
        stamp = os.path.join(STAMPS, unit["Id"])
        todo = []
        # Before it is started: systemd forgets whether it has tried a unit that nothing refers to.
        if not as_is and unit["UnitFileState"] in ("disabled", ""):
            todo.append("enable")
            if not module.check_mode:
                systemctl("enable", unit["Id"])
        if wanted := action(unit, restart, reload, newest([glob.escape(stamp)]).time, as_is):
            todo.append(wanted)
            if not module.check_mode:
                carry_out(systemctl, wanted.partition(",")[0], unit["Id"], stamp)
        if todo:
            actions[unit["Id"]] = " and ".join(todo)
    after = "".join(f"{unit}: {done}\n" for unit, done in actions.items())
    module.exit_json(changed=bool(actions), actions=actions, diff={"before": "", "after": after})


def carry_out(systemctl: Callable[..., str], verb: str, unit: str, stamp: str) -> None:
    """Start, restart or reload a unit, and note when it was told to read its files again."""
    told = time.time()
    systemctl(verb, unit)
    if verb == "reload":
        os.makedirs(STAMPS, exist_ok=True)
        with open(stamp, "w"):
            os.utime(stamp, (told, told))


if __name__ == "__main__":
    main()
