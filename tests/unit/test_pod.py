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
    assert pod.backend_groups(backends) == [{"id": "be3", "resources": [address["id"], dovecot["id"]]}]


def test_backends_prefer_their_own_node():
    constraints = pod.backend_preferences(BACKENDS)
    assert [(c["resource"], c["node"]) for c in constraints] == [("be1", "mail1"), ("be2", "mail2"), ("be3", "mail3")]
