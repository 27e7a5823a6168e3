"""What both stores ask of their tables, and how the rows that come back are read.

The statements are defined in SQLAlchemy Core (`definitions`) and stand compiled in `statements`, so that a server
that comes back after a crash does not wait for SQLAlchemy. The batches of the append path are not here: each store
has its own way of moving many rows at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from leeside_protocol.ids import AgencyId, DeviceId, MessageId
from leeside_protocol.words import Lane, Mark, Urgency
from leeside_server.core.writes import AuditRow, LogPage, Object, StoredEntry


class Row(Protocol):
    """A row of either driver: values by position."""

    def __getitem__(self, index: int, /) -> Any: ...


AGENCY_KIND: Final = "agency"
"""The kind of the object that makes an agency known to `agencies`."""


class Statement(msgspec.Struct, frozen=True):
    """A compiled statement and the order in which it takes its values."""

    sql: str
    names: tuple[str, ...]
    fixed: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    """What the dialect itself put in, like SQLite's OFFSET 0."""

    def args(self, **values: object) -> tuple[object, ...]:
        """The values by position; every name that is not fixed must be given."""
        fixed = self.fixed
        return tuple([fixed[name] if name in fixed else values[name] for name in self.names])


class Queries(msgspec.Struct, frozen=True, kw_only=True):
    """Every statement, for one dialect."""

    entries: Statement
    log: Statement
    get: Statement
    objects: Statement
    children: Statement
    due: Statement
    boxes: Statement
    audits: Statement
    agencies: Statement
    generation: Statement
    set_generation: Statement
    lock_log: Statement
    set_floor: Statement
    prune_log: Statement
    forget_states: Statement
    forget_pruned: Statement
    oldest_kept: Statement
    live_values: Statement
    oldest_boxes: Statement
    forget_boxes: Statement
    forget_box_lists: Statement


class PostgresQueries(Queries, frozen=True, kw_only=True):
    """And what PostgreSQL alone is asked."""

    sized_page: Statement


def page(log: tuple[int, int, int], rows: Iterable[Row], after: int, limit: int, max_bytes: int) -> LogPage:
    """Make a page of a log (head, floor, generation) and its next rows, asked with one more than `limit`.

    Stops taking rows when the page is full.
    """
    head, floor, generation = log
    entries: list[StoredEntry] = []
    size = 0
    to = head
    for row in rows:
        payload: bytes | None = row[6]
        size += len(payload or b"")
        if len(entries) == limit or (entries and size > max_bytes):
            to = entries[-1].offset if entries else after
            break
        entries.append(
            StoredEntry(
                row[0],
                Lane(row[1]),
                row[2],
                DeviceId(row[3]),
                MessageId(row[4]),
                row[5],
                payload,
                Urgency(row[7]),
                Mark(row[8]),
                row[9],
            )
        )
    return LogPage(tuple(entries), after, to, head, floor, generation)


def objects(rows: Iterable[Row]) -> list[Object]:
    """Make objects of the rows of `get`, `objects` and `children`."""
    return [Object(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]


def due_objects(rows: Iterable[Row]) -> list[tuple[AgencyId, Object]]:
    """Make agencies and objects of the rows of `due`."""
    return [(AgencyId(row[6]), Object(row[0], row[1], row[2], row[3], row[4], row[5])) for row in rows]


def named_objects(rows: Iterable[Row]) -> dict[tuple[AgencyId, str, bytes], Object]:
    """Make objects by agency, kind and id of rows like those of `due`."""
    return {(agency, found.kind, found.id): found for agency, found in due_objects(rows)}


def audit_rows(rows: Iterable[Row]) -> list[AuditRow]:
    """Make security events of the rows of `audits`."""
    return [AuditRow(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]
