"""What a scenario is made of: while none of it changes, it need not run again."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
# What every one is made of, beside itself.
COMMON = ["ansible.cfg", ".config", "pyproject.toml", "molecule/lab"]
# What an architecture's is made of, too, beside its inventory.
OF_ARCHITECTURES = [
    *("playbooks/group_vars", "playbooks/tasks"),
    *("tests/architecture", "tests/ledger", "tests/proofs/__init__.py", "tests/proofs/__main__.py"),
]
# What it may be made of: a part counts when something that counts names it, in this way.
PARTS = {
    "filter_plugins": r"(\|\s*|\bmap\('|\bfilter_plugins(\.| import (\w+, )*)){name}\b",
    "library": r"^ *(- )?{name}:",
    "module_utils": r"\bmodule_utils(\.| import (\w+, )*){name}\b",
    "molecule/shared": r"\bshared([/.]| import (\w+, )*){name}\b",
    "playbooks": r'(\bimport_playbook: \S*|"playbooks/|[=,] "){name}\.yml\b',
    "roles": r"(\brole:|\bname:|_roles: \[|\broles/)\s*{name}(?![\w.-])",
    "tests/proofs": r"(\bPROOFS: (\w+ )*|\bfrom \.){name}\b",
}
STORE = re.compile(r"^mail_store: (\w+)$", re.MULTILINE)
# What chooses a front end: the inventory, or a proof that changes it.
FRONT_END = re.compile(r"\bmail_front_end: (\w+)|\bto_(\w+)")
SITE = "playbooks/site.yml"
GROUP_VARS = re.compile(r"playbooks/group_vars/(\w+)")


def inputs(scenario: str, architecture: str | None = None, root: Path = ROOT) -> str:
    """Return a hash over all that a scenario's result depends on; most roles' scenarios have no architecture."""
    digest = hashlib.sha256()
    for name, text in sorted(made_of(scenario, architecture, root).items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(text).digest())
    return digest.hexdigest()


def made_of(scenario: str, architecture: str | None = None, root: Path = ROOT) -> dict[str, bytes]:
    """Return what a scenario uses of the project's files, by their names."""
    own = [
        f"molecule/{scenario}",
        *COMMON,
        *([f"inventories/{architecture}", *OF_ARCHITECTURES] if architecture else []),
    ]
    listed = subprocess.run(
        ["git", "ls-files", "-z", *own, *PARTS], cwd=root, capture_output=True, text=True, check=True
    )
    files = {name: (root / name).read_bytes() for name in listed.stdout.split("\0") if (root / name).is_file()}
    if architecture:
        files = concerned(files, architecture, scenario)
    return {name: files[name] for name in used(files, own, store_of(architecture, files) if architecture else None)}


def store_of(architecture: str, files: Mapping[str, bytes]) -> str:
    """Return the store that an architecture's inventory sets."""
    inventory = f"inventories/{architecture}/"
    stores = {
        found[1]
        for name, text in files.items()
        if name.startswith(inventory) and (found := STORE.search(text.decode()))
    }
    if len(stores) != 1:
        raise SystemExit(f"{inventory} must set one mail_store, found: {', '.join(sorted(stores)) or 'none'}")
    return stores.pop()


def concerned(files: Mapping[str, bytes], architecture: str, scenario: str) -> dict[str, bytes]:
    """Return the files without what is for groups that an inventory lacks, or for front ends that nothing chooses."""
    inventory = f"inventories/{architecture}/"
    groups = {"all", *groups_of(yaml.safe_load(files[f"{inventory}hosts.yml"]))}
    own = [text.decode() for name, text in files.items() if name.startswith((inventory, f"molecule/{scenario}/"))]
    front_ends = {name for text in own for found in FRONT_END.findall(text) for name in found if name}
    kept = {name: text for name, text in files.items() if not (found := GROUP_VARS.match(name)) or found[1] in groups}
    return {**kept, SITE: site_of(files[SITE].decode(), groups, front_ends).encode()}


def groups_of(described: Mapping[str, Any]) -> set[str]:
    """Return the names of an inventory's groups."""
    children = [groups_of(group.get("children") or {}) for group in described.values() if group]
    return set(described).union(*children)


def site_of(text: str, groups: set[str], front_ends: set[str]) -> str:
    """Return site.yml without plays for other groups and tasks for other front ends."""
    plays = []
    for play in re.split(r"^(?=- name:)", text, flags=re.MULTILINE):
        hosts = re.search(r"^  hosts: (.+)$", play, re.MULTILINE)
        if hosts and not groups & set(hosts[1].split(":")):
            continue
        tasks = re.split(r"^(?= +- name:)", play, flags=re.MULTILINE)
        only = [re.search(r"^ +when: mail_front_end == '(\w+)'$", task, re.MULTILINE) for task in tasks]
        plays += [task for task, one in zip(tasks, only, strict=True) if not one or one[1] in front_ends]
    return "".join(plays)


def used(files: Mapping[str, bytes], own: Sequence[str], store: str | None) -> set[str]:
    """Return the names of the files that a scenario uses: its own, and what these name; without a store, none's."""
    parts: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    found = set()
    for name in files:
        # store_drbd and store_gfs2 are drbd_gfs2's, too.
        kind, *words = Path(name).stem.split("_")
        if kind == "store" and not set(words) <= set((store or "").split("_")):
            continue
        if any(name == path or name.startswith(f"{path}/") for path in own):
            found.add(name)
            continue
        place = next(place for place in PARTS if name.startswith(f"{place}/"))
        part = Path(name.removeprefix(f"{place}/").partition("/")[0]).stem
        called = (part, *(filters_of(files[name]) if place == "filter_plugins" else []))
        parts.setdefault((place, called), []).append(name)
    unread = set(found)
    while unread:
        named = [part for part in parts if any(is_named(*part, files[name]) for name in unread)]
        unread = {name for part in named for name in parts.pop(part)}
        found |= unread
    return found


def filters_of(plugin: bytes) -> list[str]:
    """Return the names of the filters that a plugin has."""
    functions = [node for node in ast.walk(ast.parse(plugin)) if isinstance(node, ast.FunctionDef)]
    named = [node for function in functions if function.name == "filters" for node in ast.walk(function)]
    keys = [key for node in named if isinstance(node, ast.Dict) for key in node.keys]
    return [str(key.value) for key in keys if isinstance(key, ast.Constant)]


@functools.cache  # most scenarios are made of the same files
def is_named(kind: str, called: tuple[str, ...], text: bytes) -> bool:
    """Tell whether a text uses a part, which may have several names."""
    return any(
        name.encode() in text and re.search(PARTS[kind].format(name=name).encode(), text, re.MULTILINE)
        for name in called
    )
