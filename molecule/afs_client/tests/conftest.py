import pytest
from shared.afs_clients import Client


@pytest.fixture
def clients(another):
    """The clients of both releases."""
    return [Client(name, another) for name in ("deb12", "deb13")]


@pytest.fixture(params=["deb12", "deb13"])
def client(request, another):
    return Client(request.param, another)


@pytest.fixture
def server(another):
    return another("server1")
