import re
import time

from shared.afs_clients import FOLDER
from shared.pods import lab, until

CLIENTS = "molecule/afs_client/keep_clients.yml"
LISTS = "molecule/afs_client/keep_acl.yml"
APPEND = "rm -f {file}; for n in $(seq 9999); do echo $n >> {file} && sync {file} && echo $n || exit 1; sleep 0.2; done"


def lines(client, file):
    """Count a file's lines, which are numbers from 1 on without a gap."""
    code, said = client.serve(f"cat {file}", name="reader")
    assert code == 0, said
    found = [int(line) for line in said.split()]
    assert found == list(range(1, len(found) + 1))
    return len(found)


def test_services_that_are_named_have_the_token_and_nobody_else(client):
    file = f"{FOLDER}/{client.name}-mine"
    assert client.serve(f"echo mine > {file} && cat {file}") == (0, "mine")
    code, said = client.serve(f"cat {file}", unit="stranger")
    assert code != 0 and "Permission denied" in said
    assert client.host.run(f"setpriv --reuid=mail --regid=mail --clear-groups cat {file}").rc != 0
    # What the kernel keeps of others' rights is no hindrance.
    assert client.serve(f"cat {file}") == (0, "mine")


def test_the_token_is_that_of_the_host_with_no_more_rights_than_mail_needs(client):
    file = f"{FOLDER}/{client.name}-lists"
    anybody = "0x" + b"1\n0\nsystem:anyuser 127\n\0".hex()
    code, said = client.serve(f"touch {file} && setfattr --name afs.acl --value {anybody} {FOLDER}")
    assert code != 0 and "setfattr" in said and "denied" in said
    assert "mail/" + client.name in client.check().stdout


def test_what_one_wrote_the_other_reads(clients):
    for writer, reader in (clients, clients[::-1]):
        file = f"{FOLDER}/{writer.name}-letter"
        assert writer.serve(f"seq 2000 > {file}")[0] == 0
        assert lines(reader, file) == 2000


def test_a_new_token_takes_the_place_of_the_old_one_while_a_file_is_open(client):
    file = f"{FOLDER}/{client.name}-open"
    client.start(f"exec 3> {file}; for n in 1 2 3 4 5 6; do echo $n >&3; sync {file} || exit 1; sleep 1; done")
    before = client.token()
    client.host.check_output("systemctl start afs-token.service")
    assert client.token() != before
    until(lambda: client.shows("ActiveState") != "active", 60)
    assert lines(client, file) == 6


def test_an_expired_token_is_noticed_and_replaced(client):
    file = f"{FOLDER}/{client.name}-expired"
    assert client.check().rc == 0
    soon = client.check(least=10**7)
    assert soon.rc == 1 and "wanted" in soon.stderr
    client.start(f"while sleep 1; do echo 1 > {file} && echo written || echo refused; done")
    until(lambda: client.last_said() == "written", 30)
    client.take_short_token(15)
    until(lambda: client.check(1).rc != 0, 30)
    assert "Key has expired" in client.check().stderr
    until(lambda: client.last_said() == "refused", 30)
    client.host.check_output("systemctl start afs-token.service")
    assert client.check().rc == 0
    until(lambda: client.last_said() == "written", 30)
    client.host.check_output("systemctl stop writer@one")
    timers = client.host.check_output("systemctl list-timers --no-legend afs-token.timer")
    assert "afs-token.service" in timers


def test_access_lists_are_kept(play, clients):
    def keep(*arguments, who="admin@CELL.LAB.TEST", **acl):
        return play(LISTS, *arguments, who=who, acl={"path": f"{FOLDER}/shared", **acl})

    assert clients[1].serve(f"rm -rf {FOLDER}/shared && mkdir {FOLDER}/shared")[0] == 0
    usual = {"system:administrators": "all", "mailservers": "write"}
    checked = keep("--check", "--diff", allows={**usual, "mail.deb12.lab.test": "read"})
    assert "+mail.deb12.lab.test: rl" in checked.stdout and "changed=1" in checked.stdout
    assert "changed=0" in keep(allows=usual).stdout, "the folder has its parent's list, and a check changed nothing"
    changed = keep(allows={**usual, "mail.deb12.lab.test": "lr"}, denies={"mail.deb13.lab.test": "i"})
    assert changed.returncode == 0 and "changed=1" in changed.stdout, changed.stdout
    code, said = clients[1].serve(f"echo > {FOLDER}/shared/refused")
    assert code != 0 and "denied" in said.lower()
    assert clients[0].serve(f"echo > {FOLDER}/shared/taken")[0] == 0
    shown = keep("--diff", allows=usual)
    assert "-not mail.deb13.lab.test: i" in shown.stdout
    assert clients[1].serve(f"echo > {FOLDER}/shared/taken")[0] == 0
    for said, done in {
        "the cell lacks one of the names (afs_principal": keep(allows={**usual, "nobody.here": "read"}),
        "wanted a name with letters of": keep(allows={**usual, "mailservers": "rx"}),
        "nobody would have a right": keep(allows={"mailservers": "none"}),
        "only who has the right a there": keep(
            allows=usual | {"mailservers": "all"}, who="mail/deb13.lab.test@CELL.LAB.TEST"
        ),
        "is nothing in AFS": keep(allows=usual, path="/etc"),
        "/srv/nowhere: there is no such folder": keep(allows=usual, path="/srv/nowhere"),
    }.items():
        assert done.returncode != 0 and said in done.stdout, (said, done.stdout)
        assert "changed=1" not in done.stdout
    assert "changed=0" in keep(allows=usual).stdout


