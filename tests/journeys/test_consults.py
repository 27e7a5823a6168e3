"""The consult from end to end: asked for, rung, accepted by one, read at once, and closed to those who were not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest

from leeside.api import ApiError
from leeside.bodies import ConsultAsked, Recommendation
from leeside.client import Leeside
from leeside.events import Acknowledgement, ConsultChange, Left, Report, Ring
from leeside.feeds import Feed
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ConsultId, LadderId, UnitId
from leeside_protocol.sealing.public.commit import Authorisation
from leeside_protocol.words import ConsultActionKind, ConsultState, Discipline, Role, TargetState, Urgency
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Person, Town, settled, texts, until

E = TypeVar("E")


@dataclass
class Crew:
    """A unit of two, two psychiatrists on call one after the other, a dispatcher and a supervisor."""

    ana: Person
    ben: Person
    priya: Person
    noor: Person
    deniz: Person
    sofia: Person
    unit: UnitId


@pytest.fixture
async def crew(town: Town) -> Crew:
    found = Crew(
        await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN),
        await town.enrol("ben", Role.RESPONDER, Discipline.PEER_SPECIALIST),
        await town.enrol("priya", Role.PSYCHIATRIST),
        await town.enrol("noor", Role.PSYCHIATRIST),
        await town.enrol("deniz", Role.DISPATCHER),
        await town.enrol("sofia", Role.SUPERVISOR),
        UnitId(bytes(16)),
    )
    found.unit = await town.unit(found.ana, found.ben)
    steps = tuple(o.LadderStep((), (who.member.hex(),)) for who in (found.priya, found.noor))
    async with found.sofia.desk(town.url) as office:
        await office.create_ladder(o.NewLadder("nights", steps))
    return found


async def told(feed: Feed, kind: type[E], fits: Callable[[E], bool] = lambda _: True) -> E:
    """The next event of a kind that fits."""
    async with asyncio.timeout(WAIT_S):
        while True:
            event = await feed.next()
            if isinstance(event, kind) and fits(event):
                return event


def ids(consult: o.Consult) -> tuple[ConsultId, ChannelId]:
    return ConsultId(bytes.fromhex(consult.id)), ChannelId(bytes.fromhex(consult.channel))


def how_far(client: Leeside, consult: ConsultId) -> TargetState:
    """How far the first target's page came, as this device was told."""
    return client.consults.known[consult].targets[0].state


def summaries(client: Leeside, channel: ChannelId) -> list[str]:
    """What a device reads of what its consult is about."""
    reports = [event for event in client.history(channel) if isinstance(event, Report)]
    return [event.content.summary for event in reports if isinstance(event.content, ConsultAsked)]


@asynccontextmanager
async def ringing(who: Person, url: str) -> AsyncGenerator[tuple[Leeside, Feed]]:
    """Whatever they are told, from the first word of the server on."""
    async with who.open(url, online=False) as client:
        feed = client.follow()
        await client.online(WAIT_S)
        yield client, feed
        feed.close()


