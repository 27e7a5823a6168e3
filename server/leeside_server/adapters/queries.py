"""What both stores ask of their tables, said once in SQLAlchemy Core and compiled for each.

The batches of the append path are not here: each store has its own way of moving many rows at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Integer,
    LargeBinary,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteDialect
from sqlalchemy.sql.compiler import SQLCompiler

from leeside_protocol.ids import AgencyId, DeviceId, MessageId
from leeside_protocol.words import Lane, Mark, Urgency
from leeside_server.adapters.schema import (
    AUDITS,
    BOXES,
    BOXES_SHARED,
    CHANNELS,
    MESSAGES,
    META,
    OBJECTS,
)
from leeside_server.core.writes import AuditRow, LogPage, Object, StoredEntry


class Row(Protocol):
    """A row of either driver: values by position."""

    def __getitem__(self, index: int, /) -> Any: ...


AGENCY_KIND: Final = "agency"
"""The kind of the object that makes an agency known to `agencies`."""

_LOG: Final = literal_column("1", Integer)
_STATE: Final = literal_column("2", Integer)
_ZERO: Final = literal_column("0", Integer)
_ENTRY: Final = (
    "offset", "lane", "key", "device", "id", "at_ms", "payload", "urgency", "mark", "hash",
)  # fmt: skip


class _HintingCompiler(SQLiteCompiler):
    """SQLAlchemy knows hints, and SQLite takes them behind the table's name; only nobody joined the two."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:  # noqa: ARG002 - its name is given
        return text


class _HintingDialect(SQLiteDialect):
    statement_compiler = _HintingCompiler
    supports_statement_cache = False


@dataclass(frozen=True, slots=True)
class Statement:
    """A compiled statement and the order in which it takes its values."""

    sql: str
    names: tuple[str, ...]
    fixed: Mapping[str, object]
    """What the dialect itself put in, like SQLite's OFFSET 0."""

    def args(self, **values: object) -> tuple[object, ...]:
        """The values by position; every name that is not fixed must be given."""
        fixed = self.fixed
        return tuple([fixed[name] if name in fixed else values[name] for name in self.names])


class Queries:
    """Every statement, for one dialect."""

    def __init__(self, dialect: Literal["sqlite", "postgresql"]) -> None:
        self._dialect = (
            _HintingDialect(paramstyle="qmark")
            if dialect == "sqlite"
            else PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        )
        self.entries: Final = self._compiled(_entries(limit_halves=False))
        self.log: Final = self._compiled(
            select(CHANNELS.c.head, CHANNELS.c.floor, META.c.generation).select_from(
                META.outerjoin(CHANNELS, _this_log())
            )
        )
        if dialect == "postgresql":
            self.sized_page: Final = self._compiled(_sized_page())
        self.get: Final = self._compiled(
            _objects().where(OBJECTS.c.agency == _bytes("agency"), OBJECTS.c.id == _bytes("id"))
        )
        some = _objects().where(OBJECTS.c.agency == _bytes("agency"), OBJECTS.c.id > _bytes("after"))
        some = some.order_by(OBJECTS.c.id).limit(_number("limit"))
        self.objects: Final = self._compiled(some)
        self.children: Final = self._compiled(some.where(OBJECTS.c.parent == _bytes("parent")))
        self.due: Final = self._compiled(
            _objects()
            .add_columns(OBJECTS.c.agency)
            .where(OBJECTS.c.due_ms <= _number("now_ms"))
            .order_by(OBJECTS.c.due_ms, OBJECTS.c.agency, OBJECTS.c.id)
            .limit(_number("limit"))
        )
        self.boxes: Final = self._compiled(_boxes())
        self.audits: Final = self._compiled(
            select(
                AUDITS.c.seq,
                AUDITS.c.at_ms,
                AUDITS.c.event,
                AUDITS.c.actor,
                AUDITS.c.subject,
                AUDITS.c.outcome,
            )
            .where(AUDITS.c.agency == _bytes("agency"), AUDITS.c.seq > _number("after"))
            .order_by(AUDITS.c.seq)
            .limit(_number("limit"))
        )
        self.agencies: Final = self._compiled(
            select(OBJECTS.c.agency)
            .where(OBJECTS.c.kind == _text("kind"))
            .distinct()
            .order_by(OBJECTS.c.agency)
        )
        self.generation: Final = self._compiled(select(META.c.generation))
        self.set_generation: Final = self._compiled(update(META).values(generation=_number("generation")))
        log = and_(CHANNELS.c.agency == _bytes("agency"), CHANNELS.c.address == _bytes("address"))
        self.lock_log: Final = self._compiled(
            select(CHANNELS.c.head, CHANNELS.c.floor).where(log).with_for_update()
        )
        self.set_floor: Final = self._compiled(update(CHANNELS).values(floor=_number("to")).where(log))
        self.prune_log: Final = self._compiled(_prune_log())
        self.forget_states: Final = self._compiled(_forget_states())

    def _compiled(self, statement: ClauseElement) -> Statement:
        compiled = statement.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return Statement(compiled.string, tuple(compiled.positiontup or ()), fixed)


def _bytes(name: str) -> Any:
    return bindparam(name, type_=LargeBinary)


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger)


def _text(name: str) -> Any:
    return bindparam(name, type_=Text)


