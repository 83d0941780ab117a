"""A unit is started, restarted and reloaded where its files are newer, on a real systemd."""

import time

import pytest

UNIT = """
[Service]
ExecStart=sleep infinity
ExecReload=sh -c "echo reload >> /run/demo@%i.said"
ExecStartPost=sh -c "echo start >> /run/demo@%i.said"
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def demo(host):
    """Return functions: run the module for a demo unit, write its files, say what it did since the last call."""

    class Demo:
        def run(self, *more, check=False, name="demo@a.service"):
            arguments = " ".join([f"name={name}", "reload_for=/etc/demo.d", *more])
            done = host.ansible("unit_current", arguments, check=check)
            assert "actions" in done, done
            assert done["changed"] is bool(done["actions"])
            return done["actions"]

        def write(self, name, text="x"):
            time.sleep(0.1)  # as a task would take
            host.check_output("echo %s > %s", text, name)

        def said(self):
            return host.check_output("cat /run/demo@a.said 2>/dev/null; rm -f /run/demo@*.said").split()

    host.check_output("mkdir -p /etc/demo.d")
    demo = Demo()
    demo.write("/etc/systemd/system/demo@.service", UNIT)
    yield demo
    for command in (
        "systemctl stop demo@a demo@b",
        "systemctl -q disable demo@a",
        "rm -rf /etc/demo* /run/demo* /etc/systemd/system/demo@* /run/dovecluster/reloaded/demo*",
        "systemctl daemon-reload",
    ):
        host.check_output(command)


def test_a_service_gets_what_it_needs_and_nothing_else(host, demo):
    demo.write("/etc/demo.d/one")
    assert demo.run(check=True) == {"demo@a.service": "enable and start"}
    assert not host.service("demo@a").is_running
    assert demo.run() == {"demo@a.service": "enable and start"}
    assert host.service("demo@a").is_enabled and demo.said() == ["start"]
    assert demo.run() == {}
    demo.write("/etc/demo.d/two")
    assert demo.run(check=True) == {"demo@a.service": "reload, for /etc/demo.d"} and demo.said() == []
    assert demo.run() == {"demo@a.service": "reload, for /etc/demo.d"} and demo.said() == ["reload"]
    assert demo.run() == {} and demo.said() == []
    host.check_output("rm /etc/demo.d/one")
    assert demo.run() == {"demo@a.service": "reload, for /etc/demo.d"} and demo.said() == ["reload"]
    demo.write("/etc/demo.conf")
    assert demo.run("restart_for=/etc/demo.c*") == {"demo@a.service": "restart, for /etc/demo.c*"}
    assert demo.said() == ["start"]
    demo.write("/etc/systemd/system/demo@.service", UNIT + "# changed\n")
    assert demo.run() == {"demo@a.service": "restart, for /etc/systemd/system/demo@.service"}
    assert demo.said() == ["start"] and demo.run() == {}
    assert host.check_output("systemctl show -P NeedDaemonReload demo@a.service") == "no"


def test_what_a_cluster_runs_is_reloaded_and_nothing_is_started(host, demo):
    for instance in "ab":
        host.check_output(f"systemctl start demo@{instance}")
    host.check_output("systemctl stop demo@b")
    demo.write("/etc/demo.d/one")
    demo.said()
    pattern = {"name": "demo@*.service"}
    assert demo.run("state=as_is", **pattern) == {"demo@a.service": "reload, for /etc/demo.d"}
    assert demo.said() == ["reload"] and demo.run("state=as_is", **pattern) == {}
    demo.write("/etc/systemd/system/demo@.service", UNIT + "# changed\n")
    assert demo.run("state=as_is", **pattern) == {} and demo.said() == []
    assert not host.service("demo@b").is_running and not host.service("demo@a").is_enabled


def test_a_unit_that_may_not_start_here_is_tried_once(host, demo):
    demo.write(
        "/etc/systemd/system/demo@.service", UNIT.replace("[Service]", "[Unit]\nConditionPathExists=/no\n[Service]")
    )
    assert demo.run() == {"demo@a.service": "enable and start"}
    assert demo.run() == {} and demo.said() == []
    demo.write("/etc/demo.d/one")
    assert demo.run() == {"demo@a.service": "start"} and demo.run() == {}
