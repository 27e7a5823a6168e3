"""The server's own consult, once a minute: is somebody who asks still paged, and does an answer still arrive? (spec 08,
"Clockwork").

It is a consult like any other, in an agency of its own that no person belongs to: asked for, paged by the outbox, answered by
the canary device when its page comes, joined and ended. What it takes is measured; that it stopped is an alarm. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelId, ConsultId, DeviceId, IncidentId, LadderId, MemberId
from leeside_protocol.sealing.public.encoding import digest
from leeside_protocol.words import Role, Urgency
from leeside_server.core.consult import Request
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import DeviceRow, DeviceState, MemberRow
from leeside_server.core.ladder import LadderRow, StepRow


def _id(name: bytes) -> bytes:
    return digest(b"synthetic", name)[:16]


EVERY_MS: Final = 60_000
SYNTHETIC_ID: Final = _id(b"row")
AGENCY: Final = AgencyId(_id(b"agency"))
"""Not among the store's agencies: there is no row of it."""
CANARY: Final = MemberId(_id(b"canary"))
DEVICE: Final = DeviceId(_id(b"device"))
LADDER: Final = LadderId(_id(b"ladder"))
ENDPOINT: Final = "canary:"
"""Where its pushes go: nowhere. The node that would send one answers in its place."""
_ASKING: Final = MemberId(_id(b"asking"))


class SyntheticRow(msgspec.Struct, frozen=True):
    """The run that goes on, if one does, and how the last one ended; of `NO_AGENCY`. `began_ms` and `passed_ms` (when one
    last ended well) are steady time."""

    consult: bytes = b""
    began_ms: int = 0
    passed_ms: int = 0
    took_ms: int = 0
    failures: int = 0


def begin(row: SyntheticRow, consult: ConsultId, now_ms: int) -> SyntheticRow:
    """The next run. One that still goes on has failed."""
    return SyntheticRow(consult, now_ms, row.passed_ms, row.took_ms, row.failures + bool(row.consult))


def passed(row: SyntheticRow, consult: ConsultId, now_ms: int) -> SyntheticRow:
    """The run ended well; unchanged when it is another's turn already."""
    if row.consult != consult:
        return row
    return SyntheticRow(b"", row.began_ms, now_ms, max(0, now_ms - row.began_ms), row.failures)


def request(channel: ChannelId) -> Request:
    """What is asked for, each time."""
    incident = IncidentId(_id(b"incident"))
    return Request(
        incident,
        None,
        _ASKING,
        DEVICE,
        Urgency.IMPORTANT,
        "",
        interpreter=False,
        specialty="",
        channel=channel,
    )


def rows(wall_ms: int) -> tuple[tuple[bytes, MemberRow | DeviceRow | LadderRow | DutyRow], ...]:
    """What the agency consists of, with the rows' ids."""
    return (
        (CANARY, MemberRow((Role.PSYCHIATRIST,), wall_ms)),
        (
            DEVICE,
            DeviceRow(CANARY, bytes(32), DeviceState.ACTIVE, "canary", "", wall_ms, push_endpoint=ENDPOINT),
        ),
        (LADDER, LadderRow("canary", wall_ms, (StepRow(members=(CANARY,)),))),
        (DEVICE, DutyRow(CANARY, on=True)),
    )
