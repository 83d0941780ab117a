import base64
import time

import pytest

BASE = "dc=example,dc=org"
USERS = f"ou=users,{BASE}"
MAIL = (f"cn=mail,ou=services,{BASE}", "password-of-mail-hosts")
ADMIN = (f"cn=admin,ou=services,{BASE}", "password-of-the-admin")
NOBODY = ("", "")
CA = "/etc/ssl/dovecluster/ca.pem"
INSUFFICIENT, INVALID, UNWILLING, NO_SUCH_OBJECT = 50, 49, 53, 32
UNREACHABLE = 99  # 255 of the tools, which ssh has for itself


def entry(user):
    return (
        f"dn: mail={user},{USERS}\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\n"
        f"objectClass: mailQuotaUser\ncn: {user}\nsn: x\nmail: {user}\nmailHost: be1\nmailQuota: 1G\n"
        "telephoneNumber: 12345\nuserPassword: secret-of-a-user\n"
    )


class Server:
    """A server as its clients see it."""

    def __init__(self, host):
        self.host = host
        self.name = host.backend.get_hostname()

    def run(self, tool, account, *arguments, text="", uri=None, ca=CA):
        """What a tool of LDAP says; an account of None is root's."""
        who = ["-Q", "-Y", "EXTERNAL"] if account is None else ["-x", "-D", account[0], "-w", account[1]]
        uri = uri or ("ldapi:///" if account is None else f"ldaps://{self.name}.lab.test")
        words = ["env", f"LDAPTLS_CACERT={ca}", tool, "-o", "nettimeout=5", "-H", uri, *who, *arguments]
        command = "%s " * len(words) + f"|| exit $(($? == 255 ? {UNREACHABLE} : $?))"
        if text:
            return self.host.run("printf %s %s | " + command, "%s", text, *words)
        return self.host.run(command, *words)

    def search(self, account, base, *attributes, scope="sub", **options):
        return self.run(
            "ldapsearch", account, "-LLL", "-o", "ldif-wrap=no", "-s", scope, "-b", base, *attributes, **options
        )

    def add(self, account, text):
        return self.run("ldapadd", account, text=text).rc

    def modify(self, account, dn, change):
        return self.run("ldapmodify", account, text=f"dn: {dn}\nchangetype: modify\n{change}\n").rc

    def delete(self, account, dn):
        return self.run("ldapdelete", account, dn).rc

    def has(self, user):
        return self.search(None, f"mail={user},{USERS}", scope="base").rc == 0

    def state(self):
        """How far each server's changes have come here."""
        return sorted(self.search(None, BASE, "contextCSN", scope="base").stdout.split("\n"))


def until(condition, seconds=30):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, f"not within {seconds} s"
        time.sleep(0.2)


@pytest.fixture
def server(host):
    return Server(host)


@pytest.fixture
def peer(server, another):
    return Server(another(server.name[:-1] + {"a": "b", "b": "a"}[server.name[-1]]))


@pytest.fixture
def user(server):
    """A user, for a test alone."""
    name = f"u{time.time_ns()}@example.org"
    assert server.add(ADMIN, entry(name)) == 0
    yield name
    server.delete(ADMIN, f"mail={name},{USERS}")


def test_a_write_on_either_is_read_on_the_other(server, peer, user):
    until(lambda: peer.has(user))
    assert peer.modify(ADMIN, f"mail={user},{USERS}", "replace: mailHost\nmailHost: be2") == 0
    until(lambda: "mailHost: be2" in server.search(MAIL, f"mail={user},{USERS}").stdout)
    assert peer.delete(ADMIN, f"mail={user},{USERS}") == 0
    until(lambda: not server.has(user))


