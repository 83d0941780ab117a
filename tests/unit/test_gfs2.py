"""The pure part of gfs2_filesystem, on what hosts printed: 512 MiB, two journals of mkfs.gfs2, one of gfs2_jadd."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from module_utils import gfs2

RECORDED = Path(__file__).parent / "recorded"
MIB = 1024 * 1024
RELEASES = pytest.mark.parametrize("release", ["12", "13"])


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def superblock(release: str = "13") -> gfs2.Superblock:
    found = gfs2.parse_superblock(base64.b64decode(recorded(f"gfs2-superblock-{release}.txt")))
    assert found
    return found


def wanted(**changes) -> gfs2.Wanted:
    return replace(gfs2.Wanted("/dev/ubda", "pod_13", "mail", 3, 32), **changes)


def found(**changes) -> gfs2.Found:
    return replace(gfs2.Found(superblock(), (8, 8, 32), 131068 * 4096, 512 * MIB, "/srv/mail"), **changes)


@RELEASES
def test_recorded_file_system(release):
    uuid = {"12": "3b03b2c2-927a-4833-a702-cedf2bfc5863", "13": "c11e41a3-e616-40c9-bf16-7093f3c926b0"}[release]
    assert superblock(release) == gfs2.Superblock("lock_dlm", f"pod_{release}:mail", uuid, 4096)
    assert gfs2.parse_journals(recorded(f"gfs2_edit-journals-{release}.txt")) == (8, 8, 32)
    assert gfs2.parse_blocks(recorded(f"gfs2_edit-rindex-{release}.txt")) == 131068
    assert gfs2.parse_growth(recorded(f"gfs2_grow-growable-{release}.txt")) == 128
    assert gfs2.parse_growth(recorded(f"gfs2_grow-grown-{release}.txt")) == 0
    mounts = recorded(f"findmnt-gfs2-{release}.json")
    assert gfs2.mountpoint(mounts, "98:0") == "/srv/mail"
    assert gfs2.mountpoint(mounts, "98:16") is None


def test_no_superblock():
    assert gfs2.parse_superblock(bytes(512)) is None
    assert gfs2.parse_superblock(b"") is None


@pytest.mark.parametrize("text", ["", "journal0: 0x12 8MB clean.\njournal2: 0x13 8MB clean.\n"])
def test_a_list_of_journals_that_cannot_be_read_is_an_error(text):
    with pytest.raises(ValueError, match="cannot read the list of journals"):
        gfs2.parse_journals(text)


def test_gfs2_grow_that_says_nothing_is_an_error():
    # It exits with 0 then: the answer is in the words alone.
    with pytest.raises(ValueError, match="not a mounted gfs2"):
        gfs2.parse_growth("/srv/mail: not a mounted gfs2 file system\ngfs2_grow complete.\n")
    with pytest.raises(ValueError, match="cannot read the list of resource groups"):
        gfs2.parse_blocks("")


def test_what_is_as_declared_needs_nothing():
    assert gfs2.declaration_problems(wanted()) == []
    assert gfs2.identity_problem(wanted(), superblock()) is None
    assert gfs2.plan(wanted(), found()) == gfs2.Plan()
    assert gfs2.plan(wanted(journals=2), found()) == gfs2.Plan()  # none is removed
    assert gfs2.after(wanted(), found(), gfs2.Plan()) == found()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster": ""}, "cluster is ''"),
        ({"cluster": "pod:13"}, "cluster is 'pod:13'"),
        ({"cluster": "x" * 33}, "cluster is 'x"),
        ({"name": "y" * 31}, "name is 'y"),
        ({"journals": 0}, "journals is 0"),
        ({"journal_size": 8}, "journal_size is 8; wanted 32 to 1024 MiB"),
    ],
)
def test_bad_declarations(changes, said):
    assert any(said in problem for problem in gfs2.declaration_problems(wanted(**changes)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": "pod_12:mail"}, "lock table 'pod_12:mail' (UUID c11e41a3-e616-40c9-bf16-7093f3c926b0); wanted"),
        ({"table": "pod_13:other"}, "locktable=pod_13:mail /dev/ubda"),
        ({"protocol": "fsck_dlm"}, "a check was cut short"),
        ({"protocol": "lock_nolock"}, "for one host (lock protocol lock_nolock)"),
    ],
)
def test_other_file_systems_are_refused(changes, said):
    problem = gfs2.identity_problem(wanted(), replace(superblock(), **changes))
    assert problem and said in problem


def test_a_new_file_system_has_to_fit():
    assert gfs2.space_problem(wanted(), 192 * MIB) is None
    problem = gfs2.space_problem(wanted(), 192 * MIB - 512)
    assert problem and "/dev/ubda has 191 MiB; wanted 192 or more: 3 journals of 32 MiB" in problem


def test_journals_and_room_are_added_while_mounted():
    todo = gfs2.plan(wanted(journals=5), found(growth=128))
    assert todo == gfs2.Plan(add_journals=2, add_journal_size=32, grow=128)
    then = gfs2.after(wanted(journals=5), found(growth=128), todo)
    assert then.journal_sizes == (8, 8, 32, 32, 32)
    assert then.size == found().size + 128 * MIB
    assert gfs2.plan(wanted(), found(journal_sizes=(8, 8))).add_journal_size == 32  # gfs2_jadd makes no smaller ones
    assert gfs2.plan(wanted(), found(journal_sizes=(128, 8))).add_journal_size == 128


def test_unmounted_it_says_what_it_waits_for():
    todo = gfs2.plan(wanted(journals=5), found(mountpoint=None, growth=128))
    assert (todo.add_journals, todo.grow) == (0, 0)
    assert "has 3 journals; wanted 5. Journals are added while it is mounted" in todo.problems[0]
    assert "it grows while it is mounted" in todo.waits[0]
    assert gfs2.after(wanted(), found(mountpoint=None), todo) == found(mountpoint=None)


def test_what_is_too_little_to_grow():
    assert gfs2.unmounted_growth(131068 * 4096, 512 * MIB) == 0
    assert gfs2.unmounted_growth(98300 * 4096, 512 * MIB) == 128


def test_people_see_the_difference():
    before, then = found(journal_sizes=(8, 8)), found()
    assert gfs2.listing("/dev/ubda", before, "") != gfs2.listing("/dev/ubda", then, "")
    assert "journals: 8 MiB, 8 MiB, 32 MiB\nsize: 511 MiB\nmounted: /srv/mail" in gfs2.listing("/dev/ubda", then, "")
    assert gfs2.listing("/dev/ubda", None, "blank") == "/dev/ubda: blank\n"
    assert gfs2.describe(then)["journals"] == 3 and gfs2.describe(found(mountpoint=None))["mounted"] == ""
