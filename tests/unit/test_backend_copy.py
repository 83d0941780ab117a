"""What a user has lost since a copy was made, and how the copy is looked at."""

import subprocess
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from module_utils import backend_copy


@pytest.mark.parametrize(
    ("then", "now", "lost"),
    [
        (["a INBOX"], ["a INBOX"], []),
        (["a INBOX"], [], ["a INBOX"]),
        (["a INBOX"], ["a Work"], []),  # moved
        (["a INBOX"], ["a Trash"], ["a INBOX"]),
        (["a Trash"], ["a Trash"], []),  # it was no more than that
        (["a Trash"], [], ["a Trash"]),
        (["a Trash"], ["a INBOX"], []),  # taken out again
        (["a INBOX", "a Work", "a Work"], [], ["a INBOX", "a Work"]),
        (["a INBOX", "a Work"], ["a Work"], []),
        ([], ["new INBOX"], []),
    ],
)
def test_what_is_lost(then, now, lost) -> None:
    before, after = (
        [dict(zip(("key", "folder"), mail.split(), strict=True)) for mail in given] for given in (then, now)
    )
    assert [f"{mail['key']} {mail['folder']}" for mail in backend_copy.lost(before, after, "Trash")] == lost


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A backend with room for 4096 bytes beside it, and what is run for it; ann's copy has that many."""
    ran, room = [], SimpleNamespace(needed=4096)

    def run(argv, **_):
        ran.append(list(argv))
        answers = {"dovecot": "2.4.1-4", "doveconf": "vmail\n", "du": f"{room.needed}\t/copy\n"}
        return subprocess.CompletedProcess(argv, 0, answers.get(argv[0], "").encode(), b"")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(backend_copy, "Path", lambda *parts: tmp_path.joinpath(*(part.lstrip("/") for part in parts)))
    monkeypatch.setattr(backend_copy.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    for folder in ("run/lock", "var/lib"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "copy/example.org/ann").mkdir(parents=True)
    store = backend_copy.BackendStore("be1", str(tmp_path / "root"))
    store.ran, store.room = ran, room
    return store


def test_mail_is_taken_from_a_copy_for_a_while(store, tmp_path) -> None:
    folder = tmp_path / "var/lib/dovecluster-restore-be1"
    (folder / "left by a run that was killed").mkdir(parents=True)
    with backend_copy.taken(store, str(tmp_path / "copy"), "ann@example.org") as then:
        assert then.root == folder and list(folder.iterdir()) == [folder / "example.org"]
        assert folder.stat().st_mode & 0o777 == 0o700 and store.held == then.held
        assert store.ran[-2:] == [
            [
                "cp",
                "--recursive",
                "--preserve=timestamps",
                f"{tmp_path}/copy/example.org/ann",
                f"{folder}/example.org/ann",
            ],
            ["chown", "--recursive", "vmail:vmail", str(folder)],
        ]
    assert not folder.exists() and store.held == []


def test_nothing_is_taken_without_room_or_mail(store, tmp_path) -> None:
    store.room.needed = 4097
    for user, problem in (("ann", "has 4097 bytes, more than there is room for"), ("bob", "has no mail in")):
        with pytest.raises(backend_copy.StoreError, match=problem), ExitStack() as stack:
            stack.enter_context(backend_copy.taken(store, str(tmp_path / "copy"), f"{user}@example.org"))
    assert not [argv for argv in store.ran if argv[0] == "cp"]
