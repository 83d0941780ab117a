"""Users are in LDAP alone, on every server, each with the backend of their shard."""

import re

import pytest

from tests.proofs.lab import Lab

# One host: the tests look at all of them.
testinfra_hosts = ["ansible://front1"]
SEARCH = (
    "ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -o ldif-wrap=no -s one -b ou=users,dc=example,dc=com mail mailHost"
)


@pytest.fixture
def lab(host):
    return Lab(host.ansible.get_variables()["lab_name"])


def test_every_server_has_the_users_with_their_backends(lab):
    wanted = {user: lab.backend_of(user) for user in lab.info["users"]}
    assert wanted
    for node in lab.group("ldap_servers"):
        text = lab.ssh(node, SEARCH)
        users = re.findall(r"^mail: (.*)$", text, re.MULTILINE)
        assert dict(zip(users, re.findall(r"^mailHost: (.*)$", text, re.MULTILINE), strict=True)) == wanted


def test_nodes_have_no_users_but_the_probes(lab):
    for node in lab.group("mail_nodes"):
        users = re.findall(r"^([^:#]+@[^:]+):", lab.ssh(node, "cat /etc/dovecot/users"), re.MULTILINE)
        assert len(users) == len(lab.backends)
        assert all(user.startswith("probe-") for user in users), users


def test_servers_listen_in_the_cluster_network_alone(lab):
    for node in lab.group("ldap_servers"):
        listening = lab.ssh(node, "ss -Hltn 'sport = :636 or sport = :389' | awk '{print $4}'").split()
        assert listening == [f"{lab.variables(node)['mail_cluster_address']}:636"]


def test_replicas_know_the_users(lab):
    for node in lab.group("mail_nodes"):
        users = lab.ssh(node, "doveadm -c /etc/dovecot/replica.conf user '*'").split()
        assert set(lab.info["users"]) < set(users)
