"""What director-check tells a ring, and what it finds wrong with one."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "roles/dovecot_director/files/director_check.py"
spec = importlib.util.spec_from_file_location("director_check", PATH)
assert spec and spec.loader
director_check = importlib.util.module_from_spec(spec)
sys.modules["director_check"] = director_check  # where dataclasses look for it
spec.loader.exec_module(director_check)
Backend, Ring, Watch = director_check.Backend, director_check.Ring, director_check.Watch

# As Dovecot 2.3.19 answers, in a ring of two, to the first of them.
HOSTS = ["192.0.2.31\t100\t3\t\tU\t0", "192.0.2.32\t50\t0\t\tD\t1795712500"]
CONNECTION = "synced\t0\t93\t354\t0\t118\t1795712260\t1795712260"
TWO = [
    "198.51.100.14\t9090\tself\t0\tring synced\t0",
    f"198.51.100.15\t9090\tright\t0\t{CONNECTION}",
    f"198.51.100.15\t9090\tleft\t0\t{CONNECTION}",
]
A, B, C = "198.51.100.14", "198.51.100.15", "198.51.100.16"
ONE, OTHER, THIRD = "192.0.2.31", "192.0.2.32", "192.0.2.33"


def test_a_ring_is_read():
    ring = director_check.parse(HOSTS, [*TWO, f"{C}\t9090\tremoved\t0\t"])
    assert ring.backends == {ONE: Backend(100, 3, True), OTHER: Backend(50, 0, False)}
    assert (ring.directors, ring.self, ring.left, ring.right, ring.synced) == ({A, B}, A, B, B, True)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (
            [
                "198.51.100.14\t9090\tself\t0\tring handshaking\t0",
                "198.51.100.15\t9090\tout\t0\thandshaking - 0 USERs sent\t0",
            ],
            False,
        ),
        (["198.51.100.14\t9090\tself\t0\tring syncing - last sync 3 secs ago\t0", *TWO[1:]], False),
        (["198.51.100.14\t9090\tself\t0\tring synced\t0", "198.51.100.15\t9090\t\t1795712260\t"], True),
        (TWO, True),
    ],
)
def test_a_director_decides_in_a_ring_that_agrees(lines, wanted):
    assert director_check.parse(HOSTS, lines).leads() is wanted


@pytest.mark.parametrize(
    ("own", "left", "right", "leads"),
    [
        (A, "", "", True),
        (A, B, B, True),
        (B, A, A, False),
        (A, C, B, True),
        (B, A, C, False),
        (C, B, A, False),
        (A, "", B, False),
        ("192.0.2.9", "192.0.2.10", "192.0.2.10", True),
    ],
)
def test_one_director_of_a_ring_decides(own, left, right, leads):
    assert Ring({}, set(), own, left, right, True).leads() is leads


GOOD, FULL = {ONE: True, OTHER: True}, {ONE: 100, OTHER: 100}
UP, DOWN = Backend(100, 5, True), Backend(100, 0, False)
PLANS = {
    "all is well": ({ONE: UP, OTHER: UP}, FULL, FULL, GOOD, []),
    "one fails": (
        {ONE: UP, OTHER: UP},
        FULL,
        FULL,
        {ONE: False, OTHER: True},
        [["HOST-DOWN", ONE], ["HOST-RESET-USERS", ONE]],
    ),
    "one has failed once": ({ONE: UP, OTHER: UP}, FULL, FULL, {OTHER: True}, []),
    "one is out": ({ONE: DOWN, OTHER: UP}, FULL, FULL, {ONE: False, OTHER: True}, []),
    "users are still on one that is out": (
        {ONE: Backend(100, 2, False), OTHER: UP},
        FULL,
        FULL,
        {ONE: False, OTHER: True},
        [["HOST-RESET-USERS", ONE]],
    ),
    "one passes again": ({ONE: DOWN, OTHER: UP}, FULL, FULL, GOOD, [["HOST-UP", ONE]]),
    "all fail": ({ONE: UP, OTHER: UP}, FULL, FULL, {ONE: False, OTHER: False}, []),
    "the last one fails": ({ONE: DOWN, OTHER: UP}, FULL, FULL, {ONE: False, OTHER: False}, []),
    "all others are drained": ({ONE: UP, OTHER: Backend(0, 0, True)}, FULL, FULL, {ONE: False, OTHER: True}, []),
    "nothing is known of the other": ({ONE: UP, OTHER: UP}, FULL, FULL, {ONE: False}, []),
    "a ring that has just started": (
        {ONE: UP, OTHER: UP},
        {ONE: 100, OTHER: 50},
        {ONE: 100, OTHER: 50},
        GOOD,
        [["HOST-UPDATE", OTHER, "50"]],
    ),
    "an operator drains": ({ONE: Backend(0, 0, True), OTHER: UP}, FULL, FULL, GOOD, []),
    "a weight of 0 is described": ({ONE: UP, OTHER: UP}, FULL | {ONE: 0}, FULL, GOOD, [["HOST-UPDATE", ONE, "0"]]),
    "a weight of 0 was described": (
        {ONE: Backend(0, 0, True), OTHER: UP},
        FULL,
        FULL | {ONE: 0},
        GOOD,
        [["HOST-UPDATE", ONE, "100"]],
    ),
    "a new one": ({OTHER: UP}, FULL, {OTHER: 100}, GOOD, [["HOST-SET", ONE, "100"]]),
    "a new one that has not passed yet": ({OTHER: UP}, FULL, {OTHER: 100}, {OTHER: True}, []),
    "one is no longer described": (
        {ONE: UP, OTHER: UP},
        {OTHER: 100},
        FULL,
        GOOD,
        [["HOST-UPDATE", ONE, "0"], ["HOST-RESET-USERS", ONE]],
    ),
    "its users are moving": (
        {ONE: Backend(0, 3, True), OTHER: UP},
        {OTHER: 100},
        {OTHER: 100},
        GOOD,
        [["HOST-RESET-USERS", ONE]],
    ),
    "its users have moved": (
        {ONE: Backend(0, 0, True), OTHER: UP},
        {OTHER: 100},
        {OTHER: 100},
        GOOD,
        [["HOST-REMOVE", ONE]],
    ),
    "it stays while nothing else works": ({ONE: UP, OTHER: UP}, {OTHER: 100}, FULL, {OTHER: False}, []),
}


@pytest.mark.parametrize("name", PLANS)
def test_plan(name):
    backends, weights, before, well, wanted = PLANS[name]
    assert director_check.plan(Ring(backends, {A, B}), [A, B], weights, before, well) == wanted


def test_directors_come_and_go():
    told = director_check.plan(Ring({ONE: UP}, {A, C}), [A, B], {ONE: 100}, {ONE: 100}, {ONE: True})
    assert told == [["DIRECTOR-ADD", B], ["DIRECTOR-REMOVE", C]]


DESCRIBED = {ONE: {"name": "be1", "weight": 100}, OTHER: {"name": "be2", "weight": 50}}
WHOLE = Ring({ONE: UP, OTHER: Backend(50, 0, False)}, {A, B}, A, B, B, True)


@pytest.mark.parametrize(
    ("directors", "changes", "said"),
    [
        ([A, B], {}, []),
        ([B, A], {}, []),
        ([A, B], {"synced": False}, ["the ring is not synced"]),
        (
            [A, B],
            {"left": "", "right": ""},
            [
                f"director {B} is not reached (left of {A} is none)",
                f"director {B} is not reached (right of {A} is none)",
            ],
        ),
        ([A], {}, [f"the ring has director {B}, which is not described"]),
        (
            [A, B, C],
            {},
            [f"the ring lacks director {C}", f"director {C} is not reached (left of {A} is {B})"],
        ),
        ([A, B], {"backends": {ONE: UP}}, [f"the ring lacks backend be2, {OTHER}"]),
        ([A, B], {"backends": WHOLE.backends | {THIRD: UP}}, [f"the ring has backend {THIRD}, which is not described"]),
        ([A, B], {"backends": {ONE: UP, OTHER: UP}}, ["backend be2 has weight 100, not 50"]),
        ([A, B], {"backends": {ONE: Backend(0, 0, True), OTHER: Backend(50, 1, True)}}, []),
    ],
)
def test_problems(directors, changes, said):
    assert director_check.problems(Ring(**(vars(WHOLE) | changes)), directors, DESCRIBED) == said


def test_failures_and_passes_are_counted(monkeypatch, tmp_path):
    """Two failures soon one after the other, and three passes."""
    monkeypatch.setattr(director_check.ssl, "create_default_context", lambda cafile: None)
    answers = []
    monkeypatch.setattr(director_check, "works", lambda *arguments: answers.pop(0))
    watch = Watch()
    config = {"ca": "", "backends": {ONE: {"name": "be1"}}}
    seen = []
    for answer in ("", "", "", "", "gone", "", "gone", "gone", "gone", "", "", ""):
        answers.append(answer)
        seen.append((watch.check(config), watch.streaks[ONE]))
    assert seen == [
        *[(True, 1), (True, 2), (True, 3), (True, 3)],
        *[(False, -1), (True, 1), (False, -1), (True, -2), (True, -2)],
        *[(True, 1), (True, 2), (True, 3)],
    ]
