"""Feeds of rotas: a calendar under an address that is its own key (spec 08, "Calendars").

A calendar program signs in nowhere. So whoever has the address reads the calendar, which says when somebody is on call and not
who; the address is random, kept as a hash, shown once, and ends when its maker does or somebody ends it.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, MemberId, RotaId
from leeside_protocol.sealing.public.encoding import digest

SECRET_BYTES: Final = 32
MOST_OF_A_ROTA: Final = 64
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class FeedRow(msgspec.Struct, frozen=True):
    """A feed, kept in `NO_AGENCY` because its reader says nothing but the secret; its id is the secret's hash. `mine`: of its
    maker's shifts alone."""

    agency: AgencyId
    rota: RotaId
    member: MemberId
    mine: bool
    created_ms: int


def feed_path(secret: bytes) -> str:
    """Where a feed is read."""
    return f"/v1/feeds/{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}.ics"


def feed_id(text: str) -> bytes | None:
    """The row's id for what stands in the path; None for what can be no secret."""
    if not _SECRET.fullmatch(text):
        return None
    return digest(b"feed secret", text.encode())[:16]
