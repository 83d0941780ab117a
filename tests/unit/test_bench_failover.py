"""What the benchmark reads out of a survivor's journal."""

from __future__ import annotations

from tests.bench.failover import steps, table

JOURNAL = """\
1000.100000 mail2 pacemaker-controld[4]:  notice: Result of start operation for be1_address on mail2: OK
1006.500000 mail2 corosync[3]:   [TOTEM ] A new membership (2.d) was formed. Members left: 1
1014.000000 mail2 pacemaker-controld[4]:  notice: Peer mail1 was terminated (reboot) by mail2 on behalf of x: OK
1020.000000 mail2 pacemaker-controld[4]:  notice: Result of start operation for be1_address on mail2: OK
1023.000000 mail2 pacemaker-controld[4]:  notice: Result of start operation for be2_address on mail2: OK
1029.000000 mail2 pacemaker-controld[4]:  notice: Result of start operation for be2_address on mail2: OK
"""


def test_steps_of_the_slowest_backend_after_the_cut() -> None:
    found = steps(JOURNAL, "mail1", ["be1", "be2"], 1001.0)
    assert found == {"noticed": 5.5, "fenced": 13.0, "address": 22.0}
    assert steps(JOURNAL, "mail2", ["be1"], 1001.0) == {"noticed": 5.5, "address": 19.0}


def test_table_gives_medians_and_what_each_step_took() -> None:
    rows = [{"backends": 1.0, "noticed": 6.0, "served": when} for when in (20.0, 30.0, 22.0)]
    last = table(rows).splitlines()[-2:]
    assert [line.split() for line in last] == [["median", "1.0", "6.0", "22.0"], ["took", "6.0", "16.0"]]
