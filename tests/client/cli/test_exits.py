"""Every error ends in a sentence, a code and an exit code of the table; none in a traceback."""

from __future__ import annotations

import sqlite3

import pytest

from leeside.api import ApiError, Unreachable
from leeside.attachments import AttachmentDamaged
from leeside.bodies import BodyError
from leeside.cli.exits import CommandError, Exit, ending_of
from leeside.errors import (
    ChannelAlarmed,
    ChannelUnknown,
    Failed,
    NotPermitted,
    Offline,
    OutboxFull,
    Refused,
    Stopped,
)
from leeside.keystore import WrongPassphrase
from leeside.profile import ProfileError
from leeside_protocol.errors import CloseCode, ProtocolError, WireError
from leeside_protocol.sealing.errors import SealingCode, SealingError


@pytest.mark.parametrize("code", list(WireError))
def test_every_wire_error_has_its_sentence(code: WireError) -> None:
    ending = ending_of(ApiError(code, "the reason", 3_000))
    assert ending is not None
    assert ending.exit_code is not Exit.DONE
    assert ending.code == code.label
    assert "the reason" in ending.sentence
    assert "Wait 3 s" in ending.sentence
    if code.may_retry:
        assert ending.exit_code is Exit.TRY_AGAIN


@pytest.mark.parametrize("code", [WireError.UNAUTHENTICATED, WireError.TOKEN_EXPIRED])
def test_whoever_is_asked_for_is_told_where_to_show_themselves(code: WireError) -> None:
    ending = ending_of(ApiError(code, "person"))
    assert ending is not None
    assert (ending.exit_code, ending.code) == (Exit.NOT_SIGNED_IN, "person")
    assert "web client" in ending.sentence


@pytest.mark.parametrize("code", list(SealingCode))
def test_every_sealing_code_has_its_sentence(code: SealingCode) -> None:
    ending = ending_of(SealingError(code, "a rule"))
    assert ending is not None
    assert ending.code == code.value
    assert ending.exit_code in {Exit.FAILED, Exit.ALARM}
    assert ending.sentence.endswith(".")


@pytest.mark.parametrize("code", ["E_FORK", "E_DIR_FORK", "E_LOG_FORK", "E_DIR_BEHIND", "E_SIG"])
def test_deception_is_an_alarm(code: str) -> None:
    ending = ending_of(SealingError(SealingCode(code)))
    assert ending is not None
    assert ending.exit_code is Exit.ALARM


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (Unreachable("x", sent=True), Exit.TRY_AGAIN),
        (WrongPassphrase("x"), Exit.KEYSTORE),
        (ProfileError("x"), Exit.NOT_SIGNED_IN),
        (CommandError("x", Exit.CONFLICT), Exit.CONFLICT),
        (ProtocolError(WireError.INVALID), Exit.FAILED),
        (FileNotFoundError(2, "No such file", "a.gpx"), Exit.FAILED),
    ],
)
def test_other_errors(error: BaseException, exit_code: Exit) -> None:
    ending = ending_of(error)
    assert ending is not None
    assert ending.exit_code is exit_code


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (Stopped(CloseCode.REVOKED, "revoked"), Exit.NOT_SIGNED_IN, "revoked"),
        (Stopped(CloseCode.UNSUPPORTED, "unsupported"), Exit.FAILED, "unsupported"),
        (Stopped(CloseCode.PROTOCOL, "protocol"), Exit.FAILED, "protocol"),
        (Offline("x"), Exit.TRY_AGAIN, "offline"),
        (Refused(WireError.TOO_LARGE, "64 MiB at most"), Exit.FAILED, "too_large"),
        (OutboxFull("x"), Exit.TRY_AGAIN, "outbox_full"),
        (Failed(), Exit.FAILED, "failed"),
        (sqlite3.OperationalError("database or disk is full"), Exit.FAILED, "disk"),
        (ChannelAlarmed("ghost_device"), Exit.ALARM, "ghost_device"),
        (ChannelAlarmed("E_FORK"), Exit.ALARM, "E_FORK"),
        (ChannelUnknown("x"), Exit.NOT_FOUND, "not_found"),
        (NotPermitted(SealingCode.E_AUTHZ), Exit.FAILED, "E_AUTHZ"),
        (NotPermitted("something else"), Exit.FAILED, "forbidden"),
        (AttachmentDamaged("x"), Exit.FAILED, "damaged"),
        (BodyError(), Exit.FAILED, "E_BODY"),
    ],
)
def test_every_error_of_the_library_has_its_sentence(
    error: BaseException, exit_code: Exit, code: str
) -> None:
    ending = ending_of(error)
    assert ending is not None
    assert (ending.exit_code, ending.code) == (exit_code, code)
    assert ending.sentence.endswith(".")
    assert ".." not in ending.sentence


def test_what_nobody_foresaw_is_not_dressed_up() -> None:
    assert ending_of(ZeroDivisionError()) is None
