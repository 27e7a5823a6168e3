"""What sounds until it is acknowledged: urgent texts, assignments, check-ins, duress."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leeside.bodies import BodyError, ConsultAsked, Incident
from leeside.client import Leeside
from leeside.events import Progress, Repeat, Report
from leeside.feeds import Feed
from leeside_protocol import resources as r
from leeside_protocol.ids import (
    ChannelId,
    ConsultId,
    IncidentId,
    UnitId,
)
from leeside_protocol.words import Lane, Mark, Urgency
from tests.client.people import Person, channel_of, person, texts
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import eventually, play


def test_an_urgent_message_repeats_until_it_is_acknowledged_on_any_of_the_persons_devices(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        also = person(relay, tmp_path, ben.member)
        async with ana.open() as a, ben.open() as b, also.open() as b2:
            b.confirm_device(also.keys.device_id)
            channel = await channel_of(a, b, b2)
            feed = b.follow(channel)
            sent = await a.send(channel, "officer down", Urgency.URGENT)
            times: list[int] = []
            while len(times) < 3:
                event = await feed.next()
                if isinstance(event, Repeat):
                    times.append(event.times)
            assert times == [1, 2, 3]
            await b2.acknowledge(channel, sent.id)
            await sent.wait(Progress.ACKNOWLEDGED, timeout_s=30)
            await asyncio.sleep(5)
            feed = b.follow(channel)
            await asyncio.sleep(60)
            feed.end()
            assert not [e async for e in feed if isinstance(e, Repeat)]

    play(story())


def test_an_assignment_sounds_at_the_units_people_alone(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        desk, ana, eva = (person(relay, tmp_path) for _ in range(3))
        unit = UnitId(bytes([9]) * 16)
        relay.units.append(r.Unit(unit.hex(), (ana.member.hex(),), None, 1, 0, 1))
        async with desk.open() as d, ana.open() as a, eva.open() as b:
            channel = await channel_of(d, a, b)
            heard = [a.follow(channel), b.follow(channel), d.follow(channel)]
            sent = await d.assign(channel, unit, 2, "back door")
            await sounds(a, channel)
            await b.acknowledge(channel, sent.id)
            await sounds(a, channel)
            await a.acknowledge(channel, sent.id)
            await sent.wait(Progress.ACKNOWLEDGED, devices=2, timeout_s=30)
            assert await repeats(heard[1]) == await repeats(heard[2]) == []
            assert await repeats(heard[0])
            quiet = a.follow(channel)
            await asyncio.sleep(60)
            assert await repeats(quiet) == []

    play(story())


def test_who_is_assigned_can_read_what_the_incident_is(tmp_path: Path) -> None:
    """The description that is kept was sealed before they came."""

    async def story() -> None:
        relay = RelayDouble()
        desk, ana = person(relay, tmp_path), person(relay, tmp_path)
        incident, unit = IncidentId(bytes([7]) * 16), UnitId(bytes([9]) * 16)
        relay.units.append(r.Unit(unit.hex(), (ana.member.hex(),), None, 1, 0, 1))
        async with desk.open() as d, ana.open() as a:
            channel = await channel_of(d)
            await (await d.describe(channel, Incident(incident, "EDP", "Harbour", "Quay Street 4"))).wait()
            await eventually(lambda: incident in d.board(channel).incidents)
            await d.openings.admit(channel, [ana.keys.device_id])
            await a.refresh()
            await d.assign(channel, unit, 2, "back door")
            await sounds(a, channel)
            assert a.board(channel).incidents[incident].incident.address == "Quay Street 4"

    play(story())


@pytest.mark.parametrize("kind", ["check_in", "duress"])
def test_a_check_in_ends_with_anybodys_answer_and_duress_only_with_ones_own(
    tmp_path: Path, kind: str
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, desk, other = (person(relay, tmp_path) for _ in range(3))
        also = person(relay, tmp_path, ana.member)
        async with ana.open() as a, desk.open() as d, other.open() as o, also.open() as a2:
            a.confirm_device(also.keys.device_id)
            a2.confirm_device(ana.keys.device_id)
            channel = await channel_of(a, d, o, a2)
            own = [a.follow(channel), a2.follow(channel)]
            sent = await (a.check_in(channel) if kind == "check_in" else a.duress(channel))
            await sounds(d, channel)
            await sounds(o, channel)
            # The sender's own answer, on whichever device, is nobody's who could help.
            await a2.acknowledge(channel, sent.id)
            await sounds(d, channel)
            await d.acknowledge(channel, sent.id)
            await sent.wait(Progress.ACKNOWLEDGED, devices=2, timeout_s=30)
            await asyncio.sleep(1)
            later = o.follow(channel), d.follow(channel)
            await asyncio.sleep(60)
            assert bool(await repeats(later[0])) is (kind == "duress")
            assert await repeats(later[1]) == []
            assert [await repeats(feed) for feed in own] == [[], []]

    play(story())


async def repeats(feed: Feed) -> list[Repeat]:
    """What has sounded at a follower until now."""
    feed.end()
    return [event async for event in feed if isinstance(event, Repeat)]


def test_what_an_incident_is_stands_on_the_board_of_all(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        desk, ana = person(relay, tmp_path), person(relay, tmp_path)
        ident = IncidentId(bytes([7]) * 16)
        async with desk.open() as d, ana.open() as a:
            channel = await channel_of(d, a)
            first = Incident(ident, "EDP", "Harbour", "Quay Street 4")
            await d.describe(channel, first)
            await eventually(lambda: ident in a.board(channel).incidents)
            assert a.board(channel).incidents[ident].incident == first
            await a.describe(channel, Incident(ident, "EDP", "Harbour", "Quay Street 6"))
            await eventually(lambda: d.board(channel).incidents[ident].incident.address == "Quay Street 6")
            await d.mark_timeline(channel, Mark.DISPATCHED, note="by radio")
            await eventually(lambda: any(isinstance(x, Report) for x in a.history(channel)))

    play(story())


def test_an_urgent_message_sounds_though_the_client_died_the_moment_it_came(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)

        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
            with pytest.raises(ExceptionGroup):
                await dying(ben, a, channel)
            async with ben.open() as b:
                await sounds(b, channel)

    play(story())


async def dying(who: Person, sender: Leeside, channel: ChannelId) -> None:
    """The process ends after an urgent message was stored and before anything else was done with it."""

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    async with who.open() as one:
        one._inside.on_readings = dies  # type: ignore[method-assign]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        await sender.send(channel, "officer down", Urgency.URGENT)
        await eventually(lambda: texts(one, channel) == ["officer down"])
        await asyncio.sleep(1)


async def sounds(one: Leeside, channel: ChannelId) -> None:
    feed = one.follow(channel)
    async with asyncio.timeout(60):
        while not isinstance(await feed.next(), Repeat):
            pass


@pytest.mark.parametrize("asked", [True, False])
def test_a_recommendation_sounds_until_the_unit_that_asked_reads_it_back(
    tmp_path: Path,
    asked: bool,
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, priya, deniz = (person(relay, tmp_path) for _ in range(4))
        unit = UnitId(bytes([9]) * 16)
        relay.units.append(r.Unit(unit.hex(), (ana.member.hex(), ben.member.hex()), None, 1, 0, 1))
        async with ana.open() as a, ben.open() as b, priya.open() as p, deniz.open() as d:
            channel = await channel_of(a, b, p, d)
            if asked:
                say(a, channel, ConsultAsked(ConsultId(bytes([5]) * 16), Urgency.URGENT, "He hears voices."))
                # Whoever names another asker later changes nothing.
                await eventually(lambda: len(p.history(channel)) == 1)
                say(d, channel, ConsultAsked(ConsultId(bytes([6]) * 16), Urgency.URGENT))
                await eventually(lambda: all(len(x.history(channel)) == 2 for x in (a, b, p, d)))
            given = await p.recommend(channel, "Stay with him, lights down.")
            for listener in (a, b, d):
                await sounds(listener, channel)
            # Taking note of it is not saying it again; nor does whoever gave it, or who only listens, act on it.
            await a.acknowledge(channel, given.id)
            await p.read_back(channel, given.id, "Stay with him.")
            if asked:
                await d.read_back(channel, given.id, "They stay with him.")
            await given.wait(Progress.ACKNOWLEDGED, devices=2 if asked else 1, timeout_s=30)
            for listener in (a, b, d):
                await sounds(listener, channel)
            with pytest.raises(BodyError):
                await b.read_back(channel, given.id, " ")
            await b.read_back(channel, given.id, "We stay with him, and dim the lights.")
            await given.wait(Progress.ACKNOWLEDGED, devices=3 if asked else 2, timeout_s=30)
            await asyncio.sleep(1)
            quiet = [x.follow(channel) for x in (a, b, d, p)]
            await asyncio.sleep(60)
            assert [await repeats(feed) for feed in quiet] == [[], [], [], []]

    play(story())


def test_a_recommendation_sounds_no_more_where_nobody_can_answer(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        priya, deniz = person(relay, tmp_path), person(relay, tmp_path)
        async with priya.open() as p, deniz.open() as d:
            channel = await channel_of(p, d)
            await p.recommend(channel, "Stay with him.")
            await p.send(channel, "He needs help now.", Urgency.URGENT)
            await sounds(d, channel)
            await sounds(d, channel)
            relay.rooms[channel].archived = True
            await d.refresh()
            await asyncio.sleep(1)
            feed = d.follow(channel)
            await asyncio.sleep(60)
            # What was urgent still is; only the read-back has no place any more.
            assert len({event.id for event in await repeats(feed)}) == 1

    play(story())


def say(who: Leeside, channel: ChannelId, content: ConsultAsked) -> None:
    """What no command of the client sends by itself: the first word of a consult."""
    who._inside.compose(channel, content, lane=Lane.LOG)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def test_a_channel_that_was_left_does_not_sound_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
                await a.send(channel, "officer down", Urgency.URGENT)
                await sounds(b, channel)
                await a.openings.remove(channel, [b.device])
                await eventually(lambda: not b.channels())
            async with ben.open() as b:
                feed = b.follow()
                await asyncio.sleep(120)
                feed.end()
                assert not [e async for e in feed if isinstance(e, Repeat)]

    play(story())
