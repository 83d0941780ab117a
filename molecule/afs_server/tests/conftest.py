"""The cell of each release, and what tests do with it."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCENARIO = "molecule/afs_server"
# No ticket is understood by afsio, the one client that needs no kernel: it reads and writes as anybody. Given a realm, it crashes.
AFSIO = "env KRB5_CONFIG=/dev/null timeout 300 afsio"
FILE = "2.1"


def lab(*arguments):
    """Do something to a host of the lab."""
    subprocess.run([ROOT / "script" / "lab", "--lab", "afs_server", *arguments], check=True, capture_output=True)


def until(done, seconds=120):
    """Wait until something is so; return how long it took."""
    start = time.monotonic()
    while not done():
        assert time.monotonic() < start + seconds, f"not so within {seconds} s"
        time.sleep(0.5)
    return time.monotonic() - start


class Cell:
    """The three hosts of a cell: the first has the primary KDC, the second its replica."""

    def __init__(self, release, another, play):
        """Reach the hosts."""
        self.names = [f"deb{release}{letter}" for letter in "abc"]
        self.hosts = [another(name) for name in self.names]
        self.realm = f"CELL{release}.LAB.TEST"
        self.name = self.realm.lower()
        self.run = play

    def server(self, number):
        """Return a server's name and where it is, as volumes want it."""
        return {"server": f"{self.names[number]}.lab.test", "partition": "a"}

    def play(self, *arguments, on=0, **variables):
        """Run a module on a host of the cell; return what the run said."""
        return self.run(f"{SCENARIO}/play.yml", *arguments, on=self.names[on], **variables)

    def keep(self, *arguments, **variables):
        """Run a module, which must work."""
        done = self.play(*arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def field(self, volume, name, host=1):
        """Return what the cell says of a volume."""
        text = self.hosts[host].check_output(f"vos examine {volume} -format -noresolve -localauth")
        return re.search(rf"^{name}\t+(\S+)", text, re.MULTILINE)[1]

    def fill(self, volume, content, **where):
        """Make a volume with a file in it, and return the file's name for `read`."""
        host = self.hosts[0]
        if host.run("vos examine empty -localauth").rc:
            self.keep(volume={"name": "empty", **self.server(0)})
            self.keep(dump={"name": "empty", "path": "/root/empty.dump"})
        program = (ROOT / SCENARIO / "dump.py").read_text()
        script = f"printf %s {content} | python3 -c %s /root/empty.dump /root/{volume}.dump"
        host.check_output(script, program)
        self.keep(volume={"name": volume, **(where or self.server(0)), "dump": f"/root/{volume}.dump"})
        return f"{self.field(volume, 'id')}.{FILE}"

    def read(self, file, host=1):
        """Return a file's content, as a client gets it."""
        return self.hosts[host].run(f"{AFSIO} fidread -fid {file} -cell {self.name}").stdout

    def write(self, file, content, host=1):
        """Replace a file's content by as much."""
        self.hosts[host].run(f"printf %s {content} | {AFSIO} fidwrite -vnode {file} -force -cell {self.name}")


@pytest.fixture(params=["12", "13"], ids=["deb12", "deb13"])
def cell(request, another, play):
    return Cell(request.param, another, play)


@pytest.fixture
def cells(another, play):
    """Both, for what takes its time and can be done to both at once."""
    return [Cell(release, another, play) for release in ("12", "13")]


@pytest.fixture
def told(capsys):
    """Return a function that prints a measurement."""

    def tell(**measured):
        with capsys.disabled():
            print(f"\n  {json.dumps(measured)}")

    return tell
