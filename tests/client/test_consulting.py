"""Consults at one device: it rings until its person answers, asks until the server has it, and says that pages came."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from leeside.api import ApiError
from leeside.bodies import ConsultAsked
from leeside.client import Leeside
from leeside.events import ConsultAlarm, ConsultChange, Event, Report, Ring, RingTest
from leeside.feeds import Feed
from leeside_protocol import messages as m
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId, MessageId
from leeside_protocol.limits import CONFIRM_S, UNSENT_S
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.words import ConsultActionKind, ConsultState, Lane, Urgency
from tests.client.consult_double import PHONES, UNREACHABLE, Desk, consult, on_desk
from tests.client.people import person
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import eventually, play

KEY, PAGE = "0c" * 16, "0a" * 16
RINGING = o.ConsultMine((), PAGE, True)
QUIET = o.ConsultMine((), None, False)


async def told(feed: Feed, seconds: float, *kinds: type[Event]) -> list[Event]:
    """What is told within so much time."""
    await asyncio.sleep(seconds)
    feed.end()
    return [event async for event in feed if isinstance(event, kinds)]


def notice(client: Leeside, *parts: int | bytes) -> bool:
    """A notice comes to this device's inbox. Whether it was about something else."""
    nobody = DeviceId(bytes(16))
    entry = m.Entry(1, Lane.LOG, b"", nobody, MessageId(bytes(16)), 1, msgspec.msgpack.encode(parts))
    inside = client._inside  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return inside.consulting.take_notices([entry])


