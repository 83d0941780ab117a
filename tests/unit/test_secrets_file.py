"""The secrets file grows by what it lacks; what it holds stays."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from library import secrets_file

WANTED = {
    "a_password": {"kind": "password", "comment": "Opens a door."},
    "a_key": {"kind": "base64", "length": 256},
    "ca_key": {"kind": "private_key"},
}
MODULE = Path(secrets_file.__file__)


def run(path: Path, check: bool = False, **options: object) -> dict:
    arguments = {"path": str(path), "secrets": WANTED, "_ansible_check_mode": check, **options}
    result = subprocess.run(
        [sys.executable, str(MODULE)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(result.stdout)


def test_makes_each_kind_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "group_vars" / "all" / "secrets.yml"
    first = run(path)
    assert first["changed"] and first["added"] == list(WANTED)
    text = path.read_text()
    values = yaml.safe_load(text)
    assert re.fullmatch(r"[A-Za-z0-9]{32}", values["a_password"])
    assert len(base64.b64decode(values["a_key"])) == 256
    assert values["ca_key"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert "# Opens a door." in text
    assert os.stat(path).st_mode & 0o777 == 0o600
    second = run(path)
    assert not second["changed"] and path.read_text() == text


def test_no_secret_in_the_result(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    result = json.dumps(run(path, _ansible_diff=True, _ansible_verbosity=4))
    for value in yaml.safe_load(path.read_text()).values():
        assert value.strip() not in result
        assert value.split("\n")[1 if "\n" in value else 0] not in result


def test_existing_lines_stay_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    before = (
        "# mine\nfencing_ipmi_password: x  # from the BMC\na_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\n"
    )
    path.write_text(before)
    assert run(path)["added"] == ["a_key", "ca_key"]
    assert path.read_text().startswith(before)


@pytest.mark.parametrize("before", ["", "---\n", "{}\n", "---\n# only a comment", "a: 1"])
def test_result_is_yaml_whatever_was_there(tmp_path: Path, before: str) -> None:
    path = tmp_path / "secrets.yml"
    path.write_text(before)
    run(path)
    assert set(WANTED) <= set(yaml.safe_load(path.read_text()))


def test_defined_elsewhere_is_not_generated(tmp_path: Path) -> None:
    assert run(tmp_path / "s.yml", defined=["a_password", "a_key"])["added"] == ["ca_key"]


def test_check_mode_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.yml"
    result = run(path, check=True)
    assert result["changed"] and result["added"] == list(WANTED) and not path.exists()


def test_loose_mode_is_tightened(tmp_path: Path) -> None:
    path = tmp_path / "s.yml"
    run(path)
    path.chmod(0o644)
    assert run(path)["changed"]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_encrypted_file_that_lacks_names(tmp_path: Path) -> None:
    path = tmp_path / "s.yml"
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n3132\n")
    result = run(path, defined=["a_key"])
    assert result["failed"] and "a_password, ca_key" in result["msg"] and "ansible-vault edit" in result["msg"]
    path.chmod(0o600)
    assert not run(path, defined=list(WANTED))["changed"]


@pytest.mark.parametrize("text", ["- a\n", "a_password: 'open\nb: [\n"])
def test_broken_file_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yml"
    path.write_text(text)
    result = run(path)
    assert result["failed"] and "nothing was changed" in result["msg"] and "open" not in result["msg"]
    assert path.read_text() == text


def test_unknown_kind_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "s.yml", secrets={"x": {"kind": "poem"}})
    assert result["failed"] and "'x' needs kind" in result["msg"]
