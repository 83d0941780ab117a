"""What Fibre Channel ports see, and what is said of what they do not."""

import pytest

from library.fc_port_info import look
from module_utils.fc import Port, Remote, fabric, problems, silent, wwn

ARRAY = ("50:06:01:60:3b:20:10:aa", "50:06:01:68:3b:20:10:aa")


def port(host="host2", state="Online", remotes=()):
    return Port(host, f"20:00:00:25:b5:00:00:0{host[-1]}", state, "16 Gbit", "", "lpfc", tuple(remotes))


def sees(wwpn, state="Online", roles="FCP Target"):
    return Remote(wwpn, state, roles)


GOOD = [port("host2", remotes=[sees(ARRAY[0])]), port("host3", remotes=[sees(ARRAY[1])])]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0x20000025b500001a\n", "20:00:00:25:b5:00:00:1a"),
        ("20000025B500001A", "20:00:00:25:b5:00:00:1a"),
        ("20:00:00:25:B5:00:00:1A", "20:00:00:25:b5:00:00:1a"),
        ("203.0.113.20", "203.0.113.20"),
        ("2001:db8::20", "2001:db8::20"),
        ("", ""),
    ],
)
def test_names_are_written_in_one_way(text, name):
    assert wwn(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0x0", ""),
        ("0x0000000000000000", ""),
        ("0xffffffffffffffff", ""),
        ("0x100000051e7a7b8c", "10:00:00:05:1e:7a:7b:8c"),
    ],
)
def test_a_port_may_be_in_no_fabric(text, name):
    assert fabric(text) == name


def test_all_is_there():
    assert problems(GOOD, 2, [ARRAY[0].upper(), "0x" + ARRAY[1].replace(":", "")]) == []
    assert silent(GOOD, ARRAY) == []


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ([], ["0 Fibre Channel ports are Online (there is none), wanted 2: is the adapter's driver loaded?"]),
        ([port()], ["1 Fibre Channel ports are Online (20:00:00:25:b5:00:00:02), wanted 2"]),
        ([port(), port("host3", "Linkdown")], ["port 20:00:00:25:b5:00:00:03 (lpfc) is Linkdown, wanted Online"]),
    ],
)
def test_missing_ports_are_told(ports, words):
    found = problems(ports, 2)
    assert len(found) == len(words) and all(word in said for said, word in zip(found, words, strict=True))


def test_what_is_not_zoned_is_told_with_both_names():
    [said] = problems([GOOD[0], port("host3")], 2, ARRAY)
    assert said == (
        f"no port sees the array's port {ARRAY[1]}: zone it with this host's,"
        " 20:00:00:25:b5:00:00:02, 20:00:00:25:b5:00:00:03"
    )


def test_what_is_zoned_and_not_mapped_is_told_in_another_way():
    [said] = problems([GOOD[0], port("host3", remotes=[sees(ARRAY[1], roles="unknown")])], 2, ARRAY)
    assert "is Online and no target for this host (unknown): map a LUN to" in said


def test_what_is_only_remembered_is_not_seen():
    """As found on hosts, when the array's host stood still for too long."""
    [said] = problems([GOOD[0], port("host3", remotes=[sees(ARRAY[1], "Not Present", "unknown")])], 2, ARRAY)
    assert said.startswith(f"no port sees the array's port {ARRAY[1]}")


def test_only_ports_without_a_target_log_in_anew():
    others = [sees("20:00:00:25:b5:00:00:99", roles="FCP Initiator"), sees(ARRAY[1], "Blocked")]
    ports = [GOOD[0], port("host3", remotes=others), port("host4", "Linkdown")]
    assert silent(ports, ARRAY) == ["host3"]


def test_the_kernels_files_are_read(tmp_path):
    files = {
        "fc_host/host10": {"port_name": "0x2000000000000010", "port_state": "Linkdown", "fabric_name": "0x0"},
        "fc_host/host9": {
            "port_name": "0x2000000000000009",
            "port_state": "Online",
            "speed": "10 Gbit",
            "fabric_name": "0x0",
            "symbolic_name": "fcoe v0.1 over eth2",
        },
        "scsi_host/host10": {"proc_name": "qla2xxx"},
        "fc_remote_ports/rport-9:0-1": {
            "port_name": "0x2000000000000001",
            "port_state": "Online",
            "roles": "FCP Target, FCP Initiator",
        },
    }
    for folder, contents in files.items():
        (tmp_path / folder).mkdir(parents=True)
        for name, content in contents.items():
            (tmp_path / folder / name).write_text(content + "\n")
    first, second = look(tmp_path)
    assert (first.host, first.name, first.online) == ("host9", "fcoe v0.1 over eth2", True)
    assert [remote.wwpn for remote in first.remotes if remote.serves] == ["20:00:00:00:00:00:00:01"]
    assert (second.host, second.name, second.speed, second.remotes) == ("host10", "qla2xxx", "", ())
