import re

import pytest

CONVERGE = "molecule/afs_server/cells.yml"


def test_servers_run_on_one_address_in_restricted_mode(cell):
    for number, host in enumerate(cell.hosts):
        address = cell.address(number)
        sockets = host.check_output("ss -Hlnup").splitlines()
        ports = {line.split()[3] for line in sockets if re.search("server", line)}
        assert ports == {f"{address}:{port}" for port in (7000, 7002, 7003, 7005, 7007)}
        status = host.check_output(f"bos status {address} -long -localauth")
        for name in ("ptserver", "vlserver", "dafs"):
            assert re.search(rf"Instance {name}, .*currently running normally", status), status
        host.run(f"bos exec {address} 'touch /root/from-afar' -localauth")
        assert not host.file("/root/from-afar").exists
    assert "Ubik: I am the sync site" in cell.hosts[0].check_output("cat /var/log/openafs/VLLog")


def test_every_server_has_the_keys_and_nobody_else(cell):
    keys = {host.check_output("asetkey list") for host in cell.hosts}
    assert len(keys) == 1
    assert re.search(r"rxkad_krb5\s+kvno\s+\d+ enctype 18;", keys.pop())
    for host in cell.hosts:
        file = host.file("/etc/openafs/server/KeyFileExt")
        assert (file.user, file.mode) == ("root", 0o600)


def test_strangers_may_not_administer(cell):
    """Without a ticket or root of a server."""
    address = cell.address(0)
    for command in (f"vos create {address} a stolen", "pts createuser thief", f"bos restart {address} -all"):
        denied = cell.hosts[1].run(f"{command} -noauth || exit 1")
        assert re.search("permission|not authorized|don't have|denied", denied.stderr, re.IGNORECASE), denied.stderr


def test_users_and_groups(cell):
    wanted = {"users": ["admin", "ann"], "groups": {"system:administrators": ["admin"], "mailservers": ["ann"]}}
    checked = cell.keep("--check", "--diff", principals=wanted)
    assert "+mailservers: ann" in checked
    assert "mailservers" not in cell.hosts[1].check_output("pts listentries -groups -localauth")
    assert "changed=1" in cell.keep(principals=wanted)
    assert "changed=0" in cell.keep(principals=wanted)
    wanted["groups"]["mailservers"] = ["admin"]
    assert "-mailservers: ann" in cell.keep("--diff", principals=wanted)
    assert "admin" in cell.hosts[1].check_output("pts membership mailservers -localauth")
    bad = cell.play(principals={"users": ["a b"], "groups": {"mailservers": ["nobody"], "x:y": []}})
    for said in ("user 'a b': wanted such as", "its member nobody is unknown", "group 'x:y': wanted such as"):
        assert said in bad.stdout


def test_bad_input_is_refused_at_once_and_changes_nothing(cells, play):
    for cell in cells:
        cell.hosts[1].check_output("mkdir -p /vicepd; echo x > /vicepd/letters.txt; mkdir -p /vicepe")
    try:
        done = play(
            CONVERGE,
            afs_server_cell="other.test",
            afs_server_keytab="",
            afs_server_databases={"a": "192.0.2.1", "b": "not-an-address"},
            afs_server_superusers=["ann/admin"],
            afs_server_partitions=[
                {"name": "c"},
                {"name": "d", "folder": True},
                {"name": "e"},
                {"name": "7"},
            ],
        )
    finally:
        for cell in cells:
            cell.hosts[1].check_output("rm -r /vicepd /vicepe")
    assert done.returncode != 0
    for said in (
        "this is a server of the cell cell12.lab.test, not of other.test",
        "this is a server of the cell cell13.lab.test, not of other.test",
        "afs_server_keytab is empty, wanted the keytab of afs/other.test@OTHER.TEST",
        "afs_server_databases has 2 servers, wanted 1 or 3",
        "b: 'not-an-address' is not an IPv4 address",
        "afs_server_superusers: 'ann/admin' is no name",
        "/vicepc does not exist: mount a file system, or set folder",
        "/vicepd holds something else than volumes: letters.txt",
        "/vicepe nothing is mounted there",
        "partition '7': wanted a to z",
    ):
        assert said in done.stdout, (said, done.stdout)
    assert "changed=1" not in done.stdout


@pytest.fixture
def stopped(cells):
    """What an operator stopped for good, bosserver notes in its configuration."""
    for cell in cells:
        cell.hosts[2].check_output(f"bos stop {cell.address(2)} ptserver -wait -localauth")
        assert "bnode simple ptserver 0" in cell.hosts[2].check_output("cat /etc/openafs/BosConfig")


def test_keys_are_replaced_and_drift_is_undone(cells, play, stopped):
    """As docs/afs.md says: new keys beside the old ones, and a ticket's lifetime later the old ones go."""
    for cell in cells:
        assert "changed=1" in cell.keep(kerberos={**cell.principal, "rotate": True})
    done = play(CONVERGE)
    assert done.returncode == 0, done.stdout
    for cell in cells:
        for host in cell.hosts:
            keys = host.check_output("asetkey list")
            assert len(re.findall("enctype 18", keys)) == 2
            secrets = re.findall("key is: (.*)", keys)
            assert not any(secret in done.stdout for secret in secrets)
        assert "bnode simple ptserver 1" in cell.hosts[2].check_output("cat /etc/openafs/BosConfig")
        assert cell.hosts[2].run("pgrep ptserver").rc == 0
        assert "changed=1" in cell.keep(kerberos={**cell.principal, "purge": True})
    done = play(CONVERGE)
    assert done.returncode == 0, done.stdout
    for cell in cells:
        for host in cell.hosts:
            assert len(re.findall("enctype 18", host.check_output("asetkey list"))) == 1
