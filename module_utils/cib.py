"""Pacemaker's configuration as a value: read it, say what is wanted, find what is wrong, render the difference.

Nothing here runs a command: pacemaker_cib does, and the unit tests feed it what real clusters answered.
"""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# An operator's words to the cluster: they stay unless the declaration says something about them itself.
OPERATOR_META = ("target-role", "is-managed", "maintenance")
SECRET_NAME = re.compile(r"pass(wd|word|phrase)?$|secret|(^|_)key$", re.IGNORECASE)
MASK = "********"
# Pacemaker itself fills these in for a fence agent, so a declaration need not.
FENCE_FILLED_IN = {"action", "plug", "port", "nodename"}
PROPERTY_SET = "cib-bootstrap-options"  # the set that wins over all others
SECTIONS = (
    "crm_config",
    "nodes",
    "resources",
    "constraints",
    "tags",
    "fencing-topology",
    "rsc_defaults",
    "op_defaults",
)
CONSTRAINT_KEYS = {
    "location": {"resource", "node", "score", "attribute", "operation", "value", "role"},
    "colocation": {"resource", "with", "score", "role", "with_role"},
    "order": {"first", "then", "first_action", "then_action", "kind", "symmetrical"},
}
CONSTRAINT_REQUIRED = {
    "location": {"resource", "score"},
    "colocation": {"resource", "with"},
    "order": {"first", "then"},
}


@dataclass
class Declaration:
    """What one owner wants the cluster to be."""

    owner: str = "dovecluster"
    properties: dict[str, Any] = field(default_factory=dict)
    resource_defaults: dict[str, Any] = field(default_factory=dict)
    operation_defaults: dict[str, Any] = field(default_factory=dict)
    node_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    clones: list[dict[str, Any]] = field(default_factory=list)
    constraints: list[dict[str, Any]] = field(default_factory=list)
    fencing_topology: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Agent:
    """What an agent's metadata says of its options."""

    options: set[str]
    required: set[str]


def text(value: Any) -> str:
    """A value as Pacemaker writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def xml_id(*parts: Any) -> str:
    """Parts joined to a valid XML id."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "-".join(text(part) for part in parts))


def constraint_id(constraint: dict[str, Any]) -> str:
    """The constraint's own id, or one made of what it says."""
    if constraint.get("id"):
        return constraint["id"]
    kind = constraint.get("type")
    match kind:
        case "location":
            place = constraint.get("node") or constraint.get("attribute")
            return xml_id(kind, constraint.get("resource"), place)
        case "colocation":
            return xml_id(kind, constraint.get("resource"), constraint.get("with"))
        case _:
            return xml_id(kind, constraint.get("first"), constraint.get("then"))


def owned_ids(cib: ET.Element, owner: str) -> set[str]:
    """The ids that this owner declared before: a tag in the CIB remembers them."""
    return {ref.get("id", "") for ref in cib.findall(f"configuration/tags/tag[@id='{owner}']/obj_ref")}


def node_names(cib: ET.Element) -> set[str]:
    """Names of the nodes that the cluster knows."""
    return {node.get("uname", "") for node in cib.findall("configuration/nodes/node")}


def secrets(declaration: Declaration) -> set[str]:
    """Values of options that must not be shown."""
    return {
        text(value)
        for resource in declaration.resources
        for name, value in (resource.get("options") or {}).items()
        if SECRET_NAME.search(name) and value
    }


# ------------------------------------------------------------------ what is wrong with a declaration


