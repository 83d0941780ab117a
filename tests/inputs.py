"""What an architecture's scenario is made of: while none of it changes, it need not run again."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What every one is made of, beside its inventory and itself.
COMMON = [
    *("ansible.cfg", ".config", "pyproject.toml", "filter_plugins", "playbooks/group_vars", "playbooks/tasks"),
    *("molecule/lab", "molecule/shared", "tests/architecture", "tests/ledger"),
    *("tests/proofs/__init__.py", "tests/proofs/__main__.py"),
]
# What it may be made of: a part counts when something that counts names it, in this way.
PARTS = {
    "library": r"^\s*(- )?{name}:",
    "module_utils": r"\bmodule_utils(\.| import (\w+, )*){name}\b",
    "playbooks": r"\b{name}\.yml\b",
    "roles": r"(\brole:|\bname:|_roles: \[|\broles/)\s*{name}\b",
    "tests/proofs": r"(\bPROOFS: (\w+ )*|\bfrom \.){name}\b",
}
STORE = re.compile(r"^mail_store: (\w+)$", re.MULTILINE)


def inputs(architecture: str, scenario: str, root: Path = ROOT) -> str:
    """Return a hash over all files that the result of an architecture's scenario depends on."""
    inventory = f"inventories/{architecture}"
    own = [inventory, f"molecule/{scenario}"]
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
    parts: dict[tuple[str, str], list[str]] = {}
    found = set()
    for name in files:
        # store_drbd is used by drbd_gfs2, too.
        if Path(name).stem.startswith("store_") and not f"store_{store}".startswith(Path(name).stem):
            continue
        kind = next((kind for kind in PARTS if name.startswith(f"{kind}/")), None)
        if kind and not name.startswith(tuple(COMMON)):
            part = Path(name.removeprefix(f"{kind}/").partition("/")[0]).stem
            parts.setdefault((kind, part), []).append(name)
        else:
            found.add(name)
    unread = set(found)
    while unread:
        text = b"\n".join(files[name] for name in sorted(unread)).decode(errors="replace")
        named = [part for part in parts if is_named(*part, text)]
        unread = {name for part in named for name in parts.pop(part)}
        found |= unread
    return found


def is_named(kind: str, part: str, text: str) -> bool:
    """Tell whether a text uses a part."""
    return bool(re.search(PARTS[kind].format(name=part), text, re.MULTILINE))
