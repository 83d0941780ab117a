#!/usr/bin/python
"""Declare a whole Pacemaker configuration in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pacemaker_cib
short_description: Declare what a Pacemaker cluster runs, in one call
description:
  - Builds the wanted configuration from the cluster's live one, compares, and applies the difference at once.
    Either all of it becomes true or nothing does. A change that somebody else makes meanwhile is never overwritten.
  - What is declared is owned. Owned objects are brought to exactly the declared state, and removed when they are
    declared no longer. A tag in the CIB, named after O(owner), remembers them. Everything else stays untouched,
    and so do an operator's words about an owned resource - C(target-role), C(is-managed), C(maintenance) and
    C(cli-*) constraints.
  - All problems of a declaration are reported together before anything changes.
  - Run it on one node of the cluster.
options:
  owner:
    description: Name of the tag that remembers what was declared. Two owners can share a cluster.
    type: str
    default: dovecluster
  properties:
    description: Cluster properties, such as C(no-quorum-policy).
    type: dict
    default: {}
  resource_defaults:
    description: Meta attributes of every resource that has no other.
    type: dict
    default: {}
  operation_defaults:
    description: Attributes of every operation that has no other.
    type: dict
    default: {}
  node_attributes:
    description: Permanent attributes of nodes, by node name.
    type: dict
    default: {}
  resources:
    description: What the cluster runs.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Name of the resource.
        type: str
        required: true
      agent:
        description: C(ocf:PROVIDER:TYPE), C(systemd:UNIT) or C(stonith:AGENT).
        type: str
        required: true
      options:
        description: The agent's parameters. Values whose name says password, secret or key are never shown.
        type: dict
      meta:
        description: Meta attributes.
        type: dict
      operations:
        description: >-
          Operations, each a dict with C(name), and C(interval), C(timeout), C(on-fail) and so on; C(options) are what
          the agent gets with this operation alone, such as C(OCF_CHECK_LEVEL).
        type: list
        elements: dict
  groups:
    description: Resources that stay together and start in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Name of the group.
        type: str
        required: true
      members:
        description: Ids of declared resources.
        type: list
        elements: str
        required: true
      meta:
        description: Meta attributes.
        type: dict
  clones:
    description: Resources or groups that run on several nodes; promotable with the meta attribute C(promotable).
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Name of the clone.
        type: str
        required: true
      of:
        description: Id of the declared resource or group.
        type: str
        required: true
      meta:
        description: Meta attributes.
        type: dict
  constraints:
    description:
      - Each is a dict with O(ignore:type) C(location), C(colocation) or C(order), and an optional C(id).
      - C(location) has C(resource), C(score), and C(node) or a rule of C(attribute), C(operation), C(value); C(role).
      - C(colocation) has C(resource), C(with), C(score), C(role), C(with_role).
      - C(order) has C(first), C(then), C(first_action), C(then_action), C(kind), C(symmetrical).
    type: list
    elements: dict
    default: []
  fencing_topology:
    description: Which fence devices kill a node, level by level; all devices of a level together.
    type: list
    elements: dict
    default: []
    suboptions:
      node:
        description: Name of the node.
        type: str
        required: true
      levels:
        description: Lists of ids of fence resources.
        type: list
        elements: list
        required: true
  wait_seconds:
    description: How long to wait for the cluster to settle after a change; 0 does not wait.
    type: int
    default: 120
requirements: [pacemaker, pacemaker-cli-utils]
attributes:
  check_mode:
    description: Says what the cluster would do, in RV(actions).
    support: full
  diff_mode:
    description: Shows the configuration before and after, secrets masked.
    support: full
"""

EXAMPLES = r"""
- name: Run a mail backend on one node of the pair
  pacemaker_cib:
    properties:
      no-quorum-policy: stop
    resource_defaults:
      resource-stickiness: 1000
    resources:
      - id: fence_mail1
        agent: stonith:fence_ipmilan
        options: {ip: 198.51.100.111, username: admin, lanplus: true, pcmk_host_list: mail1}
      - id: be1_address
        agent: ocf:heartbeat:IPaddr2
        options: {ip: 192.0.2.31, cidr_netmask: 24}
        operations: [{name: monitor, interval: 10s, timeout: 20s}]
      - id: be1_dovecot
        agent: systemd:dovecot-backend@be1
    groups:
      - {id: be1, members: [be1_address, be1_dovecot]}
    constraints:
      - {type: location, resource: be1, node: mail1, score: 100}
      - {type: location, resource: fence_mail1, node: mail1, score: -INFINITY}
  run_once: true
"""

