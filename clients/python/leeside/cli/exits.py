"""How a command ends: its exit code, and the sentence that a person reads.

| code | means | what to do |
|---|---|---|
| 0 | done | |
| 1 | refused or failed | read the sentence |
| 2 | the command line is wrong | `--help` |
| 3 | this device is not signed in: not enrolled, pending, revoked | enrol, or ask an administrator |
| 4 | the server cannot be reached, or asks to come back later | try again |
| 5 | a sealing rule is broken: someone may be deceiving this agency | stop, talk by voice |
| 6 | the keystore does not open: passphrase, damage, lock | read the sentence |
| 7 | there is no such thing, or it is not yours | check the name or id |
| 8 | someone else changed it first | look again, then repeat |
| 130 | interrupted | |
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from leeside.api import ApiError, Unreachable
from leeside.attachments import AttachmentDamaged
from leeside.authority import SecondSignature
from leeside.bodies import BodyError
from leeside.errors import (
    ChannelAlarmed,
    ChannelUnknown,
    Failed,
    LeesideError,
    NotPermitted,
    Offline,
    OutboxFull,
    Refused,
    Stopped,
)
from leeside.keystore import KeystoreError
from leeside.profile import ProfileError
from leeside_protocol.errors import CloseCode, ProtocolError, WireError
from leeside_protocol.sealing.errors import SealingCode, SealingError


class Exit(IntEnum):
    """Exit codes; documented in the module's table and in `leeside --help`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    TRY_AGAIN = 4
    ALARM = 5
    KEYSTORE = 6
    NOT_FOUND = 7
    CONFLICT = 8
    INTERRUPTED = 130


