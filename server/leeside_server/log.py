"""What the server writes about itself: event names and allow-listed fields, and nothing else.

A line is `{"timestamp", "level", "logger", "event", …fields}`. A field is written when its *name* stands in
`FIELDS` and its value is a number, a flag, an id (16 or 17 bytes, shown as a prefix) or a short word. Everything
else is left out and only counted (`dropped`), whoever logged it: free text, payloads, keys, tokens, and the
texts of exceptions, which repeat what was decoded. Of an exception its type and the places it passed are kept.

The same filter stands before other libraries' lines. Their text may be built from input, so of those only the
logger's name, the level and the place in the code are written.

    _log = get_logger("leeside.socket")
    _log.info("refused", **loggable(refused))
    _log.error("commit_failed", exc_info=True)
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, Literal, TextIO, cast

import msgspec

from leeside_protocol.messages import LOGGABLE

# structlog takes rich, where it is there, for tracebacks in colour, which the filter below never lets through. Loading it
# is a fifth of what a server imports at its start, with clients waiting. None means "not there" to an import.
_modules = cast("dict[str, ModuleType | None]", sys.modules)
_rich = _modules.setdefault("rich", None)
try:
    import structlog
    from structlog.typing import EventDict, Processor
finally:
    if _rich is None:
        del _modules["rich"]

FIELDS: Final[frozenset[str]] = frozenset[str]().union(*LOGGABLE.values()) | frozenset(
    {
        # who and what
        "agency", "member", "session", "node", "blob", "incident", "unit", "role", "roles", "route", "method",
        # how it went
        "status", "code", "error", "where", "reason", "kind", "duration_ms", "retry_ms",
        # how much
        "count", "bytes", "items", "failures", "topics", "sockets", "waiting", "lag_ms", "free_bytes", "offset",
        # the process
        "pid", "port", "version", "schema", "signal", "store", "bus", "tls", "level", "logger", "event", "timestamp",
        "dropped",
    }
)  # fmt: skip
"""Names of fields that may be written: those of messages are marked where messages are defined."""

ID_DIGITS: Final = 10
"""Hexadecimal digits of an id that are shown: enough to follow it through a log, too few to use it."""
FRAMES: Final = 8
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/-]*\Z")
_WORD_CHARS: Final = 64
_ID_BYTES: Final = (16, 17)
_PLACES: Final = "where"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


def loggable(message: msgspec.Struct) -> dict[str, Any]:
    """The fields of a protocol message that are marked loggable where it is defined, by name."""
    marked = LOGGABLE.get(type(message).__name__, frozenset())
    return {name: getattr(message, name) for name in message.__struct_fields__ if name in marked}


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines pass the filter, configured or not. `name` begins with `leeside.`"""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name), processors=_OWN, wrapper_class=structlog.stdlib.BoundLogger
    )
    return logger


def set_up(level: str, form: Literal["json", "console"], stream: TextIO | None = None) -> None:
    """Send every line of the process to `stream` (standard error), filtered. Call once, before anything runs."""
    handler = logging.StreamHandler(stream or sys.stderr)
    renderer: Processor = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=handler.stream.isatty())
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_FOREIGN, structlog.processors.TimeStamper(fmt="iso", utc=True)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            keep_exc_info=False,
        )
    )
    handler.addFilter(_strip)
    # Loggers that structlog itself gave out pass the same filter.
    structlog.configure(
        processors=_OWN,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What it does at each start is of interest to who looks for a fault, and a wall of lines to everyone else.
    logging.getLogger("alembic").setLevel(logging.WARNING if level != "debug" else logging.NOTSET)
    # One line a request, with addresses and paths: metrics count them instead.
    logging.getLogger("uvicorn.access").disabled = True
    logging.captureWarnings(capture=True)


# ---- the filter


def keep_allowed(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Keep what may be written; count the rest."""
    kept: EventDict = {"event": _event_name(event.pop("event", None))}
    exception = event.pop("exc_info", None)
    if exception:
        kept.update(_exception_fields(exception))
    dropped = 0
    for name, value in event.items():
        if name.startswith("_"):
            kept[name] = value  # structlog's own, taken away before rendering
            continue
        shown = _shown(value) if name in FIELDS else None
        if shown is None:
            dropped += value is not None
        else:
            kept.setdefault(name, shown)
    if dropped:
        kept["dropped"] = dropped
    return kept


def _event_name(event: object) -> str:
    return event if isinstance(event, str) and _EVENT.match(event) else "unnamed_event"


def _shown(value: object) -> object:
    """The value as it is written; None when it is not."""
    match value:
        case Enum():
            return value.name.lower()
        case bool() | int() | float():
            return value
        case bytes() if len(value) in _ID_BYTES:
            return value.hex()[:ID_DIGITS]
        case str() if len(value) <= _WORD_CHARS and _WORD.match(value):
            return value
        case _:
            return None


def _exception_fields(given: object) -> dict[str, object]:
    error: BaseException | None = sys.exc_info()[1]
    if isinstance(given, BaseException):
        error = given
    elif isinstance(given, tuple):
        error = cast("tuple[object, BaseException | None, object]", given)[1]
    if error is None:
        return {}
    return {"error": " < ".join(_types(error)), _PLACES: " < ".join(_places(error.__traceback__))}


def _types(error: BaseException, depth: int = 0) -> Iterator[str]:
    """The exception, what it groups and what caused it, by type."""
    yield type(error).__name__
    if depth >= FRAMES:
        return
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions:
            yield from _types(inner, depth + 1)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _types(cause, depth + 1)


def _places(traceback: TracebackType | None) -> list[str]:
    """Where it was raised first, then who called: file, line, function, and no values."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return found[::-1][:FRAMES]


# ---- other libraries' lines


def _foreign(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A line that did not come through `get_logger`: the name of the event if it has one, and extra fields."""
    record: logging.LogRecord = event["_record"]
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    template = record.msg if isinstance(record.msg, str) else ""
    first = template.partition(" ")[0]
    own = record.name.startswith("leeside.") and "_" in first and _EVENT.match(first)
    line: EventDict = {
        **{name: value for name, value in extra.items() if not name.startswith("_")},
        "event": first if own else "library_message",
        "level": record.levelname.lower(),
        "logger": record.name,
        "exc_info": getattr(record, "leeside_exc_info", None),
        "_record": record,
        "_from_structlog": False,
    }
    if not own:
        line[_PLACES] = f"{Path(record.pathname).name}:{record.lineno}"
    return line


def _strip(record: logging.LogRecord) -> bool:
    """Take the exception off a record before a formatter can print it; our own filter reads it from the side."""
    if record.exc_info:
        record.leeside_exc_info = record.exc_info
        record.exc_info = None
    record.exc_text = None
    record.stack_info = None
    return True


_OWN: Final[tuple[Processor, ...]] = (
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    keep_allowed,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
)
_FOREIGN: Final[tuple[Processor, ...]] = (_foreign, keep_allowed)