def test_it_rings_until_the_person_answers(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        desk.consults[KEY] = consult(KEY, "ff" * 16, me=RINGING)
        priya = on_desk(person(relay, tmp_path), desk)
        async with priya.open() as p:
            rings = [e for e in await told(p.follow(), 12, Ring) if isinstance(e, Ring)]
            assert len(rings) in {2, 3}
            times = [ring.times for ring in rings]
            assert times == list(range(times[0], times[0] + len(times)))
            assert {ring.consult.id for ring in rings} == {KEY}
            feed = p.follow()
            desk.change(KEY, me=QUIET, state=ConsultState.ACCEPTED)
            assert notice(p, 8, bytes.fromhex(KEY)) is False
            heard = await told(feed, 30, Ring, ConsultChange)
            assert [e.consult.state for e in heard if isinstance(e, ConsultChange)] == [ConsultState.ACCEPTED]
            assert not [e for e in heard if isinstance(e, Ring)]

    play(story())


def test_what_changes_while_it_is_fetched_is_fetched_again(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        desk.consults[KEY] = consult(KEY, "ff" * 16)
        sofia = on_desk(person(relay, tmp_path), desk)
        async with sofia.open() as s:
            await eventually(lambda: bool(s.consults.known))
            feed = s.follow()
            desk.travel_s = 1.0
            # Who accepts joins at once: its notice comes while the answer to the first is under way.
            for state in (ConsultState.ACCEPTED, ConsultState.IN_SESSION):
                desk.change(KEY, state=state)
                notice(s, 8, bytes.fromhex(KEY))
                await asyncio.sleep(0.5)
            heard = await told(feed, 30, ConsultChange)
            states = [e.consult.state for e in heard if isinstance(e, ConsultChange)]
            assert states == [ConsultState.ACCEPTED, ConsultState.IN_SESSION]

    play(story())


def test_a_list_from_before_the_link_was_lost_is_fetched_again(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        desk.consults[KEY] = consult(KEY, "ff" * 16)
        desk.travel_s = 60.0
        sofia = on_desk(person(relay, tmp_path), desk)
        async with sofia.open() as s:
            await asyncio.sleep(1)
            desk.change(KEY, state=ConsultState.ACCEPTED)
            relay.wires[-1].break_off()
            consulting = s._inside.consulting  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            await consulting.fresh.wait()
            assert [c.state for c in s.consults.known.values()] == [ConsultState.ACCEPTED]

    play(story())


def test_a_page_that_came_or_was_seen_is_said_to_the_server(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        priya = on_desk(person(relay, tmp_path), desk)
        async with priya.open() as p:
            desk.consults[KEY] = consult(KEY, "ff" * 16, me=RINGING)
            feed = p.follow()
            notice(p, 7, bytes.fromhex(PAGE), bytes.fromhex(KEY))
            await eventually(lambda: desk.receipts == [(PAGE, "delivered")])
            p.consults.seen(ConsultId(bytes.fromhex(KEY)))
            await eventually(lambda: desk.receipts == [(PAGE, "delivered"), (PAGE, "seen")])
            notice(p, 11, b"\x0b" * 16)
            await eventually(lambda: desk.receipts[2:] == [("0b" * 16, "delivered")])
            notice(p, 9, bytes.fromhex(KEY))
            heard = await told(feed, 1, RingTest, ConsultAlarm)
            assert heard == [RingTest(b"\x0b" * 16), ConsultAlarm(ConsultId(bytes.fromhex(KEY)))]

    play(story())


def test_what_is_no_notice_of_a_consult_is_left_to_others(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        desk.forbidden = True
        ines = on_desk(person(relay, tmp_path), desk)
        async with ines.open() as i:
            # Whoever may not list consults hears of none, and is not disturbed.
            assert notice(i, 4, bytes(16)) is True
            assert notice(i, 7) is True
            assert notice(i, 7, 7, 7) is True
            assert notice(i, 99, b"later") is True
            desk.forbidden = False
            assert notice(i, 8, bytes.fromhex(KEY)) is False
            assert await told(i.follow(), 5, ConsultChange, Ring) == []

    play(story())


def test_a_request_is_the_same_request_until_the_server_has_it(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        ana, priya, eva = (on_desk(person(relay, tmp_path), desk) for _ in range(3))
        devices = (priya.keys.device_id.hex(), eva.keys.device_id.hex())
        # The server names Eva's device, and not Eva: the signed directory says whose it is.
        desk.roster = ((priya.member.hex(),), devices)
        desk.refuse = [UNREACHABLE] * 15
        warned: list[tuple[o.Phone, ...]] = []
        async with ana.open() as a, priya.open() as p:
            asked = await a.consults.request(
                "He hears voices.", urgency=Urgency.URGENT, unconfirmed=warned.append
            )
            assert len(desk.posts) == 16
            assert len({msgspec.msgpack.encode(post) for post in desk.posts}) == 1
            assert warned == [PHONES]
            channel = desk.posts[0].channel
            assert channel.subject == bytes.fromhex(asked.id)
            assert channel.first is not None
            assert channel.first.urgency == Urgency.ROUTINE
            await p.refresh()
            (info,) = p.channels()
            assert set(info.devices) == {ana.keys.device_id.hex(), priya.keys.device_id.hex()}
            there = ChannelId(bytes.fromhex(info.id))
            await eventually(lambda: bool(p.history(there)))
            (report,) = [e for e in p.history(there) if isinstance(e, Report)]
            assert isinstance(report.content, ConsultAsked)
            assert report.content.summary == "He hears voices."

    play(story())


def test_a_request_that_finds_no_way_is_not_sent_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        ana = on_desk(person(relay, tmp_path), desk)
        warned: list[tuple[o.Phone, ...]] = []
        async with ana.open() as a:
            relay.http_reachable = False
            began_s = asyncio.get_running_loop().time()
            with pytest.raises(ApiError) as failed:
                await a.consults.request(unconfirmed=warned.append)
            assert failed.value.code is WireError.UNAVAILABLE
            took_s = asyncio.get_running_loop().time() - began_s
            assert CONFIRM_S < UNSENT_S <= took_s < UNSENT_S + 5
            # It never heard a phone tree: the screen says so all the same.
            assert warned == [()]
            assert desk.posts == []

    play(story())


@pytest.mark.parametrize("often", [1, 4, 5])
def test_a_request_is_sealed_anew_when_somebody_was_revoked_meanwhile(tmp_path: Path, often: int) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        ana = on_desk(person(relay, tmp_path), desk)
        moved_on = ApiError(WireError.SEALING_REFUSED, sealing_code=SealingCode.E_REVOKED)
        desk.refuse = [moved_on] * often
        async with ana.open() as a:
            if often > 4:
                with pytest.raises(ApiError):
                    await a.consults.request()
                return
            await a.consults.request()
            assert len({post.consult for post in desk.posts}) == 1
            assert len({post.channel.genesis.commit.payload for post in desk.posts}) == often + 1

    play(story())


def test_who_is_in_a_session_says_so_again_after_the_link_was_lost(tmp_path: Path) -> None:
    async def story() -> None:
        relay, desk = RelayDouble(), Desk()
        priya = on_desk(person(relay, tmp_path), desk)
        me = {"accepted_by": priya.member.hex(), "accepted_device": priya.keys.device_id.hex()}
        desk.consults[KEY] = consult(KEY, "ff" * 16, state=ConsultState.IN_SESSION, **me)
        key, join = ConsultId(bytes.fromhex(KEY)), (KEY, ConsultActionKind.JOIN)
        async with priya.open() as p:
            relay.wires[-1].break_off()
            await asyncio.sleep(30)
            # Another program of this device, which only looks, is not there.
            assert desk.actions == []
            await p.consults.join(key)
            relay.wires[-1].break_off()
            await eventually(lambda: desk.actions == [join, join])
            await p.consults.leave(key)
            relay.wires[-1].break_off()
            await asyncio.sleep(30)
            assert desk.actions[2:] == [(KEY, ConsultActionKind.LEAVE)]

    play(story())
