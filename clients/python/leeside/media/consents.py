"""Whether media may be sent in a consult's channel now: what was agreed to, withdrawn, or ran out (spec 09, "Bodies")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from leeside.bodies import Consent, ConsentWithdrawn
from leeside.history import History, Verdict
from leeside.telling import reading_of
from leeside_protocol.ids import ChannelAddress, MessageId

_PAGE: Final = 200
_NEWEST: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Standing:
    """`in_force`: the message id of the newest consent that neither ended nor was withdrawn. `withdrawn`: there is none, because
    one was taken back."""

    in_force: MessageId | None = None
    withdrawn: bool = False


def standing(history: History, log: ChannelAddress, now_ms: int) -> Standing:
    """How it is by the local copy of a channel's log."""
    withdrawn: set[MessageId] = set()
    before = _NEWEST
    while True:
        rows = history.before(log, before, _PAGE)
        for row in reversed(rows):
            content = reading_of(row).content if row.verdict is Verdict.OPENED and row.value else None
            if isinstance(content, ConsentWithdrawn):
                withdrawn.add(content.consent)
            elif isinstance(content, Consent) and row.id not in withdrawn and content.expires_ms > now_ms:
                return Standing(row.id)
        if len(rows) < _PAGE:
            return Standing(withdrawn=bool(withdrawn))
        before = rows[0].offset
