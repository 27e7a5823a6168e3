"""Who reads what over HTTP: rosters, records officers, logs, grants, attachments."""

import os
from collections.abc import Awaitable, Sequence

import msgspec
import pytest

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelId, ChannelKind, IncidentId, MessageId, address
from leeside_protocol.limits import BLOB_CHUNK_BYTES
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.committer import Change, channel_for
from leeside_protocol.sealing.opening.grants import make_grant
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.entries import CAP_SEND, FULL_CLASS_MASK, RecordsAdded, records_id_of
from leeside_protocol.sealing.public.frame import FrameHeader
from leeside_protocol.sealing.public.grant import SealedGrant
from leeside_protocol.words import ChannelPurpose, IncidentState, Lane, Role
from leeside_server.core.writes import Append, Item, Object, Outcome
from tests.relay.http.world import Agency, Person, Refusal, Room, channel_post, signed_object


async def desk(agency: Agency) -> tuple[Room, Person, Person]:
    supervisor, dispatcher = await agency.join(Role.SUPERVISOR), await agency.join(Role.DISPATCHER)
    return await agency.open(ChannelPurpose.DESK, supervisor, dispatcher), supervisor, dispatcher


async def say(room: Room, text: bytes) -> None:
    """A stored message; what it holds is opaque here."""
    log = address(ChannelKind.CONTENT, room.id)
    part = Append(log, Lane.LOG, b"", room.owner.id, MessageId(os.urandom(16)), text)
    await room.agency.city.node.write([Item(room.agency.id, room.agency.city.clock.now_ms(), (part,))])


async def code_of(call: Awaitable[object]) -> WireError:
    with pytest.raises(Refusal) as refused:
        await call
    return refused.value.code


# ---- channels and logs


async def test_a_device_lists_the_channels_it_is_in_page_by_page(agency: Agency) -> None:
    room, supervisor, dispatcher = await desk(agency)
    rooms = {room.id.hex()} | {
        (await agency.open(ChannelPurpose.ON_CALL, supervisor)).id.hex() for _ in range(4)
    }
    found: list[str] = []
    after = ""
    while True:
        page = await supervisor.ask("channels", query={"limit": 2, "after": after})
        found += [item.id for item in page.items]
        after = page.next
        if not after:
            break
        assert len(found) <= 10
    assert set(found) == rooms
    assert len(found) == 5
    mine = (await dispatcher.ask("channels")).items
    assert [item.id for item in mine] == [room.id.hex()]
    assert (mine[0].purpose, mine[0].epoch, mine[0].archived) == (ChannelPurpose.DESK, 0, False)


async def test_a_log_is_read_in_pages_with_its_head_floor_and_generation(agency: Agency) -> None:
    room, supervisor, dispatcher = await desk(agency)
    for n in range(5):
        await say(room, b"frame %d" % n)
    log = address(ChannelKind.CONTENT, room.id).hex()
    page = await dispatcher.ask("log", query={"after": 1, "limit": 2}, address=log)
    assert (page.after, page.to) == (1, 3)
    assert [entry.payload for entry in page.entries] == [b"frame 1", b"frame 2"]
    assert supervisor.tokens is not None
    response = await agency.city.raw("log", token=supervisor.tokens.token, address=log)
    assert response.headers["leeside-head"] == "5"
    assert response.headers["leeside-floor"] == "0"
    assert int(response.headers["leeside-generation"]) == agency.city.node.store.generation


@pytest.mark.parametrize(
    "name", ["", "zz" * 17, "63" * 16, "63" * 18, "61" + "00" * 16, "C0" * 17, "78" + "00" * 16]
)
async def test_what_names_no_log_is_not_found(agency: Agency, name: str) -> None:
    assert await code_of(agency.admin.ask("log", address=name)) is WireError.NOT_FOUND


async def test_logs_of_others_are_not_found(agency: Agency) -> None:
    room, _, dispatcher = await desk(agency)
    outsider = await agency.join(Role.RESPONDER)
    for owner, kinds in (
        (room.id, (ChannelKind.CONTENT, ChannelKind.EPOCHS, ChannelKind.GRANTS)),
        (dispatcher.id, (ChannelKind.INBOX,)),
        (agency.id, (ChannelKind.ACCESS,)),
    ):
        for kind in kinds:
            call = outsider.ask("log", address=address(kind, owner).hex())
            assert await code_of(call) is WireError.NOT_FOUND
    own = await outsider.ask("log", address=address(ChannelKind.DIRECTORY, agency.id).hex())
    assert len(own.entries) == agency.directory.seq


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 501}, {"limit": "x"}, {"after": -1}, {"after": "9" * 20}]
)
async def test_numbers_out_of_bounds_are_invalid(agency: Agency, query: dict[str, object]) -> None:
    log = address(ChannelKind.DIRECTORY, agency.id).hex()
    assert await code_of(agency.admin.ask("log", query=query, address=log)) is WireError.INVALID


