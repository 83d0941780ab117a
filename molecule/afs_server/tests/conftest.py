import pytest
from shared.cells import Cell


@pytest.fixture(params=["12", "13"], ids=["deb12", "deb13"])
def cell(request, another, play):
    return Cell(request.param, another, play)


@pytest.fixture
def cells(another, play):
    """Both, for what takes its time and can be done to both at once."""
    return [Cell(release, another, play) for release in ("12", "13")]
