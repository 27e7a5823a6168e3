"""No message of the protocol, logged in any way, puts content or a secret into a log line."""

import base64
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog

from leeside_protocol.messages import CLIENT_MESSAGES, LOGGABLE, SERVER_MESSAGES, Entry
from leeside_server import log

MESSAGES = (*CLIENT_MESSAGES, *SERVER_MESSAGES, Entry)
CANARY = b"canary-3f9a-in-the-mine"
ID = bytes.fromhex("00112233445566778899aabbccddeeff")


def renderings() -> list[str]:
    """The canary as any careless hand could have written it."""
    text = CANARY.decode()
    return [
        text,
        CANARY.hex(),
        base64.b64encode(CANARY).decode(),
        base64.urlsafe_b64encode(CANARY).decode().rstrip("="),
        str(list(CANARY))[1:-1],
    ]


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Everything that the process logs, while logging is set up as `serve` does."""
    root = logging.getLogger()
    handlers, level, defaults = root.handlers[:], root.level, structlog.get_config()
    # A server that ran in this process before has set the level of its own.
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorns = uvicorn.level
    uvicorn.setLevel(logging.NOTSET)
    stream = io.StringIO()
    log.set_up("debug", request.param, stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    uvicorn.setLevel(uvicorns)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.configure(**defaults)


def filled(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """A message with the canary in every field that is not marked, and ids and numbers in the marked ones."""
    marked = LOGGABLE[kind.__name__]
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name in marked:
            binary = field.name in {"channel", "device", "id"}
            values[field.name] = b"c" + ID if field.name == "channel" else ID if binary else 7
        else:
            values[field.name] = CANARY
    return kind(**values)


def clean(stream: io.StringIO) -> str:
    written = stream.getvalue()
    for rendering in renderings():
        assert rendering not in written
    return written


def test_every_message_says_which_of_its_fields_are_loggable() -> None:
    assert {kind.__name__ for kind in MESSAGES} == set(LOGGABLE)
    for kind in MESSAGES:
        assert LOGGABLE[kind.__name__] <= set(kind.__struct_fields__)


def test_fields_with_content_or_secrets_are_not_marked() -> None:
    never = {
        "payload",
        "token",
        "proof",
        "nonce",
        "key",
        "hash",
        "detail",
        "client",
        "devices",
        "heads",
        "entries",
    }
    assert never.isdisjoint(log.FIELDS)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
class TestEveryMessage:
    def test_as_it_is_meant_to_be_logged(self, lines: io.StringIO, kind: type[msgspec.Struct]) -> None:
        message = filled(kind)
        log.get_logger("leeside.guard").info("frame", **log.loggable(message))
        written = clean(lines)
        assert "frame" in written
        assert "dropped" not in written
        if "channel" in LOGGABLE[kind.__name__]:
            assert (b"c" + ID).hex()[: log.ID_DIGITS] in written
            assert (b"c" + ID).hex() not in written

    def test_with_all_its_fields(self, lines: io.StringIO, kind: type[msgspec.Struct]) -> None:
        log.get_logger("leeside.guard").info("frame", **msgspec.structs.asdict(filled(kind)))
        assert ("dropped" in clean(lines)) == (len(LOGGABLE[kind.__name__]) < len(kind.__struct_fields__))

    def test_whole_or_as_text(self, lines: io.StringIO, kind: type[msgspec.Struct]) -> None:
        message = filled(kind)
        own = log.get_logger("leeside.guard")
        own.info(
            "frame", message=message, where=message, reason=repr(message), items=[message], count=(message,)
        )
        own.info(f"frame {message}")
        own.info("frame %s", message)
        own.bind(payload=CANARY, reason=str(message)).warning("frame")
        structlog.get_logger("leeside.other").info("frame", message=message, detail=str(message))
        for name in ("leeside.guard", "uvicorn.error", "asyncio", "websockets.server"):
            foreign = logging.getLogger(name)
            foreign.info("frame %s", message)
            foreign.warning(f"got {message}")
            foreign.error("frame_failed", extra={"payload": CANARY, "where_from": repr(message)})
        assert clean(lines).count("\n") == 17

    def test_in_an_exception(self, lines: io.StringIO, kind: type[msgspec.Struct]) -> None:
        message = filled(kind)
        for logger in (
            log.get_logger("leeside.guard"),
            logging.getLogger("leeside.x"),
            logging.getLogger("asyncio"),
        ):
            try:
                try:
                    raise KeyError(message)
                except KeyError as error:
                    raise ExceptionGroup(str(message), [ValueError(repr(message))]) from error
            except ExceptionGroup:
                logger.exception("frame_failed")
                logger.warning("frame_failed", exc_info=True)
                logger.warning("frame_failed", exc_info=sys.exc_info())
        written = clean(lines)
        assert written.count("ExceptionGroup < ValueError < KeyError") == 9
        assert written.count("test_log.py:") >= 9
        assert "Traceback" not in written


def test_the_search_finds_what_is_there() -> None:
    """Guards the guard: each rendering is found when it is written on purpose."""
    for rendering in renderings():
        with pytest.raises(AssertionError):
            clean(io.StringIO(f"payload={rendering}"))


class TestLines:
    @pytest.mark.parametrize(("level", "shown"), [("info", False), ("debug", True)])
    def test_what_migrations_say_of_themselves_is_for_who_asks(self, level: str, shown: bool) -> None:
        stream = io.StringIO()
        root = logging.getLogger()
        handlers, before = root.handlers[:], root.level
        try:
            log.set_up(level, "json", stream)
            logging.getLogger("alembic.runtime.migration").info("Context impl.")
            logging.getLogger("alembic.runtime.migration").warning("something is wrong")
        finally:
            root.handlers[:] = handlers
            root.setLevel(before)
            logging.getLogger("alembic").setLevel(logging.NOTSET)
            logging.captureWarnings(capture=False)
            structlog.reset_defaults()
        levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
        assert levels == (["info", "warning"] if shown else ["warning"])

    def test_json_lines_are_objects(self) -> None:
        stream = io.StringIO()
        record = logging.makeLogRecord(
            {"name": "x", "levelno": logging.INFO, "levelname": "INFO", "msg": "y"}
        )
        before = logging.getLogger().handlers[:]
        try:
            log.set_up("info", "json", stream)
            logging.getLogger().handlers[0].handle(record)
            log.get_logger("leeside.x").warning(
                "disk_full", free_bytes=12, store="sqlite", agency=ID, ok=True
            )
            log.get_logger("leeside.x").debug("quiet")
        finally:
            logging.getLogger().handlers[:] = before
            logging.captureWarnings(capture=False)
            structlog.reset_defaults()
        first, second = (json.loads(line) for line in stream.getvalue().splitlines())
        assert first["event"] == "library_message"
        assert first["logger"] == "x"
        del second["timestamp"]
        assert second == {
            "event": "disk_full",
            "level": "warning",
            "logger": "leeside.x",
            "free_bytes": 12,
            "store": "sqlite",
            "agency": ID.hex()[: log.ID_DIGITS],
            "dropped": 1,
        }

    def test_no_field_may_hold_a_sentence_or_a_token(self) -> None:
        for text in ("a sentence", "x" * 65, "naïve", "a\nb", "{}", "a=b"):
            assert "reason" not in log.keep_allowed(None, "info", {"event": "e", "reason": text})
        assert log.keep_allowed(None, "info", {"event": "e", "reason": "not_found"})["reason"] == "not_found"
