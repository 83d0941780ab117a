"""What is written on the control node."""

import re

import pytest
from conftest import BACKENDS, PLAN, read_plan

PORTS = {"imaps": 993, "pop3s": 995, "sieve": 4190}
SECRET = "not-a-secret-of-any-site"
# The first words of what an ACE's configuration defines, with the number of words in which the name is the last.
DEFINES = {
    "probe": 3,
    "rserver": 3,
    "serverfarm": 3,
    "sticky": 6,
    "class-map": 3,
    "policy-map": 0,
    "parameter-map": 4,
    "interface": 3,
}


@pytest.fixture
def written(play, tmp_path):
    """Return a function that writes a plan with other values elsewhere, and gives what was said and the folder."""

    def write(*arguments, **values):
        directory = str(tmp_path / "plan")
        return play(
            "molecule/external/converge.yml", "--tags=plan", *arguments, directory=directory, **values
        ), tmp_path / "plan"

    return write


def ace(text):
    """Parse an ACE's configuration into blocks, {(kind, name): [lines]}; a block of an unknown kind is an error."""
    blocks = {}
    block = None
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] == "!":
            continue
        if line[0] == " ":
            block.append(words)
            continue
        if words[0] == "access-list":
            assert words[2] == "line" and words[4:6] == ["extended", "permit"], line
            blocks.setdefault(("access-list", words[1]), []).append(words[2:])
            continue
        length = DEFINES[words[0]] or {"loadbalance": 5, "multi-match": 3}[words[2 if words[1] == "type" else 1]]
        assert len(words) == length, line
        assert ((words[0], words[-1])) not in blocks, f"twice: {line}"
        assert len(words[-1]) <= 64
        block = blocks[words[0], words[-1]] = []
    return blocks


def named(blocks, kind):
    """What is defined of a kind: {name: lines}."""
    return {name: lines for (of, name), lines in blocks.items() if of == kind}


def uses(lines, *words):
    """The words that follow some words in lines."""
    return [line[len(words)] for line in lines if line[: len(words)] == list(words)]


def test_every_backend_and_service_is_in_the_plan(plan, address):
    assert plan["schema"] == 1 and plan["forwarding"] == "proxy"
    assert {server["name"]: server["address"] for server in plan["real_servers"]} == {
        name: address(host) for name, host in BACKENDS.items()
    }
    assert {virtual["name"]: (virtual["port"], virtual["real_port"]) for virtual in plan["virtual_servers"]} == {
        name: (port, 10000 + port) for name, port in PORTS.items()
    }
    text = (PLAN / "plan.md").read_text()
    for server in plan["real_servers"]:
        assert f"| {server['name']} | {server['address']} | {server['host']} | yes |" in text
    for virtual in plan["virtual_servers"]:
        assert {*virtual["real_servers"]} == {*BACKENDS} and virtual["stickiness"] == plan["stickiness"]["name"]
        where = ", ".join(virtual["addresses"])
        assert f"| {virtual['name']} | {where} | tcp {virtual['port']} | {virtual['real_port']} |" in text
    assert "PROXY protocol header of version 2" in text
    assert {file.name for file in PLAN.iterdir()} == {"plan.md", "balancer.json"}


def test_the_plan_has_no_secret():
    for file in PLAN.iterdir():
        assert SECRET not in file.read_text() and "mail_probe_password" in file.read_text()


def test_files_change_only_when_they_say_something_else(written):
    done, folder = written()
    assert done.returncode == 0, done.stdout
    before = {file.name: (file.stat().st_mtime_ns, file.read_text()) for file in folder.iterdir()}
    done, _ = written()
    assert re.search(r"back12 .*changed=0 ", done.stdout), done.stdout
    done, _ = written("--check", "--diff", drained=["be2"])
    assert done.returncode == 0 and '+            "drained": true' in done.stdout, done.stdout
    assert "+| be2 | " in done.stdout and "**no: drained**" in done.stdout
    assert {file.name: (file.stat().st_mtime_ns, file.read_text()) for file in folder.iterdir()} == before
    done, _ = written(drained=["be2"])
    assert re.search(r"back12 .*changed=1 ", done.stdout), done.stdout
    assert [server["drained"] for server in read_plan(folder)["real_servers"]] == [False, True]


