"""A shard that goes to another backend is held first, and no run of site.yml moves one."""

import pytest
from ansible.module_utils.mail_route import RouteError  # the one that is raised

from library.mail_sessions import meant
from module_utils.inventory_checks import check_site
from module_utils.mail_route import parse_backends, shard_of
from module_utils.mail_shards import described, moving, plan_table, table_of
from tests.unit.test_inventory_checks import mutated

BE1 = {"host": "be1.example.org", "address": "192.0.2.31"}
BE2 = {"host": "be2.example.org", "address": "192.0.2.32"}
BE3 = {"host": "be3.example.org", "address": "192.0.2.33"}
OLD = parse_backends({"be1": {**BE1, "shards": "0-127"}, "be2": {**BE2, "shards": "128-255"}, "be3": BE3})
NEW = parse_backends(
    {"be1": {**BE1, "shards": "0-63"}, "be2": {**BE2, "shards": "128-255"}, "be3": {**BE3, "shards": "64-127"}}
)
MOVES = [{"shard": shard, "from": "be1", "to": "be3"} for shard in range(64, 128)]
HELD = {"host": "held.invalid", "hostip": "255.255.255.255", "held_from": "be1.example.org"}


def test_a_table_is_made_kept_and_never_changed_under_users():
    table = plan_table({}, OLD, "present")
    assert len(table) == 256
    assert table["7f"] == {"host": "be1.example.org", "hostip": "192.0.2.31"}
    assert plan_table(table, OLD, "present") == table
    with pytest.raises(RouteError, match=r"64-127 from be1 to be3: .*move_shards"):
        plan_table(table, NEW, "present")


def test_a_backend_may_get_another_address_or_another_domain():
    table = table_of(OLD)
    for change in ({"address": "192.0.2.99"}, {"host": "be1.other.org"}):
        backends = parse_backends({"be1": {**BE1, **change, "shards": "0-127"}, "be2": {**BE2, "shards": "128-255"}})
        assert moving(table, backends) == []
        assert plan_table(table, backends, "present") == table_of(backends)


def test_a_move_holds_and_moves_what_goes_elsewhere_and_nothing_else():
    table = table_of(OLD)
    assert moving(table, NEW) == MOVES
    held = plan_table(table, NEW, "held")
    assert {shard for shard, fields in held.items() if fields == HELD} == {f"{n:02x}" for n in range(64, 128)}
    assert {s: f for s, f in held.items() if f != HELD} == {s: f for s, f in table.items() if held[s] != HELD}
    assert plan_table(held, NEW, "moved") == table_of(NEW)
    assert moving(table_of(NEW), NEW) == []


def test_a_move_that_was_cut_short_goes_on_or_back():
    held = plan_table(table_of(OLD), NEW, "held")
    assert moving(held, NEW) == MOVES
    assert plan_table(held, NEW, "held") == held
    assert plan_table(held, NEW, "back") == table_of(OLD)
    # The operator thinks better of it: what is held is moved where it was, and site.yml does not pass over it.
    assert [move["to"] for move in moving(held, OLD)] == ["be1"] * 64
    with pytest.raises(RouteError, match="64-127 from be1 to be1"):
        plan_table(held, OLD, "present")
    assert plan_table(held, OLD, "moved") == table_of(OLD)


def test_a_held_shard_of_a_backend_that_is_gone_is_not_given_to_a_stranger():
    held = plan_table(table_of(NEW), OLD, "held")
    gone = parse_backends({"be1": {**BE1, "shards": "0-127"}, "be2": {**BE2, "shards": "128-255"}})
    with pytest.raises(RouteError, match=r"shard 64 was on be3\.example\.org"):
        plan_table(held, gone, "back")


def test_ways_are_told_apart():
    moves = [{"shard": 1, "from": "be1", "to": "be2"}, {"shard": 3, "from": "be1", "to": "be2"}]
    assert described([*moves, {"shard": 2, "from": "be2", "to": "be1"}]) == "1, 3 from be1 to be2; 2 from be2 to be1"


def test_whose_sessions_end():
    users = ["ann@example.org", "bob@example.org", "cid@example.org"]
    shards = {shard_of(users[0]), shard_of(users[1])}
    assert meant(users, {"cid@example.org"}, shards, {"bob@example.org"}) == {users[0], users[2]}
    assert meant(users, set(), set(), set()) == set()


def told(site_changes, routes):
    """What preflight says of a site whose front end has these routes."""
    site = mutated(site_changes)
    found = check_site(site["site"], site["hosts"], site["groups"], routes={"front1": routes})
    return [(item["where"], item["variable"], item["found"]) for item in found]


def test_preflight_refuses_to_move_users():
    table = table_of(OLD)
    shards = "mail_backends.*.shards"
    swapped = {"site.mail_backends.be1.shards": "0-126", "site.mail_backends.be2.shards": "127-255"}
    assert told({}, {"shards": table}) == told({}, {}) == []
    assert told(swapped, {"shards": table}) == [("front1", shards, "127 from be1 to be2")]
    held = table | {"7f": HELD}
    assert told({}, {"shards": held}) == [("front1", shards, "127 from be1 to be1")]
    assert (
        told({"site.mail_routes": "ldap", "site.mail_directory": "ldap", **swapped}, {"shards": table})[0][1] != shards
    )


def test_preflight_refuses_to_leave_moved_users_behind():
    hosts = ["be1.nodes.example.org", "held.invalid"]
    assert told({}, {"overrides": hosts}) == []
    left = told({}, {"overrides": [*hosts, "be9.nodes.example.org"]})
    assert left == [("front1", "mail_backends", "users were moved to be9")]


def test_a_backend_without_shards_is_a_good_one():
    more = {"pod": "pod_a", "address": "192.0.2.33", "node": "mail1"}
    assert told({"site.mail_backends.be3": more}, {"shards": table_of(OLD)}) == []
