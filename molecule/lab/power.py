"""The lab's BMCs: each host's answers IPMI on the cluster network and switches the host's power.

It also stands in for the mains: a host that rebooted itself ends as a container, and is started again.
Run as `python -m lab.power NAME`.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pyghmi.ipmi.bmc import Bmc

from .commands import LabError, run
from .labs import Lab

POLL_SECONDS = 1
# From power to boot. A machine takes longer; without it a fenced node was back before its peer had taken over.
FIRMWARE_SECONDS = 15
REFUSED = 0xD4  # IPMI's code for: insufficient privilege


class HostBmc(Bmc):
    """A BMC for one host; power is the lab's own kill and start."""

    def __init__(self, lab: Lab, host: dict[str, Any]) -> None:
        """Listen on the host's BMC address."""
        self.lab = lab
        self.host_name = host["name"]
        credentials = lab.data["bmc"]
        super().__init__({credentials["user"]: credentials["password"]}, port=623, address=host["bmc_address"])

    def handle_raw_request(self, request: dict[str, Any], session: Any) -> None:
        """Answer a request, unless the lab was told that this BMC refuses."""
        if Lab.load(self.lab.name).host(self.host_name)["bmc_refuses"]:
            session.send_ipmi_response(code=REFUSED)
        else:
            super().handle_raw_request(request, session)

    def get_power_state(self) -> str:
        """Whether the host has power: at once after it was switched, as with a real BMC."""
        return Lab.load(self.lab.name).host(self.host_name)["power"]

    def power_off(self) -> int:
        """Cut the power."""
        self.lab.kill(self.host_name)
        return 0

    def power_on(self) -> int:
        """Give power again; boot() sees it."""
        self.lab.set_power(self.host_name, "on")
        return 0

    def power_reset(self) -> int:
        """Cut the power and give it again."""
        self.power_off()
        return self.power_on()

    def power_cycle(self) -> int:
        """Cut the power and give it again."""
        return self.power_reset()

    def power_shutdown(self) -> int:
        """A press on the power button: the test hosts have none, so the power is cut."""
        return self.power_off()

    def cold_reset(self) -> None:
        """Nothing to restart in this BMC."""


def add_addresses(lab: Lab) -> None:
    """Put this machine's and the BMCs' addresses on the cluster bridge.

    podman gives an internal network's bridge none, and removes a bridge on which no host runs.
    """
    network = lab.data["networks"]["cluster"]
    links = json.loads(run(["ip", "-json", "address", "show", "dev", network["bridge"]], check=False) or "[]")
    present = {a["local"] for link in links for a in link.get("addr_info", [])}
    subnet = ipaddress.ip_network(network["subnet"])
    wanted = [f"{subnet[1]}/{subnet.prefixlen}"]
    wanted += [f"{host['bmc_address']}/32" for host in lab.data["hosts"] if host.get("bmc_address")]
    for address in wanted:
        if links and address.split("/")[0] not in present:
            run(["ip", "address", "add", address, "dev", network["bridge"]])


def boot(lab: Lab, processes: dict[str, str], since: dict[str, float]) -> None:
    """Start hosts that have power and do not run: the BMC gave it again, or they rebooted themselves.

    processes has the process of each host that was seen running. While it lives nobody asks podman, which is slow.
    since has when a host was first seen with power and not running, in seconds of the monotonic clock.
    """
    for host in lab.data["hosts"]:
        name = host["name"]
        if Path(f"/proc/{processes.get(name) or 'none'}").exists():
            continue
        current = Lab.load(lab.name)
        inspect = ["podman", "container", "inspect", "--format", "{{.State.Status}} {{.State.Pid}} {{.State.ExitCode}}"]
        status, process, code = run([*inspect, current.container(name)]).split()
        processes[name] = process if status == "running" else ""
        if current.host(name)["power"] != "on" or status != "exited":
            since.pop(name, None)
        elif time.monotonic() - since.setdefault(name, time.monotonic()) >= FIRMWARE_SECONDS:
            print(f"{name} has power again, or went down by itself (exit code {code}): starting it", flush=True)
            current.start(name)


def main() -> None:
    """One process for each BMC (pyghmi serves one at a time), and this one for addresses and reboots."""
    lab = Lab.load(sys.argv[1])
    hosts = [h for h in lab.data["hosts"] if h.get("bmc_address")]
    if hosts:
        add_addresses(lab)
    for host in hosts:
        if os.fork() == 0:
            HostBmc(lab, host).listen()
            os._exit(1)
    processes: dict[str, str] = {}
    since: dict[str, float] = {}
    while True:
        time.sleep(POLL_SECONDS)
        try:
            if hosts:
                add_addresses(lab)
            boot(lab, processes, since)
        except (LabError, OSError, subprocess.SubprocessError) as problem:
            print(problem, flush=True)


if __name__ == "__main__":
    main()