@pytest.mark.parametrize("forwarding", ["source_nat", "transparent"])
def test_ace(written, address, forwarding):
    done, folder = written(product="ace", forwarding=forwarding, drained=["be2"])
    assert done.returncode == 0, done.stdout
    plan = read_plan(folder)
    blocks = ace((folder / "ace.cfg").read_text())
    rservers, farms, probes = (named(blocks, kind) for kind in ("rserver", "serverfarm", "probe"))
    assert {name: uses(lines, "ip", "address") for name, lines in rservers.items()} == {
        name: [address(host)] for name, host in BACKENDS.items()
    }
    for name, lines in farms.items():
        assert set(uses(lines, "rserver")) == set(rservers), name
        assert uses(lines, "probe") and set(uses(lines, "probe")) <= set(probes)
        states = {line[1]: lines[number + 1] for number, line in enumerate(lines) if line[0] == "rserver"}
        assert states == {"be1": ["inservice"], "be2": ["inservice", "standby"]}
    assert uses(probes["mail-health"], "port") == ["9910"] and uses(probes["mail-health"], "expect", "status") == [
        "200"
    ]
    [(group, lines)] = named(blocks, "sticky").items()
    [line] = [line for line in lines if line[0] == "serverfarm"]
    assert line[1] in farms and line[2] == "backup" and line[3] in farms and line[1] != line[3]
    assert uses(lines, "timeout") == [str(plan["stickiness"]["seconds"] // 60)]
    policies, classes = named(blocks, "policy-map"), named(blocks, "class-map")
    used = [policy for lines in policies.values() for policy in uses(lines, "loadbalance", "policy")]
    assert set(used) < set(policies)
    assert {name for policy in set(used) for name in uses(policies[policy], "sticky-serverfarm")} == {group}
    [outer] = set(policies) - set(used)
    assert uses(policies[outer], "class") == list(classes)
    assert policies[outer].count(["loadbalance", "vip", "inservice"]) == len(classes)
    assert set(uses(policies[outer], "connection", "advanced-options")) == set(named(blocks, "parameter-map"))
    wanted = {(where, port) for where in plan["virtual_servers"][0]["addresses"] for port in map(str, PORTS.values())}
    matched = [line for lines in classes.values() for line in lines]
    assert {(line[3], line[6]) for line in matched} == wanted and len(matched) == len(wanted)
    lists = named(blocks, "access-list")
    assert {(line[7], line[9]) for line in lists["mail-from-clients"]} == wanted
    interfaces = named(blocks, "interface")
    assert uses(interfaces["10"], "service-policy", "input") == [outer]
    assert {name for lines in interfaces.values() for name in uses(lines, "access-group", "input")} == set(lists)
    # Source NAT: what the policy names is on the interface, and nothing of it otherwise.
    nat = set(uses(policies[outer], "nat", "dynamic"))
    assert nat == set(uses(interfaces["20"], "nat-pool")) == ({"1"} if forwarding == "source_nat" else set())
    if forwarding == "transparent":
        assert {line[6] for line in lists["mail-from-backends"]} == {address(host) for host in BACKENDS.values()}
    # Another plan has none.
    done, _ = written(product="other")
    assert done.returncode == 0 and not (folder / "ace.cfg").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"product": "ace"}, "which knows no PROXY protocol"),
        ({"product": "f5"}, "value of balancer_plan_product must be one of: ace, other"),
        ({"forwarding": "nat"}, "value of balancer_plan_forwarding must be one of: proxy, transparent, source_nat"),
        ({"drained": ["be9"]}, "names of balancer_plan_backends in balancer_plan_drained, and one that is left"),
        ({"drained": ["be1", "be2"]}, "and one that is left"),
        ({"balancer_networks": []}, "something in balancer_plan_addresses"),
        (
            {"product": "ace", "forwarding": "transparent", "network": "2001:db8::"},
            "of which software before A5 knows no other",
        ),
    ],
)
def test_bad_value_is_refused(written, values, said):
    done, folder = written(**values)
    assert done.returncode != 0 and said in " ".join(done.stdout.split()), done.stdout
    assert not folder.exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"drained": ["be9"]}, "names of backend_health_backends in backend_health_drained"),
        ({"backend_health_port": 80}, "a port from 1024 to 65535 in backend_health_port"),
        ({"backend_health_interval": 0}, "a second or more in backend_health_interval"),
        ({"served": {"be1": {"host": "be1"}}}, "host, address and user of every backend"),
    ],
)
def test_bad_value_for_nodes_is_refused(play, values, said):
    done = play("molecule/external/converge.yml", **values)
    assert done.returncode != 0 and said in " ".join(done.stdout.split()), done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout
