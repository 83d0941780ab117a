def test_names(host):
    assert "192.0.2.31" in host.check_output("getent ahostsv4 be1.nodes.example.org")
    assert host.check_output("hostname") in ("deb12", "deb13")
    assert "127.0.1.1" not in host.file("/etc/hosts").content_string


def test_security_updates_only_and_not_of_the_cluster(host):
    settings = host.check_output("apt-config dump Unattended-Upgrade")
    origins = [line for line in settings.splitlines() if line.startswith("Unattended-Upgrade::Origins-Pattern::")]
    assert len(origins) == 1 and "Debian-Security" in origins[0]
    for name in ("pacemaker", "corosync", "dovecot", "drbd"):
        assert f'Unattended-Upgrade::Package-Blacklist:: "{name}"' in settings
    assert 'Automatic-Reboot "false"' in settings


def test_update_times_differ(host):
    timer = host.check_output("systemctl show -P TimersCalendar apt-daily-upgrade.timer")
    assert timer.count("OnCalendar") == 1
    assert ("01:00" if host.check_output("hostname") == "deb12" else "01:40") in timer


def test_settings_are_understood(host):
    assert host.service("chrony").is_enabled
    assert host.run("chronyd -p -f /etc/chrony/chrony.conf").rc == 0
    assert "max_user_instances = 65536" in host.check_output("/lib/systemd/systemd-sysctl --cat-config")
    assert host.file("/var/log/journal").is_directory
    assert host.check_output("systemctl --failed --no-legend") == ""
