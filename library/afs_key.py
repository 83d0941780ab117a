#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_key
short_description: Keeps the keys of an AFS cell on one of its servers
description:
  - The server has the keys of a keytab and no others. Clients' tickets are understood at once, but servers talk to each
    other with the newest key that there was when they started. Restart them after a new key, before an old one goes.
  - New keys come before old ones go. Keep a key until tickets that were issued with it are over.
options:
  keytab:
    description: A keytab in base64, as M(kerberos_principal) hands it out.
    type: str
    required: true
  principal:
    description: The cell's principal.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows versions and kinds of keys, never keys.
author: Dovecluster
requirements: [asetkey (of Debian's openafs-krb5)]
"""

EXAMPLES = r"""
- name: Keep the cell's keys
  afs_key:
    keytab: "{{ hostvars['kdc1'].principal.keytabs['afs/example.org@EXAMPLE.ORG'] }}"
    principal: afs/example.org@EXAMPLE.ORG
"""

RETURN = r"""
keys:
  description: Versions and kinds of the keys.
  returned: success
  type: list
  elements: str
  sample: ["afs/example.org@EXAMPLE.ORG version 2 aes256-cts-hmac-sha1-96"]
"""

import base64
import binascii
import os
import shutil
import tempfile

from ansible.module_utils.afs import key_problems, read_keys
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kerberos import KerberosError, Key, read_keytab


def present(module: AnsibleModule, principal: str) -> list[Key]:
    """Return the keys that the server has."""
    if not shutil.which("asetkey", path=f"/usr/sbin:{os.environ.get('PATH', '')}"):
        return []
    # In check mode the host may not know its cell yet, without which asetkey does nothing.
    _, out, _ = module.run_command(["asetkey", "list"], check_rc=not module.check_mode)
    return read_keys(out, principal)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "keytab": {"type": "str", "required": True, "no_log": True},
            "principal": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    principal = module.params["principal"]
    try:
        data = base64.b64decode(module.params["keytab"], validate=True)
        wanted = read_keytab(data)
    except (KerberosError, binascii.Error) as error:
        module.fail_json(msg=f"keytab is no keytab in base64: {error}")
    problems = key_problems(wanted, principal)
    if problems:
        module.fail_json(msg="; ".join(problems))
    found = present(module, principal)
    if found != wanted and not module.check_mode:
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, suffix=".keytab") as file:  # 0600
            file.write(data)
            file.flush()
            for key in wanted:
                if key not in found:
                    what = ["rxkad_krb5", str(key.version), str(key.enctype)]
                    if any((old.version, old.enctype) == (key.version, key.enctype) for old in found):
                        module.run_command(["asetkey", "delete", *what], check_rc=True)
                    module.run_command(["asetkey", "add", *what, file.name, principal], check_rc=True)
        kinds = {(key.version, key.enctype) for key in wanted}
        for key in found:
            if (key.version, key.enctype) not in kinds:
                module.run_command(
                    ["asetkey", "delete", "rxkad_krb5", str(key.version), str(key.enctype)], check_rc=True
                )
        if present(module, principal) != wanted:
            module.fail_json(msg=f"asetkey did not store the keys of {principal} as told; see `asetkey list`")
    diff = {"before": "".join(f"{key}\n" for key in found), "after": "".join(f"{key}\n" for key in wanted)}
    if found != wanted and diff["before"] == diff["after"]:
        diff["after"] += "(of the same versions, but other keys)\n"
    module.exit_json(changed=found != wanted, keys=[str(key) for key in wanted], diff=diff)


if __name__ == "__main__":
    main()
