"""Many users at once, into the pair of each release."""

import time

import pytest

PLAY = "playbooks/ldap_load.yml"
BASE = "ou=users,dc=example,dc=org"
ASK = f"ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -b {BASE} "
COUNT = 2000


def ldif(number):
    return (
        f"dn: mail=user{number}@example.org,{BASE}\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\n"
        f"cn: x\nsn: x\nmail: user{number}@example.org\nmailHost: be1\n\n"
    )


def users(host):
    return host.check_output(ASK + "'(objectClass=inetOrgPerson)' entryUUID")


@pytest.mark.parametrize("pair", [("deb12a", "deb12b"), ("deb13a", "deb13b")], ids=["deb12", "deb13"])
def test_load(another, play, pair):
    first, second = map(another, pair)
    make = "import sys; print(''.join(sys.argv[1].replace('NUMBER', str(n)) for n in range(int(sys.argv[2]))), end='')"
    first.check_output("python3 -c %s %s %s > /root/users.ldif", make, ldif("NUMBER"), str(COUNT))
    servers = ",".join(pair)

    first.check_output("printf 'dn: mail=x,%s\nobjectClass: nonsense\n' >> /root/users.ldif", BASE)
    broken = play(PLAY, servers=servers, ldif="/root/users.ldif")
    assert broken.returncode != 0
    assert "nonsense" in broken.stdout
    assert users(first) == users(second) == ""

    first.check_output("sed -i '/^dn: mail=x,/,$d' /root/users.ldif")
    done = play(PLAY, servers=servers, ldif="/root/users.ldif")
    assert done.returncode == 0, done.stdout
    try:
        loaded = users(first)
        assert loaded.count("entryUUID: ") == COUNT
        assert users(second) == loaded
        assert second.run("ls /var/lib/ldap").stdout.split() == ["data.mdb", "lock.mdb"]

        again = play(PLAY, servers=servers, ldif="/root/users.ldif")
        assert again.returncode != 0
        assert f"{pair[0]} has users already" in again.stdout
        assert users(first) == loaded
    finally:
        names = "".join(f"mail=user{number}@example.org,{BASE}\n" for number in range(COUNT))
        second.check_output("printf %s %s | ldapdelete -Q -Y EXTERNAL -H ldapi:///", "%s", names)
    deadline = time.monotonic() + 120
    while users(first):
        assert time.monotonic() < deadline, "what was deleted on the second is still on the first"
        time.sleep(0.5)
