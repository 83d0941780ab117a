"""A small site's users as entries of LDAP."""

import base64

import pytest

from module_utils import ldap_users
from module_utils.mail_route import parse_backends

BACKENDS = parse_backends(
    {
        "be1": {"host": "be1.example.org", "address": "192.0.2.31", "shards": "0-146"},
        "be2": {"host": "be2.example.org", "address": "192.0.2.32", "shards": "147-255"},
    }
)
BASE = "ou=users,dc=example,dc=org"
HASH = "{SHA512-CRYPT}$6$salt$hash"


def read(text):
    """The values of an entry."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(":: ")
        found.setdefault(key, []).append(base64.b64decode(value).decode())
    return found


# Dovecot sends u1@example.org to shard 0x92, 146, and u2@example.org to 0xFA.
@pytest.mark.parametrize(("name", "backend"), [("u1@example.org", "be1"), ("U2@Example.org", "be2")])
def test_an_entry_names_the_backend_of_the_shard(name, backend):
    found = read(ldap_users.entry({"name": name, "password": HASH, "quota": "2G"}, BASE, BACKENDS))
    assert found == {
        "dn": [f"mail={name.lower()},{BASE}"],
        "objectClass": ["inetOrgPerson", "inetLocalMailRecipient", "mailQuotaUser"],
        **{key: [name.lower()] for key in ("cn", "sn", "mail")},
        "mailHost": [backend],
        "mailQuota": ["2G"],
        "userPassword": ["{CRYPT}$6$salt$hash"],
    }


def test_what_is_not_given_is_not_in_the_entry():
    found = read(ldap_users.entry({"name": "u1@example.org", "password": HASH, "quota": None}, BASE, {}))
    assert not {"mailHost", "mailQuota"} & found.keys()


def test_a_plus_in_a_name_stays_one_value():
    assert read(ldap_users.entry({"name": "a+b@example.org", "password": HASH}, BASE, {}))["dn"] == [
        f"mail=a\\+b@example.org,{BASE}"
    ]


@pytest.mark.parametrize(
    ("given", "stored"),
    [("{ARGON2ID}$argon2id$v=19$x", "{ARGON2}$argon2id$v=19$x"), ("{blf-crypt}$2y$x", "{CRYPT}$2y$x")],
)
def test_hashes_are_named_as_slapd_names_them(given, stored):
    assert ldap_users.stored("ann", given) == stored


@pytest.mark.parametrize("given", ["", "secret", "{SCRAM-SHA-256}4096,secret"])
def test_what_slapd_cannot_check_is_refused_and_not_shown(given):
    with pytest.raises(ldap_users.UserError, match=r"user ann: .*slapd can check") as told:
        ldap_users.stored("ann", given)
    assert "secret" not in str(told.value)


def test_many_users_are_asked_for_in_parts():
    names = [f"u{number}@example.org" for number in range(ldap_users.AT_A_TIME + 1)]
    parts = ldap_users.search_filters(names)
    assert [part.count("(mail=") for part in parts] == [ldap_users.AT_A_TIME, 1]
    assert ldap_users.search_filters([]) == []


def test_what_ldapsearch_prints_is_read():
    assert ldap_users.found_users("dn: mail=A@x.org,ou=users\nmail: A@x.org\n\ndn: mail=b\nmail: b@x.org\n") == {
        "a@x.org",
        "b@x.org",
    }
