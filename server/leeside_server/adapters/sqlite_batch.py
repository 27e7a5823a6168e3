"""One batch on SQLite: load what it depends on, plan it, write it. The caller holds the transaction.

Rows move many to a statement. Every call into SQLite gives up Python's interpreter lock and has to win it back
from the event loop, which may take milliseconds: 64 rows a call cost the event loop 64 times fewer fights.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from itertools import chain
from typing import Any, Final

from leeside_protocol.ids import ChannelAddress
from leeside_server.adapters import queries
from leeside_server.core.plan import Facts, IdName, LogName, Needs, ObjectName, Plan, Standing, needs, plan
from leeside_server.core.writes import Item, Object, Outcome

_STEPS: Final = (256, 64, 16, 4, 1)
"""Rows of one statement: few different texts, so that all stay prepared."""


class _Bulk:
    """One statement in the sizes of `_STEPS`."""

    def __init__(self, before: str, width: int, after: str = "") -> None:
        row = "(" + ",".join("?" * width) + ")"
        self.sql: Final = {step: before + ",".join([row] * step) + after for step in _STEPS}

    def calls(self, rows: Sequence[Sequence[object]]) -> Generator[tuple[str, list[object]]]:
        """The statements and values that cover all rows."""
        start = 0
        left = len(rows)
        for step in _STEPS:
            while left >= step:
                yield self.sql[step], list(chain.from_iterable(rows[start : start + step]))
                start += step
                left -= step

    def run(self, db: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        """Write all rows."""
        for sql, values in self.calls(rows):
            db.execute(sql, values)

    def rows(self, db: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> list[Any]:
        """Read what stands for these rows."""
        found: list[Any] = []
        for sql, values in self.calls(rows):
            found.extend(db.execute(sql, values).fetchall())
        return found


_LOGS: Final = _Bulk(
    "SELECT c.agency, c.address, c.head, c.min_epoch FROM (VALUES ", 2,
    ") w CROSS JOIN channels c ON c.agency = w.column1 AND c.address = w.column2",
)  # fmt: skip
_IDS: Final = _Bulk(
    'SELECT m.agency, m.device, m.id, m.address, m."offset", m.lane, m."key", m.hash FROM (VALUES ', 3,
    ") w CROSS JOIN messages m ON m.agency = w.column1 AND m.device = w.column2 AND m.id = w.column3",
)  # fmt: skip
_REVISIONS: Final = _Bulk(
    "SELECT o.agency, o.kind, o.id, o.revision FROM (VALUES ", 3,
    ") w CROSS JOIN objects o ON o.agency = w.column1 AND o.kind = w.column2 AND o.id = w.column3",
)  # fmt: skip
_OBJECTS: Final = _Bulk(
    "SELECT o.kind, o.id, o.revision, o.body, o.parent, o.due_ms, o.agency FROM (VALUES ", 3,
    ") w CROSS JOIN objects o ON o.agency = w.column1 AND o.kind = w.column2 AND o.id = w.column3",
)  # fmt: skip
_EPOCHS: Final = _Bulk(
    "SELECT b.agency, b.channel, b.epoch FROM (VALUES ", 3,
    ") w CROSS JOIN boxes_shared b ON b.agency = w.column1 AND b.channel = w.column2 AND b.epoch = w.column3",
)  # fmt: skip
_AUDIT_HEADS: Final = _Bulk(
    "SELECT a.agency, a.head FROM (VALUES ", 1, ") w CROSS JOIN audit_heads a ON a.agency = w.column1"
)

_REPLACE: Final = (
    "UPDATE messages SET payload = NULL "
    'WHERE agency = ? AND address = ? AND lane = 2 AND "key" = ? AND payload IS NOT NULL'
)
_MESSAGES: Final = _Bulk(
    'INSERT INTO messages (agency, address, lane, "offset", "key", device, id, at_ms, urgency, mark, payload, hash) '
    "VALUES ", 12,
)  # fmt: skip
_CHANNELS: Final = _Bulk(
    "INSERT INTO channels (agency, address, head, min_epoch) VALUES ", 4,
    " ON CONFLICT (agency, address) DO UPDATE SET head = excluded.head, min_epoch = excluded.min_epoch",
)  # fmt: skip
_CREATE: Final = _Bulk("INSERT INTO objects (agency, kind, id, revision, parent, due_ms, body) VALUES ", 7)
_UPDATE: Final = (
    "UPDATE objects SET revision = ?4, parent = ?5, due_ms = ?6, body = ?7 "
    "WHERE agency = ?1 AND kind = ?2 AND id = ?3"
)
_REMOVE: Final = "DELETE FROM objects WHERE agency = ? AND kind = ? AND id = ?"
_BOXES: Final = _Bulk("INSERT INTO boxes (agency, channel, epoch, recipient, box) VALUES ", 5)
_SHARED: Final = _Bulk("INSERT INTO boxes_shared (agency, channel, epoch, shared) VALUES ", 4)
_AUDITS: Final = _Bulk("INSERT INTO audits (agency, seq, at_ms, event, actor, subject, outcome) VALUES ", 7)
_SET_AUDIT_HEADS: Final = _Bulk(
    "INSERT INTO audit_heads (agency, head) VALUES ", 2,
    " ON CONFLICT (agency) DO UPDATE SET head = excluded.head",
)  # fmt: skip


def heads(db: sqlite3.Connection, logs: Sequence[LogName]) -> dict[LogName, int]:
    """The head of every log that exists."""
    return {(row[0], row[1]): row[2] for row in _LOGS.rows(db, logs)}


def objects(db: sqlite3.Connection, names: Sequence[ObjectName]) -> dict[ObjectName, Object]:
    """Every one of these objects that exists."""
    return queries.named_objects(_OBJECTS.rows(db, names))


def apply(db: sqlite3.Connection, items: Sequence[Item], generation: int) -> list[Outcome]:
    """Decide and write the items; they are durable once the caller has committed."""
    planned = plan(items, _load(db, needs(items), generation))
    _write(db, planned)
    return planned.outcomes


def _load(db: sqlite3.Connection, need: Needs, generation: int) -> Facts:
    heads_: dict[LogName, int] = {}
    fences: dict[LogName, int] = {}
    for agency, address, head, fence in _LOGS.rows(db, need.logs):
        heads_[agency, address] = head
        fences[agency, address] = fence
    ids: dict[IdName, Standing] = {
        (row[0], row[1], row[2]): Standing(ChannelAddress(row[3]), row[4], row[5], row[6], row[7])
        for row in _IDS.rows(db, need.ids)
    }
    revisions: dict[ObjectName, int] = {
        (row[0], row[1], row[2]): row[3] for row in _REVISIONS.rows(db, need.objects)
    }
    return Facts(
        generation,
        heads_,
        fences,
        ids,
        revisions,
        {(row[0], row[1], row[2]) for row in _EPOCHS.rows(db, need.epochs)},
        {row[0]: row[1] for row in _AUDIT_HEADS.rows(db, [(agency,) for agency in need.audited])},
    )


def _write(db: sqlite3.Connection, planned: Plan) -> None:
    if planned.replaced:
        db.executemany(_REPLACE, planned.replaced)
    _MESSAGES.run(db, planned.messages)
    _CHANNELS.run(db, planned.channels)
    _CREATE.run(db, planned.created)
    if planned.updated:
        db.executemany(_UPDATE, planned.updated)
    if planned.removed:
        db.executemany(_REMOVE, planned.removed)
    _BOXES.run(db, planned.boxes)
    _SHARED.run(db, planned.shared)
    _AUDITS.run(db, planned.audits)
    _SET_AUDIT_HEADS.run(db, planned.audit_heads)
