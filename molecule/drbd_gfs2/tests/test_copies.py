"""Both nodes' copies of the disk."""

from tests.proofs import drbd
from tests.proofs.lab import Lab

testinfra_hosts = ["ansible://mail_nodes"]


def test_both_copies_are_good_and_both_nodes_primary(host):
    state = drbd.state(Lab(host.ansible.get_variables()["lab_name"]), host.backend.host, "mail")
    assert state.healthy
    assert (state.role, state.peer_role) == ("Primary", "Primary")
    assert host.mount_point("/srv/mail").device == "/dev/drbd0"
