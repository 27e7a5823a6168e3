"""Consults over HTTP: requested with their channel, answered by exactly one, seen by whom they concern."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.words import (
    ChannelPurpose,
    ConsultActionKind,
    ConsultState,
    IncidentState,
    Role,
    TargetState,
)
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.incidents import IncidentRow
from leeside_server.core.ladder import StepRow
from leeside_server.core.notices import Notice
from leeside_server.core.rates import Rate
from leeside_server.core.rota import RotaRow
from leeside_server.core.rows import KINDS, read
from leeside_server.relay.http import HttpSettings
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.channels import standing
from tests.relay.http.consulting import Scene, act, inbox, scene_of, show, steps
from tests.relay.http.world import Agency, City, Person, Refusal
from tests.relay.http.world import city as open_city

K = ConsultActionKind


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    """Where twenty psychiatrists may enrol in a minute."""
    async with open_city(tmp_path, HttpSettings(enrolments_per_source=Rate(100.0, 100))) as opened:
        yield opened


@pytest_asyncio.fixture
async def scene(agency: Agency) -> Scene:
    return await scene_of(agency)


class Cast(msgspec.Struct):
    """A responder who asks, two psychiatrists on call, a supervisor behind them, and somebody who has nothing to do with it."""

    ana: Person
    priya: Person
    noor: Person
    sofia: Person
    eva: Person


@pytest_asyncio.fixture
async def cast(scene: Scene) -> Cast:
    join = scene.agency.join
    cast = Cast(
        await join(Role.RESPONDER),
        await join(Role.PSYCHIATRIST),
        await join(Role.PSYCHIATRIST),
        await join(Role.SUPERVISOR),
        await join(Role.RESPONDER),
    )
    await scene.arrive(cast.ana, cast.priya, cast.noor, cast.sofia)
    await scene.ladder(*steps((cast.priya,), (cast.noor,)))
    return cast


async def refusal(asking: object) -> WireError:
    with pytest.raises(Refusal) as refused:
        await asking  # type: ignore[misc]
    return refused.value.code


# ---- requesting


def named(value: Any) -> str | None:
    """A case by the field that is wrong in it."""
    return None if isinstance(value, WireError) else str(next(iter(value)))


async def test_a_request_pages_the_first_step_and_tells_nobody_else(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya, cast.noor, cast.sofia)
    found = await show(cast.ana, asked.id)
    assert (found.state, found.step, found.steps) == (ConsultState.PAGING, 0, 3)
    assert [(t.member, t.state) for t in found.targets] == [(cast.priya.member, TargetState.QUEUED)]
    (page,) = await scene.pages(asked.id)
    # Whoever has a page's id may say that it was seen: the asker sees that it rings, its member and the desk which it is.
    shown = [(await show(who, asked.id)).targets[0] for who in (cast.ana, cast.priya, cast.sofia)]
    assert [(t.rings, t.page) for t in shown] == [(True, None), (True, page.id.hex()), (True, page.id.hex())]
    assert await inbox(cast.priya, Notice.PAGE) == [(Notice.PAGE, (page.id, asked.id))]
    assert await inbox(cast.noor, Notice.PAGE) == await inbox(cast.sofia, Notice.PAGE) == []
    mine = (await show(cast.priya, asked.id)).me
    assert mine.ringing
    assert mine.page == page.id.hex()
    # Everybody who could come is in the channel already.
    assert (await cast.noor.ask("channel", id=asked.channel)).purpose is ChannelPurpose.CONSULT


async def test_a_repeated_request_is_one_request(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya)
    again = await cast.ana.ask("create_consult", asked.post)
    assert again.repeat
    assert len(await scene.pages(asked.id)) == 1
    assert len((await cast.ana.ask("consults")).items) == 1


async def test_a_repeat_that_overtakes_its_first_request_is_one_request(
    scene: Scene, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scene.ask(cast.ana, cast.priya)
    first = await cast.ana.ask("create_consult", asked.post)
    looks = 0

    async def late(call: Call, commit: Commit) -> r.CommitAnswer | None:
        """The first request is stored only when the second one has looked for it."""
        nonlocal looks
        looks += 1
        return None if looks == 1 else await standing(call, commit)

    monkeypatch.setattr("leeside_server.relay.http.consults.standing", late)
    again = await cast.ana.ask("create_consult", asked.post)
    assert (again.commit_hash, again.repeat) == (first.commit_hash, True)
    assert looks == 2


async def test_a_consult_without_an_incident_has_one_made_for_it(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya, urgency=2)
    incident = await cast.ana.ask("incident", id=asked.id.hex())
    assert (incident.state, incident.priority) == (IncidentState.OPEN, 1)
    await act(cast.priya, asked.id, K.ACCEPT)
    await act(cast.priya, asked.id, K.JOIN)
    await act(cast.priya, asked.id, K.END)
    assert (await cast.ana.ask("incident", id=asked.id.hex())).state is IncidentState.CLOSED
    assert (await cast.ana.ask("channel", id=asked.channel)).archived
    # Retention looks at it from now on.
    found = await scene.city.node.store.get(scene.agency.id, KINDS[IncidentRow], asked.id)
    assert found is not None
    assert found.due_ms == read(IncidentRow, found).row.closed_ms


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"consult": b"short"}, WireError.INVALID),
        ({"unit": b"short"}, WireError.INVALID),
        ({"urgency": 3}, WireError.INVALID),
        ({"language": "Spanish"}, WireError.INVALID),
        ({"specialty": "x" * 41}, WireError.INVALID),
        ({"incident": bytes(16)}, WireError.INVALID),
        ({"ladder": bytes(16)}, WireError.NOT_FOUND),
        ({"unit": bytes(16)}, WireError.INVALID),
    ],
    ids=named,
)
async def test_a_request_that_does_not_hold_together_is_refused(
    scene: Scene, cast: Cast, change: dict[str, object], code: WireError
) -> None:
    asked = scene.ask(cast.ana, cast.priya, change=lambda post: msgspec.structs.replace(post, **change))
    assert await refusal(cast.ana.ask("create_consult", asked.post)) is code
    assert (await cast.ana.ask("consults")).items == ()


async def test_a_request_says_what_it_is_about_in_its_first_frame(scene: Scene, cast: Cast) -> None:
    def silent(post: o.ConsultPost) -> o.ConsultPost:
        return msgspec.structs.replace(post, channel=msgspec.structs.replace(post.channel, first=None))

    asked = scene.ask(cast.ana, cast.priya, change=silent)
    assert await refusal(cast.ana.ask("create_consult", asked.post)) is WireError.INVALID


async def test_a_unit_is_ones_own_except_for_the_desk(scene: Scene, cast: Cast) -> None:
    deniz = await scene.agency.join(Role.DISPATCHER)
    unit = await scene.agency.unit(cast.eva)
    asked = scene.ask(cast.ana, cast.priya, unit=unit)
    assert await refusal(cast.ana.ask("create_consult", asked.post)) is WireError.FORBIDDEN
    by_desk = await scene.request(deniz, cast.priya, unit=unit)
    assert (await show(cast.eva, by_desk.id)).unit == unit.hex()


async def test_an_interpreter_or_administrator_asks_for_no_consult(scene: Scene, cast: Cast) -> None:
    ines = await scene.agency.join(Role.INTERPRETER)
    for who in (ines, scene.agency.admin):
        asked = scene.ask(cast.ana, cast.priya)
        assert await refusal(who.ask("create_consult", asked.post)) is WireError.FORBIDDEN
        assert await refusal(who.ask("consults")) is WireError.FORBIDDEN


# ---- answering


async def test_twenty_accept_at_once_and_one_of_them_is_first(scene: Scene, cast: Cast) -> None:
    crowd = [await scene.agency.join(Role.PSYCHIATRIST) for _ in range(20)]
    await scene.arrive(*crowd)
    ladder = await scene.ladder(*steps(tuple(crowd)))
    asked = await scene.request(cast.ana, *crowd, ladder=ladder)
    answers = await asyncio.gather(*(act(who, asked.id, K.ACCEPT) for who in crowd), return_exceptions=True)
    won = [(who, a) for who, a in zip(crowd, answers, strict=True) if isinstance(a, o.Consult)]
    lost = [a.code for a in answers if isinstance(a, Refusal)]
    assert lost == [WireError.ALREADY_ACCEPTED] * 19
    ((winner, first),) = won
    assert first.accepted_by == winner.member
    # A retry of the winner, whose answer was lost, gets the same.
    again = await act(winner, asked.id, K.ACCEPT)
    assert msgspec.structs.replace(again, revision=first.revision) == first
    assert all(page.row.over_ms for page in await scene.pages(asked.id))
    for loser in crowd:
        if loser is not winner:
            assert await refusal(act(loser, asked.id, K.ACCEPT)) is WireError.ALREADY_ACCEPTED
            assert await refusal(act(loser, asked.id, K.JOIN)) is WireError.FORBIDDEN


async def test_who_was_not_paged_yet_hears_that_somebody_was_first(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya, cast.noor)
    await act(cast.priya, asked.id, K.ACCEPT)
    # Noor's device is in the channel, and her step has not begun: she may come, and must not be told that there is none.
    assert await refusal(act(cast.noor, asked.id, K.ACCEPT)) is WireError.ALREADY_ACCEPTED
    assert await refusal(act(cast.ana, asked.id, K.ACCEPT)) is WireError.ALREADY_ACCEPTED
    assert await refusal(act(cast.eva, asked.id, K.ACCEPT)) is WireError.NOT_FOUND


async def test_all_of_a_step_are_told_when_one_accepts(scene: Scene, cast: Cast) -> None:
    ladder = await scene.ladder(*steps((cast.priya, cast.noor)))
    asked = await scene.request(cast.ana, cast.priya, cast.noor, cast.sofia, ladder=ladder)
    before = len(await inbox(cast.noor, Notice.CONSULT_CHANGED))
    await act(cast.priya, asked.id, K.ACCEPT)
    assert len(await inbox(cast.noor, Notice.CONSULT_CHANGED)) > before
    found = await show(cast.noor, asked.id)
    assert (found.accepted_by, found.me.ringing) == (cast.priya.member, False)


async def test_declined_by_all_of_a_step_begins_the_next_at_once(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya, cast.noor)
    await act(cast.priya, asked.id, K.DECLINE)
    assert [ids[1] for _, ids in await inbox(cast.noor, Notice.PAGE)] == [asked.id]


async def test_the_whole_ladder_is_climbed_to_an_alarm_that_repeats_until_it_is_taken(
    scene: Scene, cast: Cast
) -> None:
    asked = await scene.request(cast.ana, cast.priya, cast.noor, cast.sofia)
    await scene.pass_time(60)
    assert (await show(cast.ana, asked.id)).step == 1
    await scene.pass_time(60)
    assert [kind for kind, _ in await inbox(cast.sofia, Notice.PAGE)] == [Notice.PAGE]
    await scene.pass_time(60)
    assert (await show(cast.ana, asked.id)).state is ConsultState.EXHAUSTED
    await scene.pass_time(60)
    await cast.sofia.sign_in()
    alarms = await inbox(cast.sofia, Notice.CONSULT_ALARM)
    assert len(alarms) == 3
    await act(cast.sofia, asked.id, K.TAKE)
    await scene.pass_time(120)
    await cast.sofia.sign_in()
    await cast.priya.sign_in()
    assert len(await inbox(cast.sofia, Notice.CONSULT_ALARM)) == 3
    # Whoever comes late still comes.
    assert (await act(cast.priya, asked.id, K.ACCEPT)).state is ConsultState.ACCEPTED


async def test_who_is_gone_from_a_session_is_searched_for_again(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya, cast.noor)
    await act(cast.priya, asked.id, K.ACCEPT)
    await act(cast.priya, asked.id, K.JOIN)
    await scene.leave(cast.priya)
    assert (await show(cast.ana, asked.id)).state is ConsultState.IN_SESSION
    await scene.pass_time(70)
    found = await show(cast.ana, asked.id)
    assert (found.state, found.accepted_by) == (ConsultState.PAGING, None)


# ---- who sees it, who may what


async def test_a_consult_concerns_few(scene: Scene, cast: Cast) -> None:
    deniz = await scene.agency.join(Role.DISPATCHER)
    ben = await scene.agency.join(Role.RESPONDER)
    unit = await scene.agency.unit(cast.ana, ben)
    asked = await scene.request(cast.ana, cast.priya, cast.noor, unit=unit)
    stranger = await (await scene.city.agency()).join(Role.SUPERVISOR)
    for who in (cast.ana, ben, cast.priya, cast.noor, cast.sofia, deniz):
        assert (await show(who, asked.id)).id == asked.id.hex()
        assert [c.id for c in (await who.ask("consults", query={"state": "active"})).items] == [
            asked.id.hex()
        ]
        assert (await who.ask("consults", query={"state": "ended"})).items == ()
    for who in (cast.eva, stranger):
        assert await refusal(show(who, asked.id)) is WireError.NOT_FOUND
        assert await refusal(act(who, asked.id, K.CANCEL)) is WireError.NOT_FOUND
        assert (await who.ask("consults")).items == ()


async def test_a_list_of_what_is_over_reads_no_rota_for_each(
    scene: Scene, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = await scene.ladder(StepRow((await scene.empty_rota(),)))
    for _ in range(2):
        asked = await scene.request(cast.ana, cast.priya, ladder=ladder)
        await act(cast.ana, asked.id, K.CANCEL)
    store, read = scene.city.node.store, list[str]()
    objects = store.objects

    async def counted(agency: AgencyId, kind: str, *rest: Any) -> Any:
        read.append(kind)
        return await objects(agency, kind, *rest)

    monkeypatch.setattr(store, "objects", counted)
    assert len((await cast.ana.ask("consults")).items) == 2
    assert len((await cast.sofia.ask("consults", query={"state": "ended"})).items) == 2
    assert (await cast.priya.ask("consults")).items == ()
    assert KINDS[ConsultRow] in read
    assert KINDS[RotaRow] not in read


async def test_a_list_is_paged_past_what_does_not_concern_the_asker(scene: Scene, cast: Cast) -> None:
    mine: set[str] = set()
    for number in range(6):
        asked = await scene.request(cast.eva if number % 2 else cast.ana, cast.priya)
        if not number % 2:
            mine.add(asked.id.hex())
    found: list[str] = []
    after = ""
    for _ in range(4):
        page = await cast.ana.ask("consults", query={"limit": "1", **({"after": after} if after else {})})
        found += [c.id for c in page.items]
        after = page.next
        if not after:
            break
    assert set(found) == mine
    assert len(found) == len(mine)


async def test_actions_are_for_whom_they_are_for(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya, cast.noor)
    for who, kinds in (
        (cast.ana, (K.ACCEPT, K.DECLINE, K.HOLD, K.JOIN, K.TAKE, K.RELEASE)),
        (cast.noor, (K.CANCEL, K.ESCALATE, K.END, K.TAKE)),
    ):
        offered = (await show(who, asked.id)).me.may
        for kind in kinds:
            assert kind not in offered
            assert await refusal(act(who, asked.id, kind)) in {WireError.FORBIDDEN, WireError.CONFLICT}
    assert K.CANCEL in (await show(cast.ana, asked.id)).me.may
    assert (await act(cast.ana, asked.id, K.CANCEL)).state is ConsultState.CANCELLED
    assert (await act(cast.ana, asked.id, K.CANCEL)).state is ConsultState.CANCELLED
    assert await refusal(act(cast.priya, asked.id, K.ACCEPT)) is WireError.CONFLICT


async def test_every_step_of_a_consult_is_a_security_event(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya)
    for who, kind in ((cast.priya, K.ACCEPT), (cast.priya, K.JOIN), (cast.ana, K.END)):
        await act(who, asked.id, kind)
    events = [
        e
        for e in (await cast.sofia.ask("security_events", query={"limit": "500"})).items
        if e.event.startswith("consult_")
    ]
    assert [(e.event, e.actor, e.outcome) for e in events] == [
        ("consult_requested", cast.ana.id.hex(), "paging"),
        ("consult_accept", cast.priya.id.hex(), "accepted"),
        ("consult_join", cast.priya.id.hex(), "in_session"),
        ("consult_end", cast.ana.id.hex(), "ended"),
    ]
    assert {e.subject for e in events} == {asked.id.hex()}


async def test_what_consults_wait_for_is_counted_and_names_nobody(scene: Scene, cast: Cast) -> None:
    asked = await scene.request(cast.ana, cast.priya)
    await cast.ana.ask("create_consult", asked.post)
    scene.city.clock.advance(20)
    await scene.report()
    await act(cast.priya, asked.id, K.ACCEPT)
    await act(cast.priya, asked.id, K.ACCEPT)
    scene.city.clock.advance(5)
    await act(cast.priya, asked.id, K.JOIN)
    told = scene.city.node.metrics.text().decode()
    for state in ("paging", "accepted", "in_session"):
        assert f'leeside_consults_total{{state="{state}"}} 1.0' in told
    for until, seconds in (("paged", "0.0"), ("accepted", "20.0"), ("joined", "25.0")):
        assert f'leeside_consult_wait_seconds_sum{{until="{until}"}} {seconds}' in told
        assert f'leeside_consult_wait_seconds_count{{until="{until}"}} 1.0' in told
    assert asked.id.hex() not in told
