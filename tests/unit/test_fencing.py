"""What counts as working fencing, against CIBs that real clusters answered."""

from pathlib import Path

import pytest

from module_utils import fencing

RECORDED = Path(__file__).parent / "recorded"
IPMI = [
    {"id": f"fence_{node}", "agent": "stonith:fence_ipmilan", "options": {"ip": "192.0.2.9", "pcmk_host_list": node}}
    for node in ("n1", "n2")
]
SBD = {"id": "fence_sbd", "agent": "stonith:fence_sbd", "options": {"devices": "/dev/x", "pcmk_host_list": "n1 n2"}}
OTHER = {"id": "be1_address", "agent": "ocf:heartbeat:IPaddr2", "options": {"ip": "192.0.2.31"}}


@pytest.mark.parametrize("release", ["12", "13"])
def test_a_live_cluster(release):
    found = fencing.read((RECORDED / f"cib-{release}.xml").read_text(), [], {})
    nodes = [f"deb{release}a", f"deb{release}b"]
    assert sorted(found.devices) == [f"fence_{node}" for node in nodes]
    assert found.enabled and not found.needs_watchdog
    assert fencing.problems(found, nodes) == []
    assert fencing.problems(found, [*nodes, "new"]) == [
        f"node new is in no fence device's pcmk_host_list (fence_{nodes[0]}, fence_{nodes[1]})"
    ]


def test_what_is_to_be_declared_counts_over_what_is():
    live = (RECORDED / "cib-13.xml").read_text()
    declared = [IPMI[0] | {"id": "fence_deb13a", "options": {"ip": "198.51.100.9", "pcmk_host_list": "deb13a"}}]
    found = fencing.read(live, declared, {"stonith-enabled": False})
    assert found.devices["fence_deb13a"]["options"]["ip"] == "198.51.100.9"
    assert fencing.problems(found, ["deb13a"]) == ["stonith-enabled is false; wanted true"]


@pytest.mark.parametrize(
    ("resources", "properties", "said"),
    [
        (IPMI, {}, []),
        (IPMI, {"stonith-enabled": "off"}, ["stonith-enabled is false"]),
        (IPMI[:1], {}, ["node n2 is in no fence device"]),
        ([OTHER], {}, ["no fence device is declared"]),
        ([], {"stonith-enabled": False}, ["stonith-enabled is false", "no fence device"]),
        ([], {"stonith-watchdog-timeout": "40s"}, []),
        ([], {"stonith-watchdog-timeout": "0"}, ["no fence device"]),
        ([SBD], {}, []),
        ([{"id": "f", "agent": "stonith:fence_x", "options": {"pcmk_host_map": "n1:1;n2:2"}}], {}, []),
        ([{"id": "f", "agent": "stonith:fence_x"}], {}, []),
    ],
)
def test_problems(resources, properties, said):
    found = fencing.problems(fencing.read(None, resources, properties), ["n1", "n2"])
    assert len(found) == len(said)
    for problem, words in zip(found, said, strict=True):
        assert words in problem


def test_sbd_needs_its_watchdog():
    assert fencing.read(None, [SBD], {}).needs_watchdog
    assert fencing.read(None, [], {"stonith-watchdog-timeout": "40s"}).needs_watchdog
    assert not fencing.read(None, IPMI, {}).needs_watchdog


def test_an_agent_gets_its_own_options():
    asked = fencing.question({"ip": "192.0.2.9", "lanplus": True, "delay": None, "pcmk_host_list": "n1"})
    assert asked == "action=monitor\nip=192.0.2.9\nlanplus=true\n"
