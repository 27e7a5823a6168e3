"""The first walk through HTTP: an agency, its people, a sealed channel, boxes that open."""

from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.public.boxes import Box, BoxList
from leeside_protocol.sealing.public.commit import parse_commit
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import ChannelPurpose, Role
from tests.relay.http.world import City


async def test_from_an_operators_code_to_a_channel_that_opens(city: City) -> None:
    agency = await city.agency()
    dispatcher = await agency.join(Role.DISPATCHER)
    responder = await agency.join(Role.RESPONDER)
    unit = await agency.unit(responder, lead=responder)
    room = await agency.open(ChannelPurpose.UNIT, dispatcher, responder, subject=unit)

    info = await responder.ask("channel", id=room.id.hex())
    assert info.epoch == 0
    assert set(info.devices) == {dispatcher.id.hex(), responder.id.hex()}
    page = await responder.ask("log", address=(b"e" + room.id).hex())
    (entry,) = page.entries
    (found,) = await responder.ask("boxes", id=room.id.hex())
    assert found.box.recipient == responder.id
    box = Box(found.box.recipient, found.box.kid, found.box.suite, found.box.sealed)
    theirs = SealedChannel(room.id, responder.id)
    commit = Signed.decode(entry.payload)
    assert parse_commit(commit).hash == info.commit_hash
    installed = theirs.process_commit(
        commit,
        Delivery(box, BoxList(found.box_hashes, found.box_list_sig)),
        responder.keys,
        {agency.id: agency.directory},
        now_ms=city.clock.now_ms(),
    )
    assert installed.opened
