#!/usr/bin/python
"""Make a directory that nobody can write to while nothing is mounted on it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mountpoint
short_description: Make a directory that nobody can write to while nothing is mounted on it
description:
  - Mail that is written below a mount that is missing would vanish behind it later.
  - Works on the directory below, whatever is mounted there at the moment.
options:
  path:
    description: The directory.
    type: path
    required: true
requirements: [e2fsprogs, util-linux]
notes:
  - Root is stopped by the attribute C(i) of the directory, where its file system has attributes.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Dovecluster
"""

EXAMPLES = r"""
- name: Let nobody write where nothing is mounted
  mountpoint:
    path: /srv/mail
"""

RETURN = r"""
state:
  description: What the directory is, below all mounts.
  returned: always
  type: str
  sample: directory, mode 0, owner 0:0, immutable
"""

from ansible.module_utils.basic import AnsibleModule

# Both run in mounts of their own, where they take away what is mounted on the directory. has_attributes is false where
# the file system has none; any other trouble with them ends the script.
BARE = """
export LC_ALL=C
has_attributes() {
  said=$(lsattr -d "$1" 2>&1) && return
  case $said in *"not supported"* | *"Inappropriate ioctl"*) return 1 ;; esac
  echo "$said" >&2
  exit 1
}
while mountpoint -q "$1"; do umount --lazy "$1"; done
"""
# Prints what the directory is in a line, and some of what is in it.
LOOK = """
[ -e "$1" ] || { echo absent; exit; }
flags='no attributes'
if has_attributes "$1"; then
  case ${said%% *} in *i*) flags=immutable ;; *) flags=mutable ;; esac
fi
echo "$(stat --format='%F, mode %a, owner %u:%g' "$1"), $flags"
[ ! -d "$1" ] || ls -A "$1" | head -n 3
"""
MAKE = """
mkdir -p "$1"
if has_attributes "$1"; then chattr -i "$1"; fi
chown 0:0 "$1"
chmod 0 "$1"
if has_attributes "$1"; then chattr +i "$1"; fi
"""
SAFE = "directory, mode 0, owner 0:0, "
GOOD = (f"{SAFE}immutable", f"{SAFE}no attributes")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    path = module.params["path"]

    def run(script: str) -> list[str]:
        private = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", BARE + script, "sh", path]
        code, output, error = module.run_command(private)
        if code:
            module.fail_json(msg=f"{path} cannot be made a mountpoint: {error.strip()}")
        return output.splitlines()

    if not path.startswith("/") or path == "/":
        module.fail_json(msg=f"path is {path}; wanted an absolute path below /. Nothing was changed")
    before, *files = run(LOOK)
    if before != "absent" and not before.startswith("directory,"):
        kind = before.partition(",")[0]
        module.fail_json(msg=f"{path} is no directory, but a {kind}: move it away. Nothing was changed")
    if files:
        module.fail_json(
            msg=f"{path} holds files ({', '.join(files)}), which would vanish behind a mount: move them away."
            " Nothing was changed"
        )
    after = before
    if before not in GOOD:
        after = GOOD[0] if module.check_mode else (run(MAKE), run(LOOK)[0])[1]
    module.exit_json(changed=after != before, state=after, diff={"before": f"{before}\n", "after": f"{after}\n"})


if __name__ == "__main__":
    main()