def test_a_server_that_was_away_catches_up_and_is_heard(server, peer):
    """Adds and removes meanwhile on the one, and, before it sees them, an add on the other."""
    names = [f"away{number}-{time.time_ns()}@example.org" for number in range(3)]
    assert server.add(ADMIN, entry(names[0])) == 0
    until(lambda: peer.has(names[0]))
    server.host.check_output("systemctl stop slapd")
    try:
        assert peer.add(ADMIN, entry(names[1])) == 0
        assert peer.delete(ADMIN, f"mail={names[0]},{USERS}") == 0
        assert server.search(MAIL, USERS).rc == UNREACHABLE
    finally:
        server.host.check_output("systemctl start slapd")
    assert server.add(ADMIN, entry(names[2])) == 0
    for one in (server, peer):
        until(lambda one=one: one.has(names[1]) and one.has(names[2]) and not one.has(names[0]))
    until(lambda: server.state() == peer.state())
    for name in names[1:]:
        assert server.delete(ADMIN, f"mail={name},{USERS}") == 0


def test_anonymous_reads_nothing(server, user):
    for base, scope in (("", "base"), ("cn=Subschema", "base"), (BASE, "sub"), (f"mail={user},{USERS}", "base")):
        found = server.search(NOBODY, base, "*", "+", scope=scope)
        assert (found.rc, found.stdout) == (UNWILLING, ""), base


def test_mail_hosts_read_routes_and_no_passwords(server, user):
    found = server.search(MAIL, USERS, f"(mail={user})").stdout
    assert f"mail: {user}" in found
    assert "mailHost: be1" in found
    assert "mailQuota: 1G" in found
    for hidden in ("userPassword", "telephoneNumber", "cn:", "sn:"):
        assert hidden not in found
    # Nor can it be guessed by a search.
    assert server.search(MAIL, USERS, "(telephoneNumber=12345)").stdout == ""
    assert server.search(MAIL, USERS, "(userPassword=*)").stdout == ""


def test_mail_hosts_read_nothing_else_and_write_nothing(server, user):
    for base in (BASE, f"ou=services,{BASE}", "cn=config"):
        assert server.search(MAIL, base).rc == NO_SUCH_OBJECT
    assert server.add(MAIL, entry("x@example.org")) == INSUFFICIENT
    assert server.modify(MAIL, f"mail={user},{USERS}", "replace: mailHost\nmailHost: be2") == INSUFFICIENT
    assert server.modify(MAIL, ADMIN[0], "replace: userPassword\nuserPassword: x") == INSUFFICIENT
    assert server.delete(MAIL, f"mail={user},{USERS}") == INSUFFICIENT


def test_the_admin_writes_users_alone_and_reads_no_password(server, user):
    found = server.search(ADMIN, USERS, f"(mail={user})").stdout
    assert "telephoneNumber: 12345" in found
    assert "userPassword" not in found
    assert server.modify(ADMIN, f"mail={user},{USERS}", "replace: userPassword\nuserPassword: another") == 0
    for dn in (MAIL[0], ADMIN[0], BASE, "cn=config", "olcDatabase={1}mdb,cn=config"):
        assert server.modify(ADMIN, dn, "replace: description\ndescription: x") in (INSUFFICIENT, NO_SUCH_OBJECT)
    assert server.delete(ADMIN, USERS) != 0
    assert server.add(ADMIN, f"dn: cn=x,ou=services,{BASE}\nobjectClass: person\ncn: x\nsn: x\n") in (
        INSUFFICIENT,
        NO_SUCH_OBJECT,
    )


def test_a_user_logs_in_and_sees_nothing(server, user):
    dn = f"mail={user},{USERS}"
    assert server.run("ldapwhoami", (dn, "secret-of-a-user")).rc == 0
    assert server.run("ldapwhoami", (dn, "wrong")).rc == INVALID
    found = server.search((dn, "secret-of-a-user"), USERS)
    assert (found.rc, found.stdout) == (NO_SUCH_OBJECT, "")


def test_root_alone_has_the_configuration(server):
    assert "olcSuffix" in server.search(None, "cn=config").stdout
    nobody = "runuser -u nobody -- ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -b cn=config"
    assert server.host.run(nobody).rc == NO_SUCH_OBJECT
    for path in ("/etc/ldap/slapd.d", "/var/lib/ldap"):
        assert (server.host.file(path).user, server.host.file(path).mode) == ("openldap", 0o700)