# ---- records


async def test_a_records_officer_reads_boxes_and_logs_and_every_reading_is_an_event(agency: Agency) -> None:
    now_ms = agency.city.clock.now_ms()
    public = hpke.public_of(os.urandom(32))
    await agency.post(RecordsAdded(1, public, 0b11111, 0b0010, now_ms - 1, now_ms + 10**9), agency.authority)
    records = records_id_of(public)
    supervisor, officer = await agency.join(Role.SUPERVISOR), await agency.join(Role.RECORDS_OFFICER)
    made = agency.genesis(supervisor, records=(records,))
    await supervisor.ask("create_channel", channel_post(ChannelPurpose.DESK, made))
    channel = made.commit.channel_id.hex()
    rows = await officer.ask("boxes", query={"recipient": records.hex()}, id=channel)
    assert [row.box.recipient for row in rows] == [records]
    assert len((await officer.ask("log", address=f"65{channel}")).entries) == 1
    await officer.ask("log", address=f"63{channel}")
    assert [item.id for item in (await officer.ask("channels")).items] == [channel]
    await officer.ask("channel", id=channel)
    page = await supervisor.ask("security_events", query={"limit": 500})
    read = [item for item in page.items if item.event == "records_read"]
    assert len(read) == 4
    assert {(item.actor, item.subject) for item in read} == {(officer.id.hex(), channel)}
    for person, recipient in ((supervisor, records), (officer, os.urandom(16)), (officer, supervisor.id)):
        call = person.ask("boxes", query={"recipient": recipient.hex()}, id=channel)
        assert await code_of(call) is WireError.NOT_FOUND


async def test_boxes_are_each_devices_own(agency: Agency) -> None:
    room, supervisor, dispatcher = await desk(agency)
    for person in (supervisor, dispatcher):
        (row,) = await person.ask("boxes", id=room.id.hex())
        assert row.box.recipient == person.id
        assert len(row.box_hashes) == 2
    outsider = await agency.join(Role.RESPONDER)
    assert await code_of(outsider.ask("boxes", id=room.id.hex())) is WireError.NOT_FOUND


# ---- grants


async def test_a_grant_stands_once_and_is_an_event(agency: Agency) -> None:
    room, supervisor, _ = await desk(agency)
    newcomer = await agency.join(Role.DISPATCHER)
    made = room.make(Change(CommitReason.MEMBER, admit=agency.seats(newcomer)))
    await room.post(made)
    room.take(made)
    sealed = grant(room, newcomer)
    for _ in range(2):
        await supervisor.ask("post_grant", grant_post(sealed), id=room.id.hex())
    page = await newcomer.ask("log", address=address(ChannelKind.GRANTS, room.id).hex())
    assert [entry.payload for entry in page.entries] == [sealed.encode()]
    events = (await supervisor.ask("security_events", query={"limit": 500})).items
    assert [(e.actor, e.subject) for e in events if e.event == "grant"] == [
        (supervisor.id.hex(), newcomer.id.hex())
    ]


async def test_a_grant_by_another_or_after_removal_is_refused(agency: Agency) -> None:
    room, supervisor, dispatcher = await desk(agency)
    sealed = grant(room, dispatcher)
    call = dispatcher.ask("post_grant", grant_post(sealed), id=room.id.hex())
    assert await code_of(call) is WireError.FORBIDDEN
    made = room.make(Change(CommitReason.MEMBER, remove=frozenset({dispatcher.id})))
    await room.post(made)
    with pytest.raises(Refusal) as refused:
        await supervisor.ask("post_grant", grant_post(sealed), id=room.id.hex())
    assert refused.value.answer.sealing_code == "E_GRANT"