RETURN = r"""
actions:
  description: What the cluster does (in check mode would do) about the change.
  type: list
  elements: str
  returned: always
  sample: ["Start be1_address ( mail1 )"]
failed_actions:
  description: Actions of declared resources that failed after the change.
  type: list
  elements: str
  returned: when something changed
"""

import os
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET

from ansible.module_utils import cib as logic
from ansible.module_utils.basic import AnsibleModule

ATTEMPTS = 10
CONFLICT = ("older", "did not apply", "failed diff", "diff does not apply", "application of an update diff failed")


class Cluster:
    """The commands that talk to the cluster."""

    def __init__(self, module: AnsibleModule) -> None:
        """Remember the module, for its commands and errors."""
        self.module = module

    def run(self, *argv: str, stdin: str | None = None) -> tuple[int, str, str]:
        """Run a command. Input goes through stdin: it may hold passwords, which argv would show to everybody."""
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
        )
        return done.returncode, done.stdout, done.stderr

    def must(self, *argv: str, stdin: str | None = None) -> str:
        """Run a command that has to succeed."""
        code, out, err = self.run(*argv, stdin=stdin)
        if code != 0:
            self.module.fail_json(
                msg=f"{argv[0]} failed ({code}): {(err or out).strip()}. Is pacemaker running on this node?"
            )
        return out

    def live(self) -> ET.Element:
        """The CIB as the cluster has it."""
        return ET.fromstring(self.must("cibadmin", "--query"))

    def agent(self, name: str) -> logic.Agent | None:
        """What an agent says of itself."""
        standard, _, unit = name.partition(":")
        # Pacemaker makes up metadata for any unit's name; only systemd knows whether there is one.
        if standard == "systemd" and self.run("systemctl", "cat", unit)[0] != 0:
            return None
        code, out, _err = self.run("crm_resource", "--show-metadata", name)
        start = out.find("<resource-agent")
        if code != 0 or start < 0:
            return None
        return logic.read_agent(out[start:])

    def simulate(self, path: str) -> list[str]:
        """What the cluster would do with the CIB in a file."""
        return logic.read_actions(self.must("crm_simulate", "--xml-file", path, "--simulate"))

    def verify(self, path: str) -> str | None:
        """What Pacemaker itself finds wrong with a file. It judges a live status too, so the file should have none."""
        code, out, err = self.run("crm_verify", "--verbose", "--xml-file", path)
        return None if code == 0 else (err + out).strip()

    def patch(self, before: str, after: str) -> bool:
        """Apply the difference at once. False: the cluster's configuration is no longer the one we started from."""
        code, patch, err = self.run("crm_diff", "--original", before, "--new", after)
        if code not in (0, 1):  # 1: they differ
            self.module.fail_json(msg=f"crm_diff failed ({code}): {err.strip()}")
        code, out, err = self.run("cibadmin", "--patch", "--xml-pipe", stdin=patch)
        if code == 0:
            return True
        if any(word in (out + err).lower() for word in CONFLICT):
            return False
        self.module.fail_json(msg=f"the cluster refused the new configuration ({code}): {(err or out).strip()}")
        return False

    def failures(self, ids: set[str]) -> list[str]:
        """Failed actions of the named resources."""
        found = logic.read_failures(self.must("crm_mon", "--one-shot", "--output-as", "xml"))
        return [f for f in found if any(f.startswith((f"{name}_", f"{name}:")) for name in ids)]

    def stopped(self, ids: set[str]) -> list[str]:
        """Those of the named resources that run nowhere, though they should."""
        found = logic.read_stopped(self.must("crm_mon", "--one-shot", "--inactive", "--output-as", "xml"))
        return [name for name in found if name in ids]


def write(directory: str, name: str, cib: ET.Element) -> str:
    """Write a CIB into a file of a private directory."""
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(ET.tostring(cib, encoding="unicode"))
    return path


