"""What is wrong is said before anything changes, on hosts of both releases."""

import pytest

SERVICE = {"name": "imaps", "port": 993, "check": "imap", "backends": {"be1": {"host": "be1", "address": "192.0.2.1"}}}


def services(*changes):
    return {"haproxy_services": [SERVICE | change for change in changes]}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (services({"check": "port"}), "value of check must be one of: imap, pop3, sieve, smtp, http"),
        (services({"tls": "none"}), "value of tls must be one of: passthrough, terminate"),
        (services({"port": "imaps"}), "cannot be converted to an int"),
        (services({}, {"name": "pop3s"}), "names and ports of their own in haproxy_services"),
        (services({"name": "Mail 1"}), "names of small letters"),
        (services({"backends": {}}), "backends in every service, each with host and address"),
        (services({"backends": {"be1": {"host": "be1"}}}), "backends in every service, each with host and address"),
        (services({"starttls": True, "tls": "terminate"}), "tls: passthrough for services with starttls"),
        (
            services(
                {"stick_table": "mail"},
                {
                    "name": "x",
                    "port": 1,
                    "stick_table": "mail",
                    "backends": {"be2": {"host": "a", "address": "192.0.2.2"}},
                },
            ),
            "the same names of backends in all services with one stick_table",
        ),
        ({"haproxy_drained": ["be9"]}, "names of backends in haproxy_drained"),
        ({"haproxy_drained": ["be1", "be2"]}, "one that is left in every service"),
        ({"haproxy_probe_password": ""}, "haproxy_probe_user and haproxy_probe_password, with which checks log in"),
        ({"haproxy_name": "front9"}, "haproxy_name, front9, among haproxy_peers"),
    ],
)
def test_bad_value_is_refused(play, variables, said):
    done = play("molecule/haproxy/converge.yml", "--tags=haproxy", **variables)
    assert done.returncode != 0
    assert all(
        f"fatal: [{name}]" in done.stdout or f"failed: [{name}]" in done.stdout for name in ("front12", "front13")
    )
    assert said in " ".join(done.stdout.split()), done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout


def test_a_configuration_that_haproxy_refuses_is_not_installed(play, another):
    hosts = [another(name) for name in ("front12", "front13")]
    before = [host.file("/etc/haproxy/haproxy.cfg").content_string for host in hosts]
    done = play("molecule/haproxy/converge.yml", "--tags=haproxy", haproxy_tls_ca="/nonexistent/ca.pem")
    assert done.returncode != 0 and "failed to validate" in done.stdout, done.stdout
    assert [host.file("/etc/haproxy/haproxy.cfg").content_string for host in hosts] == before
