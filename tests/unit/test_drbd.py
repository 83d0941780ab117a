"""DRBD: what its tools report (recorded on 8.4.11 with drbd-utils 9.22), and what follows."""

import subprocess
from pathlib import Path

import pytest

from module_utils import drbd
from module_utils.drbd import Status, first_sync, grows, may_verify, parse_status, render, usable_bytes, verdict

RECORDED = Path(__file__).parent / "recorded"
FENCE_PEER = Path(__file__).parents[2] / "roles/drbd/templates/fence-peer.j2"
FRESH = ["0000000000000004", "0" * 16, "0" * 16, "0" * 16]
USED = ["9A93B80002E47F52", *FRESH[1:]]
RESOURCE = {
    "name": "mail",
    "minor": 0,
    "port": 7788,
    "nodes": [
        {"name": "mail1", "address": "198.51.100.1", "disk": "/dev/vdb"},
        {"name": "mail2", "address": "198.51.100.2", "disk": "/dev/vdb"},
    ],
    "secret": "letters-and-digits",
    "protocol": "C",
    "fencing": "resource-and-stonith",
    "two_primaries": False,
    "hmac_alg": "sha256",
    "verify_alg": "crc32c",
    "csums_alg": "sha256",
    "sync_max_rate": "100M",
    "split_brain_handler": "/sbin/handler",
}


def recorded(name: str) -> Status:
    return parse_status((RECORDED / f"drbd-status-{name}.txt").read_text(), 8)["r0"]


def test_status_of_a_fresh_pair() -> None:
    status = recorded("fresh")
    assert (status.role, status.connection, status.disk_state) == ("Secondary", "Connected", "Inconsistent")
    assert (status.peer_role, status.peer_disk_state, status.replication) == (
        "Secondary",
        "Inconsistent",
        "Established",
    )
    assert status.out_of_sync_bytes == status.size_bytes == 327632 * 1024
    assert status.minors == [0] and not status.healthy


def test_status_of_a_good_pair() -> None:
    assert recorded("skipped").healthy and recorded("skipped").out_of_sync_bytes == 0
    primary = recorded("primary")
    assert primary.healthy and primary.role == "Primary" and primary.peer_role == "Secondary"


def test_nothing_is_up() -> None:
    assert parse_status("", 8) == {} and parse_status("[]", 9) == {}
    assert not Status().up


def test_status_of_drbd_9() -> None:
    text = """[{"name": "r0", "node-id": 0, "role": "Primary", "suspended": false,
      "devices": [{"volume": 0, "minor": 3, "disk-state": "UpToDate", "size": 1024}],
      "connections": [{"peer-node-id": 1, "name": "b", "connection-state": "Connected", "peer-role": "Secondary",
        "peer_devices": [{"volume": 0, "replication-state": "SyncSource", "peer-disk-state": "Inconsistent",
          "out-of-sync": 512, "percent-in-sync": 50.0}]},
       {"peer-node-id": 2, "name": "c", "connection-state": "StandAlone", "peer-role": "Unknown",
        "peer_devices": []}]}]"""
    status = parse_status(text, 9)["r0"]
    assert (status.connection, status.replication, status.sync_percent) == ("StandAlone", "SyncSource", 50.0)
    assert status.out_of_sync_bytes == 512 * 1024 and status.minors == [3] and not status.healthy


def test_version_disk_uuid_generation() -> None:
    assert drbd.parse_version("version: 8.4.11 (api:1/proto:86-101)\n") == (8, 4)
    assert drbd.parse_version("9.2.8\n") == (9, 2)
    assert drbd.parse_version("") is None
    assert drbd.parse_disk((RECORDED / "drbd-show.txt").read_text()) == "/dev/ubda"
    assert drbd.parse_disk("") is None
    assert drbd.parse_uuid((RECORDED / "drbd-wipefs.json").read_text()) == "d50d889dd6045e49"
    assert drbd.parse_uuid("") is None
    assert drbd.parse_generation(":".join(FRESH) + ":0:0:0:1:0:1:0\n") == FRESH


def test_handlers_and_fencing_follow_the_version() -> None:
    eight, nine = render(RESOURCE, 8), render(RESOURCE, 9)
    assert "drbd-fence-peer /usr/lib/drbd/crm-fence-peer.sh" in eight and "after-resync-target" in eight
    assert "fencing" in eight.partition("disk {")[2].partition("}")[0]
    assert (
        "drbd-fence-peer /usr/lib/drbd/crm-fence-peer.9.sh" in nine and "unfence-peer" in nine and "node-id 1;" in nine
    )
    assert "fencing" in nine.partition("net {")[2].partition("}")[0]
    assert "crm-fence" not in render({**RESOURCE, "fencing": "dont-care"}, 8)
    assert "letters-and-digits" not in drbd.mask(eight)


def test_what_another_resource_has_is_taken() -> None:
    text = render(RESOURCE, 8)
    assert drbd.taken(text, 0, 7788, "198.51.100.1") == ["minor 0", "port 7788"]
    assert drbd.taken(text, 1, 7789, "198.51.100.1") == []


