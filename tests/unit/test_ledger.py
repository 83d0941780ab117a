"""The ledger must fail for each thing that can be wrong with mail, and when it counted nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.ledger import __main__ as cli
from tests.ledger.checker import Copy, Report, compare, difference, loss_window, parse_doveadm, parse_fetch
from tests.ledger.journal import ACKNOWLEDGED, MERGING, REFUSED, SENT, UNCERTAIN, Journal, mails, read, stalls

USER = "u1@example.org"
RUN = "aaff4e9b"


def ident(number: int, path: str = "imap") -> str:
    return f"<{RUN}.{number:012x}.{path}@ledger.invalid>"


def deliver(
    number: int, path: str = "imap", state: str = ACKNOWLEDGED, folder: str = "INBOX", **more: Any
) -> dict[str, Any]:
    entry = {"event": "deliver", "id": ident(number, path), "user": USER, "folder": folder, "path": path}
    return {**entry, "state": state, "at": 100.0 + number, **more}


def change(kind: str, number: int, state: str = ACKNOWLEDGED, path: str = "imap", **more: Any) -> dict[str, Any]:
    entry = {"event": kind, "id": ident(number, path), "user": USER, "path": "imap", "state": state}
    return {**entry, "at": 200.0 + number, **more}


def copy(
    number: int, path: str = "imap", folder: str = "INBOX", flags: tuple[str, ...] = (), delivery: str = ""
) -> Copy:
    return Copy(USER, folder, ident(number, path), frozenset(flags), delivery)


GOOD = [
    deliver(1),
    deliver(2, "smtp"),
    deliver(3),
    change("expunge", 3),
    deliver(4),
    change("move", 4, to="ledger-moved"),
    deliver(5),
    change("flag", 5, flags=["\\Flagged"]),
    deliver(6, state=UNCERTAIN),
    deliver(7, state=SENT),
    deliver(8),
    change("expunge", 8, UNCERTAIN),
    deliver(9, state=REFUSED),
]
KEPT = [
    copy(1),
    copy(2, "smtp", delivery="a"),
    copy(4, folder="ledger-moved"),
    copy(5, flags=("\\Flagged", "\\Recent")),
]


def faults(copies: list[Copy], entries: list[dict[str, Any]] | None = None) -> dict[str, int]:
    report = compare(mails(entries or GOOD), copies)
    return {name: len(getattr(report, name)) for name in report.FAULTS if getattr(report, name)}


def test_nothing_is_wrong() -> None:
    report = compare(mails(GOOD), KEPT)
    assert (report.status, report.faults) == (0, 0)
    assert (report.imap, report.smtp, report.expunged, report.uncertain) == (5, 1, 1, 3)


def test_what_is_uncertain_may_end_either_way() -> None:
    assert faults([*KEPT, copy(6), copy(7), copy(8, flags=("\\Deleted",))]) == {}


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_lost(gone: int) -> None:
    assert faults([c for n, c in enumerate(KEPT) if n != gone]) == {"lost": 1}


def test_duplicate_in_one_folder_or_two() -> None:
    assert faults([*KEPT, copy(1)]) == {"duplicate": 1}
    assert faults([*KEPT, copy(1, folder="ledger-1")]) == {"duplicate": 1, "wrong_folder": 1}


def test_copies_of_one_delivery_are_duplicates_two_deliveries_are_not() -> None:
    assert faults([*KEPT, copy(2, "smtp", delivery="a")]) == {"duplicate": 1}
    report = compare(mails(GOOD), [*KEPT, copy(2, "smtp", delivery="b")])
    assert (report.faults, len(report.redelivered)) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "more", "end"),
    [
        ("expunge", {}, []),
        ("move", {"to": "ledger-moved"}, [copy(2, "smtp", folder="ledger-moved", delivery="a")]),
        ("flag", {"flags": ["\\Seen"]}, [copy(2, "smtp", flags=("\\Seen",), delivery="a")]),
    ],
)
def test_a_copy_delivered_after_the_first_was_changed(kind: str, more: dict[str, Any], end: list[Copy]) -> None:
    rest = [one for one in KEPT if one.id != ident(2, "smtp")]
    entries = [*GOOD, change(kind, 2, path="smtp", delivery="a", **more)]
    report = compare(mails(entries), [*rest, *end, copy(2, "smtp", delivery="b")])
    assert (report.faults, len(report.redelivered)) == (0, 1)
    # The copy that was changed, back as it was, or twice, or the new one where no MTA delivers, is a fault.
    assert faults([*rest, copy(2, "smtp", delivery="a"), copy(2, "smtp", delivery="b")], entries)
    if end:
        assert faults([*rest, *end, *end, copy(2, "smtp", delivery="b")], entries)
    assert faults([*rest, *end, copy(2, "smtp", folder="ledger-1", delivery="b")], entries)


def test_resurrected() -> None:
    assert faults([*KEPT, copy(3)]) == {"resurrected": 1}


def test_refused_and_unknown_mail_is_unexpected() -> None:
    assert faults([*KEPT, copy(9)]) == {"unexpected": 1}
    assert faults([*KEPT, copy(77)]) == {"unexpected": 1}
    stranger = Copy(USER, "INBOX", "<1@example.org>")
    assert compare(mails(GOOD), [*KEPT, stranger]).foreign == 1


def test_mail_in_another_users_mailbox_is_lost_and_unexpected() -> None:
    other = Copy("u2@example.org", "INBOX", ident(1))
    assert faults([other, *KEPT[1:]]) == {"lost": 1, "unexpected": 1}


def test_wrong_folder() -> None:
    assert faults([KEPT[0], KEPT[1], copy(4), KEPT[3]]) == {"wrong_folder": 1}


def test_wrong_flags() -> None:
    assert faults([*KEPT[:3], copy(5)]) == {"wrong_flags": 1}
    assert faults([copy(1, flags=("\\Seen",)), *KEPT[1:]]) == {"wrong_flags": 1}


@pytest.mark.parametrize("path", ["imap", "smtp"])
def test_one_path_alone_counts_as_nothing(path: str) -> None:
    report = compare(mails([deliver(1, path)]), [copy(1, path)])
    assert report.status == 2


LISTING = [
    # as doveadm of 2.3.19 and 2.4.1 print it
    {"username": USER, "user": USER, "mailbox": "INBOX", "flags": "\\Flagged \\Recent"}
    | {"hdr.message-id": ident(1), "hdr.received": ""},
    {"username": USER, "user": USER, "mailbox": "INBOX", "flags": "\\Recent", "hdr.message-id": ident(2, "smtp")}
    | {
        "hdr.received": "from proof13\n\tby proof13 with LMTP\n\tid cjR5FlJfBGsNDgAAu14meg:T4\n\t(envelope-from <>)\n\t"
        "for <u1@example.org>; Mon, 23 Nov 2026 15:44:18 +0000\nfrom [127.0.0.1] (unknown [10.88.0.1])\n\t"
        "by proof13 (Postfix) with ESMTPS id C33A71B00B9\n\tfor <u1@example.org>; Mon, 23 Nov 2026 15:44:18 +0000 (UTC)"
    },
]


def test_listing_of_doveadm() -> None:
    flagged, delivered = parse_doveadm(json.dumps(LISTING))
    assert flagged == copy(1, flags=("\\Flagged",))
    assert delivered == copy(2, "smtp", delivery="cjR5FlJfBGsNDgAAu14meg:T4")
    assert parse_doveadm("") == []


Files = Callable[[list[dict[str, Any]], list[dict[str, Any]]], list[str]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    def make(entries: list[dict[str, Any]], listing: list[dict[str, Any]]) -> list[str]:
        journal = Journal(tmp_path / "ledger")
        for entry in entries:
            journal.write(**entry)
        journal.close()
        (tmp_path / "listing").write_text(json.dumps(listing))
        return [str(tmp_path / "listing"), str(tmp_path / "ledger")]

    return make


@pytest.mark.parametrize(
    ("change_of", "status"), [("nothing", 0), ("lost", 1), ("duplicate", 1), ("resurrected", 1), ("nothing counted", 2)]
)
def test_exit_status(files: Files, change_of: str, status: int) -> None:
    entries = [deliver(1), change("flag", 1, flags=["\\Flagged"]), deliver(2, "smtp")]
    listing = list(LISTING)
    if change_of == "lost":
        listing.pop()
    elif change_of == "duplicate":
        listing.append(listing[0])
    elif change_of == "resurrected":
        entries.append(change("expunge", 2, path="smtp"))
    elif change_of == "nothing counted":
        entries, listing = [], []
    assert cli.main(["direct", *files(entries, listing)]) == status


def test_converged(files: Files, tmp_path: Path) -> None:
    listing, _ = files([], LISTING)
    (tmp_path / "other").write_text(json.dumps(LISTING[::-1]))
    assert cli.main(["converged", listing, str(tmp_path / "other")]) == 0
    (tmp_path / "other").write_text(json.dumps([LISTING[0], LISTING[0]]))
    assert cli.main(["converged", listing, str(tmp_path / "other")]) == 1
    (tmp_path / "none").write_text("[]")
    assert cli.main(["converged", str(tmp_path / "none"), str(tmp_path / "none")]) == 2


def test_difference_sees_flags_and_counts() -> None:
    assert difference(KEPT, KEPT[::-1]) == {"only_first": [], "only_second": []}
    assert len(difference([copy(1), copy(1)], [copy(1)])["only_first"]) == 1
    assert len(difference([copy(1, flags=("\\Seen",))], [copy(1)])["only_second"]) == 1


def test_loss_window() -> None:
    entries = [deliver(1), deliver(2, "smtp"), deliver(3), deliver(4), deliver(50)]
    window = loss_window(mails(entries), [copy(1)], killed=104.5)
    assert (window["acknowledged"], window["missing"], window["window_ms"]) == (3, 2, 1500)
    assert window["queued_or_missing_smtp"] == 1


def test_mail_on_its_way_to_another_folder_is_not_in_the_loss_window() -> None:
    moved = {"event": "move", "id": deliver(3)["id"], "user": "u1", "path": "imap", "to": "x", "state": "acknowledged"}
    later = loss_window(mails([deliver(3), {**moved, "at": 105.0}]), [], killed=104.5)
    earlier = loss_window(mails([deliver(3), {**moved, "at": 104.0}]), [], killed=104.5)
    assert (later["missing"], earlier["missing"]) == (0, 1)


def test_a_change_while_replicas_were_merged_may_be_undone_but_no_mail_lost() -> None:
    def merging(kind: str, *copies: Copy) -> Report:
        wanted = mails([deliver(1), change(kind, 1, flags=[], **({"to": "x"} if kind == "move" else {}))])
        next(iter(wanted.values())).change_state = MERGING
        return compare(wanted, copies)

    stayed = copy(1)
    moved = replace(stayed, folder="x")
    for kind, copies, undone in [
        ("expunge", [], 0),
        ("expunge", [stayed], 1),
        ("move", [moved], 0),
        ("move", [stayed, moved], 1),
        ("flag", [stayed], 0),
    ]:
        report = merging(kind, *copies)
        assert (report.faults, len(report.undone)) == (0, undone), kind
    assert [len(merging(kind).lost) for kind in ("expunge", "move", "flag")] == [0, 1, 1]


def test_stalls() -> None:
    def at(event: str, when: float, **more: Any) -> dict[str, Any]:
        return {"event": event, "at": when, "user": USER, "path": "imap", **more}

    rows = stalls(
        [
            at("begin", 0),
            at("deliver", 1, state=SENT),
            at("deliver", 1, state=ACKNOWLEDGED),
            at("deliver", 2, state=SENT),
            at("deliver", 3, state=UNCERTAIN),
            at("error", 3),
            at("error", 5),
            at("deliver", 9, state=ACKNOWLEDGED),
            at("end", 10),
        ]
    )
    assert [(row.acknowledged, row.longest, row.longest_from, row.recovery) for row in rows] == [(2, 8, 1, 6)]


def test_an_outage_that_never_ended_is_measured_to_the_end() -> None:
    rows = stalls(
        [
            {"event": event, "at": when, "user": USER, "path": "smtp"}
            for event, when in (("begin", 0), ("error", 1), ("end", 30))
        ]
    )
    assert (rows[0].longest, rows[0].recovery) == (30, 29)


def test_journal_cut_short_by_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text(json.dumps(deliver(1)) + "\n" + '{"event": "del')
    assert len(list(read([path]))) == 1
    path.write_text('{"event": "del\n' + json.dumps(deliver(1)) + "\n")
    with pytest.raises(ValueError, match="not a line of a ledger"):
        list(read([path]))


def test_fetch_answer_of_imaplib() -> None:
    headers = (
        b"Message-ID: "
        + ident(2, "smtp").encode()
        + b"\r\nReceived: from proof13\r\n\tby proof13 with LMTP\r\n\tid cjR5FlJfBGsN"
        b"\r\n\t(envelope-from <>)\r\n\tfor <u1@example.org>; Mon, 23 Nov 2026 15:44:18 +0000\r\n\r\n"
    )
    answer = [
        (b"1 (UID 4 FLAGS (\\Seen) BODY[HEADER.FIELDS (MESSAGE-ID RECEIVED)] {267}", headers),
        b")",
        (b"2 (UID 5 BODY[HEADER.FIELDS (MESSAGE-ID RECEIVED)] {2}", b"\r\n"),
        b" FLAGS (\\Recent))",
    ]
    first, second = parse_fetch(USER, "INBOX", answer)
    assert first == copy(2, "smtp", flags=("\\Seen",), delivery="cjR5FlJfBGsN")
    assert (second.id, second.flags) == ("", frozenset({"\\Recent"}))
