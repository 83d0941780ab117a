"""What a systemd unit needs, so that it runs with its files as they are now."""

import os

import pytest

from library.unit_current import Files, action, newest, seconds, units

DAY = "Thu 2026-11-26"
NOON = seconds(f"{DAY} 12:00:00.000000 UTC")
NEVER = Files()


def unit(**properties):
    """Give a unit that started at noon."""
    started = {"InactiveExitTimestamp": f"{DAY} 12:00:00.000000 UTC", "ExecMainStartTimestamp": ""}
    others = {"ActiveState": "active", "CanReload": "yes", "ConditionResult": "yes", "ConditionTimestamp": ""}
    return started | others | properties


def test_times_and_units_as_systemctl_shows_them():
    shown = units(f"Id=a.service\nInactiveExitTimestamp={DAY} 12:00:00.250000 UTC\nDropInPaths=\n\nId=b=c.service\n")
    assert [part["Id"] for part in shown] == ["a.service", "b=c.service"]
    assert seconds(shown[0]["InactiveExitTimestamp"]) == 1795694400.25
    assert seconds(shown[1]["ExecMainStartTimestamp"]) == seconds("n/a") == 0
    assert units("") == []


@pytest.mark.parametrize(
    ("properties", "restart", "reload", "reloaded", "wanted"),
    [
        ({}, -9, -9, None, ""),
        ({}, 1, -9, None, "restart, for /r"),
        ({}, -9, 1, None, "reload, for /l"),
        ({}, 1, 1, None, "restart, for /r"),
        ({}, -9, 1, 2, ""),  # reloaded since
        ({}, -9, 3, 2, "reload, for /l"),
        ({}, 3, -9, 9, "restart, for /r"),  # a reload is no restart
        ({"CanReload": "no"}, -9, 1, None, "restart, for /l"),
        ({"ExecMainStartTimestamp": f"{DAY} 12:00:05.000000 UTC"}, 4, 4, None, ""),  # ended and started by itself
        ({"ActiveState": "inactive"}, -9, -9, None, "start"),
        ({"ActiveState": "failed"}, 1, 1, 2, "start"),
        ({"ActiveState": "inactive", "ConditionResult": "no"}, -9, -9, None, "start"),  # never tried
    ],
)
def test_what_a_unit_needs(properties, restart, reload, reloaded, wanted):
    files = Files("/r", NOON + restart), Files("/l", NOON + reload)
    assert action(unit(**properties), *files, NOON + reloaded if reloaded else 0, as_is=False) == wanted


def test_a_unit_whose_condition_is_unmet_is_tried_once_for_each_change():
    unmet = unit(ActiveState="inactive", ConditionResult="no", ConditionTimestamp=f"{DAY} 12:00:00.000000 UTC")
    assert action(unmet, Files("/r", NOON - 1), NEVER, 0, as_is=False) == ""
    assert action(unmet, Files("/r", NOON + 1), NEVER, 0, as_is=False) == "start"


@pytest.mark.parametrize(("state", "wanted"), [("active", "reload, for /l"), ("inactive", ""), ("failed", "")])
def test_what_a_cluster_runs_is_neither_started_nor_restarted(state, wanted):
    assert action(unit(ActiveState=state), Files("/r", NOON + 1), Files("/l", NOON + 1), 0, as_is=True) == wanted


def test_the_newest_file_of_files_directories_and_patterns(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name, changed in [("a.conf", 10), ("b.conf", 20), ("folder/deep/c", 30), ("folder/deep", 5), ("folder", 6)]:
        (tmp_path / name).is_dir() or (tmp_path / name).touch()
        os.utime(tmp_path / name, (changed, changed))
    one, two, folder, pattern, gone = (
        str(tmp_path / name) for name in ["a.conf", "b.conf", "folder", "*.conf", "gone"]
    )
    assert newest([one, gone]) == Files(one, 10)
    assert newest([two, one]) == Files(two, 20)
    assert newest([pattern]) == Files(pattern, 20)
    assert newest([one, folder]) == Files(folder, 30)
    assert newest([gone]) == newest([]) == NEVER


def test_a_unit_without_files_of_its_own_is_started_too():
    assert action(unit(ActiveState="inactive"), NEVER, NEVER, 0, as_is=False) == "start"
