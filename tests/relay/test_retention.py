"""Retention: what goes when, what never goes, and that doing it twice changes nothing."""

import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from leeside_protocol import resources as r
from leeside_protocol.ids import (
    AgencyId,
    BlobId,
    ChannelAddress,
    ChannelId,
    ChannelKind,
    MemberId,
    MessageId,
    StateKind,
    address,
    state_key,
)
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.words import ChannelPurpose, IncidentState, Lane, Role
from leeside_server.core.attachments import BlobRow
from leeside_server.core.commits import FORGOTTEN_BOXES
from leeside_server.core.guests import GuestCodeRow
from leeside_server.core.identity import NO_AGENCY, BootstrapRow, DeviceRow, EnrolmentRow, SessionRow
from leeside_server.core.incidents import IncidentRow
from leeside_server.core.person import TicketRow
from leeside_server.core.rows import KINDS, create
from leeside_server.core.writes import Append, Item, Save, StoredEntry
from leeside_server.relay.retention import SETTLED_MS, Retention, RetentionSettings
from tests.relay.http.world import Agency, City, Person, Room, channel_post
from tests.relay.http.world import city as open_city

DAY_S = 86_400


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with open_city(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def agency(city: City) -> Agency:
    return await city.agency()


async def put(
    agency: Agency,
    channel: bytes,
    sender: Person,
    payload: bytes,
    key: bytes = b"",
    log: ChannelAddress | None = None,
) -> None:
    lane = Lane.STATE if key else Lane.LOG
    log = log or address(ChannelKind.CONTENT, channel)
    part = Append(log, lane, key, sender.id, MessageId(os.urandom(16)), payload)
    await agency.city.node.write([Item(agency.id, agency.city.clock.now_ms(), (part,))])


async def entries(agency: Agency, kind: ChannelKind, owner: bytes) -> list[StoredEntry]:
    page = await agency.city.node.store.read(agency.id, address(kind, owner), 0, 500, 1 << 20)
    return list(page.entries)


async def closed_incident(agency: Agency) -> tuple[bytes, Person]:
    """An incident with a message, a position and an attachment, closed."""
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, incident=incident)
    post = channel_post(ChannelPurpose.INCIDENT, made, incident)
    await dispatcher.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    channel = made.commit.channel_id
    await put(agency, channel, dispatcher, b"a message")
    await put(agency, channel, dispatcher, b"a place", state_key(StateKind.POSITION, dispatcher.id))
    await put(agency, channel, dispatcher, b"a status", state_key(StateKind.STATUS, os.urandom(16)))
    blob = await dispatcher.ask("create_blob", r.NewBlob(4), id=channel.hex())
    await dispatcher.ask("put_chunk", b"blob", id=blob.id, index=0)
    await dispatcher.ask(
        "change_incident", r.IncidentChange(1, state=IncidentState.CLOSED), id=incident.hex()
    )
    return channel, dispatcher


def payloads(found: list[StoredEntry]) -> list[bytes | None]:
    return [entry.payload for entry in found]


async def test_last_positions_go_when_the_incident_closes_and_nothing_else_does(agency: Agency) -> None:
    channel, dispatcher = await closed_incident(agency)
    retention = Retention(agency.city.node, RetentionSettings())
    for _ in range(2):
        await retention.sweep()
        found = await entries(agency, ChannelKind.CONTENT, channel)
        assert payloads(found) == [b"a message", b"a status", b""]
        assert found[-1].key == state_key(StateKind.POSITION, dispatcher.id)
    assert agency.city.blobs.chunks


async def test_payloads_and_attachments_go_after_their_days_and_hashes_and_epochs_stay(
    agency: Agency,
) -> None:
    channel, _ = await closed_incident(agency)
    retention = Retention(agency.city.node, RetentionSettings(incident_days=30))
    await retention.sweep()
    agency.city.clock.advance(29 * DAY_S)
    await retention.sweep()
    assert b"a message" in payloads(await entries(agency, ChannelKind.CONTENT, channel))
    agency.city.clock.advance(DAY_S)
    for _ in range(2):
        await retention.sweep()
        found = await entries(agency, ChannelKind.CONTENT, channel)
        pruned = [entry for entry in found if entry.lane is Lane.LOG]
        assert payloads(pruned) == [None] * len(pruned)
        assert all(len(entry.hash) == 32 for entry in pruned)
        assert not agency.city.blobs.chunks
    assert all(payload for payload in payloads(await entries(agency, ChannelKind.EPOCHS, channel)))
    directory = await entries(agency, ChannelKind.DIRECTORY, agency.id)
    assert len(directory) == agency.directory.seq
    assert all(payloads(directory))


