"""What an architecture's scenarios are made of: while none of it changes, they need not run again."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What every architecture is made of, beside its own inventory and scenarios.
COMMON = [
    *("ansible.cfg", ".config", "pyproject.toml", "filter_plugins", "playbooks/group_vars", "playbooks/tasks"),
    *("molecule/lab", "molecule/shared", "tests/architecture", "tests/ledger", "tests/proofs"),
]
# What it may be made of: a part counts when something that counts names it.
PARTS = ["library", "module_utils", "playbooks", "roles"]
STORE = re.compile(r"^mail_store: (\w+)$", re.MULTILINE)


def inputs(architecture: str, scenarios: list[str], root: Path = ROOT) -> str:
    """Return a hash over all files that the result of an architecture's scenarios depends on."""
    inventory = f"inventories/{architecture}"
    own = [inventory, *(f"molecule/{scenario}" for scenario in scenarios)]
    listed = subprocess.run(
        ["git", "ls-files", "-z", *COMMON, *PARTS, *own], cwd=root, capture_output=True, text=True, check=True
    )
    files = {name: (root / name).read_bytes() for name in listed.stdout.split("\0") if (root / name).is_file()}
    stores = {
        found[1]
        for name, text in files.items()
        if name.startswith(inventory) and (found := STORE.search(text.decode()))
    }
    if len(stores) != 1:
        raise SystemExit(f"{inventory} must set one mail_store, found: {', '.join(sorted(stores)) or 'none'}")
    digest = hashlib.sha256()
    for name in sorted(used(files, stores.pop())):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def used(files: Mapping[str, bytes], store: str) -> set[str]:
    """Return the names of those files that an architecture with this store uses."""
    parts: dict[str, list[str]] = {}
    found = set()
    for name in files:
        top, _, rest = name.partition("/")
        if any(name.startswith(place) for place in COMMON) or top not in PARTS:
            if not Path(name).stem.startswith("store_") or Path(name).stem == f"store_{store}":
                found.add(name)
        else:
            parts.setdefault(f"{top}/{Path(rest.partition('/')[0]).stem}", []).append(name)
    unread = set(found)
    while unread:
        text = b"\n".join(files[name] for name in sorted(unread)).decode(errors="replace")
        named = [part for part in parts if is_named(part, text)]
        unread = {name for part in named for name in parts.pop(part)}
        found |= unread
    return found


def is_named(part: str, text: str) -> bool:
    """Tell whether a text uses a playbook, a role, a module or what modules share."""
    kind, _, name = part.partition("/")
    pattern = {
        "roles": rf"(\brole:|\bname:|^\s*-|\broles/)\s*{name}\b",
        "library": rf"^\s*(- )?{name}:",
        "playbooks": rf"\b{name}\.yml\b",
        "module_utils": rf"\bmodule_utils(\.| import (\w+, )*){name}\b",
    }[kind]
    return bool(re.search(pattern, text, re.MULTILINE))
