"""The pure part of pacemaker_cib, on CIBs that real clusters answered."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from module_utils import cib

RECORDED = Path(__file__).parent / "recorded"
FRESH = """<cib crm_feature_set="3.20.0" validate-with="pacemaker-4.0" epoch="1" num_updates="0" admin_epoch="0">
  <configuration>
    <crm_config/>
    <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
    <resources/><constraints/>
  </configuration><status/></cib>"""


def declaration(**changes):
    wanted = {
        "properties": {"stonith-enabled": True},
        "resource_defaults": {"resource-stickiness": 1000},
        "resources": [
            {
                "id": "be1_address",
                "agent": "ocf:heartbeat:IPaddr2",
                "options": {"ip": "192.0.2.31", "cidr_netmask": 24},
                "operations": [{"name": "monitor", "interval": "10s"}],
            },
            {"id": "be1_dovecot", "agent": "systemd:dovecot-backend@be1"},
            {"id": "fence_n1", "agent": "stonith:fence_x", "options": {"password": "hush", "pcmk_host_list": "n1"}},
        ],
        "groups": [{"id": "be1", "members": ["be1_address", "be1_dovecot"]}],
        "constraints": [{"type": "location", "resource": "be1", "node": "n1", "score": 100}],
        "fencing_topology": [{"node": "n1", "levels": [["fence_n1"]]}],
    }
    return cib.Declaration(**(wanted | changes))


@pytest.fixture
def fresh():
    return ET.fromstring(FRESH)


@pytest.fixture
def live(fresh):
    return cib.wanted_cib(fresh, declaration())


def test_declared_again_is_no_change(live):
    again = cib.wanted_cib(live, declaration())
    assert cib.configuration_form(again) == cib.configuration_form(live)
    assert cib.changed_resources(live, again) == set()


def test_all_objects_are_there_and_remembered(fresh, live):
    assert cib.configuration_form(fresh) != cib.configuration_form(live)
    assert [e.get("id") for e in live.findall(".//group/primitive")] == ["be1_address", "be1_dovecot"]
    assert live.find(".//primitive[@id='be1_dovecot']").attrib == {
        "id": "be1_dovecot",
        "class": "systemd",
        "type": "dovecot-backend@be1",
    }
    assert live.find(".//nvpair[@name='stonith-enabled']").get("value") == "true"
    assert {"be1", "be1_address", "fence_n1", "location-be1-n1", "fencing-n1-1"} <= cib.owned_ids(live, "dovecluster")


def test_a_changed_option_changes_only_its_resource(live):
    wanted = declaration()
    wanted.resources[0]["options"]["ip"] = "192.0.2.99"
    changed = cib.wanted_cib(live, wanted)
    assert cib.changed_resources(live, changed) == {"be1_address"}


def test_what_is_declared_no_longer_goes_with_its_constraints(live):
    left = cib.wanted_cib(
        live, declaration(groups=[], constraints=[], fencing_topology=[], resources=[], properties={})
    )
    assert not left.findall(".//primitive")
    assert not left.findall("configuration/constraints/*")
    assert left.find(".//nvpair[@name='stonith-enabled']") is None


def test_what_others_made_stays(live):
    ET.SubElement(live.find("configuration/resources"), "primitive", id="theirs", **{"class": "ocf", "type": "Dummy"})
    constraints = live.find("configuration/constraints")
    ET.SubElement(constraints, "rsc_location", id="cli-prefer-be1", rsc="be1", node="n2", score="INFINITY")
    ET.SubElement(live.find(".//cluster_property_set"), "nvpair", id="m", name="maintenance-mode", value="true")
    wanted = cib.wanted_cib(live, declaration(constraints=[]))
    assert wanted.find(".//primitive[@id='theirs']") is not None
    assert [e.get("id") for e in wanted.find("configuration/constraints")] == ["cli-prefer-be1"]
    assert wanted.find(".//nvpair[@name='maintenance-mode']").get("value") == "true"


def test_an_operator_who_stopped_a_resource_is_obeyed(live):
    meta = ET.Element("meta_attributes", id="be1-meta_attributes")
    ET.SubElement(meta, "nvpair", id="x", name="target-role", value="Stopped")
    live.find(".//group").insert(0, meta)
    assert cib.configuration_form(cib.wanted_cib(live, declaration())) == cib.configuration_form(live)


def test_a_resource_moves_into_a_group_and_out_of_it(live):
    out = cib.wanted_cib(live, declaration(groups=[{"id": "be1", "members": ["be1_address"]}]))
    assert [e.get("id") for e in out.findall(".//primitive")].count("be1_dovecot") == 1
    back = cib.wanted_cib(out, declaration())
    assert [e.get("id") for e in back.findall(".//primitive")].count("be1_dovecot") == 1
    assert cib.configuration_form(back) == cib.configuration_form(live)


def test_member_order_is_a_change(live):
    turned = cib.wanted_cib(live, declaration(groups=[{"id": "be1", "members": ["be1_dovecot", "be1_address"]}]))
    assert cib.configuration_form(turned) != cib.configuration_form(live)


def test_promotable_clone_and_its_constraints(fresh):
    wanted = cib.wanted_cib(
        fresh,
        cib.Declaration(
            resources=[{"id": "disk", "agent": "ocf:linbit:drbd"}, {"id": "fs", "agent": "ocf:heartbeat:Filesystem"}],
            clones=[{"id": "disks", "of": "disk", "meta": {"promotable": True}}],
            constraints=[
                {"type": "colocation", "resource": "fs", "with": "disks", "with_role": "Promoted"},
                {"type": "order", "first": "disks", "first_action": "promote", "then": "fs"},
                {
                    "type": "location",
                    "resource": "fs",
                    "score": "-INFINITY",
                    "attribute": "pingd",
                    "operation": "lt",
                    "value": 1,
                },
            ],
        ),
    )
    assert wanted.find(".//clone/primitive").get("id") == "disk"
    assert wanted.find(".//rsc_colocation").get("with-rsc-role") == "Promoted"
    assert wanted.find(".//rsc_order").attrib["first-action"] == "promote"
    assert wanted.find(".//rsc_location/rule/expression").get("value") == "1"


def test_clones_run_everywhere_one_after_the_other(fresh):
    """What the role gfs2 declares: a monitor that gets an option of its own, and constraints between clones."""
    wanted = cib.Declaration(
        resources=[
            {"id": "dlm", "agent": "ocf:pacemaker:controld"},
            {
                "id": "fs",
                "agent": "ocf:heartbeat:Filesystem",
                "operations": [
                    {"name": "monitor", "interval": "20s", "on-fail": "fence", "options": {"OCF_CHECK_LEVEL": 20}}
                ],
            },
        ],
        clones=[
            {"id": "dlm_clone", "of": "dlm", "meta": {"interleave": True}},
            {"id": "fs_clone", "of": "fs", "meta": {"interleave": True}},
        ],
        constraints=[
            {"type": "order", "first": "dlm_clone", "then": "fs_clone"},
            {"type": "colocation", "resource": "fs_clone", "with": "dlm_clone"},
        ],
    )
    assert cib.problems(wanted, fresh) == []
    made = cib.wanted_cib(fresh, wanted)
    assert [clone.get("id") for clone in made.findall(".//clone")] == ["dlm_clone", "fs_clone"]
    monitor = made.find(".//primitive[@id='fs']/operations/op")
    assert monitor.attrib == {"id": "fs-monitor-20s", "name": "monitor", "interval": "20s", "on-fail": "fence"}
    assert monitor.find("instance_attributes/nvpair").attrib["value"] == "20"
    assert cib.configuration_form(cib.wanted_cib(made, wanted)) == cib.configuration_form(made)
    wanted.resources[1]["operations"][0]["options"] = {"OCF_CHECK_LEVEL": 10}
    assert cib.changed_resources(made, cib.wanted_cib(made, wanted)) == {"fs"}


def test_secrets_are_not_shown(live):
    assert "hush" not in cib.render(live)
    assert cib.MASK in cib.render(live)
    assert cib.secrets(declaration()) == {"hush"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"groups": [{"id": "be1", "members": ["ghost"]}]}, "member ghost is not declared"),
        ({"groups": [{"id": "fence_n1", "members": ["be1_address"]}]}, "id fence_n1 is declared 2 times"),
        ({"constraints": [{"type": "location", "resource": "be1", "node": "n9", "score": 1}]}, "node n9 is unknown"),
        ({"constraints": [{"type": "location", "resource": "be1", "score": 1}]}, "either a node or an attribute"),
        ({"constraints": [{"type": "near", "resource": "be1"}]}, "type is near"),
        ({"constraints": [{"type": "order", "first": "be1"}]}, "then is missing"),
        ({"constraints": [{"type": "order", "first": "be1", "then": "ghost"}]}, "then ghost is not a declared"),
        ({"clones": [{"id": "c", "of": "be1_address"}]}, "already in a group"),
        ({"fencing_topology": [{"node": "n9", "levels": []}]}, "node n9 is unknown"),
        ({"node_attributes": {"n9": {}}}, "node n9 is unknown"),
        ({"resources": [{"id": "a", "agent": "IPaddr2"}]}, "agent IPaddr2 is not of the form"),
    ],
)
def test_problems_are_named(fresh, changes, said):
    assert any(said in problem for problem in cib.problems(declaration(**changes), fresh))


def test_a_right_declaration_has_no_problems(fresh):
    assert cib.problems(declaration(), fresh) == []


def test_agents_know_their_options():
    agent = cib.read_agent(
        "<resource-agent name='x'><parameters><parameter name='ip' required='1'><content type='string'/></parameter>"
        "<parameter name='port' required='1'><content type='string' default='1'/></parameter>"
        "</parameters></resource-agent>"
    )
    resource = {"id": "a", "agent": "ocf:heartbeat:x", "options": {"nic": "eth0"}}
    assert cib.agent_problems(resource, agent) == [
        "resource a: ocf:heartbeat:x needs option ip",
        "resource a: ocf:heartbeat:x has no option nic",
    ]
    assert "not installed" in cib.agent_problems(resource, None)[0]


def test_the_status_is_left_out_of_what_is_verified(live):
    assert live.find("status") is not None
    alone = cib.without_status(live)
    assert alone.find("status") is None
    assert live.find("status") is not None
    assert cib.configuration_form(alone) == cib.configuration_form(live) != ()


@pytest.mark.parametrize("release", ["12", "13"])
def test_recorded_cluster(release):
    live = ET.parse(RECORDED / f"cib-{release}.xml").getroot()
    assert len(cib.node_names(live)) == 2
    assert "be1_address" in cib.owned_ids(live, "dovecluster")
    simulation = (RECORDED / f"crm_simulate-{release}.txt").read_text()
    assert [action.split()[0] for action in cib.read_actions(simulation)] == ["Fence", "Stop", "Move"]
    assert cib.read_failures((RECORDED / f"crm_mon-{release}.xml").read_text()) == []


def test_resources_that_run_nowhere() -> None:
    def resource(name: str, role: str, more: str = "") -> str:
        return f'<resource id="{name}" role="{role}" managed="true" {more}/>'

    one = resource("be1_filesystem", "Stopped") + resource("be1_address", "Started")
    two = resource("be2_address", "Stopped")
    groups = f'<group id="be1" disabled="false">{one}</group><group id="be2" disabled="true">{two}</group>'
    clone = f'<clone id="c">{resource("d", "Stopped")}</clone>'
    alone = resource("x", "Stopped") + resource("y", "Stopped", 'target_role="Stopped"') + resource("z", "Started")
    monitor = f"<result><resources>{groups}{clone}{alone}</resources></result>"
    assert cib.read_stopped(monitor) == ["x", "be1_filesystem"]
    unmanaged = '<resources><resource id="u" role="Stopped" managed="false"/></resources>'
    assert cib.read_stopped(f"<result>{unmanaged}</result>") == []
