"""What the proofs read from the replicators' status and from a play's recap."""

import json
from pathlib import Path

from tests import run
from tests.proofs.__main__ import PROOFS
from tests.proofs.gfs2 import read_check
from tests.proofs.lab import QUEUE_DELAY, parse_synced
from tests.proofs.plays import recap
from tests.proofs.sessions import parse, rows
from tests.proofs.watch import running_since, twice

RECORDED = Path(__file__).parent / "recorded"
SYNCD = '[{"peer": "mail2", "up": true, "queued": 1, "lag_seconds": %s}]'
REPLICATOR = """username                       priority fast sync full sync success sync failed
u1@example.org                 none     00:00:12  00:10:22  00:00:12     -
u2@example.org                 low      00:00:03  00:10:22  00:01:03     -
u3@example.org                 none     -         -         -            y
"""


def test_daemon_status_of_all_users() -> None:
    text = f"=100.0\n{SYNCD % 0.0}\n=101.0\n{SYNCD % 0.5}\n=102.0\n{SYNCD % 0.5}"
    assert parse_synced(text) == {"*": 101.0 - 0.5 - QUEUE_DELAY}, "the last status may be cut short"


def test_replicator_status_of_each_user() -> None:
    found = parse_synced(f"=1000.0\n{REPLICATOR}\n{REPLICATOR}\n=1001.0\n")
    assert found == {"u1@example.org": 1000.0 - QUEUE_DELAY, "u2@example.org": 1000.0 - QUEUE_DELAY - 64}


def test_a_replicator_that_never_synced_a_user_says_nothing_of_it() -> None:
    other = "username priority fast sync full sync success sync failed\nu2@example.org none - - - -\n"
    found = parse_synced(f"=1000.0\n{REPLICATOR}\n{other}\n=1001.0\n")
    assert found["u2@example.org"] == 1000.0 - QUEUE_DELAY - 64


def test_status_that_cannot_be_read_is_none() -> None:
    assert parse_synced("") == {}
    assert parse_synced("=100.0\nno such command\n=101.0\n") == {}
    assert parse_synced(f"=100.0\n{json.dumps([])}\n=101.0\n") == {}


def test_recap() -> None:
    text = "PLAY RECAP ****\nmail1   : ok=52   changed=1    unreachable=0    failed=0    skipped=3\n"
    assert recap(text) == {"mail1": {"ok": 52, "changed": 1, "unreachable": 0, "failed": 0}}


def test_a_backend_that_ran_twice() -> None:
    def looks(*runs: tuple[float, float]) -> list[tuple[float, set[str]]]:
        return [(t / 10, {"be1"} if any(a <= t / 10 <= b for a, b in runs) else set()) for t in range(100)]

    assert not twice({"mail1": looks((0, 3)), "mail2": looks((4, 9))}, ["be1"])
    assert twice({"mail1": looks((0, 5)), "mail2": looks((3, 9))}, ["be1"]) == ["be1 on mail1 and mail2 for 2.0 s"]
    assert not twice({"mail1": looks((0, 5)), "mail2": looks((3, 9))}, ["be2"])


def test_nothing_is_known_of_the_time_in_which_a_node_did_not_answer() -> None:
    gone = [(1.0, {"be1"}), (1.1, {"be1"}), (60.0, {"be1"}), (60.1, {"be1"})]
    there = [(float(t), {"be1"}) for t in range(10, 50)]
    assert not twice({"mail1": gone, "mail2": there}, ["be1"])


def test_a_backend_runs_since_the_first_look_of_the_last_stretch() -> None:
    looks = [(1.0, {"be1"}), (2.0, set[str]()), (3.0, {"be1"}), (4.0, {"be1", "be2"})]
    assert running_since(looks, "be1") == 3.0
    assert running_since(looks[:2], "be1") is None
    assert running_since([], "be1") is None


def test_a_block_that_gfs2_leaked_is_told_from_damage():
    printed = (RECORDED / "fsck.gfs2-leak-13.txt").read_text()
    assert read_check(printed) == (1, [])
    assert read_check("Initializing fsck\n37 percent complete.\nfsck.gfs2 complete\nended with 0") == (0, [])
    assert read_check("Initializing fsck")[1] == ["the check did not end"]
    unlinked = "Block 86136 (0x15078) bitmap says 2 (other) but FSCK saw 0 (free)"
    assert read_check(printed.replace("Starting pass3", unlinked)) == (2, [])
    lost = "Block 86136 (0x15078) bitmap says 0 (free) but FSCK saw 3 (inode)"
    assert read_check(printed.replace("Starting pass3", lost))[1] == [lost]
    other = "Block 86136 (0x15078) bitmap says 3 (inode) but FSCK saw 1 (data)"
    assert read_check(printed.replace("Starting pass3", other))[1] == [other]
    damage = "Directory inode 4711 has 3 links, should be 2."
    assert read_check(printed.replace("Starting pass3", damage))[1] == [damage]
    other = "Found invalid inode at block 4711 (0x1267)"
    assert read_check(printed.replace("Starting pass3", other))[1] == [other]
    sums = "The statfs file is wrong:"
    assert read_check(f"{sums}\nfsck.gfs2 complete\nended with 4")[1] == [sums]


def test_scenarios_name_proofs_that_are_there() -> None:
    named = {
        name for scenario in run.scenario_names() for name in run.environment_of(scenario).get("PROOFS", "").split()
    }
    assert {"power_loss", "all_paths"} <= named <= set(PROOFS)
    assert not set(PROOFS) & {"drbd", "file_systems", "gfs2", "lab", "nfs", "proof"}


def who(*sessions: tuple[str, str]) -> str:
    """What `doveadm who -1` prints."""
    fields = [{"username": user, "service": service, "pid": "7", "ip": "192.0.2.1"} for user, service in sessions]
    return json.dumps(fields)


def test_who_has_sessions_on_a_node() -> None:
    """Login processes have none: they pass clients on. 2.3 forgets the bracket at the end."""
    text = who(("ann@example.org", "imap"), ("bob@example.org", "imap-login"))
    line = f"12.5\tbe1\t{text[:-1]}\tbe2\t{who(('cid@example.org', 'pop3'))}\tbe3\t\n"
    assert parse(line) == (12.5, {"ann@example.org", "cid@example.org"})
    assert rows(line) == [("ann@example.org", "be1"), ("cid@example.org", "be2")]
    assert parse("12.5\n") == (12.5, set())


def test_looks_that_are_far_apart_say_nothing_of_the_time_between() -> None:
    looks = {"mail1": [(0.0, {"ann"}), (4.0, {"ann"})], "mail2": [(1.0, {"ann"}), (3.0, {"ann"})]}
    assert not twice(looks, ["ann"])
    assert twice(looks, ["ann"], blind=5) == ["ann on mail1 and mail2 for 2.0 s"]