async def test_without_the_right_to_grant_one_may_only_seal_anew_what_was_anothers_anyway(
    agency: Agency,
) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    weak = await agency.join(Role.DISPATCHER, caps=CAP_SEND)
    newcomer = await agency.join(Role.DISPATCHER)
    room = await agency.open(ChannelPurpose.DESK, supervisor, weak)
    made = room.make(Change(CommitReason.MEMBER, admit=agency.seats(newcomer)))
    await room.post(made)
    room.take(made)
    for to, code in ((newcomer, "E_AUTHZ"), (supervisor, "")):
        payload = grant(room, to).signed.payload
        signed = weak.keys.identity.sign(b"grant", weak.id, payload)
        post = r.GrantPost(signed_object(signed), 1, b"box")
        response = await agency.city.raw("post_grant", body=post, token=token(weak), id=room.id.hex())
        assert response.status_code == (422 if code else 204)
        assert not code or response.json()["sealing_code"] == code


def token(person: Person) -> str:
    assert person.tokens is not None
    return person.tokens.token


def grant(room: Room, to: Person) -> SealedGrant:
    agency = room.agency
    return make_grant(
        room.sealed,
        room.owner.keys,
        to=to.id,
        epochs=(0,),
        class_mask=FULL_CLASS_MASK & 0b0010,
        directories={agency.id: agency.directory},
        device_keys=agency.book,
        now_ms=agency.city.clock.now_ms(),
    )


def grant_post(sealed: SealedGrant) -> r.GrantPost:
    return r.GrantPost(signed_object(sealed.signed), sealed.suite, sealed.box)


# ---- attachments


async def test_an_upload_breaks_off_and_goes_on(agency: Agency) -> None:
    room, supervisor, dispatcher = await desk(agency)
    size = 2 * BLOB_CHUNK_BYTES + 100
    blob = await supervisor.ask("create_blob", r.NewBlob(size), id=room.id.hex())
    assert (blob.chunks, blob.have, blob.complete) == (3, (), False)
    parts = [os.urandom(BLOB_CHUNK_BYTES), os.urandom(BLOB_CHUNK_BYTES), os.urandom(100)]
    for index in (0, 2):
        await supervisor.ask("put_chunk", parts[index], id=blob.id, index=index)
    await supervisor.ask("put_chunk", parts[0], id=blob.id, index=0)
    assert (await supervisor.ask("blob", id=blob.id)).have == (0, 2)
    assert await code_of(dispatcher.ask("chunk", id=blob.id, index=1)) is WireError.NOT_FOUND
    await supervisor.ask("put_chunk", parts[1], id=blob.id, index=1)
    assert (await dispatcher.ask("blob", id=blob.id)).complete
    assert b"".join([await dispatcher.ask("chunk", id=blob.id, index=i) for i in range(3)]) == b"".join(parts)


async def test_an_attachment_is_its_rosters_and_its_makers(agency: Agency) -> None:
    room, supervisor, dispatcher = await desk(agency)
    outsider = await agency.join(Role.RESPONDER)
    blob = await supervisor.ask("create_blob", r.NewBlob(10), id=room.id.hex())
    for call in (
        outsider.ask("create_blob", r.NewBlob(10), id=room.id.hex()),
        outsider.ask("blob", id=blob.id),
        outsider.ask("chunk", id=blob.id, index=0),
        outsider.ask("put_chunk", bytes(10), id=blob.id, index=0),
        supervisor.ask("chunk", id=blob.id, index="01"),
        supervisor.ask("put_chunk", bytes(10), id=blob.id, index=1),
    ):
        assert await code_of(call) is WireError.NOT_FOUND
    assert await code_of(dispatcher.ask("put_chunk", bytes(10), id=blob.id, index=0)) is WireError.FORBIDDEN
    assert await code_of(supervisor.ask("put_chunk", bytes(11), id=blob.id, index=0)) is WireError.INVALID
    await supervisor.ask("put_chunk", bytes(10), id=blob.id, index=0)
    assert await code_of(supervisor.ask("put_chunk", b"x" * 10, id=blob.id, index=0)) is WireError.CONFLICT
    too_large = supervisor.ask("create_blob", r.NewBlob(2**40), id=room.id.hex())
    assert await code_of(too_large) is WireError.TOO_LARGE


# ---- incidents


