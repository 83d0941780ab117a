"""The service as a whole, from outside and from every node."""

from tests.ledger.checker import fetch_user

testinfra_hosts = ["ansible://mail_nodes"]


def test_each_backend_runs_on_exactly_one_node_with_its_address(lab):
    placement = lab.placement()
    assert placement
    for name, nodes in placement.items():
        assert len(nodes) == 1, placement
        address = lab.backends[name]["address"]
        holders = [node for node in lab.group("mail_nodes") if f" {address}/" in lab.ssh(node, "ip -o -4 address")]
        assert holders == nodes, f"{name}: {address}"


def test_each_service_address_is_on_one_front_end(lab):
    front_ends = {node: lab.ssh(node, "ip -o -4 address") for node in lab.front_hosts}
    for address in lab.front().addresses:
        assert len([node for node, text in front_ends.items() if f" {address}/" in text]) == 1, address


def test_every_user_reads_mail_through_every_front_address(lab):
    front = lab.front()
    assert front.users
    for user in front.users:
        for start in range(len(front.addresses)):
            fetch_user(front, user, start)
