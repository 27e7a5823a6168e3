"""The statements of `queries`, said once in SQLAlchemy Core and compiled for each store into `statements.py`.

No server imports this: `python -m tests.support.generate` writes `statements.py` anew after a change here, and a test
compares the two.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

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

from leeside_server.adapters.queries import Statement
from leeside_server.adapters.schema import (
    AUDITS,
    BOXES,
    BOXES_SHARED,
    CHANNELS,
    MESSAGES,
    META,
    OBJECTS,
)

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


def compiled(dialect: Literal["sqlite", "postgresql"]) -> dict[str, Statement]:
    """Every statement of `Queries`, for PostgreSQL also those of `PostgresQueries`, by name."""
    for_dialect = (
        _HintingDialect(paramstyle="qmark") if dialect == "sqlite" else PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    )
    defined = _defined() if dialect == "sqlite" else {**_defined(), "sized_page": _sized_page()}
    made: dict[str, Statement] = {}
    for name, statement in defined.items():
        text = statement.compile(dialect=for_dialect)
        assert isinstance(text, SQLCompiler)
        fixed = {key: value for key, value in text.params.items() if value is not None}
        made[name] = Statement(" ".join(text.string.split()), tuple(text.positiontup or ()), fixed)
    return made


def source() -> str:
    """The text of `statements.py`."""
    return _SOURCE.format(sqlite=_written(compiled("sqlite")), postgres=_written(compiled("postgresql")))


def _written(statements: dict[str, Statement]) -> str:
    lines: list[str] = []
    for name, statement in statements.items():
        lines.append(f"    {name}=Statement(")
        lines += [f"        {_quoted(part)}" for part in _CLAUSE.split(statement.sql)]
        lines[-1] += ","
        lines.append(f"        {statement.names!r},".replace("'", '"'))
        if statement.fixed:
            lines.append(f"        {dict(statement.fixed)!r},".replace("'", '"'))
        lines.append("    ),")
    return "\n".join(lines)


_CLAUSE: Final = re.compile(r"(?<= )(?=FROM|WHERE|UNION ALL|ORDER BY|LIMIT|SET )")


def _quoted(text: str) -> str:
    """A literal that needs no backslash where that is possible."""
    return repr(text) if '"' in text and "'" not in text else json.dumps(text)


_SOURCE: Final = '''"""The statements of `queries`, compiled: written by `python -m tests.support.generate` from `definitions`."""

from __future__ import annotations

from typing import Final

from leeside_server.adapters.queries import PostgresQueries, Queries, Statement

# fmt: off
SQLITE: Final = Queries(
{sqlite}
)

POSTGRES: Final = PostgresQueries(
{postgres}
)
'''


def _defined() -> dict[str, ClauseElement]:
    some = _objects().where(OBJECTS.c.agency == _bytes("agency"), OBJECTS.c.id > _bytes("after"))
    some = some.order_by(OBJECTS.c.id).limit(_number("limit"))
    return {
        "entries": _entries(limit_halves=False),
        "log": select(CHANNELS.c.head, CHANNELS.c.floor, META.c.generation).select_from(
            META.outerjoin(CHANNELS, _this_log())
        ),
        "get": _objects().where(OBJECTS.c.agency == _bytes("agency"), OBJECTS.c.id == _bytes("id")),
        "objects": some,
        "children": some.where(OBJECTS.c.parent == _bytes("parent")),
        "due": _objects()
        .add_columns(OBJECTS.c.agency)
        .where(OBJECTS.c.due_ms <= _number("now_ms"))
        .order_by(OBJECTS.c.due_ms, OBJECTS.c.agency, OBJECTS.c.id)
        .limit(_number("limit")),
        "boxes": _boxes(),
        "audits": select(
            AUDITS.c.seq,
            AUDITS.c.at_ms,
            AUDITS.c.event,
            AUDITS.c.actor,
            AUDITS.c.subject,
            AUDITS.c.outcome,
        )
        .where(AUDITS.c.agency == _bytes("agency"), AUDITS.c.seq > _number("after"))
        .order_by(AUDITS.c.seq)
        .limit(_number("limit")),
        "agencies": select(OBJECTS.c.agency)
        .where(OBJECTS.c.kind == _text("kind"))
        .distinct()
        .order_by(OBJECTS.c.agency),
        "generation": select(META.c.generation),
        "set_generation": update(META).values(generation=_number("generation")),
        "lock_log": select(CHANNELS.c.head, CHANNELS.c.floor).where(_this_log()).with_for_update(),
        "set_floor": update(CHANNELS).values(floor=_number("to")).where(_this_log()),
        "prune_log": _prune_log(),
        "forget_states": _forget_states(),
        "forget_pruned": _forget_pruned(),
        "oldest_kept": _oldest_kept(),
        "live_values": _live_values(),
        "oldest_boxes": select(BOXES.c.epoch)
        .where(_boxes_of(BOXES), BOXES.c.epoch < _number("below"))
        .order_by(BOXES.c.epoch)
        .limit(literal_column("1", Integer)),
        "forget_boxes": delete(BOXES).where(
            _boxes_of(BOXES), BOXES.c.epoch >= _number("first"), BOXES.c.epoch < _number("below")
        ),
        "forget_box_lists": update(BOXES_SHARED)
        .values(shared=_bytes("list"))
        .where(
            _boxes_of(BOXES_SHARED),
            BOXES_SHARED.c.epoch >= _number("first"),
            BOXES_SHARED.c.epoch < _number("below"),
        ),
    }


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


def _objects() -> Any:
    return select(
        OBJECTS.c.kind, OBJECTS.c.id, OBJECTS.c.revision, OBJECTS.c.body, OBJECTS.c.parent, OBJECTS.c.due_ms
    ).where(OBJECTS.c.kind == _text("kind"))


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


def _forget_pruned() -> Any:
    """Delete at most `limit` rows of pruned log entries."""
    old = (
        select(MESSAGES.c.offset)
        .where(
            MESSAGES.c.agency == _bytes("agency"),
            MESSAGES.c.address == _bytes("address"),
            MESSAGES.c.lane == _LOG,
            MESSAGES.c.offset <= _number("floor"),
            MESSAGES.c.at_ms < _number("before_ms"),
            MESSAGES.c.payload.is_(None),
        )
        .limit(_number("limit"))
    )
    return delete(MESSAGES).where(
        MESSAGES.c.agency == _bytes("agency"),
        MESSAGES.c.address == _bytes("address"),
        MESSAGES.c.lane == _LOG,
        MESSAGES.c.offset.in_(old),
    )


def _oldest_kept() -> Any:
    """The log's first payload behind its floor."""
    return (
        select(MESSAGES.c.payload)
        .join(
            CHANNELS, and_(CHANNELS.c.agency == MESSAGES.c.agency, CHANNELS.c.address == MESSAGES.c.address)
        )
        .where(
            MESSAGES.c.agency == _bytes("agency"),
            MESSAGES.c.address == _bytes("address"),
            MESSAGES.c.lane == _LOG,
            MESSAGES.c.offset > CHANNELS.c.floor,
            MESSAGES.c.payload.is_not(None),
        )
        .order_by(MESSAGES.c.offset)
        .limit(literal_column("1", Integer))
    )


def _live_values() -> Any:
    """The payloads of standing values; a deleted one has none that counts."""
    return (
        select(MESSAGES.c.payload)
        .with_hint(MESSAGES, "INDEXED BY messages_live", "sqlite")
        .where(
            MESSAGES.c.agency == _bytes("agency"),
            MESSAGES.c.address == _bytes("address"),
            MESSAGES.c.lane == _STATE,
            MESSAGES.c.payload.is_not(None),
            func.length(MESSAGES.c.payload) > _ZERO,
        )
    )


def _boxes_of(table: Any) -> Any:
    return and_(table.c.agency == _bytes("agency"), table.c.channel == _bytes("channel"))
