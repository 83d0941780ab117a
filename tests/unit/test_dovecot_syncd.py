"""The replication daemon: its queue, sweeps, store, and how it treats peers. Time is given, peers are made up."""

import asyncio
import importlib.util
import json
import selectors
import sqlite3
import sys
import time
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "roles/dovecot_replication/files/dovecot_syncd.py"
spec = importlib.util.spec_from_file_location("dovecot_syncd", PATH)
assert spec and spec.loader
syncd = importlib.util.module_from_spec(spec)
sys.modules["dovecot_syncd"] = syncd
spec.loader.exec_module(syncd)

CHANGED, SWEPT, OK, AGAIN, FAILED, UNKNOWN = "changed", "swept", "ok", "again", "failed", "unknown"


def queue(min_interval=1.0):
    return syncd.Queue(min_interval, retry_min=1, retry_max=300, rand=lambda: 0.5)


class TestQueue:
    def test_many_changes_of_a_user_are_one_sync(self):
        q = queue()
        for moment in range(5):
            q.add("a", 100 + moment / 10)
        assert len(q) == 1
        assert q.take(101) == "a"
        assert q.take(101) is None
        assert q.done("a", OK, 101).since == 100  # the first change counts for the lag
        assert len(q) == 0

    def test_first_change_is_synced_at_once(self):
        q = queue()
        q.add("a", 100)
        assert q.wait(100) == 0
        assert q.take(100) == "a"

    def test_a_user_is_synced_at_most_once_in_the_interval(self):
        q = queue(min_interval=5)
        q.add("a", 100)
        q.take(100)
        q.done("a", OK, 100.1)
        q.add("a", 101)
        assert q.take(104.9) is None
        assert q.wait(101) == 4
        assert q.take(105) == "a"

    def test_interval_of_one_user_holds_up_nobody_else(self):
        q = queue(min_interval=5)
        q.add("a", 100)
        q.take(100)
        q.done("a", OK, 100.1)
        q.add("a", 101)
        q.add("b", 102)
        assert q.take(102) == "b"

    def test_change_during_a_sync_runs_it_again(self):
        q = queue()
        q.add("a", 100)
        q.take(100)
        q.add("a", 100.2)
        assert q.take(102) is None  # never twice at a time
        q.done("a", OK, 103)
        assert q.oldest() == 100.2
        assert q.take(103) == "a"
        q.done("a", OK, 104)
        assert len(q) == 0

    def test_dovecot_says_it_changed_meanwhile(self):
        q = queue()
        q.add("a", 100)
        q.take(100)
        q.done("a", AGAIN, 100.1)
        assert q.take(100.5) is None
        assert q.take(101) == "a"
        assert q.entries["a"].attempts == 0

    def test_failure_backs_off_and_changes_do_not_hurry_it(self):
        q = queue(min_interval=0)
        q.add("a", 100)
        for attempt, pause in enumerate([1, 2, 4, 8], 1):
            now = q.entries["a"].due
            assert q.take(now) == "a"
            q.done("a", FAILED, now)
            q.add("a", now)
            assert q.wait(now) == pause
            assert q.entries["a"].attempts == attempt
            assert q.oldest() == 100

    def test_success_after_failures_forgets_them(self):
        q = queue(min_interval=0)
        q.add("a", 100)
        q.take(100)
        q.done("a", FAILED, 100)
        q.take(200)
        q.done("a", OK, 200)
        q.add("a", 201)
        assert q.entries["a"].attempts == 0

    def test_peer_down_blames_no_user(self):
        q = queue()
        q.add("a", 100)
        q.take(100)
        q.postpone("a", 100)
        assert q.entries["a"].attempts == 0
        assert q.oldest() == 100
        assert q.running == 0

    def test_unknown_user_is_dropped(self):
        q = queue()
        q.add("a", 100)
        q.take(100)
        q.done("a", UNKNOWN, 100)
        assert len(q) == 0

    def test_changed_users_go_before_swept_ones(self):
        q = queue()
        q.add("swept", 100, SWEPT)
        q.add("changed", 101)
        assert q.take(101) == "changed"
        assert q.take(101, swept=False) is None
        assert q.take(101) == "swept"

    def test_swept_user_that_changes_is_a_changed_one(self):
        q = queue()
        q.add("a", 100, SWEPT)
        q.add("b", 100, SWEPT)
        q.add("b", 101)
        assert q.take(101, swept=False) == "b"
        assert q.done("b", OK, 101).kind == CHANGED
        assert q.oldest() is None  # a swept user is no lag

    def test_swept_user_that_changes_during_its_sync(self):
        q = queue()
        q.add("a", 100, SWEPT)
        q.take(100)
        q.add("a", 101)
        assert q.oldest() == 101
        q.done("a", FAILED, 102)
        assert (q.entries["a"].kind, q.entries["a"].since) == (CHANGED, 101)

    def test_nothing_is_kept_for_users_long_done(self):
        q = queue(min_interval=1)
        for number in range(1000):
            q.add(f"u{number}", number * 10)
            q.take(number * 10)
            q.done(f"u{number}", OK, number * 10)
        assert len(q._started) <= 1
        assert not q._later


