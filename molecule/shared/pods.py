"""The clusters that cluster/vars.yml describes, and what tests do with them."""

import os
import subprocess
import time
from pathlib import Path

import testinfra

ROOT = Path(__file__).parents[2]
PODS = {"12": ("deb12a", "deb12b"), "13": ("deb13a", "deb13b")}


def lab(*argv):
    """Do something to the test hosts from outside."""
    subprocess.run([ROOT / "script/lab", "--lab", os.environ["LAB"], *argv], check=True, timeout=120)


def until(condition, seconds=120):
    """Wait for something that comes by itself; say how long it took, fail when it does not come."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, f"not within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - start


class Pod:
    """The two nodes of a cluster."""

    def __init__(self, release, inventory):
        """Find the hosts of a release in an inventory."""
        self.names = PODS[release]
        self.hosts = {n: testinfra.get_host(f"ansible://{n}?ansible_inventory={inventory}") for n in self.names}
        octet = {"12": "231", "13": "232"}[release]
        first = self.hosts[self.names[0]].ansible.get_variables()["mail_client_address"]
        self.address = first.rsplit(".", 1)[0] + "." + octet

    def ask(self, name, command):
        """A command's output; nothing from a node without power, which is how testinfra says it."""
        try:
            return self.hosts[name].run(command).stdout
        except RuntimeError:
            return ""

    def has_address(self, name):
        """Whether a node has the address that moves."""
        return self.address + "/" in self.ask(name, "ip -4 -br address")

    def holder(self):
        """The one node that has the address."""
        holders = [name for name in self.names if self.has_address(name)]
        assert len(holders) == 1, f"{self.address} is on {holders}, wanted on one node"
        return holders[0]

    def peer(self, name):
        """The other node."""
        return next(other for other in self.names if other != name)

    def online(self, name):
        """Whether all nodes are online in the eyes of one."""
        found = self.ask(name, "crm_mon --one-shot --output-as xml")
        return found.count('online="true"') == len(self.names) and 'pending="true"' not in found