class CommandError(LeesideError):
    """A command cannot go on; the text is for the person."""

    def __init__(self, text: str, exit_code: Exit = Exit.FAILED, code: str = "") -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.code = code


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a command ended: the code that programs compare, the sentence that people read."""

    exit_code: Exit
    code: str
    sentence: str


_WIRE: Final[dict[WireError, tuple[Exit, str]]] = {
    WireError.UNAVAILABLE: (Exit.TRY_AGAIN, "The server cannot do this at the moment. Try again shortly."),
    WireError.STORAGE_FULL: (Exit.TRY_AGAIN, "The server's disk is full. Tell whoever operates it."),
    WireError.BUSY: (Exit.TRY_AGAIN, "The server is busy. Try again shortly."),
    WireError.RATE_LIMITED: (Exit.TRY_AGAIN, "Too many requests from here. Wait, then try again."),
    WireError.STALE: (Exit.CONFLICT, "The channel's keys changed meanwhile. Run the command again."),
    WireError.CONFLICT: (Exit.CONFLICT, "Someone else changed this first. Look at it again, then repeat."),
    WireError.ALREADY_ACCEPTED: (
        Exit.CONFLICT,
        "Somebody else accepted this consult first: you are not needed.",
    ),
    WireError.TOKEN_EXPIRED: (Exit.NOT_SIGNED_IN, "The session is over. Run the command again to sign in."),
    WireError.NOT_SUBSCRIBED: (Exit.FAILED, "This channel is not followed here."),
    WireError.PENDING: (
        Exit.NOT_SIGNED_IN,
        "This device waits for approval: show its short code to an administrator (leeside device show).",
    ),
    WireError.INVALID: (Exit.FAILED, "The server does not accept this request."),
    WireError.NOT_FOUND: (Exit.NOT_FOUND, "There is no such thing, or it is not yours to see."),
    WireError.FORBIDDEN: (Exit.FAILED, "Your role does not permit this. An administrator can say who may."),
    WireError.TOO_LARGE: (Exit.FAILED, "This is too large for the server."),
    WireError.UNSUPPORTED: (
        Exit.FAILED,
        "Server and this program do not understand each other: update both.",
    ),
    WireError.UNAUTHENTICATED: (
        Exit.NOT_SIGNED_IN,
        "The server does not know this device. Is it enrolled there?",
    ),
    WireError.EXPIRED: (
        Exit.FAILED,
        "This has expired: ask an administrator for a new code; for a certificate, enrol a device anew.",
    ),
    WireError.SEALING_REFUSED: (Exit.FAILED, "The server found a sealing rule broken and stored nothing."),
    WireError.REVOKED: (
        Exit.NOT_SIGNED_IN,
        "This device was revoked. An administrator can enrol another one.",
    ),
}

_ALARMS: Final = frozenset(
    {
        SealingCode.E_FORK,
        SealingCode.E_DIR_FORK,
        SealingCode.E_LOG_FORK,
        SealingCode.E_DIR_BEHIND,
        SealingCode.E_DIR_CHAIN,
        SealingCode.E_HEAD_ROLLBACK,
        SealingCode.E_SIG,
        SealingCode.E_CHAIN,
    }
)
"""Codes that mean that somebody may be deceiving: stop and talk by voice."""

_PERSON: Final = "Your agency asks who is at the device, by a passkey or its own sign-in, which this program cannot show: use the web client."

_DECEIVED: Final = (
    "What the server shows does not fit what was signed: someone may be deceiving this agency. Send nothing, talk by "
    "voice, and keep this machine as it is."
)

_SEALING: Final[dict[SealingCode, str]] = {
    SealingCode.E_AUTHZ: "This device's certificate does not permit this.",
    SealingCode.E_COMPARTMENT: "A device in the roster is not certified for this compartment.",
    SealingCode.E_AUTH: "This compartment needs a consent or break-glass record first.",
    SealingCode.E_DIR_SIGNER: "This authority may not sign that, or a second signature is missing.",
    SealingCode.E_DIR: "The directory does not take this entry: it repeats or contradicts what stands there.",
    SealingCode.E_CLOCK: "This machine's clock is more than ten minutes off. Set it, then try again.",
    SealingCode.E_REVOKED: "A device named here was revoked.",
    SealingCode.E_EXPIRED: "A certificate named here has expired.",
    SealingCode.E_UNKNOWN_DEVICE: "A device named here is not certified.",
    SealingCode.E_NO_KEY: "This device was not given the keys for that. Ask a member to grant them.",
    SealingCode.E_DEVKEY: "A device's keys do not belong together, or are out of date.",
    SealingCode.E_RECORDS: "The records keys do not fit this channel.",
}


def ending_of(error: BaseException) -> Ending | None:
    """How a command ends that raised this; None for what nobody foresaw."""
    if isinstance(error, CommandError):
        return Ending(error.exit_code, error.code, str(error))
    if isinstance(error, Unreachable):
        return Ending(
            Exit.TRY_AGAIN,
            "unreachable",
            "The server cannot be reached. Is the address right, the network up?",
        )
    if isinstance(error, ApiError) and error.detail == "person":
        return Ending(Exit.NOT_SIGNED_IN, "person", _PERSON)
    if isinstance(error, ApiError):
        exit_code, sentence = _WIRE[error.code]
        return Ending(exit_code, _with(error.code.label, error.sealing_code), _told(sentence, error))
    if isinstance(error, SealingError):
        return _sealing(error)
    if isinstance(error, KeystoreError):
        return Ending(Exit.KEYSTORE, "keystore", str(error))
    if isinstance(error, ProfileError):
        return Ending(Exit.NOT_SIGNED_IN, "profile", str(error))
    if isinstance(error, LeesideError):
        return _library(error)
    if isinstance(error, BodyError):
        return Ending(Exit.FAILED, error.code, "This is empty, too long, or not of the kind that goes here.")
    if isinstance(error, ProtocolError):
        return Ending(Exit.FAILED, error.code.label, f"{error.detail or error.code.label}.")
    if isinstance(error, sqlite3.Error):
        return Ending(
            Exit.FAILED,
            "disk",
            "This device's own disk is full, or fails, and nothing can be kept on it. What was not shown as accepted may not "
            "have been sent: make room, look into the channel, and say it again if it is not there.",
        )
    if isinstance(error, OSError):
        return Ending(
            Exit.FAILED,
            "system",
            f"{error.strerror or 'The system refused'}: {error.filename or ''}".rstrip(": "),
        )
    return None


def _library(error: LeesideError) -> Ending:
    match error:
        case Stopped(code=CloseCode.REVOKED):
            exit_code, sentence = _WIRE[WireError.REVOKED]
            return Ending(exit_code, WireError.REVOKED.label, sentence)
        case Stopped(code=CloseCode.UNSUPPORTED):
            exit_code, sentence = _WIRE[WireError.UNSUPPORTED]
            return Ending(exit_code, WireError.UNSUPPORTED.label, sentence)
        case Stopped():
            return Ending(
                Exit.FAILED, error.label, "The server ended the link and takes no other: look at its log."
            )
        case Offline():
            return Ending(Exit.TRY_AGAIN, "offline", "There is no live link to the server. Try again.")
        case Refused():
            exit_code, sentence = _WIRE[error.code]
            return Ending(exit_code, error.code.label, f"{sentence} {error.detail}.".replace(" .", ""))
        case Failed():
            return Ending(
                Exit.FAILED,
                "failed",
                "Something broke in this program, and nothing is sent or received any more. What was written before is kept: "
                "make sure that this disk is not full, and start it again.",
            )
        case OutboxFull():
            return Ending(
                Exit.TRY_AGAIN, "outbox_full", "Too much waits to be sent: nothing more is taken until it is."
            )
        case ChannelAlarmed(code="ghost_device"):
            return Ending(
                Exit.ALARM,
                error.code,
                "A device that this one never met was certified under your name. Nothing is sent here until it is settled. "
                "Yours? leeside device confirm. Not yours? Ask your administrator, by voice, whose it is.",
            )
        case ChannelAlarmed():
            return Ending(Exit.ALARM, error.code, _DECEIVED)
        case ChannelUnknown():
            return Ending(
                Exit.NOT_FOUND, "not_found", "There is no such channel, or this device is not in it."
            )
        case NotPermitted():
            return Ending(Exit.FAILED, *_not_permitted(str(error)))
        case SecondSignature():
            return Ending(
                Exit.FAILED,
                "second_signature",
                "This agency has two authorities, and both must sign this: give both key files (--authority twice).",
            )
        case AttachmentDamaged():
            return Ending(
                Exit.FAILED, "damaged", "The file that came is not the one that was sent. Ask for it again."
            )
        case _:
            return Ending(Exit.FAILED, type(error).__name__, f"{error}.")


def _not_permitted(code: str) -> tuple[str, str]:
    """A broken rule's code and its sentence; the sentence about certificates for what is no code."""
    try:
        return code, _SEALING[SealingCode(code)]
    except (ValueError, KeyError):
        return "forbidden", _SEALING[SealingCode.E_AUTHZ]


def _told(sentence: str, error: ApiError) -> str:
    parts = [sentence]
    if error.detail:
        parts.append(f"It says: {error.detail}.")
    if error.retry_ms:
        parts.append(f"Wait {max(1, error.retry_ms // 1000)} s.")
    return " ".join(parts)


def _sealing(error: SealingError) -> Ending:
    if error.code in _ALARMS:
        return Ending(
            Exit.ALARM,
            error.code.value,
            _DECEIVED,
        )
    return Ending(
        Exit.FAILED,
        error.code.value,
        _SEALING.get(error.code, f"A sealing rule does not hold: {error.detail}."),
    )


def _with(code: str, more: str) -> str:
    return f"{code} {more}" if more else code
