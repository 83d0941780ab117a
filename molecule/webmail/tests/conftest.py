"""What the tests of webmail share."""

import uuid

import pytest
from shared.pods import until

PAIRS = {"12": ("web12a", "web12b"), "13": ("web13a", "web13b")}
PORTS = {"12": 443, "13": 8443}
VOTES = {"12": "front12", "13": "back13"}
USER, PASSWORD = "ann@example.org", "not-a-secret-of-any-site"
SIZE = "SHOW STATUS LIKE 'wsrep_cluster_size'"


@pytest.fixture(params=["12", "13"])
def pair(request, another):
    """The pair of a release."""
    return Pair(request.param, another)


class Pair:
    """Two webmail hosts with one database."""

    def __init__(self, release, another):
        """Find them."""
        self.names, self.port, self.vote = PAIRS[release], PORTS[release], VOTES[release]
        self.hosts = {name: another(name) for name in self.names}
        self.client, self.balancer = another("client"), another("front12")

    def sql(self, name, statement):
        """What the database of a host answers, as user of the web server; nothing from a host that is away."""
        command = "runuser -u www-data -- mariadb --batch --skip-column-names --execute %s roundcube"
        try:
            return self.hosts[name].run(command, statement).stdout.strip()
        except RuntimeError:
            return ""

    def is_whole(self):
        """Whether both have the other and the third vote, and browsers are sent to both."""
        return all(self.sql(name, SIZE).endswith("3") and "UP" in self.status(name) for name in self.names)

    def status(self, name):
        """What the balancer thinks of a host; nothing while it is away."""
        try:
            shown = self.balancer.run("echo show stat | socat stdio /run/haproxy/admin.sock").stdout
        except RuntimeError:
            return ""
        return next((line for line in shown.splitlines() if f",{name}," in line and "unchecked" not in line), "")

    def requests(self):
        """How many pages each host has served to the browser."""
        count = "grep -c _task= /var/log/apache2/access.log"
        return {name: int(host.run(count).stdout or 0) for name, host in self.hosts.items()}

    def url(self):
        """Where browsers come."""
        return f"https://mail.lab.test:{self.port}"


@pytest.fixture
def visit(pair, another):
    """Return a function that sends a person with a browser; calls what it is given when the mail was sent."""

    def go(meanwhile=lambda: None):
        subject = f"test {uuid.uuid4().hex}"
        pause = f"/root/{subject[5:]}"
        words = [pair.url(), USER, PASSWORD, subject, pause]
        output = "--property StandardOutput=file:%s --property StandardError=journal"
        settings = f"--setenv HOME=/root --property Type=exec {output}"
        command = f"systemd-run --quiet --unit %s {settings} browse " + "%s " * 5
        unit, said = f"browse-{subject[5:]}", f"{pause}.said"
        pair.client.check_output(command, unit, said, *words)
        try:
            until(lambda: pair.client.run("test -e %s", pause).rc == 0 or failed(unit), 180)
            assert not failed(unit), pair.client.check_output("journalctl -u %s", unit)
            meanwhile()
            pair.client.check_output("rm %s", pause)
            until(lambda: pair.client.run("systemctl is-active %s", unit).stdout.strip() != "active", 240)
            return pair.client.check_output("cat %s", said).splitlines(), pair.client.run(
                "journalctl -u %s", unit
            ).stdout
        finally:
            pair.client.run("systemctl stop %s", unit)

    def failed(unit):
        return pair.client.run("systemctl is-failed %s", unit).rc == 0

    return go
