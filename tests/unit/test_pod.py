import re
from pathlib import Path

from filter_plugins import pod

BACKENDS = {
    "be1": {"pod": "pod_a", "address": "192.0.2.31", "node": "mail1"},
    "be2": {"pod": "pod_a", "address": "192.0.2.32", "node": "mail2"},
    "be3": {"pod": "pod_b", "address": "192.0.2.33", "node": "mail3"},
}


def test_backends_of_one_pod():
    assert list(pod.pod_backends(BACKENDS, "pod_a")) == ["be1", "be2"]


def test_each_backend_is_an_address_and_then_an_instance():
    backends = pod.pod_backends(BACKENDS, "pod_b")
    address, dovecot = pod.backend_resources(backends, 24)
    assert address["options"] == {"ip": "192.0.2.33", "cidr_netmask": "24"}
    assert dovecot["agent"] == "systemd:dovecot-backend@be3"
    assert pod.backend_groups(backends) == [{"id": "be3", "members": [address["id"], dovecot["id"]]}]
    members = ["be3_mount", "be3_address", "be3_dovecot"]
    assert pod.backend_groups(backends, ["mount"]) == [{"id": "be3", "members": members}]


def test_backends_prefer_their_own_node():
    constraints = pod.backend_preferences(BACKENDS)
    assert [(c["resource"], c["node"]) for c in constraints] == [("be1", "mail1"), ("be2", "mail2"), ("be3", "mail3")]


def test_backends_run_after_and_where_their_mounts_are():
    found = pod.backends_on_mounts({"be1": {}, "be2": {}}, ["gfs2_mail_clone"])
    assert [(c["type"], c.get("first", c.get("with")), c.get("then", c.get("resource"))) for c in found] == [
        ("order", "gfs2_mail_clone", "be1"),
        ("colocation", "gfs2_mail_clone", "be1"),
        ("order", "gfs2_mail_clone", "be2"),
        ("colocation", "gfs2_mail_clone", "be2"),
    ]


def test_cluster_nodes_and_their_bmcs():
    hostvars = {
        "mail1": {
            "mail_node_id": 1,
            "mail_cluster_address": "198.51.100.11",
            "fencing_ipmi_address": "198.51.100.111",
            "fencing_ipmi_user": "admin",
        }
    }
    assert pod.corosync_nodes(["mail1"], hostvars) == [{"name": "mail1", "id": 1, "addresses": ["198.51.100.11"]}]
    device = {"address": "198.51.100.111", "user": "admin", "password": "secret"}
    assert pod.ipmi_devices(["mail1"], hostvars, "secret") == {"mail1": device}


def test_front_ends_know_backends_by_name_address_and_shards():
    backends = {"be1": {"address": "192.0.2.31", "shards": "0-255"}}
    expected = {"be1": {"host": "be1.example.org", "address": "192.0.2.31", "shards": "0-255"}}
    assert pod.routed_backends(backends, "example.org") == expected


def test_names_of_machines_and_backends():
    hostvars = {"mail1": {"mail_cluster_address": "198.51.100.11"}}
    backends = {"be1": {"address": "192.0.2.31"}}
    assert pod.site_hosts(["mail1"], hostvars, backends, "example.org") == {
        "198.51.100.11": ["mail1.example.org", "mail1"],
        "192.0.2.31": ["be1.example.org"],
    }


REACHED = {"front_ends": {"hosts": ["192.0.2.14", "192.0.2.15"], "interval": 10}}


def test_nodes_say_together_what_they_reach():
    (resource,) = pod.reach_resources(REACHED)
    assert resource["options"]["host_list"] == "192.0.2.14 192.0.2.15"
    # Longer than two nodes' answers can be apart: an interval, and the pings of both hosts.
    apart = 10 + 2 * int(resource["options"]["attempts"]) * int(resource["options"]["timeout"])
    assert int(resource["options"]["dampen"].removesuffix("s")) > apart
    assert pod.reach_clones(REACHED) == [{"id": "reach_front_ends_clone", "of": "reach_front_ends"}]


def test_backends_run_where_something_is_reached_and_stay_when_nothing_is():
    (constraint,) = pod.backends_where_reached({"be1": {}}, REACHED)
    assert (constraint["resource"], constraint["attribute"]) == ("be1", "front_ends_reached")
    assert (constraint["operation"], constraint["value"]) == ("gte", 1)
    # Over preference and stickiness (1000 for each part of a group), and nowhere negative, which would stop it.
    assert constraint["score"] > 10_000


def test_a_stop_fails_after_systemd_has_killed_and_before_it_gives_up():
    unit = (Path(pod.__file__).parents[1] / "roles/dovecot_backend/templates/dovecot-backend@.service.j2").read_text()
    asked = int(re.search(r"^ExecStop=-/usr/bin/timeout (\d+) ", unit, re.MULTILINE)[1])
    patience = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])
    _, dovecot = pod.backend_resources({"be1": {"address": "192.0.2.31"}}, 24)
    stop = next(operation for operation in dovecot["operations"] if operation["name"] == "stop")
    assert asked + patience + 5 <= int(stop["timeout"].removesuffix("s")) <= 2 * patience - 5
