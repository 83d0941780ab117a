"""The AFS cells of scenario afs_server, and what tests do with them."""

import re
from pathlib import Path

SCENARIO = Path(__file__).parents[1] / "afs_server"
# The one client that needs no kernel. It can't use tickets, and crashes when it finds a realm: so it is nobody.
AFSIO = "env KRB5_CONFIG=/dev/null timeout 300 afsio"


class Cell:
    """The three hosts of a cell: the first has the primary KDC, the second its replica."""

    def __init__(self, release, another, play):
        """Reach the hosts."""
        self.names = [f"deb{release}{letter}" for letter in "abc"]
        self.hosts = [another(name) for name in self.names]
        self.realm = f"CELL{release}.LAB.TEST"
        self.name = self.realm.lower()
        self.principal = {"names": [f"afs/{self.name}@{self.realm}"], "enctypes": ["aes256-cts-hmac-sha1-96"]}
        self.run_play = play

    def address(self, number):
        """Return a host's address."""
        return self.hosts[number].ansible.get_variables()["mail_client_address"]

    def server(self, number):
        """Return a server's name and its first partition, as volumes want it."""
        return {"server": f"{self.names[number]}.lab.test", "partition": "a"}

    def play(self, *arguments, **variables):
        """Run a module on the first host; return what became of it."""
        return self.run_play("molecule/afs_server/play.yml", *arguments, on=self.names[0], **variables)

    def keep(self, *arguments, **variables):
        """Run a module, which must work; return what was said."""
        done = self.play(*arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def has(self, volume, number=1):
        """Tell whether a volume is known; vos ends with 255 if not, which ssh has for itself."""
        return self.hosts[number].run(f"vos examine {volume} -localauth || exit 1").rc == 0

    def field(self, volume, name):
        """Return what a file server says of a volume."""
        text = self.hosts[1].check_output(f"vos examine {volume} -format -noresolve -localauth")
        return re.search(rf"^{name}\t+(\S+)", text, re.MULTILINE)[1]

    def fill(self, volume, content, number=0):
        """Make a volume on a server with a file in it; return what `read` knows the file by."""
        host = self.hosts[0]
        if host.run("test -e /root/empty.dump").rc:
            self.keep(volume={"name": "empty", **self.server(0)})
            self.keep(dump={"name": "empty", "path": "/root/empty.dump"})
        program = (SCENARIO / "dump.py").read_text()
        made = f"/root/{volume}.dump"
        host.check_output(f"echo -n {content} | python3 -c %s /root/empty.dump {made}", program)
        self.keep(volume={"name": volume, **self.server(number), "dump": made})
        return f"{self.field(volume, 'id')}.2.1"

    def read(self, file):
        """Return a file's content, as a client gets it."""
        return self.hosts[1].run(f"{AFSIO} fidread -fid {file} -cell {self.name}").stdout

    def write(self, file, content):
        """Replace a file's content by as much."""
        self.hosts[1].run(f"printf %s {content} | {AFSIO} fidwrite -vnode {file} -force -cell {self.name}")
