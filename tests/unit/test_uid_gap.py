"""The gap in UIDs at a takeover: which UID, for whom, in which order."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "roles/dovecot_replication/files/dovecot_uid_gap.py"
spec = importlib.util.spec_from_file_location("dovecot_uid_gap", PATH)
assert spec and spec.loader
gap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gap)


def test_the_gap_begins_above_the_highest_uid_of_the_batch():
    rows = [
        {"username": "a@x", "mailbox": "INBOX", "uidnext": "7"},
        {"username": "b@x", "mailbox": "INBOX", "uidnext": "4000"},
        {"username": "b@x", "mailbox": "a folder", "uidnext": "1"},
    ]
    assert gap.plan(json.dumps(rows)) == (4000 + gap.GAP, {"INBOX": ["a@x", "b@x"], "a folder": ["b@x"]})


def test_nothing_is_planned_when_nothing_was_answered():
    assert gap.plan("") == (gap.GAP, {})


def test_users_synced_last_come_first_and_users_without_mail_not_at_all(tmp_path):
    for moment, user in enumerate(("old", "new")):
        home = tmp_path / "x" / user
        home.mkdir(parents=True)
        os.utime(home, (1000 + moment, 1000 + moment))
    assert gap.by_last_sync(["old@x", "never@x", "new@x"], tmp_path) == ["new@x", "old@x"]


def test_batches_leave_nobody_out():
    users = [str(number) for number in range(2 * gap.BATCH + 1)]
    cut = list(gap.batches(users))
    assert [len(batch) for batch in cut] == [gap.BATCH, gap.BATCH, 1]
    assert [user for batch in cut for user in batch] == users


@pytest.mark.parametrize(("partition", "alone"), [("mail2 \n", True), ("mail1 mail2 \n", False)])
def test_a_node_is_alone_when_it_is_all_of_its_partition(monkeypatch, partition, alone):
    done = subprocess.CompletedProcess([], 0, partition)
    monkeypatch.setattr(gap.subprocess, "run", lambda *_, **__: done)
    assert gap.alone() == alone


@pytest.mark.parametrize(("failing", "exit_code", "raised"), [("", 0, 2), ("Trash", 1, 1)])
def test_a_mailbox_without_a_gap_is_told(monkeypatch, tmp_path, capsys, failing, exit_code, raised):
    (tmp_path / "x" / "a").mkdir(parents=True)
    status = json.dumps([{"username": "a@x", "mailbox": name, "uidnext": "5"} for name in ("INBOX", "Trash")])

    def doveadm(*arguments, users=()):
        if arguments[0] == "user":
            return True, "a@x\n"
        assert users == ["a@x"]
        return (True, status) if "status" in arguments else (arguments[-1] != failing, "")

    monkeypatch.setattr(gap, "alone", lambda: True)
    monkeypatch.setattr(gap, "doveadm", doveadm)
    monkeypatch.setattr(gap, "CATCH_UP", tmp_path / "catch-up")
    assert gap.main(str(tmp_path)) == exit_code
    shown = capsys.readouterr()
    assert shown.out == f"{raised} mailboxes of 1 users go on behind a gap in their UIDs\n"
    assert bool(shown.err) == bool(failing)


@pytest.mark.parametrize(("alone", "noted"), [(True, ["a@x", "b@x"]), (False, [])])
def test_all_users_are_noted_for_catch_up_where_the_other_node_is_gone(monkeypatch, tmp_path, alone, noted):
    folder = tmp_path / "catch-up"
    folder.mkdir()
    monkeypatch.setattr(gap, "CATCH_UP", folder)
    monkeypatch.setattr(gap, "alone", lambda: alone)
    monkeypatch.setattr(gap, "doveadm", lambda *arguments, **_: (True, "a@x\nb@x\n" if arguments[0] == "user" else ""))
    assert gap.main(str(tmp_path / "no-mail")) == 0
    assert sorted(file.name for file in folder.iterdir()) == noted
