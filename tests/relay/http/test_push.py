"""Push: who subscribes, who is told, and what never holds anything up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
import stamina

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelAddress, ChannelKind, DeviceId, MessageId, address
from leeside_protocol.sealing.public.entries import DeviceRemoved
from leeside_protocol.words import ChannelPurpose, Lane, Role, Urgency
from leeside_server.core.identity import NO_AGENCY, DeviceRow
from leeside_server.core.notices import Notice, notices
from leeside_server.core.rows import KINDS
from leeside_server.core.writes import NO_DEVICE, Append, Item, Stored
from leeside_server.ports import PushGone, PushRefused, PushUnavailable, StoreRefused, StoreUnavailable
from leeside_server.relay.pushes import AGAIN_S, CHANNELS_WAITING, PAYLOAD
from leeside_server.relay.vapid import load_vapid_key
from tests.relay.http.world import PUSH_KEY, Agency, City, Person, Refusal, Room
from tests.support.patience import PATIENCE_S
from tests.support.push_service import Browser

SECRET = bytes(range(32))


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def where(person: Person) -> str:
    return f"https://push.test/{person.id.hex()}"


async def subscribe(*people: Person) -> None:
    for person in people:
        browser = Browser()
        await person.ask("put_push", r.PushSubscription(where(person), browser.public, browser.auth))


async def settled(city: City) -> None:
    """Whatever was noted has been looked at, and sent."""
    async with asyncio.timeout(PATIENCE_S):
        while not city.node.pushes.idle:  # noqa: ASYNC110
            await asyncio.sleep(0)


def urgent(
    channel: ChannelAddress,
    sender: DeviceId = NO_DEVICE,
    number: int = 1,
    urgency: Urgency = Urgency.URGENT,
) -> Append:
    message = MessageId(number.to_bytes(16, "big"))
    return Append(channel, Lane.LOG, b"", sender, message, b"sealed", urgency)


async def say(
    city: City, room: Room, sender: Person, urgency: Urgency = Urgency.URGENT, number: int = 1
) -> None:
    """A message as this node stores it for a socket."""
    append = urgent(address(ChannelKind.CONTENT, room.id), sender.id, number, urgency)
    await city.node.write([Item(room.agency.id, city.clock.now_ms(), (append,))])
    await settled(city)


async def connected(city: City, agency: Agency, *people: Person) -> None:
    await city.node.presence.renew("node", [(agency.id, p.id) for p in people], city.clock.now_ms())


def told(city: City) -> list[str]:
    """Endpoints that were pushed to, since this was asked last."""
    # Who may be paged is probed besides, sooner or later.
    sent = [one for one in city.push.sent if not one[1].startswith(b"probe ")]
    city.push.sent = []
    assert all((payload, ttl_s) == (PAYLOAD, 60) for _, payload, ttl_s in sent)
    return sorted(endpoint for endpoint, _, _ in sent)


async def scene(agency: Agency) -> tuple[Room, Person, Person]:
    """A desk channel with two dispatchers who subscribed; nobody is connected."""
    one, two = await agency.join(Role.SUPERVISOR), await agency.join(Role.DISPATCHER)
    await subscribe(one, two)
    room = await agency.open(ChannelPurpose.DESK, one, two)
    await settled(agency.city)
    told(agency.city)
    agency.city.clock.advance(20)
    return room, one, two


class TestSubscriptions:
    async def test_the_key_is_the_servers(self, agency: Agency) -> None:
        assert (await agency.admin.ask("push_key")).public == PUSH_KEY

    async def test_the_newest_counts_and_goes_with_the_device(self, agency: Agency) -> None:
        person = await agency.join(Role.RESPONDER)
        await subscribe(person)
        await subscribe(person)
        assert (await row_of(agency, person)).push_endpoint == where(person)
        await agency.admin.ask("revoke_device", id=person.id.hex())
        row = await row_of(agency, person)
        assert (row.push_endpoint, row.push_public, row.push_auth) == ("", b"", b"")

    async def test_it_goes_with_the_signed_revocation_as_well(self, agency: Agency) -> None:
        person = await agency.join(Role.RESPONDER)
        await subscribe(person)
        await agency.post(DeviceRemoved(person.id, "lost", agency.city.clock.now_ms()))
        assert (await row_of(agency, person)).push_endpoint == ""

    async def test_it_may_be_ended_twice(self, agency: Agency) -> None:
        await subscribe(agency.admin)
        for _ in range(2):
            await agency.admin.ask("delete_push")
        assert (await row_of(agency, agency.admin)).push_endpoint == ""

    @pytest.mark.parametrize(
        "endpoint", ["https://elsewhere.example/x", "http://push.test/x", "https://10.0.0.1/x"]
    )
    async def test_an_endpoint_elsewhere_is_refused(self, agency: Agency, endpoint: str) -> None:
        browser = Browser()
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("put_push", r.PushSubscription(endpoint, browser.public, browser.auth))
        assert refused.value.code is WireError.FORBIDDEN

    @pytest.mark.parametrize(
        "body",
        [
            b'{"endpoint": "https://push.test/x", "p256dh": "BAAA", "auth": "AAAAAAAAAAAAAAAAAAAAAA=="}',
            b'{"endpoint": "https://push.test/x"}',
            b"[]",
        ],
    )
    async def test_what_is_no_subscription_is_refused(self, agency: Agency, body: bytes) -> None:
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("put_push", body)
        assert refused.value.code is WireError.INVALID

    async def test_a_key_that_is_no_point_is_refused(self, agency: Agency) -> None:
        """It would be found out only when somebody is to be told."""
        with pytest.raises(Refusal) as refused:
            await agency.admin.ask("put_push", r.PushSubscription("https://push.test/x", PUSH_KEY, bytes(16)))
        assert refused.value.code is WireError.INVALID


class TestWhoIsTold:
    async def test_whoever_has_no_socket_when_something_urgent_is_stored(self, agency: Agency) -> None:
        room, one, two = await scene(agency)
        await say(agency.city, room, one)
        assert told(agency.city) == [where(two)], "not the sender"

    @pytest.mark.parametrize("urgency", [Urgency.ROUTINE, Urgency.IMPORTANT])
    async def test_nobody_of_what_can_wait(self, agency: Agency, urgency: Urgency) -> None:
        room, one, _ = await scene(agency)
        await say(agency.city, room, one, urgency)
        assert told(agency.city) == []

    async def test_nobody_of_a_repeat(self, agency: Agency) -> None:
        room, one, _ = await scene(agency)
        await say(agency.city, room, one)
        told(agency.city)
        agency.city.clock.advance(60)
        await say(agency.city, room, one)
        assert told(agency.city) == []

    async def test_who_is_alarmed_and_nobody_of_a_notice_that_can_wait(self, agency: Agency) -> None:
        """A consult that nobody answered; one that only changed is fetched by who is there."""
        _, one, two = await scene(agency)
        city = agency.city
        parts = (
            *notices(Notice.CONSULT_ALARM, (bytes(16),), [one.id], os.urandom),
            *notices(Notice.CONSULT_CHANGED, (bytes(16),), [two.id], os.urandom),
        )
        await city.node.write([Item(agency.id, city.clock.now_ms(), parts)])
        await settled(city)
        assert told(city) == [where(one)]

    async def test_whoever_was_added_to_a_channel(self, agency: Agency) -> None:
        one, two = await agency.join(Role.SUPERVISOR), await agency.join(Role.DISPATCHER)
        await subscribe(two)
        await agency.open(ChannelPurpose.DESK, one, two)
        await settled(agency.city)
        assert told(agency.city) == [where(two)]

    async def test_nobody_else(self, agency: Agency) -> None:
        room, one, _ = await scene(agency)
        stranger = await agency.join(Role.DISPATCHER)
        await subscribe(stranger)
        await say(agency.city, room, one)
        assert where(stranger) not in told(agency.city)

    async def test_not_whoever_is_connected_anywhere(self, agency: Agency) -> None:
        room, one, two = await scene(agency)
        await connected(agency.city, agency, two)
        await say(agency.city, room, one)
        assert told(agency.city) == []

    async def test_a_phone_that_fell_asleep_is_looked_for_again(self, agency: Agency) -> None:
        city = agency.city
        room, one, two = await scene(agency)
        await connected(city, agency, two)
        await say(city, room, one)
        await connected(city, agency)
        city.clock.advance(AGAIN_S - 1)
        await city.node.pushes.look_again()
        await settled(city)
        assert told(city) == []
        city.clock.advance(1)
        await city.node.pushes.look_again()
        await settled(city)
        assert told(city) == [where(two)]
        city.clock.advance(AGAIN_S)
        await city.node.pushes.look_again()
        await settled(city)
        assert told(city) == [], "once"

    async def test_whoever_is_still_there_then_is_left_alone(self, agency: Agency) -> None:
        city = agency.city
        room, one, two = await scene(agency)
        await connected(city, agency, two)
        await say(city, room, one)
        city.clock.advance(AGAIN_S)
        await connected(city, agency, two)
        await city.node.pushes.look_again()
        await settled(city)
        assert told(city) == []
        assert city.node.pushes.waiting == 0

    async def test_one_in_fifteen_seconds_and_none_is_lost(self, agency: Agency) -> None:
        city = agency.city
        room, one, two = await scene(agency)
        for number in (1, 2, 3):
            await say(city, room, one, number=number)
        assert told(city) == [where(two)]
        city.clock.advance(15)
        await city.node.pushes.look_again()
        await settled(city)
        assert told(city) == [where(two)]
        city.clock.advance(15)
        await city.node.pushes.look_again()
        await settled(city)
        assert told(city) == []

    async def test_not_who_was_revoked(self, agency: Agency) -> None:
        room, one, two = await scene(agency)
        await agency.admin.ask("revoke_device", id=two.id.hex())
        await settled(agency.city)
        await say(agency.city, room, one)
        assert told(agency.city) == []


class TestFailures:
    async def test_a_subscription_that_is_gone_is_forgotten(self, agency: Agency) -> None:
        room, one, two = await scene(agency)
        agency.city.push.answers[where(two)] = [PushGone()]
        await say(agency.city, room, one)
        assert (await row_of(agency, two)).push_endpoint == ""
        assert (await row_of(agency, one)).push_endpoint == where(one)

    async def test_a_new_one_is_not_forgotten_with_the_old(self, agency: Agency) -> None:
        city = agency.city
        room, one, two = await scene(agency)
        city.push.answers[where(two)] = [PushGone()]
        send = city.push.send

        async def slowly(*given: Any) -> None:
            browser = Browser()
            new = r.PushSubscription("https://push.test/new", browser.public, browser.auth)
            await two.ask("put_push", new)
            await send(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(city.push, "send", slowly)
            await say(city, room, one)
        assert (await row_of(agency, two)).push_endpoint == "https://push.test/new"

    async def test_a_failure_is_tried_again_and_in_the_end_counted(self, agency: Agency) -> None:
        city = agency.city
        room, one, two = await scene(agency)
        city.push.answers[where(two)] = [PushUnavailable()]
        await say(city, room, one)
        assert told(city) == [where(two)]
        assert count(city, "pushes_failed") == 0
        city.clock.advance(60)
        city.push.answers[where(two)] = [PushUnavailable()] * 9
        await say(city, room, one, number=2)
        assert told(city) == []
        assert count(city, "pushes_failed") == 1

    async def test_what_would_be_refused_again_is_not_tried_again(self, agency: Agency) -> None:
        city = agency.city
        room, one, two = await scene(agency)
        city.push.answers[where(two)] = [PushRefused(403)]
        await say(city, room, one)
        assert told(city) == []
        assert (await row_of(agency, two)).push_endpoint == where(two)

    async def test_a_service_that_hangs_delays_no_message(
        self, agency: Agency, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        city = agency.city
        room, one, _ = await scene(agency)
        hanging = asyncio.Event()

        async def hang(*_: Any) -> None:
            await hanging.wait()

        monkeypatch.setattr(city.push, "send", hang)
        append = urgent(address(ChannelKind.CONTENT, room.id), one.id)
        async with asyncio.timeout(PATIENCE_S):
            await city.node.write([Item(agency.id, city.clock.now_ms(), (append,))])
            while city.node.pushes.waiting == 0:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not city.node.pushes.idle, "it hangs, and the message is stored"
        hanging.set()

    async def test_what_finds_no_room_is_counted_and_dropped(self, agency: Agency) -> None:
        items = [
            Item(agency.id, 1, (urgent(address(ChannelKind.CONTENT, number.to_bytes(16, "big"))),))
            for number in range(CHANNELS_WAITING + 5)
        ]
        agency.city.node.pushes.stored(items, [Stored(1, (1,))] * len(items))
        assert count(agency.city, "pushes_dropped") == 5

    async def test_a_store_that_is_away_costs_a_push_and_not_the_node(
        self, agency: Agency, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        city = agency.city
        room, one, two = await scene(agency)

        async def away(_: object) -> None:
            raise StoreUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(city.node.store, "get_many", away)
            await say(city, room, one)
        assert told(city) == []
        await say(city, room, one, number=2)
        assert told(city) == [where(two)]


class TestKey:
    async def test_it_is_made_once_and_opens_with_the_secret_alone(self, city: City) -> None:
        store, now_ms = city.node.store, city.clock.now_ms()
        key = await load_vapid_key(store, SECRET, now_ms, bytes)
        again = await load_vapid_key(store, SECRET, now_ms + 1, bytes)
        assert key.private_numbers() == again.private_numbers()
        with pytest.raises(StoreRefused):
            await load_vapid_key(store, bytes(32), now_ms, bytes)
        (row,) = await store.objects(NO_AGENCY, "vapid_key", None, b"", 10)
        assert key.private_numbers().private_value.to_bytes(32, "big") not in row.body

    async def test_two_nodes_that_start_together_have_one(self, city: City) -> None:
        keys = await asyncio.gather(
            *(load_vapid_key(city.node.store, SECRET, city.clock.now_ms(), bytes) for _ in range(4))
        )
        assert len({key.private_numbers().private_value for key in keys}) == 1


async def row_of(agency: Agency, person: Person) -> DeviceRow:
    from leeside_server.core.rows import read

    found = await agency.city.node.store.get(agency.id, KINDS[DeviceRow], person.id)
    assert found is not None
    return read(DeviceRow, found).row


def count(city: City, name: str) -> float:
    value = city.node.metrics.registry.get_sample_value(f"leeside_{name}_total")
    assert value is not None
    return value
