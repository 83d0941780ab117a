import pytest

from tests.proofs.lab import Lab


@pytest.fixture(scope="module")
def lab(host) -> Lab:
    """The lab that the host is in, with its service addresses where they stay."""
    found = Lab(host.ansible.get_variables()["lab_name"])
    found.wait_until_spread()
    return found


@pytest.fixture(scope="module")
def node(host) -> str:
    """The host's name in the inventory."""
    return host.backend.host
