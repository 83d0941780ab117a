"""Two servers, each a client of the other: what is shared with whom, what is refused, and a server that restarts."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

PLACE = "/srv/mail"
SECRET = "/srv/secret"  # mounted with Kerberos
HOSTS = ("deb12", "deb13")
LEASE = 10  # nfs_server_lease's default, seconds
# Takes a lock of a file, or says that it has none.
LOCK = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit("refused")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""
# Writes a file, and says whether what is in it went over the network as it is.
SNIFF = """
import os, socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.settimeout(0.5)
with open(sys.argv[1], "w") as file:
    file.write("read me" * 100)
    file.flush()
    os.fsync(file.fileno())
end, packets, read = time.monotonic() + 3, 0, False
while time.monotonic() < end:
    try:
        packet = wire.recv(65536)
    except TimeoutError:
        continue
    packets += 1
    read |= b"read me" in packet
assert packets
sys.exit(not read)
"""
LISTENING = "ss --no-header --listening --tcp --udp --numeric | awk '{print $1, $5}'"


@pytest.fixture
def clients(another, play):
    """The clients with the export mounted, by the options that the role declares."""
    done = play("molecule/nfs_client/options.yml")
    assert done.returncode == 0, done.stdout
    found = {name: another(name) for name in HOSTS}
    yield found
    for host in found.values():
        host.check_output(f"umount {PLACE} {SECRET}")


def each(hosts, command):
    """Run a command on several hosts at a time."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(lambda host: host.check_output(command), hosts.values()), strict=True))


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_listens_on_one_port_of_one_address(another, name):
    host = another(name)
    address = host.ansible.get_variables()["mail_client_address"]
    listening = {line for line in host.check_output(LISTENING).split("\n") if not line.endswith(":22")}
    assert listening == {f"tcp {address}:2049"}


@pytest.mark.parametrize("name", HOSTS)
def test_nobody_writes_where_nothing_is_mounted(another, name):
    host = another(name)
    assert host.check_output(f"stat --format='%a %u %g' {PLACE}") == "0 0 0"
    assert host.run(f"setpriv --reuid=5000 --regid=5000 --clear-groups touch {PLACE}/lost").rc != 0


def test_all_that_is_written_belongs_to_the_owner_of_mail(clients):
    each(clients, f"touch {PLACE}/by-root-of-$(hostname)")
    shown = each(clients, f"stat --format='%n %u %g' {PLACE}/by-root-of-$(hostname)")
    assert shown == {name: f"{PLACE}/by-root-of-{name} 5000 5000" for name in clients}


def test_a_mount_waits_for_its_server_for_ever(clients):
    for options in each(clients, f"findmnt --noheadings --output OPTIONS {PLACE}").values():
        assert {"hard", "noatime", "nodev", "nosuid", "noexec", "vers=4.2", "proto=tcp"} <= set(options.split(","))


def test_a_host_that_is_not_named_is_not_served(another):
    host = another("deb12")  # not named by its own exports
    address = host.ansible.get_variables()["mail_client_address"]
    done = host.run(f"mount -t nfs -o vers=4.2,retry=0 {address}:/srv/nfs/mail /mnt")
    assert done.rc != 0
    assert "denied" in done.stderr or "not permitted" in done.stderr or "No such file" in done.stderr, done.stderr


def test_a_restarted_server_gives_locks_back_and_clients_go_on(another, clients):
    host = clients["deb13"]
    hold = f"python3 /tmp/lock.py {PLACE}/lock 300 > /tmp/lock.out 2>&1 < /dev/null"
    holder = f"cat > /tmp/lock.py <<'END'\n{LOCK}\nEND\n{hold} & sleep 3; cat /tmp/lock.out"
    assert host.check_output(holder) == "locked"
    another("deb12").check_output("systemctl restart nfs-server")
    start = time.monotonic()
    host.check_output(f"echo after > {PLACE}/after; sync {PLACE}/after")
    stall = time.monotonic() - start
    print(f"a write waited {stall:.1f} s for the server's restart")
    assert stall < LEASE + 15
    assert host.run(f"python3 /tmp/lock.py {PLACE}/lock 0").stderr.strip() == "refused"
    host.check_output("pkill -f /tmp/lock.py")


def test_with_kerberos_nobody_on_the_way_reads_mail(clients):
    for host in clients.values():
        for place, read in ((PLACE, True), (SECRET, False)):
            assert (host.run("python3 -c %s %s", SNIFF, f"{place}/letter").rc == 0) == read, place
            assert host.check_output(f"cat {place}/letter") == "read me" * 100


def test_with_kerberos_nobody_without_a_key_gets_in(clients):
    as_somebody = "setpriv --reuid=5001 --regid=5001 --clear-groups"
    for host in clients.values():
        host.check_output(f"setpriv --reuid=5000 --regid=5000 --clear-groups touch {SECRET}/mine")
        assert host.check_output(f"stat --format=%u {SECRET}/mine") == "5000"
        done = host.run(f"{as_somebody} ls {SECRET}")
        assert done.rc != 0 and not done.stdout, done


