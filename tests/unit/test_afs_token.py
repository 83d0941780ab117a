"""How long afs-token finds a token to hold, and what it gives to whom."""

import importlib.util
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "roles/afs_client/files/afs_token.py"
spec = importlib.util.spec_from_file_location("afs_token", PATH)
assert spec and spec.loader
token = importlib.util.module_from_spec(spec)
spec.loader.exec_module(token)

SETTINGS: dict[str, Any] = {"cell": "example.org", "realm": "EXAMPLE.ORG", "principal": "mail/a@EXAMPLE.ORG"}
SETTINGS |= {"keytab": "/k", "users": ["vmail", "other"]}
KEYS = """\
1a2b3c4d I--Q---     1  9h 3f010000     0     0 rxrpc     afs@example.org: ka
0000abcd I--Q---     2 59m 3f010000     0     0 rxrpc     afs@example.org: ka
00000001 I--Q---     1 expd 3f010000     0     0 rxrpc     afs@example.org: ka
2a2b3c4d I--Q---    45 perm 1f3f0000     0     0 keyring   _uid.0: 3
"""


@pytest.mark.parametrize(("key", "seconds"), [(0x1A2B3C4D, 9 * 3600), (0xABCD, 59 * 60), (1, 0), (5, 0)])
def test_how_long_a_key_holds(key, seconds):
    assert token.seconds_left(KEYS, key) == seconds


def test_times_for_people():
    assert [token.shown(seconds) for seconds in (0, 59, 61, 7200, 86400 * 13)] == ["0 s", "59 s", "1 m", "2 h", "1 w"]


@pytest.fixture
def kernel(monkeypatch):
    """Stand in for programs: which key each user has is set here; returns what was called, by whom."""
    called, found = [], {"vmail": str(0xABCD), "other": str(0x1A2B3C4D)}

    def output(*argv, user="root", **environment):
        called.append((user, *argv))
        if argv[0] == "kinit":
            Path(environment["KRB5CCNAME"].removeprefix("FILE:")).write_text("ticket")
        if argv[0] == "aklog-kafs":
            assert Path(environment["KRB5CCNAME"].removeprefix("FILE:")).stat().st_mode & 0o777 == 0o600
        if argv[0] == "cat":
            return KEYS
        if argv[0] == "keyctl" and user not in found:
            raise token.TokenError("keyctl: Required key not available")
        return found[user] if argv[0] == "keyctl" else ""

    monkeypatch.setattr(token, "output", output)
    monkeypatch.setattr(token.shutil, "chown", lambda path, user: called.append(("chown", user)))
    return called, found


def test_each_user_gets_a_token_of_a_ticket_for_the_cell_alone_that_holds_as_long_as_can_be(kernel):
    called, _ = kernel
    token.renew(SETTINGS)
    login = ("kinit", "-k", "-t", "/k", "-S", "afs/example.org@EXAMPLE.ORG", "-l", "30d", "mail/a@EXAMPLE.ORG")
    made = ("aklog-kafs", "-k", "uid-session", "example.org", "EXAMPLE.ORG")
    assert called == [("root", *login), ("chown", "vmail"), ("vmail", *made), ("chown", "other"), ("other", *made)]


def test_health(kernel):
    _, found = kernel
    assert token.check(SETTINGS, 300) == ["vmail is mail/a@EXAMPLE.ORG for 59 m", "other is mail/a@EXAMPLE.ORG for 9 h"]
    with pytest.raises(token.TokenError, match="for 59 m, wanted 1 h or more; other is mail/a@EXAMPLE"):
        token.check(SETTINGS, 3600)
    found["vmail"] = "1"
    with pytest.raises(token.TokenError, match="for 0 s, wanted 1 s"):
        token.check(SETTINGS, 1)
    del found["vmail"]
    with pytest.raises(token.TokenError, match="vmail has no token for example"):
        token.check(SETTINGS, 1)


def test_the_cluster_is_told_of_a_token_and_of_its_end(kernel, capsys):
    called, found = kernel
    told = ("root", "attrd_updater", "--name", "token_held")
    token.watch(SETTINGS, 300)
    assert called[-1] == (*told, "--update-both=1", "--delay", "30s")
    assert "systemctl" not in {row[1] for row in called}
    token.watch(SETTINGS, 3600)  # ends soon: elsewhere is better
    renewed = ("root", "systemctl", "start", "--no-block", "afs-token.service")
    assert renewed in called and called[-1] == (*told, "--update-both=0", "--delay", "30s")
    found["vmail"] = "1"  # at its end nothing must write any more
    token.watch(SETTINGS, 300)
    assert called[-2:] == [renewed, (*told, "--update-both=-1", "--delay", "0s")]
    assert "vmail is mail/a@EXAMPLE.ORG for 0 s" in capsys.readouterr().err


def process(proc, pid, name, began, uid):
    """Make what the kernel shows of a user's process that began so many seconds after the machine."""
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", *"0" * 18, str(int(began * os.sysconf("SC_CLK_TCK"))), "0"]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")


def test_old_sessions_are_found_whoever_owns_their_folders(tmp_path):
    nobody = pwd.getpwnam("nobody").pw_uid
    (tmp_path / "uptime").write_text("1000.00 5.00\n")
    began = {10: ("imap", 100), 11: ("imap", 600), 12: ("pop3", 499), 13: ("imap-login", 1), 14: ("a) b", 1)}
    for pid, (name, seconds) in began.items():
        process(tmp_path, pid, name, seconds, nobody)
    process(tmp_path, 15, "imap", 1, nobody + 1)
    (tmp_path / "16").mkdir()  # has ended
    assert token.older(["imap", "pop3"], ["nobody"], 500, tmp_path) == [10, 12]
    assert token.older(["imap", "pop3"], ["root"], 500, tmp_path) == []


def test_sessions_that_have_gone_on_for_half_of_a_token_s_life_are_ended(kernel, monkeypatch):
    asked, killed = [], []
    monkeypatch.setattr(token, "older", lambda *about: asked.append(about) or [7, 8])
    monkeypatch.setattr(token.os, "kill", lambda *about: killed.append(about))
    token.end_old(SETTINGS | {"sessions": ["imap"]})
    assert asked == [(["imap"], ["vmail", "other"], 59 * 60 / 2)]
    assert killed == [(7, token.signal.SIGTERM), (8, token.signal.SIGTERM)]
