"""Measure an LDAP server: how long it takes to load many users, and how many lookups a second it answers.

    python3 -m tests.bench.ldap --lab NAME --host HOST [--entries 1500000] [--clients 8] [--lookups 20000] [--json FILE]

The host is a lab's, with role openldap and no users yet; it has them afterwards. Clients run on it, too, and share its
cores with the server: each looks up random users one after the other, over TLS, as mail hosts do. Answers are counted.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# root's files that the measurement leaves on the host
LDIF, NAMES = "/var/tmp/bench.ldif", "/var/tmp/bench.names"
MAKE = """
import sys
base, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    name = f"user{number}@example.org"
    print(f"dn: mail={name},ou=users,{base}\\nobjectClass: inetOrgPerson\\nobjectClass: inetLocalMailRecipient\\n"
          f"objectClass: mailQuotaUser\\ncn: User {number}\\nsn: {number}\\nmail: {name}\\nmailLocalAddress: {name}\\n"
          f"mailHost: be{number % 8}\\nmailQuota: 1G\\n"
          f"userPassword: {{CRYPT}}$6$sixteenletters00${'x' * 79}{number:07}\\n")
"""
CHOOSE = """
import random, sys
count, lookups, clients, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
for client in range(clients):
    with open(f"{path}.{client}", "w") as file:
        file.writelines(f"user{random.randrange(count)}@example.org\\n" for _ in range(lookups))
"""


class Host:
    """A host of a lab, with an LDAP server."""

    def __init__(self, lab: str, name: str) -> None:
        """Remember it."""
        self.lab, self.name = lab, name

    def run(self, command: str) -> str:
        """A command's output; it has to succeed."""
        argv = [str(ROOT / "script/lab"), "--lab", self.lab, "ssh", self.name, command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name}: {command[:100]}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def python(self, program: str, *arguments: object, to: str = "/dev/null") -> None:
        """Run a program there."""
        self.run(f"python3 -c {shlex.quote(program)} {' '.join(map(str, arguments))} > {to}")

    def load(self) -> float:
        """Load the users as an operator does; return the seconds."""
        inventory = json.loads(
            subprocess.check_output([str(ROOT / "script/lab"), "--lab", self.lab, "info", "--json"], text=True)
        )["inventory"]
        play = ["ansible-playbook", f"--inventory={inventory}", "playbooks/ldap_load.yml"]
        start = time.monotonic()
        subprocess.run([*play, f"--extra-vars=servers={self.name} ldif={LDIF}"], cwd=ROOT, check=True)
        return time.monotonic() - start

    def lookups(self, base: str, password: str, clients: int) -> tuple[float, int]:
        """Have clients look users up, all at a time; return how many seconds it took, and how many were found."""
        ask = (
            f"LDAPTLS_CACERT=/etc/ssl/dovecluster/ca.pem ldapsearch -x -LLL -H ldaps://{self.name}.lab.test"
            f" -D cn=mail,ou=services,{base} -y {NAMES}.password -b ou=users,{base}"
            f" -f {NAMES}.$n '(&(objectClass=inetLocalMailRecipient)(mail=%s))' mailHost | grep -c ^mailHost:"
        )
        self.run(f"umask 077; printf %s {shlex.quote(password)} > {NAMES}.password")
        out = self.run(
            f"start=$(date +%s.%N); for n in $(seq 0 {clients - 1}); do ({ask}) & done; wait; "
            "echo seconds $start $(date +%s.%N)"
        ).split()
        self.run(f"rm {NAMES}.password")
        mark = out.index("seconds")
        return float(out[mark + 2]) - float(out[mark + 1]), sum(map(int, out[:mark]))


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--entries", type=int, default=1_500_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--lookups", type=int, default=20_000, help="of each client")
    parser.add_argument("--base", default="dc=example,dc=org")
    parser.add_argument("--password", default="password-of-mail-hosts", help="of the mail hosts' account")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    host = Host(options.lab, options.host)
    host.python(MAKE, options.base, options.entries, to=LDIF)
    row: dict[str, Any] = {"entries": options.entries, "clients": options.clients}
    row["load_seconds"] = host.load()
    row["database_mib"] = int(host.run("du -m /var/lib/ldap/data.mdb").split()[0])
    host.python(CHOOSE, options.entries, options.lookups, options.clients, NAMES)
    seconds, found = host.lookups(options.base, options.password, options.clients)
    asked = options.clients * options.lookups
    if found != asked:
        raise SystemExit(f"{found} of {asked} users were found")
    row |= {"lookups": asked, "lookup_seconds": seconds, "lookups_per_s": asked / seconds}
    row["resident_mib"] = int(host.run("ps -o rss= -C slapd").split()[0]) // 1024
    host.run(f"rm -f {LDIF} {NAMES}.*")
    print("users     loaded in  database  server's memory  clients  lookups  lookups/s")
    print(
        f"{row['entries']:<9} {row['load_seconds']:7.0f} s {row['database_mib']:5} MiB {row['resident_mib']:12} MiB"
        f" {row['clients']:8} {row['lookups']:8} {row['lookups_per_s']:10.0f}"
    )
    if options.json:
        options.json.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
