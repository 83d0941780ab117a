"""Both sides of a split brain: which is which, what differs, and how doveadm is asked for it."""

import json
import subprocess
from copy import deepcopy

import pytest

from module_utils import backend_store, mail_difference, split_brain
from module_utils.drbd import JUST_CREATED, diverged, parse_out_of_sync

ZERO = "0" * 16
COMMON = "AAAAAAAAAAAAAAA0"
MINE, THEIRS = "1111111111111111", "2222222222222220"


@pytest.mark.parametrize(
    ("one", "other", "split"),
    [
        ([MINE, COMMON, ZERO, ZERO], [THEIRS, COMMON, ZERO, ZERO], True),
        # One went on twice: what they have in common is in its history.
        ([MINE, "BBBBBBBBBBBBBBB0", COMMON, ZERO], [THEIRS, COMMON, ZERO, ZERO], True),
        # One has only missed what the other wrote.
        ([MINE, COMMON, ZERO, ZERO], [COMMON, ZERO, ZERO, ZERO], False),
        ([MINE, "BBBBBBBBBBBBBBB0", COMMON, ZERO], [COMMON[:-1] + "1", ZERO, ZERO, ZERO], False),
        ([MINE, ZERO, ZERO, ZERO], ["1111111111111110", ZERO, ZERO, ZERO], False),
        # Recorded: DRBD 8.4 called it a split brain, and the side that was forced has forgotten what both come from.
        (
            ["9274D383E6315AB1", "C205BBD84C40AC33", ZERO, ZERO],
            ["C069D0233E195B5C", "58BC574B6FB9CB9B", ZERO, ZERO],
            True,
        ),
        # A new disk, and nothing known.
        ([MINE, ZERO, ZERO, ZERO], [JUST_CREATED, ZERO, ZERO, ZERO], False),
        ([], [THEIRS, COMMON, ZERO, ZERO], False),
    ],
)
def test_sides_that_went_on_alone(one, other, split) -> None:
    assert diverged(one, other) is diverged(other, one) is split


PROC = """version: 8.4.11 (api:1/proto:86-101)
srcversion: AAC9D2685AD926F7D004EAB
 0: cs:StandAlone ro:Primary/Unknown ds:UpToDate/Outdated   r-----
    ns:0 nr:0 dw:42183 dr:38998 al:18 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:64
 1: cs:Unconfigured
 2: cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate C r-----
    ns:0 nr:857 dw:41893 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
"""


def test_how_much_differs_without_a_connection() -> None:
    assert parse_out_of_sync(PROC) == {0: 65536, 2: 0}
    assert parse_out_of_sync("") == {}


def look(role: str, connection: str = "StandAlone", disk: str = "UpToDate", **more):
    mounted = ["/srv/mail/be1"] if role == "Primary" else []
    status = {"role": role, "connection": connection, "disk_state": disk, "replication": "Off", "written_bytes": 4096}
    status |= {"out_of_sync_bytes": 3 * 2**20}
    generation = [MINE if role == "Primary" else THEIRS, COMMON, ZERO, ZERO]
    return {"status": {**status, **more}, "generation": generation, "mounted": mounted}


def sides(one=None, two=None, running=("be1",), also=()):
    looks = {"mail1": one or look("Primary"), "mail2": two or look("Secondary")}
    running = {"mail1": list(running), "mail2": list(also)}
    return split_brain.split_sides(looks, running, "be1", "/srv/mail/be1")


def test_the_side_that_serves_stays() -> None:
    assert sides() == {"serving": "mail1", "other": "mail2", "state": "split", "problems": []}
    # Killed between the two connects.
    assert sides(two=look("Secondary", "Connecting"))["state"] == "split"
    assert sides(look("Secondary"), look("Primary"), (), ("be1",))["serving"] == "mail2"


def test_a_sync_that_has_begun_is_waited_for() -> None:
    target = look("Secondary", "Connected", "Inconsistent", replication="SyncTarget")
    assert sides(look("Primary", "Connected"), target)["state"] == "syncing"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"one": look("Primary", "Connected"), "two": look("Secondary", "Connected")}, "there is no split brain"),
        ({"two": {**look("Secondary"), "generation": [COMMON, ZERO, ZERO, ZERO]}}, "DRBD syncs it"),
        ({"two": look("Primary")}, "its only primary: it is primary on mail1 and mail2"),
        ({"one": look("Secondary")}, "it is primary on no node"),
        ({"running": ()}, "answers on no node"),
        ({"one": {**look("Primary"), "mounted": []}}, "mounted at /srv/mail/be1 and answers on no node"),
        ({"two": look("Unconfigured", "Unconfigured", "Unconfigured")}, "be1 is down on mail2"),
        ({"two": look("Secondary", disk="Inconsistent")}, "is Inconsistent: nothing there can be read"),
        ({"two": look("Secondary", disk="Diskless")}, "is Diskless"),
    ],
)
def test_what_is_in_the_way_is_said(given, problem) -> None:
    found = sides(**given)
    assert found["state"] == "unknown" and problem in found["problems"][0]


