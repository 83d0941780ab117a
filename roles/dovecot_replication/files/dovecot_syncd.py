#!/usr/bin/python3
"""Replicate mail to peers: learn from Dovecot which users changed, and have Dovecot sync them.

Dovecot 2.4 has no replicator. Each backend's stats process writes one JSON line to a unix socket for every
committed change; this daemon queues the user and asks the local replica instance (doveadm HTTP API) to sync
that user with the peer's replica instance.

Nothing it forgets is lost: a sweep syncs all users at an interval, after an unclean stop and after a peer was away.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import heapq
import http.client
import itertools
import json
import logging
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("dovecot-syncd")

CHANGED, SWEPT = "changed", "swept"  # why a user is queued: the classes in metrics
OK, AGAIN, FAILED, UNKNOWN = "ok", "again", "failed", "unknown"  # what became of a sync
EX_AGAIN, EX_NOUSER = 2, 67  # doveadm's exit codes: changed meanwhile, no such user
STATE_SECONDS = 5.0  # that dsync's state after a sync may be used
NO_STATE_SECONDS = 900.0  # for which none is used once a peer is back: it sweeps
LOCAL_PAUSE = 2.0  # seconds to leave the local instance alone when it does not answer
USERS_TIMEOUT = 60.0  # seconds that a list of all users may take
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


@dataclass
class Config:
    """What /etc/dovecot/syncd.json holds; intervals in seconds."""

    peers: dict[str, int]  # by name, each with the port on the loopback address where the tunnel to it begins
    api_port: int = 12346
    metrics_address: str = "127.0.0.1"
    metrics_port: int = 9901
    workers: int = 4
    min_interval: float = 1.0
    retry_min: float = 1.0
    retry_max: float = 300.0
    probe_max: float = 30.0
    sync_timeout: float = 600.0
    sweep_interval: float = 21600.0
    sweep_rate: float = 20.0
    sweep_after_outage: float = 30.0
    state_dir: str = "/var/lib/dovecot-syncd"
    runtime_dir: str = "/run/dovecot-syncd"


# ── the queue: decides, does no I/O, is given the time ──────────────────────────────────────────────────────


def backoff(attempt: int, least: float, most: float, rand: Callable[[], float] = random.random) -> float:
    """Seconds to wait before attempt number `attempt` + 1: doubled each time, ±25 %, never above `most`."""
    return min(most, least * 2 ** min(attempt - 1, 30) * (0.75 + rand() / 2))


class Entry:
    """One user who waits or is being synced."""

    __slots__ = ("again", "attempts", "due", "kind", "running", "since")

    def __init__(self, kind: str, since: float, due: float, attempts: int = 0) -> None:
        """Make an entry that waits until `due`."""
        self.kind = kind
        self.since = since  # of the oldest change not yet synced
        self.due = due
        self.attempts = attempts
        self.running = False
        self.again = 0.0  # time of the first change that came during the sync


class Queue:
    """Users to sync with one peer: one entry a user, however often it changes."""

    def __init__(
        self, min_interval: float, retry_min: float, retry_max: float, rand: Callable[[], float] = random.random
    ) -> None:
        """Make an empty queue; `rand` spreads retries."""
        self.min_interval = min_interval
        self.retry_min = retry_min
        self.retry_max = retry_max
        self.rand = rand
        self.entries: dict[str, Entry] = {}
        self.running = 0
        self.dirty: set[str] = set()  # users whose stored row may differ from their entry
        self._heap: list[tuple[int, float, int, str]] = []
        self._later: list[tuple[float, int, str]] = []
        self._count = itertools.count()
        self._started: dict[str, float] = {}  # oldest first

    def __len__(self) -> int:
        """Users that wait or run."""
        return len(self.entries)

    def _push(self, user: str, entry: Entry) -> None:
        heapq.heappush(self._later, (entry.due, next(self._count), user))
        self.dirty.add(user)

    def _earliest(self, user: str, now: float) -> float:
        while self._started:
            oldest = next(iter(self._started))
            if self._started[oldest] + self.min_interval > now:
                break
            del self._started[oldest]
        return max(now, self._started.get(user, 0.0) + self.min_interval) if user in self._started else now

    def add(self, user: str, now: float, kind: str = CHANGED, since: float | None = None) -> None:
        """Queue a user; a user already queued stays where it is, one being synced is synced again."""
        since = now if since is None else since
        entry = self.entries.get(user)
        if entry is None:
            entry = self.entries[user] = Entry(kind, since, self._earliest(user, now))
            self._push(user, entry)
        elif entry.running:
            if kind == CHANGED and not entry.again:
                entry.again = since
        elif kind == CHANGED and entry.kind == SWEPT:
            entry.kind, entry.since = CHANGED, since
            self._push(user, entry)

    def take(self, now: float, swept: bool = True) -> str | None:
        """Return the next user to sync, changed ones first; with swept=False only changed ones."""
        while self._later and self._later[0][0] <= now:
            due, number, user = heapq.heappop(self._later)
            entry = self.entries.get(user)
            if entry and not entry.running and entry.due == due:
                heapq.heappush(self._heap, (int(entry.kind == SWEPT), due, number, user))
        while self._heap:
            rank, due, _, user = self._heap[0]
            entry = self.entries.get(user)
            if entry is None or entry.running or entry.due != due or rank != int(entry.kind == SWEPT):
                heapq.heappop(self._heap)  # synced or moved since it was put here
                continue
            if rank and not swept:
                return None
            heapq.heappop(self._heap)
            entry.running = True
            self.running += 1
            self._started.pop(user, None)
            self._started[user] = now
            return user
        return None

    def done(self, user: str, result: str, now: float) -> Entry:
        """Record how a sync ended. Return the entry as it was while it ran."""
        entry = self.entries.pop(user)
        self.running -= 1
        self.dirty.add(user)
        if result in (OK, UNKNOWN):
            if entry.again:
                self.add(user, now, CHANGED, entry.again)
        else:
            kind = CHANGED if entry.again else entry.kind
            rest = Entry(kind, entry.since if entry.kind == kind else entry.again, now)
            if result == FAILED:
                rest.attempts = entry.attempts + 1
                rest.due = now + backoff(rest.attempts, self.retry_min, self.retry_max, self.rand)
            else:
                rest.due = self._earliest(user, now)
            self.entries[user] = rest
            self._push(user, rest)
        return entry

    def postpone(self, user: str, now: float) -> None:
        """Put back a user whose sync said nothing about it: the peer or the local instance is down."""
        attempts = self.entries[user].attempts
        self.done(user, AGAIN, now)
        self.entries[user].attempts = attempts

    def wait(self, now: float) -> float | None:
        """Seconds until somebody is due; None when nobody waits."""
        if self._heap:
            return 0.0
        return max(0.0, self._later[0][0] - now) if self._later else None

    def oldest(self) -> float | None:
        """Time of the oldest change that is not on the peer."""
        changes = (e.since if e.kind == CHANGED else e.again for e in self.entries.values())
        return min((since for since in changes if since), default=None)


class Sweep:
    """All users, handed out slowly, in an order of its own so that two nodes seldom meet at one user."""

    def __init__(self, interval: float, rate: float, last: float = 0.0) -> None:
        """Sweep every `interval` seconds, `rate` users a second."""
        self.interval = interval
        self.rate = rate
        self.last = last  # when the last complete sweep began
        self.began = 0.0
        self.users: deque[str] = deque()
        self.wanted = False
        self._next = 0.0
        self._jitter = 0.9 + random.random() / 5

    @property
    def active(self) -> bool:
        """Whether a sweep is under way."""
        return bool(self.began)

    def due(self, now: float) -> bool:
        """Whether a sweep should begin."""
        return not self.active and (self.wanted or now >= self.last + self.interval * self._jitter)

    def begin(self, users: Iterable[str], now: float) -> None:
        """Start over with these users."""
        order = list(users)
        random.shuffle(order)
        self.users = deque(order)
        self.began, self.wanted, self._next = now, False, now

    def take(self, now: float) -> str | None:
        """Return the next user when the rate allows."""
        if not self.users or now < self._next:
            return None
        self._next = max(self._next + 1 / self.rate, now - 1)
        return self.users.popleft()

    def end(self) -> None:
        """Note that every user was tried; those who failed are in the queue."""
        self.last, self.began = self.began, 0.0

    def wait(self, now: float) -> float:
        """Seconds until something is to do."""
        if self.active:
            return max(0.0, self._next - now) if self.users else 0.0
        return 0.0 if self.wanted else max(0.0, self.last + self.interval * self._jitter - now)


# ── the store: survives a kill; a power cut may cost its last moments, and is followed by a sweep ───────────


class Store:
    """The queues on disk. Written in batches: a change that is synced at once is never written."""

    def __init__(self, path: str) -> None:
        """Open the database, making it when there is none."""
        self.db = self._open(path)
        self.clean = self.get("clean", "") == "1"
        self.set("clean", "0")

    @staticmethod
    def _open(path: str) -> sqlite3.Connection:
        for attempt in (1, 2):
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                db.execute("pragma journal_mode=wal")
                db.execute("pragma synchronous=normal")
                db.execute(
                    "create table if not exists queue (peer text, user text, kind text, since real,"
                    " primary key (peer, user)) without rowid"
                )
                db.execute("create table if not exists meta (key text primary key, value text)")
                db.execute("select count(*) from queue").fetchone()
                return db
            except sqlite3.DatabaseError as error:
                db.close()
                if attempt == 2 or isinstance(error, sqlite3.OperationalError):
                    raise
                log.error("%s is damaged (%s): starting with an empty queue and a sweep", path, error)
                for suffix in ("", "-wal", "-shm"):
                    Path(path + suffix).unlink(missing_ok=True)
        raise AssertionError("unreachable")

    def get(self, key: str, default: str) -> str:
        """Return a remembered value."""
        row = self.db.execute("select value from meta where key=?", (key,)).fetchone()
        return row[0] if row else default

    def set(self, key: str, value: str) -> None:
        """Remember a value."""
        self.db.execute("insert or replace into meta values (?, ?)", (key, value))

    def load(self, peer: str) -> list[tuple[str, str, float]]:
        """Return the users that were queued for this peer: (user, kind, since)."""
        return self.db.execute("select user, kind, since from queue where peer=?", (peer,)).fetchall()

    def write(self, rows: list[tuple[str, str, str | None, float]]) -> None:
        """Write one batch of (peer, user, kind or None for a user no longer queued, since)."""
        self.db.execute("begin")
        self.db.executemany("insert or replace into queue values (?, ?, ?, ?)", [r for r in rows if r[2]])
        self.db.executemany("delete from queue where peer=? and user=?", [r[:2] for r in rows if not r[2]])
        self.db.execute("commit")

    @staticmethod
    def changed(path: str) -> list[str]:
        """Return the users who were stored as changed, for any peer. Works beside a daemon, and without one."""
        if not Path(path).exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return [row[0] for row in db.execute("select distinct user from queue where kind=?", (CHANGED,))]

    def close(self) -> None:
        """Say that nothing was lost."""
        self.set("clean", "1")
        self.db.close()


# ── Dovecot ─────────────────────────────────────────────────────────────────────────────────────────────────


class LocalDown(Exception):
    """The replica instance on this node does not answer."""


class Doveadm:
    """The local replica instance's HTTP API."""

    def __init__(self, port: int, key: str, timeout: float) -> None:
        """Use the API on this port with this key; a sync may take `timeout` seconds."""
        self.port = port
        self.timeout = timeout
        self.auth = base64.b64encode(key.encode()).decode()

    async def call(self, command: str, parameters: dict[str, Any], timeout: float) -> tuple[int, list[Any]]:
        """Run one doveadm command, for `timeout` seconds at most; return its exit code and its result."""
        body = json.dumps([[command, parameters, "t"]]).encode()
        head = (
            "POST /doveadm/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Authorization: X-Dovecot-API {self.auth}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer = None
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(head.encode() + body)
                await writer.drain()
                answer = await reader.read(-1)
        except (OSError, TimeoutError) as error:
            raise LocalDown(f"doveadm API on port {self.port}: {str(error) or 'timed out'}") from error
        finally:
            if writer:
                writer.close()
        return parse_answer(answer)

    async def sync(self, user: str, destination: str, attempt: int, state: str, full: bool) -> tuple[str, str]:
        """Sync one user both ways; return what became of it and the state to begin the next sync with.

        With the state of the last good sync only what changed since is compared; without, all mailboxes are; if not
        `full`, but for those that have the same number of mails and changes on both sides.
        """
        # Syncs were seen to stall for ever, over Dovecot's own TLS, and worked when tried again: so the first
        # attempt waits only a short time for the peer's next word, and each further one twice as long.
        stall = min(600, 5 * 2 ** min(attempt, 10))
        parameters = {
            **{"user": user, "destination": [destination], "state": state},
            **{"lockTimeout": min(30, stall - 1), "timeout": stall},
            **({"fullSync": True} if full else {}),
        }
        code, answer = await self.call("sync", parameters, self.timeout)
        result = {0: OK, EX_AGAIN: AGAIN, EX_NOUSER: UNKNOWN}.get(code, FAILED)
        if result == OK:
            state = answer[0].get("state", "") if answer else ""
        # An older state is no good any more, also when mail changed during the sync: see State.
        return result, state if result == OK else ""

    async def users(self) -> list[str]:
        """Return all users that the instance knows."""
        code, result = await self.call("user", {"userMask": ["*"]}, USERS_TIMEOUT)
        if code:
            raise LocalDown(f"listing users failed with exit code {code}")
        return result[0]["userList"] if isinstance(result, list) else result["userList"]


def parse_answer(answer: bytes) -> tuple[int, list[Any]]:
    """Return exit code and result from an HTTP answer of the doveadm API."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200" not in status:
        raise LocalDown(f"doveadm API answered {status or 'nothing'!r}")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunk(body)
    try:
        kind, result, _ = json.loads(body)[0]
    except (ValueError, IndexError, TypeError) as error:
        raise LocalDown(f"doveadm API answered {body[:80]!r}") from error
    return (int(result.get("exitCode", 75)), []) if kind == "error" else (0, result)


def _unchunk(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if not length:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)


def parse_event(line: bytes) -> str | None:
    """Return the user that an event line of Dovecot's stats process is about."""
    try:
        user = json.loads(line)["fields"]["user"]
    except (ValueError, KeyError, TypeError):
        return None
    return user if isinstance(user, str) and user else None


# ── a peer ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class State:
    """dsync's state after a good sync, and until when a sync may begin with it.

    With it only mail that came and changes that were made since are compared. But mail that another sync brought to the
    peer since then is taken for new on both sides: if it was expunged on one of them meanwhile it comes back, and its
    flags stay different. The peer syncs too, whenever it serves the user, and when it sweeps. So a state is for the
    changes of a busy user that follow each other closely, on a node that serves the user, and is never kept on disk.
    A peer that was away sweeps when it is back, so none is used for a while.
    """

    text: str
    until: float


@dataclass
class Counters:
    """What metrics tell about one peer."""

    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys((OK, AGAIN, FAILED, UNKNOWN), 0))
    success: dict[str, float] = field(default_factory=lambda: {CHANGED: 0.0, SWEPT: 0.0})
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    delay_sum: float = 0.0
    sync_seconds: float = 0.0
    outages: int = 0

    def delay(self, seconds: float) -> None:
        """Count how long a change took to reach the peer."""
        self.delay_sum += seconds
        place = next((i for i, limit in enumerate(BUCKETS) if seconds <= limit), len(BUCKETS))
        self.buckets[place] += 1


