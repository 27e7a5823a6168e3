"""Pages on two nodes: sent at least once with one id, by whoever holds the fence, and by nobody once they are over."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
import pytest_asyncio

from leeside_protocol.ids import ChannelKind, DeviceId, MemberId, PageId, address
from leeside_protocol.limits import PUSH_BYTES
from leeside_protocol.words import Role, TargetState, Urgency
from leeside_server.adapters import webhook, webpush
from leeside_server.core import duty
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import DeviceRow, DeviceState, MemberRow
from leeside_server.core.notices import Notice
from leeside_server.core.paging import ATTEMPT_S, LEASE_MS, NO_MEMBER, REPEAT_MS, RETRY_MS, PageRow
from leeside_server.core.paging import Path as Way
from leeside_server.core.rows import KINDS, change
from leeside_server.core.writes import Item, Save, Stored
from leeside_server.ports import Calling, GatewayRefused, GatewayUnavailable, PushGone, PushRefused
from leeside_server.relay import paging as relay_paging
from leeside_server.relay.retention import Retention, RetentionSettings
from tests.relay.paging_scene import CONSULT, Outbox, outbox

LEASE_S = LEASE_MS / 1_000


@pytest_asyncio.fixture
async def box(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with outbox(tmp_path) as opened:
        yield opened


async def notices(box: Outbox, endpoint: str) -> list[tuple[list[object], Urgency]]:
    """What stands in the inbox of a device."""
    device = bytes.fromhex(endpoint.rsplit("/", 1)[1])
    page = await box.store.read(box.agency, address(ChannelKind.INBOX, device), 0, 100, 100_000)
    return [(msgspec.msgpack.decode(e.payload or b""), e.urgency) for e in page.entries]


class TestWays:
    def test_no_attempt_behind_its_fence_waits_for_a_connection(self) -> None:
        """What would go out when a connection is free might go out long after somebody accepted."""
        attempts = relay_paging.FIRST + relay_paging.AGAIN
        assert min(webhook.CONNECTIONS, webpush.CONNECTIONS) >= attempts + relay_paging.CLAIMED_AT_ONCE

    async def test_socket_push_text_and_call_start_together(self, box: Outbox) -> None:
        member = await box.member(phone="+15550100")
        endpoint = await box.device(member)
        page = await box.page(member)
        assert await notices(box, endpoint) == [([int(Notice.PAGE), page, CONSULT], Urgency.URGENT)]
        await box.turn()
        assert box.sent() == [(endpoint, page.hex())]
        assert sorted((one.kind, one.to, one.page) for one in box.gateway.sent) == [
            ("sms", "+15550100", page.hex()),
            ("voice", "+15550100", page.hex()),
        ]
        assert {way.path: (way.state, way.attempts) for way in (await box.row(page)).ways} == {
            Way.SOCKET: (TargetState.SENT, 1),
            Way.PUSH: (TargetState.SENT, 1),
            Way.SMS: (TargetState.SENT, 1),
            Way.VOICE: (TargetState.SENT, 1),
        }

    async def test_nothing_is_said_but_that_a_consult_waits(self, box: Outbox) -> None:
        member = await box.member(phone="+15550100")
        await box.device(member)
        page = await box.page(member)
        await box.turn()
        ((_, payload, _),) = box.doors.sent
        assert payload == f"a consult is waiting {page.hex()}".ljust(PUSH_BYTES).encode()
        assert {one.text for one in box.gateway.sent} == {"A consult is waiting."}

    async def test_devices_on_duty_are_told_and_all_where_none_is(self, box: Outbox) -> None:
        one, two = await box.member(), await box.member()
        on = await box.device(one, duty=True)
        await box.device(one, duty=False)
        await box.device(one)
        off, unknown = await box.device(two, duty=False), await box.device(two)
        await box.page(one)
        await box.page(two)
        await box.turn()
        assert sorted(endpoint for endpoint, _ in box.sent()) == sorted([on, off, unknown])

    async def test_the_phone_tree_is_called(self, box: Outbox) -> None:
        page = await box.page(NO_MEMBER, phones=("+15550199",))
        await box.turn()
        assert [(one.kind, one.to, one.page) for one in box.gateway.sent] == [
            ("voice", "+15550199", page.hex())
        ]

    async def test_a_number_that_changed_counts_as_it_is_and_one_that_ended_not_at_all(
        self, box: Outbox
    ) -> None:
        member, gone = await box.member(phone="+15550100"), await box.member(phone="+15550101")
        page = await box.page(member)
        await box.page(gone)
        with box.stopped(box.node):
            await box.turn()
        for who, row in (
            (member, {"phone": "+15550111"}),
            (gone, {"ended_ms": 1}),
        ):
            held = await box.held(MemberRow, who)
            changed = msgspec.structs.replace(held.row, **row)
            await box.store.apply([Item(box.agency, 0, (change(held, changed),))])
        await box.wake()
        assert {(one.to, one.page) for one in box.gateway.sent} == {("+15550111", page.hex())}

    async def test_who_was_revoked_is_not_told(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        page = await box.page(member)
        with box.stopped(box.node):
            await box.turn()
        held = await box.held(DeviceRow, bytes.fromhex(endpoint.rsplit("/", 1)[1]))
        revoked = msgspec.structs.replace(held.row, state=DeviceState.REVOKED, push_endpoint="")
        await box.store.apply([Item(box.agency, 0, (change(held, revoked),))])
        await box.wake()
        assert box.sent() == []
        assert [way.state for way in (await box.row(page)).ways if way.path is Way.PUSH] == [
            TargetState.UNREACHABLE
        ]


class TestNodesThatDieOrSleep:
    async def test_a_node_that_dies_between_claim_and_send_leaves_the_same_page_to_another(
        self, box: Outbox
    ) -> None:
        member = await box.member(phone="+15550100")
        endpoint = await box.device(member)
        page = await box.page(member)
        with box.stopped(box.node):
            await box.turn(box.node)
        await box.turn(box.other)
        assert box.sent() == [], "its lease lasts"
        box.world.clock.advance(LEASE_S)
        await box.turn(box.other)
        assert box.sent() == [(endpoint, page.hex())]
        assert {one.page for one in box.gateway.sent} == {page.hex()}

    async def test_a_node_that_slept_begins_nothing_that_another_began_since(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        page = await box.page(member)
        with box.stopped(box.node):
            await box.turn(box.node)
        box.world.clock.advance(LEASE_S)
        await box.turn(box.other)
        await box.wake()
        assert box.sent() == [(endpoint, page.hex())]
        assert box.node.metrics.text().count(b'leeside_page_attempts_total{path="push",result="fenced"} 1.0')

    async def test_a_node_that_slept_while_somebody_accepted_begins_nothing(self, box: Outbox) -> None:
        member = await box.member(phone="+15550100")
        await box.device(member)
        page = await box.page(member)
        with box.stopped(box.node):
            await box.turn(box.node)
        await box.accept(page)
        await box.wake()
        assert (box.sent(), box.gateway.sent) == ([], [])
        box.world.clock.advance(3_600)
        for node in box.world.nodes:
            await box.turn(node)
        assert (box.sent(), box.gateway.sent) == ([], [])

    async def test_a_node_that_made_its_ways_ready_while_somebody_accepted_begins_nothing(
        self, box: Outbox
    ) -> None:
        member = await box.member(phone="+15550100")
        await box.device(member)
        page = await box.page(member)

        async def ready() -> None:
            await box.accept(page)

        with patch.object(box.doors, "ready", ready), patch.object(box.gateway, "ready", ready):
            await box.turn()
        assert (box.sent(), box.gateway.sent) == ([], [])

    async def test_between_its_fence_and_its_call_an_attempt_waits_for_no_store(self, box: Outbox) -> None:
        member = await box.member(phone="+15550100")
        await box.page(member)
        with box.stopped(box.node):
            await box.turn()
        done: list[str] = []
        store, send = box.node.store, box.gateway.send
        one, many = store.get, store.get_many

        async def get(*name: Any) -> Any:
            done.append("read")
            return await one(*name)

        async def get_many(names: Any) -> Any:
            done.append("fence" if KINDS[PageRow] in {kind for _, kind, _ in names} else "read")
            return await many(names)

        async def call(calling: Calling) -> None:
            done.append("call")
            await send(calling)

        with (
            patch.object(store, "get", get),
            patch.object(store, "get_many", get_many),
            patch.object(box.gateway, "send", call),
        ):
            await box.wake()
        before = [earlier for earlier, later in pairwise(done) if later == "call"]
        assert before == ["fence", "fence"], "a message and a call"

    async def test_it_may_finish_what_it_had_begun_and_that_is_all(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        box.doors.hanging.add(endpoint)
        page = await box.page(member)
        await box.turn(box.node)
        assert box.doors.begun == [endpoint]
        await box.accept(page)
        box.doors.answer.set()
        await box.quiet(box.node)
        assert box.sent() == [(endpoint, page.hex())]
        box.world.clock.advance(REPEAT_MS / 1_000)
        for node in box.world.nodes:
            await box.turn(node)
        assert box.doors.begun == [endpoint]
        assert (await box.row(page)).over_ms

    async def test_two_nodes_that_see_it_at_once_send_it_once(self, box: Outbox) -> None:
        members = [await box.member() for _ in range(20)]
        endpoints = [await box.device(member) for member in members]
        for member in members:
            await box.page(member)
        now_ms = await box.node.steady.now_ms()
        for node in (box.node, box.other, box.node):
            await node.paging.carry_out(now_ms)
        for node in box.world.nodes:
            await box.quiet(node)
        assert sorted(endpoint for endpoint, _ in box.sent()) == sorted(endpoints)


class TestRetries:
    async def test_a_failure_is_tried_again_while_the_page_lives(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        box.doors.failing.add(endpoint)
        page = await box.page(member)
        await box.turn()
        for number, wait_ms in enumerate(RETRY_MS, start=2):
            box.world.clock.advance(wait_ms / 1_000 - 0.1)
            await box.turn(box.other)
            assert len(box.doors.begun) == number - 1, "not before its time"
            box.world.clock.advance(0.1)
            await box.turn(box.other)
            assert len(box.doors.begun) == number
        await box.accept(page)
        box.world.clock.advance(60)
        await box.turn()
        assert len(box.doors.begun) == 5

    async def test_a_gateway_that_fails_gets_the_same_key_again(self, box: Outbox) -> None:
        member = await box.member(phone="+15550100")
        box.gateway.answers["+15550100"] = [GatewayUnavailable(), GatewayUnavailable()]
        await box.page(member)
        await box.turn()
        assert box.gateway.sent == []
        box.world.clock.advance(2)
        await box.turn(box.other)
        sms, voice = sorted(box.gateway.sent, key=lambda one: one.kind)
        assert sms.id != voice.id
        box.world.clock.advance(120)
        await box.turn()
        assert len(box.gateway.sent) == 2, "a call that was taken is not made again"

    async def test_a_subscription_that_is_gone_is_forgotten_and_the_page_goes_on(self, box: Outbox) -> None:
        member = await box.member()
        gone, there = await box.device(member), await box.device(member)
        box.doors.answers[gone] = [PushGone()]
        await box.page(member)
        await box.turn()
        assert [endpoint for endpoint, _ in box.sent()] == [there]
        row = (await box.held(DeviceRow, bytes.fromhex(gone.rsplit("/", 1)[1]))).row
        assert row.push_endpoint == ""

    @pytest.mark.parametrize("error", [PushRefused(400), GatewayRefused(400)])
    async def test_what_is_refused_for_good_is_not_tried_again(self, box: Outbox, error: Exception) -> None:
        member = await box.member(phone="+15550100")
        endpoint = await box.device(member)
        refused = box.doors.answers if isinstance(error, PushRefused) else box.gateway.answers
        key = endpoint if isinstance(error, PushRefused) else "+15550100"
        refused[key] = [error, error]
        page = await box.page(member)
        await box.turn()
        ended = {way.path for way in (await box.row(page)).ways if way.state is TargetState.UNREACHABLE}
        assert ended == ({Way.PUSH} if isinstance(error, PushRefused) else {Way.SMS, Way.VOICE})

    async def test_services_that_hang_and_fail_hold_up_nobody(self, box: Outbox) -> None:
        chance = random.Random(7)
        endpoints: list[str] = []
        for _ in range(100):
            member = await box.member()
            endpoints.append(await box.device(member))
            await box.page(member)
        luck = {endpoint: chance.random() for endpoint in endpoints}
        box.doors.hanging = {one for one, value in luck.items() if value < 0.1}
        box.doors.failing = {one for one, value in luck.items() if 0.1 <= value < 0.4}
        await box.turn()
        well = {one for one, value in luck.items() if value >= 0.4}
        assert {endpoint for endpoint, _ in box.sent()} == well
        assert len(box.doors.begun) == 100, "all began, whoever hangs"
        box.doors.failing.clear()
        box.world.clock.advance(2)
        await box.turn(box.other)
        assert {endpoint for endpoint, _ in box.sent()} == set(endpoints) - box.doors.hanging
        box.doors.answer.set()
        await box.quiet(box.node)
        assert {endpoint for endpoint, _ in box.sent()} == set(endpoints)

    async def test_repeats_that_hang_leave_the_first_ring_its_room(
        self, box: Outbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay_paging, "AGAIN", 4)
        for _ in range(10):
            member = await box.member()
            endpoint = await box.device(member)
            box.doors.failing.add(endpoint)
            await box.page(member)
        await box.turn()
        box.doors.hanging, box.doors.failing = box.doors.failing, set()
        box.doors.begun.clear()
        box.world.clock.advance(2)
        await box.turn()
        assert len(box.doors.begun) == 4, "repeats have no more room than that"
        member = await box.member()
        first = await box.device(member)
        await box.page(member)
        await box.turn()
        assert [endpoint for endpoint, _ in box.sent()] == [first]

    @pytest.mark.parametrize("jump_ms", [2 * 3_600_000, -2 * 3_600_000])
    async def test_a_clock_that_is_set_makes_no_attempt_early_and_holds_none_up(
        self, box: Outbox, jump_ms: int
    ) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        box.doors.failing.add(endpoint)
        await box.page(member)
        await box.turn(box.node)
        await box.turn(box.other)
        box.world.clock.jump(jump_ms)
        for node in box.world.nodes:
            box.world.clock.advance(0.5)
            await box.turn(node)
        assert len(box.doors.begun) == 1
        box.world.clock.advance(1.1)
        await box.turn(box.other)
        assert len(box.doors.begun) == 2

    async def test_a_member_that_cannot_be_read_stops_no_other(self, box: Outbox) -> None:
        strange, member = await box.member(), await box.member()
        endpoint = await box.device(member)
        await box.page(strange)
        await box.page(member)
        held = await box.held(MemberRow, strange)
        save = change(held, held.row)
        later = msgspec.structs.replace(save, body=save.body.replace(b'"psychiatrist"', b'"seer"'))
        await box.store.apply([Item(box.agency, 0, (later,))])
        await box.turn()
        assert [one for one, _ in box.sent()] == [endpoint]

    async def test_a_page_that_rings_once_more_sounds_although_it_was_seen(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        page = await box.page(member)
        await box.turn()
        await box.node.paging.receipt(page, Way.PUSH, TargetState.SEEN)
        held = await box.held(PageRow, page)
        parts = await box.node.paging.ring_parts(box.agency, held, await box.node.steady.now_ms())
        await box.node.write([Item(box.agency, 0, tuple(parts))])
        await box.turn()
        assert box.sent() == [(endpoint, page.hex())] * 2
        assert len(await notices(box, endpoint)) == 2, "over the socket as well"

    def test_an_attempt_ends_within_its_lease(self) -> None:
        assert 5 <= ATTEMPT_S <= 10
        assert ATTEMPT_S * 1_000 < LEASE_MS


class TestLimits:
    async def test_no_rate_of_pushes_holds_a_page_back(self, box: Outbox) -> None:
        """A device is told at most once in 15 s that something waits, and of each page at once."""
        member = await box.member()
        await box.device(member)
        pages = [await box.page(member) for _ in range(5)]
        await box.turn()
        assert sorted(page for _, page in box.sent()) == sorted(page.hex() for page in pages)

    async def test_a_row_of_a_later_version_stops_no_other(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        page = await box.page(member)
        held = await box.held(type(await box.row(page)), page)
        strange = change(held, held.row)
        body = strange.body.replace(b'"consult"', b'"pager"', 1)
        later = msgspec.structs.replace(strange, body=body)
        await box.store.apply([Item(box.agency, 0, (later,))])
        other = await box.page(member)
        await box.turn()
        assert box.sent() == [(endpoint, other.hex())]


class TestRetention:
    async def test_a_page_is_forgotten_a_day_after_it_was_over_and_no_other(self, box: Outbox) -> None:
        member = await box.member()
        over, lives = await box.page(member), await box.page(member)
        await box.accept(over)
        for hours, left in ((23, {over, lives}), (2, {lives})):
            box.world.clock.advance(hours * 3_600)
            await Retention(box.node, RetentionSettings()).sweep()
            found = await box.store.objects(box.agency, "page", None, b"", 100)
            assert {one.id for one in found} == left


class TestReceipts:
    async def test_it_is_found_by_its_id_alone_and_does_not_go_back(self, box: Outbox) -> None:
        member = await box.member()
        await box.device(member)
        page = await box.page(member)
        await box.turn()
        await box.other.paging.receipt(page, Way.PUSH, TargetState.SEEN)
        await box.other.paging.receipt(page, Way.PUSH, TargetState.DELIVERED)
        row = await box.row(page)
        assert [way.state for way in row.ways if way.path is Way.PUSH] == [TargetState.SEEN]
        box.world.clock.advance(120)
        await box.turn()
        assert len(box.sent()) == 1, "who saw it is told no more by push"

    async def test_one_for_no_page_does_nothing(self, box: Outbox) -> None:
        await box.node.paging.receipt(PageId(os.urandom(16)), Way.PUSH, TargetState.SEEN)

    async def test_a_push_sounds_again_until_then(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        page = await box.page(member)
        await box.turn()
        await box.node.paging.receipt(page, Way.PUSH, TargetState.DELIVERED)
        box.world.clock.advance(REPEAT_MS / 1_000)
        await box.turn(box.other)
        assert box.sent() == [(endpoint, page.hex())] * 2


class TestBacklog:
    async def test_what_is_only_tried_again_does_not_stand_before_a_new_page(
        self, box: Outbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(5):
            member = await box.member()
            await box.device(member)
            await box.page(member)
        await box.turn()
        assert len(box.doors.sent) == 5
        box.doors.sent.clear()
        monkeypatch.setattr(relay_paging, "DUE_AT_ONCE", 2)
        monkeypatch.setattr(relay_paging, "AGAIN", 0)
        box.world.clock.advance(REPEAT_MS / 1_000 + 1)
        member = await box.member()
        endpoint = await box.device(member)
        page = await box.page(member)
        await box.turn()
        assert box.sent() == [(endpoint, page.hex())]


class TestProbes:
    async def test_a_device_on_duty_is_probed_and_its_receipt_counts_for_a_day(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member, duty=True)
        device = DeviceId(bytes.fromhex(endpoint.rsplit("/", 1)[1]))
        await probe_turn(box)
        ((_, payload, _),) = box.doors.sent
        words, page = payload.decode().split()
        assert words == "probe"
        await box.node.paging.receipt(PageId(bytes.fromhex(page)), Way.PUSH, TargetState.DELIVERED)
        now_ms = await box.node.steady.now_ms()
        row = await duty_row(box, device)
        assert duty.probed(row, now_ms)
        assert duty.probed(row, now_ms + 24 * 3_600_000 - 1)
        assert not duty.probed(row, now_ms + 24 * 3_600_000)
        box.doors.sent.clear()
        box.world.clock.advance(20 * 3_600 - 1)
        await probe_turn(box)
        assert box.doors.sent == []
        box.world.clock.advance(1)
        await probe_turn(box)
        assert len(box.doors.sent) == 1

    async def test_a_row_that_this_version_cannot_read_keeps_no_other_device_waiting(
        self, box: Outbox
    ) -> None:
        later = Save("duty", bytes(16), 0, b'{"member": "of a later version"}', b"", 0)
        (outcome,) = await box.node.write([Item(box.agency, 0, (later,))])
        assert isinstance(outcome, Stored)
        await box.device(await box.member(), duty=True)
        await probe_turn(box)
        assert len(box.doors.sent) == 1

    async def test_without_a_receipt_for_an_hour_it_failed_and_is_asked_again_an_hour_later(
        self, box: Outbox
    ) -> None:
        member = await box.member()
        endpoint = await box.device(member, duty=True)
        device = DeviceId(bytes.fromhex(endpoint.rsplit("/", 1)[1]))
        await probe_turn(box)
        box.world.clock.advance(3_599)
        await probe_turn(box)
        assert not duty.probe_failed(await duty_row(box, device))
        box.world.clock.advance(1)
        await probe_turn(box)
        assert duty.probe_failed(await duty_row(box, device))
        late = PageId(bytes.fromhex(box.sent()[0][1]))
        await box.node.paging.receipt(late, Way.PUSH, TargetState.DELIVERED)
        assert duty.probe_failed(await duty_row(box, device)), "it came too late to wake anybody"
        box.doors.sent.clear()
        box.world.clock.advance(3_600)
        await probe_turn(box)
        ((_, payload, _),) = box.doors.sent
        page = PageId(bytes.fromhex(payload.decode().split()[1]))
        await box.other.paging.receipt(page, Way.PUSH, TargetState.DELIVERED)
        row = await duty_row(box, device)
        assert not duty.probe_failed(row)

    async def test_who_may_be_paged_is_found_without_having_said_anything(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member)
        await box.device(member, subscribed=False)
        bystander = MemberId(os.urandom(16))
        await box.keep((bystander, MemberRow((Role.RESPONDER,), 0)))
        await box.device(bystander)
        await box.node.probes.carry_out(await box.node.steady.now_ms())
        await probe_turn(box)
        assert [endpoint for endpoint, _ in box.sent()] == [endpoint]

    async def test_a_device_that_was_revoked_is_forgotten(self, box: Outbox) -> None:
        member = await box.member()
        endpoint = await box.device(member, duty=True)
        device = bytes.fromhex(endpoint.rsplit("/", 1)[1])
        held = await box.held(DeviceRow, device)
        revoked = msgspec.structs.replace(held.row, state=DeviceState.REVOKED, push_endpoint="")
        await box.store.apply([Item(box.agency, 0, (change(held, revoked),))])
        await probe_turn(box)
        assert await box.store.get(box.agency, "duty", device) is None
        assert box.doors.sent == []


async def probe_turn(box: Outbox) -> None:
    await box.node.probes.carry_out(await box.node.steady.now_ms())
    await box.turn()


async def duty_row(box: Outbox, device: DeviceId) -> DutyRow:
    return (await box.held(DutyRow, device)).row
