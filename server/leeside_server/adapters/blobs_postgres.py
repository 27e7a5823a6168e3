"""Sealed attachments as rows of the table `blobs`, for nodes that share no disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg

from leeside_protocol.ids import AgencyId, BlobId
from leeside_server.adapters.postgres_connection import (
    COMMAND_S,
    CONNECT_S,
    LOST,
    Pool,
    connect,
    discard,
    make_pool,
    migrate,
    translate,
    verify,
)
from leeside_server.ports import ChunkDiffers, StoreUnavailable

WAITING: Final = 1_000
"""Calls that wait for a connection, above which more raise `StoreUnavailable`."""

# One statement: a standing chunk is compared where it is, and a new one is visible to no one before its commit.
_PUT: Final = (
    'INSERT INTO blobs AS b (agency, blob, "index", data) VALUES ($1, $2, $3, $4) '
    'ON CONFLICT (agency, blob, "index") DO UPDATE SET data = b.data WHERE b.data = excluded.data '
    "RETURNING 1"
)
_GET: Final = 'SELECT data FROM blobs WHERE agency = $1 AND blob = $2 AND "index" = $3'
_HAVE: Final = 'SELECT "index" FROM blobs WHERE agency = $1 AND blob = $2 ORDER BY "index"'
_DELETE: Final = "DELETE FROM blobs WHERE agency = $1 AND blob = $2"


class PostgresBlobs:
    """`ports.Blobs` in the store's database. Made by `open`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting = 0
        self._closed = False

    @classmethod
    async def open(cls, dsn: str, *, connections: int = 2, may_migrate: bool = True) -> PostgresBlobs:
        """Connect, and bring the tables up to date as the store does. Raises `StoreRefused`, `StoreUnavailable`."""
        connection = await connect(dsn)
        try:
            await verify(connection)
            await migrate(connection, may_change=may_migrate)
        except (asyncpg.PostgresError, *LOST) as error:
            raise translate(error) from None
        finally:
            await discard(connection)
        return cls(await make_pool(dsn, connections, writes=True))

    async def put(self, agency: AgencyId, blob: BlobId, index: int, data: bytes) -> None:
        if not await self._fetch(_PUT, agency, blob, index, data):
            raise ChunkDiffers

    async def get(self, agency: AgencyId, blob: BlobId, index: int) -> bytes | None:
        rows = await self._fetch(_GET, agency, blob, index)
        return bytes(rows[0][0]) if rows else None

    async def have(self, agency: AgencyId, blob: BlobId) -> Sequence[int]:
        return [int(row[0]) for row in await self._fetch(_HAVE, agency, blob)]

    async def delete(self, agency: AgencyId, blob: BlobId) -> None:
        await self._fetch(_DELETE, agency, blob)

    async def close(self) -> None:
        """Finish what was begun; later calls raise `StoreUnavailable`."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(COMMAND_S):
                await self._pool.close()
        except (asyncpg.PostgresError, *LOST):
            pass  # there is nobody to say goodbye to
        finally:
            self._pool.terminate()

    async def _fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        if self._closed:
            raise StoreUnavailable("the blobs are closed")
        if self._waiting >= WAITING:
            raise StoreUnavailable("too many calls wait")
        self._waiting += 1
        try:
            async with self._pool.acquire(timeout=CONNECT_S + COMMAND_S) as connection:
                return await connection.fetch(sql, *args)
        except (asyncpg.PostgresError, *LOST) as error:
            raise translate(error) from None
        finally:
            self._waiting -= 1
