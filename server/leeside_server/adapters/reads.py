"""The reading half of a store, the same for every database that runs the statements of `queries`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId
from leeside_server.adapters import queries
from leeside_server.core.writes import AuditRow, Object

WAITING_ITEMS: Final = 20_000
"""Items waiting for a commit, above which more are answered `busy` at once: provably not stored, try again."""
WAITING_READS: Final = 5_000
"""Reads waiting for a connection, above which more raise `StoreUnavailable`."""
PRUNE_ROWS: Final = 1_000
"""Rows of one step of pruning, so that messages get in between."""
PRUNE_EPOCHS: Final = 5
"""Epochs of one step of forgetting boxes: as many rows, with a full roster."""


class StoreReads(ABC):
    """What `ports.Store` reads beside logs, on top of one way to run a statement."""

    def __init__(self, statements: queries.Queries) -> None:
        self._queries = statements

    @abstractmethod
    async def _rows(self, query: queries.Statement, **values: object) -> Sequence[queries.Row]:
        """Run a statement that changes nothing. Raises `StoreUnavailable`."""

    async def get(self, agency: AgencyId, kind: str, key: bytes) -> Object | None:
        found = queries.objects(await self._rows(self._queries.get, agency=agency, kind=kind, id=key))
        return found[0] if found else None

    async def objects(
        self, agency: AgencyId, kind: str, parent: bytes | None, after: bytes, limit: int
    ) -> Sequence[Object]:
        query = self._queries.objects if parent is None else self._queries.children
        rows = await self._rows(query, agency=agency, kind=kind, parent=parent, after=after, limit=limit)
        return queries.objects(rows)

    async def due(self, kind: str, now_ms: int, limit: int) -> Sequence[tuple[AgencyId, Object]]:
        rows = await self._rows(self._queries.due, kind=kind, now_ms=now_ms, limit=limit)
        return queries.due_objects(rows)

    async def boxes(
        self, agency: AgencyId, channel: ChannelId, recipient: bytes, from_epoch: int, limit: int
    ) -> Sequence[tuple[int, bytes | None, bytes]]:
        rows = await self._rows(
            self._queries.boxes,
            agency=agency,
            channel=channel,
            recipient=recipient,
            from_epoch=from_epoch,
            limit=limit,
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def kept(self, agency: AgencyId, channel: ChannelAddress) -> Sequence[bytes]:
        oldest = await self._rows(self._queries.oldest_kept, agency=agency, address=channel)
        values = await self._rows(self._queries.live_values, agency=agency, address=channel)
        return [bytes(row[0]) for row in (*oldest, *values)]

    async def audits(self, agency: AgencyId, after: int, limit: int) -> Sequence[AuditRow]:
        rows = await self._rows(self._queries.audits, agency=agency, after=after, limit=limit)
        return queries.audit_rows(rows)

    async def agencies(self) -> Sequence[AgencyId]:
        rows = await self._rows(self._queries.agencies, kind=queries.AGENCY_KIND)
        return [AgencyId(row[0]) for row in rows]
