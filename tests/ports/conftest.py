"""Stores and blobs on every adapter: a contract test asks for `place`, `store` or `nodes` and runs on all of them."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from leeside_server.ports import Store
from tests.ports.stores import Place


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Place]:
    """Where stores are opened, empty."""
    if request.param == "sqlite":
        place = Place(path=tmp_path / "leeside.db")
    else:
        place = Place(dsn=str(request.getfixturevalue("postgres_dsn")))
    yield place
    await place.close()


@pytest.fixture
async def store(place: Place) -> Store:
    """An empty store."""
    return await place.open()


@pytest.fixture
async def nodes(place: Place) -> Sequence[Store]:
    """Two nodes on the same, empty data."""
    return await place.nodes()
