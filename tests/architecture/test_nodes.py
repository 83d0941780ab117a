"""Each mail node: the cluster as it sees it."""

import re
import xml.etree.ElementTree as ET

testinfra_hosts = ["ansible://mail_nodes"]


def pod(lab, node):
    return lab.group(next(values["pod"] for values in lab.backends.values() if node in values["nodes"]))


def status(host):
    return ET.fromstring(host.check_output("crm_mon -1 --output-as=xml"))


def test_all_nodes_of_the_pod_are_online(host, lab, node):
    assert len(lab.online(node)) == len(pod(lab, node))


def test_fencing_is_on_and_its_devices_are_started(host, lab, node):
    assert status(host).find(".//cluster_options").get("stonith-enabled") == "true"
    devices = [r for r in status(host).iter("resource") if r.get("resource_agent", "").startswith("stonith:")]
    # One BMC for each node, or one disk for all.
    assert len(devices) >= (len(pod(lab, node)) if lab.site["fencing_method"] == "ipmi" else 1)
    assert [d.get("id") for d in devices if d.get("role") != "Started" or d.get("failed") == "true"] == []


def test_no_resource_failed(host):
    assert [f.attrib for f in status(host).iter("failure")] == []


def test_pods_of_two_have_a_third_vote(host, lab, node):
    answer = host.check_output("corosync-quorumtool -s")
    assert re.search(r"Quorate:\s+Yes", answer)
    votes = len(pod(lab, node)) + (len(pod(lab, node)) == 2)
    assert re.search(rf"Total votes:\s+{votes}$", answer, re.MULTILINE)
    if len(pod(lab, node)) == 2:
        assert re.search(r"\bA,V,\w+\b.*", answer), "the quorum device is alive and votes"
        assert "Qdevice" in answer


def test_only_pacemaker_starts_backends(host, lab):
    for name in lab.backends:
        assert host.run(f"systemctl is-enabled dovecot-backend@{name}").stdout.strip() in ("static", "disabled")
    assert not host.service("dovecot").is_running