def test_backoff_doubles_spreads_and_ends():
    assert [syncd.backoff(n, 1, 60, lambda: 0.5) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert syncd.backoff(1, 1, 60, lambda: 0.0) == 0.75
    assert syncd.backoff(10**6, 1, 60, lambda: 1.0) == 60


class TestSweep:
    def test_due_after_the_interval_give_or_take_a_tenth(self):
        sweep = syncd.Sweep(1000, rate=10, last=5000)
        assert not sweep.due(5899)
        assert sweep.due(6101)

    def test_all_users_once_no_faster_than_the_rate(self):
        sweep = syncd.Sweep(1000, rate=10)
        users = {f"u{n}" for n in range(50)}
        sweep.begin(users, 100)
        seen, now = [], 100.0
        while sweep.users:
            if user := sweep.take(now):
                seen.append(user)
            now += 0.01
        assert set(seen) == users and len(seen) == 50
        assert 4.8 < now - 100 < 5.2

    def test_a_busy_time_is_not_made_up_for_in_a_burst(self):
        sweep = syncd.Sweep(1000, rate=10)
        sweep.begin([str(n) for n in range(1000)], 100)
        sweep.take(100)
        got = 0
        while sweep.take(200):
            got += 1
        assert got <= 12

    def test_end_counts_from_its_begin(self):
        sweep = syncd.Sweep(1000, rate=10)
        sweep.begin([], 100)
        sweep.end()
        assert sweep.last == 100 and not sweep.active


class TestStore:
    def test_survives_and_knows_whether_it_was_closed(self, tmp_path):
        path = str(tmp_path / "queue.db")
        store = syncd.Store(path)
        assert not store.clean  # never ran: sweep
        store.write([("p", "a", CHANGED, 100.0), ("p", "b", SWEPT, 101.0), ("q", "a", CHANGED, 1.0)])
        store.write([("p", "b", None, 0.0)])
        store.db.close()  # a kill
        store = syncd.Store(path)
        assert store.load("p") == [("a", CHANGED, 100.0)]
        assert not store.clean
        store.close()
        assert syncd.Store(path).clean

    def test_damage_is_an_empty_queue_and_a_sweep(self, tmp_path):
        path = tmp_path / "queue.db"
        path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
        store = syncd.Store(str(path))
        assert store.load("p") == [] and not store.clean

    def test_unwritable_place_is_an_error(self, tmp_path):
        with pytest.raises(sqlite3.OperationalError):
            syncd.Store(str(tmp_path / "none" / "queue.db"))


class TestDovecot:
    def answer(self, body, head=b"HTTP/1.1 200 OK\r\n"):
        return syncd.parse_answer(head + b"\r\n" + body)

    # Answers of Dovecot 2.4.1
    def test_results(self):
        assert self.answer(b'[["doveadmResponse",[],"t"]]') == (0, [])
        assert self.answer(b'[["error",{"type":"exitCode","exitCode":75},"t"]]') == (75, [])
        code, result = self.answer(b'[["doveadmResponse",{"userList":["a@b","c@d"]},"t"]]')
        assert (code, result["userList"]) == (0, ["a@b", "c@d"])

    def test_chunked(self):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        body = b'b\r\n[["doveadmR\r\n10\r\nesponse",[],"t"]\r\n1\r\n]\r\n0\r\n\r\n'
        assert self.answer(body, head) == (0, [])

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 401 Unauthorized\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>"])
    def test_anything_else_is_the_instance_not_the_user(self, answer):
        with pytest.raises(syncd.LocalDown):
            syncd.parse_answer(answer)

    def test_events(self):
        line = (
            b'{"event":"mailbox_changed","fields":{"user":"user1@mail.test","local_ip":"10.77.0.11",'
            b'"reason_code":["imap:cmd_append"],"service":"imap","mailbox":"INBOX"}}\n'
        )
        assert syncd.parse_event(line) == "user1@mail.test"
        for bad in (b"", b"{}", b"[]", b'{"fields":{}}', b'{"fields":{"user":""}}', b'{"fields":{"user":3}}', b"\xff"):
            assert syncd.parse_event(bad) is None


class Site:
    """A peer with everything around it made up."""

    def __init__(self, **settings):
        self.now = 1000.0
        self.alive = True
        self.local = True
        self.results = {}
        self.calls = []
        self.begun_with = []
        self.full = []
        self.probes = 0
        self.running = self.most = 0
        self.all_users = []
        config = {"min_interval": 0, "probe_max": 0.02, "retry_min": 0.01, "workers": 2, "sweep_rate": 10**6}
        self.config = syncd.Config(peers={}, **(config | settings))
        self.peer = syncd.Peer("peer", 12345, self.config, self.sync, self.users, self.probe)
        self.peer.sweep.last = self.peer.clock()  # no sweep unless wanted

    async def sync(self, user, destination, attempt, state, full):
        if not self.local:
            raise syncd.LocalDown("refused")
        self.calls.append(user)
        self.begun_with.append(state)
        self.full.append(full)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.002)
        self.running -= 1
        if not self.alive:
            return FAILED, ""
        results = self.results.get(user, [])
        result = results.pop(0) if results else OK
        return result, f"{user} {len(self.calls)}" if result == OK else ""

    async def users(self):
        if not self.local:
            raise syncd.LocalDown("refused")
        return self.all_users

    async def probe(self, port):
        self.probes += 1
        if not self.alive:
            raise ConnectionRefusedError("refused")

    async def until(self, condition, seconds=5.0):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)

    def play(self, story):
        async def run():
            task = asyncio.create_task(self.peer.run())
            try:
                await story()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())

    def add(self, *users):
        for user in users:
            self.peer.add(user, self.peer.clock())


