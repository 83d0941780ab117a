"""What this node's kernel and tools say of a DRBD resource. Nothing here changes anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils import drbd as logic
from ansible.module_utils.basic import AnsibleModule

NOTES = Path("/var/lib/dovecluster/drbd")


class Kernel:
    """One resource on this node, as it is."""

    def __init__(self, module: AnsibleModule, name: str) -> None:
        """Read what is."""
        self.module = module
        self.name = name
        self.version = self.read_version()
        self.status = self.read_status()

    def run(self, *argv: str) -> str:
        """Run a command that has to succeed."""
        code, out, err = execute(argv)
        if code:
            self.module.fail_json(msg=f"{self.name}: {' '.join(argv)} failed ({code}): {(err or out).strip()}")
        return out

    def ask(self, *argv: str) -> str:
        """Output of a command; nothing where it fails or is not installed."""
        code, out, _err = execute(argv)
        return "" if code else out

    def read_version(self) -> tuple[int, int] | None:
        """The DRBD of the kernel, loaded or not."""
        loaded = Path("/proc/drbd")
        return logic.parse_version(
            loaded.read_text() if loaded.exists() else self.ask("modinfo", "--field", "version", "drbd")
        )

    def all_status(self) -> dict[str, logic.Status]:
        """What the kernel says of all resources."""
        if self.version is None or not Path("/proc/drbd").exists():
            return {}
        json_option = ["--json"] if self.version[0] >= 9 else []
        text = self.ask("drbdsetup", "status", "--verbose", "--statistics", *json_option)
        return logic.parse_status(text, self.version[0])

    def read_status(self) -> logic.Status:
        """What the kernel says of this resource."""
        return self.all_status().get(self.name, logic.Status())

    def generation(self) -> list[str]:
        """Generation identifiers of the data."""
        return logic.parse_generation(self.ask("drbdadm", "get-gi", f"{self.name}/0")) if self.status.up else []

    def by_pacemaker(self) -> bool:
        """Whether Pacemaker brings it up and down."""
        query = f"//primitive//nvpair[@name='drbd_resource' and @value='{self.name}']"
        return bool(self.ask("cibadmin", "--query", "--xpath", query))

    def split(self) -> bool:
        """Whether the handler has noted a split brain that still lasts."""
        return (NOTES / f"{self.name}.split-brain").exists() and self.status.connection != "Connected"


def execute(argv: Sequence[str]) -> tuple[int, str, str]:
    """Run a command; 127 says that it is not installed.

    Not by Ansible's run_command: that loses the output of a command which was silent for a second and then ends at the
    wrong moment, and what the kernel does not say is taken for a resource that is down.
    """
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
        )
    except FileNotFoundError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr
