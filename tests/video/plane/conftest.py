"""Every test of the plane is run both ways a packet can take to its receivers."""

from collections.abc import Iterator

import pytest

from tests.support.fast_way import WAYS, both_ways, missing


@pytest.fixture(autouse=True, params=WAYS, scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "fast" and (why := missing()):
        pytest.skip(why)
    with both_ways(request.param):
        yield request.param
