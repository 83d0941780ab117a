import grp
import os

import pytest

from module_utils import mail_route as mr

BACKENDS = mr.parse_backends(
    {
        "be1": {"host": "be1.example.org", "address": "192.0.2.31", "shards": "0-99,101"},
        "be2": {"host": "be2.example.org", "address": "192.0.2.32", "shards": "100,102-255"},
    }
)

# `doveadm auth lookup` on Dovecot 2.3.19 and 2.4.1: the same shard on both, for each of 2,999 users; these are a few.
RECORDED = {"u1@example.org": 0x92, "u2@example.org": 0xFA}


@pytest.mark.parametrize(("user", "shard"), RECORDED.items())
def test_shard_is_dovecots(user, shard):
    assert mr.shard_of(user) == mr.shard_of(user.upper()) == shard


def test_shards_of_many_users_are_spread_evenly():
    counts = [0] * mr.SHARDS
    for number in range(25600):
        counts[mr.shard_of(f"user{number}@example.org")] += 1
    assert min(counts) > 60
    assert max(counts) < 150


@pytest.mark.parametrize("text", ["", "x", "5-3", "0-256", "1;2", "-1"])
def test_wrong_shards_are_named(text):
    with pytest.raises(mr.RouteError, match="shards"):
        mr.parse_shards(text)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [("0-127", "127-255", "127 belongs to both"), ("0-127", "129-255", "128 belong to no backend")],
)
def test_every_shard_has_one_backend(first, second, message):
    described = {"host": "h", "address": "a"}
    with pytest.raises(mr.RouteError, match=message):
        mr.parse_backends({"be1": described | {"shards": first}, "be2": described | {"shards": second}})


def test_overrides_survive_a_round_trip():
    text = "ann@example.org:::::::host=be2.example.org hostip=192.0.2.32\n"
    assert mr.render_routes(mr.parse_routes("# a comment\n\n" + text)) == text


@pytest.mark.parametrize("line", ["ann@example.org", "ann:::::::host=x", ":::::::host=x hostip=y"])
def test_a_broken_line_is_named(line):
    with pytest.raises(mr.RouteError, match="line 2"):
        mr.parse_routes("\n" + line)


def test_route_by_shard_then_override_then_held_then_shard_again():
    user = "u1@example.org"
    assert mr.route_of(user, BACKENDS, {})["backend"] == "be2"
    moved = mr.plan(user.upper(), "present", BACKENDS["be1"], {})
    assert mr.route_of(user, BACKENDS, moved) == {
        "backend": "be1",
        "home": "be1",
        "host": "be1.example.org",
        "address": "192.0.2.31",
        "shard": 0x92,
        "by": "override",
    }
    assert mr.plan(user, "present", BACKENDS["be1"], moved) == moved
    held = mr.plan(user, "held", None, moved)
    assert mr.route_of(user, BACKENDS, held)["backend"] == "held"
    assert mr.plan(user, "absent", None, held) == {}


@pytest.mark.parametrize(("moved_to", "home", "by"), [(None, "be2", "shard"), ("be1", "be1", "override")])
def test_a_held_user_has_the_home_of_before(moved_to, home, by):
    user = "u1@example.org"
    before = mr.plan(user, "present", BACKENDS[moved_to], {}) if moved_to else {}
    held = mr.plan(user, "held", None, before)
    assert mr.plan(user, "held", None, held) == held
    read_again = mr.parse_routes(mr.render_routes(held))
    found = mr.route_of(user, BACKENDS, read_again)
    assert (found["backend"], found["home"], found["by"]) == ("held", home, by)


def test_an_override_to_a_host_that_is_gone_has_no_home():
    gone = {"u1@example.org": {"host": "be9.example.org", "hostip": "192.0.2.39"}}
    found = mr.route_of("u1@example.org", BACKENDS, gone)
    assert (found["backend"], found["home"], found["host"]) == (None, None, "be9.example.org")


@pytest.mark.parametrize("user", ["", "a b", "a:b", "#a"])
def test_names_that_would_break_the_file_are_refused(user):
    with pytest.raises(mr.RouteError, match="user"):
        mr.plan(user, "absent", None, {})


def test_file_is_replaced_whole(tmp_path):
    path = tmp_path / "overrides"
    mr.write_routes(str(path), "new\n", grp.getgrgid(os.getgid()).gr_name)
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_missing_file_has_no_overrides(tmp_path):
    assert mr.read_routes(str(tmp_path / "none")) == (False, "", {})


def test_where_routes_are_in_ldap_a_held_user_s_line_says_what_that_named():
    user = "u1@example.org"  # be2 by the shard
    named = "be1.example.org"
    found = mr.route_of(user, BACKENDS, {}, named)
    assert (found["backend"], found["address"], found["by"]) == ("be1", "192.0.2.31", "ldap")
    held = mr.parse_routes(mr.render_routes(mr.plan(user, "held", None, {}, named)))
    # The front end has nothing but the override to tell then.
    for told in ("", mr.HELD_HOST):
        found = mr.route_of(user, BACKENDS, held, told)
        assert (found["backend"], found["home"], found["by"]) == ("held", "be1", "ldap")
    moved = mr.plan(user, "present", BACKENDS["be2"], held)
    found = mr.route_of(user, BACKENDS, moved, "be2.example.org")
    assert (found["home"], found["by"]) == ("be2", "override")


def test_a_user_whom_ldap_sends_nowhere_is_at_home_nowhere():
    found = mr.route_of("u1@example.org", BACKENDS, {}, "no-mailhost.is-no-backend.invalid")
    assert found["home"] is None and found["backend"] is None
