"""What a run of all tests does with the time that it has."""

import time

import pytest

from tests import run


@pytest.fixture
def executed(monkeypatch):
    found = []
    monkeypatch.setattr(run, "execute", lambda part: found.append(part.name))
    return found


def part(name, minutes=0.0):
    return run.Part(name, ["true"], scenario=True, expected_seconds=60 * minutes)


def test_a_scenario_that_would_end_too_late_is_left_and_said_to_be(executed, capsys):
    deadline = time.monotonic() + 60 * 30
    parts = [part("architecture a Debian 12", 29), part("architecture b Debian 12", 31), part("role c")]
    for each in parts:
        run.in_time(deadline, each)
    assert executed == ["architecture a Debian 12", "role c"]
    assert run.summary([parts[1], run.Part("unit", [], passed=True)], 1) == 0
    said = capsys.readouterr().out
    assert "NOT RUN for lack of time" in said and "architecture b Debian 12" in said
    assert said.endswith("1 passed, 0 failed\n")


def test_roles_run_however_late_it_is(executed):
    run.in_time(time.monotonic() - 1, part("role c"))
    assert executed == ["role c"]


@pytest.mark.parametrize(
    ("line", "minutes"),
    [([], run.LIMIT_MINUTES), (["--all"], None), (["architecture", "dsync"], None), (["--minutes", "5"], 5)],
)
def test_only_a_default_run_has_a_limit(monkeypatch, line, minutes):
    monkeypatch.setattr("sys.argv", ["run", *line])
    assert run.parse().minutes == minutes


def test_an_architecture_s_hosts_with_own_kernels_are_alone(monkeypatch):
    monkeypatch.setattr(run, "recorded", dict)
    for name in run.architectures():
        for found, passed in run.scenarios(name):
            scenario = found.name.split()[1]
            assert not passed
            assert found.alone == run.has_own_kernels(scenario)
            assert found.expected_seconds == 60 * run.UNKNOWN_MINUTES
    assert not run.has_own_kernels("dsync")
    assert run.has_own_kernels("drbd_role")
