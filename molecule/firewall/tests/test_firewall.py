import re

import pytest
import testinfra.utils.ansible_runner


@pytest.fixture
def peer(host, request):
    """The other host's address on the clients network."""
    runner = host.backend.ansible_runner
    name = next(name for name in ("deb12", "deb13") if name != host.check_output("hostname"))
    other = testinfra.utils.ansible_runner.AnsibleRunner(runner.inventory_file).get_host(name)
    return re.findall(r"inet ([\d.]+)/", other.check_output("ip -4 -o address show dev eth0"))[0]


@pytest.mark.parametrize(("port", "is_open"), [(993, True), (4005, True), (22, True), (995, False), (25, False)])
def test_ports_from_the_other_host(host, peer, port, is_open):
    knock = f"import socket; socket.create_connection(('{peer}', {port}), 2)"
    assert (host.run(f'python3 -c "{knock}"').rc == 0) is is_open


def test_closed_port_is_open_on_the_host_itself(host):
    assert host.run("python3 -c \"import socket; socket.create_connection(('127.0.0.1', 995), 2)\"").rc == 0


def test_other_tables_stay(host):
    assert "table inet others" in host.check_output("nft list tables")


def test_rules_come_back_with_the_host(host):
    assert host.service("dovecluster-firewall").is_enabled