class Days(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time: its clock jumps to when something is due."""

    class Selector(selectors.DefaultSelector):
        """Never waits."""

        slept = 0.0

        def select(self, timeout=None):
            ready = super().select(0)
            if not ready:
                self.slept += timeout or 0
            return ready

    def __init__(self):
        self.clocked = self.Selector()
        super().__init__(self.clocked)

    def time(self):
        """Seconds; what is computed takes some, too."""
        self.clocked.slept += 1e-7
        return self.clocked.slept


class TestPeer:
    def test_a_peer_that_is_away_for_a_day(self):
        day, users = 86400, [f"u{number}" for number in range(500)]
        loop = Days()
        site = Site(
            **{name: getattr(syncd.Config, name) for name in ("min_interval", "probe_max", "retry_min", "workers")}
        )
        site.config.sweep_interval = site.peer.sweep.interval = 10 * day  # only the outage asks for one
        site.all_users = [*users, "quiet"]
        site.peer.clock = loop.time
        site.peer.sweep.last = loop.time()
        seen = {}

        async def story():
            running = asyncio.create_task(site.peer.run())
            site.add("u0")
            await asyncio.sleep(5)
            site.alive = False
            for minute in range(day // 60):  # each user changes every hour and more
                site.add(*(user for number, user in enumerate(users) if number % 53 == minute % 53))
                await asyncio.sleep(60)
            seen.update(
                tried=len(site.calls), probes=site.probes, queued=len(site.peer.queue), status=site.peer.status()
            )
            site.calls.clear()
            site.alive, back = True, loop.time()
            while len(site.peer.queue) or site.peer.sweep.active or site.peer.sweep.wanted:
                await asyncio.sleep(1)
                assert loop.time() < back + 600
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        try:
            loop.run_until_complete(story())
        finally:
            loop.close()
        # While it is away, it is asked twice a minute and no user is tried; one entry for each user waits.
        assert seen["tried"] <= 1 + site.config.workers
        assert day / 60 < seen["probes"] < 4 * day / 60
        assert seen["queued"] == len(users)
        assert not seen["status"]["up"] and seen["status"]["lag_seconds"] > day - 3600
        # When it is back, everybody is synced, and the sweep also finds who changed without a word.
        assert set(site.calls) == set(site.all_users)
        assert len(site.calls) <= 2 * len(site.all_users)
        assert site.most <= site.config.workers
        assert site.peer.status()["up"] and not site.peer.status()["lag_seconds"]

    def test_syncs_everybody_with_bounded_workers(self):
        site = Site(workers=3)

        async def story():
            site.add(*[f"u{n}" for n in range(30)])
            await site.until(lambda: not len(site.peer.queue))

        site.play(story)
        assert sorted(site.calls) == sorted(f"u{n}" for n in range(30))
        assert site.most == 3
        assert site.peer.counters.results[OK] == 30
        assert site.peer.counters.buckets[0] + sum(site.peer.counters.buckets[1:]) == 30

    def test_failed_user_is_tried_again_and_holds_up_nobody(self):
        site = Site()
        site.results["bad"] = [FAILED, FAILED]

        async def story():
            site.add("bad", "good")
            await site.until(lambda: not len(site.peer.queue))

        site.play(story)
        assert site.calls.count("bad") == 3 and site.calls.count("good") == 1
        assert site.peer.counters.results[FAILED] == 2

    def test_down_peer_is_probed_not_hammered_then_drained(self):
        site = Site()
        site.alive = False

        async def story():
            site.add(*[f"u{n}" for n in range(100)])
            await site.until(lambda: site.probes > 5)
            assert len(site.calls) <= site.config.workers  # nobody is tried while it is down
            assert not site.peer.status()["up"] and len(site.peer.queue) == 100
            assert all(e.attempts == 0 for e in site.peer.queue.entries.values())
            site.calls.clear()
            site.alive = True
            await site.until(lambda: not len(site.peer.queue))

        site.play(story)
        assert len(site.calls) == 100
        assert site.peer.status()["up"] and site.peer.counters.outages == 1

    def test_sweep_after_an_outage_but_not_after_a_blip(self):
        for least, swept in ((0.0, True), (60.0, False)):
            site = Site(sweep_after_outage=least)
            site.all_users = ["x", "y"]
            site.alive = False

            async def story(site=site):
                site.add("a")
                await site.until(lambda: site.probes > 2)
                site.alive = True
                await site.until(lambda: site.peer.status()["up"])
                await asyncio.sleep(0.05)
                await site.until(lambda: not len(site.peer.queue))

            site.play(story)
            assert ({"x", "y"} <= set(site.calls)) is swept

    def test_local_instance_down_loses_and_blames_nothing(self):
        site = Site()
        site.local = False

        async def story():
            site.add("a", "b", "c")
            await site.until(lambda: site.peer.local_error)
            await asyncio.sleep(0.05)
            assert site.probes == 0 and len(site.peer.queue) == 3
            site.local = True
            site.peer._pause_until = 0
            site.peer.wake.set()
            await site.until(lambda: not len(site.peer.queue))

        site.play(story)
        assert sorted(site.calls) == ["a", "b", "c"]
        assert site.peer.local_error == ""

    def test_a_sync_begins_with_the_state_of_the_last_good_one(self):
        site = Site()
        site.results["a"] = [OK, OK, FAILED]

        async def story():
            for count in (1, 2, 4):
                site.add("a")
                await site.until(lambda count=count: len(site.calls) == count and not len(site.peer.queue))
            site.peer.queue.add("a", site.peer.clock(), SWEPT)
            site.peer.wake.set()
            await site.until(lambda: len(site.calls) == 5 and not len(site.peer.queue))

        site.play(story)
        # Without; from the sync before; the same again, but it fails; then, and for a sweep, without.
        assert site.begun_with == ["", "a 1", "a 2", "", ""]

    @pytest.mark.parametrize("result", [OK, AGAIN])
    def test_a_state_is_not_used_when_mail_may_have_got_to_the_peer_since(self, result):
        site = Site()
        site.results["a"] = [result]
        site.peer.clock = lambda: site.now

        async def story():
            site.add("a")
            await site.until(lambda: site.calls and not site.peer.queue.running)
            site.now += syncd.STATE_SECONDS + 1 if result == OK else 0.5
            site.add("a")
            await site.until(lambda: len(site.calls) == 2 and not site.peer.queue.running)

        site.play(story)
        assert site.begun_with == ["", ""]
        assert list(site.peer.states) == ["a"]
        site.now += syncd.STATE_SECONDS
        site.peer.forget()
        assert site.peer.states == {}

    def test_no_state_is_used_while_a_peer_that_is_back_sweeps(self):
        site = Site(sweep_after_outage=60.0)
        later = 0.0
        site.peer.clock = lambda: time.time() + later

        async def synced(count):
            site.add("a")
            await site.until(lambda: len(site.calls) == count and not len(site.peer.queue))

        async def story():
            nonlocal later
            await synced(1)
            site.alive = False
            site.add("b")
            await site.until(lambda: site.peer.down_since)
            site.alive = True
            await site.until(lambda: site.peer.status()["up"] and not len(site.peer.queue))
            calls = len(site.calls)
            await synced(calls + 1)
            await synced(calls + 2)
            later += syncd.NO_STATE_SECONDS
            await synced(calls + 3)
            await synced(calls + 4)

        site.play(story)
        assert [state for user, state in zip(site.calls, site.begun_with, strict=True) if user == "a"][1:4] == [""] * 3
        assert site.begun_with[-1].startswith("a ")
        # In that time nothing is left out for looking the same.
        mine = [full for user, full in zip(site.calls, site.full, strict=True) if user == "a"]
        assert mine == [False, True, True, False, False]

    def test_changes_do_not_wait_for_the_list_of_users(self):
        site = Site()
        listed = asyncio.Event()
        site.all_users = ["x"]
        ask = site.peer.users

        async def slow():
            await listed.wait()
            return await ask()

        site.peer.users = slow
        site.peer.want_sweep()

        async def story():
            site.add("a")
            await site.until(lambda: site.calls == ["a"])
            listed.set()
            await site.until(lambda: site.calls == ["a", "x"])

        site.play(story)

    def test_sweep_takes_all_users_and_leaves_a_worker_for_changes(self):
        site = Site(workers=3)
        site.all_users = [f"u{n}" for n in range(20)]
        site.peer.want_sweep()

        async def story():
            await site.until(lambda: len(site.calls) >= 20 and not len(site.peer.queue))
            await site.until(lambda: not site.peer.sweep.active)

        site.play(story)
        assert sorted(site.calls) == sorted(site.all_users)
        assert site.most == 2
        assert site.peer.sweep.last and site.peer.counters.success[SWEPT]
        assert not site.peer.counters.success[CHANGED]
        assert all(site.full)  # it is there to find what was overlooked


@pytest.mark.parametrize(
    ("code", "answer", "result", "state"),
    [
        (0, [{"state": "new"}], OK, "new"),
        (syncd.EX_AGAIN, [], AGAIN, ""),
        (75, [], FAILED, ""),
        (syncd.EX_NOUSER, [], UNKNOWN, ""),
    ],
)
def test_only_a_good_sync_leaves_a_state(monkeypatch, code, answer, result, state):
    doveadm = syncd.Doveadm(1, "key", 1)
    asked = []

    async def call(command, parameters, timeout):
        asked.append((parameters["state"], parameters.get("fullSync")))
        return code, answer

    monkeypatch.setattr(doveadm, "call", call)
    assert asyncio.run(doveadm.sync("a", "tcp:127.0.0.1:1", 0, "old", False)) == (result, state)
    assert asyncio.run(doveadm.sync("a", "tcp:127.0.0.1:1", 0, "", True)) == (result, state)
    assert asked == [("old", None), ("", True)]


def daemon(tmp_path, peers=("p", "q")):
    config = syncd.Config(peers=dict.fromkeys(peers, 12348), state_dir=str(tmp_path))
    return syncd.Daemon(config, "key")


class TestDaemon:
    def feed(self, made, data):
        class Writer:
            def close(self):
                pass

        async def run():
            reader = asyncio.StreamReader()
            reader.feed_data(data)
            reader.feed_eof()
            await made.read_events(reader, Writer())
            await made.flush()

        asyncio.run(run())

    def test_an_event_queues_the_user_for_every_peer_and_survives_a_kill(self, tmp_path):
        made = daemon(tmp_path)
        self.feed(made, b'{"fields":{"user":"a"}}\n{"fields":{"user":"b"}}\nrubbish\n')
        assert (made.events, made.bad_events) == (2, 1)
        made.store.db.close()  # a kill
        again = daemon(tmp_path)
        for peer in again.peers:
            assert sorted(peer.queue.entries) == ["a", "b"]
            assert peer.sweep.wanted  # what came in the last moment is found by a sweep

    def test_a_clean_stop_needs_no_sweep(self, tmp_path):
        made = daemon(tmp_path)
        made.peers[0].sweep.last = 1e12
        self.feed(made, b"")
        made.store.close()
        again = daemon(tmp_path)
        assert not again.peers[0].sweep.wanted and again.peers[0].sweep.last == 1e12

    def test_synced_users_leave_the_store(self, tmp_path):
        made = daemon(tmp_path)
        self.feed(made, b'{"fields":{"user":"a"}}\n')
        q = made.peers[0].queue
        now = made.peers[0].clock()
        q.done(q.take(now), OK, now)
        self.feed(made, b"")
        assert made.store.load("p") == [] and len(made.store.load("q")) == 1

    def test_metrics_are_prometheus_text(self, tmp_path):
        made = daemon(tmp_path)
        self.feed(made, b'{"fields":{"user":"a"}}\n')
        made.peers[0].counters.delay(0.07)
        made.peers[0].counters.delay(7000)
        text = syncd.metrics(made.peers, made.events, made.bad_events)
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert values['dovecot_syncd_queue_users{peer="p"}'] == "1"
        assert values["dovecot_syncd_events_total"] == "1"
        assert values['dovecot_syncd_delay_seconds_bucket{peer="p",le="0.05"}'] == "0"
        assert values['dovecot_syncd_delay_seconds_bucket{peer="p",le="0.1"}'] == "1"
        assert values['dovecot_syncd_delay_seconds_bucket{peer="p",le="+Inf"}'] == "2"
        assert values['dovecot_syncd_last_success_timestamp_seconds{peer="p",class="changed"}'] == "0"
        assert float(values['dovecot_syncd_lag_seconds{peer="p"}']) >= 0
        families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(families) == len(set(families))

    def test_only_the_control_socket_may_order_a_sweep(self, tmp_path):
        made = daemon(tmp_path)
        for peer in made.peers:
            peer.sweep.wanted = False
        assert made._answer(b"POST", b"/sweep", False)[0].startswith("404")
        assert not made.peers[0].sweep.wanted
        assert made._answer(b"POST", b"/sweep", True)[0].startswith("200")
        assert made.peers[0].sweep.wanted
        assert [p["peer"] for p in json.loads(made._answer(b"GET", b"/status", False)[2])] == ["p", "q"]

    def test_states_are_forgotten_when_somebody_else_has_synced(self, tmp_path):
        made = daemon(tmp_path)
        for peer in made.peers:
            peer.states["a"] = syncd.State("state", 1e12)
        assert made._answer(b"POST", b"/forget", False)[0].startswith("404")
        assert made.peers[0].states
        assert made._answer(b"POST", b"/forget", True)[0].startswith("200")
        assert not any(peer.states for peer in made.peers)


def test_status_table_for_people():
    status = {
        "peer": "mail2.example.org", "up": False, "error": "refused", "down_seconds": 90.0, "queued": 7, "running": 0,
        "failing": 1, "lag_seconds": 88.25, "events": 3, "last_event": 950.0,
        "last_success": {CHANGED: 900.0, SWEPT: 800.0}, "sweep_running": False,
        "sweep_remaining": 0, "sweep_last": 0.0,
    }  # fmt: skip
    head, row, error = syncd.table([status], 1000.0).splitlines()
    assert head.split()[:3] == ["peer", "state", "queued"]
    assert "down 90 s" in row and "88.2 s" in row and "50 s ago" in row and "100 s ago" in row and "never" in row
    assert error == "mail2.example.org: refused"


def test_who_was_stored_as_changed_is_listed_also_beside_a_daemon(tmp_path):
    path = str(tmp_path / "queue.db")
    assert syncd.Store.changed(path) == []
    assert not Path(path).exists()
    store = syncd.Store(path)
    store.write([("b.x", "ann@x", CHANGED, 1.0), ("c.x", "ann@x", CHANGED, 1.0), ("b.x", "swept@x", SWEPT, 1.0)])
    assert syncd.Store.changed(path) == ["ann@x"]
    assert not store.clean
    store.close()
    assert syncd.Store.changed(path) == ["ann@x"]
    assert syncd.Store(path).clean  # to look leaves no trace


@pytest.mark.parametrize(
    "lags, up, code", [([0.0, 0.0], True, 0), ([3.0, 0.0], True, 0), ([3.0, 3.0], False, 0), ([3.0] * 999, True, 1)]
)
def test_settle_waits_for_peers_that_are_up_and_not_for_ever(monkeypatch, lags, up, code):
    now = [0.0]
    monkeypatch.setattr(syncd.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(syncd.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    answers = iter(lags)
    monkeypatch.setattr(syncd, "ask", lambda *_: [{"lag_seconds": next(answers), "up": up}])
    assert syncd.settle("/run/x") == code
    assert now[0] >= 0.2  # events of a backend that has just stopped are on their way
    assert now[0] < 11
