"""What the proof of mailbox formats takes for a fault."""

from dataclasses import replace

from tests.proofs.formats import COPIES, MAILS, Shown, Written, compare

DELIVERED = {f"delivered-{number}@formats" for number in range(MAILS)}
WRITTEN = Written(
    delivered=DELIVERED,
    appended={"appended-1@formats"},
    seen=DELIVERED,
    copied={"delivered-3@formats"},
    expunged={"delivered-4@formats"},
)


def good():
    inbox = [Shown(name, True, True) for name in sorted(DELIVERED - WRITTEN.expunged)]
    return {
        "INBOX": [*inbox, Shown("appended-1@formats", False, True)],
        COPIES: [Shown("delivered-3@formats", True, True)],
    }


def test_what_was_acknowledged_is_no_fault():
    assert compare(good(), WRITTEN) == []


def test_each_fault_is_told():
    first = good()["INBOX"][0]
    for inbox, said in (
        (good()["INBOX"][1:], "lost"),
        ([*good()["INBOX"], first], "more than once"),
        ([*good()["INBOX"], Shown("delivered-4@formats", True, True)], "should not be"),
        ([replace(first, seen=False), *good()["INBOX"][1:]], "no longer marked as seen"),
        ([replace(first, whole=False), *good()["INBOX"][1:]], "not whole"),
    ):
        (fault,) = compare(good() | {"INBOX": inbox}, WRITTEN)
        assert said in fault
    assert compare(good() | {COPIES: []}, WRITTEN) == [f"{COPIES}: lost: delivered-3@formats"]


def test_too_little_is_a_fault():
    assert "too little" in compare(good(), replace(WRITTEN, copied=set()))[0]
