"""What is declared comes back; what is wrong is refused before anything changes."""

import pytest

PLAY = "molecule/openldap/converge.yml"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"openldap_base": "dc=example,dc=com"}, "this server holds dc=example,dc=org"),
        ({"openldap_base": "example.org"}, "wanted such as dc=example,dc=org"),
        ({"openldap_name": "other.lab.test"}, "other.lab.test (openldap_name) is not among openldap_servers"),
        ({"openldap_listen": ["eth0"]}, "has what is no address: eth0"),
        ({"openldap_admin_password": "password-of-mail-hosts"}, "are one password, or shorter"),
        ({"openldap_mail_attributes": ["mail", "userPassword"]}, "has userPassword"),
    ],
)
def test_bad_input_is_refused(play, variables, said):
    done = play(PLAY, **variables)
    assert done.returncode != 0
    assert done.stdout.count(said) >= 4, done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout


@pytest.mark.parametrize("name", ["deb12b", "deb13a"])
def test_drift_is_shown_and_undone(another, play, name):
    host = another(name)
    change = (
        "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nreplace: olcAccess\nolcAccess: {0}to * by * read\n-\n"
        "replace: olcDbIndex\nolcDbIndex: objectClass eq\n"
    )
    host.check_output("printf %s %s | ldapmodify -Q -Y EXTERNAL -H ldapi:///", "%s", change)
    checked = play(PLAY, "--check", "--diff", f"--limit={name}")
    assert "to * by * read" in checked.stdout
    assert "changed=1 " in checked.stdout, checked.stdout
    asked = "ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -s base -b 'olcDatabase={1}mdb,cn=config' olcAccess"
    assert "to * by * read" in host.check_output(asked)
    assert "changed=1 " in play(PLAY, f"--limit={name}").stdout
    assert "to * by * read" not in host.check_output(asked)
    assert "changed=0 " in play(PLAY, f"--limit={name}").stdout


def test_a_new_password_of_an_account_reaches_both(another, play):
    try:
        done = play(PLAY, openldap_mail_password="another-password")
        assert done.returncode == 0, done.stdout
        assert "another-password" not in done.stdout
        ask = (
            "env LDAPTLS_CACERT=/etc/ssl/dovecluster/ca.pem ldapwhoami -x -H ldaps://$(hostname).lab.test"
            " -D cn=mail,ou=services,dc=example,dc=org -w "
        )
        for name in ("deb12a", "deb12b", "deb13a", "deb13b"):
            assert another(name).run(ask + "another-password").rc == 0
            assert another(name).run(ask + "password-of-mail-hosts").rc == 49
    finally:
        play(PLAY)
