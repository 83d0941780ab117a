#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_acl
short_description: Keeps the access list of a folder in AFS
description:
  - Runs on a client of the cell (role C(afs_client)) as root, for somebody who may change the list, as a member of
    C(system:administrators) may. What that takes is gone when the module ends.
  - The list has the names given and no others. Folders below keep theirs; new ones get this one.
options:
  path:
    description: The folder.
    type: path
  volume:
    description: In place of O(path), the top of a volume, whether it is mounted anywhere or not.
    type: str
  allows:
    description: >-
      Users and groups by name, with their rights as letters (C(rlidwka)) or as C(read), C(write) (all but C(a)) or
      C(all).
    type: dict
    required: true
  denies:
    description: The same for what a name must not do, whatever else it is allowed.
    type: dict
    default: {}
  cell:
    description: The cell.
    type: str
    required: true
  realm:
    description: The Kerberos realm of its users. Without, the cell in upper case.
    type: str
  principal:
    description: Who changes the list.
    type: str
    required: true
  keytab:
    description: A keytab with keys of O(principal), in base64.
    type: str
    required: true
requirements: [attr, kafs-client, keyutils, krb5-user]
attributes:
  check_mode:
    support: full
    description: Says what would change. Names that the cell lacks are found by the real run alone.
  diff_mode:
    support: full
    description: Shows names with their rights.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Let mail nodes alone read and write users' mail
  afs_acl:
    path: /srv/mail/a
    allows: {system:administrators: all, mailservers: write}
    cell: example.org
    principal: admin@EXAMPLE.ORG
    keytab: "{{ hostvars['kdc1'].administrator.keytabs['admin@EXAMPLE.ORG'] }}"

- name: The same, of a volume that the cluster mounts somewhere
  afs_acl:
    volume: mail.be1
    allows: {system:administrators: all, mailservers: write}
    cell: example.org
    principal: admin@EXAMPLE.ORG
    keytab: "{{ hostvars['kdc1'].administrator.keytabs['admin@EXAMPLE.ORG'] }}"
"""

RETURN = r"""
allows:
  description: Who may do what, as it was found.
  returned: success
  type: dict
  sample: {system:administrators: rlidwka, mailservers: rlidwk}
denies:
  description: Who may not, as it was found.
  returned: success
  type: dict
"""

import base64
import binascii
import os

from ansible.module_utils.afs import AccessList, AfsError, read_access_list, wanted_access_list
from ansible.module_utils.basic import AnsibleModule

# In a session of its own, where nobody else has the token, or sees mounts. Reads the list; sets it if there is one more
# word.
SCRIPT = """
set -eu
keytab=$1 principal=$2 cell=$3 realm=$4 volume=$5 folder=$6
kinit -k -t "$keytab" "$principal"
aklog-kafs "$cell" "$realm" > /dev/null
kdestroy
[ -z "$volume" ] || mount -t afs -o flock=local "%$cell:$volume" "$folder"
[ -d "$folder" ] || { echo "there is no such folder" >&2; exit 1; }
if [ $# = 6 ]; then
  exec getfattr --absolute-names --only-values --name afs.acl -- "$folder"
fi
exec setfattr --name afs.acl --value "$7" -- "$folder"
"""


class Client:
    """Somebody's view of the cell, through this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Write the keys where kinit can read them, for as long as the module runs."""
        params = self.params = module.params
        self.module = module
        self.keytab = os.path.join(module.tmpdir, "keytab")
        with open(os.open(self.keytab, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(base64.b64decode(params["keytab"], validate=True))
        realm, folder = params["realm"] or params["cell"].upper(), params["path"]
        if params["volume"]:
            folder = os.path.join(module.tmpdir, "volume")
            os.mkdir(folder)
        self.argv = [params["principal"], params["cell"], realm, params["volume"] or "", folder]

    def run(self, *words: str) -> str:
        """Run the script; return what it prints."""
        alone = ["unshare", "--mount", "keyctl", "session", "-"]
        argv = [*alone, "sh", "-c", SCRIPT, "afs_acl", self.keytab, *self.argv, *words]
        tickets = f"FILE:{self.module.tmpdir}/tickets"
        code, out, err = self.module.run_command(argv, environ_update={"LC_ALL": "C", "KRB5CCNAME": tickets})
        if code:
            said = " ".join(line for line in err.splitlines() if not line.startswith("Joined session keyring"))
            raise AfsError(f"{self.params['volume'] or self.params['path']}: {said}{reason(said)}")
        return out

    def present(self) -> AccessList:
        """Return the folder's list."""
        return read_access_list(self.run())

    def set(self, wanted: AccessList) -> None:
        """Replace the folder's list."""
        self.run("0x" + wanted.text().encode().hex())


def reason(said: str) -> str:
    """Return what an error of setfattr or getfattr means here."""
    if said.startswith("setfattr") and ("Remote I/O error" in said or "Invalid argument" in said):
        return ": most likely the cell lacks one of the names (afs_principal makes users and groups)"
    if "Permission denied" in said:
        return ": only who has the right a there, or is in system:administrators, may"
    if said.startswith("mount"):
        return ": the cell has no such volume, or its servers do not answer"
    return ": it is nothing in AFS" if "not supported" in said or "No such attribute" in said else ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "volume": {"type": "str"},
            "allows": {"type": "dict", "required": True},
            "denies": {"type": "dict", "default": {}},
            "cell": {"type": "str", "required": True},
            "realm": {"type": "str"},
            "principal": {"type": "str", "required": True},
            "keytab": {"type": "str", "required": True, "no_log": True},
        },
        required_one_of=[("path", "volume")],
        mutually_exclusive=[("path", "volume")],
        supports_check_mode=True,
    )
    try:
        wanted = wanted_access_list(module.params["allows"], module.params["denies"])
        client = Client(module)
        present = client.present()
        changed = present != wanted
        if changed and not module.check_mode:
            client.set(wanted)
    except (AfsError, binascii.Error) as error:
        module.fail_json(msg=f"{error}. Nothing was changed")
    module.exit_json(
        changed=changed,
        allows=present.allows,
        denies=present.denies,
        diff={"before": present.shown(), "after": wanted.shown()},
    )


if __name__ == "__main__":
    main()
