"""How a guest's stay ends, whoever ends it: a member, the guest, or the end of the consult (spec 08, "Guests")."""

from __future__ import annotations

from leeside_protocol.ids import AgencyId, DeviceId
from leeside_server.core.directory import revocation_parts
from leeside_server.core.guests import GuestRow, ended
from leeside_server.core.identity import DeviceRow, MemberRow, end_member
from leeside_server.core.notices import Random
from leeside_server.core.rows import Held, change
from leeside_server.core.writes import Audit, Part
from leeside_server.ports import Store
from leeside_server.relay.reading import find


async def end_parts(
    store: Store, agency: AgencyId, held: Held[GuestRow], by: DeviceId, now_ms: int, random: Random
) -> list[Part]:
    """What ends one guest, for the item of whoever decides it: the link serves no more, the device is refused at once on
    every node. Nothing for a guest who has ended. Raises `StoreUnavailable`."""
    if held.row.ended_ms:
        return []
    parts: list[Part] = [change(held, ended(held.row, now_ms)), Audit("guest_ended", by, held.id, "done")]
    if held.row.device:
        device = await find(store, agency, DeviceRow, held.row.device)
        member = await find(store, agency, MemberRow, held.id)
        if device is not None:
            parts += revocation_parts(agency, device, (), by, now_ms, random)
        if member is not None:
            parts.append(change(member, end_member(member.row, now_ms)))
    return parts