async def test_an_incident_opens_whole_moves_on_and_closes_with_its_channels(agency: Agency) -> None:
    dispatcher, responder = await agency.join(Role.DISPATCHER), await agency.join(Role.RESPONDER)
    unit = await agency.unit(responder, lead=responder)
    incident = IncidentId(os.urandom(16))
    made = agency.genesis(dispatcher, responder, incident=incident)
    post = r.IncidentPost(incident, 2, (), channel_post(ChannelPurpose.INCIDENT, made, incident))
    first = await dispatcher.ask("open_incident", post)
    assert await dispatcher.ask("open_incident", post) == msgspec.structs.replace(first, repeat=True)
    channel = ChannelId(first.channel)

    row = await responder.ask("incident", id=incident.hex())
    assert (row.state, row.priority, row.units) == (IncidentState.OPEN, 2, ())
    progress = r.IncidentChange(row.revision, state=IncidentState.ON_SCENE)
    assert await code_of(responder.ask("change_incident", progress, id=incident.hex())) is WireError.FORBIDDEN
    row = await dispatcher.ask(
        "change_incident", r.IncidentChange(row.revision, units=(unit.hex(),)), id=incident.hex()
    )
    assert row.state is IncidentState.ASSIGNED
    stale = dispatcher.ask("change_incident", r.IncidentChange(1, priority=1), id=incident.hex())
    assert await code_of(stale) is WireError.CONFLICT
    progress = r.IncidentChange(row.revision, state=IncidentState.ON_SCENE)
    row = await responder.ask("change_incident", progress, id=incident.hex())
    closing = r.IncidentChange(row.revision, state=IncidentState.CLOSED)
    assert await code_of(responder.ask("change_incident", closing, id=incident.hex())) is WireError.FORBIDDEN
    row = await dispatcher.ask("change_incident", closing, id=incident.hex())
    assert row.state is IncidentState.CLOSED
    assert row.closed_ms
    assert (await responder.ask("channel", id=channel.hex())).archived
    again = dispatcher.ask("change_incident", r.IncidentChange(row.revision, priority=1), id=incident.hex())
    assert await code_of(again) is WireError.FORBIDDEN


async def test_an_incident_that_does_not_fit_leaves_nothing(agency: Agency) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, incident=incident)
    channel = channel_post(ChannelPurpose.INCIDENT, made, incident)
    good = r.IncidentPost(incident, 2, (), channel)
    for wrong in (
        msgspec.structs.replace(good, priority=9),
        msgspec.structs.replace(good, units=(os.urandom(16),)),
        msgspec.structs.replace(good, incident=os.urandom(16)),
        msgspec.structs.replace(good, channel=msgspec.structs.replace(channel, purpose="consult")),
        msgspec.structs.replace(
            good,
            channel=msgspec.structs.replace(channel, first=r.FirstMessage(os.urandom(16), os.urandom(200))),
        ),
    ):
        code = await code_of(dispatcher.ask("open_incident", wrong))
        assert code in {WireError.INVALID, WireError.SEALING_REFUSED}
    assert (await dispatcher.ask("incidents")).items == ()
    assert (await dispatcher.ask("channels")).items == ()
    await dispatcher.ask("open_incident", good)


async def test_an_incident_does_not_take_a_units_id_and_with_it_its_channels(agency: Agency) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    unit = await agency.unit(dispatcher)
    room = await agency.open(ChannelPurpose.UNIT, dispatcher, subject=unit)
    post = channel_post(ChannelPurpose.INCIDENT, agency.genesis(dispatcher, incident=unit), unit)
    opening = dispatcher.ask("open_incident", r.IncidentPost(unit, 2, (), post))
    assert await code_of(opening) is WireError.INVALID
    assert [item.id for item in (await dispatcher.ask("channels")).items] == [room.id.hex()]


async def test_units_without_number_are_refused_before_one_is_looked_up(
    agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    post = channel_post(ChannelPurpose.INCIDENT, agency.genesis(dispatcher, incident=incident), incident)
    units = tuple(os.urandom(16) for _ in range(5_000))
    get = agency.city.node.store.get
    looked_up: list[bytes] = []

    async def counted(owner: AgencyId, kind: str, key: bytes) -> Object | None:
        looked_up.append(key)
        return await get(owner, kind, key)

    monkeypatch.setattr(agency.city.node.store, "get", counted)
    opening = dispatcher.ask("open_incident", r.IncidentPost(incident, 2, units, post))
    assert await code_of(opening) is WireError.INVALID
    assert looked_up
    assert not set(units) & set(looked_up)


async def test_the_first_message_stands_with_the_genesis(agency: Agency) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, incident=incident)
    commit = made.commit
    header = FrameHeader(1, 1, commit.channel_id, 0, commit.hash[:16], dispatcher.id, bytes(16), 0)
    frame = header.pack() + bytes(16 + 64 + 64)
    channel = channel_post(ChannelPurpose.INCIDENT, made, incident)
    first = r.FirstMessage(os.urandom(16), frame, 2)
    post = r.IncidentPost(incident, 2, (), msgspec.structs.replace(channel, first=first))
    await dispatcher.ask("open_incident", post)
    page = await dispatcher.ask("log", address=address(ChannelKind.CONTENT, commit.channel_id).hex())
    assert [(e.id, e.payload, e.urgency) for e in page.entries] == [(first.id, frame, 2)]


