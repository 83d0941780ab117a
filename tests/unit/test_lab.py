import json
import sys
import threading
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "molecule"))

from lab import commands, labs, machine, site  # noqa: E402  the lab is a program, not an installed package
from lab.__main__ import main  # noqa: E402  as above
from lab.commands import LabError  # noqa: E402

ALL_CAPABILITIES = "CapBnd:\t000001ffffffffff\n"
NO_SYS_RESOURCE = "CapBnd:\t000001fffeffffff\n"
NETWORKS = {"clients": {"subnet": "10.231.7.0/24"}, "cluster": {"subnet": "10.231.8.0/24"}}


def test_ordinary_machine_keeps_podmans_defaults(tmp_path):
    conf = machine.containers_conf(ALL_CAPABILITIES, tmp_path)
    assert conf == "[containers]\n[engine]\n"


def test_hybrid_cgroups_get_runc(tmp_path):
    (tmp_path / "unified").mkdir()
    assert 'runtime = "runc"' in machine.containers_conf(ALL_CAPABILITIES, tmp_path)


def test_missing_capability_gets_lower_limits(tmp_path):
    conf = machine.containers_conf(NO_SYS_RESOURCE, tmp_path)
    assert "nofile=16384:16384" in conf
    assert "runc" not in conf


def test_systemd_gets_version_2_cgroups_where_podman_gives_version_1(tmp_path):
    assert machine.systemd_arguments("a", "one", tmp_path / "none") == ["--systemd=always"]
    unified = tmp_path / "unified"
    unified.mkdir()
    arguments = machine.systemd_arguments("a", "one", unified)
    assert f"{unified}:/sys/fs/cgroup:ro" in arguments
    machine.systemd_arguments("b", "one", unified)
    (unified / "dovecluster/a/one/system.slice/ssh.service").mkdir(parents=True)
    (tmp_path / "cpu/dovecluster/a/one/conmon").mkdir(parents=True)  # as podman makes it in others
    machine.remove_cgroups("a", tmp_path)
    assert [path.name for path in (unified / "dovecluster").iterdir()] == ["b"]
    assert not list((tmp_path / "cpu").iterdir())
    machine.remove_cgroups("b", tmp_path)
    machine.remove_cgroups("b", tmp_path)
    assert not list(unified.iterdir())


def test_a_cgroup_that_is_in_use_for_good_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP_SECONDS", 0.2)
    (tmp_path / "cpu/dovecluster/a/one").mkdir(parents=True)
    (tmp_path / "cpu/dovecluster/a/one/busy").touch()
    with pytest.raises(machine.LabError, match="one cannot be removed"):
        machine.remove_cgroups("a", tmp_path)


def test_mends_of_user_mode_linux_are_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CACHE", tmp_path)
    made = []
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine, "run", lambda argv: made.append(argv) or Path(argv[argv.index("-o") + 1]).touch())
    arguments = machine.own_kernel_mends()
    assert arguments == machine.own_kernel_mends()
    assert len(made) == 1
    [library] = tmp_path.iterdir()
    assert arguments == ["--volume", f"{library}:/lab-preload.so:ro"]


@pytest.mark.parametrize(("works", "found"), [(True, "kvm"), (False, "tcg,tb-size=256")])
def test_kvm_is_tried_once_a_boot(monkeypatch, tmp_path, works, found):
    monkeypatch.setattr(machine, "CACHE", tmp_path)
    monkeypatch.setattr(machine, "KVM", str(tmp_path))
    tried = []
    monkeypatch.setattr(machine, "succeeds", lambda argv: tried.append(argv) or works)
    assert machine.accelerator("image") == machine.accelerator("image") == found
    assert len(tried) == 1 and tried[0][-2:] == ["image", "/sbin/lab-kvm"]
    (tmp_path / "accelerator").write_text("an-earlier-boot kvm")
    assert machine.accelerator("image") == found
    assert (str(tmp_path) in machine.kernel_arguments("full", "image")) is works


def test_full_machines_are_emulated_where_there_is_no_kvm(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CACHE", tmp_path)
    monkeypatch.setattr(machine, "KVM", str(tmp_path / "none"))
    assert machine.accelerator("image") == "tcg,tb-size=256"


def test_only_user_mode_linux_has_disks_that_fail():
    lab = labs.Lab("x")
    lab.data = {"hosts": [{"name": "mail1", "kernel": "full"}]}
    with pytest.raises(LabError, match="mail1 has kernel: full; only disks of kernel: own can fail"):
        lab.set_disk("mail1", "vdb", True)


@pytest.mark.parametrize("template", sorted((ROOT / "inventories").iterdir()), ids=lambda path: path.name)
def test_template_gets_the_labs_addresses(template, tmp_path):
    octets = site.template_octets(template)
    assert octets
    lab = {
        "name": "x",
        "networks": NETWORKS,
        "bmc": {"user": "admin", "password": "p"},
        "users": {},
        "hosts": [
            {"name": name, "kernel": "own", "groups": [], "networks": {"clients": {"address": f"10.231.7.{octet}"}}}
            for name, octet in octets.items()
        ],
    }
    site.write_inventory(lab, tmp_path, template)
    text = "".join(path.read_text() for path in (tmp_path / "inventory").rglob("*.yml"))
    for network in ("192.0.2.", "198.51.100."):
        assert network not in text
    assert "10.231.7." in text
    assert "10.231.8." in text
    connection = yaml.safe_load((tmp_path / "inventory" / "lab.yml").read_text())["all"]
    assert set(connection["hosts"]) == set(octets)
    assert all(host["mail_firewall"] is False for host in connection["hosts"].values())
    users = yaml.safe_load((tmp_path / "inventory" / "group_vars" / "all" / "users.yml").read_text())["directory_users"]
    assert all(user["password"].startswith("{SHA512-CRYPT}$6$") for user in users)
    assert not any(password in text for password in lab["users"].values())
    secret = tmp_path / "inventory" / "group_vars" / "all" / "lab.yml"
    assert secret.stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "lab.json").read_text())["users"] == lab["users"]


