"""AFS cells: what vos and pts printed, and what follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.kerberos import Key

from module_utils import afs
from module_utils.afs import AfsError, ClientHost, Folder, Site, Volume, Wanted

RECORDED = Path(__file__).parent / "recorded"
A, B, C = (Site(f"10.231.2.{octet}", "/vicepa") for octet in (12, 13, 14))
PRINCIPAL = "afs/cell13.lab.test@CELL13.LAB.TEST"
KEY = Key(PRINCIPAL, 1, 18, bytes(32))
FREE = {site.server: {"/vicepa": 5000, "/vicepb": 10} for site in (A, B, C)}
VOLUME = Volume(A, 2000, 4000, 100, {A: 100, B: 100}, 101)


def recorded(name):
    return (RECORDED / f"{name}.txt").read_text()


def test_recorded_volume():
    entry = afs.read_entry(recorded("vos-listvldb"))
    assert entry == afs.Entry(A, (A, B))
    volume = afs.join(
        "mail.ann", entry, afs.read_status(recorded("vos-examine")), afs.read_status(recorded("vos-examine-readonly"))
    )
    assert volume == Volume(A, 2, 100000, 1795697663, {A: 1795697663, B: 1795697663}, 1795697669)
    assert "not up to date" not in volume.shown("mail.ann")


def test_recorded_servers_and_room():
    assert afs.read_servers(recorded("vos-listaddrs")) == [["10.231.2.13"], ["10.231.2.14"], ["10.231.2.12"]]
    assert afs.read_free(recorded("vos-partinfo")) == {"/vicepa": 73081392, "/vicepb": 73081392}


def test_a_server_with_several_addresses_is_one():
    assert afs.read_servers("UUID: a\n192.0.2.1\n198.51.100.1\n\nUUID: b\n192.0.2.2\n\n") == [
        ["192.0.2.1", "198.51.100.1"],
        ["192.0.2.2"],
    ]


@pytest.mark.parametrize(
    ("entry", "status", "said"),
    [
        ("\n    Volume is currently LOCKED  \n", "", "something else works with it"),
        ("", ("name\t\tmail.ann", "x"), "10.231.2.12 says nothing about it"),
        ("", ("status\t\tOK", "status\t\tUNATTACHABLE"), "is not usable on 10.231.2.12 /vicepa"),
        ("", ("needsSalvaged\tN", "needsSalvaged\tY"), "is not usable"),
    ],
)
def test_a_volume_that_cannot_be_worked_with(entry, status, said):
    text = recorded("vos-examine")
    text = text.replace(*status) if status else text
    found = afs.read_entry(recorded("vos-listvldb") + entry)
    with pytest.raises(AfsError, match=said):
        afs.join("mail.ann", found, afs.read_status(text), [])


def wanted(**changes):
    return replace(Wanted("mail.ann", A, 4000, (A, B), True), **changes)


@pytest.mark.parametrize(
    ("want", "found", "steps"),
    [
        (wanted(), VOLUME, []),
        (Wanted("mail.ann", A), VOLUME, []),
        (Wanted("mail.ann", A), None, ["create 10.231.2.12 /vicepa mail.ann -maxquota 0"]),
        (
            wanted(),
            None,
            [
                "create 10.231.2.12 /vicepa mail.ann -maxquota 4000",
                "addsite 10.231.2.12 /vicepa mail.ann",
                "addsite 10.231.2.13 /vicepa mail.ann",
                "release mail.ann",
                "backup mail.ann",
            ],
        ),
        (
            wanted(site=C, quota=None),
            VOLUME,
            ["move mail.ann 10.231.2.12 /vicepa 10.231.2.14 /vicepa", "backup mail.ann"],
        ),
        (wanted(quota=0), VOLUME, ["setfields mail.ann -maxquota 0"]),
        (wanted(), replace(VOLUME, updated=101), ["release mail.ann", "backup mail.ann"]),
        (wanted(copies=None), replace(VOLUME, updated=99, backup=0), ["release mail.ann", "backup mail.ann"]),
        (
            wanted(copies=(C,)),
            replace(VOLUME, copies={A: 100, B: 0}),
            [
                "remove -id mail.ann.readonly -server 10.231.2.12 -partition /vicepa",
                "remsite -id mail.ann -server 10.231.2.13 -partition /vicepa",
                "addsite 10.231.2.14 /vicepa mail.ann",
                "release mail.ann",
            ],
        ),
        (wanted(copies=()), replace(VOLUME, copies={}), []),
    ],
)
def test_steps(want, found, steps):
    assert [" ".join(step) for step in afs.steps(want, found)] == steps
    assert afs.steps(want, afs.expected(want, found)) == []


@pytest.mark.parametrize(
    ("want", "said"),
    [
        (wanted(quota=1999), "a quota of 1999 KiB is below the 2000 KiB that are stored"),
        (wanted(site=Site(A.server, "/vicepz")), "10.231.2.12 has no partition /vicepz, but /vicepa, /vicepb"),
        (wanted(site=Site(B.server, "/vicepb")), "10.231.2.13 /vicepb has 10 KiB free, and 2000 KiB are stored"),
        (wanted(copies=(B, Site(B.server, "/vicepb"))), "two read-only copies on 10.231.2.13"),
        (wanted(name="m" * 23), "has 23 characters, allowed are 22"),
        (wanted(name="ann.readonly"), "names in .readonly are those of copies"),
        (wanted(name="5368"), "not digits alone"),
        (wanted(name="a/b"), "wanted letters"),
    ],
)
def test_volumes_that_cannot_be(want, said):
    problems = afs.volume_problems(want, VOLUME, FREE)
    assert [problem for problem in problems if said in problem] == problems
    assert problems


def test_a_volume_that_can_be():
    assert afs.volume_problems(wanted(), VOLUME, FREE) == afs.volume_problems(wanted(), None, FREE) == []


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("5000", 5000), ("10M", 10240), ("1G", 1048576)])
def test_sizes(text, size):
    assert afs.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "2T", "10 G", "1X"])
def test_bad_sizes(text):
    with pytest.raises(AfsError, match="quota"):
        afs.parse_size(text)


def test_partitions():
    assert {afs.parse_partition(text) for text in ("b", "vicepb", "/vicepb")} == {"/vicepb"}
    for text in ("", "7", "iw", "abc", "/srv"):
        with pytest.raises(AfsError, match="partition"):
            afs.parse_partition(text)


def test_dumps_are_whole():
    whole = bytes.fromhex("01b3a1132200000001"), bytes.fromhex("0000043a214b6e")
    assert afs.dump_problem(*whole) is None
    assert afs.dump_problem(whole[0], b"\0\0") == "is cut off"
    assert afs.dump_problem(b"#!/bin/sh", whole[1]) == "is no dump of a volume"


def test_recorded_users_and_groups():
    names = afs.read_names(recorded("pts-listentries"))
    assert (names["nnn.x"], names["mailadmins"], names["system:administrators"]) == (1, -206, -204)
    assert afs.read_members(recorded("pts-membership")) == {"nnn.x"}


def test_users_and_groups_that_cannot_be():
    present = {"ann": 1, "mail": -206, "system:administrators": -204}
    assert afs.principal_problems(present, ["bob"], {"mail": ["ann", "bob"], "system:administrators": []}) == []
    problems = afs.principal_problems(present, ["mail", "a b"], {"ann": [], "x:y": [], "new": ["cat"]})
    assert len(problems) == 5, problems


def test_keys_that_asetkey_lists():
    text = f"rxkad_krb5\tkvno    1 enctype 18; key is: {'00' * 32}\nAll done.\n"
    assert afs.read_keys(text, PRINCIPAL) == [KEY]
    assert afs.read_keys("All done.\n", PRINCIPAL) == []


SERVER = {
    "cell": "cell13.lab.test",
    "databases": {"a": "10.231.2.12"},
    "address": "10.231.2.12",
    "partitions": [{"name": "a", "folder": False}],
    "principal": PRINCIPAL,
    "superusers": ["ann.admin"],
}
MOUNTED = Folder(True, True, ("AFSIDat", "Lock", "V0536870912.vol", ".volheaders.lock", ".volume.lock", "lost+found"))


def problems(present_cell="", keys=(KEY,), folder=MOUNTED, **changes):
    return afs.server_problems(SERVER | changes, present_cell, ["10.231.2.12"], list(keys), lambda _: folder)


def test_a_server_that_can_be():
    assert problems() == problems("cell13.lab.test") == []
    assert problems(partitions=[{"name": "iv", "folder": True}], folder=Folder()) == []
    assert problems(partitions=[]) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"present_cell": "old.test"}, "this is a server of the cell old.test, not of cell13.lab.test"),
        ({"keys": ()}, f"afs_server_keytab is empty, wanted the keytab of {PRINCIPAL}"),
        ({"keys": (replace(KEY, principal="afs/x@X"),)}, "has a key of afs/x@X"),
        ({"keys": (replace(KEY, enctype=20),)}, "aes256-cts-hmac-sha384-192 is of no use to AFS"),
        ({"databases": {"a": "10.231.2.12", "b": "10.231.2.13"}}, "has 2 servers, wanted 1 or 3"),
        ({"databases": {"a": "10.231.2.12", "b": "10.231.2.12", "c": "10.231.2.13"}}, "has an address twice"),
        ({"databases": {"a": "2001:db8::1"}}, "a: '2001:db8::1' is not an IPv4 address"),
        ({"address": "10.231.2.99"}, "afs_server_address is 10.231.2.99, which this host does not have"),
        ({"databases": {"a": "10.231.2.13"}, "partitions": []}, "it would do nothing"),
        ({"superusers": ["ann/admin"]}, "'ann/admin' is no name"),
        ({"partitions": [{"name": "a", "folder": False}] * 2}, "partition a: is given twice"),
        ({"partitions": [{"name": "9", "folder": False}]}, "partition '9': wanted a to z"),
        ({"folder": Folder()}, "/vicepa does not exist: mount a file system"),
        ({"folder": Folder(True)}, "/vicepa nothing is mounted there"),
        ({"folder": Folder(True, True, ("a", "b", "c", "d"))}, "holds something else than volumes: a, b, c and 1 more"),
    ],
)
def test_servers_that_cannot_be(changes, said):
    found = problems(**changes)
    assert [problem for problem in found if said in problem], found
    assert len(found) == 1


def test_a_cell_has_a_name_of_dns():
    assert afs.server_problems(SERVER | {"cell": "Cell_13"}, "", ["10.231.2.12"], [KEY], lambda _: MOUNTED) == [
        "afs_server_cell is 'Cell_13', wanted a name such as example.org"
    ]


CLIENT = {
    "cell": "example.org",
    "databases": {"afs1.example.org": "192.0.2.61"},
    "principal": PRINCIPAL,
    "keytab_file": "/etc/afs-client.keytab",
    "mounts": [{"volume": "mail.a", "path": "/srv/mail/a"}, {"volume": "mail.a.backup", "path": "/srv/mail/yesterday"}],
    "cache_free": 20,
}


def test_a_client_that_can_be():
    assert afs.client_problems(CLIENT, ClientHost([KEY])) == []
    assert afs.client_problems({**CLIENT, "mounts": [], "cache_free": 0}, ClientHost([KEY])) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cell": "Example.org"}, "afs_client_cell is 'Example.org'"),
        ({"databases": {}}, "afs_client_databases is empty"),
        ({"databases": {"a": "2001:db8::1"}}, "a has '2001:db8::1', which is no IPv4 address"),
        ({"principal": "mail@X"}, f"no key of mail@X (afs_client_keytab, /etc/afs-client.keytab), but {PRINCIPAL}"),
        ({"mounts": [{"volume": "a" * 32, "path": "/a"}]}, "31 at most"),
        ({"mounts": [{"volume": "a:b", "path": "/a"}]}, "volume 'a:b'"),
        ({"mounts": [{"volume": "a", "path": "/a/"}]}, "path '/a/': wanted such as"),
        ({"mounts": [{"volume": "a", "path": "/a b"}]}, "path '/a b': wanted such as"),
        ({"mounts": [{"volume": "a", "path": "/a"}, {"volume": "b", "path": "/a"}]}, "path /a: is given twice"),
        ({"cache_free": 4}, "afs_client_cache_free is 4"),
        ({"cache_free": 91}, "afs_client_cache_free is 91"),
    ],
)
def test_clients_that_cannot_be(changes, said):
    problems = afs.client_problems({**CLIENT, **changes}, ClientHost([KEY]))
    assert len(problems) == 1 and said in problems[0]


def test_hosts_that_cannot_be_clients():
    problems = afs.client_problems(CLIENT, ClientHost([], False, ["vmail"], ["openafs-client.service"]))
    assert [problem.split(":")[0] for problem in problems] == [
        "this kernel has no kafs",
        "openafs-client.service runs here, the other client of AFS",
        "afs_client_users",
        f"no key of {PRINCIPAL} (afs_client_keytab, /etc/afs-client.keytab), but none",
    ]


LIST = afs.AccessList({"system:administrators": "rlidwka", "mailservers": "rlidwk"}, {"ann": "w"})
TEXT = "2\n1\nmailservers 63\nsystem:administrators 127\nann 2\n\0"


def test_access_lists_as_file_servers_have_them():
    assert afs.read_access_list(TEXT.replace(" ", "\t")) == LIST  # as they print it
    assert LIST.text() == TEXT
    assert afs.read_access_list("1\n0\nann 16777217\n") == afs.AccessList({"ann": "rA"})
    assert LIST.shown() == "mailservers: rlidwk\nsystem:administrators: rlidwka\nnot ann: w\n"


@pytest.mark.parametrize("text", ["", "1\n", "1\n0\nann\n", "1\n0\nann many\n", "one\n0\nann 1\n"])
def test_what_is_no_access_list(text):
    with pytest.raises(AfsError, match="not understood as an access list"):
        afs.read_access_list(text)


def test_access_lists_as_people_write_them():
    allows = {"mailservers": "write", "system:administrators": "akwdilr", "bob": "none"}
    assert afs.wanted_access_list(allows, {"ann": "w"}) == LIST
    assert afs.wanted_access_list({"ann": "read"}, {}) == afs.AccessList({"ann": "rl"})


@pytest.mark.parametrize(
    ("allows", "denies", "said"),
    [
        ({"ann": "rx"}, {}, "'ann': 'rx': wanted"),
        ({"ann": "read"}, {"bob": "Read"}, "'bob': 'Read': wanted"),
        ({"ann 127\nbob": "read"}, {}, "wanted a name"),
        ({"ann": "none"}, {}, "nobody would have a right"),
        ({}, {"ann": "w"}, "nobody would have a right"),
    ],
)
def test_access_lists_that_cannot_be(allows, denies, said):
    with pytest.raises(AfsError, match=said):
        afs.wanted_access_list(allows, denies)