@pytest.mark.parametrize("state", [IncidentState.CLOSED, None], ids=["ends", "goes on"])
async def test_a_channel_that_opens_while_its_incident_changes_opens_only_if_it_goes_on(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, state: IncidentState | None
) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    post = channel_post(ChannelPurpose.INCIDENT, agency.genesis(dispatcher, incident=incident), incident)
    await dispatcher.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    write = agency.city.node.write
    changes = [r.IncidentChange(1, priority=1, state=state)]

    async def late(items: Sequence[Item]) -> Sequence[Outcome]:
        while changes:
            await dispatcher.ask("change_incident", changes.pop(), id=incident.hex())
        return await write(items)

    monkeypatch.setattr(agency.city.node, "write", late)
    consult = channel_post(ChannelPurpose.CONSULT, agency.genesis(dispatcher, incident=incident), incident)
    if state is None:
        assert not (await dispatcher.ask("create_channel", consult)).repeat
        return
    assert await code_of(dispatcher.ask("create_channel", consult)) is WireError.FORBIDDEN
    assert [item.archived for item in (await dispatcher.ask("channels")).items] == [True]


@pytest.mark.parametrize("by", ["end", "hand"])
async def test_a_channel_is_archived_also_while_its_members_commit(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, incident=incident)
    post = channel_post(ChannelPurpose.INCIDENT, made, incident)
    await dispatcher.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    room = Room(agency, dispatcher, channel_for(made, dispatcher.id))
    room.take(made)
    commits = [room.make(Change(CommitReason.PERIODIC))]
    write = agency.city.node.write

    async def late(items: Sequence[Item]) -> Sequence[Outcome]:
        if commits:
            await room.post(commits.pop())
        return await write(items)

    monkeypatch.setattr(agency.city.node, "write", late)
    if by == "end":
        change = r.IncidentChange(1, state=IncidentState.CLOSED)
        await dispatcher.ask("change_incident", change, id=incident.hex())
    else:
        await dispatcher.ask("archive_channel", id=room.id.hex())
    info = await dispatcher.ask("channel", id=room.id.hex())
    assert (info.epoch, info.archived) == (1, True)


async def test_a_first_message_whose_id_was_used_before_opens_nothing_and_says_so(agency: Agency) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    posts: list[r.IncidentPost] = []
    message = os.urandom(16)
    for _ in range(2):
        incident = os.urandom(16)
        made = agency.genesis(dispatcher, incident=incident)
        commit = made.commit
        header = FrameHeader(1, 1, commit.channel_id, 0, commit.hash[:16], dispatcher.id, bytes(16), 0)
        first = r.FirstMessage(message, header.pack() + bytes(16 + 64 + 64), 2)
        channel = channel_post(ChannelPurpose.INCIDENT, made, incident)
        posts.append(r.IncidentPost(incident, 2, (), msgspec.structs.replace(channel, first=first)))
    await dispatcher.ask("open_incident", posts[0])
    assert await code_of(dispatcher.ask("open_incident", posts[1])) is WireError.INVALID
    assert (await dispatcher.ask("open_incident", posts[0])).repeat
    assert [item.id for item in (await dispatcher.ask("incidents")).items] == [posts[0].incident.hex()]


async def test_an_incident_has_one_channel_a_compartment(agency: Agency) -> None:
    dispatcher = await agency.join(Role.DISPATCHER)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, incident=incident)
    post = channel_post(ChannelPurpose.INCIDENT, made, incident)
    await dispatcher.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    second = channel_post(ChannelPurpose.INCIDENT, agency.genesis(dispatcher, incident=incident), incident)
    assert await code_of(dispatcher.ask("create_channel", second)) is WireError.CONFLICT
