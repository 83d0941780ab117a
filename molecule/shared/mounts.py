"""A GFS2 that several nodes have mounted: who has, and what writes and locks there."""

from shared.pods import until

PLACE = "/srv/mail"
# Takes a POSIX lock for some seconds, or says that somebody else has it.
LOCK = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError as error:
    sys.exit(f"refused: {error.errno}")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""
# Writes and syncs small files again and again; prints the longest time that one took, and their number.
WRITE = """
import os, sys, time
end, longest, count = time.monotonic() + float(sys.argv[2]), 0.0, 0
while time.monotonic() < end:
    start = time.monotonic()
    name = f"{sys.argv[1]}/w{count % 50}"
    with open(name, "w") as file:
        file.write("x" * 2000)
        file.flush()
        os.fsync(file.fileno())
    count += 1
    longest = max(longest, time.monotonic() - start)
    time.sleep(0.1)
print(f"{longest:.1f} {count}")
"""


def mounted(pod, name):
    """Whether a node has the file system mounted."""
    return "gfs2" in pod.ask(name, f"findmnt --noheadings --output FSTYPE --mountpoint {PLACE}")


def begin(host, seconds):
    """Let a node write for some time."""
    host.check_output(f"mkdir -p {PLACE}/write")
    host.check_output(f"nohup python3 -c %s {PLACE}/write {seconds} > /run/written 2>&1 < /dev/null &", WRITE)


def stall(host):
    """The longest time that a write took, when the writer has ended."""
    until(lambda: host.run("pgrep -f /write").rc != 0)
    longest, count = host.check_output("cat /run/written").split()
    assert int(count) > 10
    return float(longest)