async def test_a_last_position_that_another_node_still_took_goes_too(agency: Agency) -> None:
    """For some seconds after the end a node may not know yet that the channel is archived."""
    channel, dispatcher = await closed_incident(agency)
    retention = Retention(agency.city.node, RetentionSettings())
    await retention.sweep()
    await put(agency, channel, dispatcher, b"a late place", state_key(StateKind.POSITION, dispatcher.id))
    agency.city.clock.advance(SETTLED_MS / 1000)
    await retention.sweep()
    assert payloads(await entries(agency, ChannelKind.CONTENT, channel)) == [b"a message", b"a status", b""]


@pytest.mark.parametrize("days_before", [0, 365])
async def test_days_that_are_set_later_hold_also_for_what_ended_before(
    agency: Agency, days_before: int
) -> None:
    channel, _ = await closed_incident(agency)
    await Retention(agency.city.node, RetentionSettings(incident_days=days_before)).sweep()
    agency.city.clock.advance(29 * DAY_S)
    retention = Retention(agency.city.node, RetentionSettings(incident_days=30))
    await retention.sweep()
    assert b"a message" in payloads(await entries(agency, ChannelKind.CONTENT, channel))
    agency.city.clock.advance(DAY_S)
    await retention.sweep()
    assert not any(payloads(await entries(agency, ChannelKind.CONTENT, channel)))
    assert not agency.city.blobs.chunks