class Peer:
    """Keeps one peer in step: bounded workers, a queue and a sweep; probes it while it is down."""

    def __init__(
        self,
        name: str,
        port: int,
        config: Config,
        sync: Callable[[str, str, int, str, bool], Awaitable[tuple[str, str]]],
        users: Callable[[], Awaitable[list[str]]],
        probe: Callable[[int], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what does the I/O from the caller, so that tests can."""
        self.name = name
        self.port = port
        self.config = config
        self.sync = sync
        self.users = users
        self.probe = probe
        self.clock = clock
        self.queue = Queue(config.min_interval, config.retry_min, config.retry_max)
        self.sweep = Sweep(config.sweep_interval, config.sweep_rate)
        self.counters = Counters()
        self.events = 0
        self.last_event = 0.0  # 0 where Dovecot never reported a change: then only the sweep replicates
        self.down_since = 0.0
        self.error = ""
        self.local_error = ""
        self._pause_until = 0.0  # while the local instance is down
        self._probes = 0
        self._listing = False  # whether the users for a sweep are being asked for
        self.states: dict[str, State] = {}
        self._no_state_until = 0.0
        self.wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Drop states that are of no use any more."""
        now = self.clock()
        self.states = {user: state for user, state in self.states.items() if state.until > now}

    def add(self, user: str, now: float) -> None:
        """Queue a user that changed."""
        self.events += 1
        self.last_event = now
        self.queue.add(user, now)
        self.wake.set()

    def want_sweep(self) -> None:
        """Sweep soon; a sweep under way starts over."""
        self.sweep.wanted, self.sweep.began = True, 0.0
        self.sweep.users.clear()
        self.wake.set()

    async def run(self) -> None:
        """Sync until cancelled; then wait for the syncs under way."""
        try:
            while True:
                self.wake.clear()
                pause = await self.step()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self.wake.wait()
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=20)

    async def step(self) -> float:
        """Start what can be started; return the seconds until there may be more to do."""
        if self.down_since:
            return await self._probe()
        now = self.clock()
        if now < self._pause_until:
            return self._pause_until - now
        if self.sweep.due(now) and not self._listing:
            self._listing = True
            self._start(self._begin_sweep())
        # One worker is kept for changes, so that a sweep never makes them wait.
        for_sweep = max(1, self.config.workers - 1)
        while self.queue.running < self.config.workers and not self.down_since:
            user = self.queue.take(now, swept=self.queue.running < for_sweep)
            if user is None:
                if self.queue.running >= for_sweep or (user := self.sweep.take(now)) is None:
                    break
                self.queue.add(user, now, SWEPT)
                continue
            self._start(self._sync(user))
        if self.sweep.active and not self.sweep.users:
            self.sweep.end()
            log.info("%s: sweep done in %.0f s", self.name, now - self.sweep.last)
        if self.queue.running >= for_sweep:
            return 60.0  # the end of a sync wakes us
        # The list of users wakes us when it is there.
        waits = [60.0] if self._listing else [60.0, self.sweep.wait(now)]
        if (wait := self.queue.wait(now)) is not None:
            waits.append(wait)
        return max(0.001, min(waits))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin_sweep(self) -> None:
        try:
            self.sweep.begin(await self.users(), self.clock())
            log.info("%s: sweeping %d users", self.name, len(self.sweep.users))
        except LocalDown as error:
            self._local_down(error)
        finally:
            self._listing = False
            self.wake.set()

    async def _sync(self, user: str) -> None:
        began = self.clock()
        entry = self.queue.entries[user]
        attempt = entry.attempts
        known = self.states.pop(user, None)
        # A sweep is there to find what was overlooked, and a failure may come of the state: both compare all.
        state = known.text if known and known.until > began and not attempt and entry.kind == CHANGED else ""
        # Replicas that were both written to may look alike by chance: number of mails, next UID, number of changes.
        full = not state and (entry.kind == SWEPT or attempt > 0 or began < self._no_state_until)
        try:
            result, state = await self.sync(user, f"tcp:127.0.0.1:{self.port}", attempt, state, full)
        except LocalDown as error:
            self.queue.postpone(user, self.clock())
            self._local_down(error)
            return self.wake.set()
        self.local_error = ""
        if result == FAILED and not await self._up():
            self.queue.postpone(user, self.clock())
            return self.wake.set()
        now = self.clock()
        if state and now >= self._no_state_until:
            self.states[user] = State(state, now + STATE_SECONDS)
        self.counters.results[result] += 1
        self.counters.sync_seconds += now - began
        entry = self.queue.done(user, result, now)
        if result == OK:
            self.counters.success[entry.kind] = now
            if entry.kind == CHANGED:
                self.counters.delay(now - entry.since)
        elif result == FAILED:
            log.warning("%s: sync of %s failed, attempt %d", self.name, user, attempt + 1)
        elif result == UNKNOWN:
            log.warning("%s: %s is no user", self.name, user)
        self.wake.set()

    def _local_down(self, error: LocalDown) -> None:
        if str(error) != self.local_error:
            log.error("%s", error)
        self.local_error = str(error)
        self._pause_until = self.clock() + LOCAL_PAUSE

    async def _up(self) -> bool:
        """Whether the peer answers. When it doesn't, no user is to blame and none is tried until it does."""
        if self.down_since:
            return False
        try:
            await self.probe(self.port)
        except (OSError, TimeoutError) as error:
            if not self.down_since:
                self.down_since = self.clock()
                self.counters.outages += 1
                self.error = str(error) or "timed out"
                self._probes = 0
                log.error("%s is down: %s", self.name, self.error)
            return False
        return True

    async def _probe(self) -> float:
        """Ask the peer whether it is back; return the seconds until the next question."""
        try:
            await self.probe(self.port)
        except (OSError, TimeoutError) as error:
            self.error = str(error) or "timed out"
            self._probes += 1
            pause = backoff(self._probes, 0.5, self.config.probe_max)
            deadline = self.clock() + pause
            # New changes wake the loop, but must not make it probe more often.
            while (left := deadline - self.clock()) > 0:
                await asyncio.sleep(left)
            return 0.001
        away = self.clock() - self.down_since
        log.info("%s is back after %.0f s, %d users queued", self.name, away, len(self.queue))
        self.down_since, self.error = 0.0, ""
        self._no_state_until = self.clock() + NO_STATE_SECONDS
        self.states.clear()
        if away >= self.config.sweep_after_outage:
            self.want_sweep()
        return 0.001

    def status(self) -> dict[str, Any]:
        """Return what `status` and metrics show."""
        now = self.clock()
        oldest = self.queue.oldest()
        return {
            "peer": self.name,
            "up": not self.down_since,
            "error": self.error or self.local_error,
            "down_seconds": round(now - self.down_since, 3) if self.down_since else 0,
            "queued": len(self.queue) - self.queue.running,
            "running": self.queue.running,
            "failing": sum(1 for e in self.queue.entries.values() if e.attempts),
            "events": self.events,
            "last_event": self.last_event,
            "lag_seconds": round(now - oldest, 3) if oldest else 0.0,
            "syncs": dict(self.counters.results),
            "last_success": dict(self.counters.success),
            "sweep_running": self.sweep.active or self.sweep.wanted,
            "sweep_remaining": len(self.sweep.users),
            "sweep_last": self.sweep.last,
            "outages": self.counters.outages,
        }


def metrics(peers: list[Peer], events: int, bad_events: int) -> str:
    """Return all metrics in Prometheus' text format."""
    out: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> None:
        out.append(f"# HELP dovecot_syncd_{name} {text}\n# TYPE dovecot_syncd_{name} {kind}")
        out.extend(f"dovecot_syncd_{name}{labels} {value:.15g}" for labels, value in samples)

    status = [(f'peer="{p.name}"', p, p.status()) for p in peers]

    def each(key: str) -> list[tuple[str, float]]:
        return [(f"{{{label}}}", float(s[key])) for label, _, s in status]

    family("events_total", "counter", "Changes that Dovecot reported.", [("", events)])
    family("bad_events_total", "counter", "Lines that were no event.", [("", bad_events)])
    family("peer_up", "gauge", "Whether the peer answers.", each("up"))
    family("peer_outages_total", "counter", "How often the peer went down.", each("outages"))
    family("queue_users", "gauge", "Users that wait for a sync.", each("queued"))
    family("failing_users", "gauge", "Queued users whose last sync failed.", each("failing"))
    family("running_syncs", "gauge", "Syncs under way.", each("running"))
    family("lag_seconds", "gauge", "Age of the oldest change not on the peer.", each("lag_seconds"))
    family("last_event_timestamp_seconds", "gauge", "When Dovecot last reported a change.", each("last_event"))
    family("sweep_remaining_users", "gauge", "Users the running sweep has yet to try.", each("sweep_remaining"))
    family("sweep_timestamp_seconds", "gauge", "When the last complete sweep began.", each("sweep_last"))
    family(
        "syncs_total",
        "counter",
        "Syncs by how they ended.",
        [(f'{{{la},result="{r}"}}', n) for la, p, _ in status for r, n in p.counters.results.items()],
    )
    family(
        "last_success_timestamp_seconds",
        "gauge",
        "Last good sync of a user queued by a change or by a sweep.",
        [(f'{{{la},class="{c}"}}', t) for la, p, _ in status for c, t in p.counters.success.items()],
    )
    family(
        "sync_seconds_total",
        "counter",
        "Time spent in syncs.",
        [(f"{{{la}}}", p.counters.sync_seconds) for la, p, _ in status],
    )
    samples: list[tuple[str, float]] = []
    for label, peer, _ in status:
        total = 0
        for limit, count in zip([*map(str, BUCKETS), "+Inf"], peer.counters.buckets, strict=True):
            total += count
            samples.append((f'_bucket{{{label},le="{limit}"}}', total))
        samples += [(f"_sum{{{label}}}", peer.counters.delay_sum), (f"_count{{{label}}}", total)]
    family("delay_seconds", "histogram", "From a change to its sync's end.", samples)
    return "\n".join(out) + "\n"


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────────────────


async def greet(port: int) -> None:
    """Have a peer's replica instance answer through the tunnel, or raise OSError or TimeoutError."""
    # One of its worker processes answers, not the listener: who answers can work.
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"VERSION\tdoveadm-server\t1\t0\n")
            if not await reader.readline():
                raise ConnectionError("no answer through the tunnel")
        finally:
            writer.close()