def problems(declaration: Declaration, cib: ET.Element) -> list[str]:
    """Everything that is wrong with a declaration by itself and against the cluster's nodes."""
    found: list[str] = []
    primitives = [r["id"] for r in declaration.resources]
    groups = {g["id"]: g["members"] for g in declaration.groups}
    clones = {c["id"]: c["of"] for c in declaration.clones}
    constraints = [constraint_id(c) for c in declaration.constraints]
    ids = [*primitives, *groups, *clones, *constraints]
    known = {*primitives, *groups, *clones}
    foreign = {
        e.get("id", "") for e in cib.findall("configuration/resources//*") if e.tag in ("primitive", "group", "clone")
    }

    for name, count in Counter(ids).items():
        if count > 1:
            found.append(f"id {name} is declared {count} times: give each object an id of its own")
        if xml_id(name) != name or not re.match(r"[A-Za-z_]", name):
            found.append(f"id {name} is not a valid XML id: use letters, digits, '_', '.' and '-', a letter first")
    for resource in declaration.resources:
        if not re.fullmatch(r"ocf:[^:]+:[^:]+|(systemd|stonith|lsb|service):.+", resource["agent"]):
            found.append(
                f"resource {resource['id']}: agent {resource['agent']} is not of the form ocf:PROVIDER:TYPE,"
                " systemd:UNIT or stonith:AGENT"
            )
    members = Counter(member for group in groups.values() for member in group)
    for name, group in groups.items():
        found += [f"group {name}: member {m} is not declared in resources" for m in group if m not in primitives]
        if not group:
            found.append(f"group {name} has no members")
    found += [f"resource {name} is in {n} groups: it can be in one" for name, n in members.items() if n > 1]
    for name, of in clones.items():
        if of not in primitives and of not in groups:
            found.append(f"clone {name}: {of} is not declared in resources or groups")
        elif of in members:
            found.append(f"clone {name}: {of} is already in a group")

    nodes = node_names(cib)
    known_nodes = ", ".join(sorted(nodes)) or "none"
    for constraint, name in zip(declaration.constraints, constraints, strict=True):
        found += _constraint_problems(constraint, name, known | foreign, nodes, known_nodes)
    for level in declaration.fencing_topology:
        if level["node"] not in nodes:
            found.append(f"fencing_topology: node {level['node']} is unknown; the cluster has: {known_nodes}")
        for device in (d for devices in level["levels"] for d in devices):
            if device not in known | foreign:
                found.append(f"fencing_topology of {level['node']}: device {device} is not declared in resources")
    found += [
        f"node_attributes: node {node} is unknown; the cluster has: {known_nodes}"
        for node in declaration.node_attributes
        if node not in nodes
    ]
    return found


def _constraint_problems(
    constraint: dict[str, Any], name: str, known: set[str], nodes: set[str], known_nodes: str
) -> list[str]:
    kind = constraint.get("type")
    if kind not in CONSTRAINT_KEYS:
        return [f"constraint {name}: type is {kind}, wanted one of: {', '.join(CONSTRAINT_KEYS)}"]
    given = {key for key, value in constraint.items() if value is not None} - {"type", "id"}
    found = [f"constraint {name}: a {kind} has no {key}" for key in sorted(given - CONSTRAINT_KEYS[kind])]
    found += [f"constraint {name}: {key} is missing" for key in sorted(CONSTRAINT_REQUIRED[kind] - given)]
    if kind == "location" and ("node" in given) == ("attribute" in given):
        found.append(f"constraint {name}: a location needs either a node or an attribute")
    if "attribute" in given and constraint.get("operation") not in ("defined", "not_defined"):
        found += [f"constraint {name}: {key} is missing" for key in ("operation", "value") if key not in given]
    for key in ("resource", "with", "first", "then"):
        if key in given and constraint[key] not in known:
            found.append(f"constraint {name}: {key} {constraint[key]} is not a declared resource, group or clone")
    if "node" in given and constraint["node"] not in nodes:
        found.append(f"constraint {name}: node {constraint['node']} is unknown; the cluster has: {known_nodes}")
    return found


def _default(parameter: ET.Element) -> str:
    content = parameter.find("content")
    return "" if content is None else content.get("default", "")


def read_agent(metadata: str) -> Agent:
    """An agent's options out of its metadata (XML)."""
    parameters = ET.fromstring(metadata).findall("parameters/parameter")
    names = {p.get("name", "") for p in parameters}
    # A deprecated name replaced by another need not be given, even where the metadata says required.
    replaced = {p.get("obsoletes", "") for p in parameters} | {
        p.get("name", "") for p in parameters if p.get("deprecated") == "1"
    }
    required = {
        p.get("name", "")
        for p in parameters
        if p.get("required") == "1" and not _default(p) and p.get("name") not in replaced
    }
    return Agent(names, required)


def agent_problems(resource: dict[str, Any], agent: Agent | None) -> list[str]:
    """What is wrong with a resource in the eyes of its agent (None: the cluster has no such agent)."""
    name, kind = resource["id"], resource["agent"]
    if agent is None:
        return [f"resource {name}: agent {kind} is not installed on this node"]
    given = {option for option, value in (resource.get("options") or {}).items() if value is not None}
    fence = kind.startswith("stonith:")
    required = agent.required - FENCE_FILLED_IN if fence else agent.required
    allowed = {o for o in given if o.startswith("pcmk_") or o == "provides"} if fence else set()
    found = [f"resource {name}: {kind} needs option {option}" for option in sorted(required - given)]
    found += [f"resource {name}: {kind} has no option {option}" for option in sorted(given - agent.options - allowed)]
    return found


