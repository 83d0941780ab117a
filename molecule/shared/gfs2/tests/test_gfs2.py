"""One file system on all nodes of a pod, whatever is below it."""

import pytest

from tests.proofs.lab import Lab

testinfra_hosts = ["ansible://mail_nodes"]


@pytest.fixture
def lab(host):
    return Lab(host.ansible.get_variables()["lab_name"])


def test_the_file_system_is_mounted_and_vmail_s(host):
    mount = host.mount_point("/srv/mail")
    assert mount.filesystem == "gfs2"
    assert {"noatime", "nodev", "nosuid", "noexec"} <= set(mount.options)
    assert (host.file("/srv/mail").user, host.file("/srv/mail").mode) == ("vmail", 0o700)


def test_a_file_of_one_node_is_seen_by_all_others(host, lab):
    here = host.backend.host
    others = [node for node in lab.group("mail_nodes") if node != here]
    name = f"/srv/mail/.written-by-{here}"
    host.check_output(f"echo {here} > {name}")
    assert [lab.ssh(other, f"cat {name}").strip() for other in others] == [here] * len(others)
    lab.ssh(others[0], f"rm {name}")
    assert not host.file(name).exists


def test_dlm_has_nodes_fenced_by_pacemaker(host):
    agent = "/usr/local/sbin/dovecluster-dlm-fence"
    assert host.file("/etc/dlm/dlm.conf").content_string == f"fence_all {agent}\n"
    # A node that nobody knows is not fenced, and DLM is told so.
    assert host.run(f"printf 'node=77\\nfail_time=0\\n' | {agent}").rc != 0


def test_posix_locks_do_not_go_through_corosync(host, lab):
    for name in lab.backends:
        shown = host.check_output(f"doveconf -c /etc/dovecot/backends/{name}.conf lock_method mmap_disable mail_fsync")
        assert shown.split("\n") == ["lock_method = flock", "mmap_disable = yes", "mail_fsync = always"]
