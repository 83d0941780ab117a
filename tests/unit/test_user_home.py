"""A user's mail on its way from one backend to another: at each moment it is in one place, whole."""

import os
import subprocess
import sys

import pytest

from module_utils import user_home
from module_utils.user_home import BackendStore, StoreError

USER = "ann@example.org"


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """The old backend, with mail, and the new one; without Dovecot."""
    monkeypatch.setattr(BackendStore, "setting", lambda *_: "")
    monkeypatch.setattr(BackendStore, "run", lambda self, *argv, **_: "2.4.1" if argv[0] == "dovecot" else "")
    monkeypatch.setattr(user_home.Path, "is_mount", lambda self: True)
    found = []
    for backend in ("be1", "be2"):
        (tmp_path / backend).mkdir()
        found.append(user_home.UserHome(backend, str(tmp_path / backend), USER))
    mail = tmp_path / "be1/example.org/ann/mdbox"
    mail.mkdir(parents=True)
    (mail / "m.1").write_text("mail")
    return found


def arrived(home, old):
    """What unpacking makes."""
    home.make_parents(home.arriving)
    subprocess.run(["cp", "-r", old.leaving, home.arriving], check=True)


def test_there_and_back(homes) -> None:
    old, new = homes
    assert (old.place(), new.place()) == ("here", "none")
    old.leave("be2", 0)
    assert (old.place(), new.place()) == ("leaving", "none")
    assert old.home.read_text() == "The mail of ann@example.org is on be2.\n"
    arrived(new, old)
    assert (old.place(), new.place()) == ("leaving", "none")  # until it is in its place
    new.arrive()
    assert (old.place(), new.place()) == ("leaving", "here")
    old.forget()
    assert (old.place(), new.place()) == ("gone", "here")

    new.leave("be1", 0)
    arrived(old, new)
    old.arrive()
    new.forget()
    assert (old.place(), new.place()) == ("here", "gone")
    assert (old.home / "mdbox/m.1").read_text() == "mail"


def test_what_an_earlier_move_left_behind_does_not_hinder_the_next(homes) -> None:
    old, new = homes
    old.leave("be2", 0)
    arrived(new, old)
    new.arrive()  # and forget() was never asked for
    new.leave("be1", 0)
    arrived(old, new)
    assert old.check("here") == "leaving"
    old.arrive()
    assert old.place() == "here" and not old.leaving.exists()


def test_nothing_new_is_made_where_the_mail_was(homes) -> None:
    old, _ = homes
    old.leave("be2", 0)
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        (old.home / "mdbox").mkdir(parents=True)


def test_mail_in_use_stays(homes) -> None:
    old, _ = homes
    with open(old.home / "mdbox/m.1") as file, pytest.raises(StoreError, match=f"in use .* {os.getpid()}"):
        old.leave("be2", 0)
        assert file
    assert old.place() == "here"
    # In use under its new name, by a process that came between: it comes back.
    waits = []
    busy = user_home.wait_until_unused

    def second(path, seconds):
        waits.append(path)
        if len(waits) == 2:
            with open(path / "mdbox/m.1"):
                busy(path, 0)

    user_home.wait_until_unused = second
    try:
        with pytest.raises(StoreError, match="in use"):
            old.leave("be2", 0)
    finally:
        user_home.wait_until_unused = busy
    assert old.place() == "here" and not old.leaving.exists()
    assert ("back", old.check("back")) in user_home.UNCHANGED  # as the playbook asks for then


def test_a_copy_is_never_put_over_mail_nor_removed_where_it_is(homes) -> None:
    old, new = homes
    for state in ("here", "gone"):
        with pytest.raises(StoreError, match=f"is here, so it cannot be {state}"):
            old.check(state)
    with pytest.raises(StoreError, match="is none, so it cannot be back"):
        new.check("back")


def test_a_process_that_works_in_a_folder_uses_it(homes) -> None:
    old, _ = homes
    program = [sys.executable, "-c", "input()"]
    with subprocess.Popen(program, cwd=old.home / "mdbox", stdin=subprocess.PIPE) as process:
        with pytest.raises(StoreError, match=str(process.pid)):
            user_home.wait_until_unused(old.home, 0)
        process.communicate(b"\n")
    user_home.wait_until_unused(old.home, 0)


@pytest.mark.parametrize("user", ["../../etc", "ann@a/../..", "..@a", "ann@..", "ann", ""])
def test_a_name_that_is_no_address_is_refused(homes, user) -> None:
    with pytest.raises(StoreError, match="no address"):
        user_home.UserHome("be1", str(homes[0].root), user)
