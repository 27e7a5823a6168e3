"""Refusals as answers: every failure of a request in one shape, with nothing in it that came from outside."""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.sealing.errors import SealingError
from leeside_server.core.writes import NotStored, Outcome, Repeated, Stored
from leeside_server.ports import StoreFull, StoreUnavailable

RETRY_MS: Final = 1_000


class Refused(ProtocolError):
    """A refusal with what the client needs next: the head to fetch, or how long to wait."""

    def __init__(
        self, code: WireError, detail: str = "", *, head: int = 0, retry_ms: int = 0, person: str = ""
    ) -> None:
        super().__init__(code, detail)
        self.head = head
        self.retry_ms = retry_ms
        self.person = person


def answer_of(error: Exception) -> r.ErrorAnswer | None:
    """The answer to an error that is part of the protocol; None for one that is our own mistake."""
    match error:
        case SealingError():
            return refusal(WireError.SEALING_REFUSED, error.detail, sealing_code=error.code.value)
        case Refused():
            return refusal(
                error.code, error.detail, head=error.head, retry_ms=error.retry_ms, person=error.person
            )
        case ProtocolError():
            return refusal(error.code, error.detail)
        case StoreFull():
            return refusal(WireError.STORAGE_FULL, "there is no room to store this", retry_ms=10 * RETRY_MS)
        case StoreUnavailable():
            return refusal(WireError.UNAVAILABLE, "the store does not answer", retry_ms=RETRY_MS)
        case _:
            return None


def refusal(
    code: WireError,
    detail: str = "",
    *,
    head: int = 0,
    retry_ms: int = 0,
    sealing_code: str = "",
    person: str = "",
) -> r.ErrorAnswer:
    """The answer for an error; that of `not_found` is always the same."""
    # What is missing and what is another agency's must not differ in a single byte.
    text = "" if code is WireError.NOT_FOUND else detail
    return r.ErrorAnswer(code.label, int(code), code.may_retry, text, retry_ms, sealing_code, head, person)


UNEXPECTED: Final = refusal(WireError.UNAVAILABLE, "the server could not do this", retry_ms=RETRY_MS)

encode: Final = msgspec.json.Encoder().encode


def stored(outcome: Outcome) -> Stored | Repeated:
    """The outcome, or its refusal raised."""
    if isinstance(outcome, NotStored):
        raise Refused(outcome.code, "someone else was first: read it anew", head=outcome.head)
    return outcome