def test_only_a_server_s_certificate_reads_all(server, peer, another, user):
    """A host of the other pair has a certificate of the same CA."""

    def asks(host):
        words = (
            "env LDAPTLS_CACERT=%s LDAPTLS_CERT=/etc/ssl/dovecluster/host.pem LDAPTLS_KEY=/etc/ssl/dovecluster/host.key"
        )
        command = words + " ldapsearch -Q -Y EXTERNAL -H ldaps://%s.lab.test -LLL -b %s userPassword"
        return host.run(command, CA, server.name, f"mail={user},{USERS}")

    until(lambda: peer.has(user))
    assert "userPassword" in asks(peer.host).stdout
    stranger = {"2": "deb13a", "3": "deb12a"}[server.name[4]]
    found = asks(another(stranger))
    assert (found.rc, found.stdout) == (NO_SUCH_OBJECT, "")


def test_tls_is_verified(server):
    wrong = server.search(MAIL, USERS, ca="/etc/ssl/certs/ssl-cert-snakeoil.pem")
    assert wrong.rc == UNREACHABLE
    name = server.search(MAIL, USERS, uri=f"ldaps://{server.name}")
    assert name.rc == UNREACHABLE
    # Nobody gets in by a certificate of another CA.
    mine = "LDAPTLS_CERT=/etc/ssl/certs/ssl-cert-snakeoil.pem LDAPTLS_KEY=/etc/ssl/private/ssl-cert-snakeoil.key"
    asked = f"env LDAPTLS_CACERT={CA} {mine} ldapwhoami -Q -Y EXTERNAL -H ldaps://{server.name}.lab.test"
    assert server.host.run(f"if {asked}; then exit 1; fi").rc == 0


def test_it_listens_where_it_shall(server, another):
    address = server.host.check_output("hostname -I").split()[0]
    listening = [line.split()[3] for line in server.host.check_output("ss -Hltn").splitlines()]
    assert [one for one in listening if one.endswith((":389", ":636"))] == [f"{address}:636"]
    assert server.search(MAIL, USERS, uri=f"ldap://{server.name}.lab.test").rc == UNREACHABLE


def test_no_password_is_to_be_found(server, user):
    """Neither as it is nor in what LDIF has in base64."""
    ask = "ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -o ldif-wrap=no -b %s '*' '+'"
    held = "".join(server.host.check_output(ask, base) for base in ("cn=config", "dc=example,dc=org"))
    encoded = [
        base64.b64decode(line.partition(":: ")[2]).decode(errors="replace")
        for line in held.split("\n")
        if ":: " in line
    ]
    assert any("{ARGON2}" in value for value in encoded)
    for password in (MAIL[1], ADMIN[1]):
        assert not [value for value in (held, *encoded) if password in value]
    for account in (MAIL[0], ADMIN[0]):
        assert "userPassword:: e0FSR09OMn0k" in server.search(None, account, "userPassword").stdout  # {ARGON2}$


def test_a_renewed_certificate_is_used_and_no_connection_ends(server):
    script = """
import socket, ssl, subprocess, sys, time
def connect():
    context = ssl.create_default_context(cafile="/etc/ssl/dovecluster/ca.pem")
    return context.wrap_socket(socket.create_connection((sys.argv[1], 636)), server_hostname=sys.argv[1])
folder = "/etc/ssl/dovecluster/"
first = connect()
before = open(folder + "host.pem").read(), open(folder + "host.key").read()
try:
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=new"
    make += f" -keyout {folder}host.key -out {folder}host.pem"
    subprocess.run(make.split(), check=True, capture_output=True)
    subprocess.run(["systemctl", "reload", "slapd"], check=True)
    try:
        connect()
    except ssl.SSLCertVerificationError:
        print("new")
finally:
    for name, text in zip(("host.pem", "host.key"), before):
        open(folder + name, "w").write(text)
    subprocess.run(["systemctl", "reload", "slapd"], check=True)
connect()
first.settimeout(2)
try:
    print(first.recv(1))
except TimeoutError:
    print("still there")
"""
    found = server.host.check_output("python3 -c %s %s", script, f"{server.name}.lab.test")
    assert found.split("\n") == ["new", "still there"]


def test_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security slapd --no-pager | tail -n 1")
    assert float(score.split(": ")[1].split()[0]) < 3
    assert host.check_output("ps -o user= -C slapd").strip() == "openldap"
