#!/usr/bin/python
"""Find every problem of a site at once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_inventory
short_description: Find every problem of a site at once
description:
  - Checks a site's description, what M(preflight_host) saw on its hosts, and certificates.
  - Runs on the controller, changes nothing, and returns problems rather than failing, so that each is shown once.
options:
  site:
    description: The site's variables by name.
    type: dict
    required: true
  hosts:
    description: For each host, those of its variables that describe it.
    type: dict
    required: true
  groups:
    description: Groups and their hosts.
    type: dict
    required: true
  observed:
    description: Results of M(preflight_host) by host.
    type: dict
    default: {}
  clock_skew:
    description: How many seconds a host's clock may be off from the controller's and from other hosts'.
    type: float
    default: 1
  missing_secrets:
    description: Names of secrets that are not defined.
    type: list
    elements: str
    default: []
  user_problems:
    description: What is wrong with the users, in words.
    type: list
    elements: str
    default: []
  files:
    description: Files that must be on the controller, by the variables that name them; an empty one is not wanted.
    type: dict
    default: {}
  ca_file:
    description: The own CA's certificate. A missing one is no problem, it will be made.
    type: str
  certificates:
    description:
      - Certificates given by the operator, as C({where, path, key, names, client}); C(client) if shown to servers, too.
    type: list
    elements: dict
    default: []
  certificate_days:
    description: A given certificate and the CA's must be valid for so many days. There is a warning at ten times of it.
    type: int
    default: 6
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
requirements: [cryptography]
"""

EXAMPLES = r"""
- name: Find every problem at once
  preflight_inventory:
    site: {mail_store: dsync}
    hosts: {mail1: {mail_client_address: 192.0.2.11}}
    groups: "{{ groups }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
problems:
  description: What is wrong.
  returned: always
  type: list
  elements: dict
  contains:
    where: {description: The host, or C(site)., type: str}
    variable: {description: What to change., type: str}
    found: {description: What was found., type: str}
    wanted: {description: What would do., type: str}
lines:
  description: The same for people, a line each.
  returned: always
  type: list
  elements: str
"""

import datetime
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.inventory_checks import check_site, lines
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

Problem = dict[str, str]


def row(where: str, variable: str, found: str, wanted: str) -> Problem:
    """Return one problem."""
    return {"where": where, "variable": variable, "found": found, "wanted": wanted}


def merged(problems: list[Problem]) -> list[Problem]:
    """Say what several hosts have in common once."""
    hosts: dict[tuple[str, str, str], list[str]] = {}
    for item in problems:
        hosts.setdefault((item["variable"], item["found"], item["wanted"]), []).append(item["where"])
    return [row(", ".join(sorted(set(where))), *rest) for rest, where in hosts.items()]


def address_problems(hosts: dict[str, Any], observed: dict[str, dict[str, Any]]) -> list[Problem]:
    """Find service addresses that answer although none of the site's hosts has them."""
    if any("addresses" not in observed.get(host, {}) for host in hosts):
        return []  # one that was not looked at (--limit, or it can't be reached) may have them
    ours = {address for result in observed.values() for address in result.get("addresses", [])}
    seen: dict[str, list[str]] = {}
    for host, result in observed.items():
        for address in result.get("answering", []):
            if address not in ours:
                seen.setdefault(address, []).append(host)
    return [
        row("site", "service address", f"{address} answers (seen from {', '.join(sorted(hosts))})", "an unused address")
        for address, hosts in sorted(seen.items())
    ]


def clock_problems(observed: dict[str, dict[str, Any]], allowed: float) -> list[Problem]:
    """Find clocks that are off for certain: from the controller's, or else from each other."""
    problems = []
    clocks = {host: result["clock"] for host, result in sorted(observed.items()) if "clock" in result}
    wanted = f"at most {allowed:g} s; set it, and keep it by NTP"
    for host, (least, most) in clocks.items():
        if least > allowed or most < -allowed:
            way = "ahead of" if least > 0 else "behind"
            problems.append(row(host, "clock", f"{abs(least + most) / 2:.1f} s {way} the controller", wanted))
    if clocks and not problems:
        first = max(clocks, key=lambda host: clocks[host][0])
        last = min(clocks, key=lambda host: clocks[host][1])
        apart = clocks[first][0] - clocks[last][1]
        if apart > allowed:
            problems.append(row(first, "clock", f"{apart:.1f} s and more ahead of {last}", wanted))
    return problems


def days_left(certificate: x509.Certificate) -> float:
    """Return for how many days a certificate is still valid."""
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left.total_seconds() / 86400


def end_problems(
    where: str, variable: str, path: str, certificate: x509.Certificate, days: int, remedy: str
) -> tuple[list[Problem], list[str]]:
    """Return a problem if a certificate has ended or is about to, or a warning if it will before long."""
    left = days_left(certificate)
    found = f"{path} {'ended' if left < 0 else 'ends'} {certificate.not_valid_after_utc:%Y-%m-%d}"
    if left < days:
        return [row(where, variable, found, f"one valid for {days} days and more; {remedy}")], []
    return [], [f"{where}: {variable}: {found}; {remedy}"] if left < 10 * days else []


