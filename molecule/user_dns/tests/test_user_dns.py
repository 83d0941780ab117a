import re

import pytest

from module_utils.mail_route import parse_shards, shard_of
from module_utils.user_names import OUTLOOK_REQUEST, label_of

testinfra_hosts = ["ansible://primaries"]
ADDRESSES = {"0-127": "192.0.2.31", "128-254": "192.0.2.32", "255": "2001:db8::33"}
USERS = {
    "ann@example.org": "ann.imap.example.org",
    "ann.smith+lists@example.org": "ann-smith-x2blists.imap.example.org",
    "jean-luc.picard@example.org": "jean-x2dluc-picard.imap.example.org",
    "_x@example.org": "x--x5fx.imap.example.org",
    "ann@example.net": "ann.imap.example.net",
}
NAME = "ann-smith-x2blists.imap.example.org"
USER = "Ann.Smith+Lists@example.org"
ZONES = "/etc/knot/zones.conf"
CA = "/etc/ssl/dovecluster/ca.pem"


def address_of(user):
    return next(address for shards, address in ADDRESSES.items() if shard_of(user) in parse_shards(shards))


@pytest.fixture
def name(host):
    return host.backend.get_hostname()


@pytest.fixture
def secondary(name, another):
    return another(name.replace("a", "b"))


@pytest.fixture
def servers(host, secondary):
    """Addresses of both."""
    return [each.ansible.get_variables()["mail_client_address"] for each in (host, secondary)]


@pytest.fixture
def look_up(host):
    """Return a function that asks a server as a client does, and returns the addresses that it says."""

    def ask(server, name):
        answers = host.check_output(f"dig +short @{server} {name} A; dig +short @{server} {name} AAAA").split()
        return {answer for answer in answers if not answer.endswith(".")}

    return ask


@pytest.fixture
def serial(host, servers):
    return lambda: host.check_output(f"dig +short @{servers[0]} imap.example.org SOA").split()[2]