def test_listeners() -> None:
    table = "   0: 0D02E70A:1E6C 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n"
    assert drbd.listeners(table, 7788) and not drbd.listeners(table, 7789)
    assert not drbd.listeners(table.replace(" 0A ", " 01 ").replace("00000000:0000", "0E02E70A:907F"), 7788)


KNOWN = {"disk": "/dev/x", "uuid": "aa"}


@pytest.mark.parametrize(
    ("found", "data_at", "uuid", "known", "erase", "action"),
    [
        ([], None, None, {}, False, "use"),
        ([], None, None, {}, True, "use"),
        ([], 7, None, {}, False, "refuse"),
        ([], 7, None, {}, True, "erase"),
        (["ext4"], None, None, KNOWN, False, "refuse"),
        (["drbd"], None, "aa", {}, False, "refuse"),
        (["drbd"], None, "bb", KNOWN, False, "refuse"),
        (["drbd"], None, "bb", KNOWN, True, "erase"),
        (["drbd", "ext4"], None, "aa", KNOWN, False, "keep"),
        (["drbd", "ext4"], None, "aa", KNOWN, True, "keep"),  # what is ours outlives a forgotten erase
        (["drbd"], None, "bb", {"disk": "/dev/x", "pending": True}, False, "keep"),
        (["drbd", "ext4"], None, "bb", {"disk": "/dev/x", "pending": True}, False, "refuse"),
        (["drbd"], None, "aa", {"disk": "/dev/y", "uuid": "aa"}, False, "refuse"),
        (["drbd"], None, None, {"disk": "/dev/x", "uuid": None}, False, "refuse"),
    ],
)
def test_verdict(found, data_at, uuid, known, erase, action) -> None:
    assert verdict("/dev/x", found, data_at, uuid, known, erase)[1] == action


def test_the_first_sync_happens_once() -> None:
    fresh = recorded("fresh")
    assert first_sync(fresh, FRESH, "skip") == "skip" and first_sync(fresh, FRESH, "source") == "source"
    assert first_sync(fresh, FRESH, "none") == "none"
    assert first_sync(fresh, USED, "source") == "none"
    assert first_sync(recorded("skipped"), USED, "skip") == "none"
    alone = Status(role="Secondary", connection="Connecting", disk_state="Inconsistent")
    assert first_sync(alone, FRESH, "skip") == "wait"
    # The peer has data: DRBD itself syncs from there.
    joined = Status("Secondary", "Connected", "Inconsistent", "Primary", "UpToDate", "SyncTarget")
    assert first_sync(joined, FRESH, "source") == "none"


def test_growth() -> None:
    status = recorded("skipped")
    assert usable_bytes(320 << 20) == status.size_bytes  # as DRBD computed it
    assert not grows(status, 320 << 20) and not grows(status, 0)
    assert grows(status, 400 << 20)
    assert not grows(recorded("fresh"), 400 << 20)


def test_one_node_verifies_and_not_during_a_sync() -> None:
    nodes = ["a", "b"]
    quiet = {"r0": recorded("skipped")}
    assert [may_verify("r0", n, nodes, quiet) for n in nodes] == ["", "a does it"]
    assert may_verify("r0", "b", nodes, {"r0": recorded("primary")}) == ""
    busy = {**quiet, "other": Status(role="Secondary", replication="SyncTarget")}
    assert "running" in may_verify("r0", "a", nodes, busy)
    assert "not healthy" in may_verify("r0", "a", nodes, {})


def test_metrics() -> None:
    text = drbd.metrics({"r0": recorded("fresh")}, {"r0"}, {}, ["r0", "gone"])
    assert 'drbd_out_of_sync_bytes{resource="r0"} 335495168' in text
    assert 'drbd_split_brain{resource="r0"} 1' in text and 'drbd_up{resource="gone"} 0' in text


def test_all_that_is_wrong_with_a_declaration() -> None:
    assert drbd.declaration_problems(RESOURCE, "mail1") == []
    bad = {**RESOURCE, "name": "1 2", "fencing": "dont-care", "two_primaries": True, "secret": "short"}
    found = " ".join(drbd.declaration_problems(bad, "other"))
    for word in ("name 1 2", "uname -n", "two primaries", "secret"):
        assert word in found


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('in_ccm="0" crmd="0"', 'in_ccm="false" crmd="offline"'),
        ('in_ccm="1795535735" crmd="1795535734"', 'in_ccm="true" crmd="online"'),
        ('in_ccm="true" crmd="online"', 'in_ccm="true" crmd="online"'),
    ],
)
def test_fence_handler_reads_node_states_of_old_and_new_pacemakers(tmp_path, written, read):
    """What its cibadmin prints, and ends with, when Pacemaker's own does so."""
    own = tmp_path / "cibadmin"
    own.write_text(f'#!/bin/sh\necho \'<node_state uname="mail1" {written} join="down"/>\'\nexit 7\n')
    handler = tmp_path / "handler"
    handler.write_text("#!/bin/bash\ncibadmin -Q\nexit $?\n")
    for program in (own, handler):
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", FENCE_PEER, handler], env=environment, capture_output=True, text=True)
    assert done.stdout == f'<node_state uname="mail1" {read} join="down"/>\n'
    assert done.returncode == 7
