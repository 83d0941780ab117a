"""What is wrong is said before anything changes, on hosts of both releases."""

import pytest

GOOD = "ldaps://back12.lab.test"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"uris": ["ldaps://back12.lab.test:637"]}, "cannot be reached (Connection refused)"),
        ({"uris": [GOOD], "bind_password": "not-that-one"}, "does not let cn=mail,ou=services,dc=example,dc=org in"),
        ({"uris": [GOOD], "bind_password": "two words"}, "directory_ldap_password has a space or one of"),
        ({"uris": [GOOD], "base": "ou=people,dc=example,dc=org"}, "ou=people,dc=example,dc=org does not exist, or"),
        ({"uris": [GOOD], "base": "dc=example,dc=org"}, "dc=example,dc=org does not exist, or"),
        ({"uris": ["ldaps://back12"]}, "certificate does not cover the name back12"),
        ({"uris": ["ldap://back12.lab.test"]}, "wanted ldaps://"),
        ({"uris": []}, "there are no servers"),
    ],
)
def test_bad_input_is_refused(play, variables, said):
    done = play("molecule/ldap/backends.yml", **variables)
    assert done.returncode != 0
    for name in ("back12", "back13"):
        assert f"fatal: [{name}]" in done.stdout
    assert done.stdout.count(said) >= 2, done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout


def test_a_server_of_another_ca_is_refused(play):
    done = play("molecule/ldap/backends.yml", directory_ldap_ca="/etc/ssl/certs/ssl-cert-snakeoil.pem", uris=[GOOD])
    assert done.returncode != 0
    assert done.stdout.count("its certificate is not to be trusted") >= 2, done.stdout


def test_one_server_that_is_down_is_a_warning(play):
    done = play("molecule/ldap/backends.yml", "--check", uris=[GOOD, "ldaps://back13.lab.test:637"])
    assert done.returncode == 0, done.stdout
    assert "back13.lab.test:637: cannot be reached" in " ".join(done.stdout.split())  # warnings are wrapped
