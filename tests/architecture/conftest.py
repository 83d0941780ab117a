import pytest

from tests.proofs.lab import Lab


@pytest.fixture(scope="module")
def lab(host) -> Lab:
    """The lab that the host is in."""
    return Lab(host.ansible.get_variables()["lab_name"])


@pytest.fixture(scope="module")
def node(host) -> str:
    """The host's name in the inventory."""
    return host.backend.host