def apply(module: AnsibleModule, cluster: Cluster, declaration: logic.Declaration) -> None:
    """Bring the cluster to the declaration and leave the module."""
    ids = {resource["id"] for resource in declaration.resources}
    metadata: dict[str, logic.Agent | None] = {}
    for attempt in range(ATTEMPTS):
        live = cluster.live()
        found = logic.problems(declaration, live)
        if found:
            stop(module, found)
        wanted = logic.wanted_cib(live, declaration)
        changed = logic.configuration_form(live) != logic.configuration_form(wanted)
        if not changed:
            module.exit_json(changed=False, actions=[])
        touched = logic.changed_resources(live, wanted)
        for resource in [r for r in declaration.resources if r["id"] in touched]:
            if resource["agent"] not in metadata:
                metadata[resource["agent"]] = cluster.agent(resource["agent"])
            found += logic.agent_problems(resource, metadata[resource["agent"]])
        if found:
            stop(module, found)

        logic.bump(wanted)
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as directory:
            before, after = write(directory, "before.xml", live), write(directory, "after.xml", wanted)
            complaint = cluster.verify(write(directory, "configuration.xml", logic.without_status(wanted)))
            if complaint:
                stop(module, [f"crm_verify: {complaint}"])
            result = {
                "changed": True,
                "actions": cluster.simulate(after),
                "diff": {"before": logic.render(live), "after": logic.render(wanted)},
            }
            if module.check_mode:
                module.exit_json(**result)
            failed_before = cluster.failures(ids)
            applied = cluster.patch(before, after)
        if applied:
            settle(module, cluster, result, ids, failed_before)
        time.sleep(0.2 * (attempt + 1))
    module.fail_json(msg=f"the cluster's configuration kept changing; gave up after {ATTEMPTS} attempts. Run again.")


def settle(module: AnsibleModule, cluster: Cluster, result: dict, ids: set[str], failed_before: list[str]) -> None:
    """Wait until the cluster has done what the change asks for, and say what failed."""
    wait = module.params["wait_seconds"]
    if wait:
        code, _out, err = cluster.run("crm_resource", "--wait", f"--timeout={wait}s")
        if code != 0:
            module.fail_json(
                msg=f"the configuration is applied, but the cluster has not settled in {wait} s: {err.strip()};"
                " crm_mon -1 shows what it is doing, wait_seconds sets how long to wait",
                **result,
            )
    result["failed_actions"] = [f for f in cluster.failures(ids) if f not in failed_before]
    if result["failed_actions"]:
        module.fail_json(
            msg="the configuration is applied, but these actions failed: "
            + "; ".join(result["failed_actions"])
            + ". Mend the cause, then: crm_resource --cleanup",
            **result,
        )
    idle = cluster.stopped(ids) if wait else []
    if idle:
        module.fail_json(
            msg=f"the configuration is applied, but nothing runs {', '.join(idle)}: crm_mon -1 --inactive says why."
            " Mend the cause, then: crm_resource --cleanup",
            **result,
        )
    module.exit_json(**result)


def stop(module: AnsibleModule, found: list[str]) -> None:
    """Report all problems; nothing has changed."""
    module.fail_json(
        msg=f"the declared cluster is wrong in {len(found)} place(s), nothing was changed:\n- " + "\n- ".join(found),
        problems=found,
    )


def argument_spec() -> dict:
    """The module's options."""
    dicts = {"type": "list", "elements": "dict", "default": []}
    return {
        "owner": {"type": "str", "default": "dovecluster"},
        "properties": {"type": "dict", "default": {}},
        "resource_defaults": {"type": "dict", "default": {}},
        "operation_defaults": {"type": "dict", "default": {}},
        "node_attributes": {"type": "dict", "default": {}},
        "resources": {
            **dicts,
            "options": {
                "id": {"type": "str", "required": True},
                "agent": {"type": "str", "required": True},
                "options": {"type": "dict"},
                "meta": {"type": "dict"},
                "operations": {"type": "list", "elements": "dict"},
            },
        },
        "groups": {
            **dicts,
            "options": {
                "id": {"type": "str", "required": True},
                "members": {"type": "list", "elements": "str", "required": True},
                "meta": {"type": "dict"},
            },
        },
        "clones": {
            **dicts,
            "options": {
                "id": {"type": "str", "required": True},
                "of": {"type": "str", "required": True},
                "meta": {"type": "dict"},
            },
        },
        "constraints": dicts,
        "fencing_topology": {
            **dicts,
            "options": {
                "node": {"type": "str", "required": True},
                "levels": {"type": "list", "elements": "list", "required": True},
            },
        },
        "wait_seconds": {"type": "int", "default": 120},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = {name: value for name, value in module.params.items() if name != "wait_seconds"}
    declaration = logic.Declaration(**options)
    # Ansible shows a task's options with -vvv: these values are masked there too.
    module.no_log_values.update(logic.secrets(declaration))
    apply(module, Cluster(module), declaration)


if __name__ == "__main__":
    main()
