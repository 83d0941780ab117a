#!/usr/bin/python
DOCUMENTATION = r"""
---
module: kerberos_keytab
short_description: Keeps a file with the keys of a service
description:
  - Writes keys that M(kerberos_principal) has handed out, or that another realm's administrator gave you. The file has
    these keys and no others.
  - Keys are compared, not bytes; a file that has them already is left as it is.
options:
  path:
    description: The file. Its folder must exist.
    type: path
    required: true
  content:
    description: A keytab in base64.
    type: str
    required: true
  principal:
    description: Whose keys it must have; fails without any.
    type: str
  mode:
    description: Who may read it.
    type: raw
    default: "0600"
extends_documentation_fragment: [ansible.builtin.files]
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows whose keys there are, their versions and kinds, never keys.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Keep the key with which this host gets its tickets
  kerberos_keytab:
    path: /etc/dovecot/afs.keytab
    content: "{{ hostvars['kdc1'].principal.keytabs['mail/mail1.example.org@EXAMPLE.ORG'] }}"
    principal: mail/mail1.example.org@EXAMPLE.ORG
"""

RETURN = r"""
keys:
  description: Whose keys there are, their versions and kinds.
  returned: success
  type: list
  elements: str
  sample: ["host/a.example.org@EXAMPLE.ORG version 1 aes256-cts-hmac-sha1-96"]
"""

import base64
import binascii
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kerberos import KerberosError, Key, read_keytab


def present(path: str) -> list[Key]:
    """Return the keys in the file. One that is no keytab has none, and is replaced only if it is empty."""
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return []
    with open(path, "rb") as file:
        try:
            return read_keytab(file.read())
        except KerberosError as error:
            raise KerberosError(f"{path}: {error}, and is left as it is; take it away if nothing needs it") from error


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
            "principal": {"type": "str"},
            "mode": {"type": "raw", "default": "0600"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    path, principal = module.params["path"], module.params["principal"]
    try:
        data = base64.b64decode(module.params["content"], validate=True)
        keys = read_keytab(data)
        if not keys or (principal and principal not in {key.principal for key in keys}):
            raise KerberosError(f"content has no key of {principal or 'anybody'}")
        if not os.path.isdir(os.path.dirname(path)):
            raise KerberosError(f"{path}: its folder does not exist")
        found = present(path)
    except (KerberosError, binascii.Error, OSError) as error:
        module.fail_json(
            msg=f"content is no keytab in base64: {error}" if isinstance(error, binascii.Error) else str(error)
        )
    changed = found != keys
    if changed and not module.check_mode:
        handle, temporary = tempfile.mkstemp(dir=module.tmpdir)  # mkstemp makes it 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        module.atomic_move(temporary, path)
    diff = {
        "before_header": path,
        "after_header": path,
        "before": "".join(f"{key}\n" for key in found),
        "after": "".join(f"{key}\n" for key in keys),
    }
    if diff["before"] == diff["after"] and changed:
        diff["after"] += "(of the same versions, but other keys)\n"
    if os.path.exists(path):
        changed = module.set_fs_attributes_if_different(module.load_file_common_arguments(module.params), changed)
    module.exit_json(changed=changed, keys=[str(key) for key in keys], diff=diff)


if __name__ == "__main__":
    main()
