"""What dovecot-catch-up syncs beside Dovecot's replicators, and when it gives up."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "roles/dovecot_replication/files/dovecot_catch_up.py"
spec = importlib.util.spec_from_file_location("dovecot_catch_up", PATH)
assert spec and spec.loader
catch_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(catch_up)

# As Dovecot 2.3.19 prints it.
STATUS = """\
username                priority fast sync full sync success sync failed
listed@x                none     -         -         -            -
waits@x                 high     -         -         -            -
synced@x                none     00:00:02  -         00:00:02     -
failed@x                none     00:00:09  -         01:00:00     y
"""


@pytest.fixture
def node(monkeypatch, tmp_path):
    """A node with one running backend; its commands are noted, and syncs of users in `broken` fail."""

    class Node:
        folder = tmp_path / "catch-up"
        run = tmp_path / "run"
        status = STATUS

        def __init__(self):
            self.commands = []
            self.broken = set()

        def noted(self):
            return sorted(file.name for file in self.folder.iterdir())

        def synced(self):
            return sorted(command[1] for command in self.commands if command[0] == "dovecot-sync-user")

    node = Node()
    node.folder.mkdir()

    def run(command, **_):
        command = tuple(map(str, command))
        node.commands.append(command)
        if command[0] == "dovecot-sync-user":
            fails = command[1] in node.broken or "*" in node.broken
            code = catch_up.NO_USER if command[1] == "gone@x" else int(fails)
            return subprocess.CompletedProcess(command, code, "", "refused\n" if fails else "")
        if "status" in command:
            return subprocess.CompletedProcess(command, 0, node.status)
        return subprocess.CompletedProcess(command, 0, "a@x\nb@x\n" if "user" in command else "")

    monkeypatch.setattr(catch_up, "FOLDER", node.folder)
    monkeypatch.setattr(catch_up, "RUN", node.run)
    monkeypatch.setattr(catch_up, "replicators", lambda: [Path("be1.conf")])
    monkeypatch.setattr(catch_up.subprocess, "run", run)
    return node


def test_users_a_replicator_syncs_are_those_who_changed():
    assert catch_up.failed(STATUS) == {"waits@x": False, "synced@x": False, "failed@x": True}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("in-step@x\t0\t100\t101\t0\t0\tstate\t102", []),
        ("never-changed@x\t0\t0\t0\t0\t0\t\t0", []),
        ("waits@x\t2\t100\t99\t0\t0\tstate\t102", ["waits@x"]),
        ("failed@x\t0\t100\t103\t0\t1\t\t102", ["failed@x"]),
        ("never-synced@x\t0\t100\t101\t0\t0\t\t0", ["never-synced@x"]),
        ("in-the-same-second@x\t0\t100\t100\t0\t0\tstate\t100", ["in-the-same-second@x"]),
    ],
)
def test_who_may_be_behind_when_a_replicator_stops(line, found):
    assert catch_up.behind(line + "\n") == found


def test_failed_syncs_are_tried_again_and_noted_users_synced_but_not_beside_a_replicator(node):
    catch_up.note(["synced@x", "listed@x", "else@x"])
    catch_up.tend()
    assert [command[-1] for command in node.commands if "replicate" in command] == ["failed@x"]
    assert node.synced() == ["else@x", "listed@x"]
    assert node.noted() == []


def test_nobody_is_synced_when_a_replicator_does_not_say_whom_it_syncs(node, monkeypatch):
    def fails(command, check=False, **_):
        assert command[0] == "doveadm" and check
        raise subprocess.CalledProcessError(75, command)

    monkeypatch.setattr(catch_up.subprocess, "run", fails)
    catch_up.note(["synced@x"])
    with pytest.raises(subprocess.CalledProcessError):
        catch_up.tend()
    assert node.noted() == ["synced@x"]


def test_a_user_whose_sync_fails_stays_noted_and_holds_up_nobody(node, capsys):
    node.broken = {"broken@x"}
    catch_up.note([f"u{number}@x" for number in range(20)] + ["broken@x", "gone@x"])
    catch_up.tend()
    assert node.noted() == ["broken@x"]
    assert len(node.synced()) == 22
    assert "1 users are still to be synced; broken@x: refused" in capsys.readouterr().out


def test_a_peer_that_is_gone_is_not_asked_for_each_user(node):
    node.broken = {"*"}
    users = [f"u{number}@x" for number in range(100)]
    catch_up.note(users)
    catch_up.tend()
    assert node.noted() == sorted(users)
    assert catch_up.FAILURES <= len(node.synced()) < catch_up.FAILURES + catch_up.WORKERS


def test_a_note_made_during_the_sync_stays(node, monkeypatch):
    def sync(command, **_):
        os.utime(node.folder / command[1], (1, 1))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(catch_up.subprocess, "run", sync)
    catch_up.note(["a@x"])
    catch_up.catch_up(["a@x"])
    assert node.noted() == ["a@x"]


def test_who_is_being_synced_stays_noted_until_that_is_done(node, monkeypatch):
    """The program may be killed."""
    during = []

    def sync(command, **_):
        during.extend(node.noted())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(catch_up.subprocess, "run", sync)
    catch_up.note(["a@x"])
    catch_up.catch_up(["a@x"])
    assert (during, node.noted()) == (["a@x"], [])


def test_a_backend_that_stops_has_its_users_synced(node):
    (node.run / "dovecot-be1").mkdir(parents=True)
    database = "behind@x\t1\t5\t4\t0\t0\t\t4\nin-step@x\t0\t1\t2\t0\t0\ts\t3\n"
    (node.run / "dovecot-be1/replicator.db").write_text(database)
    catch_up.stopped("be1")
    assert (node.synced(), node.noted()) == (["behind@x"], [])


def test_a_backend_that_was_killed_has_everybody_noted_and_delays_nobody(node):
    catch_up.stopped("be1")
    assert (node.synced(), node.noted()) == ([], ["a@x", "b@x"])


@pytest.mark.parametrize(("running", "noted"), [([Path("be1.conf")], ["a@x", "b@x"]), ([], [])])
def test_everybody_is_noted_where_a_backend_runs(node, monkeypatch, running, noted):
    monkeypatch.setattr(catch_up, "replicators", lambda: running)
    monkeypatch.setattr(catch_up.sys, "argv", ["dovecot-catch-up", "--all"])
    assert catch_up.main() == 0
    assert node.noted() == noted