def test_only_pairs() -> None:
    looks = dict.fromkeys(("a", "b", "c"), look("Secondary"))
    assert "only pairs" in split_brain.split_sides(looks, {node: [] for node in looks}, "be1", "/")["problems"][0]


def test_a_side_that_was_used_meanwhile_is_not_given_up() -> None:
    before = look("Secondary")
    assert split_brain.untouched(before, deepcopy(before))
    assert not split_brain.untouched(before, look("Secondary", written_bytes=8192))
    assert not split_brain.untouched(before, look("Primary"))
    assert not split_brain.untouched(before, {**before, "generation": [MINE, THEIRS, COMMON, ZERO]})


def row(ident: str, folder: str = "INBOX", uid: int = 1, size: int = 100, flags: str = "\\Seen \\Recent"):
    return {
        "mailbox": folder,
        "mailbox-guid": f"guid-{folder}",
        "uid": str(uid),
        "hdr.message-id": ident,
        "size.virtual": str(size),
        "date.received": "2026-11-24 18:15:20",
        "flags": flags,
    }


def mails(*rows):
    return mail_difference.parse(json.dumps(rows))


def test_a_mail_is_known_by_its_id_and_size() -> None:
    (mail,) = mails(row("<one@x>\n <more>"))
    assert (mail["id"], mail["key"], mail["flags"], mail["uid"]) == (
        "<one@x> <more>",
        "<one@x> <more> 100",
        "\\Seen",
        1,
    )
    assert mails(row(""))[0]["key"] == "" and mail_difference.parse("[]\n") == []
    with pytest.raises(ValueError):
        mail_difference.parse("")  # an answer that was lost is not an empty one
    json.dumps(mails(row("<\udce4@x>"))).encode()


def test_only_what_is_nowhere_on_the_other_side_is_missing() -> None:
    here = {"ann": mails(row("<same>"), row("<moved>", uid=2), row("<only>", uid=3), row("<only>", "Copies", uid=4))}
    there = {"ann": mails(row("<moved>", "Archive"), row("<same>"), row("<theirs>")), "bob": mails(row("<bob>"))}
    assert [mail["uid"] for mail in mail_difference.only_in(here, there)["ann"]] == [
        3
    ]  # once, though it is there twice
    theirs = mail_difference.only_in(there, here)
    assert {user: [mail["id"] for mail in found] for user, found in theirs.items()} == {
        "ann": ["<theirs>"],
        "bob": ["<bob>"],
    }
    assert mail_difference.count(theirs) == 2
    # Another mail under the same Message-ID is another mail.
    assert mail_difference.only_in({"ann": mails(row("<same>", size=99))}, there)["ann"]
    assert mail_difference.only_in(here, here) == {}


def test_hashes_know_mails_not_their_places() -> None:
    one = mails(row("<a>"), row("<b>", uid=2))
    same = mails(row("<b>", "Archive", flags=""), row("<a>"))
    assert mail_difference.digest(one) == mail_difference.digest(same) != mail_difference.digest(one[:1])
    users = split_brain.differing_users({"ann": "1", "bob": "2"}, {"bob": "3", "ann": "1", "cat": "4"})
    assert users == ["bob", "cat"]


def test_many_uids_are_asked_for_in_pieces() -> None:
    many = mails(*(row(f"<{n}>", uid=n) for n in range(1, 6)), row("<w>", "Work", uid=9))
    pieces = mail_difference.uid_sets(many, 2)
    assert pieces == [("guid-INBOX", [1, 2]), ("guid-INBOX", [3, 4]), ("guid-INBOX", [5]), ("guid-Work", [9])]


def test_folder_names_suit_all_formats() -> None:
    assert mail_difference.folder_for("mail2") == "Saved from mail2"
    assert mail_difference.folder_for("mail2.example.org") == "Saved from mail2-example-org"


def test_tables() -> None:
    found = sides()
    looks = {"mail1": look("Primary"), "mail2": look("Secondary")}
    totals = {"mail1": {"count": 7, "newest": "2026-11-24 18:15:20"}, "mail2": {"count": 0, "newest": ""}}
    text = "\n".join(split_brain.side_table(found, looks, totals))
    for part in (
        "mail1 (serves)",
        "mail2 (given up)",
        "Primary, StandAlone, UpToDate",
        MINE,
        COMMON,
        "3.0 MiB",
        "none",
    ):
        assert part in text
    listed: dict = {"mail1": {"mails": {}}, "mail2": {"mails": {"ann": mails(row("<x>"), row("", uid=2))}}}
    assert split_brain.difference_table(found, listed) == [
        "only on mail1: 0 mails",
        "only on mail2: 2 mails",
        "  ann  2026-11-24 18:15:20  INBOX  100 bytes  <x>  \\Seen",
        "  ann  2026-11-24 18:15:20  INBOX  100 bytes  no Message-ID  \\Seen",
    ]


