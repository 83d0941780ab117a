"""What is said of an NFS export, out of what was seen when it was tried."""

import errno

import pytest
from ansible.errors import AnsibleFilterError

from filter_plugins.kerberos import keytab
from filter_plugins.store_nfs import nfs_cluster_resources, nfs_exports, nfs_principals
from module_utils.nfs import Seen, kernel_options, mount_problem, mountpoint_problems, problems

GOOD = {"owner": 5000, "group": 5000, "mode": 0o700, "root_writes": True, "file_owner": 5000}
MOUNTINFO = """\
22 1 0:20 / / rw,relatime - hostfs none rw
30 22 8:1 / /var rw,relatime - ext4 /dev/sda1 rw
41 22 0:45 / /srv/mail rw,noatime - nfs4 filer:/vol/mail rw,vers=4.2
"""


def said(**seen):
    return " ".join(problems("filer:/vol/mail", Seen(**GOOD | seen), 5000, 5000, 1))


def test_a_good_export_has_no_problem():
    assert said() == ""
    assert said(owner=0, mode=0o1777, skew=0.9) == ""


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            {"create_errno": errno.EACCES, "owner": 0},
            "user 5000 cannot write there (Permission denied): filer:/vol/mail",
        ),
        ({"create_errno": errno.ENOSPC}, "is full"),
        ({"write_errno": errno.EDQUOT}, "is full"),
        ({"write_errno": errno.EIO}, "takes no data"),
        ({"file_owner": 65534}, "belongs to nobody"),
        ({"file_owner": 99}, "belongs to user 99"),
        ({"root_writes": False}, "root cannot write there"),
        ({"lock_errno": errno.ENOLCK}, "gives no locks"),
        ({"skew": 61.04}, "differ by 61.0 s; wanted 1 s at most"),
    ],
)
def test_each_problem_is_said(seen, words):
    assert words in said(**seen)


def test_all_problems_are_said_at_once():
    shown = said(root_writes=False, skew=5, lock_errno=errno.ENOLCK)
    assert all(words in shown for words in ("root cannot", "differ by 5.0", "no locks"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "runs no NFS server"),
        (errno.EPROTONOSUPPORT, "does not speak NFS 4.2"),
        (errno.EACCES, "does not export /vol/mail to this host"),
        (errno.ENOENT, "2001:db8::1 exports no /vol/mail"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_why_it_cannot_be_mounted(number, words):
    assert words in mount_problem("2001:db8::1:/vol/mail", "4.2", number)


@pytest.mark.parametrize(
    ("place", "mounted", "words"),
    [
        ("/srv/mail", True, ""),
        ("/srv/other", False, ""),
        ("/var", False, "/var has something else mounted, /dev/sda1 (ext4); wanted filer:/vol/mail"),
    ],
)
def test_what_is_mounted_there(place, mounted, words):
    found, shown = mountpoint_problems(MOUNTINFO, place, "filer:/vol/mail")
    assert found == mounted
    assert shown == ([words] if words else [])


def test_the_mount_above_counts():
    above = MOUNTINFO + "42 41 0:46 / /srv/mail rw - tmpfs none rw\n"
    assert mountpoint_problems(above, "/srv/mail", "filer:/vol/mail")[1]


def test_options_never_wait_for_ever():
    for version in ("3", "4.1", "4.2"):
        assert {"soft", f"vers={version}"} <= set(kernel_options("192.0.2.1", version, "sys").split(","))
    assert "nolock" in kernel_options("192.0.2.1", "3", "sys")


def test_each_pod_s_directory_is_shared_with_its_nodes_alone():
    pods = {
        "pod_a": {"server": "203.0.113.14", "export": "/srv/nfs/a"},
        "pod_b": {"server": "203.0.113.14", "export": "/srv/nfs/b"},
    }
    groups = {"pod_a": ["mail1", "mail2"], "pod_b": ["mail3"]}
    hostvars = {f"mail{number}": {"mail_storage_address": f"203.0.113.{number}"} for number in range(1, 4)}
    assert nfs_exports(pods, groups, hostvars) == [
        {"path": "/srv/nfs/a", "clients": ["203.0.113.1", "203.0.113.2"]},
        {"path": "/srv/nfs/b", "clients": ["203.0.113.3"]},
    ]


def test_a_pair_s_address_is_there_before_the_server_listens_on_it():
    address, server = nfs_cluster_resources("203.0.113.30", 24)
    assert (address["id"], address["options"]) == ("nfs_address", {"ip": "203.0.113.30", "cidr_netmask": "24"})
    assert (server["id"], server["agent"]) == ("nfs_server", "systemd:dovecluster-nfs-server")


def test_who_needs_a_key():
    assert nfs_principals(["mail1"], [], "lab.test", "LAB") == ["nfs/mail1.lab.test@LAB", "mail/mail1.lab.test@LAB"]
    assert nfs_principals([], ["nfs1", "nfs2"], "lab.test", "LAB") == ["nfs/nfs.lab.test@LAB"]


def test_keys_are_those_of_our_own_kdc():
    def key(**hosts):
        groups = {"kerberos_servers": ["kdc1"]}
        return keytab("mail1.keytab", "nfs/mail1.lab.test", {"realm": "LAB"}, groups, hosts)

    assert key(kdc1={"mail_kerberos_keys": {"results": [{"keytabs": {"nfs/mail1.lab.test@LAB": "BQI="}}]}}) == "BQI="
    assert key(kdc1={}) == "", "the KDC was not part of the run: what a host has stays"


def test_keys_of_somebody_else_s_realm_are_files(tmp_path):
    (tmp_path / "mail1.keytab").write_bytes(b"\x05\x02")
    kerberos = {"realm": "LAB", "keytabs": str(tmp_path)}
    assert keytab("mail1.keytab", "nfs/mail1.lab.test", kerberos, {}, {}) == "BQI="
    with pytest.raises(AnsibleFilterError, match=r"mail2.keytab with the key of nfs/mail2: No such file"):
        keytab("mail2.keytab", "nfs/mail2", kerberos, {}, {})
