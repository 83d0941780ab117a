"""Two nodes and one file system: shared, locked, mounted by Pacemaker, and going on when a node dies.

Both clusters do the same at a time, as most of a test is waiting.
"""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from shared.mounts import LOCK, PLACE, begin, mounted, stall
from shared.pods import PODS, Pod, lab, until

LONGEST_STALL = 60


@pytest.fixture(scope="module")
def pods(request):
    return [Pod(release, request.config.getoption("--ansible-inventory")) for release in PODS]


def each(pods, action):
    """Do the same to all clusters at a time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(action, pods))


def test_pacemaker_mounts_it_on_both_nodes(pods):
    def check(pod):
        for host in pod.hosts.values():
            options = host.check_output(f"findmnt --noheadings --output OPTIONS --mountpoint {PLACE}")
            assert "noatime" in options.split(",") and "rw" in options.split(",")
            assert host.check_output(f"stat --format='%a %U' {PLACE}") == "751 root"
            # Level 20 writes: a mount that only reads, or hangs, is noticed.
            assert host.run(f"ls -A {PLACE}/.Filesystem_status").rc == 0
        configuration = host.check_output("cibadmin --query")
        assert re.search(r'name="no-quorum-policy" value="freeze"', configuration)
        assert configuration.count('on-fail="fence"') >= 4
        assert not host.file("/etc/fstab").exists or PLACE not in host.file("/etc/fstab").content_string

    each(pods, check)


def test_it_has_grown_to_its_disk(pods):
    for pod in pods:
        blocks, size = pod.hosts[pod.names[0]].check_output(f"stat --file-system --format='%b %s' {PLACE}").split()
        assert int(blocks) * int(size) > 500 * 1024 * 1024


def test_the_directory_below_is_closed(pods):
    for pod in pods:
        for host in pod.hosts.values():
            below = host.check_output(f"unshare --mount sh -c 'umount --lazy {PLACE}; stat --format=%a,%U {PLACE}'")
            assert below == "0,root"


def test_a_file_of_one_node_is_seen_by_the_other(pods):
    def check(pod):
        first, second = pod.hosts.values()
        first.check_output(f"echo hello > {PLACE}/letter")
        assert second.check_output(f"cat {PLACE}/letter") == "hello"
        second.check_output(f"echo again >> {PLACE}/letter")
        assert first.check_output(f"cat {PLACE}/letter") == "hello\nagain"

    each(pods, check)


def test_a_posix_lock_holds_on_both_nodes(pods):
    def check(pod):
        first, second = pod.hosts.values()
        first.check_output(f"nohup python3 -c %s {PLACE}/lock 15 > /run/locked 2>&1 < /dev/null &", LOCK)
        until(lambda: "locked" in first.check_output("cat /run/locked"), 10)
        refused = second.run(f"python3 -c %s {PLACE}/lock 0", LOCK)
        assert refused.rc == 1 and "refused: 11" in refused.stderr
        until(lambda: second.run(f"python3 -c %s {PLACE}/lock 0", LOCK).rc == 0, 60)

    each(pods, check)


def test_no_check_of_what_is_mounted(pods, play):
    done = play("molecule/gfs2/fsck.yml")
    assert done.returncode != 0
    for pod in pods:
        for name in pod.names:
            assert f"{name} has it mounted on {PLACE}" in done.stdout
    assert "Nothing was changed" in done.stdout and "TASK [gfs2 : Check it]" not in done.stdout


def test_a_check_of_what_is_stopped(pods, play):
    def stop(pod):
        host = pod.hosts[pod.names[0]]
        host.check_output("crm_resource -r gfs2_mail_clone --meta -p target-role -v Stopped")
        until(lambda: not any(mounted(pod, name) for name in pod.names))

    def start(pod):
        host = pod.hosts[pod.names[0]]
        host.check_output("crm_resource -r gfs2_mail_clone --meta -d target-role")
        until(lambda: all(mounted(pod, name) for name in pod.names))

    each(pods, stop)
    try:
        done = play("molecule/gfs2/fsck.yml")
        assert done.returncode == 0, done.stdout
    finally:
        each(pods, start)


def test_a_journal_is_added_while_both_nodes_write(pods, play):
    each(pods, lambda pod: [begin(host, 60) for host in pod.hosts.values()])
    done = play("molecule/gfs2/journal.yml")
    assert done.returncode == 0, done.stdout
    for pod in pods:
        journals = pod.hosts[pod.names[0]].check_output("gfs2_edit -p journals /dev/ubda")
        assert len(re.findall(r"^journal\d", journals, re.MULTILINE)) == 3
        for name, host in pod.hosts.items():
            print(f"{name}: longest write while a journal was added {stall(host)} s")


def test_a_node_that_dies_is_fenced_and_the_other_goes_on(pods):
    def check(pod):
        survivor, victim = pod.names
        for host in pod.hosts.values():
            begin(host, 90)
        time.sleep(5)  # both have locks in the directory
        lab("kill", victim)
        seconds = stall(pod.hosts[survivor])
        print(f"{victim} lost power: the longest write of {survivor} took {seconds} s")
        assert seconds < LONGEST_STALL
        history = pod.hosts[survivor].check_output(f"stonith_admin --history {victim} --verbose")
        assert f"reboot of {victim} successful" in history
        print(history)
        # Fencing gives the power back, and the node mounts again.
        until(lambda: mounted(pod, victim), 180)
        until(lambda: pod.online(survivor), 60)
        status = json.loads(pod.hosts[survivor].check_output("findmnt --json --mountpoint " + PLACE))
        assert status["filesystems"][0]["fstype"] == "gfs2"

    each(pods, check)
