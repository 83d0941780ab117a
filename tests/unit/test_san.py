"""What of a LUN's paths and of a session's record is right, and what a target may change."""

import pytest
from ansible.errors import AnsibleFilterError

from filter_plugins.store_san import exported_luns, reached_portals
from library.iscsi_session import interface_of
from module_utils.lio import Export, listing, refusals, serial, wanted
from module_utils.san import Path, login_problem, path_problems, record, settings_of, to_resize, wwid_of

WWID = "360014050d0ec1a57e200000000000001"
SERIAL = "0d0ec1a57e200000000000001"
RECORD = """\
# BEGIN RECORD 2.1.8
node.name = iqn.2026-11.org.example:array1
node.startup = manual
node.conn[0].timeo.noop_out_interval = 5
# END RECORD
"""


def path(disk, state="running", through="203.0.113.40", size=1 << 30):
    return Path(disk, WWID, state, through, size)


ONE, TWO = path("sda"), path("sdb", through="198.18.0.40")
PORTALS = ["203.0.113.40", "198.18.0.40"]


def test_a_record_keeps_what_is_not_set_and_takes_what_is_new():
    text = record(RECORD, {"node.startup": "automatic", "node.session.auth.password": "a = b"})
    assert text.splitlines()[1:] == [
        "node.name = iqn.2026-11.org.example:array1",
        "node.startup = automatic",
        "node.conn[0].timeo.noop_out_interval = 5",
        "node.session.auth.password = a = b",
        "# END RECORD",
    ]
    assert settings_of(text)["node.session.auth.password"] == "a = b"
    assert record(text, {"node.session.auth.password": "a = b"}) == text


@pytest.mark.parametrize(
    ("page", "wwid"),
    [
        ("naa.6001405AAAA\n", "36001405aaaa"),
        ("t10.ATA     QEMU HARDDISK\n", ""),
        ("", ""),
        ("eui.0025385b71b0a2c1", ""),
    ],
)
def test_wwids_are_written_as_multipath_writes_them(page, wwid):
    assert wwid_of(page) == wwid


def test_all_paths_are_there():
    assert path_problems(WWID, [ONE, TWO], 2, PORTALS) == []


@pytest.mark.parametrize(
    ("paths", "wanted_paths", "words"),
    [
        ([], 2, ["is not there"]),
        ([ONE], 2, ["no path through 198.18.0.40"]),
        ([ONE, path("sdb", "transport-offline", "198.18.0.40")], 2, ["sdb through 198.18.0.40 is transport-offline"]),
        ([ONE, TWO], 4, ["has 2 paths", "wanted 4"]),
    ],
)
def test_a_missing_path_is_told_with_its_place(paths, wanted_paths, words):
    [problem] = path_problems(WWID, paths, wanted_paths, PORTALS)
    assert WWID in problem
    assert all(word in problem for word in words)


def test_paths_are_counted_where_nobody_knows_what_they_lead_through():
    [problem] = path_problems(WWID, [ONE], 2)
    assert "203.0.113.40" in problem and "wanted 2" in problem


def test_a_lun_is_followed_once_all_paths_have_its_new_size():
    grown = path("sda", size=2 << 30), path("sdb", size=2 << 30)
    assert to_resize(grown, 1 << 30)
    assert not to_resize(grown, 2 << 30)
    assert not to_resize([grown[0], TWO], 1 << 30)
    assert not to_resize([grown[0], TWO], 512 << 20)


@pytest.mark.parametrize(("code", "words"), [(24, "name or password"), (8, "in time"), (99, "refuses: iscsiadm: odd")])
def test_a_failed_login_says_why(code, words):
    said = login_problem("203.0.113.40", "203.0.113.11", code, "Logging in\niscsiadm: odd\n")
    assert "portal 203.0.113.40, from 203.0.113.11" in said and words in said


def test_interfaces_are_found_by_their_addresses():
    listed = [{"ifname": "lo"}, {"ifname": "vec2", "addr_info": [{"local": "203.0.113.11"}]}]
    assert interface_of(listed, "203.0.113.11") == "vec2"
    assert interface_of(listed, "203.0.113.12") == ""


