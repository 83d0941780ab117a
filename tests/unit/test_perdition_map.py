"""What tells perdition where users are: its packets, Dovecot's replies, and who has asked for whom."""

import importlib.util
import struct
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "roles/perdition/files/perdition_map.py"
spec = importlib.util.spec_from_file_location("perdition_map", PATH)
assert spec and spec.loader
perdition_map = importlib.util.module_from_spec(spec)
spec.loader.exec_module(perdition_map)
# What perdition 2.2 sent for a connection of IPv4.
RECORDED = bytes.fromhex("0707070700010001002c00000100007f0909007f68cc9f27") + b"\0\x0fann@example.org\0\1@"


def test_the_user_of_a_question():
    assert perdition_map.name_asked_for(RECORDED) == "ann@example.org"
    by_names = RECORDED[:6] + b"\0\3" + RECORDED[8:]
    assert perdition_map.name_asked_for(by_names) == "ann@example.org"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        RECORDED[:20],
        RECORDED[:-1],
        RECORDED + b"x",
        b"\1" + RECORDED[1:],
        RECORDED[:6] + b"\0\2" + RECORDED[8:],
        RECORDED[:24] + b"\xff\xff" + RECORDED[26:],
        RECORDED[:26] + b"\xff" * 15 + RECORDED[41:],
    ],
)
def test_what_is_no_question(packet):
    with pytest.raises((ValueError, struct.error)):
        perdition_map.name_asked_for(packet)


def test_an_answer_has_a_host_and_neither_user_nor_port():
    assert perdition_map.answer("be1.lab") == (
        bytes.fromhex("070707070001000200250000") + bytes(12) + b"\0\0" + b"\0\7be1.lab" + b"\0\0"
    )
    assert perdition_map.answer("").endswith(bytes(6))


@pytest.mark.parametrize(
    ("reply", "host"),
    [
        ("PASS\t1\tuser=ann@example.org\tproxy=y\tport=993\thost=be1.lab.test\thostip=192.0.2.31", "be1.lab.test"),
        ("PASS\t1\tuser=ann@example.org\thost=be1.lab.test\tproxy_no_multiplex=yes\tbackend=", "be1.lab.test"),
    ],
)
def test_a_user_with_a_backend(reply, host):
    assert perdition_map.host_of(reply) == host


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("NOTFOUND\t1", "unknown"),
        ("FAIL\t1", "cannot be looked up"),
        ("FAIL\t1\tcode=temp_fail", "cannot be looked up"),
        ("PASS\t1\tuser=ann@example.org\tproxy=y", "sent nowhere"),
        ("PASS\t1\tuser=ann@example.org\thost=", "sent nowhere"),
        ("PASS\t1\thost=held.invalid\thostip=255.255.255.255", "held.invalid"),
        ("PASS\t1\thost=be9.lab.test.is-no-backend.invalid", "be9.lab.test.is-no-backend.invalid"),
    ],
)
def test_who_is_refused_and_why(reply, why):
    with pytest.raises(LookupError, match=why):
        perdition_map.host_of(reply)


def test_a_name_cannot_say_anything_else_to_dovecot():
    with pytest.raises(LookupError):
        perdition_map.ask_dovecot("/nonexistent", "ann@example.org\tservice=x\nPASS\t2\tbob")


class TestAskers:
    @pytest.fixture
    def askers(self, monkeypatch):
        """Processes that stand for perdition's."""
        monkeypatch.setattr(perdition_map.Askers, "lives", staticmethod(lambda pid: pid in running))
        running = {}
        known = perdition_map.Askers()
        known.since -= perdition_map.LONGEST_LOGIN

        def start(*users):
            process = subprocess.Popen(["sleep", "60"])
            running[process.pid] = process
            for user in users:
                known.remember(f"/tmp/perdition-map-x/map.{process.pid}", user)
            return process

        yield known, start, running
        for process in running.values():
            process.kill()
            process.wait()

    def test_whoever_has_asked_for_the_user_is_ended(self, askers):
        known, start, _ = askers
        ann, bob, both = start("Ann@x"), start("bob@x"), start("bob@x", "ann@x")
        assert known.end("ann@X") == "2"
        assert ann.wait(5) and both.wait(5)
        assert bob.poll() is None

    def test_those_that_are_gone_are_forgotten(self, askers):
        known, start, running = askers
        gone = start("ann@x")
        gone.kill()
        gone.wait()
        del running[gone.pid]
        assert known.end("ann@x") == "0"
        start("bob@x")
        assert gone.pid not in known.users

    def test_what_was_asked_before_it_began_is_not_known(self, askers):
        known, _, _ = askers
        known.since += perdition_map.LONGEST_LOGIN
        assert known.end("ann@x") == "too early"