def test_a_volume_moves_to_another_server_while_nobody_has_it_mounted(clients, server, told):
    """With it mounted kafs would wait for good: docs/afs.md."""
    file = f"{FOLDER}/moved"
    assert clients[0].serve(f"seq 1000 > {file}")[0] == 0
    started = time.monotonic()
    for client in clients:
        client.volume("stop")
    server.check_output("vos move mail.a server1.lab.test a server2.lab.test a -localauth")
    for client in clients:
        client.volume("start")
    told(moved_s=round(time.monotonic() - started, 1))
    assert lines(clients[1], file) == 1000
    assert clients[0].serve(f"seq 1001 2000 >> {file}")[0] == 0
    assert lines(clients[1], file) == 2000


def test_a_client_that_lost_its_power_comes_back_with_token_and_volume(clients):
    """What it had synced is there at once for the other, and its lock is gone with it."""
    lost, other = clients
    file = f"{FOLDER}/lost"
    lost.start(f"exec 9> {FOLDER}/lock; flock 9; {APPEND.format(file=file)}")
    until(lambda: lost.last_said() >= "3", 30)
    synced = int(lost.last_said())
    lab("kill", lost.name)
    try:
        assert other.serve(f"exec 9> {FOLDER}/lock; flock --nonblock 9") == (0, "")
        assert lines(other, file) >= synced
    finally:
        lab("start", lost.name)
    until(lambda: lost.host.run(f"mountpoint {FOLDER}").rc == 0, 120)
    until(lambda: lost.check().rc == 0, 60)
    assert lost.serve(f"cat {file}")[0] == 0
    assert lost.host.check_output("systemctl --failed --plain --no-legend") == ""


def test_what_was_read_is_kept_on_disk(clients, told):
    for reader, writer in (clients, clients[::-1]):
        file = f"{FOLDER}/{writer.name}-large"
        code, sum_written = writer.serve(f"head -c 20M /dev/urandom > {file} && md5sum < {file}")
        assert code == 0
        received, seconds = [], []
        for _ in range(3):
            before, started = reader.received(), time.monotonic()
            assert reader.serve(f"md5sum < {file}", name="reader") == (0, sum_written)
            seconds.append(round(time.monotonic() - started, 1))
            received.append(round((reader.received() - before) / 2**20, 1))
            time.sleep(5)  # it is written to disk meanwhile
            reader.host.check_output("sync; echo 3 > /proc/sys/vm/drop_caches")
        told(host=reader.name, received_mib=received, seconds=seconds)
        assert received[0] > 20 and received[2] < 2


def test_bad_input_is_refused_at_once_and_changes_nothing(play):
    done = play(
        CLIENTS,
        afs_client_cell="Cell",
        afs_client_databases={"a": "somewhere"},
        afs_client_principal="mail/other@CELL.LAB.TEST",
        afs_client_keytab="",
        afs_client_users=["mail", "nobody-here"],
        afs_client_mounts=[{"volume": "a b", "path": "srv"}, {"volume": "mail.a", "path": "srv"}],
        afs_client_cache_free=95,
    )
    assert done.returncode != 0
    for said in (
        "afs_client_cell is 'Cell'",
        "afs_client_databases: a has 'somewhere'",
        "no key of mail/other@CELL.LAB.TEST (afs_client_keytab, /etc/afs-client.keytab), but mail/deb12.lab.test@",
        "no key of mail/other@CELL.LAB.TEST (afs_client_keytab, /etc/afs-client.keytab), but mail/deb13.lab.test@",
        "this host has no user nobody-here",
        "volume 'a b': wanted",
        "path 'srv': wanted",
        "path srv: is given twice",
        "afs_client_cache_free is 95",
    ):
        assert said in done.stdout, (said, done.stdout)
    assert not re.search("changed=[1-9]", done.stdout)


def test_secrets_are_roots_alone(client):
    keytab = client.host.file("/etc/afs-client.keytab")
    assert (keytab.user, keytab.mode) == ("root", 0o600)
    assert client.host.run("ls /tmp/krb5cc_0").rc != 0, "no ticket is left behind"
