"""Keytabs, and what kadmin has to do."""

import struct
from pathlib import Path

import pytest

from module_utils import kerberos
from module_utils.kerberos import KerberosError, Key, Principal

RECORDED = Path(__file__).parent / "recorded"
NAME = "afs/cell13.lab.test@CELL13.LAB.TEST"
OLD, NEW = "aes256-cts-hmac-sha1-96", "aes256-cts-hmac-sha384-192"


def entry(name: str, version: int, enctype: int, secret: bytes, whole_version: bool = True) -> bytes:
    """An entry of a keytab as MIT Kerberos writes it."""

    def text(value: bytes) -> bytes:
        return struct.pack(">H", len(value)) + value

    principal, _, realm = name.partition("@")
    parts = principal.split("/")
    data = struct.pack(">H", len(parts)) + text(realm.encode()) + b"".join(text(part.encode()) for part in parts)
    data += struct.pack(">IIBH", 1, 1795696724, version & 255, enctype) + text(secret)
    data += struct.pack(">I", version) if whole_version else b""
    return struct.pack(">i", len(data)) + data


def keytab(*entries: bytes) -> bytes:
    return b"\x05\x02" + b"".join(entries)


def test_a_keytab_is_read_in_order_and_holes_are_left_out():
    hole = struct.pack(">i", -7) + b"\0" * 7
    data = keytab(entry(NAME, 300, 18, b"b"), hole, entry(NAME, 2, 18, b"a", False))
    assert kerberos.read_keytab(data) == [Key(NAME, 2, 18, b"a"), Key(NAME, 300, 18, b"b")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no keytab"),
        (b"not a keytab at all", "no keytab"),
        (keytab(entry(NAME, 2, 18, b"a"))[:-3], "cut off"),
        (keytab(b"\0\0"), "broken"),
    ],
)
def test_what_is_no_keytab_is_refused(data, said):
    with pytest.raises(KerberosError, match=said):
        kerberos.read_keytab(data)


def test_a_key_is_never_shown():
    key = Key(NAME, 2, 18, b"secret")
    assert "secret" not in f"{key} {key!r}"
    assert str(key) == f"{NAME} version 2 {OLD}"


def test_recorded_principal():
    found = kerberos.read_principal((RECORDED / "kadmin-getprinc.txt").read_text())
    assert found == Principal({1: (OLD,)})
    assert found.shown() == f"  version 1: {OLD}\n"


@pytest.mark.parametrize(
    ("found", "wanted", "rotate", "purge", "needed", "then"),
    [
        (None, [OLD], False, False, ["addprinc"], {1: (OLD,)}),
        ({1: (OLD,)}, [OLD], False, False, [], {1: (OLD,)}),
        ({1: (OLD,)}, [OLD], False, True, [], {1: (OLD,)}),
        ({1: (OLD,)}, [OLD], True, False, ["cpw"], {1: (OLD,), 2: (OLD,)}),
        ({1: (OLD,)}, [NEW, OLD], False, False, ["cpw"], {1: (OLD,), 2: (NEW, OLD)}),
        ({1: (OLD,), 2: (OLD, NEW)}, [NEW, OLD], False, False, [], {1: (OLD,), 2: (OLD, NEW)}),
        ({1: (OLD,), 2: (OLD,)}, [OLD], False, True, ["purgekeys"], {2: (OLD,)}),
        ({1: (OLD,)}, [OLD], True, True, ["cpw", "purgekeys"], {2: (OLD,)}),
        ({1: (OLD,)}, None, False, False, ["delprinc"], None),
        (None, None, False, False, [], None),
    ],
)
def test_queries(found, wanted, rotate, purge, needed, then):
    principal = Principal(found) if found else None
    queries = kerberos.queries(NAME, principal, wanted, rotate, purge)
    assert [query.split()[0] for query in queries] == needed
    assert all(query.endswith(f" {NAME}") for query in queries)
    assert kerberos.expected(principal, wanted, queries) == (Principal(then) if then else None)


def test_bad_names_and_kinds_are_refused_at_once():
    with pytest.raises(KerberosError) as error:
        kerberos.check([NAME, "no-realm", 'a"b@R', "a b@R"], ["des-cbc-crc"])
    for said in ("'no-realm'", "'a\"b@R'", "'a b@R'", "des-cbc-crc: wanted"):
        assert said in str(error.value)
