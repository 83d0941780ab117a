"""The clients of scenario afs_client, and services on them that write."""

import shlex

from .pods import until

FOLDER = "/srv/mail/a"


class Client:
    """A host with the volume mail.a mounted."""

    def __init__(self, name, another):
        """Reach the host."""
        self.name = name
        self.host = another(name)

    def serve(self, script, unit="writer", name="one"):
        """Run a script in a service, by a user without rights on the host; return how it ended, and what it said."""
        self.start(script, unit, name)
        until(lambda: self.shows("ActiveState", unit, name) in ("inactive", "failed"), 120)
        return int(self.shows("ExecMainStatus", unit, name)), self.host.check_output(f"cat /run/{unit}-{name}.said")

    def shows(self, what, unit="writer", name="one"):
        """Return a property of a service."""
        return self.host.check_output(f"systemctl show --value --property {what} {unit}@{name}")

    def start(self, script, unit="writer", name="one"):
        """Run a script in a service, and don't wait for its end."""
        self.host.check_output(
            "printf 'WRITE=%%s\n' %s > /run/%s-%s; systemctl restart %s@%s", shlex.quote(script), *(unit, name) * 2
        )

    def received(self):
        """Return the bytes that came over the network since the host's start."""
        return int(self.host.check_output("cat /sys/class/net/eth0/statistics/rx_bytes"))

    def last_said(self, unit="writer", name="one"):
        """Return the last line that a service printed, or nothing."""
        return self.host.check_output(f"tail --lines 1 /run/{unit}-{name}.said")

    def volume(self, verb):
        """Mount the volume, or unmount it."""
        self.host.check_output(f"systemctl {verb} srv-mail-a.mount")

    def keys(self, command):
        """Run a command as the service's user, in that user's keyrings."""
        return self.host.check_output(f"setpriv --reuid=mail --regid=mail --clear-groups {command}")

    def token(self):
        """Return the number of the token's key."""
        return self.keys("keyctl search @us rxrpc afs@cell.lab.test")

    def take_short_token(self, seconds):
        """Have the user's token be one that holds a few seconds."""
        self.host.check_output(
            f"kinit -c FILE:/run/short -k -t /etc/afs-client.keytab -S afs/cell.lab.test -l {seconds}s"
            f" mail/{self.name}.lab.test@CELL.LAB.TEST && chown mail /run/short"
        )
        self.keys("env KRB5CCNAME=FILE:/run/short aklog-kafs -k uid-session cell.lab.test CELL.LAB.TEST")
        self.host.check_output("rm /run/short")

    def check(self, least=300):
        """Ask for tokens' health."""
        return self.host.run(f"afs-token check --least {least}")
