"""Every test of the plane is run both ways a packet can take to its receivers."""

import sys
from collections.abc import Iterator

import pytest

from tests.support.fast_way import WAYS, both_ways


@pytest.fixture(autouse=True, params=WAYS, scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "fast" and not sys.platform.startswith("linux"):
        pytest.skip("the fast way makes Linux's system calls")
    with both_ways(request.param):
        yield request.param