# ------------------------------------------------------------------ the wanted CIB


def _nvpairs(parent: ET.Element, tag: str, set_id: str, values: dict[str, Any] | None) -> None:
    given = {name: value for name, value in (values or {}).items() if value is not None}
    if given:
        pairs = ET.SubElement(parent, tag, id=set_id)
        for name, value in sorted(given.items()):
            ET.SubElement(pairs, "nvpair", id=xml_id(set_id, name), name=name, value=text(value))


def _primitive(resource: dict[str, Any]) -> ET.Element:
    name = resource["id"]
    standard, _, rest = resource["agent"].partition(":")
    element = ET.Element("primitive", {"id": name, "class": standard})
    if standard == "ocf":
        provider, _, rest = rest.partition(":")
        element.set("provider", provider)
    element.set("type", rest)
    _nvpairs(element, "instance_attributes", f"{name}-instance_attributes", resource.get("options"))
    _nvpairs(element, "meta_attributes", f"{name}-meta_attributes", resource.get("meta"))
    operations = resource.get("operations") or []
    if operations:
        parent = ET.SubElement(element, "operations")
        for operation in operations:
            given = {k: text(v) for k, v in operation.items() if v is not None and k != "options"}
            op = {"interval": "0s"} | given
            extra = [op["role"]] if "role" in op else []
            op_id = xml_id(name, op["name"], op["interval"], *extra)
            child = ET.SubElement(parent, "op", {"id": op_id} | op)
            _nvpairs(child, "instance_attributes", f"{op_id}-instance_attributes", operation.get("options"))
    return element


def wanted_resources(declaration: Declaration) -> list[ET.Element]:
    """The declared resources as top elements of the resources section."""
    elements = {r["id"]: _primitive(r) for r in declaration.resources}
    for declared in declaration.groups:
        group = ET.Element("group", id=declared["id"])
        _nvpairs(group, "meta_attributes", f"{declared['id']}-meta_attributes", declared.get("meta"))
        group.extend(elements.pop(member) for member in declared["members"])
        elements[declared["id"]] = group
    for declared in declaration.clones:
        clone = ET.Element("clone", id=declared["id"])
        _nvpairs(clone, "meta_attributes", f"{declared['id']}-meta_attributes", declared.get("meta"))
        clone.append(elements.pop(declared["of"]))
        elements[declared["id"]] = clone
    return list(elements.values())


def _constraint(constraint: dict[str, Any]) -> ET.Element:
    name = constraint_id(constraint)
    given = {key: text(value) for key, value in constraint.items() if value is not None}
    if given["type"] == "location":
        element = ET.Element("rsc_location", id=name, rsc=given["resource"])
        if "node" in given:
            element.attrib |= {"node": given["node"], "score": given["score"]}
            if "role" in given:
                element.set("role", given["role"])
            return element
        rule = ET.SubElement(element, "rule", id=f"{name}-rule", score=given["score"])
        if "role" in given:
            rule.set("role", given["role"])
        expression = ET.SubElement(
            rule, "expression", id=f"{name}-expression", attribute=given["attribute"], operation=given["operation"]
        )
        if "value" in given:
            expression.set("value", given["value"])
        return element
    names = {
        "resource": "rsc",
        "with": "with-rsc",
        "role": "rsc-role",
        "with_role": "with-rsc-role",
        "first_action": "first-action",
        "then_action": "then-action",
    }
    defaults = {"score": "INFINITY"} if given["type"] == "colocation" else {"kind": "Mandatory"}
    attributes = {names.get(k, k): v for k, v in given.items() if k not in ("type", "id")}
    return ET.Element(f"rsc_{given['type']}", {"id": name} | defaults | attributes)


def wanted_topology(declaration: Declaration) -> list[ET.Element]:
    """The declared fencing levels."""
    return [
        ET.Element(
            "fencing-level",
            id=xml_id("fencing", level["node"], index),
            target=level["node"],
            index=str(index),
            devices=",".join(devices),
        )
        for level in declaration.fencing_topology
        for index, devices in enumerate(level["levels"], start=1)
    ]


def _form(element: ET.Element) -> tuple[Any, ...]:
    """An element's meaning, to compare: the order of nvpairs and operations says nothing, that of members does."""
    children = [_form(child) for child in element]
    if element.tag not in ("group", "fencing-topology"):
        children.sort()
    return (element.tag, tuple(sorted(element.attrib.items())), tuple(children))


