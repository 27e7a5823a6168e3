"""Places that only one channel may hold: the agency's, a unit's (spec 03, "Places")."""

from __future__ import annotations

import msgspec
import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.words import ChannelPurpose, Role
from leeside_server.core.channels import ChannelRow
from leeside_server.core.rows import KINDS, SlotRow, change, read, remove, slot_id
from leeside_server.core.writes import Item, Part, Stored
from tests.relay.http.world import Agency, Refusal

PERIODIC = Change(CommitReason.PERIODIC)


async def _write(agency: Agency, *parts: Part) -> None:
    (outcome,) = await agency.city.node.write([Item(agency.id, agency.city.clock.now_ms(), parts)])
    assert isinstance(outcome, Stored)


async def _forget_place(agency: Agency, unit: bytes) -> None:
    """As it was before units held places."""
    key = slot_id(ChannelPurpose.UNIT, unit, 0)
    found = await agency.city.node.store.get(agency.id, KINDS[SlotRow], key)
    assert found is not None
    await _write(agency, remove(SlotRow, read(SlotRow, found)))


async def _set_archived(agency: Agency, channel: ChannelId, *, archived: bool) -> None:
    found = await agency.city.node.store.get(agency.id, KINDS[ChannelRow], channel)
    assert found is not None
    held = read(ChannelRow, found)
    await _write(agency, change(held, msgspec.structs.replace(held.row, archived=archived)))


async def test_an_agency_has_one_channel_of_its_own(agency: Agency) -> None:
    room = await agency.open(ChannelPurpose.AGENCY, agency.admin)
    with pytest.raises(Refusal) as refused:
        await agency.open(ChannelPurpose.AGENCY, agency.admin)
    assert refused.value.code is WireError.CONFLICT
    info = await agency.admin.ask("archive_channel", id=room.id.hex())
    assert info.archived
    await agency.open(ChannelPurpose.AGENCY, agency.admin)


async def test_a_unit_has_one_channel_until_that_is_archived(agency: Agency) -> None:
    desk, other = await agency.join(Role.DISPATCHER), await agency.join(Role.DISPATCHER)
    unit, another = await agency.unit(), await agency.unit()
    room = await agency.open(ChannelPurpose.UNIT, desk, subject=unit)
    with pytest.raises(Refusal) as refused:
        await agency.open(ChannelPurpose.UNIT, other, subject=unit)
    assert refused.value.code is WireError.CONFLICT
    assert (await other.ask("channels")).items == ()
    await agency.open(ChannelPurpose.UNIT, desk, subject=another)

    await desk.ask("archive_channel", id=room.id.hex())
    after = await agency.open(ChannelPurpose.UNIT, other, subject=unit)
    with pytest.raises(Refusal) as refused:
        await agency.open(ChannelPurpose.UNIT, desk, subject=unit)
    assert refused.value.code is WireError.CONFLICT
    await after.post(after.make(PERIODIC))


async def test_channels_of_a_unit_from_before_go_on_and_hold_its_place(agency: Agency) -> None:
    desk = await agency.join(Role.DISPATCHER)
    unit = await agency.unit()
    first = await agency.open(ChannelPurpose.UNIT, desk, subject=unit)
    await _set_archived(agency, first.id, archived=True)
    second = await agency.open(ChannelPurpose.UNIT, desk, subject=unit)
    await _set_archived(agency, first.id, archived=False)
    await _forget_place(agency, unit)

    for room in (first, second):
        await room.post(room.make(PERIODIC))
        with pytest.raises(Refusal) as refused:
            await agency.open(ChannelPurpose.UNIT, desk, subject=unit)
        assert refused.value.code is WireError.CONFLICT
        await desk.ask("archive_channel", id=room.id.hex())
    await agency.open(ChannelPurpose.UNIT, desk, subject=unit)