async def test_standing_channels_keep_what_is_young(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room: Room = await agency.open(ChannelPurpose.DESK, supervisor)
    for n in range(7):
        await put(agency, room.id, supervisor, b"day %d" % n)
        agency.city.clock.advance(DAY_S)
    await Retention(agency.city.node, RetentionSettings(standing_days=3)).sweep()
    page = await agency.city.node.store.read(
        agency.id, address(ChannelKind.CONTENT, room.id), 0, 500, 1 << 20
    )
    kept = [entry.payload for entry in page.entries if entry.payload]
    assert kept == [b"day 4", b"day 5", b"day 6"]
    assert (page.floor, page.head) == (4, 7)


async def test_after_an_incidents_days_no_value_and_no_box_is_left(agency: Agency) -> None:
    channel, dispatcher = await closed_incident(agency)
    retention = Retention(agency.city.node, RetentionSettings(incident_days=30))
    await retention.sweep()
    store = agency.city.node.store
    (before,) = await store.boxes(agency.id, ChannelId(channel), dispatcher.id, 0, 9)
    assert before[1] is not None
    agency.city.clock.advance(30 * DAY_S)
    for _ in range(2):
        await retention.sweep()
        assert not any(payloads(await entries(agency, ChannelKind.CONTENT, channel)))
        assert await store.boxes(agency.id, ChannelId(channel), dispatcher.id, 0, 9) == [
            (0, None, FORGOTTEN_BOXES)
        ]
    await dispatcher.sign_in()
    (answer,) = await dispatcher.ask("boxes", id=channel.hex())
    assert (answer.box, answer.box_hashes, answer.box_list_sig) == (None, (), b"")


async def rekey(room: Room) -> None:
    """The next epoch of a standing channel, six hours later."""
    room.agency.city.clock.advance(6 * 3_600)
    await room.owner.sign_in()
    made = room.make(Change(CommitReason.PERIODIC))
    await room.post(made)
    room.take(made)


async def boxed(room: Room) -> list[int]:
    """The epochs whose box stands."""
    store = room.agency.city.node.store
    found = await store.boxes(room.agency.id, room.id, room.owner.id, 0, 500)
    return [epoch for epoch, box, _ in found if box is not None]


async def say(room: Room, key: bytes = b"") -> None:
    """A real frame in the newest epoch."""
    now_ms = room.agency.city.clock.now_ms()
    body = Body("text", now_ms, MessageId(os.urandom(16)), None, [0, "hello"])
    directories = {room.agency.id: room.agency.directory}
    frame = room.sealed.seal(body, room.owner.keys, directories, now_ms=now_ms, random=os.urandom)
    await put(room.agency, room.id, room.owner, frame, key)


async def test_boxes_of_a_standing_channel_go_with_the_epochs_that_nothing_kept_needs(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room = await agency.open(ChannelPurpose.DESK, supervisor)
    for _ in range(20):
        await say(room)
        await rekey(room)
    assert room.sealed.line.epoch == 20
    await Retention(agency.city.node, RetentionSettings()).sweep()
    assert await boxed(room) == list(range(21)), "what is kept for good keeps its boxes"
    await Retention(agency.city.node, RetentionSettings(standing_days=3)).sweep()
    # Epoch 8 began three days ago; a frame of the epoch before may stand behind one of it.
    assert await boxed(room) == list(range(7, 21))
    page = await agency.city.node.store.read(agency.id, address(ChannelKind.CONTENT, room.id), 8, 1, 1)
    assert page.floor == 8
    # Messages in what is left open as before.
    opened = room.sealed.open(page.entries[0].payload or b"", {agency.id: agency.directory}, again=True)
    assert opened.body.data == [0, "hello"]


async def test_a_standing_value_keeps_the_boxes_of_its_epoch_and_a_quiet_channel_those_of_its_last_two(
    agency: Agency,
) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room, quiet = [await agency.open(ChannelPurpose.DESK, supervisor) for _ in range(2)]
    key = state_key(StateKind.STATUS, os.urandom(16))
    for number in range(6):
        if number in {0, 3}:
            await say(room, key)
        await rekey(room)
        await rekey(quiet)
    agency.city.clock.advance(30 * DAY_S)
    await Retention(agency.city.node, RetentionSettings(standing_days=3)).sweep()
    assert await boxed(room) == list(range(2, 7))
    assert await boxed(quiet) == [5, 6]


async def test_an_inbox_forgets_what_was_pruned_and_no_other_log_does(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room = await agency.open(ChannelPurpose.DESK, supervisor)
    await put(agency, room.id, supervisor, b"old")
    inbox = address(ChannelKind.INBOX, supervisor.id)
    await put(agency, room.id, supervisor, b"old notice", log=inbox)
    settings = RetentionSettings(standing_days=10, inbox_days=10, ids_days=20)
    retention = Retention(agency.city.node, settings)
    agency.city.clock.advance(11 * DAY_S)
    await put(agency, room.id, supervisor, b"new notice", log=inbox)
    await retention.sweep()
    assert payloads(await entries(agency, ChannelKind.INBOX, supervisor.id))[-2:] == [None, b"new notice"]
    agency.city.clock.advance(10 * DAY_S)
    await retention.sweep()
    assert payloads(await entries(agency, ChannelKind.INBOX, supervisor.id)) == [b"new notice"]
    (kept,) = await entries(agency, ChannelKind.CONTENT, room.id)
    assert (kept.payload, kept.hash) == (None, sha256(b"old").digest())


async def test_zero_days_keep_for_good(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room = await agency.open(ChannelPurpose.DESK, supervisor)
    await put(agency, room.id, supervisor, b"old")
    agency.city.clock.advance(3_000 * DAY_S)
    await Retention(agency.city.node, RetentionSettings()).sweep()
    assert payloads(await entries(agency, ChannelKind.CONTENT, room.id)) == [b"old"]


async def test_an_upload_that_was_not_finished_in_a_day_is_dropped(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room = await agency.open(ChannelPurpose.DESK, supervisor)
    whole = await supervisor.ask("create_blob", r.NewBlob(4), id=room.id.hex())
    await supervisor.ask("put_chunk", b"blob", id=whole.id, index=0)
    half = await supervisor.ask("create_blob", r.NewBlob(70_000), id=room.id.hex())
    await supervisor.ask("put_chunk", bytes(65_552), id=half.id, index=0)
    agency.city.clock.advance(DAY_S)
    await Retention(agency.city.node, RetentionSettings()).sweep()
    assert {blob.hex() for _, blob, _ in agency.city.blobs.chunks} == {whole.id}
    await supervisor.sign_in()
    assert (await supervisor.ask("blob", id=whole.id)).complete
    response = await agency.city.raw(
        "blob", token=supervisor.tokens.token if supervisor.tokens else "", id=half.id
    )
    assert response.status_code == 404


async def rows(
    agency: Agency, kind: type[BlobRow | SessionRow | EnrolmentRow | BootstrapRow | GuestCodeRow]
) -> int:
    """How many rows of a kind there are."""
    owner = NO_AGENCY if kind in {EnrolmentRow, BootstrapRow, GuestCodeRow} else agency.id
    return len(await agency.city.node.store.objects(owner, KINDS[kind], None, b"", 500))


async def test_the_row_of_an_attachment_goes_after_its_chunks(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    room = await agency.open(ChannelPurpose.DESK, supervisor)
    made = await supervisor.ask("create_blob", r.NewBlob(70_000), id=room.id.hex())
    await supervisor.ask("put_chunk", bytes(65_552), id=made.id, index=0)
    retention = Retention(agency.city.node, RetentionSettings())
    agency.city.clock.advance(DAY_S)
    await retention.sweep()
    assert (await rows(agency, BlobRow), agency.city.blobs.chunks) == (1, {})
    late = AgencyId(agency.id), BlobId(bytes.fromhex(made.id))
    await agency.city.blobs.put(*late, 0, b"was on its way")
    agency.city.clock.advance(3_600)
    await retention.sweep()
    assert (await rows(agency, BlobRow), agency.city.blobs.chunks) == (0, {})


async def test_ended_sessions_and_spent_codes_are_forgotten_a_day_later(agency: Agency) -> None:
    """And not before; whoever is still signed in stays so, and a bootstrap code serves once for ever."""
    leaver = await agency.join(Role.RESPONDER)
    sessions, codes, boots = [await rows(agency, kind) for kind in (SessionRow, EnrolmentRow, BootstrapRow)]
    assert min(sessions, codes, boots) >= 1
    await leaver.ask("sign_out")
    now_ms = agency.city.clock.now_ms()
    link = GuestCodeRow(agency.id, MemberId(bytes(16)), now_ms + DAY_S * 1_000)
    await agency.city.node.write([Item(NO_AGENCY, now_ms, (create(bytes(16), link),))])
    retention = Retention(agency.city.node, RetentionSettings())
    await retention.sweep()
    assert (await rows(agency, SessionRow), await rows(agency, EnrolmentRow)) == (sessions, codes)
    assert await rows(agency, GuestCodeRow) == 1
    agency.city.clock.advance(2 * DAY_S)
    for _ in range(2):
        await retention.sweep()
        assert (await rows(agency, SessionRow), await rows(agency, EnrolmentRow)) == (sessions - 1, 0)
        assert await rows(agency, GuestCodeRow) == 0
        assert await rows(agency, BootstrapRow) == boots
    agency.city.clock.advance(31 * DAY_S)
    await retention.sweep()
    assert await rows(agency, SessionRow) == 0


async def test_a_row_that_cannot_be_read_holds_up_no_other(agency: Agency) -> None:
    """A later version's, or a damaged one: what else is due goes, at once and in the daily round."""
    channel, dispatcher = await closed_incident(agency)
    await dispatcher.ask("sign_out")
    sessions = await rows(agency, SessionRow)
    now_ms = agency.city.clock.now_ms()
    unreadable = (
        Save(KINDS[IncidentRow], bytes(16), 0, b"{}", due_ms=0),
        Save(KINDS[DeviceRow], bytes(16), 0, b"{}"),
        Save(KINDS[TicketRow], bytes(16), 0, b"{}"),
    )
    await agency.city.node.write([Item(agency.id, now_ms, unreadable)])
    agency.city.clock.advance(2 * DAY_S)
    await Retention(agency.city.node, RetentionSettings()).sweep()
    assert payloads(await entries(agency, ChannelKind.CONTENT, channel)) == [b"a message", b"a status", b""]
    assert await rows(agency, SessionRow) == sessions - 1