LUNS = [{"name": "mail", "device": "/dev/vdb", "wwid": WWID}]
INITIATOR = "iqn.2026-11.org.example:mail1"


def test_every_lun_is_for_every_initiator():
    export, problems = wanted(LUNS, PORTALS, [INITIATOR])
    assert problems == []
    assert export == Export(
        {"mail": ("/dev/vdb", SERIAL)}, set(PORTALS), {INITIATOR: {"mail"}}, {INITIATOR}, True, True
    )
    assert "initiator iqn.2026-11.org.example:mail1: mail, the password" in listing(export)


@pytest.mark.parametrize("wwid", ["360a98000375331524c5d455451503034", WWID[:-1], WWID.upper().replace("0D", "0G")])
def test_only_lio_s_own_wwids_can_be_given(wwid):
    with pytest.raises(ValueError, match="25 more hexadecimal digits"):
        serial(wwid)


def test_all_that_is_there_twice_is_told():
    _, problems = wanted([*LUNS, *LUNS], PORTALS, [INITIATOR, INITIATOR])
    assert [problem.split(" is ")[0] for problem in problems] == [
        "name mail",
        "device /dev/vdb",
        f"wwid {WWID}",
        f"initiator {INITIATOR}",
    ]


THEN = wanted(LUNS, PORTALS, [INITIATOR])[0]
BACKSTORES = {"mail": ("/dev/vdb", SERIAL)}
OTHER = "iqn.2026-11.org.example:mail2"
MORE = Export(
    {**THEN.luns, "old": ("/dev/vdc", "1" * 25)}, {*PORTALS, "192.0.2.40"}, {INITIATOR: {"mail"}, OTHER: {"mail"}}
)


def test_what_nobody_uses_may_go():
    assert refusals(MORE, THEN, BACKSTORES, []) == []
    assert refusals(THEN, THEN, BACKSTORES, [INITIATOR]) == []
    assert refusals(Export(), THEN, {}, []) == []


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ([INITIATOR], ["LUN old", "portal 192.0.2.40"]),
        ([OTHER], ["LUN old", "portal 192.0.2.40", f"initiator {OTHER}"]),
    ],
)
def test_what_somebody_uses_stays(users, words):
    problems = refusals(MORE, THEN, BACKSTORES, users)
    assert len(problems) == len(words)
    assert all(problem.startswith(word) for problem, word in zip(problems, words, strict=True))


@pytest.mark.parametrize(
    ("backstores", "words"),
    [
        ({"mail": ("/dev/vdc", SERIAL)}, "mail is /dev/vdc"),
        ({"mail": ("/dev/vdb", "2" * 25)}, f"wanted /dev/vdb with serial {SERIAL}"),
        ({"theirs": ("/dev/vdb", "2" * 25)}, "/dev/vdb (mail) is exported as theirs already"),
    ],
)
def test_what_is_another_s_is_refused(backstores, words):
    [problem] = refusals(Export(), THEN, backstores, [])
    assert words in problem


def test_an_array_of_ours_exports_each_pod_s_disk():
    volumes = {"pod_a": {"wwid": WWID, "disk": "/dev/vdb"}}
    mail = {"name": "mail_pod_a", "device": "/dev/vdb", "wwid": WWID}
    assert exported_luns(volumes, {}) == [mail]
    assert exported_luns(volumes, {"wwid": "2", "disk": "/dev/vdc"})[1:] == [
        {"name": "sbd", "device": "/dev/vdc", "wwid": "2"}
    ]


def test_portals_are_reached_from_the_address_in_their_network():
    host = {"mail_storage_address": "203.0.113.11", "mail_storage2_address": "198.18.0.11"}
    networks = {"clients": "192.0.2.0/24", "storage": "203.0.113.0/24", "storage2": "198.18.0.0/24"}
    assert reached_portals(PORTALS, host, networks) == [
        {"address": "203.0.113.40", "source": "203.0.113.11"},
        {"address": "198.18.0.40", "source": "198.18.0.11"},
    ]
    with pytest.raises(AnsibleFilterError, match=r"10\.0\.0\.1 is in none"):
        reached_portals(["10.0.0.1"], host, networks)
