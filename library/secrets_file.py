#!/usr/bin/python
"""Generate a site's secrets once, into a file of variables."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: secrets_file
short_description: Generate a site's secrets once, into a file of variables
description:
  - Appends each secret that the file lacks, with its comment. What the file holds already stays, to the letter.
  - Neither arguments nor results carry a secret, so nothing can be printed at any verbosity.
  - A file encrypted by ansible-vault is not changed. If it lacks a secret, the module fails and says which.
options:
  path:
    description: The file; its folder is made if missing. It gets mode 0600.
    type: path
    required: true
  secrets:
    description: Secrets wanted, by variable name.
    type: dict
    required: true
    suboptions:
      kind:
        description: C(password) of letters and digits, random bytes in C(base64), or C(private_key) (PEM, P-384).
        type: str
        choices: [password, base64, private_key]
        required: true
      length:
        description: Characters of a password (32 if not given), bytes of a base64 secret (32 if not given).
        type: int
      comment:
        description: What it is for; written above it.
        type: str
  defined:
    description: Names of variables that the inventory defines already, wherever; they are not generated.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing, says what it would add.
  diff_mode:
    support: full
    description: Shows names, never values.
author: Dovecluster
requirements: [cryptography (for private keys)]
"""

EXAMPLES = r"""
- name: Generate what is missing
  secrets_file:
    path: "{{ inventory_dir }}/group_vars/all/secrets.yml"
    secrets:
      mail_probe_password: {kind: password, comment: The account that health checks log in with.}
      corosync_authkey: {kind: base64, length: 256}
  delegate_to: localhost
"""

RETURN = r"""
added:
  description: Names of the secrets that were generated.
  returned: always
  type: list
  elements: str
path:
  description: The file.
  returned: always
  type: str
"""

import base64
import os
import re
import secrets as random_secrets
import string
import tempfile
import textwrap
from typing import Any

import yaml
from ansible.module_utils.basic import AnsibleModule

LETTERS = string.ascii_letters + string.digits
HEAD = """\
---
# Secrets of this site, made by playbooks/secrets.yml. Keep this file out of reach of others;
# `ansible-vault encrypt` works on it.
"""
NAME = re.compile(r"^[a-z_][a-z0-9_]*$")


class KeysOnly(yaml.SafeLoader):
    """Reads names of variables; values with tags such as !vault are not looked at."""


KeysOnly.add_multi_constructor("!", lambda loader, suffix, node: None)


def is_encrypted(text: str) -> bool:
    """Tell whether ansible-vault encrypted the file as a whole."""
    return text.startswith("$ANSIBLE_VAULT;")


def names_in(text: str) -> set[str]:
    """Return the names of the variables in the text of a YAML file."""
    data = yaml.load(text, Loader=KeysOnly)
    if data is None:
        return set()
    if not isinstance(data, dict):
        raise ValueError(f"expected 'name: value' lines, found a {type(data).__name__}")
    return set(data)


def generate(kind: str, length: int | None) -> str:
    """Return a new secret."""
    if kind == "password":
        return "".join(random_secrets.choice(LETTERS) for _ in range(length or 32))
    if kind == "base64":
        return base64.b64encode(random_secrets.token_bytes(length or 32)).decode()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def entry(name: str, value: str, comment: str | None) -> str:
    """Return the lines that define one secret."""
    lines = textwrap.wrap(comment or "", 110, initial_indent="# ", subsequent_indent="# ")
    if "\n" in value:
        lines += [f"{name}: |", textwrap.indent(value.rstrip("\n"), "  ")]
    elif len(value) > 80:
        lines += [f"{name}: >-", f"  {value}"]
    else:
        lines += [f'{name}: "{value}"']
    return "\n" + "\n".join(lines) + "\n"


def extended(text: str, wanted: dict[str, dict[str, Any]], missing: list[str]) -> str:
    """Return the file's text with the missing secrets generated and appended."""
    # A file that holds nothing but `{}` or an end marker can't be appended to.
    body = text if text.strip() not in ("", "---", "{}", "--- {}") else HEAD
    if not body.endswith("\n"):
        body += "\n"
    for name in missing:
        item = wanted[name]
        body += entry(name, generate(item["kind"], item.get("length")), item.get("comment"))
    return body


def write(path: str, text: str) -> None:
    """Replace the file at once; nobody else can read it at any time."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".secrets.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            # Descriptions of secrets, not secrets.
            "secrets": {"type": "dict", "required": True, "no_log": False},
            "defined": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    path, wanted = os.path.abspath(module.params["path"]), module.params["secrets"]
    for name, item in wanted.items():
        if not NAME.match(name):
            module.fail_json(msg=f"secrets: '{name}' is no variable name; use a-z, 0-9 and _")
        if not isinstance(item, dict) or item.get("kind") not in ("password", "base64", "private_key"):
            module.fail_json(msg=f"secrets: '{name}' needs kind: password, base64 or private_key; found {item!r}")

    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
    known = set(module.params["defined"])
    try:
        if not is_encrypted(text):
            known |= names_in(text)
    except (ValueError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)  # the error's own text may quote a secret
        detail = f"line {where.line + 1}" if where else str(error)
        module.fail_json(msg=f"{path} is not a YAML file of variables ({detail}); repair it, nothing was changed")

    missing = [name for name in wanted if name not in known]
    if missing and is_encrypted(text):
        module.fail_json(
            msg=f"{path} is encrypted and these secrets are not defined: {', '.join(missing)}. "
            "Add them with `ansible-vault edit`, or `ansible-vault decrypt` it, run playbooks/secrets.yml again "
            "and `ansible-vault encrypt` it. (If it does hold them, give the vault password to this run.)"
        )
    loose = os.path.exists(path) and os.stat(path).st_mode & 0o077 != 0
    changed = bool(missing) or loose
    if changed and not module.check_mode:
        if missing:
            write(path, extended(text, wanted, missing))
        os.chmod(path, 0o600)
    module.exit_json(
        changed=changed,
        added=missing,
        path=path,
        diff={
            "before_header": path,
            "after_header": path,
            "before": "",
            "after": "".join(f"{name}: (hidden)\n" for name in missing) + ("mode: 0600\n" if loose else ""),
        },
    )


if __name__ == "__main__":
    main()
