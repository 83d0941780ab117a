#!/usr/bin/python
DOCUMENTATION = r"""
---
module: kerberos_principal
short_description: Keeps principals of services, with random keys, and hands their keys out
description:
  - Runs on the primary KDC as root, by C(kadmin.local).
  - A principal that has other kinds of keys than wanted gets new ones beside the old ones, which still open tickets
    that were issued before.
options:
  names:
    description: Whole names of the principals, with realm.
    type: list
    elements: str
    required: true
  state:
    description: V(absent) removes them. Nobody can use what they opened any more.
    type: str
    choices: [present, absent]
    default: present
  enctypes:
    description: Kinds of keys. OpenAFS takes the second one alone.
    type: list
    elements: str
    default: [aes256-cts-hmac-sha384-192, aes256-cts-hmac-sha1-96]
  rotate:
    description: Makes new keys, each time, and keeps the old ones.
    type: bool
    default: false
  purge:
    description: Removes all keys but the newest ones.
    type: bool
    default: false
  export:
    description: Returns all keys. Set C(no_log) on the task, and M(kerberos_keytab) writes them elsewhere.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would change. Keys that are not there yet are not returned.
  diff_mode:
    support: full
    description: Shows versions and kinds of keys, never keys.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Keep the principal of an AFS cell, whose key servers get
  kerberos_principal:
    names: [afs/example.org@EXAMPLE.ORG]
    enctypes: [aes256-cts-hmac-sha1-96]
    export: true
  register: principal
  no_log: true

- name: Take old keys away, a day after they were replaced
  kerberos_principal:
    names: [afs/example.org@EXAMPLE.ORG]
    enctypes: [aes256-cts-hmac-sha1-96]
    purge: true
"""

RETURN = r"""
keytabs:
  description: By name, a keytab with all keys, in base64.
  returned: with O(export)
  type: dict
"""

import base64
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kerberos import (
    ENCTYPES,
    KerberosError,
    Principal,
    check,
    expected,
    queries,
    read_keytab,
    read_principal,
)


def kadmin(module: AnsibleModule, query: str) -> tuple[bool, str]:
    """Have kadmin do something; return whether it did, and what it said."""
    code, out, err = module.run_command(["kadmin.local", "-q", query], environ_update={"LC_ALL": "C"})
    said = "\n".join(line for line in (out + err).splitlines() if not line.startswith("Authenticating as"))
    return code == 0, said


def find(module: AnsibleModule, name: str) -> Principal | None:
    """Return a principal as the KDC has it."""
    _, said = kadmin(module, f"getprinc {name}")
    if "Principal does not exist" in said:
        return None
    if f"Principal: {name}" not in said:
        raise KerberosError(f"{name}: kadmin.local says {said!r}: run this on the primary KDC of its realm, as root")
    return read_principal(said)


def export(module: AnsibleModule, name: str) -> str:
    """Return a keytab with a principal's keys, in base64."""
    path = os.path.join(module.tmpdir, "exported.keytab")
    try:
        done, said = kadmin(module, f"ktadd -norandkey -k {path} {name}")
        if not done or not os.path.exists(path):
            raise KerberosError(f"{name}: its keys cannot be had: {said}")
        with open(path, "rb") as file:
            data = file.read()
    finally:
        if os.path.exists(path):
            os.unlink(path)
    read_keytab(data)
    return base64.b64encode(data).decode()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "enctypes": {"type": "list", "elements": "str", "default": list(ENCTYPES)},
            "rotate": {"type": "bool", "default": False},
            "purge": {"type": "bool", "default": False},
            "export": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = params["enctypes"] if params["state"] == "present" else None
    before, after, keytabs = "", "", {}
    try:
        check(params["names"], params["enctypes"])
        code, _, _ = module.run_command(["systemctl", "is-active", "--quiet", "krb5-kpropd.service"])
        if code == 0:
            raise KerberosError("this host is a replica, whose changes would be lost: run this on the primary KDC")
        found = {name: find(module, name) for name in params["names"]}
        needed = {
            name: queries(name, principal, wanted, params["rotate"], params["purge"])
            for name, principal in found.items()
        }
        for name, principal in found.items():
            then = expected(principal, wanted, needed[name])
            before += f"{name}\n{principal.shown()}" if principal else ""
            after += f"{name}\n{then.shown()}" if then else ""
            if module.check_mode:
                continue
            for query in needed[name]:
                done, said = kadmin(module, query)
                if not done:
                    raise KerberosError(f"{name}: {query.split()[0]} failed: {said}")
            if needed[name] and find(module, name) != then:
                raise KerberosError(f"{name}: kadmin.local did not do as told; have a look by `kadmin.local`")
        if params["export"] and wanted:
            keytabs = {name: export(module, name) for name in found if found[name] or not module.check_mode}
    except KerberosError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=any(needed.values()),
        diff={"before": before, "after": after},
        **({"keytabs": keytabs} if params["export"] else {}),
    )


if __name__ == "__main__":
    main()
