"""The LUN through both storage networks."""

testinfra_hosts = ["ansible://mail_nodes"]


def test_each_lun_has_a_path_through_each_network(host):
    assert host.mount_point("/srv/mail").device == "/dev/mapper/mail"
    paths = host.check_output("multipathd show paths raw format '%m %t %o'").split("\n")
    assert sorted(paths) == ["mail active running"] * 2 + ["sbd active running"] * 2
    portals = host.check_output("cat /sys/class/iscsi_connection/connection*/persistent_address").split()
    assert sorted(portals) == sorted(host.ansible.get_variables()["mail_san"]["portals"])
