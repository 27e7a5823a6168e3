"""One batch on PostgreSQL: lock what it depends on, load it, plan it, write it. The caller holds the transaction.

The counter of a log is its locked row, never a SEQUENCE: sequences commit out of order, and a reader's cursor
would then skip a row in silence. READ COMMITTED is what makes this right: a statement that follows the locks
sees all that was committed before they were granted.

Locks are taken in one order on every node, so that batches wait for each other and never in a circle: new logs
by insertion, then all logs, objects, and last the counters of security events, each sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_server.adapters.postgres_connection import Connection
from leeside_server.core.plan import (
    EpochName,
    Facts,
    IdName,
    LogName,
    Needs,
    ObjectName,
    Plan,
    Standing,
    needs,
    plan,
)
from leeside_server.core.writes import Item, Outcome

KNOWN_LOGS: Final = 100_000
"""Logs remembered as existing, which saves a round trip; forgotten all together above this."""

_ADD_LOGS: Final = "INSERT INTO channels (agency, address) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING"
_LOCK_LOGS: Final = (
    "SELECT c.agency, c.address, c.head, c.min_epoch, (SELECT generation FROM meta) FROM channels c "
    "JOIN unnest($1::bytea[], $2::bytea[]) w (agency, address) USING (agency, address) "
    "ORDER BY c.agency, c.address FOR UPDATE OF c"
)
_LOCK_OBJECTS: Final = (
    "SELECT o.agency, o.kind, o.id, o.revision FROM objects o "
    "JOIN unnest($1::bytea[], $2::text[], $3::bytea[]) w (agency, kind, id) USING (agency, kind, id) "
    "ORDER BY o.agency, o.kind, o.id FOR UPDATE OF o"
)
_ADD_AUDIT_HEADS: Final = (
    "INSERT INTO audit_heads (agency) SELECT * FROM unnest($1::bytea[]) ON CONFLICT DO NOTHING"
)
_LOCK_AUDIT_HEADS: Final = (
    "SELECT agency, head FROM audit_heads WHERE agency = ANY ($1::bytea[]) ORDER BY agency FOR UPDATE"
)
_IDS: Final = (
    'SELECT m.agency, m.device, m.id, m.address, m."offset", m.lane, m.key, m.hash FROM messages m '
    "JOIN unnest($1::bytea[], $2::bytea[], $3::bytea[]) w (agency, device, id) USING (agency, device, id)"
)
_EPOCHS: Final = (
    "SELECT b.agency, b.channel, b.epoch FROM boxes_shared b "
    "JOIN unnest($1::bytea[], $2::bytea[], $3::int8[]) w (agency, channel, epoch) USING (agency, channel, epoch)"
)

_REPLACE: Final = (
    "UPDATE messages m SET payload = NULL "
    "FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) w (agency, address, key) "
    "WHERE m.agency = w.agency AND m.address = w.address AND m.lane = 2 AND m.key = w.key "
    "AND m.payload IS NOT NULL"
)
_MESSAGES: Final = (
    'INSERT INTO messages (agency, address, lane, "offset", key, device, id, at_ms, urgency, mark, payload, hash) '
    "SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int2[], $4::int8[], $5::bytea[], $6::bytea[], "
    "$7::bytea[], $8::int8[], $9::int2[], $10::int2[], $11::bytea[], $12::bytea[])"
)
_CHANNELS: Final = (
    "UPDATE channels c SET head = w.head, min_epoch = w.min_epoch "
    "FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::int8[]) w (agency, address, head, min_epoch) "
    "WHERE c.agency = w.agency AND c.address = w.address"
)
_OBJECT_ARRAYS: Final = (
    "unnest($1::bytea[], $2::text[], $3::bytea[], $4::int8[], $5::bytea[], $6::int8[], $7::bytea[])"
)
_CREATE: Final = (
    f"INSERT INTO objects (agency, kind, id, revision, parent, due_ms, body) SELECT * FROM {_OBJECT_ARRAYS}"  # noqa: S608
)
_UPDATE: Final = (
    "UPDATE objects o SET revision = w.revision, parent = w.parent, due_ms = w.due_ms, body = w.body "  # noqa: S608
    f"FROM {_OBJECT_ARRAYS} w (agency, kind, id, revision, parent, due_ms, body) "
    "WHERE o.agency = w.agency AND o.kind = w.kind AND o.id = w.id"
)
_REMOVE: Final = (
    "DELETE FROM objects o USING unnest($1::bytea[], $2::text[], $3::bytea[]) w (agency, kind, id) "
    "WHERE o.agency = w.agency AND o.kind = w.kind AND o.id = w.id"
)
_BOXES: Final = (
    "INSERT INTO boxes (agency, channel, epoch, recipient, box) "
    "SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::bytea[], $5::bytea[])"
)
_SHARED: Final = (
    "INSERT INTO boxes_shared (agency, channel, epoch, shared) "
    "SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::bytea[])"
)
_AUDITS: Final = (
    "INSERT INTO audits (agency, seq, at_ms, event, actor, subject, outcome) "
    "SELECT * FROM unnest($1::bytea[], $2::int8[], $3::int8[], $4::text[], $5::bytea[], $6::bytea[], $7::text[])"
)
_SET_AUDIT_HEADS: Final = (
    "UPDATE audit_heads a SET head = w.head FROM unnest($1::bytea[], $2::int8[]) w (agency, head) "
    "WHERE a.agency = w.agency"
)
HEADS: Final = (
    "SELECT c.agency, c.address, c.head FROM channels c "
    "JOIN unnest($1::bytea[], $2::bytea[]) w (agency, address) USING (agency, address)"
)

OBJECTS: Final = (
    "SELECT o.kind, o.id, o.revision, o.body, o.parent, o.due_ms, o.agency FROM objects o "
    "JOIN unnest($1::bytea[], $2::text[], $3::bytea[]) w (agency, kind, id) USING (agency, kind, id)"
)


class LogsVanished(Exception):
    """Logs that existed do not any more: another database answers. The batch must be begun again."""


class Batches:
    """Runs batches on one connection after the other and remembers which logs exist."""

    def __init__(self) -> None:
        self._known: set[LogName] = set()

    def forget(self) -> None:
        """The next connection may lead to another state of the database, or this transaction was undone."""
        self._known.clear()

    async def apply(
        self, db: Connection, items: Sequence[Item], generation: int
    ) -> tuple[list[Outcome], int, bool]:
        """Decide and write the items: outcomes, generation, and whether anything was written."""
        facts = await self._load(db, needs(items), generation)
        planned = plan(items, facts)
        await _write(db, planned)
        return planned.outcomes, facts.generation, planned.writes

    async def _load(self, db: Connection, need: Needs, generation: int) -> Facts:
        heads: dict[LogName, int] = {}
        fences: dict[LogName, int] = {}
        revisions: dict[ObjectName, int] = {}
        audit_heads: dict[AgencyId, int] = {}
        ids: dict[IdName, Standing] = {}
        epochs: set[EpochName] = set()
        if need.logs:
            fresh = [log for log in need.logs if log not in self._known]
            if fresh:
                await db.execute(_ADD_LOGS, *columns(fresh))
            rows = await db.fetch(_LOCK_LOGS, *columns(need.logs))
            if len(rows) != len(need.logs):
                raise LogsVanished
            if len(self._known) > KNOWN_LOGS:
                self._known.clear()
            self._known.update(need.logs)
            for agency, address, head, fence, generation_ in rows:
                log = AgencyId(agency), ChannelAddress(address)
                heads[log], fences[log], generation = head, fence, generation_
        if need.objects:
            for agency, kind, key, revision in await db.fetch(_LOCK_OBJECTS, *columns(need.objects)):
                revisions[AgencyId(agency), kind, key] = revision
        if need.audited:
            await db.execute(_ADD_AUDIT_HEADS, need.audited)
            for agency, head in await db.fetch(_LOCK_AUDIT_HEADS, need.audited):
                audit_heads[AgencyId(agency)] = head
        if need.ids:
            for row in await db.fetch(_IDS, *columns(need.ids)):
                name = AgencyId(row[0]), DeviceId(row[1]), MessageId(row[2])
                ids[name] = Standing(ChannelAddress(row[3]), row[4], row[5], row[6], row[7])
        if need.epochs:
            for agency, channel, epoch in await db.fetch(_EPOCHS, *columns(need.epochs)):
                epochs.add((AgencyId(agency), ChannelId(channel), epoch))
        return Facts(generation, heads, fences, ids, revisions, epochs, audit_heads)


async def _write(db: Connection, planned: Plan) -> None:
    writes: tuple[tuple[str, Sequence[Sequence[Any]]], ...] = (
        (_REPLACE, planned.replaced),
        (_MESSAGES, planned.messages),
        (_CHANNELS, planned.channels),
        (_CREATE, planned.created),
        (_UPDATE, planned.updated),
        (_REMOVE, planned.removed),
        (_BOXES, planned.boxes),
        (_SHARED, planned.shared),
        (_AUDITS, planned.audits),
        (_SET_AUDIT_HEADS, planned.audit_heads),
    )
    for sql, rows in writes:
        if rows:
            await db.execute(sql, *columns(rows))


def columns(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows turned into the arrays that `unnest` takes."""
    return list(zip(*rows, strict=True))