def _keep_operator_meta(wanted: ET.Element, live: dict[str, ET.Element]) -> None:
    """Carry over what an operator told the cluster about a resource (crm_resource --ban and the like stay anyway)."""
    for element in [e for e in wanted.iter() if e.tag in ("primitive", "group", "clone")]:
        current = live.get(element.get("id", ""))
        if current is None:
            continue
        for pair in current.findall("meta_attributes/nvpair"):
            name = pair.get("name")
            if name not in OPERATOR_META or element.find(f"meta_attributes/nvpair[@name='{name}']") is not None:
                continue
            meta = element.find("meta_attributes")
            if meta is None:
                meta = ET.Element("meta_attributes", id=f"{element.get('id')}-meta_attributes")
                position = 1 if element.find("instance_attributes") is not None else 0
                element.insert(position, meta)
            meta.append(copy.deepcopy(pair))


def _merge(section: ET.Element, wanted: Iterable[ET.Element], gone: set[str]) -> None:
    """Bring the wanted elements into a section, each at its old place; drop those in gone; leave the others."""
    by_id = {element.get("id", ""): element for element in wanted}
    for position, child in reversed(list(enumerate(section))):
        name = child.get("id", "")
        if name in by_id:
            new = by_id.pop(name)
            if _form(new) != _form(child):
                section[position] = new
        elif name in gone:
            section.remove(child)
    section.extend(by_id.values())


def _section(cib: ET.Element, name: str) -> ET.Element:
    configuration = cib.find("configuration")
    if configuration is None:
        raise ValueError("the CIB has no configuration section")
    found = configuration.find(name)
    return ET.SubElement(configuration, name) if found is None else found


def wanted_cib(live: ET.Element, declaration: Declaration) -> ET.Element:
    """The live CIB with the declaration in it. What this owner declared before and no longer does is gone."""
    cib = copy.deepcopy(live)
    owner, owned = declaration.owner, owned_ids(cib, declaration.owner)
    declared: list[str] = []

    properties = _section(cib, "crm_config").find(f"cluster_property_set[@id='{PROPERTY_SET}']")
    if properties is None:
        properties = ET.SubElement(_section(cib, "crm_config"), "cluster_property_set", id=PROPERTY_SET)
    pairs = {}
    for name, value in declaration.properties.items():
        present = properties.find(f"nvpair[@name='{name}']")
        pair_id = xml_id(PROPERTY_SET, name) if present is None else present.get("id", "")
        pairs[pair_id] = ET.Element("nvpair", id=pair_id, name=name, value=text(value))
    _merge(properties, pairs.values(), owned)
    declared += pairs

    for section, values in (
        ("rsc_defaults", declaration.resource_defaults),
        ("op_defaults", declaration.operation_defaults),
    ):
        parent = ET.Element(section)
        _nvpairs(parent, "meta_attributes", xml_id(owner, section), values)
        _merge(_section(cib, section), list(parent), owned)
        declared += [element.get("id", "") for element in parent]

    for node in _section(cib, "nodes"):
        parent = ET.Element("node")
        name = node.get("uname", "")
        _nvpairs(parent, "instance_attributes", xml_id(owner, "node", name), declaration.node_attributes.get(name))
        _merge(node, list(parent), owned)
        declared += [element.get("id", "") for element in parent]

    resources = wanted_resources(declaration)
    live_resources = {e.get("id", ""): e for e in live.findall("configuration/resources//*[@id]")}
    for element in resources:
        _keep_operator_meta(element, live_resources)
    resource_ids = [
        e.get("id", "") for top in resources for e in top.iter() if e.tag in ("primitive", "group", "clone")
    ]
    # A resource that moves into a group (or out of one) must not stay at its old place too.
    moved = set(resource_ids) - {element.get("id", "") for element in resources}
    for group in [e for e in _section(cib, "resources") if e.get("id") not in owned | set(resource_ids)]:
        _merge(group, [], owned | set(resource_ids))
    _merge(_section(cib, "resources"), resources, owned | moved)
    declared += resource_ids

    constraints = [_constraint(constraint) for constraint in declaration.constraints]
    _merge(_section(cib, "constraints"), constraints, owned)
    levels = wanted_topology(declaration)
    if levels or cib.find("configuration/fencing-topology") is not None:
        _merge(_section(cib, "fencing-topology"), levels, owned)
    declared += [element.get("id", "") for element in [*constraints, *levels]]

    tag = ET.Element("tag", id=owner)
    tag.extend(ET.Element("obj_ref", id=name) for name in sorted(declared))
    if declared or cib.find("configuration/tags") is not None:
        _merge(_section(cib, "tags"), [tag] if declared else [], {owner})
    _drop_dangling(cib, live)
    return cib


