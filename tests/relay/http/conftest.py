"""The city that each test of HTTP begins with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.relay.http.world import Agency, City
from tests.relay.http.world import city as open_city


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with open_city(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def agency(city: City) -> Agency:
    return await city.agency()
