"""Fixtures for real servers. One server a test process; what a test sees in it is empty.

`redis_server`, `postgres_server`   the servers themselves, to break them (they must be running again afterwards)
`redis_url`                         an emptied Redis
`postgres_dsn`                      a fresh, empty database
`nginx_program`                     the path of nginx
`coturn_server`                     a coturn as it is shipped; skipped where there is none, or no address for it

A test that asks for one of them is marked `services` or `nginx` by itself. A parametrised contract suite that asks through
`request.getfixturevalue` marks its parameter: `pytest.param("postgres", marks=pytest.mark.services)`.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from deploy.devtool.services import COTURN, NGINX
from tests.support.coturn import Coturn, coturn_running
from tests.support.loopback import NoAddress
from tests.support.services import (
    PostgresServer,
    RedisServer,
    postgres_running,
    program_path,
    redis_running,
)

MARK_OF_FIXTURE = {
    "redis_server": "services",
    "postgres_server": "services",
    "nginx_program": "nginx",
    "coturn_server": "services",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, before `-m` selects."""
    for item in items:
        if isinstance(item, pytest.Function):
            for mark in sorted(
                {MARK_OF_FIXTURE[name] for name in item.fixturenames if name in MARK_OF_FIXTURE}
            ):
                item.add_marker(mark)


@pytest.fixture(scope="session")
def redis_server() -> Generator[RedisServer]:
    """One Redis for this test process."""
    with redis_running() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of a Redis that holds nothing."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer]:
    """One PostgreSQL for this test process."""
    with postgres_running() as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Generator[str]:
    """The address of an empty database, dropped afterwards."""
    dsn = postgres_server.create_database()
    yield dsn
    postgres_server.drop_database(dsn)


@pytest.fixture(scope="session")
def nginx_program() -> Path:
    """The path of nginx."""
    return program_path(NGINX)


@pytest.fixture(scope="session")
def coturn_server() -> Generator[Coturn]:
    """One coturn for this test process."""
    if COTURN.locate() is None:
        pytest.skip(f"no coturn on this machine: {COTURN.fix}")
    try:
        with coturn_running() as server:
            yield server
    except NoAddress as problem:
        pytest.skip(f"coturn needs an address of its own on the loopback: {problem}")
