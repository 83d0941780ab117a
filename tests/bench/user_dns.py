"""Measure the zone of a large site: produce it, load it, transfer it, move one user, provision again.

    molecule create -s user_dns && molecule prepare -s user_dns
    python3 -m tests.bench.user_dns [--lab user_dns] [--pair deb13a,deb13b] [--users 1500000] [--json FILE]

Role and modules are the project's own, run by the scenario's playbook against a domain that is new in each run. Users
have names as at a large provider: most with a dot, some with a hyphen, an underscore or digits. Prints one table of one
run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from module_utils.mail_route import parse_shards, shard_of
from module_utils.user_names import host_of
from tests.proofs.lab import ROOT, Lab, ansible

CONVERGE = "molecule/user_dns/converge.yml"
MOVE = "molecule/user_dns/move.yml"
# The largest that all Python there needs at a time, which is the module at work.
SAMPLER = (
    "rm -f /tmp/peak; (most=0; while test ! -e /tmp/enough; do "
    "now=$(ps -C python3 -o rss= | awk '{n += $1} END {print n + 0}'); "
    'test "$now" -gt "$most" && most=$now && echo $most > /tmp/peak; sleep 0.3; done; rm /tmp/enough) >/dev/null 2>&1 &'
)


def users(count: int, domain: str) -> Iterator[str]:
    """Yield users, none twice."""
    ways = ("first{0}.last{1}", "first{0}.last{1}", "f{0}.m.last{1}", "first{0}-last{1}", "first{0}_{1}", "user{0}x{1}")
    for number in range(count):
        yield ways[number % len(ways)].format(number, number * 7919 % 10007) + f"@{domain}"


def play(lab: Lab, pair: list[str], name: str, **variables: Any) -> list[dict[str, Any]]:
    """Run a playbook against the pair and return its tasks with their times and results."""
    argv = [ansible("ansible-playbook"), "-i", lab.info["inventory"], "--limit", ",".join(pair), name]
    environment = os.environ | {
        **{"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.json",
    }
    done = subprocess.run(
        [*argv, "--extra-vars", json.dumps(variables)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    found = json.loads(done.stdout[done.stdout.index("{") :])
    return [task for one in found["plays"] for task in one["tasks"]]


def seconds(tasks: list[dict[str, Any]], name: str) -> float:
    """Return how long a task took."""
    [duration] = [task["task"]["duration"] for task in tasks if task["task"]["name"].endswith(name)]
    start, end = (datetime.fromisoformat(duration[key]) for key in ("start", "end"))
    return (end - start).total_seconds()


def peak(lab: Lab, host: str) -> float:
    """Return the most memory that the name server had since it started, in MiB."""
    return int(lab.ssh(host, "awk '/^VmHWM/ {print $2}' /proc/$(pidof knotd)/status")) / 1024


def processor(lab: Lab, host: str) -> float:
    """Return how many seconds of processor the name server has used."""
    return sum(map(int, lab.ssh(host, "cut -d' ' -f14,15 /proc/$(pidof knotd)/stat").split())) / 100


def load(lab: Lab, host: str, name: str) -> float:
    """Restart the name server and return the seconds until it answers."""
    script = (
        "start=$(date +%s.%N); systemctl restart knot; "
        f"until kdig @$(hostname -I | cut -d' ' -f1) {name} CNAME +short +timeout=1 +retry=0 | grep -q .; "
        "do sleep 0.1; done; "
        "echo $start $(date +%s.%N)"
    )
    start, end = map(float, lab.ssh(host, script, timeout=300).split())
    return end - start


def measure(lab: Lab, pair: list[str], count: int) -> dict[str, float]:
    """Do it once and return the figures."""
    primary, secondary = pair
    domain = f"bench{int(time.time())}.test"
    figures: dict[str, float] = {"users": count}
    with tempfile.NamedTemporaryFile("w", suffix=".users") as file:
        last = ""
        for last in users(count, domain):
            file.write(f"{last}\n")
        file.flush()
        name = host_of(last, [domain], "imap")
        wanted = {"user_dns_domains": [domain], "user_dns_users": [], "user_dns_users_file": file.name}
        lab.ssh(primary, SAMPLER)
        since = time.time()
        first = play(lab, pair, CONVERGE, **wanted)
        figures["provision"] = time.time() - since
        figures["check"] = seconds(first, "Check users and description")
        figures["produce"] = seconds(first, "Make zone files that are missing")
        lab.ssh(primary, "touch /tmp/enough")
        figures["produce_peak"] = int(lab.ssh(primary, "cat /tmp/peak")) / 1024
        log = lab.ssh(secondary, f"journalctl -u knot -o cat --since=@{int(since)} | grep 'AXFR, incoming.*finished'")
        figures["transfer"] = float(re.findall(r"([\d.]+) seconds", log)[-1])
        figures["transfer_bytes"] = int(re.findall(r"(\d+) bytes", log)[-1])
        figures["secondary_peak"] = peak(lab, secondary)
        figures["load"] = load(lab, primary, name)
        figures["primary_peak"] = peak(lab, primary)
        figures["secondary_load"] = load(lab, secondary, name)
        figures["secondary_peak_restarted"] = peak(lab, secondary)
        before = [processor(lab, host) for host in pair]
        since = time.time()
        backend = "be2" if shard_of(last) in parse_shards("0-127") else "be1"
        moved = play(lab, pair, MOVE, primary=primary, user=last, backend=backend, user_dns_domains=[domain])
        after = [processor(lab, host) for host in pair]
        [result] = [task["hosts"][primary] for task in moved if task["task"]["name"] == "Change the record"]
        if result["behind"]:
            raise SystemExit(f"{result['behind']} did not follow the move of {last}")
        figures["move"] = result["seconds"]
        log = lab.ssh(secondary, f"journalctl -u knot -o cat --since=@{int(since)} | grep 'IXFR, incoming.*finished'")
        figures["move_bytes"] = int(re.findall(r"(\d+) bytes", log)[-1])
        figures["move_processor"] = sum(after) - sum(before)
        lab.ssh(primary, SAMPLER)
        again = play(lab, pair, CONVERGE, **wanted)
        figures["compare"] = seconds(again, "Bring zones to what users and routes say")
        lab.ssh(primary, "touch /tmp/enough")
        figures["compare_peak"] = int(lab.ssh(primary, "cat /tmp/peak")) / 1024
        [compared] = [
            task["hosts"][primary]["results"] for task in again if task["task"]["name"].endswith("users and routes say")
        ]
        figures["compare_changes"] = sum(one["changes"] for one in compared)
    return figures


def table(figures: dict[str, float]) -> str:
    """Set the figures out for people, as the project's documents have them."""
    rows = [
        ("users", "users", "{:,.0f}"),
        ("users checked on the controller", "check", "{:.1f} s"),
        ("zone file produced", "produce", "{:.1f} s"),
        ("memory of it at most", "produce_peak", "{:.0f} MiB"),
        ("primary started, until it answers", "load", "{:.1f} s"),
        ("its memory at most", "primary_peak", "{:.0f} MiB"),
        ("transferred to the secondary", "transfer", "{:.1f} s"),
        ("bytes of it", "transfer_bytes", "{:,.0f}"),
        ("the secondary's memory at most", "secondary_peak", "{:.0f} MiB"),
        ("secondary started, until it answers", "secondary_load", "{:.1f} s"),
        ("its memory at most", "secondary_peak_restarted", "{:.0f} MiB"),
        ("one user moved, until both servers say so", "move", "{:.2f} s"),
        ("bytes sent to the secondary for it", "move_bytes", "{:,.0f}"),
        ("processor time of both servers for it", "move_processor", "{:.2f} s"),
        ("whole first run of the role", "provision", "{:.0f} s"),
        ("zone compared in the second run", "compare", "{:.1f} s"),
        ("memory of it at most", "compare_peak", "{:.0f} MiB"),
        ("names changed by it", "compare_changes", "{:.0f}"),
    ]
    lines = ["| what | figure |", "| --- | --- |"]
    return "\n".join(lines + [f"| {what} | {form.format(figures[key])} |" for what, key, form in rows])


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", default="user_dns")
    parser.add_argument("--pair", default="deb13a,deb13b", help="primary and secondary")
    parser.add_argument("--users", type=int, default=1_500_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures = measure(Lab(options.lab), options.pair.split(","), options.users)
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
