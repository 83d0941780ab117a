import pytest

# Just enough of a Dovecot to ask it about users.
CONFIGURATION = {
    "12": """
protocols =
mail_location = mdbox:~/mdbox
mail_plugins = quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
}
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
  default_fields = uid=nobody gid=nogroup home=/tmp/%u
}
""",
    "13": """
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
protocols =
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
  fields {
    uid:default = nobody
    gid:default = nogroup
    home:default = /tmp/%{user}
  }
}
""",
}


@pytest.fixture
def release(host):
    """Start an instance of its own, so that the package's is left alone; return Debian's release."""
    release = host.check_output("sh -c '. /etc/os-release; echo $VERSION_ID'")
    text = CONFIGURATION[release].strip() + "\nbase_dir = /run/dovecot-test\nssl = no\n"
    host.check_output("cat > /etc/dovecot/test.conf <<'END'\n" + text + "END")
    # ssh waits for whoever holds its output, so the daemon must not.
    host.check_output(
        "test -S /run/dovecot-test/master || dovecot -c /etc/dovecot/test.conf > /dev/null 2>&1 < /dev/null"
    )
    return release


def test_file_is_for_dovecot_only(host):
    users = host.file("/etc/dovecot/users")
    assert (users.user, users.group, users.mode) == ("root", "dovecot", 0o640)


def test_users_log_in(host, release):
    for name, password in (
        ("ann@example.org", "open sesame"),
        ("bob@example.org", "open sesame"),
        ("probe@example.org", "not-a-secret"),
    ):
        assert host.run(f"doveadm -c /etc/dovecot/test.conf auth test {name} '{password}'").rc == 0
        assert host.run(f"doveadm -c /etc/dovecot/test.conf auth test {name} wrong").rc != 0


def test_users_can_be_listed_and_quota_is_theirs(host, release):
    assert set(host.check_output("doveadm -c /etc/dovecot/test.conf user '*'").split()) == {
        "ann@example.org",
        "bob@example.org",
        "probe@example.org",
    }
    field = {"12": "quota_rule\t*:storage=1G", "13": "quota_storage_size\t1G"}[release]
    assert field in host.check_output("doveadm -c /etc/dovecot/test.conf user ann@example.org")