class Daemon:
    """Puts it together: events in, syncs out, state on disk, status and metrics over HTTP."""

    def __init__(self, config: Config, key: str) -> None:
        """Load the queues."""
        self.config = config
        self.store = Store(f"{config.state_dir}/queue.db")
        doveadm = Doveadm(config.api_port, key, config.sync_timeout)
        self.peers = [
            Peer(name, port, config, doveadm.sync, doveadm.users, greet) for name, port in config.peers.items()
        ]
        self.events = 0
        self.bad_events = 0
        self._connections: set[asyncio.Task[None]] = set()
        now = time.time()
        for peer in self.peers:
            for user, kind, since in self.store.load(peer.name):
                peer.queue.add(user, now, kind, since)
            peer.sweep.last = float(self.store.get(f"swept {peer.name}", "0"))
            peer.sweep.wanted = not self.store.clean
            log.info(
                "%s: %d users queued%s",
                peer.name,
                len(peer.queue),
                "" if self.store.clean else ", and a sweep: the last stop was not clean",
            )

    async def on_event(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read events of a Dovecot instance that connected."""
        # Dovecot finds out that a connection broke by losing an event: so connections outlive us, in systemd's hands.
        # It drops those that Dovecot closes.
        notify("FDSTORE=1\nFDNAME=dovecot", [writer.get_extra_info("socket").fileno()])
        await self.read_events(reader, writer)

    async def read_events(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read events until Dovecot closes the connection."""
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            while line := await reader.readline():
                user = parse_event(line)
                if user is None:
                    self.bad_events += 1
                    continue
                self.events += 1
                now = time.time()
                for peer in self.peers:
                    peer.add(user, now)
        except (ValueError, OSError):  # a line beyond the limit, a reset
            self.bad_events += 1
        except asyncio.CancelledError:
            pass  # the daemon stops; the connection itself is kept by systemd
        finally:
            self._connections.discard(task)
            writer.close()

    async def on_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, control: bool) -> None:
        """Answer one HTTP request: /metrics, /status; over the control socket also POST /sweep and /forget."""
        try:
            async with asyncio.timeout(10):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                code, kind, text = self._answer(request[0], request[1], control)
                head = f"HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n{text}".encode())
                await writer.drain()
        except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError):
            pass  # a reader of metrics that went away or spoke no HTTP: nobody is left to tell
        finally:
            writer.close()

    def _answer(self, method: bytes, path: bytes, control: bool) -> tuple[str, str, str]:
        if (method, path) == (b"GET", b"/metrics"):
            return "200 OK", "text/plain; version=0.0.4", metrics(self.peers, self.events, self.bad_events)
        if (method, path) == (b"GET", b"/status"):
            return "200 OK", "application/json", json.dumps([p.status() for p in self.peers])
        if (method, path, control) == (b"POST", b"/sweep", True):
            for peer in self.peers:
                peer.want_sweep()
            return "200 OK", "application/json", "{}"
        if (method, path, control) == (b"POST", b"/forget", True):
            for peer in self.peers:
                peer.states.clear()
            return "200 OK", "application/json", "{}"
        return "404 Not Found", "text/plain", "no such page\n"

    async def flush(self) -> None:
        """Write what changed in the queues since the last time."""
        rows: list[tuple[str, str, str | None, float]] = []
        swept = {}
        for peer in self.peers:
            dirty, peer.queue.dirty = peer.queue.dirty, set()
            for user in dirty:
                entry = peer.queue.entries.get(user)
                rows.append((peer.name, user, entry.kind if entry else None, entry.since if entry else 0.0))
            peer.forget()
            swept[f"swept {peer.name}"] = str(peer.sweep.last)

        def write() -> None:
            if rows:
                self.store.write(rows)
            for key, value in swept.items():
                if self.store.get(key, "0") != value:
                    self.store.set(key, value)

        await asyncio.to_thread(write)

    async def _flushing(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            await self.flush()

    async def run(self) -> None:
        """Serve until told to stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        control = f"{self.config.runtime_dir}/control.sock"
        Path(control).unlink(missing_ok=True)
        # The socket is systemd's and stays when we stop; Python 3.13 would remove it.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        listening, connections = passed_sockets(self.config.runtime_dir)
        kept = [
            asyncio.create_task(self.read_events(*await asyncio.open_unix_connection(sock=connection)))
            for connection in connections
        ]
        servers = [
            await asyncio.start_unix_server(self.on_event, sock=listening, **keep),
            await asyncio.start_unix_server(lambda r, w: self.on_http(r, w, True), control),
        ]
        if self.config.metrics_port:
            address = self.config.metrics_address
            servers.append(
                await asyncio.start_server(lambda r, w: self.on_http(r, w, False), address, self.config.metrics_port)
            )
        tasks = [asyncio.create_task(peer.run()) for peer in self.peers]
        tasks.append(asyncio.create_task(self._flushing()))
        notify("READY=1")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for server in servers:
            server.close()
        for task in [*tasks, *kept, *self._connections]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await self.flush()
        errors = [e for e in ended if isinstance(e, Exception)]
        if errors:
            raise errors[0]
        self.store.close()


def passed_sockets(runtime_dir: str) -> tuple[socket.socket, list[socket.socket]]:
    """Return the listening socket that systemd holds, and Dovecot's connections that it kept while we restarted."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        passed = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
        listening = [s for s in passed if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
        return listening[0], [s for s in passed if s not in listening]
    path = f"{runtime_dir}/events.sock"
    Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(path)
    return made, []


def notify(message: str, descriptors: Iterable[int] = ()) -> None:
    """Tell systemd how we are, or give it descriptors to keep."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            socket.send_fds(sock, [message.encode()], list(descriptors))


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────


class ControlConnection(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: str) -> None:
        """Prepare a connection to the socket at `path`."""
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        """Connect to the daemon."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def ask(runtime_dir: str, method: str, path: str) -> Any:
    """Send one request to the running daemon and return its answer."""
    connection = ControlConnection(f"{runtime_dir}/control.sock")
    connection.request(method, path)
    return json.loads(connection.getresponse().read())


def table(status: list[dict[str, Any]], now: float) -> str:
    """Return the status as a table for people."""

    def ago(when: float) -> str:
        return f"{now - when:.0f} s ago" if when else "never"

    rows = [("peer", "state", "queued", "running", "failing", "lag", "last change", "last sync", "last sweep")]
    for s in status:
        sweep = f"running, {s['sweep_remaining']} left" if s["sweep_running"] else ago(s["sweep_last"])
        rows.append(
            (
                s["peer"],
                "up" if s["up"] else f"down {s['down_seconds']:.0f} s",
                str(s["queued"]),
                str(s["running"]),
                str(s["failing"]),
                f"{s['lag_seconds']:.1f} s",
                ago(s["last_event"]),
                ago(max(s["last_success"].values())),
                sweep,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += [f"{s['peer']}: {s['error']}" for s in status if s["error"]]
    return "\n".join(line.rstrip() for line in lines)


def settled(status: list[dict[str, Any]]) -> bool:
    """Whether no change waits for a peer that is up."""
    return all(s["lag_seconds"] == 0 for s in status if s["up"])


def settle(runtime_dir: str, seconds: float = 10.0) -> int:
    """Wait until the changes of a backend that has stopped are on all peers that are up; return an exit code."""
    end = time.monotonic() + seconds
    time.sleep(0.2)  # its last events are on their way
    while not settled(ask(runtime_dir, "GET", "/status")):
        if time.monotonic() > end:
            print("some changes are on this node alone still", file=sys.stderr)
            return 1
        time.sleep(0.1)
    return 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="/etc/dovecot/syncd.json")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the daemon (systemd does)")
    status = commands.add_parser("status", help="show queue, lag and peers")
    status.add_argument("--json", action="store_true")
    commands.add_parser("sweep", help="sync all users now, at the sweep's pace")
    commands.add_parser("forget", help="begin the next syncs without dsync's state: somebody else has synced")
    commands.add_parser("queued", help="list who changed and was not synced when the queue was written last")
    commands.add_parser("settle", help="wait until changes are on all peers that are up, 10 s at most")
    arguments = parser.parse_args()
    config = Config(**json.loads(Path(arguments.config).read_text()))
    if arguments.command == "run":
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        key = Path(os.environ["CREDENTIALS_DIRECTORY"], "api-key").read_text().strip()
        asyncio.run(_run(config, key))
        return 0
    if arguments.command == "queued":
        print("\n".join(Store.changed(f"{config.state_dir}/queue.db")))
        return 0
    try:
        if arguments.command == "settle":
            return settle(config.runtime_dir)
        if arguments.command in ("sweep", "forget"):
            ask(config.runtime_dir, "POST", f"/{arguments.command}")
            return 0
        answer = ask(config.runtime_dir, "GET", "/status")
    except OSError as error:
        print(f"dovecot-syncd does not answer on {config.runtime_dir}/control.sock: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer, indent=2) if arguments.json else table(answer, time.time()))
    return 0


async def _run(config: Config, key: str) -> None:
    await Daemon(config, key).run()


if __name__ == "__main__":
    sys.exit(main())
