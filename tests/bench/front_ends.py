"""Measure what a front end costs: logins, fetches and appends a second, as a ratio to going straight to the backend.

    python3 -m tests.bench.front_ends --lab NAME --client HOST --user USER --password-file FILE --name mail.example.org
        [--clients 4] [--rounds 15] [--seconds 1] [--size 10000] [--json FILE]
        straight=192.0.2.31:993 haproxy=192.0.2.21:993 [MORE=ADDRESS:PORT ...]

Clients are processes of one host of a lab, on the same cores as everything else of it, and verify certificates by the
name. The first way is what the others are compared with, and all have to lead to one backend: drain the others, or a
ratio is that of two backends. Ways are measured in short turns, all of them in each round, so that they share what else
the machine does; a ratio is the median of the rounds' ratios, with the middle half of them beside it.

A login is a TCP connection, TLS, LOGIN and LOGOUT. A fetch is that of a mail of --size bytes, an append the same, both
in sessions that stay open, in mailboxes of their own, which are removed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ACTS = ("logins", "fetches", "appends")
# Runs on the client host: prints how many acts each client managed, and in how many seconds.
CLIENT = r"""
import imaplib, json, multiprocessing, random, socket, ssl, sys, time
way, act = json.loads(sys.argv[1]), sys.argv[2]
mail = b"From: s@bench.invalid\r\nSubject: bench\r\n\r\n" + (b"x" * 70 + b"\r\n") * (way["size"] // 72)
context = ssl.create_default_context(cafile=way["ca"])

class Imap(imaplib.IMAP4):
    def _create_socket(self, timeout):
        connection = socket.create_connection((way["address"], way["port"]), 30)
        return context.wrap_socket(connection, server_hostname=way["name"])

def ok(answer):
    if answer[0] != "OK":
        raise SystemExit(f"{act}: {answer}")
    return answer[1]

def login():
    session = Imap()
    ok(session.login(way["user"], way["password"]))
    return session

def client(number, start, results):
    folder, done = f"bench-{number}", 0
    session = login()
    session.create(folder)
    ok(session.append(folder, None, None, mail))
    count = int(ok(session.select(folder))[0])
    start.wait()
    begin = time.monotonic()
    while time.monotonic() - begin < way["seconds"]:
        if act == "logins":
            login().logout()
        elif act == "fetches":
            ok(session.fetch(str(random.randint(1, count)), "(BODY.PEEK[])"))
        else:
            ok(session.append(folder, None, None, mail))
        done += 1
    results.put(done / (time.monotonic() - begin))
    session.logout()

if act == "remove":
    session = login()
    for number in range(way["clients"]):
        session.delete(f"bench-{number}")
    session.logout()
    sys.exit()
start, results = multiprocessing.Barrier(way["clients"]), multiprocessing.Queue()
clients = [multiprocessing.Process(target=client, args=(n, start, results)) for n in range(way["clients"])]
for one in clients:
    one.start()
for one in clients:
    one.join()
if any(one.exitcode for one in clients):
    raise SystemExit("a client failed")
print(sum(results.get() for _ in clients))
"""


def run(lab: str, host: str, way: dict[str, Any], act: str) -> str:
    """Have clients on a host do something, and return what they say."""
    # What the password is among goes by standard input: an argument would be in the list of processes.
    start = f"import sys; sys.argv.insert(1, sys.stdin.read()); exec({CLIENT!r})"
    argv = [str(ROOT / "script/lab"), "--lab", lab, "ssh", host, f"python3 -c {shlex.quote(start)} {act}"]
    done = subprocess.run(argv, input=json.dumps(way), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way['way']}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def table(figures: dict[str, dict[str, list[float]]]) -> str:
    """Set out the figures: {WAY: {ACT: [RATE OF EACH ROUND]}}; ratios are to the first way."""
    first = next(iter(figures.values()))
    lines = [f"{'way':<16}" + "".join(f"{f'{act}/s':>12}{'ratio':>7}{'middle half':>14}" for act in ACTS)]
    for way, acts in figures.items():
        line = f"{way:<16}"
        for act in ACTS:
            rates, base = acts[act], first[act]
            ratios = [rate / other for rate, other in zip(rates, base, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
            line += f"{statistics.median(rates):12.1f}{middle:7.2f}{f'{low:.2f} to {high:.2f}':>14}"
        lines.append(line)
    return "\n".join(lines)


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", metavar="WAY=ADDRESS:PORT", help="the first goes straight to the backend")
    parser.add_argument("--lab", required=True)
    parser.add_argument("--client", required=True, help="host of the lab on which clients run")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--name", required=True, help="on the certificate of every way")
    parser.add_argument("--ca", default="/etc/ssl/dovecluster/ca.pem", help="on the client")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1, help="for each act, way and round")
    parser.add_argument("--size", type=int, default=10_000, help="bytes of a mail")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    common = {name: getattr(options, name) for name in ("user", "name", "ca", "clients", "seconds", "size")}
    common["password"] = options.password_file.read_text(encoding="utf-8").strip()
    ways = []
    for given in options.ways:
        way, _, place = given.partition("=")
        address, _, port = place.rpartition(":")
        ways.append(common | {"way": way, "address": address.strip("[]"), "port": int(port)})
    figures: dict[str, dict[str, list[float]]] = {way["way"]: {act: [] for act in ACTS} for way in ways}
    for number in range(options.rounds):
        for act in ACTS:
            # Each round begins with another way.
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                figures[way["way"]][act].append(float(run(options.lab, options.client, way, act)))
        run(options.lab, options.client, ways[0], "remove")
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
