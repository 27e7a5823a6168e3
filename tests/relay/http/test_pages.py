"""Duty, the test at the start of a shift, receipts, and what is told of a page, over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.words import Role, TargetState
from leeside_server.core.duty import DutyRow, probed
from leeside_server.core.notices import Notice
from leeside_server.core.paging import TEST_LIFE_MS
from leeside_server.core.rows import KINDS, read
from tests.relay.http.consulting import Scene, inbox, scene_of, show, steps
from tests.relay.http.world import Agency, City, Person, Refusal
from tests.support.patience import PATIENCE_S
from tests.support.push_service import Browser


@pytest_asyncio.fixture
async def scene(agency: Agency) -> Scene:
    return await scene_of(agency)


@pytest_asyncio.fixture
async def priya(scene: Scene) -> AsyncIterator[Person]:
    yield await scene.agency.join(Role.PSYCHIATRIST)


async def subscribe(person: Person, name: str = "") -> None:
    browser = Browser()
    endpoint = f"https://push.test/{person.id.hex()}{name}"
    await person.ask("put_push", r.PushSubscription(endpoint, browser.public, browser.auth))


async def settled(city: City) -> None:
    """What is due was claimed, and every attempt made."""
    node = city.node
    await node.probes.carry_out(await node.steady.now_ms())
    await node.paging.carry_out(await node.steady.now_ms())
    async with asyncio.timeout(PATIENCE_S):
        while not node.paging.idle:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def receipt(
    city: City, page: str, state: Literal["delivered", "seen"], path: Literal["socket", "push"] = "push"
) -> None:
    """What a service worker posts, without a token."""
    response = await city.raw("page_receipt", body=o.ReceiptPost(state, path=path), id=page)
    assert response.status_code == 204


def pushed(city: City, person: Person, words: str) -> list[str]:
    """The pages of the pushes that said this to a device."""
    return [
        payload.decode().split()[-1]
        for endpoint, payload, _ in city.push.sent
        if endpoint.endswith(person.id.hex()) and payload.decode().startswith(words + " ")
    ]


class TestDuty:
    async def test_nothing_is_known_at_first(self, priya: Person) -> None:
        assert await priya.ask("duty") == o.Duty(False, False, 0, 0, False, ())

    async def test_it_is_the_devices_own(self, scene: Scene, priya: Person) -> None:
        noor = await scene.agency.join(Role.PSYCHIATRIST)
        answer = await priya.ask("put_duty", o.DutyPut(True, sound=True))
        assert (answer.on, answer.sound, answer.tested_ms) == (True, True, scene.city.clock.now_ms())
        assert (await priya.ask("duty")) == answer
        assert not (await noor.ask("duty")).on
        assert not (await priya.ask("put_duty", o.DutyPut(False))).on

    async def test_a_device_that_subscribes_is_probed_and_counts_once_it_answered(
        self, scene: Scene, priya: Person
    ) -> None:
        city = scene.city
        await subscribe(priya)
        await settled(city)
        (page,) = pushed(city, priya, "probe")
        assert (await priya.ask("duty")).push
        assert (await priya.ask("duty")).probed_ms == 0
        await receipt(city, page, "delivered")
        assert (await priya.ask("duty")).probed_ms == city.clock.now_ms()
        assert probed(await duty_row(scene, priya), await city.node.steady.now_ms())
        await subscribe(priya, "/another")
        assert (await priya.ask("duty")).probed_ms == 0, "another subscription shows nothing yet"

    async def test_nobody_is_probed_who_is_never_paged(self, scene: Scene) -> None:
        ana = await scene.agency.join(Role.RESPONDER)
        await subscribe(ana)
        await settled(scene.city)
        assert pushed(scene.city, ana, "probe") == []


class TestTest:
    async def test_it_rings_by_every_way_that_the_device_has(self, scene: Scene, priya: Person) -> None:
        city = scene.city
        await subscribe(priya)
        number = r.MemberChange((await priya.ask("me")).revision, phone="+15550100")
        await scene.agency.admin.ask("change_member", number, id=priya.member)
        page = (await priya.ask("test_page")).page
        await settled(city)
        assert pushed(city, priya, "a test is waiting") == [page]
        assert {(one.kind, one.to, one.text) for one in city.gateway.sent} == {
            ("sms", "+15550100", "This is a test of your pages."),
            ("voice", "+15550100", "This is a test of your pages."),
        }
        assert (Notice.TEST_PAGE, (bytes.fromhex(page),)) in await inbox(priya, Notice.TEST_PAGE)
        receipts = await priya.ask("page", id=page)
        assert {(path.path, path.state) for path in receipts.paths} == {
            (name, TargetState.SENT) for name in ("socket", "push", "sms", "voice")
        }

    async def test_each_way_has_its_receipt(self, scene: Scene, priya: Person) -> None:
        city = scene.city
        await subscribe(priya)
        page = (await priya.ask("test_page")).page
        await settled(city)
        await receipt(city, page, "delivered")
        await receipt(city, page, "seen", "socket")
        receipts = await priya.ask("page", id=page)
        assert {path.path: path.state for path in receipts.paths} == {
            "socket": TargetState.SEEN,
            "push": TargetState.DELIVERED,
        }
        assert (await priya.ask("duty")).probed_ms == city.clock.now_ms(), "a test shows what a probe would"

    async def test_the_receipt_of_an_old_test_shows_nothing_of_today(
        self, scene: Scene, priya: Person
    ) -> None:
        city = scene.city
        await subscribe(priya)
        page = (await priya.ask("test_page")).page
        await settled(city)
        await receipt(city, page, "delivered")
        tested_ms = (await priya.ask("duty")).probed_ms
        city.clock.advance(TEST_LIFE_MS / 1_000)
        await receipt(city, page, "delivered")
        assert (await priya.ask("duty")).probed_ms == tested_ms

    async def test_a_device_cannot_ring_all_the_time(self, priya: Person) -> None:
        for _ in range(3):
            await priya.ask("test_page")
        with pytest.raises(Refusal) as refused:
            await priya.ask("test_page")
        assert refused.value.code is WireError.RATE_LIMITED


class TestReceipts:
    async def test_who_has_the_id_may_say_so_and_learns_nothing(self, scene: Scene, priya: Person) -> None:
        page = (await priya.ask("test_page")).page
        for which in (page, os.urandom(16).hex()):
            response = await scene.city.raw(
                "page_receipt", body=o.ReceiptPost("delivered", path="socket"), id=which
            )
            assert (response.status_code, response.content) == (204, b"")

    async def test_others_do_not_read_how_far_a_page_came(self, scene: Scene, priya: Person) -> None:
        page = (await priya.ask("test_page")).page
        supervisor, responder = [await scene.agency.join(role) for role in (Role.SUPERVISOR, Role.RESPONDER)]
        assert (await supervisor.ask("page", id=page)).page == page
        with pytest.raises(Refusal) as refused:
            await responder.ask("page", id=page)
        assert refused.value.code is WireError.NOT_FOUND

    async def test_the_requester_sees_how_far_it_came(self, scene: Scene, priya: Person) -> None:
        """From the push service's word to the person's eyes, in the consult itself."""
        city, ana = scene.city, await scene.agency.join(Role.RESPONDER)
        await scene.arrive(priya)
        await subscribe(priya)
        ladder = await scene.ladder(*steps((priya,)))
        asked = await scene.request(ana, priya, ladder=ladder)
        await settled(city)
        assert [t.state for t in (await show(ana, asked.id)).targets] == [TargetState.SENT]
        (page,) = pushed(city, priya, "a consult is waiting")
        await receipt(city, page, "delivered")
        assert [t.state for t in (await show(ana, asked.id)).targets] == [TargetState.DELIVERED]
        await receipt(city, page, "seen")
        assert [t.state for t in (await show(ana, asked.id)).targets] == [TargetState.SEEN]

    async def test_no_push_wakes_who_is_only_in_the_roster(self, scene: Scene, priya: Person) -> None:
        """The consult's channel holds everybody who may come; whom to wake is the ladder's to say."""
        city, ana = scene.city, await scene.agency.join(Role.RESPONDER)
        noor = await scene.agency.join(Role.PSYCHIATRIST)
        await scene.arrive(priya)
        await subscribe(priya)
        await subscribe(noor)
        ladder = await scene.ladder(*steps((priya,), (noor,)))
        await scene.request(ana, priya, noor, ladder=ladder, urgency=2)
        await settled(city)
        async with asyncio.timeout(PATIENCE_S):
            while not city.node.pushes.idle:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert pushed(city, priya, "a consult is waiting")
        assert not pushed(city, noor, "a consult is waiting")
        assert not [payload for _, payload, _ in city.push.sent if payload.startswith(b"something")]


@pytest.mark.parametrize("jump_ms", [2 * 3_600_000, -2 * 3_600_000])
async def test_a_clock_that_is_set_makes_no_step_early_and_none_late(
    scene: Scene, priya: Person, jump_ms: int
) -> None:
    """The store's clock, two hours forward or back in the middle of a step of a minute."""
    ana, noor = [await scene.agency.join(role) for role in (Role.RESPONDER, Role.PSYCHIATRIST)]
    await scene.arrive(priya, noor)
    ladder = await scene.ladder(*steps((priya,), (noor,)))
    asked = await scene.request(ana, priya, noor, ladder=ladder)
    await scene.pass_time(10)
    scene.city.clock.jump(jump_ms)
    await scene.report()
    await scene.tick()
    assert (await scene.row(asked.id)).step == 0
    await scene.pass_time(48)
    assert (await scene.row(asked.id)).step == 0, "58 s"
    await scene.pass_time(4)
    assert (await scene.row(asked.id)).step == 1, "62 s"


async def duty_row(scene: Scene, person: Person) -> DutyRow:
    found = await scene.city.node.store.get(scene.agency.id, KINDS[DutyRow], person.id)
    assert found is not None
    return read(DutyRow, found).row