@pytest.fixture
def move(play, name):
    """Return a function that moves a user; the user is where the shard says before and after."""

    def run(*arguments, **variables):
        done = play("molecule/user_dns/move.yml", *arguments, primary=name, user=USER, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    yield run
    run()


@pytest.fixture
def transfer_key(host):
    secret = host.check_output(
        'awk \'$3 == "transfer" {found = 1} found && $1 == "secret:" {print $2; exit}\' %s', ZONES
    )
    host.check_output("umask 077; echo hmac-sha256:transfer:%s > /tmp/transfer.key", secret)
    yield "/tmp/transfer.key"
    host.check_output("rm /tmp/transfer.key")


def moved_to():
    """An address where the user is not by the shard."""
    return ("be1", "192.0.2.31") if address_of(USER) != "192.0.2.31" else ("be2", "192.0.2.32")


@pytest.mark.parametrize(("user", "personal"), USERS.items())
def test_both_servers_lead_each_user_to_the_backend(look_up, servers, user, personal):
    for server in servers:
        assert look_up(server, personal) == {address_of(user)}
        assert look_up(server, personal.upper()) == {address_of(user)}


def test_answers_are_authoritative_and_soon_forgotten(host, servers):
    for server in servers:
        answer = host.check_output(f"dig +noall +comments +answer @{server} {NAME} CNAME")
        assert re.search("flags:[^;]* aa", answer)
        assert re.search(rf"^{NAME}\.\s+60\s", answer, re.MULTILINE)


def test_nobody_else_has_a_name(host, servers):
    for server in servers:
        assert "NXDOMAIN" in host.check_output(f"dig +noall +comments @{server} nobody.imap.example.org A")
        assert "REFUSED" in host.check_output(f"dig +noall +comments @{server} www.example.com A")


def test_services_with_one_name_for_all(host, servers):
    for server in servers:
        found = host.check_output(f"dig +short @{server} _submissions._tcp.imap.example.org SRV")
        assert found == "0 1 465 mail.example.org."


def test_what_the_domains_own_zone_needs_is_a_zone(host):
    head = "example.org. 3600 IN SOA a. b. 1 1 1 1 1\nexample.org. 3600 IN NS ns1.example.net.\n"
    host.check_output(f"printf '{head}' | cat - /var/lib/user-dns/example.org.parent > /tmp/example.org.zone")
    host.check_output("named-checkzone -i none example.org /tmp/example.org.zone")
    text = host.file("/tmp/example.org.zone").content_string
    assert "imap.example.org. 3600 IN NS ns2.example.org." in text
    assert "_submissions._tcp.example.org. 3600 IN CNAME _submissions._tcp.imap.example.org." in text


def test_a_move_is_seen_on_both_servers_within_a_second(move, look_up, servers):
    backend, address = moved_to()
    assert {*look_up(servers[0], NAME), *look_up(servers[1], NAME)} == {address_of(USER)}
    said = re.search(r"seconds=([0-9.]+) behind=\[\]", move(backend=backend))
    assert 0 < float(said[1]) < 1
    for server in servers:
        assert look_up(server, NAME) == {address}


def test_a_move_sends_one_record_and_no_zone(host, secondary, move):
    since = host.check_output("date +%s")
    move(backend=moved_to()[0])
    log = secondary.check_output(f"journalctl -u knot -o cat --since=@{since}")
    assert "IXFR, incoming" in log
    assert "AXFR" not in log
    size = int(re.search(r"IXFR, incoming,.*finished,.* (\d+) bytes", log)[1])
    assert size < 1000


def test_a_checked_move_shows_the_record_and_changes_nothing(move, look_up, serial, servers):
    before = serial()
    said = move("--check", "--diff", backend=moved_to()[0])
    assert re.search(rf"^-{NAME}\. 60 CNAME [0-9a-f][0-9a-f]\.x--shard", said, re.MULTILINE)
    assert re.search(rf"^\+{NAME}\. 60 CNAME {moved_to()[0]}\.x--backend", said, re.MULTILINE)
    assert serial() == before
    assert look_up(servers[0], NAME) == {address_of(USER)}


def test_a_move_that_is_made_already_changes_nothing(move, serial):
    move(backend=moved_to()[0])
    before = serial()
    assert "changed=0" in move(backend=moved_to()[0])
    assert serial() == before


def test_a_restart_keeps_moved_users(host, secondary, move, look_up, servers):
    """The secondary answers even if the primary is away when it starts."""
    backend, address = moved_to()
    move(backend=backend)
    host.check_output("systemctl restart knot")
    assert look_up(servers[0], NAME) == {address}
    host.check_output("systemctl stop knot")
    try:
        secondary.check_output("systemctl restart knot")
        assert look_up(servers[1], NAME) == {address}
        assert look_up(servers[1], "ann.imap.example.org") == {address_of("ann@example.org")}
    finally:
        host.check_output("systemctl start knot")


def update(host, server, key, change):
    script = f"server {server}\nzone imap.example.org.\n{change}\nsend\n"
    return host.run(f"printf %s | knsupdate {key}", script)


def test_updates_need_the_key_and_the_zone(host, servers, serial, transfer_key):
    before = serial()
    key = "-k /etc/dovecluster/user_dns.key"
    alias = f"add new.imap.example.org. 60 CNAME {NAME}."
    refused = re.compile("status: (NOTAUTH|BADKEY)")  # Debian 13's and Debian 12's words
    assert refused.search(update(host, servers[0], "", alias).stdout)
    assert refused.search(update(host, servers[0], f"-k {transfer_key}", alias).stdout)
    assert refused.search(update(host, servers[0], key, "add new.imap.example.org. 60 TXT x").stdout)
    assert "status: NOTZONE" in update(host, servers[0], key, "add www.example.org. 60 A 192.0.2.1").stdout
    assert update(host, servers[1], key, alias).rc != 0
    assert serial() == before
    assert update(host, servers[0], key, alias).rc == 0, "the key itself is good"
    assert update(host, servers[0], key, "del new.imap.example.org. CNAME").rc == 0


def test_transfers_need_the_key(host, servers, transfer_key):
    for server in servers:
        refused = host.check_output(f"dig +noall +comments +answer @{server} imap.example.org AXFR; true")
        assert NAME not in refused
        assert "failed" in refused
        assert NAME in host.check_output(f"kdig -k {transfer_key} @{server} imap.example.org AXFR")


def test_secrets_are_where_they_are_needed(host, secondary):
    key = host.file("/etc/dovecluster/user_dns.key")
    assert (key.user, key.mode) == ("root", 0o600)
    secret = key.content_string.strip().rpartition(":")[2]
    for each in (host, secondary):
        zones = each.file(ZONES)
        assert (zones.user, zones.group, zones.mode) == ("root", "knot", 0o640)
        assert secret not in each.check_output("journalctl -o cat")
    assert secret not in secondary.check_output("cat " + ZONES)
    assert host.file("/var/lib/user-dns").mode == 0o700


def test_it_listens_nowhere_else(host, servers):
    for line in host.check_output("ss -Hlntup 'sport = 53'").splitlines():
        assert line.split()[4] == f"{servers[0]}:53"


def curl(host, name, path, *arguments, server="127.0.0.1"):
    command = f"curl --silent --cacert {CA} --resolve {name}:443:{server} --write-out '\\n%%{{http_code}}'"
    done = host.run(f"{command} " + "%s " * (len(arguments) + 1), f"https://{name}{path}", *arguments)
    return done.rc, *done.stdout.rpartition("\n")[::2]


@pytest.mark.parametrize("path", ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"])
def test_thunderbird_is_told_the_personal_name(host, path):
    rc, text, status = curl(host, "autoconfig.example.org", f"{path}?emailaddress=Ann.Smith%2BLists%40example.org")
    assert (rc, status) == (0, "200")
    assert f"<hostname>{NAME}</hostname>" in text
    assert "<hostname>mail.example.org</hostname>" in text


def test_outlook_is_told_the_personal_name(host):
    body = (
        f'<Autodiscover xmlns="{OUTLOOK_REQUEST}"><Request><EMailAddress>{USER}</EMailAddress></Request></Autodiscover>'
    )
    rc, text, status = curl(host, "autodiscover.example.org", "/Autodiscover/Autodiscover.xml", "--data", body)
    assert (rc, status) == (0, "200")
    assert f"<Server>{NAME}</Server>" in text


def test_other_questions_get_no_answer(host):
    for path in ("/", "/mail/config-v1.1.xml", "/mail/config-v1.1.xml?emailaddress=ann@example.com"):
        assert curl(host, "autoconfig.example.org", path)[::2] == (0, "404")
    assert curl(host, "autodiscover.example.org", "/autodiscover/autodiscover.xml", "--data", "x")[::2] == (0, "400")


def test_silent_clients_hold_up_nobody(host):
    script = (
        "import socket, subprocess, sys\n"
        "silent = [socket.create_connection(('127.0.0.1', 443)) for _ in range(50)]\n"
        "sys.exit(subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode)\n"
    )
    url = "https://autoconfig.example.org/"
    resolve = ["--cacert", CA, "--resolve", "autoconfig.example.org:443:127.0.0.1"]
    command = ["curl", "--silent", "--max-time", "5", *resolve, url]
    host.check_output("python3 -c %s " + "%s " * len(command), script, *command)


def test_one_wildcard_covers_all_personal_names(host):
    for name in (*(name for name in USERS.values() if name.endswith(".org")), f"{label_of('a' * 64)}.imap.example.org"):
        assert curl(host, name, "/")[::2] == (0, "404")
    assert curl(host, "ann.smith.imap.example.org", "/")[0] == 60  # curl: the certificate has another name


def test_a_new_certificate_is_read_at_a_reload(host):
    process = host.check_output("systemctl show --property=MainPID --value user-dns-answers")
    host.check_output("systemctl reload user-dns-answers")
    assert curl(host, "autoconfig.example.org", "/")[::2] == (0, "404")
    assert host.check_output("systemctl show --property=MainPID --value user-dns-answers") == process


def test_answers_run_with_no_more_than_they_need(host):
    process = host.check_output("systemctl show --property=MainPID --value user-dns-answers")
    status = host.check_output(f"cat /proc/{process}/status")
    assert re.search(r"^CapEff:\s+0000000000000400$", status, re.MULTILINE)  # ports below 1024, and nothing else
    assert not re.search(r"^Uid:\s+0\s", status, re.MULTILINE)
