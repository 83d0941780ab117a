import threading
import time

MIB = 1024


def test_a_volume_is_made_and_kept(cell):
    wanted = {"name": "mail.bob", **cell.server(0), "quota": "10M"}
    checked = cell.keep("--check", "--diff", volume=wanted)
    assert "+quota: 10240 KiB" in checked and "changed=1" in checked
    assert not cell.has("mail.bob")
    assert "changed=1" in cell.keep(volume=wanted)
    assert "changed=0" in cell.keep(volume=wanted)
    shown = cell.keep("--diff", volume={**wanted, "quota": "20M"})
    assert "-quota: 10240 KiB" in shown and "+quota: 20480 KiB" in shown
    assert cell.field("mail.bob", "maxquota") == str(20 * MIB)


def test_a_volume_moves_while_it_is_written(cell, told):
    """What was written and could be read is there afterwards."""
    file = cell.fill("mail.ann", "0" * 20)
    seen, refused, stop = 0, [], threading.Event()

    def write():
        nonlocal seen
        number = 0
        while not stop.is_set():
            number += 1
            cell.write(file, f"{number:020}")
            if cell.read(file) == f"{number:020}":
                seen = number
            else:
                refused.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(2)
        start, before = time.monotonic(), seen
        moved = cell.keep(volume={"name": "mail.ann", **cell.server(2)})
        seconds = time.monotonic() - start
        time.sleep(2)
    finally:
        stop.set()
        writer.join()
    assert "changed=1" in moved
    assert cell.field("mail.ann", "serv") == cell.address(2)
    assert 0 < before < seen
    assert int(cell.read(file)) >= seen
    told(moved_s=round(seconds, 1), written=seen, refused_meanwhile=len(refused))
    assert "changed=0" in cell.keep(volume={"name": "mail.ann", **cell.server(2)})


def test_copies_and_clones_keep_what_was(cell):
    file = cell.fill("mail.cat", "first")
    wanted = {"name": "mail.cat", **cell.server(0), "backup": True, "copies": [cell.server(0), cell.server(2)]}
    assert "changed=1" in cell.keep(volume=wanted)
    assert "changed=0" in cell.keep(volume=wanted)
    copy = f"{cell.field('mail.cat', 'cloneID')}.2.1"

    def clone_has(content):
        return cell.hosts[1].run(f"vos dump mail.cat.backup -localauth | grep -aq {content}").rc == 0

    time.sleep(1)  # times of volumes are in seconds
    cell.write(file, "other")
    assert (cell.read(file), cell.read(copy)) == ("other", "first")
    assert clone_has("first") and not clone_has("other")
    shown = cell.keep("--check", "--diff", volume=wanted)
    assert "not up to date" in shown and "-backup clone: older" in shown
    assert cell.read(copy) == "first"
    assert "changed=1" in cell.keep(volume=wanted)
    assert cell.read(copy) == "other"
    assert clone_has("other")
    fewer = {**wanted, "copies": [cell.server(0)]}
    assert "changed=1" in cell.keep(volume=fewer)
    assert cell.hosts[1].check_output("vos listvldb mail.cat -localauth").count("RO Site") == 1
    assert "mail.cat" not in cell.hosts[1].check_output(f"vos listvol {cell.names[2]}.lab.test -localauth")


def test_each_server_clones_its_own_volumes_at_night(cell):
    files = {cell.fill(f"night.{number}", "evening", number): number for number in (0, 1)}
    cell.fill("day.0", "evening")
    for number, host in enumerate(cell.hosts[:2]):
        assert "afs-clones.service" in host.check_output("systemctl list-timers afs-clones.timer")
        host.check_output("systemctl start afs-clones.service")
        shown = host.check_output(f"vos listvol {cell.names[number]}.lab.test -localauth")
        assert f"night.{number}.backup" in shown and "day.0.backup" not in shown, shown
    for file, number in files.items():
        cell.write(file, "morning")
        dumped = f"vos dump night.{number}.backup -localauth | grep -aq "
        assert cell.hosts[0].run(dumped + "evening").rc == 0 and cell.hosts[0].run(dumped + "morning").rc == 1


def test_a_dump_brings_a_volume_back(cell):
    cell.fill("mail.dan", "letters")
    cell.keep(dump={"name": "mail.dan", "path": "/root/saved.dump"})
    saved = cell.hosts[0].file("/root/saved.dump")
    assert (saved.user, saved.mode) == ("root", 0o600)
    wanted = {"name": "mail.dan.again", **cell.server(1), "dump": "/root/saved.dump"}
    assert "changed=1" in cell.keep(volume=wanted)
    assert "changed=0" in cell.keep(volume=wanted)
    assert cell.read(f"{cell.field('mail.dan.again', 'id')}.2.1") == "letters"
    cell.hosts[0].check_output("head -c 2000 /root/saved.dump > /root/short.dump")
    for path, problem in (("/root/short.dump", "is cut off"), ("/etc/hostname", "is no dump of a volume")):
        done = cell.play(volume={**wanted, "name": "mail.never", "dump": path})
        assert f"dump {path} {problem}" in done.stdout
    assert not cell.has("mail.never")


def test_bad_input_is_refused_and_changes_nothing(cell):
    cell.fill("mail.eve", "0" * 5000)
    here = {"name": "mail.eve", **cell.server(0)}
    before = cell.hosts[1].check_output("vos listvldb -noresolve -localauth")
    long = "mail." + "x" * 18
    for wanted, said in (
        ({**here, "quota": "5"}, "a quota of 5 KiB is below the"),
        ({**here, "quota": "3T"}, "quota 3T: wanted KiB"),
        ({**here, "name": long}, f"volume {long}: the name has 23 characters, allowed are 22"),
        ({**here, "name": "a.backup"}, "names in .backup are those of copies"),
        ({**here, "partition": "z"}, "has no partition /vicepz, but /vicepa, /vicepb"),
        ({**here, "server": "nowhere.lab.test"}, "server nowhere.lab.test:"),
        ({**here, "server": "127.0.0.1"}, "is no file server of this cell; known are"),
        ({**here, "copies": [cell.server(1), {**cell.server(1), "partition": "b"}]}, "two read-only copies on"),
    ):
        done = cell.play(volume=wanted)
        assert done.returncode != 0
        assert said in done.stdout, done.stdout
    cell.hosts[0].check_output("vos lock mail.eve -localauth")
    locked = cell.play(volume={**here, "quota": "1G"})
    cell.hosts[0].check_output("vos unlock mail.eve -localauth")
    assert "volume mail.eve: something else works with it" in locked.stdout
    assert cell.hosts[1].check_output("vos listvldb -noresolve -localauth") == before
