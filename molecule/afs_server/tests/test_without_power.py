"""The first host of each cell loses its power: a database server, the one that takes writes, and the primary KDC.

This comes after test_afs_server.py has replaced the cell's key: servers that had not started with the new one would
give each other no votes here. And after test_volumes.py: for some minutes after it came back, now and then a server
answers without what was written a moment ago, also when `udebug` calls all of them current (docs/afs.md).
"""

import time

from shared.pods import lab, until

KEYTAB = "/etc/krb5kdc/replication.keytab"


def test_reads_and_after_an_election_writes_go_on(cells, told):
    files = {}
    for cell in cells:
        files[cell.name] = cell.fill("mail.kit", "letters", 1)
        assert "I am sync site" in cell.hosts[0].check_output(f"udebug {cell.names[0]}.lab.test 7003")
    for cell in cells:
        lab("kill", cell.names[0])
    died = time.monotonic()
    measured = {}
    try:
        for cell in cells:
            survivor = cell.hosts[1]
            start = time.monotonic()
            assert "mail.kit" in survivor.check_output("vos listvldb mail.kit -localauth")
            database = time.monotonic() - start
            survivor.check_output(f"env KRB5CCNAME=/tmp/lost kinit -k -t {KEYTAB} host/{cell.names[1]}.lab.test")
            measured[cell.name] = {"database_read_s": round(database, 1)}
            measured[cell.name]["ticket_s"] = round(time.monotonic() - start - database, 1)
        waiting = {cell.name: cell for cell in cells}

        def written():
            for cell in list(waiting.values()):
                if cell.hosts[1].run(f"vos create {cell.names[1]}.lab.test a mail.new -localauth || exit 1").rc == 0:
                    measured[cell.name]["database_write_s"] = round(time.monotonic() - died, 1)
                    del waiting[cell.name]
            return not waiting

        until(written, 300)
        for cell in cells:
            start = time.monotonic()
            assert cell.read(files[cell.name]) == "letters"
            measured[cell.name]["file_read_s"] = round(time.monotonic() - start, 1)
    finally:
        for cell in cells:
            lab("start", cell.names[0])
    told(**measured)
    for cell in cells:
        back = cell.hosts[0]

        def all_current(c=cell):
            """The one that takes writes, whichever it is now, has seen both others up with what it has.

            Until then, the one that came back answers questions from the database that it had when it went.
            """
            return any(
                "Recovery state 1f" in shown and shown.count("dbcurrent=1, up=1 beaconSince=1") == 2
                for shown in (host.run("udebug $(hostname --fqdn) 7003").stdout for host in c.hosts)
            )

        until(lambda c=cell: c.has("mail.new", 0), 120)
        until(all_current, 240)
        assert back.check_output("systemctl --failed --plain --no-legend") == ""
        cell.keep(kerberos={"names": [f"imap/after.lab.test@{cell.realm}"]})
        until(lambda c=cell: "imap/after.lab.test" in c.hosts[1].check_output("kadmin.local listprincs"), 20)
