"""What this node's kernel and tools say of a DRBD resource. Nothing here changes anything."""

from __future__ import annotations

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
        code, out, err = self.module.run_command(list(argv), data="")
        if code:
            self.module.fail_json(msg=f"{self.name}: {' '.join(argv)} failed ({code}): {(err or out).strip()}")
        return out

    def ask(self, *argv: str) -> str:
        """Output of a command; nothing where it fails or is not installed."""
        try:
            code, out, _err = self.module.run_command(list(argv), data="", handle_exceptions=False)
        except OSError:
            return ""
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
