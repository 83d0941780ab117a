"""What a run of all tests does with the time that it has."""

import threading
import time

import pytest

from tests import run


@pytest.fixture
def executed(monkeypatch):
    found = []
    monkeypatch.setattr(run, "execute", lambda part: found.append(part.name))
    return found


def part(name, minutes=0.0, own_kernels=False):
    return run.Part(
        name,
        ["true"],
        scenario=True,
        own_kernels=own_kernels,
        expected_seconds=60 * minutes,
    )


def test_a_scenario_that_would_end_too_late_is_left_and_said_to_be(executed, capsys):
    deadline = time.monotonic() + 60 * 30
    parts = [part("architecture a Debian 12", 29), part("architecture b Debian 12", 31), part("role c", 31)]
    for each in parts:
        run.in_time(deadline, each)
    assert executed == ["architecture a Debian 12"]
    assert run.summary([*parts[1:], run.Part("unit", [], passed=True)], 1) == 0
    said = capsys.readouterr().out
    assert all(f"changed: {name}\n" in said for name in ("architecture b Debian 12", "role c"))
    assert said.endswith("1 passed, 0 failed\n")


@pytest.mark.parametrize(
    ("line", "minutes"),
    [([], run.LIMIT_MINUTES), (["--all"], None), (["architecture", "dsync"], None), (["--minutes", "5"], 5)],
)
def test_only_a_default_run_has_a_limit(monkeypatch, line, minutes):
    monkeypatch.setattr("sys.argv", ["run", *line])
    assert run.parse().minutes == minutes


def test_scenarios_know_whether_their_hosts_have_own_kernels(monkeypatch):
    monkeypatch.setattr(run, "recorded", dict)
    for name in run.architectures():
        for found, passed in run.scenarios(name):
            scenario = found.name.split()[1]
            assert not passed
            assert found.own_kernels == run.has_own_kernels(scenario)
            assert found.expected_seconds == 60 * run.UNKNOWN_MINUTES["architecture"]
    assert not run.has_own_kernels("dsync")
    assert run.has_own_kernels("drbd_role")


def test_scenarios_run_two_at_a_time_but_one_with_own_kernels(monkeypatch):
    running, most = [], {True: 0, False: 0}
    both = threading.Event()

    def execute(part):
        running.append(part.own_kernels)
        most[True] = max(most[True], running.count(True))
        most[False] = max(most[False], len(running))
        if len(running) == 2:
            both.set()
        both.wait(5)
        running.remove(part.own_kernels)

    monkeypatch.setattr(run, "execute", execute)
    monkeypatch.setattr(run, "slots", lambda: 2)
    parts = [run.Part(str(number), [], scenario=True, own_kernels=number % 2 == 0) for number in range(6)]
    run.side_by_side(float("inf"), parts)
    assert most == {True: 1, False: 2}


def test_one_slot_runs_everything(executed, monkeypatch):
    monkeypatch.setattr(run, "slots", lambda: 1)
    run.side_by_side(float("inf"), [part("role a"), part("role b"), run.Part("lab", [], own_kernels=True)])
    assert sorted(executed) == ["lab", "role a", "role b"]


def test_the_shortest_run_first_and_architectures_with_own_kernels_last(executed, monkeypatch):
    parts = [
        part("architecture a Debian 12", 1, own_kernels=True),
        part("role b", 6, own_kernels=True),
        part("role c", 3, own_kernels=True),
        run.Part("unit", []),
        part("role d", 90),
    ]
    monkeypatch.setattr(run, "choose", lambda arguments: parts)
    monkeypatch.setattr(run, "summary", lambda parts, seconds: 0)
    monkeypatch.setattr("sys.argv", ["run"])
    assert run.main() == 0
    assert executed == ["unit", "role c", "role b", "architecture a Debian 12"]


@pytest.mark.parametrize(
    ("title", "recorded"),
    [
        ("role pki", {"pki": {"both": {"inputs": "made of pki for None", "seconds": 3}}}),
        ("architecture nfs Debian 12", {"nfs": {"12": {"inputs": "made of nfs for nfs", "seconds": 3}}}),
        ("lab", {}),
        ("unit", {}),
    ],
)
def test_scenarios_that_pass_are_recorded_and_not_due(monkeypatch, tmp_path, title, recorded):
    monkeypatch.setattr(run, "RECORD", tmp_path / "passed.json")
    monkeypatch.setattr(run, "inputs", lambda scenario, architecture: f"made of {scenario} for {architecture}")
    run.record(run.Part(title, [], seconds=3.2, passed=False))
    assert run.recorded() == {}
    run.record(run.Part(title, [], seconds=3.2, passed=True))
    assert run.recorded() == recorded
    due = {found.name: not passed for found, passed in run.every_scenario()}
    assert not recorded or not due[title]
    assert due["role firewall"]
    monkeypatch.setattr(run, "inputs", lambda scenario, architecture: "changed")
    assert not any(passed for _, passed in run.every_scenario())