def _entries(*, limit_halves: bool) -> Any:
    """What a reader of a log is shown behind `after`, in order: the log's messages and the live state values.

    Both halves come ordered from an index. SQLite merges them and stops at `limit`. PostgreSQL may sort
    instead when its statistics are old: with a limit of its own, a half can at least not be sorted whole.
    """

    def half(*conditions: Any) -> Any:
        return select(*[MESSAGES.c[name] for name in _ENTRY]).where(
            MESSAGES.c.agency == _bytes("agency"),
            MESSAGES.c.address == _bytes("address"),
            MESSAGES.c.offset > _number("after"),
            *conditions,
        )

    log = half(MESSAGES.c.lane == _LOG)
    live = half(MESSAGES.c.lane == _STATE, MESSAGES.c.payload.is_not(None))
    # Without statistics SQLite prefers the primary key, and would pass every value that was ever replaced.
    live = live.with_hint(MESSAGES, "INDEXED BY messages_live", "sqlite")
    if limit_halves:
        log, live = (part.order_by(MESSAGES.c.offset).limit(_number("limit")) for part in (log, live))
    both = union_all(log, live)
    return both.order_by(literal_column('"offset"')).limit(_number("limit"))


def _sized_page() -> Any:
    """The next entries, as many as `max_bytes` of payload hold and one more, so that `page` sees whether
    anything follows; and beside each the log's head and floor and the generation.

    One statement, so one snapshot and one round trip. A log without such entries gives one row without entry.
    """
    first = _entries(limit_halves=True).subquery("first")
    length = func.coalesce(func.length(first.c.payload), _ZERO)
    before = (func.sum(length).over(order_by=first.c.offset) - length).label("before")
    place = func.row_number().over(order_by=first.c.offset).label("place")
    sized = select(first, before, place).subquery("sized")
    # The second whatever the size of the first, which alone may exceed `max_bytes`.
    fits = or_(sized.c.before <= _number("max_bytes"), sized.c.place <= literal_column("2", Integer))
    some = select(sized).where(fits).subquery("some")
    return (
        select(*[some.c[name] for name in _ENTRY], CHANNELS.c.head, CHANNELS.c.floor, META.c.generation)
        .select_from(META.outerjoin(CHANNELS, _this_log()).outerjoin(some, true()))
        .order_by(some.c.offset)
    )


def _this_log() -> Any:
    return and_(CHANNELS.c.agency == _bytes("agency"), CHANNELS.c.address == _bytes("address"))


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


def _objects() -> Any:
    return select(
        OBJECTS.c.kind, OBJECTS.c.id, OBJECTS.c.revision, OBJECTS.c.body, OBJECTS.c.parent, OBJECTS.c.due_ms
    ).where(OBJECTS.c.kind == _text("kind"))


def objects(rows: Iterable[Row]) -> list[Object]:
    """Make objects of the rows of `get`, `objects` and `children`."""
    return [Object(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]


def due_objects(rows: Iterable[Row]) -> list[tuple[AgencyId, Object]]:
    """Make agencies and objects of the rows of `due`."""
    return [(AgencyId(row[6]), Object(row[0], row[1], row[2], row[3], row[4], row[5])) for row in rows]


def audit_rows(rows: Iterable[Row]) -> list[AuditRow]:
    """Make security events of the rows of `audits`."""
    return [AuditRow(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]


def _boxes() -> Any:
    own = and_(
        BOXES.c.agency == BOXES_SHARED.c.agency,
        BOXES.c.channel == BOXES_SHARED.c.channel,
        BOXES.c.epoch == BOXES_SHARED.c.epoch,
        BOXES.c.recipient == _bytes("recipient"),
    )
    return (
        select(BOXES_SHARED.c.epoch, BOXES.c.box, BOXES_SHARED.c.shared)
        .select_from(BOXES_SHARED.outerjoin(BOXES, own))
        .where(
            BOXES_SHARED.c.agency == _bytes("agency"),
            BOXES_SHARED.c.channel == _bytes("channel"),
            BOXES_SHARED.c.epoch >= _number("from_epoch"),
        )
        .order_by(BOXES_SHARED.c.epoch)
        .limit(_number("limit"))
    )


def _prune_log() -> Any:
    """Drop the payloads of log entries in (floor, to]."""
    return (
        update(MESSAGES)
        .values(payload=null())
        .where(
            MESSAGES.c.agency == _bytes("agency"),
            MESSAGES.c.address == _bytes("address"),
            MESSAGES.c.lane == _LOG,
            MESSAGES.c.offset > _number("floor"),
            MESSAGES.c.offset <= _number("to"),
            MESSAGES.c.payload.is_not(None),
        )
    )


def _forget_states() -> Any:
    """Delete at most `limit` rows of replaced state values, and of deletions that stand below the floor.

    A deletion above the floor stays however old it is: a reader who was away must learn of it, or be told
    of a gap. There is one of it a key at most.
    """
    old = (
        select(MESSAGES.c.offset)
        .where(
            MESSAGES.c.agency == _bytes("agency"),
            MESSAGES.c.address == _bytes("address"),
            MESSAGES.c.lane == _STATE,
            MESSAGES.c.at_ms < _number("before_ms"),
            or_(
                MESSAGES.c.payload.is_(None),
                and_(func.length(MESSAGES.c.payload) == _ZERO, MESSAGES.c.offset <= _number("floor")),
            ),
        )
        .limit(_number("limit"))
    )
    return delete(MESSAGES).where(
        MESSAGES.c.agency == _bytes("agency"),
        MESSAGES.c.address == _bytes("address"),
        MESSAGES.c.lane == _STATE,
        MESSAGES.c.offset.in_(old),
    )