async def test_a_psychiatrist_is_rung_accepts_reads_and_talks_and_the_others_are_out(
    stage: Stage, town: Town, crew: Crew
) -> None:
    async with (
        crew.ana.open(stage.url(0)) as phone,
        crew.noor.open(stage.url(0)) as backup,
        ringing(crew.priya, stage.url(1)) as (laptop, heard),
    ):
        asked = await phone.consults.request("He hears voices.", urgency=Urgency.URGENT, unit=crew.unit)
        assert (asked.state, asked.incident) == (ConsultState.PAGING, asked.id)
        consult, channel = ids(asked)
        ring = await told(heard, Ring)
        assert (ring.consult.id, ring.consult.urgency, ring.times) == (asked.id, Urgency.URGENT, 1)
        # The requester sees how far the page came: to a device, then before a person.
        await until(lambda: how_far(phone, consult) is TargetState.DELIVERED, "the page came")
        laptop.consults.seen(consult)
        await until(lambda: how_far(phone, consult) is TargetState.SEEN, "a person saw it")
        # Whoever may be asked reads what it is about from the first moment.
        for client in (laptop, backup):
            await settled(client, channel)
            assert summaries(client, channel) == ["He hears voices."]
        left = backup.follow()
        accepted = await laptop.consults.accept(consult)
        assert accepted.accepted_by == crew.priya.member.hex()
        assert (await laptop.consults.accept(consult)).accepted_by == accepted.accepted_by
        with pytest.raises(ApiError) as late:
            await backup.consults.accept(consult)
        assert late.value.code is WireError.ALREADY_ACCEPTED
        joined = await laptop.consults.join(consult)
        assert joined.state is ConsultState.IN_SESSION

        await told(left, Left)
        await until(lambda: crew.noor.device not in phone.readers(channel), "the backup is out")
        stay = {crew.ana.device, crew.ben.device, crew.priya.device, crew.deniz.device, crew.sofia.device}
        assert set(phone.readers(channel)) == stay
        await (await laptop.send(channel, "I am here. How is he?")).wait(timeout_s=WAIT_S)
        await until(
            lambda: texts(phone, channel) == ["I am here. How is he?"], "the team reads the psychiatrist"
        )
        await (await phone.send(channel, "Calm, sitting.")).wait(timeout_s=WAIT_S)
        await until(
            lambda: texts(laptop, channel)[1:] == ["Calm, sitting."], "the psychiatrist reads the team"
        )

        phone_feed = phone.follow(channel)
        given = await laptop.recommend(channel, "Stay with him, lights down.")
        recommended = await told(phone_feed, Report)
        assert isinstance(recommended.content, Recommendation)
        phone_feed.close()
        back = laptop.follow(channel)
        await phone.read_back(channel, given.id, "We stay, and dim the lights.")
        answer = await told(back, Acknowledgement)
        assert (answer.message, answer.read_back) == (given.id, "We stay, and dim the lights.")

        over = phone.follow()
        await laptop.consults.end(consult)
        ended = await told(over, ConsultChange, lambda change: change.consult.state is ConsultState.ENDED)
        assert ended.consult.id == asked.id


async def test_who_accepts_reads_and_talks_though_the_requester_is_gone(
    stage: Stage, town: Town, crew: Crew
) -> None:
    # There before she is asked: a step that reaches nobody is soon over.
    async with ringing(crew.priya, stage.url(1)) as (laptop, heard):
        async with crew.ana.open(stage.url(0)) as phone:
            asked = await phone.consults.request("She does not answer.", unit=crew.unit)
        consult, channel = ids(asked)
        await told(heard, Ring)
        await laptop.consults.accept(consult)
        await laptop.consults.join(consult)
        await settled(laptop, channel)
        assert summaries(laptop, channel) == ["She does not answer."]
        await until(lambda: crew.noor.device not in laptop.readers(channel), "the others are out")
        await (await laptop.send(channel, "On my way.")).wait(timeout_s=WAIT_S)
    async with crew.ana.open(stage.url(1)) as phone:
        await settled(phone, channel)
        await until(lambda: texts(phone, channel) == ["On my way."], "what was said meanwhile")


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "not wanted"])
async def test_the_incidents_context_is_given_to_whom_the_signed_request_names(
    stage: Stage,
    town: Town,
    crew: Crew,
    wanted: bool,
) -> None:
    async with (
        crew.deniz.open(stage.url(0)) as desk,
        crew.ana.open(stage.url(1)) as phone,
        ringing(crew.priya, stage.url(1)) as (laptop, heard),
    ):
        incident, operations = await desk.openings.incident(
            [crew.ana.device], units=[crew.unit], first="Quay Street 4"
        )
        await settled(phone, operations)
        asked = await phone.consults.request(
            "He hears voices.",
            unit=crew.unit,
            incident=incident,
            grant_to=(Role.PSYCHIATRIST,) if wanted else (Role.DISPATCHER,),
        )
        assert asked.incident == incident.hex()
        consult, channel = ids(asked)
        await told(heard, Ring)
        await laptop.consults.accept(consult)
        await until(lambda: crew.noor.device not in phone.readers(channel), "it was signed that she came")
        if wanted:
            await until(lambda: crew.priya.device in phone.readers(operations), "she was let in")
            await settled(laptop, operations)
            await until(lambda: texts(laptop, operations) == ["Quay Street 4"], "the earlier context")
        else:
            await asyncio.sleep(1.5)
            assert crew.priya.device not in phone.readers(operations)


