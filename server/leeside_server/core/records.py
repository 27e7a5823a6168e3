"""What may become of an ended incident's records: kept on hold, taken by retention, shredded. Rules only.

A legal hold beats everything: while one stands, nothing of the incident is pruned or shredded. Shredding takes away
what opens an incident's content, for good, and only after its retention time. Both are decided by compare-and-set on
one row, so that of a hold and a shredding at the same moment exactly one is the first, and the other is refused.

The row is apart from the incident's: a server of the version before, which does not know it, cannot lose a hold by
writing the incident anew.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.words import HoldReason
from leeside_server.core.incidents import ENDED, IncidentRow

HELD: Final = b"held"
"""The parent of rows with a hold: these are looked up every day."""
DAY_MS: Final = 86_400_000


class HoldRow(msgspec.Struct, frozen=True):
    """One legal hold. `reason` is a `HoldReason`, kept as text: a later version may know more of them."""

    reason: str
    by: DeviceId
    since_ms: int


class RecordsRow(msgspec.Struct, frozen=True):
    """An incident's records; its id is the incident's, and it is there once something was decided about them.

    `emptied_ms`: retention began to take the content. `shred_ms`: shredding was ordered by device `shred_by`, and goes on
    until `shredded_ms` says that it is done.
    """

    holds: tuple[HoldRow, ...] = ()
    emptied_ms: int = 0
    shred_ms: int = 0
    shred_by: DeviceId | None = None
    shredded_ms: int = 0


def kept_until_ms(incident: IncidentRow, incident_days: int) -> int:
    """When an ended incident's retention time is over; 0 while it goes on, and when it is kept for good."""
    if incident.state not in ENDED or not incident_days:
        return 0
    return incident.closed_ms + incident_days * DAY_MS


def place_hold(row: RecordsRow, reason: HoldReason, by: DeviceId, now_ms: int) -> RecordsRow:
    """The row with this hold; the same row when it stands already. `forbidden` once shredding was ordered."""
    if row.shred_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this incident's records were shredded")
    if any(hold.reason == reason for hold in row.holds):
        return row
    return msgspec.structs.replace(row, holds=(*row.holds, HoldRow(reason.value, by, now_ms)))


def release_hold(row: RecordsRow, reason: HoldReason) -> RecordsRow:
    """The row without the hold for this reason; the same row when there is none."""
    left = tuple(hold for hold in row.holds if hold.reason != reason)
    return row if len(left) == len(row.holds) else msgspec.structs.replace(row, holds=left)


def order_shredding(
    row: RecordsRow, incident: IncidentRow, incident_days: int, by: DeviceId, now_ms: int
) -> RecordsRow:
    """The row with the order to shred; the same row when it was given before. `forbidden` as long as records must stay."""
    if row.shred_ms:
        return row
    if row.holds:
        raise ProtocolError(WireError.FORBIDDEN, "this incident is on legal hold")
    if incident.state not in ENDED:
        raise ProtocolError(WireError.FORBIDDEN, "this incident goes on")
    until_ms = kept_until_ms(incident, incident_days)
    if not until_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this server keeps incidents for good: see [retention]")
    if now_ms < until_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this incident's retention time is not over")
    return msgspec.structs.replace(row, shred_ms=now_ms, shred_by=by)
