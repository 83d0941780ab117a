from filter_plugins import pod, store_drbd

BACKENDS = {
    "be1": {"pod": "pod_a", "node": "mail1", "disk": "/dev/vg0/be1", "drbd_minor": 0},
    "be2": {"pod": "pod_a", "node": "mail2", "disk": "/dev/vg0/be2", "drbd_minor": 1, "filesystem": "xfs"},
}
HOSTVARS = {"mail1": {"mail_storage_address": "203.0.113.11"}, "mail2": {"mail_storage_address": "203.0.113.12"}}
RESOURCES = store_drbd.drbd_resources(BACKENDS, ["mail1", "mail2"], HOSTVARS)


def test_each_backend_is_a_resource_on_both_nodes_its_own_node_first():
    be1, be2 = RESOURCES
    assert (be1["name"], be1["minor"], be1["port"], be1["filesystem"]) == ("be1", 0, 7788, "ext4")
    assert (be2["name"], be2["minor"], be2["port"], be2["filesystem"]) == ("be2", 1, 7789, "xfs")
    assert be2["nodes"] == [
        {"name": "mail2", "address": "203.0.113.12", "disk": "/dev/vg0/be2"},
        {"name": "mail1", "address": "203.0.113.11", "disk": "/dev/vg0/be2"},
    ]


def test_mail_is_where_the_cluster_mounts_it():
    roots = {name: backend["mail_root"] for name, backend in pod.mounted_backends(BACKENDS).items()}
    mounts = {
        resource["id"].removesuffix("_filesystem"): resource["options"]["directory"]
        for resource in store_drbd.drbd_cluster_resources(RESOURCES)
        if resource["agent"] == "ocf:heartbeat:Filesystem"
    }
    assert roots == mounts == {"be1": "/srv/mail/be1", "be2": "/srv/mail/be2"}


def test_one_node_is_promoted_and_a_backend_follows_it():
    clones = store_drbd.drbd_cluster_clones(RESOURCES)
    assert [(clone["id"], clone["of"]) for clone in clones] == [
        ("be1_drbd_clone", "be1_drbd"),
        ("be2_drbd_clone", "be2_drbd"),
    ]
    assert all(clone["meta"]["promoted-max"] == 1 and clone["meta"]["clone-max"] == 2 for clone in clones)
    colocation, order = store_drbd.drbd_cluster_constraints(RESOURCES[:1])
    assert (colocation["resource"], colocation["with"], colocation["with_role"]) == (
        "be1",
        "be1_drbd_clone",
        "Promoted",
    )
    assert (order["first"], order["first_action"], order["then"]) == ("be1_drbd_clone", "promote", "be1")


def test_a_shared_resource_is_promoted_on_both_nodes_and_has_no_file_system_of_one():
    shared = store_drbd.drbd_resource(
        {"disk": "/dev/vdb", "drbd_minor": 3}, "mail", ["mail2", "mail1"], HOSTVARS, two_primaries=True
    )
    assert (shared["name"], shared["minor"], shared["port"], shared["two_primaries"]) == ("mail", 3, 7791, True)
    assert [node["name"] for node in shared["nodes"]] == ["mail1", "mail2"]
    assert [resource["id"] for resource in store_drbd.drbd_cluster_resources([shared])] == ["mail_drbd"]
    (clone,) = store_drbd.drbd_cluster_clones([shared])
    assert (clone["meta"]["promoted-max"], clone["meta"]["clone-max"], clone["meta"]["interleave"]) == (2, 2, True)