async def test_the_search_goes_on_with_those_whom_the_requester_chose(
    stage: Stage, town: Town, crew: Crew
) -> None:
    async with (
        crew.ana.open(stage.url(0)) as phone,
        ringing(crew.noor, stage.url(0)) as (backup, rung),
        ringing(crew.priya, stage.url(1)) as (laptop, heard),
    ):
        asked = await phone.consults.request("He hears voices.", unit=crew.unit)
        consult, channel = ids(asked)
        await told(heard, Ring)
        await laptop.consults.accept(consult)
        await until(lambda: crew.noor.device not in phone.readers(channel), "the backup is out")
        await laptop.consults.decline(consult)
        ring = await told(rung, Ring)
        assert ring.consult.id == asked.id
        await until(lambda: crew.noor.device in phone.readers(channel), "the backup is let back in")
        await backup.consults.accept(consult)
        await settled(backup, channel)
        assert summaries(backup, channel) == ["He hears voices."]
        await (await backup.send(channel, "Noor here.")).wait(timeout_s=WAIT_S)
        await until(lambda: texts(phone, channel) == ["Noor here."], "the team reads the second psychiatrist")


async def test_clinicians_talk_apart_and_the_desk_does_not_read_it(
    stage: Stage, town: Town, crew: Crew
) -> None:
    async with (
        crew.ana.open(stage.url(0)) as phone,
        crew.deniz.open(stage.url(0)) as desk,
        ringing(crew.priya, stage.url(1)) as (laptop, heard),
    ):
        asked = await phone.consults.request("He hears voices.", unit=crew.unit)
        consult, channel = ids(asked)
        await told(heard, Ring)
        await laptop.consults.accept(consult)
        # At once, while those who were not needed may still be in the consult's own channel.
        ground = "He agreed, in clear words, to Ana and Dr Nair."
        side = await laptop.consults.open_side(consult, Authorisation.CONSENT, ground)
        assert await laptop.consults.open_side(consult, Authorisation.CONSENT, "again") == side
        # Why it may be stands where everybody of the consult reads it.
        await until(lambda: texts(desk, channel) == [ground], "the desk reads the ground")
        await settled(phone, side)
        assert set(phone.readers(side)) == {crew.ana.device, crew.ben.device, crew.priya.device}
        await (await phone.send(side, "sertraline, 50 mg")).wait(timeout_s=WAIT_S)
        await until(lambda: texts(laptop, side) == ["sertraline, 50 mg"], "the psychiatrist reads it")
        assert not [info for info in await desk.refresh() if info.id == side.hex()]
        await laptop.consults.end(consult)
        archived = {info.id for info in await phone.refresh() if info.archived}
        assert archived == {channel.hex(), side.hex()}


async def test_of_twenty_who_accept_at_once_over_two_nodes_one_comes(
    stage: Stage, town: Town, crew: Crew
) -> None:
    crowd = [await town.enrol(f"psychiatrist {n}", Role.PSYCHIATRIST) for n in range(20)]
    async with crew.sofia.desk(town.url) as office:
        members = tuple(who.member.hex() for who in crowd)
        ladder = await office.create_ladder(o.NewLadder("everybody", (o.LadderStep((), members),)))
    async with AsyncExitStack() as stack:
        phone = await stack.enter_async_context(crew.ana.open(stage.url(0)))
        # One of them is there, so that the step reaches somebody; it pages whoever else comes in time.
        await stack.enter_async_context(crowd[0].open(stage.url(1)))
        desks = [
            await stack.enter_async_context(who.desk(stage.url(number))) for number, who in enumerate(crowd)
        ]
        for desk in desks:
            await desk.agency()
        asked = await phone.consults.request("Who comes?", ladder=LadderId(bytes.fromhex(ladder.id)))
        action = o.ConsultAction(ConsultActionKind.ACCEPT)
        accept = [desk.consult_action(asked.id, action) for desk in desks]
        answers = await asyncio.gather(*accept, return_exceptions=True)
        won = [(n, answer) for n, answer in enumerate(answers) if isinstance(answer, o.Consult)]
        lost = [answer.code for answer in answers if isinstance(answer, ApiError)]
        assert lost == [WireError.ALREADY_ACCEPTED] * 19
        ((winner, first),) = won
        assert first.accepted_by == crowd[winner].member.hex()
        # The winner asks again, on the other node: its answer was lost.
        async with crowd[winner].desk(stage.url(winner + 1)) as elsewhere:
            again = await elsewhere.consult_action(asked.id, action)
        assert (again.accepted_by, again.accepted_ms) == (first.accepted_by, first.accepted_ms)