def _drop_dangling(cib: ET.Element, live: ET.Element) -> None:
    """Drop what the schema forbids: empty tag and fencing sections, and constraints on resources that are gone."""
    configuration = cib.find("configuration")
    if configuration is None:
        return
    for name in ("tags", "fencing-topology"):
        section = configuration.find(name)
        if section is not None and len(section) == 0:
            configuration.remove(section)
    present = {e.get("id") for e in cib.findall("configuration/resources//*[@id]")}
    gone = {e.get("id") for e in live.findall("configuration/resources//*[@id]")} - present
    constraints = _section(cib, "constraints")
    for constraint in list(constraints):
        if gone & {constraint.get(key) for key in ("rsc", "with-rsc", "first", "then")} - {None}:
            constraints.remove(constraint)


def configuration_form(cib: ET.Element) -> tuple[Any, ...]:
    """What the configuration says, to compare two CIBs. An empty section says as much as none."""
    configuration = cib.find("configuration")
    if configuration is None:
        return ()
    return tuple(sorted(_form(section) for section in configuration if len(section)))


def changed_resources(live: ET.Element, wanted: ET.Element) -> set[str]:
    """Ids of primitives that are new or differ."""
    before = {e.get("id"): _form(e) for e in live.iter("primitive")}
    return {e.get("id", "") for e in wanted.iter("primitive") if before.get(e.get("id")) != _form(e)}


def without_status(cib: ET.Element) -> ET.Element:
    """The CIB as a configuration alone.

    A cluster that has just formed may lack its quorum yet, which crm_verify would call a fault of the configuration.
    """
    alone = ET.Element(cib.tag, cib.attrib)
    alone.extend(section for section in cib if section.tag != "status")
    return alone


def bump(cib: ET.Element) -> ET.Element:
    """The CIB with the version that follows, as a patch has to carry it."""
    cib.set("epoch", str(int(cib.get("epoch", "0")) + 1))
    cib.set("num_updates", "0")
    return cib


# ------------------------------------------------------------------ for people to read


def render(cib: ET.Element) -> str:
    """The configuration as text for a diff, secrets masked, one attribute set a line."""
    shown = ET.Element("configuration")
    for name in SECTIONS:
        section = cib.find(f"configuration/{name}")
        if section is not None and len(section):
            shown.append(copy.deepcopy(section))
    for pair in shown.iter("nvpair"):
        if SECRET_NAME.search(pair.get("name", "")):
            pair.set("value", MASK)
    for element in shown.iter():
        element.text = element.tail = None
    ET.indent(shown)
    return ET.tostring(shown, encoding="unicode") + "\n"


def read_actions(simulation: str) -> list[str]:
    """What the cluster would do, out of crm_simulate's text (its XML on Debian 13 leaves the summary out)."""
    _before, _found, rest = simulation.partition("Transition Summary:\n")
    lines = rest.split("\n\n")[0].splitlines()
    return [" ".join(line.split()).removeprefix("* ") for line in lines if line.strip()]


def read_stopped(monitor: str) -> list[str]:
    """Resources, alone or in groups, that run nowhere though nobody stopped them, out of crm_mon's XML.

    A node that lacks an agent's program is such a cause, and not among the failures.
    """
    root = ET.fromstring(monitor)
    groups = [group for group in root.findall("resources/group") if group.get("disabled") != "true"]
    found = [*root.findall("resources/resource"), *(resource for group in groups for resource in group)]
    return [
        resource.get("id", "")
        for resource in found
        if (resource.get("role"), resource.get("managed")) == ("Stopped", "true")
        and resource.get("target_role") != "Stopped"
    ]


def read_failures(monitor: str) -> list[str]:
    """Failed actions, out of crm_mon's XML."""
    return [
        f"{f.get('op_key') or f.get('id')} on {f.get('node')}: {f.get('exitstatus')}"
        f"{' (' + f.get('exitreason', '') + ')' if f.get('exitreason') else ''}"
        for f in ET.fromstring(monitor).findall("failures/failure")
    ]
