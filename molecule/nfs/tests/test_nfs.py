"""The mounts on mail nodes, and the pair that serves them."""

import pytest

from tests.proofs import drbd, nfs
from tests.proofs.lab import Lab

testinfra_hosts = ["ansible://mail_nodes"]


@pytest.fixture
def lab(host):
    return Lab(host.ansible.get_variables()["lab_name"])


def test_the_export_is_mounted_and_vmail_s(host, lab):
    mount = host.mount_point("/srv/mail")
    export = next(iter(lab.site["mail_nfs"].values()))
    assert (mount.device, mount.filesystem) == (f"{export['server']}:{export['export']}", "nfs4")
    assert {"hard", "noatime", "nodev", "nosuid", "noexec", "vers=4.2", "acregmin=60"} <= set(mount.options)
    assert (host.file("/srv/mail").user, host.file("/srv/mail").mode) == ("vmail", 0o700)


def test_a_file_of_one_node_is_seen_by_all(host, lab):
    here = host.backend.host
    name = f"/srv/mail/.written-by-{here}"
    host.check_output(f"echo {here} > {name}")
    for there in lab.group("mail_nodes"):
        assert lab.ssh(there, f"cat {name}").strip() == here
    host.check_output(f"rm {name}")


def test_each_node_says_that_it_reaches_the_server(host):
    here = host.backend.host
    said = host.check_output(f"attrd_updater --query --name nfs_server_reached --node {here}")
    assert f'host="{here}"' in said and 'value="1"' in said


def test_no_node_listens_for_nfs(host):
    listening = host.check_output("ss --no-header --listening --tcp --udp --numeric | awk '{print $5}'").split("\n")
    assert not any(place.endswith((":111", ":2049")) for place in listening), listening


def test_one_server_serves_on_the_service_s_address_alone(lab):
    server = nfs.server(lab)
    (idle,) = [host for host in lab.group("nfs_servers") if host != server]
    listening = "ss --no-header --listening --tcp --numeric 'sport = :2049' | awk '{print $4}'"
    assert lab.ssh(server, listening).split() == [f"{lab.site['mail_nfs_service']['address']}:2049"]
    assert lab.ssh(idle, listening) == ""
    assert lab.ssh(idle, f"ls {nfs.directory(lab)} 2> /dev/null", check=False) == ""


def test_both_servers_have_the_mail(lab):
    assert drbd.healthy(lab)
