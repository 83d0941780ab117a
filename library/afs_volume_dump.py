#!/usr/bin/python
DOCUMENTATION = r"""
---
module: afs_volume_dump
short_description: Writes a volume of an AFS cell to a file
description:
  - Dumps a clone, so that the volume stays in use. M(afs_volume) makes a volume from it.
  - The file appears when it is whole, in place of one of that name, and only root reads it.
options:
  name:
    description: The volume. C(NAME.backup) gives what its backup clone holds.
    type: str
    required: true
  path:
    description: The file.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Sees that the volume is there.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Save a user's volume
  afs_volume_dump:
    name: mail.ann
    path: /var/backups/afs/mail.ann.dump
"""

RETURN = r"""
size:
  description: Bytes of the file.
  returned: success
  type: int
"""

import os
import tempfile

from ansible.module_utils.afs import dump_problem
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "path": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    name, path = module.params["name"], module.params["path"]
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        module.fail_json(msg=f"dump of {name}: the folder {folder} does not exist")
    code, out, err = module.run_command(["vos", "examine", name, "-noresolve", "-localauth"])
    if code != 0:
        module.fail_json(msg=f"dump of {name}: {' '.join((out + err).split())}")
    size = 0
    if not module.check_mode:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")  # 0600
        os.close(handle)
        try:
            clone = [] if name.endswith((".backup", ".readonly")) else ["-clone"]
            code, out, err = module.run_command(["vos", "dump", name, "-file", temporary, *clone, "-localauth"])
            if code != 0:
                module.fail_json(msg=f"dump of {name}: {' '.join((out + err).split())}")
            with open(temporary, "rb") as file:
                begin = file.read(16)
                size = os.path.getsize(temporary)
                file.seek(max(0, size - 16))
                problem = dump_problem(begin, file.read())
                os.fsync(file.fileno())
            if problem:
                module.fail_json(msg=f"dump of {name}: what was written {problem}")
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
    module.exit_json(changed=True, size=size)


if __name__ == "__main__":
    main()
