"""move_user.yml with this front end, as an operator runs it."""

import imaplib

import pytest
import yaml
from conftest import BACKENDS, PASSWORD, Imap, gets_in
from shared.pods import until

USER = "cat@example.org"
FRONTS = ("front12", "front13")


@pytest.fixture
def site(another, tmp_path):
    """The scenario as a site: what the playbook has to know of it, and a file with its groups."""
    groups = {"front_ends": FRONTS, "mta": [], "mail_nodes": BACKENDS, "pod_a": BACKENDS}
    children = {group: {"hosts": dict.fromkeys(hosts)} for group, hosts in groups.items()}
    (tmp_path / "groups.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
    address = {name: another(name).ansible.get_variables()["mail_client_address"] for name in BACKENDS}
    yield (
        tmp_path / "groups.yml",
        {
            "mail_store": "nfs",  # nothing has to be copied
            "mail_front_end": "perdition",
            # By the names of the instances on the hosts.
            "mail_backends": {"be": {"pod": "pod_a"}, "other": {"pod": "pod_a"}},
            "dovecot_proxy_routes": "ldap",
            "dovecot_proxy_backends": {
                "be": {"host": "be1.lab.test", "address": address["back12"], "shards": "0-127"},
                "other": {"host": "be2.lab.test", "address": address["back13"], "shards": "128-255"},
            },
        },
    )
    for name in FRONTS:
        another(name).check_output("truncate --size 0 /etc/dovecot/routes/overrides")
        address = another(name).ansible.get_variables()["mail_client_address"]
        until(lambda address=address: gets_in(address, USER), 20)


def test_a_user_moves(play, site, another, place):
    groups, variables = site
    kept = {}
    for name in FRONTS:
        kept[name] = Imap(another(name).ansible.get_variables()["mail_client_address"])
        kept[name].login(USER, PASSWORD)
    until(lambda: place(USER) == {"back13": 2}, 10)
    done = play("playbooks/move_user.yml", f"--inventory={groups}", user=USER, backend="be", **variables)
    assert done.returncode == 0, done.stdout
    ended = done.stdout.partition("TASK [End logins of perdition")[2].partition("TASK [")[0]
    assert all(f"changed: [{name}]" in ended for name in FRONTS), done.stdout
    assert place(USER) == {}
    for name in FRONTS:
        with pytest.raises((OSError, imaplib.IMAP4.error)):
            kept[name].noop()
            kept[name].noop()
        session = Imap(another(name).ansible.get_variables()["mail_client_address"])
        session.login(USER, PASSWORD)
        assert set(place(USER)) == {"back12"}
        session.shutdown()