def test_a_template_s_disks_become_the_lab_s():
    text = "be1: /dev/vdb\nbe2: /dev/vdc1 /dev/vdc /dev/vda /dev/vdbx"
    assert site.adapted(text, {}, True) == "be1: /dev/ubda\nbe2: /dev/vdc1 /dev/ubdb /dev/vda /dev/vdbx"
    assert site.adapted(text, {}, False) == text


def test_platforms_without_networks_get_both():
    assert labs.networks_of({"name": "a"}) == ["clients", "cluster"]
    assert labs.networks_of({"name": "a", "networks": [{"name": "storage"}]}) == ["storage"]


def test_unknown_host_and_network_are_named():
    lab = labs.Lab("x")
    lab.data = {"hosts": [{"name": "mail1", "networks": {"clients": {}}}]}
    with pytest.raises(LabError, match="no host 'mail9' in lab x; hosts: mail1"):
        lab.host("mail9")
    with pytest.raises(LabError, match="mail1 has no network 'storage'; it has: clients"):
        lab.port("mail1", "storage")


@pytest.mark.parametrize("moment", ["before podman starts it", "meanwhile"])
def test_a_cable_that_is_plugged_in_while_its_host_starts_is_in(monkeypatch, tmp_path, moment):
    monkeypatch.setattr(labs, "STATE", tmp_path)
    ports = {"clients": {"interface": "eth0", "cut": False}, "cluster": {"interface": "eth1", "cut": True}}
    state, plugged = {"mail1": "exited"}, set()
    joiner = threading.Thread(target=lambda: labs.Lab.load("x").join("mail1", "cluster"))

    def join_after(self, host, power, set_power=labs.Lab.set_power):
        set_power(self, host, power)
        joiner.start()
        joiner.join()

    def run(argv, **_):
        if argv[:2] == ["podman", "start"]:
            if moment == "meanwhile":
                joiner.start()
                joiner.join(0.3)  # it waits for the lock
            plugged.update(ports)
            state["mail1"] = "running"
        if "master" in argv:
            plugged.add(argv[3])
        if "nomaster" in argv:
            plugged.discard(argv[3])
        return ""

    lab = labs.Lab("x")
    lab.data = {"name": "x", "hosts": [{"name": "mail1", "power": "off", "networks": ports}]}
    lab.data["networks"] = {"cluster": {"bridge": "podman1"}}
    lab.save()
    if moment == "before podman starts it":
        monkeypatch.setattr(labs.Lab, "set_power", join_after)
    monkeypatch.setattr(labs, "run", run)
    monkeypatch.setattr(labs.Lab, "container_state", lambda self, host: state[host])
    monkeypatch.setattr(labs.Lab, "port_interface", lambda self, host, network: network)
    lab.start("mail1")
    joiner.join()
    assert plugged == {"clients", "cluster"}
    [host] = labs.Lab.load("x").data["hosts"]
    assert host["power"] == "on" and not host["networks"]["cluster"]["cut"]


def test_podman_has_its_settings_whatever_comes_first_on_a_new_machine(monkeypatch, tmp_path):
    for module in (commands, machine):
        monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["lab", "--lab", "none", "down"])
    seen = []
    monkeypatch.setattr(labs.Lab, "down", lambda _: seen.append(Path(commands.environment()["CONTAINERS_CONF"])))
    assert main() == 0
    assert "[engine]" in seen[0].read_text()
    assert [path.name for path in seen[0].parent.iterdir()] == ["containers.conf"]


@pytest.mark.parametrize(
    ("front_end", "hostname", "addresses"),
    [("proxy", "mail.example.com", ["192.0.2.21"]), ("dns", "alice.imap.example.com", ["192.0.2.31", "192.0.2.32"])],
)
def test_clients_are_told_where_to_log_in(tmp_path, front_end, hostname, addresses):
    described = {
        "mail_front_end": front_end,
        "mail_hostname": "mail.example.com",
        "mail_front_addresses": ["192.0.2.21"],
        "mail_backends": {"be1": {"address": "192.0.2.31"}, "be2": {"address": "192.0.2.32"}},
    }
    file = tmp_path / "inventory/group_vars/all/site.yml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(described))
    door = site.front_door({"users": {"alice@example.com": "secret", "bob@example.com": "secret"}}, tmp_path)
    assert (door["hostname"], door["addresses"]) == ("mail.example.com", ["192.0.2.21"])
    assert (door["login_hostname"], door["login_addresses"]) == (hostname, addresses)
