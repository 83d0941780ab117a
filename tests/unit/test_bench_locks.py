"""What the benchmark of locks does on a node, and how it sets out what it found."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.locks import CLIENT, WAYS, table


@pytest.mark.parametrize("way", WAYS)
def test_two_clients_of_one_lock_both_get_on_and_leave_it(way: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CLIENT, way, str(tmp_path / "both"), "0", "0.3"]
    clients = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    rates = [float(client.communicate(timeout=20)[0]) for client in clients]
    assert min(rates) > 1
    text = (tmp_path / "both" / "log").read_text()
    assert set(text.splitlines()) == {"x" * 99}
    assert not (tmp_path / "both" / "lock.lock").exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_client_writes_nothing_while_another_has_the_lock(way: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (tmp_path / "lock").open("w") as lock:
        if way == "dotlock":
            (tmp_path / "lock.lock").touch()
        else:
            {"flock": fcntl.flock, "fcntl": fcntl.lockf}[way](lock, fcntl.LOCK_EX)
        client = subprocess.Popen([sys.executable, "-c", CLIENT, way, str(tmp_path), "0", "0.1"])
        time.sleep(1)
        assert client.poll() is None and log.read_text() == ""
        (tmp_path / "lock.lock").unlink(missing_ok=True)
    assert client.wait(20) == 0
    assert log.read_text()


def test_table_gives_medians_and_ratios_to_the_first_way() -> None:
    rows = table({"one node": {"flock": [90.0, 110.0, 100.0], "fcntl": [20.0, 30.0, 25.0]}}).splitlines()[1:]
    assert [row.split()[2:] for row in rows] == [
        ["flock", "100.0", "90.0", "110.0", "1.00"],
        ["fcntl", "25.0", "20.0", "30.0", "0.25"],
    ]
