"""Whom dovecot-rejoin gives to peers and takes from them, in which order, and what it leaves when a peer goes."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "roles/dovecot_replication/files/dovecot_rejoin.py"
spec = importlib.util.spec_from_file_location("dovecot_rejoin", PATH)
assert spec and spec.loader
rejoin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rejoin)

PORTS = (12348, 12349)


def test_who_changed_in_the_last_moments_is_picked_the_latest_first():
    listing = [
        "1000.5\tx/long-ago/mdbox/storage/dovecot.map.index.log",
        "2000.5\tx/last/mdbox/storage/dovecot.map.index.log",
        "1900.0\tx/ann/mdbox/mailboxes/INBOX/dbox-Mails/dovecot.index.log",
        "1880.4\tx/just-not/mdbox/storage/dovecot.map.index.log",
        "1800.0\tx/ann/mdbox/storage/dovecot.map.index.log",
        "1999.0\tplain/mdbox/storage/dovecot.map.index.log",
        "2000.9\tx/nobody/mdbox/storage/dovecot.map.index.log",
    ]
    users = ["Ann@X", "last@x", "long-ago@x", "just-not@x", "plain"]
    assert rejoin.changed_last(listing, users) == ["last@x", "plain", "Ann@X"]
    assert rejoin.changed_last([], users) == []


@pytest.fixture
def node(monkeypatch, tmp_path):
    """A node whose syncs are noted; `codes` says how the next of each direction end, `answering` which peers do."""

    class Fake:
        taking = tmp_path / "rejoin"
        root = tmp_path / "mail"

        def __init__(self):
            self.codes = {"sync": [], "backup": []}
            self.done = []
            self.answering = set(PORTS)

        def deleted(self, user="ann@x"):
            log = self.root / rejoin.home(user) / "mdbox/dovecot.mailbox.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.touch()
            return log

    fake = Fake()
    fake.taking.mkdir()

    def run(argv, **_):
        verb, user, port = argv[3], argv[-2], int(argv[-1].rpartition(":")[2])
        logs = list(fake.root.rglob("dovecot.mailbox.log"))
        fake.done.append((verb, argv[5], user, port, (fake.taking / user).exists(), bool(logs)))
        code = fake.codes[verb].pop(0) if fake.codes[verb] else 0
        if verb == "backup" and code:
            fake.deleted(user)  # as Dovecot does where UIDs are in the way
        return subprocess.CompletedProcess(argv, code, "", "in the way" if code else "")

    monkeypatch.setattr(rejoin.subprocess, "run", run)
    monkeypatch.setattr(rejoin.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(rejoin, "TAKING", fake.taking)
    monkeypatch.setattr(rejoin, "answers", lambda port: port in fake.answering)
    fake.node = rejoin.Node(fake.root, PORTS)
    return fake


def test_all_peers_are_given_before_one_is_taken_from(node):
    node.deleted()
    assert node.node.rejoin("ann@x") == ""
    assert node.done == [
        ("sync", "-1", "ann@x", PORTS[0], False, True),
        ("sync", "-1", "ann@x", PORTS[1], False, True),
        ("backup", "-R", "ann@x", PORTS[0], True, False),
    ]
    assert not list(node.taking.iterdir())


def test_nothing_is_taken_that_could_not_be_given(node):
    node.codes["sync"] = [75] * 99
    assert "in the way" in node.node.rejoin("ann@x")
    assert {verb for verb, *_ in node.done} == {"sync"}
    assert not list(node.taking.iterdir())


def test_what_a_take_deleted_is_never_seen_by_a_sync(node):
    node.codes["backup"] = [75, 2, 0]
    assert node.node.rejoin("ann@x") == ""
    takes = [done for done in node.done if done[0] == "backup"]
    assert len(takes) == 3
    assert not any(log for *_, log in takes)


def test_a_take_that_a_loss_of_power_broke_off_is_finished_without_a_give(node):
    log = node.deleted()
    (node.taking / "ann@x").touch()
    assert node.node.rejoin("ann@x") == ""
    assert [verb for verb, *_ in node.done] == ["backup"]
    assert not log.exists()


def test_a_take_that_cannot_be_finished_leaves_no_deletions(node):
    node.codes["backup"] = [75] * 99
    assert "in the way" in node.node.rejoin("ann@x")
    assert (node.taking / "ann@x").exists()
    node.node.leave()
    assert not list(node.taking.iterdir())
    assert not list(node.root.rglob("dovecot.mailbox.log*"))


def test_when_a_peer_is_gone_no_more_users_are_tried(node, capsys):
    node.codes["sync"] = [75] * 99999
    node.answering = {PORTS[0]}
    assert not rejoin.run(node.node, [f"u{number}@x" for number in range(500)])
    assert len({user for _, _, user, *_ in node.done}) < 50
    assert "a peer is gone: 499 users are left" in capsys.readouterr().err


def test_a_user_who_fails_does_not_stop_the_others(node, monkeypatch, capsys):
    monkeypatch.setattr(rejoin, "WORKERS", 1)
    node.codes["sync"] = [75] * rejoin.TRIES
    assert not rejoin.run(node.node, ["a@x", "b@x"])
    assert [user for verb, _, user, *_ in node.done if verb == "backup"] == ["b@x"]
    assert "2 of 2 users, 1 failed" in capsys.readouterr().out


def test_nothing_is_done_where_users_may_have_been_served(monkeypatch, capsys):
    monkeypatch.setattr(rejoin, "output", lambda *argv: "pacemaker.service loaded active running\n")
    monkeypatch.setattr(rejoin, "candidates", lambda mail_root: pytest.fail("looked for users"))
    monkeypatch.setattr(rejoin.sys, "argv", ["dovecot-rejoin", "/srv/mail", "12345", "b.x=12348"])
    assert rejoin.main() == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer, refused, waited",
    [(True, False, 0), (False, True, rejoin.REFUSED_SECONDS), (False, False, rejoin.PEER_SECONDS)],
)
def test_a_peer_that_boots_too_is_not_waited_for_as_long_as_one_that_is_silent(monkeypatch, answer, refused, waited):
    now = [100.0]
    monkeypatch.setattr(rejoin.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rejoin.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(rejoin, "answers", lambda port: answer)
    monkeypatch.setattr(rejoin, "refuses", lambda peer, port: refused)
    assert rejoin.wait_for("b.x", 12345, 12348) is answer
    assert waited <= now[0] - 100 <= waited + 1


def test_who_was_still_to_be_synced_and_whose_take_was_broken_off_come_too(monkeypatch, tmp_path):
    for folder, users in {"rejoin": ["taking@x", "gone@x"], "catch-up": ["noted@x", "last@x"]}.items():
        (tmp_path / folder).mkdir()
        for user in users:
            (tmp_path / folder / user).touch()
    answers = {
        "doveadm": "noted@x\nlast@x\ntaking@x\nidle@x\nqueued@x\n",
        "find": "9\tx/last/mdbox/dovecot.index.log\n",
    }
    answers["runuser"] = "queued@x\n"
    monkeypatch.setattr(rejoin, "output", lambda *argv: answers[argv[0]])
    monkeypatch.setattr(rejoin, "TAKING", tmp_path / "rejoin")
    monkeypatch.setattr(rejoin, "CATCH_UP", tmp_path / "catch-up")
    assert rejoin.candidates(str(tmp_path)) == ["last@x", "taking@x", "noted@x"]
    monkeypatch.setattr(rejoin, "CATCH_UP", tmp_path / "none")  # where the daemon runs
    assert rejoin.candidates(str(tmp_path)) == ["last@x", "taking@x", "queued@x"]
    assert rejoin.candidates(str(tmp_path / "no mail yet")) == []
