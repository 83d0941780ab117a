"""Two arrays, each an initiator of the other: who may log in, what a lost path and lost power do, what is refused."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from shared.pods import lab, until

HOSTS = ("deb12", "deb13")
DEVICE = "/dev/mapper/mail"
PATHS = "multipathd show paths raw format '%m %t %o' | sort"
SESSIONS = "cat /sys/class/iscsi_connection/connection*/persistent_address | sort"
# Writes 4 KiB after the other, past all caches, and says how many there were and what the longest took.
WRITER = """
import json, mmap, os, sys, time
device = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
page.write(b"x" * 4096)
end, count, longest = time.monotonic() + float(sys.argv[2]), 0, 0.0
while time.monotonic() < end:
    start = time.monotonic()
    os.pwrite(device, page, 4096 * (count % 1000))
    count, longest = count + 1, max(longest, time.monotonic() - start)
print(json.dumps({"writes": count, "longest": longest}))
"""
MORE = "360014050d0ec1a57e200000000000099"
STALL = 10.0  # seconds that a lost path may hold up writes on a host with a slow kernel


def variables(host):
    return host.ansible.get_variables()


@pytest.fixture
def host(another):
    return another("deb13")


@pytest.mark.parametrize("name", HOSTS)
def test_an_array_listens_in_storage_networks_alone(another, name):
    host = another(name)
    found = variables(host)
    listening = host.check_output("ss --no-header --listening --tcp --numeric | awk '{print $4}'").split()
    wanted = {f"{found['mail_storage_address']}:3260", f"{found['mail_storage2_address']}:3260"}
    assert {line for line in listening if not line.endswith(":22")} == wanted


@pytest.mark.parametrize("name", HOSTS)
def test_a_lun_has_a_path_through_each_network(another, name):
    host, other = another(name), another(HOSTS[1 - HOSTS.index(name)])
    there = variables(other)
    portals = sorted([there["mail_storage_address"], there["mail_storage2_address"]])
    assert host.check_output(SESSIONS).split() == portals
    assert host.check_output(PATHS).split("\n") == ["mail active running"] * 2


def test_what_is_written_through_the_map_is_on_the_array_s_disk(another, host):
    host.check_output(f"echo written-here | dd of={DEVICE} bs=4096 conv=sync,fsync oflag=direct status=none")
    read = another("deb12").check_output("dd if=/dev/ubda bs=4096 count=1 iflag=direct status=none | tr -d '\\0 '")
    assert read.strip() == "written-here"


@pytest.mark.parametrize("name", HOSTS)
def test_nobody_but_root_reads_the_passwords(another, name):
    host = another(name)
    holding = "grep -rlE 'auth.password|chap_password' /etc/iscsi /var/lib/iscsi /etc/rtslib-fb-target"
    files = host.check_output(f"{holding} | grep -v iscsid.conf").split()
    assert len(files) >= 3, files
    # A folder above it that others cannot enter will do.
    assert host.run(f"setpriv --reuid=5000 --regid=5000 --clear-groups cat {' '.join(files)}").stdout == ""


def test_an_initiator_without_a_password_is_not_served(another, host):
    """As the right initiator, with the right name."""
    portal = variables(another("deb12"))["mail_storage_address"]
    target = "iqn.2026-11.com.example:deb12"
    record = f"-m node -T {target} -p {portal}:3260,1 -I default"
    done = host.run(
        f"iscsiadm {record} -o new > /dev/null && iscsiadm {record} -o update -n node.session.auth.authmethod -v None"
        f" && iscsiadm {record} --login; code=$?; iscsiadm {record} -o delete; exit $code"
    )
    assert done.rc == 24, done.stderr  # authorisation failure


def writes(host, seconds):
    return json.loads(host.check_output("python3 -c %s %s %s", WRITER, DEVICE, str(seconds)))


def has_both_paths(host):
    return host.run(PATHS).stdout.split("\n")[:2] == ["mail active running"] * 2


def test_a_lost_path_holds_writes_up_for_seconds(host, capsys):
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(writes, host, 40)
        time.sleep(8)
        lab("cut", "deb13", "storage2")
        found = writing.result()
    try:
        assert "mail failed" in host.check_output(PATHS)
    finally:
        lab("join", "deb13", "storage2")
    back = until(lambda: has_both_paths(host), 60)
    with capsys.disabled():
        print(f"\n{found['writes']} writes, the longest {found['longest']:.1f} s; the path was back after {back:.1f} s")
    assert found["longest"] < STALL


def test_an_initiator_finds_its_lun_after_it_lost_power(host):
    lab("kill", "deb13")
    lab("start", "deb13")
    until(lambda: has_both_paths(host), 90)


def test_an_array_exports_after_it_lost_power_what_it_did_before(another, host):
    """While it is away, what is written waits; then it goes on."""
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(writes, host, 60)
        time.sleep(5)
        lab("kill", "deb12")
        lab("start", "deb12")
        found = writing.result()
    until(lambda: has_both_paths(host), 60)
    assert found["longest"] > 5, "the array was not away"
    assert "mail_password" not in another("deb12").check_output("cat /proc/*/cmdline | tr '\\0' ' '")


@pytest.fixture
def refused(another, play):
    """Return a function that has a role refuse what is wanted, for a reason, and change nothing."""
    seen = (
        "python3 -c 'import json, rtslib_fb; print(json.dumps(rtslib_fb.RTSRoot().dump(), sort_keys=True))';"
        f" {SESSIONS}; cat /etc/iscsi/initiatorname.iscsi /etc/multipath.conf;"
        " find /etc/iscsi /var/lib/iscsi -path '*nodes*' -type f 2> /dev/null | sort | xargs sha256sum"
    )

    def refuse(reason, **more):
        before = {name: another(name).check_output(seen) for name in HOSTS}
        done = play("molecule/san/converge.yml", **more)
        assert done.returncode != 0, done.stdout
        assert reason in " ".join(done.stdout.split()), done.stdout
        assert {name: another(name).check_output(seen) for name in HOSTS} == before

    return refuse


@pytest.mark.parametrize(
    ("reason", "more"),
    [
        ("LUN mail is not wanted any more, but", {"iscsi_target_luns": []}),
        ("is no block device", {"iscsi_target_luns": [{"name": "more", "device": "/etc/hostname", "wwid": MORE}]}),
        ("is there twice", {"iscsi_target_initiators": ["iqn.2026-11.com.example:one"] * 2}),
        (
            "password and mutual_password are the same",
            {"iscsi_target_password": "a" * 16, "iscsi_target_mutual_password": "a" * 16},
        ),
        ("this host has sessions by the name", {"iscsi_initiator_name": "iqn.2026-11.com.example:another"}),
        (f"LUN {MORE} is not there", {"multipath_luns": [{"name": "mail", "wwid": MORE}]}),
        ("need names of small letters", {"multipath_luns": [{"name": "Mail", "wwid": MORE}]}),
    ],
)
def test_what_is_wrong_is_refused(refused, reason, more):
    refused(reason, **more)


@pytest.fixture
def logged_out(host, play):
    """The initiator as it was before its first login; afterwards it has its sessions again."""
    host.check_output("iscsiadm -m node -u && iscsiadm -m node -o delete")
    yield host
    done = play("molecule/san/converge.yml", "--limit=deb13")
    assert done.returncode == 0, done.stdout


def test_a_wrong_password_is_told_and_leaves_nothing(logged_out, play):
    done = play("molecule/san/converge.yml", "--limit=deb13", iscsi_initiator_password="wrong-wrong-wrong")
    assert done.returncode != 0
    assert "does not accept this initiator's name or password" in " ".join(done.stdout.split()), done.stdout
    assert "wrong-wrong-wrong" not in done.stdout.replace('"iscsi_initiator_password": "wrong-wrong-wrong"', "")
    assert logged_out.run("iscsiadm -m node").stdout == ""


def test_a_portal_that_does_not_answer_is_told_before_anything_changes(logged_out, play, another):
    portal = variables(another("deb12"))["mail_storage2_address"]
    lab("cut", "deb12", "storage2")
    try:
        done = play("molecule/san/converge.yml", "--limit=deb13")
    finally:
        lab("join", "deb12", "storage2")
    assert done.returncode != 0
    assert f"portal {portal}, from" in " ".join(done.stdout.split()), done.stdout
    assert logged_out.run("iscsiadm -m node").stdout == ""
