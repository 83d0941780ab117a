"""Sessions are ended until none is left; what does not answer, or does not end, is no success."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from library import mail_sessions
from module_utils.mail_route import shard_of

ANN, BOB, CID = (f"{name}@example.org" for name in ("ann", "bob", "cid"))
# A backend's sessions are the lines of a file beside its configuration; without that file it does not answer.
DOVEADM = """#!/bin/sh
sessions="$2.sessions"
[ -e "$sessions" ] || exit 75
case "$*" in
*" kick "*) for user; do :; done; [ "$user" = "%(stays)s" ] || sed -i "/^$user$/d" "$sessions" ;;
*) awk 'BEGIN {printf "["}
   {printf "%%s{\\"username\\":\\"%%s\\",\\"service\\":\\"imap\\",\\"pid\\":1,\\"ip\\":\\"::1\\"}",
    (NR > 1 ? "," : ""), $1}
   END {print "]"}' "$sessions" ;;
esac
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has backends run on this node, each with users' sessions; None does not answer."""

    def make(backends: dict[str, list[str] | None], stays: str = "") -> Path:
        program = tmp_path / "doveadm"
        program.write_text(DOVEADM % {"stays": stays})
        program.chmod(0o755)
        for name, users in backends.items():
            (tmp_path / f"{name}.pid").touch()
            if users is not None:
                (tmp_path / f"{name}.conf.sessions").write_text("".join(f"{user}\n" for user in users))
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(mail_sessions, "INSTANCE", f"{tmp_path}/{{}}.pid")
        monkeypatch.setattr(mail_sessions, "CONFIG", f"{tmp_path}/{{}}.conf")
        return tmp_path

    return make


def run(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """Run the module on both backends; return what it says."""
    with patch_module_args({"backends": ["be1", "be2"], **options}), pytest.raises(SystemExit):
        mail_sessions.main()
    return json.loads(capsys.readouterr().out)


def test_sessions_of_those_who_are_meant_end_on_all_backends(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = node({"be1": [ANN, BOB, CID, ANN], "be2": [ANN, BOB]})
    said = run(capsys, users=[ANN.upper()], shards=[shard_of(BOB), shard_of(CID)], without=[CID])
    assert (said["changed"], said["ended"]) == (True, [ANN, BOB])
    assert (folder / "be1.conf.sessions").read_text() == f"{CID}\n"
    assert (folder / "be2.conf.sessions").read_text() == ""
    assert run(capsys, users=[ANN])["changed"] is False


def test_check_mode_ends_nothing(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = node({"be1": [ANN]})  # be2 runs elsewhere
    assert run(capsys, users=[ANN], _ansible_check_mode=True)["ended"] == [ANN]
    assert (folder / "be1.conf.sessions").read_text() == f"{ANN}\n"


def test_a_session_that_stays_is_a_failure(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node({"be1": [ANN], "be2": [BOB]}, stays=BOB)
    said = run(capsys, users=[ANN, BOB], seconds=0.1)
    assert said["failed"] and f"{BOB} on be2" in said["msg"] and ANN not in said["msg"]


def test_a_backend_that_runs_and_says_nothing_may_have_some(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node({"be1": [], "be2": None})
    said = run(capsys, users=[ANN], seconds=0.1)
    assert said["failed"] and "be2, which does not answer" in said["msg"]
