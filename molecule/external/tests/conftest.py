"""Makes a balancer out of the plan, and nothing else than the plan."""

import functools
import json
import os
from pathlib import Path

import pytest
from shared.front_door import BACKENDS, address, lines, sources, speak
from shared.pods import until
from shared.settings import changed_back

__all__ = ["BACKENDS", "address", "lines", "sources", "speak"]  # fixtures among them
PLAN = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "balancer"
GET = (
    "import sys,urllib.request,urllib.error\n"
    "try: print(urllib.request.urlopen(sys.argv[1], timeout=5).status)\n"
    "except urllib.error.HTTPError as error: print(error.code)\n"
    "except OSError as error: print(error)"
)


def haproxy(plan):
    """Turn a plan into a configuration of HAProxy."""
    virtuals, servers, probe = plan["virtual_servers"], plan["real_servers"], plan["probe"]
    text = [
        "global\n  log stdout format short daemon\n  stats socket /run/lab-balancer.sock mode 600 level admin",
        "defaults\n  mode tcp\n  log global\n  timeout connect 2s\n  retries 1\n  option redispatch 1",
        f"  timeout check {probe['timeout_seconds']}s",
        f"backend {plan['stickiness']['name']}_clients",
        f"  stick-table type ipv6 size 1m expire {plan['stickiness']['seconds']}s",
    ]
    checked = f"check port {probe['port']} inter {probe['interval_seconds']}s"
    checked += f" fall {probe['failures']} rise {probe['successes']}"
    for virtual in virtuals:
        name, idle = virtual["name"], virtual["idle_seconds"]
        assert (virtual["protocol"], virtual["tls"], virtual["balance"]) == ("tcp", "passthrough", "least_connections")
        text += [f"frontend {name}", f"  timeout client {idle}s"]
        text += [f"  bind {address}:{virtual['port']}" for address in virtual["addresses"]]
        text += [f"  use_backend {name}_last_resort if {{ nbsrv({name}) eq 0 }}", f"  default_backend {name}"]
        for kind in ("", "_last_resort"):
            text += [f"backend {name}{kind}", f"  timeout server {idle}s", "  balance leastconn"]
            text += [f"  stick on src table {virtual['stickiness']}_clients"]
            text += ["  source 0.0.0.0 usesrc clientip"] if plan["forwarding"] == "transparent" else []
            if not kind:
                text += [
                    f"  option httpchk {probe['method']} {probe['path']}",
                    f"  http-check expect status {probe['expect_status']}",
                ]
            for server in servers:
                if server["name"] in virtual["real_servers"]:
                    words = [server["name"], f"{server['address']}:{virtual['real_port']}"]
                    words += [checked] if not kind else []
                    words += [f"send-proxy-v{virtual['proxy_protocol']}"] if virtual["proxy_protocol"] else []
                    words += ["disabled"] if server["drained"] else []
                    text.append(f"  server {' '.join(words)}")
    return "\n".join(text) + "\n"


class Balancer:
    """The host that is the balancer."""

    def __init__(self, host, own):
        self.host, self.own = host, own

    def carry_out(self, plan):
        """Do what a plan says."""
        self.host.check_output("echo %s > /etc/lab-balancer.cfg", haproxy(plan))
        self.stop()
        self.host.check_output(
            "systemd-run --quiet --unit=lab-balancer haproxy -W -db -f /etc/lab-balancer.cfg && "
            "until test -S /run/lab-balancer.sock; do sleep 0.2; done"
        )

    def stop(self):
        """Be no balancer."""
        self.host.run("systemctl stop lab-balancer; systemctl reset-failed lab-balancer; rm -f /run/lab-balancer.sock")

    def ask(self, command):
        """What HAProxy answers on its socket."""
        code = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/lab-balancer.sock');"
            "s.sendall(sys.argv[1].encode()+b'\\n'); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
        )
        return self.host.check_output("python3 -c %s %s", code, command)

    def status(self, service="imaps"):
        """What it thinks of each backend."""
        rows = [line.split(",") for line in self.ask("show stat").splitlines()]
        return {row[1]: row[17].split()[0] for row in rows if row[0] == service and row[1] in BACKENDS}

    def health(self, address):
        """What a backend says of itself."""
        return self.host.check_output("python3 -c %s %s", GET, f"http://{address}:9910/")


def read_plan(folder=PLAN):
    """The plan as it is now."""
    return json.loads((folder / "balancer.json").read_text())


@pytest.fixture
def plan():
    """The plan before a test changes it."""
    return read_plan()


@pytest.fixture
def settings(play):
    """Return a function that provisions with other values; afterwards all is as before."""
    run = functools.partial(play, "molecule/external/converge.yml")
    with changed_back(run, harmless=("--check", "--tags=plan")) as change:
        yield change


@pytest.fixture
def balancer(another, address, plan):
    """The balancer, which does what the plan says, with all backends in service."""
    found = Balancer(another("balancer"), address("balancer"))
    found.carry_out(plan)
    until(lambda: set(found.status().values()) == {"UP"}, 60)
    yield found
    found.stop()
