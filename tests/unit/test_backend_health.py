"""What a balancer is told of a backend, whose login is a function here."""

import asyncio
import importlib.util
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from module_utils import mail_clients

PATH = Path(__file__).parents[2] / "roles/backend_health/files/backend_health.py"
sys.modules["mail_clients"] = mail_clients
spec = importlib.util.spec_from_file_location("backend_health", PATH)
assert spec and spec.loader
health = importlib.util.module_from_spec(spec)
sys.modules["backend_health"] = health  # dataclasses look there
spec.loader.exec_module(health)


@pytest.fixture
def backend():
    """A backend at an address that every host has."""
    return health.Backend("be1", "be1.example.org", "127.0.0.1", "probe@example.org", drained=False)


def test_a_result_is_believed_until_the_next_one_is_overdue(backend, monkeypatch):
    now = time.monotonic()
    assert backend.answer(b"GET / HTTP/1.0")[0] == 503  # nothing is known yet
    backend.learn("", 5)
    assert backend.answer(b"GET / HTTP/1.0")[0] == 200
    monkeypatch.setattr(health.time, "monotonic", lambda: now + 5 + health.SECONDS + 1)
    assert backend.answer(b"GET / HTTP/1.0")[0] == 503
    backend.learn("", 5)
    assert backend.answer(b"HEAD / HTTP/1.1")[0] == 200
    backend.learn("login refused", 5)
    assert backend.answer(b"GET / HTTP/1.0")[0] == 503


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"", 400), (b"GET /", 400), (b"POST / HTTP/1.1", 400), (b"GET /etc/passwd HTTP/1.1", 404), (b"\xff / x", 400)],
)
def test_nothing_else_is_answered(backend, request_line, status):
    backend.learn("", 5)
    assert backend.answer(request_line)[0] == status


def test_a_drained_backend_and_one_that_is_elsewhere_are_not_logged_in_to(backend, monkeypatch):
    monkeypatch.setattr(health, "Imap", None)
    backend.drained = True
    assert backend.check("password", "/nonexistent") == "drained"
    backend.drained, backend.address = False, "192.0.2.1"
    assert backend.check("password", "/nonexistent") == "not on this host"


def test_what_is_wrong_is_said_once_and_without_the_password(backend, capsys):
    for _ in range(2):
        backend.learn(backend.check("not-a-secret-of-any-site", "/nonexistent"), 5)
    assert capsys.readouterr().out == "be1: FileNotFoundError: [Errno 2] No such file or directory\n"


@pytest.fixture
def serving(monkeypatch):
    """Return a function that serves a backend with a check of one's own: serving(CHECK) -> ask() -> status."""
    loops = []

    def serve(check):
        monkeypatch.setattr(health.Backend, "check", lambda self, *_: check())
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        values = {"host": "be1.example.org", "address": "127.0.0.1", "user": "probe@example.org"}
        config = {"backends": {"be1": values}, "password": "", "port": port, "drained": [], "interval": 0.1, "ca": ""}
        loop = asyncio.new_event_loop()
        running = loop.create_task(health.Server(config).run())
        loops.append((loop, running))

        def run():
            try:
                loop.run_until_complete(running)
            except asyncio.CancelledError:
                loop.close()

        threading.Thread(target=run, daemon=True).start()

        def ask():
            for _ in range(50):
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as connection:
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                        return int(connection.makefile("rb").readline().split()[1])
                except ConnectionRefusedError:
                    time.sleep(0.1)
            raise AssertionError("nobody listens")

        return ask

    yield serve
    for loop, running in loops:
        loop.call_soon_threadsafe(running.cancel)


def test_checks_go_on_by_themselves_one_at_a_time(serving):
    problems, times, at_once = [""], [], []

    def check():
        at_once.append(1)
        times.append(len(at_once))
        time.sleep(0.05)
        at_once.pop()
        return problems[0]

    ask = serving(check)
    assert [ask() for _ in range(100)] == [200] * 100
    problems[0] = "login refused"
    time.sleep(0.5)
    assert ask() == 503
    assert set(times) == {1} and len(times) < 20


def test_a_check_that_hangs_is_a_failure(serving, monkeypatch):
    monkeypatch.setattr(health, "SECONDS", 0.2)
    goes_on, checks = threading.Event(), []

    def check():
        checks.append(None)
        if len(checks) > 1:
            goes_on.wait(10)
        return ""

    ask = serving(check)
    assert ask() == 200
    time.sleep(1)
    assert ask() == 503
    goes_on.set()
    time.sleep(0.5)
    assert ask() == 200
