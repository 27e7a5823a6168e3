"""Guests of a consult: a link serves one device, for fifteen minutes, into one channel."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ChannelKind, ConsultId, IncidentId, address
from leeside_protocol.limits import ENROLMENT_TTL_S, GUEST_S
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.words import ChannelPurpose, ConsultActionKind, ConsultState, PersonBy, Role, Urgency
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.guests import GuestRow
from leeside_server.core.identity import AgencyRow
from leeside_server.core.notices import Notice
from leeside_server.core.rows import KINDS, Held, change, create, read
from leeside_server.core.writes import Item
from leeside_server.relay.http import guests
from leeside_server.relay.http.call import Call
from tests.relay.http.test_enrolment import inbox
from tests.relay.http.world import Agency, Person, Refusal, Room, channel_post

MEDIA_ONLY = 1 << 3


@dataclass
class Scene:
    """A consult that goes on: Ana asked, Priya accepted."""

    agency: Agency
    ana: Person
    priya: Person
    stranger: Person
    room: Room
    consult: bytes

    async def link(self, by: Person | None = None) -> o.GuestLink:
        link: o.GuestLink = await (by or self.ana).ask(
            "create_guest", o.NewGuest("interpreter"), id=self.consult.hex()
        )
        return link


@pytest.fixture
async def scene(agency: Agency) -> Scene:
    ana = await agency.join(Role.RESPONDER)
    priya = await agency.join(Role.PSYCHIATRIST)
    stranger = await agency.join(Role.RESPONDER)
    consult = os.urandom(16)
    room_subject = os.urandom(16)
    dispatcher = await agency.join(Role.DISPATCHER)
    made = agency.genesis(dispatcher, incident=room_subject)
    post = r.IncidentPost(room_subject, 2, (), _channel_post(ChannelPurpose.INCIDENT, made, room_subject))
    await dispatcher.ask("open_incident", post)
    room = await agency.open(ChannelPurpose.CONSULT, ana, priya, subject=room_subject)
    row = ConsultRow(
        incident=IncidentId(room_subject),
        unit=None,
        member=_member(ana),
        device=ana.id,
        urgency=Urgency.URGENT,
        language="",
        interpreter=True,
        specialty="",
        channel=room.id,
        ladder=None,
        steps=(),
        phones=(),
        requested_ms=0,
        asked_steady_ms=0,
        state=ConsultState.IN_SESSION,
        accepted_by=_member(priya),
        accepted_device=priya.id,
    )
    await agency.city.node.write([Item(agency.id, 0, (create(ConsultId(consult), row),))])
    return Scene(agency, ana, priya, stranger, room, consult)


def _member(person: Person) -> Any:
    return bytes.fromhex(person.member)


def _channel_post(purpose: ChannelPurpose, made: Any, subject: bytes) -> r.ChannelPost:
    return channel_post(purpose, made, subject)


def guest_post(keys: DeviceKeys, code: str, secret: bytes = bytes(32)) -> o.GuestPost:
    entry = keys.guest_entry(AgencyId(bytes(16)), MEDIA_ONLY)
    assert entry.guest is not None
    public, hpke = entry.guest.public, entry.guest.hpke_public
    return o.GuestPost(
        code,
        public,
        hpke,
        keys.identity.sign_raw(pae(PREFIX + b"guest", code.encode(), hpke)),
        hmac.digest(secret, pae(PREFIX + b"guest keys", public, hpke), hashlib.sha256),
    )


def guest_keys(scene: Scene) -> DeviceKeys:
    until_ms = scene.agency.city.clock.now_ms() + GUEST_S * 1000
    return DeviceKeys.create_guest(os.urandom, until_ms)


async def come(scene: Scene, link: o.GuestLink) -> tuple[DeviceKeys, o.GuestTaken]:
    keys = guest_keys(scene)
    taken: o.GuestTaken = await scene.agency.city.ask("take_guest_link", body=guest_post(keys, link.code))
    return keys, taken


async def let_in(scene: Scene, keys: DeviceKeys, until_ms: int) -> None:
    entry = keys.guest_entry(scene.agency.id, MEDIA_ONLY)
    assert entry.guest is not None
    assert entry.guest.not_after_ms <= until_ms
    made = scene.room.make(Change(CommitReason.MEMBER, guests=(entry,)))
    await scene.room.post(made)
    scene.room.take(made)


async def refused(asked: Any) -> WireError:
    with pytest.raises(Refusal) as error:
        await asked
    return error.value.code


async def test_a_guest_comes_is_let_in_and_reaches_nothing_else(scene: Scene) -> None:
    link = await scene.link()
    keys, taken = await come(scene, link)
    assert (taken.consult, taken.channel) == (scene.consult.hex(), scene.room.id.hex())
    assert Notice.GUEST_WAITS in await inbox(scene.ana)
    (waiting,) = (await scene.priya.ask("guests", id=scene.consult.hex())).items
    assert (waiting.state, waiting.device, waiting.public_key) == (
        "waiting",
        taken.device,
        keys.identity.public,
    )
    guest = Person(scene.agency.city, keys, taken.guest)
    tokens = await guest.sign_in()
    assert tokens.roles == (Role.INTERPRETER,)
    assert (await guest.ask("channels")).items == ()

    await let_in(scene, keys, taken.until_ms)
    assert (await scene.ana.ask("guest", id=link.guest)).state == "in"
    assert [c.id for c in (await guest.ask("channels")).items] == [scene.room.id.hex()]
    # Media alone: what is said in text is not handed out.
    content = address(ChannelKind.CONTENT, scene.room.id).hex()
    assert await refused(guest.ask("log", address=content)) is WireError.NOT_FOUND
    for name in ("members", "devices", "incidents", "units"):
        assert await refused(guest.ask(name)) is WireError.FORBIDDEN
    assert await refused(guest.ask("guests", id=scene.consult.hex())) is WireError.NOT_FOUND
    assert await refused(guest.ask("create_guest", o.NewGuest("interpreter"), id=scene.consult.hex())) is (
        WireError.NOT_FOUND
    )


async def test_guests_stand_in_no_list_of_people(scene: Scene) -> None:
    _, taken = await come(scene, await scene.link())
    members = (await scene.agency.admin.ask("members")).items
    devices = (await scene.agency.admin.ask("devices")).items
    assert taken.guest not in {m.id for m in members}
    assert taken.device not in {d.id for d in devices}


async def test_a_link_serves_one_device_which_may_repeat_itself(scene: Scene) -> None:
    link = await scene.link()
    keys = guest_keys(scene)
    first = await scene.agency.city.ask("take_guest_link", body=guest_post(keys, link.code))
    assert await scene.agency.city.ask("take_guest_link", body=guest_post(keys, link.code)) == first
    other = guest_post(guest_keys(scene), link.code)
    assert await refused(scene.agency.city.ask("take_guest_link", body=other)) is WireError.NOT_FOUND
    # The same device with another mac would be somebody in between.
    bent = guest_post(keys, link.code, secret=bytes(31) + b"\x01")
    assert await refused(scene.agency.city.ask("take_guest_link", body=bent)) is WireError.NOT_FOUND


async def test_of_ten_devices_at_once_a_link_brings_one(scene: Scene) -> None:
    link = await scene.link()
    posts = [guest_post(guest_keys(scene), link.code) for _ in range(10)]
    answers = await asyncio.gather(*(scene.agency.city.raw("take_guest_link", body=post) for post in posts))
    assert sorted(answer.status_code for answer in answers) == [201] + [404] * 9


async def test_a_link_ends_after_fifteen_minutes_and_after_five_wrong_proofs(scene: Scene) -> None:
    link = await scene.link()
    scene.agency.city.clock.advance(ENROLMENT_TTL_S)
    late = guest_post(guest_keys(scene), link.code)
    assert await refused(scene.agency.city.ask("take_guest_link", body=late)) is WireError.EXPIRED

    await scene.ana.sign_in()
    link = await scene.link()
    good = guest_post(guest_keys(scene), link.code)
    wrong = guest_post(guest_keys(scene), "0000-0000-0000-0000")
    bent = o.GuestPost(link.code, wrong.public_key, wrong.hpke_public, wrong.proof, wrong.mac)
    for _ in range(5):
        assert await refused(scene.agency.city.ask("take_guest_link", body=bent)) is (
            WireError.SEALING_REFUSED
        )
    assert await refused(scene.agency.city.ask("take_guest_link", body=good)) is WireError.EXPIRED


async def test_only_who_takes_part_invites_sees_and_ends(scene: Scene) -> None:
    assert await refused(scene.link(scene.stranger)) is WireError.NOT_FOUND
    link = await scene.link(scene.priya)
    assert await refused(scene.stranger.ask("guest", id=link.guest)) is WireError.NOT_FOUND
    assert await refused(scene.stranger.ask("end_guest", id=link.guest)) is WireError.NOT_FOUND


async def test_an_ended_guest_is_refused_at_once_and_its_link_serves_no_more(scene: Scene) -> None:
    unused, link = await scene.link(), await scene.link()
    keys, taken = await come(scene, link)
    guest = Person(scene.agency.city, keys, taken.guest)
    await guest.sign_in()
    for ended in (unused, link):
        await scene.priya.ask("end_guest", id=ended.guest)
        await scene.priya.ask("end_guest", id=ended.guest)
    assert await refused(guest.ask("me")) is WireError.REVOKED
    assert await refused(guest.sign_in()) is WireError.REVOKED
    post = guest_post(guest_keys(scene), unused.code)
    assert await refused(scene.agency.city.ask("take_guest_link", body=post)) is WireError.EXPIRED
    states = {g.guest: g.state for g in (await scene.ana.ask("guests", id=scene.consult.hex())).items}
    assert states == {unused.guest: "ended", link.guest: "ended"}


async def test_a_guest_may_leave_by_itself_and_the_links_maker_is_told(scene: Scene) -> None:
    link, other = await scene.link(), await scene.link()
    keys, _ = await come(scene, link)
    guest = Person(scene.agency.city, keys, link.guest)
    await guest.sign_in()
    assert await refused(guest.ask("end_guest", id=other.guest)) is WireError.NOT_FOUND
    before = (await inbox(scene.ana)).count(Notice.GUEST_WAITS)
    await guest.ask("end_guest", id=link.guest)
    assert await refused(guest.ask("me")) is WireError.REVOKED
    assert (await inbox(scene.ana)).count(Notice.GUEST_WAITS) == before + 1
    assert (await scene.ana.ask("guest", id=link.guest)).state == "ended"


@pytest.mark.parametrize("kind", [ConsultActionKind.END, ConsultActionKind.LEAVE])
async def test_guests_go_with_their_consult_and_not_before(scene: Scene, kind: ConsultActionKind) -> None:
    unused, link = await scene.link(), await scene.link()
    keys, taken = await come(scene, link)
    guest = Person(scene.agency.city, keys, taken.guest)
    await guest.sign_in()
    await scene.priya.ask("consult_action", o.ConsultAction(kind), id=scene.consult.hex())
    post = guest_post(guest_keys(scene), unused.code)
    if kind is ConsultActionKind.END:
        assert await refused(guest.ask("me")) is WireError.REVOKED
        assert await refused(scene.agency.city.ask("take_guest_link", body=post)) is WireError.EXPIRED
    else:
        assert (await guest.ask("me")).roles == (Role.INTERPRETER,)
        await scene.agency.city.ask("take_guest_link", body=post)


async def test_a_link_is_not_made_while_its_consult_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking_part = guests._taking_part  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def ends_meanwhile(call: Call, key: bytes) -> Held[ConsultRow]:
        held = await taking_part(call, key)
        monkeypatch.setattr(guests, "_taking_part", taking_part)
        await scene.priya.ask(
            "consult_action", o.ConsultAction(ConsultActionKind.END), id=scene.consult.hex()
        )
        return held

    monkeypatch.setattr(guests, "_taking_part", ends_meanwhile)
    assert await refused(scene.link()) is WireError.CONFLICT
    left = await scene.agency.city.node.store.objects(
        scene.agency.id, KINDS[GuestRow], scene.consult, b"", 10
    )
    assert left == []


async def test_a_guest_stays_four_hours_at_most(scene: Scene) -> None:
    keys, taken = await come(scene, await scene.link())
    guest = Person(scene.agency.city, keys, taken.guest)
    await guest.sign_in()
    scene.agency.city.clock.advance(GUEST_S)
    assert await refused(guest.sign_in()) is WireError.EXPIRED


async def test_where_the_agency_asks_for_the_person_a_guest_shows_the_link_alone(scene: Scene) -> None:
    await _ask_for_the_person(scene)
    keys, taken = await come(scene, await scene.link())
    assert (await Person(scene.agency.city, keys, taken.guest).sign_in()).roles == (Role.INTERPRETER,)


async def _ask_for_the_person(scene: Scene) -> None:
    """As if the agency had turned it on: the server's own check of that change is not what is tried here."""
    found = await scene.agency.city.node.store.get(scene.agency.id, "agency", scene.agency.id)
    assert found is not None
    held = read(AgencyRow, found)
    row = replace(held.row, person=PersonBy.OIDC)
    await scene.agency.city.node.write([Item(scene.agency.id, 0, (change(held, row),))])


async def test_a_consult_has_eight_guests_at_most(scene: Scene) -> None:
    links = [await scene.link() for _ in range(8)]
    assert await refused(scene.link()) is WireError.FORBIDDEN
    await scene.ana.ask("end_guest", id=links[0].guest)
    await scene.link()
