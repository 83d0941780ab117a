"""Runs the module on the host and adds how far the host's clock is off, which takes both ends to tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

READINGS = 3


def clock_range(now: Callable[[], float], read: Callable[[], float]) -> tuple[float, float]:
    """Return the least and the most that a clock can be ahead of ours.

    Each reading was made between two of ours, so a slow connection makes the range wider, never wrong: nothing is
    assumed about which way took how long.
    """
    least, most = float("-inf"), float("inf")
    for _ in range(READINGS):
        before = now()
        there = read()
        after = now()
        least, most = max(least, there - after), min(most, there - before)
    return least, most


class ActionModule(ActionBase):
    """Look at a host, and at its clock."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Run it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            result.update(self._execute_module(task_vars=task_vars))
            if not result.get("failed"):
                result["clock"] = clock_range(time.time, self._host_time)
        except AnsibleConnectionFailure as error:
            # A problem as any other: the play would end here and show nothing else.
            wanted = "a host that can be reached"
            result["problems"] = [{"variable": "ansible_host", "found": str(error), "wanted": wanted}]
        return result

    def _host_time(self) -> float:
        """Read the host's clock: one short command on the open connection, far faster than a module."""
        return float(self._low_level_execute_command("date +%s.%N")["stdout"].split()[-1])
