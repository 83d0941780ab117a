import re
import time

import pytest
import testinfra.utils.ansible_runner

testinfra_hosts = ["ansible://deb12", "ansible://deb13"]


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


PACKET = """
import socket, struct, sys
source, target, port, *flags = sys.argv[1:]
bits = sum({"syn": 2, "ack": 16}[flag] for flag in flags)
ends = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, 20)
head = struct.pack("!HHIIBBH", int(port), 40000, 1, 1, 80, bits, 1000)
total = sum(struct.unpack("!16H", ends + head + bytes(4)))
head += struct.pack("!HH", 0xFFFF - (total % 0xFFFF), 0)
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
sender.bind((source, 0))
sender.sendto(head, (target, 0))
"""


@pytest.mark.parametrize(
    ("port", "flags", "passes"),
    [(993, "syn ack", True), (995, "ack", True), (993, "syn", False), (994, "syn ack", False)],
)
def test_only_answers_of_servers_are_passed_on(host, another, peer, port, flags, passes):
    server, name = another("server"), host.check_output("hostname")
    source, router = (h.ansible.get_variables()["mail_cluster_address"] for h in (server, host))
    other = another("deb13" if name == "deb12" else "deb12")
    other.check_output("nft reset counter inet others passed")
    server.check_output(f"ip route replace {peer} via {router}")
    server.check_output(f"python3 -c %s {source} {peer} {port} {flags}", PACKET)
    time.sleep(0.5)
    assert ("packets 1 " in other.check_output("nft list counter inet others passed")) is passes