def test_with_kerberos_no_host_gets_in_on_its_word(another):
    host = another("deb13")
    server = another("deb12").ansible.get_variables()["mail_client_address"]
    done = host.run(f"mount -t nfs -o vers=4.2,sec=sys,retry=0 {server}:/srv/nfs/secret /mnt")
    assert done.rc != 0 and ("denied" in done.stderr or "not permitted" in done.stderr), done.stderr


def test_a_host_without_a_key_is_told(another, play):
    host = another("deb13")
    host.check_output("mv /etc/nfs.keytab /root/")
    try:
        done = play("molecule/nfs_client/client.yml", more={"export": "/srv/nfs/secret", "security": "krb5p"})
    finally:
        host.check_output("mv /root/nfs.keytab /etc/")
    assert done.returncode != 0
    assert "no /etc/nfs.keytab here, and nfs_common_keytab is empty" in " ".join(done.stdout.split()), done.stdout


@pytest.fixture
def refused(another, play):
    """Return a function that has the client role refuse an export, for a reason, and change nothing."""
    host = another("deb13")
    seen = "ls -d /srv/*; findmnt --noheadings --types nfs,nfs4 --output TARGET; dpkg-query --show | sha256sum; echo"

    def refuse(reason, **more):
        before = host.check_output(seen)
        done = play("molecule/nfs_client/client.yml", more=more)
        assert done.returncode != 0, done.stdout
        said = " ".join(done.stdout.split())
        assert reason in said, done.stdout
        assert "Nothing was changed" in said
        assert host.check_output(seen) == before

    return refuse


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"export": "/srv/nfs/none"}, "exports no /srv/nfs/none"),
        ({"version": "3"}, "runs no NFS server on TCP port 2049"),  # where the port mapper would tell it
        ({"server": "filer.invalid"}, "filer.invalid has no address"),
        ({"mountpoint": "/var"}, "/var has something else mounted"),
        ({"mountpoint": "/usr/share"}, "/usr/share holds files"),
    ],
)
def test_what_cannot_be_mounted_is_refused(refused, more, reason):
    refused(reason, **more)


@pytest.fixture
def export(another):
    """Return a function that changes the server's second export by a command, and changes it back afterwards."""
    host = another("deb12")
    file = "/etc/exports.d/dovecluster.exports"
    place = "/var/nfs/srv/nfs/more"

    def change(command):
        host.check_output(f"{command.format(file=file, place=place)} && exportfs -r")

    host.check_output(f"cp {file} /root/exports")
    yield change
    change("cp /root/exports {file} && exportfs -r && exportfs -f")
    # The server lets go of files that it had open for a client when the client's lease ends, at the latest.
    gone = f"! mountpoint --quiet {place} || umount {place}"
    host.check_output(
        f"for second in $(seq {3 * LEASE}); do {{ {gone}; }} && break; sleep 1; done; ! mountpoint --quiet {place}"
    )
    change("chown 5000:5000 {place} && chmod 700 {place}")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sed -i '/more/s/all_squash/no_root_squash/' {file} && chown 0:0 {place}", "user 5000 cannot write there"),
        ("sed -i '/more/s/,all_squash,anonuid=5000,anongid=5000//' {file}", "root cannot write there"),
        ("sed -i '/more/s/anonuid=5000/anonuid=65534/' {file} && chmod 777 {place}", "belongs to nobody"),
        (
            "mount -t ext4 /dev/ubdb {place} && chown 5000 {place} && chmod 700 {place}"
            " && {{ dd if=/dev/zero of={place}/full bs=1M 2> /dev/null; true; }}",
            "is full",
        ),
    ],
)
def test_an_export_that_mail_cannot_use_is_refused(another, export, refused, command, reason):
    if "ubdb" in command:
        another("deb12").check_output("mkfs.ext4 -q -F -m 0 /dev/ubdb")
    export(command)
    refused(reason, export="/srv/nfs/more")


def test_a_server_whose_clock_is_off_is_refused(another, refused):
    host = another("deb12")
    host.check_output("date --set='+5 seconds'")
    try:
        refused("the clocks of this host and of", export="/srv/nfs/more")
    finally:
        host.check_output("date --set='-5 seconds'")


def test_a_server_shares_nothing_of_somebody_else_s(another, play):
    host = another("deb12")
    host.check_output("mkswap /dev/ubdb && mkdir -p /var/nfs/srv/nfs/third && touch /var/nfs/srv/nfs/third/root-s")
    for device, reason in (
        ("/dev/ubdb", "/dev/ubdb holds swap; wanted a blank device or one with ext4"),
        ("", "root-s are somebody else's"),
    ):
        before = host.check_output("exportfs -s; sha256sum /dev/ubdb")
        done = play("molecule/nfs_client/server.yml", device=device)
        assert done.returncode != 0, done.stdout
        assert reason in " ".join(done.stdout.split()), done.stdout
        assert host.check_output("exportfs -s; sha256sum /dev/ubdb") == before
