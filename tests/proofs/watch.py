"""Looks at all mail nodes all the time, to see whether anything is on two of them at once."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from .lab import Lab

Look = tuple[float, set[str]]  # when, in seconds, and what was on the node: backends that run, users with sessions
BLIND = 2.0  # seconds between two looks at a node after which nothing is known of the time between


class Watch:
    """Keeps what each node says of itself, line by line, for as long as it runs."""

    def __init__(self, lab: Lab, stream: Callable[[str], subprocess.Popen[str]], parse: Callable[[str], Look]) -> None:
        """Start looking: stream begins a node's lines, parse reads one."""
        self._stream, self._parse = stream, parse
        self.looks: dict[str, list[Look]] = {node: [] for node in lab.group("mail_nodes")}
        self._stop = threading.Event()
        self._streams: dict[str, subprocess.Popen[str]] = {}
        self._threads = [threading.Thread(target=self._look, args=(node,), daemon=True) for node in self.looks]
        for thread in self._threads:
            thread.start()

    def moved(self, backends: Iterable[str], away: str) -> float | None:
        """Return since when, in seconds, all the backends run on other nodes than one; nothing while they do not."""
        others = [looks[:] for node, looks in self.looks.items() if node != away]
        found = {name: [since for looks in others if (since := running_since(looks, name))] for name in backends}
        return max(map(max, found.values())) if all(found.values()) else None

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for stream in list(self._streams.values()):
            stream.kill()
        for thread in self._threads:
            thread.join()

    def _look(self, node: str) -> None:
        while not self._stop.wait(0.5):  # a stream ends when its node is gone
            stream = self._streams[node] = self._stream(node)
            for line in stream.stdout or []:
                # The last one may be cut short, and a program that was too slow an answer: that tells nothing.
                with suppress(ValueError):
                    if line.endswith("\n"):
                        self.looks[node].append(self._parse(line))
            stream.kill()
            stream.wait()


def running_since(looks: Sequence[Look], backend: str) -> float | None:
    """Return when, in seconds, a backend that the last look found running was first found so."""
    stretch = itertools.takewhile(lambda look: backend in look[1], reversed(looks))
    return min((when for when, _ in stretch), default=None)


def spans(looks: Sequence[Look], name: str, blind: float = BLIND) -> list[tuple[float, float]]:
    """Return the stretches of time, each (from, to) in seconds, in which every look found something there."""
    found: list[tuple[float, float]] = []
    for (since, before), (until, after) in itertools.pairwise(looks):
        if name not in before or name not in after or until - since > blind:
            continue
        if found and found[-1][1] == since:
            found[-1] = (found[-1][0], until)
        else:
            found.append((since, until))
    return found


def twice(looks: Mapping[str, Sequence[Look]], names: Iterable[str], blind: float = BLIND) -> list[str]:
    """Say what was on two nodes at a time, and for how long."""
    found = []
    for name in names:
        for one, other in itertools.combinations(looks, 2):
            pairs = itertools.product(spans(looks[one], name, blind), spans(looks[other], name, blind))
            overlaps = [min(a[1], b[1]) - max(a[0], b[0]) for a, b in pairs if max(a[0], b[0]) < min(a[1], b[1])]
            if overlaps:
                found.append(f"{name} on {one} and {other} for {sum(overlaps):.1f} s")
    return found
