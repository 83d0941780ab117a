"""Who has sessions where, as backends themselves say: on one node at a time, whatever the front ends believe."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from module_utils.doveadm_who import parse_who
from tests.ledger.front import Front, close

from .lab import Lab, wait_for
from .watch import Look, Watch

SERVICES = ("imap", "pop3")  # not those of login processes, which pass sessions on to another backend
# Seconds between two looks: each starts several programs, and on a busy machine every second was too much.
PAUSE = {"shared": 4.0, "own": 10.0, "full": 20.0}
# Seconds between two looks after which nothing is known of the time between.
BLIND = {"shared": 15.0, "own": 40.0, "full": 60.0}


def watch(lab: Lab, kernel: str) -> Watch:
    """Start looking at who has sessions on which node."""
    return Watch(lab, partial(_stream, lab, PAUSE[kernel]), parse)


def where(lab: Lab) -> dict[str, set[str]]:
    """Return the backends on which users have sessions now: {user: {backend}}."""
    nodes = lab.group("mail_nodes")
    with ThreadPoolExecutor(len(nodes)) as pool:
        texts = list(pool.map(lambda node: lab.ssh(node, _once(lab), check=False), nodes))
    found: dict[str, set[str]] = {}
    for text in texts:
        for user, backend in rows(text):
            found.setdefault(user, set()).add(backend)
    return found


def homes(lab: Lab, front: Front) -> dict[str, set[str]]:
    """Log each user in, and return the backends on which users have sessions then, others' too: {user: {backend}}."""
    clients = [front.imap(next(front.doors()), user) for user in front.users]
    users = {user.user for user in front.users}
    try:
        return wait_for("each user has a session", lambda: (seen := where(lab)).keys() >= users and seen, 30)
    finally:
        for client in clients:
            close(client)


def _once(lab: Lab) -> str:
    """Return a command that prints a line: the time, then the name and the sessions of each backend that runs there."""
    who = "timeout 5 doveadm -c /etc/dovecot/backends/$name.conf -f json who -1 2>/dev/null | tr -d '\\n'"
    each = f'[ -e /run/dovecot-$name/master.pid ] && printf "\\t%s\\t%s" $name "$({who})"'
    return f"printf %s $(date +%s.%N); for name in {' '.join(lab.backends)}; do {each}; done; echo"


def _stream(lab: Lab, pause: float, node: str) -> subprocess.Popen[str]:
    return lab.stream(node, f"while sleep {pause}; do {_once(lab)}; done")


def parse(line: str) -> Look:
    """Read a line: the node's time in seconds, and the users who have sessions there."""
    return float(line.split()[0]), {user for user, _ in rows(line)}


def rows(line: str) -> list[tuple[str, str]]:
    """Return (user, backend) of each session in a line."""
    _, *parts = line.rstrip("\n").split("\t")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [
        (row["user"], backend)
        for backend, text in pairs
        for row in parse_who(backend, text)
        if row["service"] in SERVICES
    ]
