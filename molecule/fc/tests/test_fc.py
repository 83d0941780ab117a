"""A LUN over two fabrics, mounted by two nodes: real ports and paths, a lost path, a lost node, what is refused."""

import time

import pytest
from shared.mounts import LOCK, PLACE, begin, mounted, stall
from shared.pods import Pod, lab, until

PATHS = "multipathd show paths raw format '%m %t %o' | sort"
# The kernel tells a lost VN2VN peer after two and a half beacons of 8 s, and SCSI fails over 5 s later; hosts are slow.
PATH_STALL = 60
NODE_STALL = 120


@pytest.fixture(scope="module")
def pod(request):
    return Pod("13", request.config.getoption("--ansible-inventory"))


@pytest.fixture(params=[0, 1], ids=["deb13a", "deb13b"])
def host(pod, request):
    return pod.hosts[pod.names[request.param]]


def has_both_paths(pod, name):
    return pod.ask(name, PATHS).split("\n")[:2] == ["mail active running"] * 2


def test_ports_are_online_and_see_the_array(host):
    assert host.check_output("cat /sys/class/fc_host/host*/port_state").split() == ["Online"] * 2
    seen = host.check_output("cat /sys/class/fc_remote_ports/rport-*/roles").split("\n")
    assert sum("FCP Target" in roles for roles in seen) == 2


def test_the_lun_has_a_path_through_each_fabric(host):
    assert host.check_output(PATHS).split("\n") == ["mail active running"] * 2
    ports = host.check_output("multipathd show paths raw format '%R %r'").split("\n")
    assert len({path.split()[0] for path in ports}) == len({path.split()[1] for path in ports}) == 2
    assert "LIO-ORG" in host.check_output("cat /sys/block/sda/device/vendor")


def test_both_nodes_have_it_mounted_and_lock_it(pod):
    first, second = pod.hosts.values()
    assert all(mounted(pod, name) for name in pod.names)
    first.check_output(f"echo hello > {PLACE}/letter")
    assert second.check_output(f"cat {PLACE}/letter") == "hello"
    first.check_output(f"nohup python3 -c %s {PLACE}/lock 15 > /run/locked 2>&1 < /dev/null &", LOCK)
    until(lambda: "locked" in first.check_output("cat /run/locked"), 10)
    refused = second.run(f"python3 -c %s {PLACE}/lock 0", LOCK)
    assert refused.rc == 1 and "refused: 11" in refused.stderr
    until(lambda: second.run(f"python3 -c %s {PLACE}/lock 0", LOCK).rc == 0, 60)


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        ("wanted 3: is the adapter's driver loaded?", {"fc_initiator_ports": 3}),
        ("this host has no interface eth9 (fc_initiator_interfaces)", {"fc_initiator_interfaces": [{"name": "eth9"}]}),
    ],
)
def test_what_is_not_there_is_told(play, said, variables):
    done = play("molecule/fc/converge.yml", "--limit=array1", fc_initiator_timeout=1, **variables)
    assert done.returncode != 0 and said in " ".join(done.stdout.split()), done.stdout
    assert "changed=0" in done.stdout


def test_a_lost_path_holds_writes_up_and_comes_back(pod, capsys):
    name = pod.names[1]
    begin(pod.hosts[name], 60)
    time.sleep(5)
    lab("cut", name, "storage2")
    try:
        longest = stall(pod.hosts[name])
        assert "mail failed" in pod.ask(name, PATHS)
    finally:
        lab("join", name, "storage2")
    back = until(lambda: has_both_paths(pod, name), 120)
    with capsys.disabled():
        print(f"\na path was lost: the longest write took {longest} s; it was back after {back:.0f} s")
    assert longest < PATH_STALL
    assert all(mounted(pod, node) for node in pod.names), "nobody was fenced"


def test_a_node_that_dies_is_fenced_and_finds_its_lun_again(pod, capsys):
    survivor, victim = pod.names
    begin(pod.hosts[survivor], 90)
    time.sleep(5)
    lab("kill", victim)
    longest = stall(pod.hosts[survivor])
    history = pod.hosts[survivor].check_output(f"stonith_admin --history {victim} --verbose")
    assert f"reboot of {victim} successful" in history
    back = until(lambda: mounted(pod, victim) and has_both_paths(pod, victim), 240)
    with capsys.disabled():
        print(f"\na node died: the other's longest write took {longest} s; it was back after {back:.0f} s more")
    assert longest < NODE_STALL
