#!/usr/bin/python
"""Report every problem of a site at once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight_inventory
short_description: Report every problem of a site at once
description:
  - Checks a site's description and what M(preflight_host) saw on its hosts. Fails with one table of all problems.
  - Runs on the controller and changes nothing.
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
  missing_secrets:
    description: Names of secrets that are not defined.
    type: list
    elements: str
    default: []
  users_file:
    description: The site's users.yml, if it has one.
    type: str
  certificates:
    description: Certificates given by the operator, as C({where, path, names}).
    type: list
    elements: dict
    default: []
  certificate_days:
    description: A given certificate must be valid for so many days.
    type: int
    default: 6
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Dovecluster
requirements: [cryptography (for given certificates)]
"""

EXAMPLES = r"""
- name: Report every problem at once
  preflight_inventory:
    site: {mail_store: dsync}
    hosts: {mail1: {mail_client_address: 192.0.2.11}}
    groups: "{{ groups }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
problems:
  description: What is wrong; empty if the module succeeds.
  returned: always
  type: list
  elements: dict
  contains:
    where: {description: The host, or C(site)., type: str}
    variable: {description: What to change., type: str}
    found: {description: What was found., type: str}
    wanted: {description: What would do., type: str}
"""

import datetime
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.inventory_checks import check_site, table


def row(where: str, variable: str, found: str, wanted: str) -> dict[str, str]:
    """Return one problem."""
    return {"where": where, "variable": variable, "found": found, "wanted": wanted}


def address_problems(observed: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Find service addresses that answer although none of the site's hosts has them."""
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


def certificate_problems(item: dict[str, Any], days: int) -> list[dict[str, str]]:
    """Check a given certificate's end and the names it covers."""
    from cryptography import x509

    where, path = item["where"], item["path"]
    variable = "pki_own_certificate_file"
    try:
        with open(path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
    except (OSError, ValueError) as error:
        return [row(where, variable, path, f"a readable PEM certificate ({error})")]
    problems = []
    end = certificate.not_valid_after_utc
    if end < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days):
        problems.append(row(where, variable, f"{path} ends {end:%Y-%m-%d}", f"one valid for {days} days and more"))
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        carried = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
    except x509.ExtensionNotFound:
        carried = set()
    lost = [
        name
        for name in item.get("names", [])
        if name.lower() not in carried and "*." + name.lower().partition(".")[2] not in carried
    ]
    if lost:
        problems.append(row(where, variable, f"{path} lacks {', '.join(lost)}", "a certificate with these names"))
    return problems


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "dict", "required": True},
            "hosts": {"type": "dict", "required": True},
            "groups": {"type": "dict", "required": True},
            "observed": {"type": "dict", "default": {}},
            # Names of secrets, not secrets.
            "missing_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "users_file": {"type": "str"},
            "certificates": {"type": "list", "elements": "dict", "default": []},
            "certificate_days": {"type": "int", "default": 6},
        },
        supports_check_mode=True,
    )
    given = module.params
    problems: list[dict[str, str]] = []
    users: Any = None
    path = given["users_file"]
    if path and not os.path.isfile(path):
        problems.append(
            row("site", "mail_users_file", f"no file {path}", "a list of users, as in the templates' users.yml")
        )
    elif path and path.endswith((".yml", ".yaml")):
        import yaml

        try:
            with open(path, encoding="utf-8") as file:
                users = yaml.safe_load(file)
        except yaml.YAMLError:
            problems.append(row("site", "mail_users_file", f"{path} is not YAML", "a list of users"))
        if isinstance(users, dict):
            users = users.get("directory_users", users.get("users"))
    releases = {host: result.get("release", "") for host, result in given["observed"].items()}
    problems += check_site(given["site"], given["hosts"], given["groups"], given["missing_secrets"], releases, users)
    for item in given["certificates"]:
        problems += certificate_problems(item, given["certificate_days"])
    for host, result in sorted(given["observed"].items()):
        problems += [{"where": host, **problem} for problem in result.get("problems", [])]
    problems += address_problems(given["observed"])
    if problems:
        number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        module.fail_json(msg=f"{number}; nothing has been changed.\n{table(problems)}", problems=problems)
    module.exit_json(changed=False, problems=[])


if __name__ == "__main__":
    main()