def ca_problems(path: str, days: int) -> tuple[list[Problem], list[str]]:
    """Check the own CA's certificate."""
    if not os.path.exists(path):
        return [], []
    variable = "pki_ca_certificate_file"
    try:
        with open(path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (OSError, ValueError) as error:
        return [row("site", variable, path, f"a readable PEM certificate ({error})")], []
    remedy = "delete the file: site.yml makes a new one with the same key, which clients must import"
    return end_problems("site", variable, path, certificate, days, remedy)


def lacking_uses(certificate: x509.Certificate, client: bool) -> list[str]:
    """Return the uses that a certificate is not made for, of those that it needs (RFC 5280, extended key usage)."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []  # made for any use
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in uses:
        return []
    wanted = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    return [name for name, use in wanted.items() if use not in uses and (client or name == "server")]


def own_problems(item: dict[str, Any], days: int) -> tuple[list[Problem], list[str]]:
    """Check a given certificate: its end, the names it covers, what it may be used for, and its key."""
    where, path, key_path = item["where"], item["path"], item.get("key", "")
    variable = "pki_own_certificate_file"
    try:
        with open(path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (OSError, ValueError) as error:
        return [row(where, variable, path, f"a readable PEM certificate ({error})")], []
    problems, warnings = end_problems(where, variable, path, certificate, days, "give a renewed one")
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        carried = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
        carried |= {str(address) for address in extension.value.get_values_for_type(x509.IPAddress)}
    except x509.ExtensionNotFound:
        carried = set()
    lost = [
        name
        for name in item.get("names", [])
        if name.lower() not in carried and "*." + name.lower().partition(".")[2] not in carried
    ]
    if lost:
        problems.append(row(where, variable, f"{path} lacks {', '.join(lost)}", "a certificate with these names"))
    if unfit := lacking_uses(certificate, item.get("client", False)):
        wanted = "one that is, or leave the variable out for this host and let the own CA make one"
        problems.append(row(where, variable, f"{path} is not made for use as {' and '.join(unfit)}", wanted))
    try:
        with open(key_path, "rb") as file:
            text = file.read()
        if not text.startswith(b"$ANSIBLE_VAULT"):  # role pki, which can read it, compares that one
            key = serialization.load_pem_private_key(text, None)
            if key.public_key() != certificate.public_key():
                problems.append(row(where, "pki_own_key_file", key_path, f"the key of {path}"))
    except (OSError, ValueError, TypeError) as error:
        problems.append(row(where, "pki_own_key_file", key_path, f"a readable PEM key without a passphrase ({error})"))
    return problems, warnings


def installed_warnings(observed: dict[str, dict[str, Any]], days: int) -> list[str]:
    """Tell of certificates on hosts that were not renewed in time; they are renewed by what follows."""
    warnings = []
    for host, result in sorted(observed.items()):
        try:
            certificate = x509.load_pem_x509_certificate(result.get("certificate", "").encode())
        except ValueError:  # none yet, or one that is about to be replaced
            continue
        if days_left(certificate) < days:
            end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
            warnings.append(
                f"{host}: the installed certificate's end is {end}; run site.yml more often, it renews in time"
            )
    return warnings


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "dict", "required": True},
            "hosts": {"type": "dict", "required": True},
            "groups": {"type": "dict", "required": True},
            "observed": {"type": "dict", "default": {}},
            "clock_skew": {"type": "float", "default": 1},
            # Names of secrets, not secrets.
            "missing_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "user_problems": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "dict", "default": {}},
            "ca_file": {"type": "str"},
            "certificates": {"type": "list", "elements": "dict", "default": []},
            "certificate_days": {"type": "int", "default": 6},
        },
        supports_check_mode=True,
    )
    given = module.params
    observed, days = given["observed"], given["certificate_days"]
    releases = {host: result.get("release", "") for host, result in observed.items()}
    names = {host: result.get("names", {}) for host, result in observed.items()}
    routes = {host: result.get("routes", {}) for host, result in observed.items()}
    problems = check_site(
        given["site"], given["hosts"], given["groups"], given["missing_secrets"], releases, names, routes
    )
    for text in given["user_problems"]:
        found, _, wanted = text.partition("; ")
        problems.append(row("site", "directory_users", found, wanted))
    for variable, path in given["files"].items():
        if path and not os.path.isfile(path):
            problems.append(row("site", variable, path, "a file on the controller"))
    warnings = installed_warnings(observed, days)
    checks = [ca_problems(given["ca_file"], days)] if given["ca_file"] else []
    for ends, said in checks + [own_problems(item, days) for item in given["certificates"]]:
        problems += ends
        warnings += said
    for host, result in sorted(observed.items()):
        problems += [{"where": host, **problem} for problem in result.get("problems", [])]
    problems += address_problems(given["hosts"], observed) + clock_problems(observed, given["clock_skew"])
    for warning in warnings:
        module.warn(warning)
    problems = merged(problems)
    module.exit_json(changed=False, problems=problems, lines=lines(problems))


if __name__ == "__main__":
    main()
