"""The server takes no commit that a member would refuse: each rule once, with its code, and nothing left behind."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelKind, DeviceId, address
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.committer import Change, MadeCommit
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.boxes import box_list_input
from leeside_protocol.sealing.public.commit import (
    Authorisation,
    AuthRecord,
    CommitReason,
    Head,
    Policy,
    RosterEntry,
    channel_id_of,
    parse_commit,
)
from leeside_protocol.sealing.public.device_key import NO_KID
from leeside_protocol.sealing.public.encoding import ZERO32
from leeside_protocol.sealing.public.entries import (
    CAP_ADMIT,
    CAP_SEND,
    MEDIA,
    DeviceRemoved,
    RecordsAdded,
    kid_of,
    records_id_of,
)
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import ChannelPurpose, Role
from leeside_server.core.channels import CHANNEL, ChannelRow
from leeside_server.core.notices import Notice
from tests.protocol.sealing.staging import resign
from tests.relay.http.world import (
    Agency,
    City,
    Person,
    Refusal,
    Room,
    channel_post,
    commit_post,
    signed_object,
)

PERIODIC = Change(CommitReason.PERIODIC)


@dataclass
class Scene:
    """A unit channel of four after its genesis, and a next commit that would stand."""

    agency: Agency
    room: Room
    dispatcher: Person
    lead: Person
    unit: Person
    outsider: Person
    next: MadeCommit

    @property
    def city(self) -> City:
        return self.agency.city

    def post(self, signed: Signed, made: MadeCommit | None = None) -> r.CommitPost:
        return msgspec.structs.replace(commit_post(made or self.next), commit=signed_object(signed))

    def changed(self, by: Person | None = None, **fields: Any) -> r.CommitPost:
        """The next commit with these fields changed, signed by this person."""
        return self.post(resign((by or self.dispatcher).keys, self.next.commit, **fields))

    def roster(self, *people: Person) -> tuple[RosterEntry, ...]:
        entries = [self.next.commit.entry(person.id) for person in people]
        return tuple(sorted((e for e in entries if e is not None), key=lambda e: e.device_id))

    async def head(self) -> int:
        page = await self.dispatcher.ask("log", address=address(ChannelKind.EPOCHS, self.room.id).hex())
        return len(page.entries)


@pytest.fixture
async def scene(agency: Agency) -> Scene:
    dispatcher = await agency.join(Role.DISPATCHER)
    lead = await agency.join(Role.RESPONDER, caps=CAP_SEND | CAP_ADMIT)
    unit = await agency.join(Role.RESPONDER, caps=CAP_SEND)
    outsider = await agency.join(Role.RESPONDER)
    team = await agency.unit(lead, unit, lead=lead)
    room = await agency.open(ChannelPurpose.UNIT, dispatcher, lead, unit, subject=team)
    return Scene(agency, room, dispatcher, lead, unit, outsider, room.make(PERIODIC))


Case = Callable[[Scene], Awaitable[tuple[Person, r.CommitPost]]]
CASES: dict[str, tuple[str, Case]] = {}


def case(code: str) -> Callable[[Case], Case]:
    def add(make: Case) -> Case:
        CASES[make.__name__.strip("_")] = (code, make)
        return make

    return add


@case("E_SIG")
async def _another_signature(s: Scene) -> tuple[Person, r.CommitPost]:
    signed = s.next.commit.signed
    return s.dispatcher, s.post(replace(signed, signature=s.lead.keys.identity.sign_raw(b"x")))


@case("E_CHAIN")
async def _another_predecessor(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(prev_hash=os.urandom(32))


@case("E_CHAIN")
async def _an_epoch_left_out(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(epoch=5)


@case("E_CHAIN")
async def _another_compartment(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(compartment=4)


@case("E_CHAIN")
async def _another_incident(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(incident_id=os.urandom(16))


@case("E_AGENCY")
async def _heads_of_agencies_that_the_policy_does_not_accept(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(policy=Policy((), ()))


@case("E_AUTHZ")
async def _an_addition_without_the_right(s: Scene) -> tuple[Person, r.CommitPost]:
    entry = RosterEntry(s.outsider.id, s.agency.id, NO_KID)
    roster = tuple(sorted([*s.next.commit.roster, entry], key=lambda e: e.device_id))
    return s.unit, s.changed(by=s.unit, roster=roster)


@case("E_AUTHZ")
async def _a_removal_without_the_right(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.lead, s.changed(by=s.lead, roster=s.roster(s.dispatcher, s.lead))


@case("E_AUTHZ")
async def _a_policy_change_without_the_right(s: Scene) -> tuple[Person, r.CommitPost]:
    policy = Policy((s.agency.id,), (records_id_of(b"r" * 32),))
    return s.lead, s.changed(by=s.lead, policy=policy)


@case("E_UNKNOWN_DEVICE")
async def _a_ghost_device(s: Scene) -> tuple[Person, r.CommitPost]:
    ghost = RosterEntry(DeviceId(os.urandom(16)), s.agency.id, NO_KID)
    roster = tuple(sorted([*s.next.commit.roster, ghost], key=lambda e: e.device_id))
    return s.dispatcher, s.changed(roster=roster)


@case("E_REVOKED")
async def _a_revoked_device_kept(s: Scene) -> tuple[Person, r.CommitPost]:
    await s.agency.post(DeviceRemoved(s.unit.id, "lost", s.city.clock.now_ms()))
    return s.dispatcher, s.post(s.next.commit.signed)


@case("E_EXPIRED")
async def _an_expired_device_kept(s: Scene) -> tuple[Person, r.CommitPost]:
    now_ms = s.city.clock.now_ms()
    member = (await s.agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    guest = await s.agency.enrol(member)
    certificate = s.agency.certificate(guest.keys, member, Role.RESPONDER)
    await s.agency.post(replace(certificate, not_after_ms=now_ms + 1000))
    s.agency.learn(guest.keys)
    s.city.clock.advance(2)
    entry = RosterEntry(guest.id, s.agency.id, guest_kid(guest))
    roster = tuple(sorted([*s.next.commit.roster, entry], key=lambda e: e.device_id))
    return s.dispatcher, s.changed(roster=roster, heads=heads(s.agency), ts_ms=s.city.clock.now_ms())


@case("E_COMPARTMENT")
async def _a_device_beyond_its_compartments(s: Scene) -> tuple[Person, r.CommitPost]:
    officer = await s.agency.join(Role.RESPONDER, compartments=0b10000)
    entry = RosterEntry(officer.id, s.agency.id, guest_kid(officer))
    roster = tuple(sorted([*s.next.commit.roster, entry], key=lambda e: e.device_id))
    return s.dispatcher, s.changed(roster=roster, heads=heads(s.agency))


@case("E_DEVKEY")
async def _a_key_that_nobody_published(s: Scene) -> tuple[Person, r.CommitPost]:
    roster = tuple(
        replace(entry, kid=os.urandom(8)) if entry.device_id == s.lead.id else entry
        for entry in s.next.commit.roster
    )
    return s.dispatcher, s.changed(roster=roster)


@case("E_DEVKEY")
async def _a_device_with_a_key_left_without_a_box(s: Scene) -> tuple[Person, r.CommitPost]:
    s.city.clock.advance(2 * 3600)
    await s.dispatcher.sign_in()
    roster = tuple(
        replace(entry, kid=NO_KID) if entry.device_id == s.lead.id else entry
        for entry in s.next.commit.roster
    )
    return s.dispatcher, s.changed(roster=roster, ts_ms=s.city.clock.now_ms())


@case("E_DIR_FORK")
async def _a_directory_that_nobody_else_has(s: Scene) -> tuple[Person, r.CommitPost]:
    (head,) = s.next.commit.heads
    return s.dispatcher, s.changed(heads=(replace(head, hash=os.urandom(32)),))


@case("E_DIR_BEHIND")
async def _a_directory_head_yet_to_come(s: Scene) -> tuple[Person, r.CommitPost]:
    (head,) = s.next.commit.heads
    return s.dispatcher, s.changed(heads=(replace(head, seq=head.seq + 1),))


@case("E_HEAD_ROLLBACK")
async def _an_older_directory_head(s: Scene) -> tuple[Person, r.CommitPost]:
    older = Head(s.agency.id, 3, s.agency.directory.hash_at(3) or b"")
    return s.dispatcher, s.changed(heads=(older,))


@case("E_AGENCY")
async def _an_agency_not_known_here(s: Scene) -> tuple[Person, r.CommitPost]:
    other = await s.city.agency()
    both = tuple(sorted([*heads(s.agency), *heads(other)], key=lambda h: h.agency_id))
    policy = Policy(tuple(h.agency_id for h in both))
    return s.dispatcher, s.changed(heads=both, policy=policy)


@case("E_CLOCK")
async def _a_clock_ten_minutes_off(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(ts_ms=s.city.clock.now_ms() + 600_000)


@case("E_CLOCK")
async def _a_commit_from_before_its_predecessor(s: Scene) -> tuple[Person, r.CommitPost]:
    return s.dispatcher, s.changed(ts_ms=s.city.clock.now_ms() - 1)


@case("E_RECORDS")
async def _a_records_key_that_no_policy_names(s: Scene) -> tuple[Person, r.CommitPost]:
    now_ms = s.city.clock.now_ms()
    await s.agency.post(RecordsAdded(1, b"r" * 32, 1, 0b0010, now_ms - 1, now_ms + 10**9))
    policy = Policy((s.agency.id,), (records_id_of(b"r" * 32),))
    return s.dispatcher, s.changed(heads=heads(s.agency), policy=policy)


@case("E_GUEST")
async def _a_guest_for_a_day(s: Scene) -> tuple[Person, r.CommitPost]:
    now_ms = s.city.clock.now_ms()
    keys = DeviceKeys.create_guest(os.urandom, now_ms + 86_400_000)
    entry = keys.guest_entry(s.agency.id, 1 << MEDIA)
    roster = tuple(sorted([*s.next.commit.roster, entry], key=lambda e: e.device_id))
    return s.dispatcher, s.changed(roster=roster)


@case("E_BOXLIST")
async def _a_box_left_out(s: Scene) -> tuple[Person, r.CommitPost]:
    post = commit_post(s.next)
    return s.dispatcher, msgspec.structs.replace(post, boxes=post.boxes[1:])


@case("E_BOXLIST")
async def _a_box_for_a_stranger(s: Scene) -> tuple[Person, r.CommitPost]:
    post = commit_post(s.next)
    boxes = (msgspec.structs.replace(post.boxes[0], recipient=os.urandom(16)), *post.boxes[1:])
    return s.dispatcher, msgspec.structs.replace(post, boxes=boxes)


@case("E_BOXLIST")
async def _boxes_that_the_committer_did_not_sign(s: Scene) -> tuple[Person, r.CommitPost]:
    post = commit_post(s.next)
    changed = msgspec.structs.replace(post.boxes[0], sealed=os.urandom(80))
    return s.dispatcher, msgspec.structs.replace(post, boxes=(changed, *post.boxes[1:]))


@case("E_ENCODING")
async def _noise(s: Scene) -> tuple[Person, r.CommitPost]:
    noise = Signed(os.urandom(100), s.dispatcher.id, bytes(64))
    return s.dispatcher, s.post(noise)


def heads(agency: Agency) -> tuple[Head, ...]:
    return (Head(agency.id, agency.directory.seq, agency.directory.head),)


def guest_kid(person: Person) -> bytes:
    return kid_of(person.keys.newest.payload)


@pytest.mark.parametrize("name", CASES)
async def test_the_server_refuses(scene: Scene, name: str) -> None:
    code, make = CASES[name]
    person, post = await make(scene)
    with pytest.raises(Refusal) as refused:
        await person.ask("post_commit", post, id=scene.room.id.hex())
    assert (refused.value.status, refused.value.code) == (422, WireError.SEALING_REFUSED)
    assert refused.value.answer.sealing_code == code
    assert await scene.head() == 1


async def test_what_was_refused_bricks_nothing(scene: Scene) -> None:
    for name in ("another_signature", "a_ghost_device", "a_box_left_out"):
        person, post = await CASES[name][1](scene)
        with pytest.raises(Refusal):
            await person.ask("post_commit", post, id=scene.room.id.hex())
    answer = await scene.room.post(scene.next)
    assert (answer.epoch, answer.repeat) == (1, False)
    assert await scene.head() == 2


async def test_nobody_posts_anothers_commit(scene: Scene) -> None:
    with pytest.raises(Refusal) as refused:
        await scene.lead.ask("post_commit", commit_post(scene.next), id=scene.room.id.hex())
    assert refused.value.code is WireError.FORBIDDEN


async def test_an_outsider_gets_the_answer_of_a_channel_that_is_not(scene: Scene) -> None:
    post = scene.changed(by=scene.outsider)
    answers = [
        await scene.city.raw("post_commit", body=post, token=token(scene.outsider), id=channel.hex())
        for channel in (scene.room.id, os.urandom(16))
    ]
    assert [a.status_code for a in answers] == [404, 404]
    assert answers[0].content == answers[1].content


async def test_the_same_commit_again_is_a_repeat(scene: Scene) -> None:
    first = await scene.room.post(scene.next)
    again = await scene.room.post(scene.next)
    assert again == msgspec.structs.replace(first, repeat=True)
    assert await scene.head() == 2


async def test_of_two_commits_for_one_epoch_one_stands_and_the_other_adopts_it(scene: Scene) -> None:
    made = [scene.room.make(PERIODIC) for _ in range(5)]
    outcomes = await asyncio.gather(*(scene.room.post(one) for one in made), return_exceptions=True)
    refusals = [o for o in outcomes if isinstance(o, Refusal)]
    stood = [o for o in outcomes if isinstance(o, r.CommitAnswer)]
    assert len(stood) == 1
    assert len(refusals) == 4
    assert all(o.code is WireError.CONFLICT and o.answer.head == 2 for o in refusals)
    assert await scene.head() == 2


async def test_a_commit_moves_row_roster_and_boxes_together(scene: Scene) -> None:
    change = Change(CommitReason.MEMBER, admit=scene.agency.seats(scene.outsider))
    made = scene.room.make(change)
    await scene.room.post(made)
    info = await scene.outsider.ask("channel", id=scene.room.id.hex())
    assert info.epoch == 1
    assert scene.outsider.id.hex() in info.devices
    rows = await scene.outsider.ask("boxes", id=scene.room.id.hex())
    assert [(row.epoch, row.box is None) for row in rows] == [(0, True), (1, False)]
    page = await scene.outsider.ask("log", address=address(ChannelKind.INBOX, scene.outsider.id).hex())
    notices = [msgspec.msgpack.decode(entry.payload) for entry in page.entries]
    assert [Notice.CHANNEL_JOINED, scene.room.id] in notices
    found = await scene.city.node.store.get(scene.agency.id, CHANNEL, scene.room.id)
    assert found is not None
    row = msgspec.json.decode(found.body, type=ChannelRow)
    assert row.commit_hash == made.commit.hash
    assert row.prev_commit_prefix == made.commit.prev_hash[:16]
    assert row.creator == scene.dispatcher.id.hex()


async def test_who_was_removed_keeps_old_boxes_and_reads_nothing_more(scene: Scene) -> None:
    change = Change(CommitReason.MEMBER, remove=frozenset({scene.unit.id}))
    await scene.room.post(scene.room.make(change))
    rows = await scene.unit.ask("boxes", id=scene.room.id.hex())
    assert [row.epoch for row in rows] == [0]
    for kind in (ChannelKind.EPOCHS, ChannelKind.CONTENT, ChannelKind.GRANTS):
        with pytest.raises(Refusal) as refused:
            await scene.unit.ask("log", address=address(kind, scene.room.id).hex())
        assert refused.value.code is WireError.NOT_FOUND
    assert (await scene.unit.ask("channels")).items == ()


async def test_anyone_may_drop_a_revoked_device(scene: Scene) -> None:
    await scene.agency.post(DeviceRemoved(scene.lead.id, "lost", scene.city.clock.now_ms()))
    mine = await follow(scene, scene.unit)
    made = scene.agency.commit(scene.unit, mine.sealed, Change(CommitReason.REVOKE))
    assert made.commit.entry(scene.lead.id) is None
    answer = await mine.post(made, scene.unit)
    assert answer.epoch == 1


async def follow(scene: Scene, person: Person) -> Room:
    """The channel as this person has it."""
    sealed = SealedChannel(scene.room.id, person.id)
    page = await person.ask("log", address=address(ChannelKind.EPOCHS, scene.room.id).hex())
    for entry in page.entries:
        sealed.process_commit(
            Signed.decode(entry.payload),
            Delivery(),
            person.keys,
            {scene.agency.id: scene.agency.directory},
            now_ms=scene.city.clock.now_ms(),
        )
    return Room(scene.agency, person, sealed)


# ---- who may open what


@pytest.mark.parametrize(
    ("purpose", "opener", "others", "code"),
    [
        (ChannelPurpose.DESK, Role.SUPERVISOR, (Role.DISPATCHER,), None),
        (ChannelPurpose.DESK, Role.DISPATCHER, (Role.SUPERVISOR,), WireError.FORBIDDEN),
        (ChannelPurpose.DESK, Role.SUPERVISOR, (Role.RESPONDER,), WireError.FORBIDDEN),
        (ChannelPurpose.ON_CALL, Role.SUPERVISOR, (Role.PSYCHIATRIST, Role.DISPATCHER), None),
        (ChannelPurpose.ON_CALL, Role.PSYCHIATRIST, (Role.SUPERVISOR,), WireError.FORBIDDEN),
        (ChannelPurpose.AGENCY, Role.ADMIN, tuple(Role), None),
        (ChannelPurpose.AGENCY, Role.SUPERVISOR, (Role.ADMIN,), WireError.FORBIDDEN),
    ],
)
async def test_who_opens_and_who_sits(
    agency: Agency, purpose: ChannelPurpose, opener: Role, others: tuple[Role, ...], code: WireError | None
) -> None:
    people = [await agency.join(role) for role in (opener, *others)]
    made = agency.genesis(*people)
    if code is None:
        await people[0].ask("create_channel", channel_post(purpose, made))
        return
    with pytest.raises(Refusal) as refused:
        await people[0].ask("create_channel", channel_post(purpose, made))
    assert refused.value.code is code


async def test_a_units_lead_opens_its_channel_and_another_responder_does_not(agency: Agency) -> None:
    lead, other = await agency.join(Role.RESPONDER), await agency.join(Role.RESPONDER)
    unit = await agency.unit(lead, other, lead=lead)
    with pytest.raises(Refusal) as refused:
        await agency.open(ChannelPurpose.UNIT, other, lead, subject=unit)
    assert refused.value.code is WireError.FORBIDDEN
    await agency.open(ChannelPurpose.UNIT, lead, other, subject=unit)
    with pytest.raises(Refusal) as refused:
        await agency.open(ChannelPurpose.UNIT, lead, other, subject=os.urandom(16))
    assert refused.value.code is WireError.NOT_FOUND


async def test_an_archived_channel_takes_no_commit(agency: Agency) -> None:
    room = await agency.open(ChannelPurpose.AGENCY, agency.admin)
    await agency.admin.ask("archive_channel", id=room.id.hex())
    await agency.admin.ask("archive_channel", id=room.id.hex())
    with pytest.raises(Refusal) as refused:
        await room.post(room.make(PERIODIC))
    assert refused.value.code is WireError.FORBIDDEN


@pytest.mark.parametrize(
    ("purpose", "subject"),
    [("nonsense", b""), ("agency", b"x" * 16), ("unit", b""), ("unit", b"short"), ("incident", b"i" * 16)],
)
async def test_a_purpose_and_its_subject_must_fit(agency: Agency, purpose: str, subject: bytes) -> None:
    post = msgspec.structs.replace(
        channel_post(ChannelPurpose.AGENCY, agency.genesis(agency.admin)), purpose=purpose, subject=subject
    )
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("create_channel", post)
    assert refused.value.code is WireError.INVALID


async def test_a_genesis_by_a_device_that_may_not_create_is_refused(agency: Agency) -> None:
    supervisor = await agency.join(Role.SUPERVISOR)
    weak = await agency.join(Role.SUPERVISOR, caps=CAP_SEND)
    base = agency.genesis(supervisor, weak).commit
    channel = channel_id_of(weak.id, base.incident_id, 0, base.nonce)
    signed = resign(weak.keys, base, channel_id=channel)
    post = r.ChannelPost("desk", b"", r.CommitPost(signed_object(signed), (), bytes(64)))
    with pytest.raises(Refusal) as refused:
        await weak.ask("create_channel", post)
    assert refused.value.answer.sealing_code == "E_AUTHZ"


async def test_a_genesis_signs_its_channels_name(agency: Agency) -> None:
    base = agency.genesis(agency.admin).commit
    signed = resign(agency.admin.keys, base, channel_id=os.urandom(16))
    post = r.ChannelPost("agency", b"", r.CommitPost(signed_object(signed), (), bytes(64)))
    with pytest.raises(Refusal) as refused:
        await agency.admin.ask("create_channel", post)
    assert refused.value.answer.sealing_code == "E_CHAIN"
    assert parse_commit(signed).prev_hash == ZERO32


async def test_consent_is_named_where_the_compartment_demands_it(agency: Agency) -> None:
    dispatcher, clinician = await agency.join(Role.DISPATCHER), await agency.join(Role.RESPONDER)
    incident = os.urandom(16)
    made = agency.genesis(dispatcher, clinician, incident=incident)
    post = channel_post(ChannelPurpose.INCIDENT, made, incident)
    await dispatcher.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    record = (AuthRecord(Authorisation.CONSENT, os.urandom(32)),)
    clinical = agency.genesis(clinician, incident=incident, compartment=1, auth=record)
    bare = resign(clinician.keys, clinical.commit, auth=())
    hashes = [box.hash for box in clinical.boxes]
    signature = clinician.keys.identity.sign_raw(box_list_input(parse_commit(bare), hashes))
    refused_post = r.ChannelPost(
        "incident", incident, r.CommitPost(signed_object(bare), commit_post(clinical).boxes, signature)
    )
    with pytest.raises(Refusal) as refused:
        await clinician.ask("create_channel", refused_post)
    assert refused.value.answer.sealing_code == "E_AUTH"
    await clinician.ask("create_channel", channel_post(ChannelPurpose.INCIDENT, clinical, incident))


def token(person: Person) -> str:
    assert person.tokens is not None
    return person.tokens.token
