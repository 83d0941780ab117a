import time

from shared.pods import until

PLAY = "molecule/afs_server/realms.yml"
KEYTAB = "/etc/krb5kdc/replication.keytab"


def principals(host, realm):
    return host.check_output("kadmin.local listprincs").split()


def test_both_kdcs_issue_strong_tickets(cell):
    for host, name in zip(cell.hosts[:2], cell.names, strict=False):
        ticket = host.check_output(
            f"printf '[realms]\n{cell.realm} = {{\nkdc = {name}.lab.test\n}}\n' > /tmp/one.conf;"
            f" export KRB5_CONFIG=/tmp/one.conf:/etc/krb5.conf KRB5CCNAME=/tmp/one.cache;"
            f" kinit -k -t {KEYTAB} host/{name}.lab.test && klist -e; kdestroy"
        )
        assert "Etype (skey, tkt): aes256-cts-hmac-sha384-192, aes256-cts-hmac-sha384-192" in ticket


def test_it_listens_where_it_is_needed(cell):
    for number, host in enumerate(cell.hosts):
        sockets = host.check_output("ss -Hlntup").splitlines()
        address = cell.address(number)
        kdc = {line.split()[4] for line in sockets if "krb5kdc" in line}
        assert kdc == ({f"{address}:88", "127.0.0.1:88"} if number < 2 else set())
        assert any("kpropd" in line for line in sockets) == (number == 1)
        assert not any("kadmind" in line for line in sockets)
        for service in ("krb5-admin-server", "openafs-client"):
            assert host.run(f"systemctl is-enabled {service}").stdout.strip() in ("disabled", "not-found", "")


def test_a_principal_reaches_the_replica_at_once_and_comes_and_goes(cell, told):
    name = f"imap/a.lab.test@{cell.realm}"
    checked = cell.keep("--check", "--diff", kerberos={"names": [name]})
    assert f"+{name}" in checked and "changed=1" in checked
    assert name not in principals(cell.hosts[0], cell.realm)
    start = time.monotonic()
    assert "changed=1" in cell.keep(kerberos={"names": [name]})
    until(lambda: name in principals(cell.hosts[1], cell.realm), 20)
    told(principal_on_replica_s=round(time.monotonic() - start, 1))
    assert "changed=0" in cell.keep(kerberos={"names": [name]})
    older = cell.keep("--diff", kerberos={"names": [name], "enctypes": ["aes256-cts-hmac-sha1-96"]})
    assert "+  version 2: aes256-cts-hmac-sha1-96" in older
    assert "changed=1" in cell.keep(kerberos={"names": [name], "state": "absent"})
    assert name not in principals(cell.hosts[0], cell.realm)


def test_secrets_are_roots_alone(cell):
    for host in cell.hosts[:2]:
        password = host.check_output(
            "printf %s %s | sha256sum", "%s", host.ansible.get_variables()["lab_bmc_password"] + "kerberos"
        )[:64]
        assert host.file("/etc/krb5kdc").mode == 0o700
        for path in ("/etc/krb5kdc/stash", KEYTAB, "/var/lib/krb5kdc/principal"):
            assert (host.file(path).user, host.file(path).mode) == ("root", 0o600), path
        assert password not in host.check_output("journalctl -o cat; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_bad_input_is_refused_at_once_and_changes_nothing(cells, play):
    for cell in cells:
        cell.hosts[2].check_output(
            "printf '#!/bin/sh\necho $(($(/usr/bin/date +%%s) + 900))\n' > /usr/local/bin/date;"
            " chmod +x /usr/local/bin/date"
        )
    try:
        done = play(
            PLAY,
            kerberos_realm="other.lab",
            kerberos_listen=["eth0"],
            kerberos_master_password="short",
        )
    finally:
        for cell in cells:
            cell.hosts[2].check_output("rm /usr/local/bin/date")
    assert done.returncode != 0
    for said in (
        "kerberos_realm is other.lab, wanted upper case",
        "s ahead of deb1",
        "kerberos_listen has what is no address: eth0",
        "kerberos_master_password has 5 characters, wanted 20 or more",
        "the database here is not one of other.lab",
    ):
        assert said in done.stdout, (said, done.stdout)
    assert "changed=1" not in done.stdout
    assert "short" not in done.stdout


def test_a_primary_made_anew_does_not_wipe_replicas(cells, play):
    for cell in cells:
        cell.hosts[0].check_output("systemctl stop krb5-kdc; mv /var/lib/krb5kdc /root/krb5kdc; mkdir /var/lib/krb5kdc")
    try:
        done = play(PLAY)
        alone = play(PLAY, f"--limit={cells[1].names[0]}")
    finally:
        for cell in cells:
            cell.hosts[0].check_output("rm -rf /var/lib/krb5kdc; mv /root/krb5kdc /var/lib/; systemctl start krb5-kdc")
    for cell in cells:
        assert f"while {cell.names[1]}.lab.test has one, which would be lost" in done.stdout, done.stdout
    assert "is not known: run on all KDCs" in alone.stdout, alone.stdout
    assert "changed=1" not in done.stdout + alone.stdout
