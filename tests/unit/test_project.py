"""What every role and module must have."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted((ROOT / "library").glob("*.py"))


def load(path):
    return yaml.safe_load(path.read_text()) or {}


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_role_variables_are_prefixed_and_typed(role):
    defaults = load(role / "defaults" / "main.yml")
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    for name in defaults:
        assert name.startswith((f"{role.name}_", f"__{role.name}_")), f"{name} does not start with the role's name"
    public = {name for name in defaults if not name.startswith("__")}
    assert public <= set(options), "defaults without an argument spec"
    for name, option in options.items():
        assert option.get("type"), f"{name} has no type"
        assert option.get("description"), f"{name} has no description"


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_role_has_a_scenario(role):
    named = re.compile(rf"\b{role.name}\b")
    playbooks = [path for path in (ROOT / "molecule").glob("*/*.yml") if path.name != "molecule.yml"]
    assert any(named.search(playbook.read_text()) for playbook in playbooks), "no scenario converges this role"


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_release_differences_cover_both_releases(role):
    found = {path.name for path in (role / "vars").glob("Debian-*.yml")}
    assert found in (set(), {"Debian-12.yml", "Debian-13.yml"})


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_module_is_documented(module):
    texts = {
        target.id: node.value.value
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    documentation = yaml.safe_load(texts["DOCUMENTATION"])
    assert documentation["module"] == module.stem
    assert yaml.safe_load(texts["EXAMPLES"])
    assert yaml.safe_load(texts["RETURN"])


def test_inventories_hold_no_secret():
    for path in (ROOT / "inventories").rglob("*"):
        assert path.name != "secrets.yml"
        assert path.suffix not in (".pem", ".key")