OLD, NEW = "2.3.19.1 (9b53102964)", "2.4.1-4 (7d8c0e5759)"
SETTINGS = {
    OLD: {"mail_plugins": " zlib quota", "mail_location": "mbox:~/mail:INBOX=~/inbox"},
    NEW: {"mail_driver": "mbox", "mail_path": "~/mail", "mail_inbox_path": "~/inbox"},
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A backend's mail, with commands answered as a node of a release would: (exit code, output, error)."""

    def make(version, *answers):
        left, asked = list(answers), []

        def run(argv, env, **_):
            if argv[0] == "dovecot":
                code, out, err = 0, version, ""
            elif argv[0] == "doveconf":
                code, out, err = 0, SETTINGS[version][argv[-1]] + "\n", ""
            else:
                asked.append((list(argv), {name: env.get(name) for name in ("USER", "HOME")}))
                code, out, err = left.pop(0)
            return subprocess.CompletedProcess(argv, code, out.encode(errors="surrogateescape"), err.encode())

        monkeypatch.setattr(backend_store.subprocess, "run", run)
        for home in ("example.org/ann", "lost+found/x", ".export.x/y"):
            (tmp_path / home).mkdir(parents=True, exist_ok=True)
        return asked, backend_store.BackendStore("be1", str(tmp_path))

    return make


def test_users_are_those_who_have_a_home(store, tmp_path) -> None:
    asked, found = store(OLD)
    assert found.users() == ["ann@example.org"]
    assert found.mails("bob@example.org") == [] and asked == []  # doveadm would make a home
    (tmp_path / ".leaving/example.org/eve").mkdir(parents=True)
    with pytest.raises(backend_store.StoreError, match=r"eve@example\.org is on its way .* move_user"):
        found.users()


def test_doveadm_needs_no_userdb_and_knows_no_quota(store, tmp_path) -> None:
    answer = (0, json.dumps([row("<a>")]), "")
    asked, old = store(OLD, answer)
    old.mails("ann@example.org")
    (argv, environment), *_ = asked
    assert environment == {"USER": "ann@example.org", "HOME": str(tmp_path / "example.org/ann")}
    assert argv[:5] == ["doveadm", "-c", "/etc/dovecot/backends/be1.conf", "-f", "json"]
    home = f"mail_home={tmp_path}/example.org/ann"
    assert argv[5:10] == ["-o", home, "-o", "mail_plugins=zlib", "fetch"]
    asked, new = store(NEW, answer)
    new.mails("ann@example.org", "/out/ann")
    argv = asked[0][0]
    assert "mail_plugins/quota=no" in argv and "mail_path=/out/ann" in argv and "--no-userdb-lookup" in argv


def test_sources_of_both_releases(store, tmp_path) -> None:
    home = tmp_path / "example.org/ann"
    assert store(OLD)[1].source("ann@example.org") == [f"mbox:{home}/mail:INBOX={home}/inbox"]
    new = store(NEW)[1].source("ann@example.org")
    assert new == ["-p", f"mail_inbox_path={home}/inbox", f"mbox:{home}/mail"]


def test_a_mail_without_an_id_is_known_by_its_text(store, tmp_path) -> None:
    texts = [(0, json.dumps([row(""), row("", uid=2)]), ""), (0, "text=a\udce4\n", ""), (0, "text=b\n", "")]
    one, two = store(OLD, *texts)[1].mails("ann@example.org")
    assert one["key"].startswith("sha256:") and one["key"] != two["key"]


def test_a_listing_is_tried_twice_and_never_cut_short(store, tmp_path) -> None:
    asked, found = store(OLD, (75, "[]", "rebuilding"), (0, "[]", ""))
    assert found.mails("ann@example.org") == [] and len(asked) == 2
    with pytest.raises(backend_store.StoreError, match=r"ann@example\.org failed \(75\): broken"):
        store(NEW, *[(75, "[]", "broken")] * 2)[1].mails("ann@example.org")


def test_mails_are_copied_below_a_folder(store, tmp_path) -> None:
    asked, found = store(NEW, (0, "", ""))
    found.copy("ann@example.org", mails(row("<a>"), row("<b>", uid=2)), ["mdbox:/in/ann"], "Saved from mail2", None)
    argv = asked[0][0]
    where = ["mailbox-guid", "guid-INBOX", "uid", "1,2"]
    wanted = ["import", "--no-userdb-lookup", "-s", "mdbox:/in/ann", "Saved from mail2", *where]
    assert argv[argv.index("import") :] == wanted
