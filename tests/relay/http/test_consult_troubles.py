"""What goes wrong around a consult: people who are gone, ladders that reach nobody, too many requests at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import AgencyId, ConsultId
from leeside_protocol.limits import ALARM_S, CONSULTS_OPEN, CONSULTS_WINDOW_S
from leeside_protocol.sealing.public.commit import Authorisation, AuthRecord
from leeside_protocol.words import (
    ChannelPurpose,
    Compartment,
    ConsultActionKind,
    ConsultState,
    IncidentState,
    Role,
)
from leeside_server.core.consult_row import ACTIVE, ConsultRow
from leeside_server.core.ladder import StepRow
from leeside_server.core.notices import Notice
from leeside_server.core.rates import Rate
from leeside_server.core.rows import KINDS
from leeside_server.core.writes import Item, Save, Stored
from leeside_server.relay import consults as shell
from leeside_server.relay.consults import HELD_APART_MS, HELD_LATER_MS
from leeside_server.relay.http import HttpSettings
from tests.relay.http.consulting import Asked, Scene, act, inbox, scene_of, show, steps
from tests.relay.http.world import Agency, City, Person, Refusal, channel_post
from tests.relay.http.world import city as open_city

K = ConsultActionKind
NO_LIMIT = Rate(1e6, 1_000_000)


@pytest_asyncio.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    """Where a device may ask as often as it likes: what is limited here is not the rate."""
    settings = HttpSettings(requests_per_source=NO_LIMIT, requests_per_device=NO_LIMIT)
    async with open_city(tmp_path, settings) as opened:
        yield opened


@pytest_asyncio.fixture
async def scene(agency: Agency) -> Scene:
    return await scene_of(agency)


class Cast(msgspec.Struct):
    ana: Person
    priya: Person
    sofia: Person


@pytest_asyncio.fixture
async def cast(scene: Scene) -> Cast:
    join = scene.agency.join
    cast = Cast(await join(Role.RESPONDER), await join(Role.PSYCHIATRIST), await join(Role.SUPERVISOR))
    await scene.arrive(cast.ana, cast.priya)
    return cast


async def refusal(asking: object) -> WireError:
    with pytest.raises(Refusal) as refused:
        await asking  # type: ignore[misc]
    return refused.value.code


async def alarms(who: Person) -> int:
    return len(await inbox(who, Notice.CONSULT_ALARM))


# ---- nobody comes


@pytest.mark.parametrize("how", ["device revoked", "membership ended", "gone"])
async def test_who_is_gone_in_mid_page_costs_no_more_than_seconds(scene: Scene, cast: Cast, how: str) -> None:
    """The supervisor cannot be reached either, so nobody is left: they are alarmed, and it repeats."""
    await scene.ladder(*steps((cast.priya,), delay_s=3_600))
    asked = await scene.request(cast.ana, cast.priya, cast.sofia)
    assert (await show(cast.ana, asked.id)).me.ringing is False
    assert await alarms(cast.sofia) == 0
    match how:
        case "device revoked":
            await scene.agency.admin.ask("revoke_device", id=cast.priya.id.hex())
            scene.there.discard(cast.priya.id)
        case "membership ended":
            held = await scene.agency.admin.ask("member", id=cast.priya.member)
            change = r.MemberChange(held.revision, ended=True)
            await scene.agency.admin.ask("change_member", change, id=cast.priya.member)
        case _:
            await scene.leave(cast.priya)
    await scene.pass_time(5)
    found = await show(cast.ana, asked.id)
    assert found.state is ConsultState.EXHAUSTED
    assert await alarms(cast.sofia) == 1
    await scene.pass_time(ALARM_S * 3)
    assert await alarms(cast.sofia) == 4
    assert (await show(cast.sofia, asked.id)).alarms == 4


@pytest.mark.parametrize("ladder", ["none", "no step", "empty rota", "rotas in a circle", "unreachable"])
async def test_a_ladder_that_reaches_nobody_alarms_at_once(scene: Scene, cast: Cast, ladder: str) -> None:
    if ladder == "no step":
        await scene.ladder()
    elif ladder == "empty rota":
        await scene.ladder(StepRow((await scene.empty_rota(),), (), 3_600))
    elif ladder == "rotas in a circle":
        await scene.ladder(StepRow((await scene.circle_of_rotas(),), (), 3_600))
    elif ladder == "unreachable":
        await scene.leave(cast.priya)
        await scene.ladder(*steps((cast.priya,), delay_s=3_600))
    asked = await scene.request(cast.ana, cast.priya, cast.sofia)
    assert (await show(cast.ana, asked.id)).state is ConsultState.EXHAUSTED
    assert await alarms(cast.sofia) == 1
    await scene.pass_time(ALARM_S)
    assert await alarms(cast.sofia) == 2
    # The supervisor comes to a screen, and comes to the consult.
    await scene.arrive(cast.sofia)
    assert (await act(cast.sofia, asked.id, K.ACCEPT)).accepted_by == cast.sofia.member


async def test_a_supervisor_who_can_be_reached_is_paged_when_nobody_is_on_call(
    scene: Scene, cast: Cast
) -> None:
    await scene.arrive(cast.sofia)
    await scene.ladder(StepRow((await scene.empty_rota(),), (), 3_600))
    asked = await scene.request(cast.ana, cast.priya, cast.sofia)
    assert [ids[1] for _, ids in await inbox(cast.sofia, Notice.PAGE)] == [asked.id]
    tried = [line.event for line in (await show(cast.ana, asked.id)).tried]
    assert tried[:2] == ["no_one_on_call", "paged"]


# ---- too many at once


async def test_what_a_device_asks_beyond_its_share_waits_for_a_supervisor(scene: Scene, cast: Cast) -> None:
    await scene.arrive(cast.sofia)
    await scene.ladder(*steps((cast.priya,), delay_s=3_600))
    asked = [await scene.request(cast.ana, cast.priya, cast.sofia) for _ in range(CONSULTS_OPEN + 1)]
    held = asked[-1]
    found = await show(cast.sofia, held.id)
    assert found.state is ConsultState.REQUESTED
    assert [ids[1] for _, ids in await inbox(cast.priya, Notice.PAGE)] == [a.id for a in asked[:-1]]
    assert [ids for _, ids in await inbox(cast.sofia, Notice.CONSULT_ALARM)] == [(held.id,)]
    # Another device of another person is not touched by that.
    eva = await scene.agency.join(Role.RESPONDER)
    other = await scene.request(eva, cast.priya)
    assert (await show(eva, other.id)).state is ConsultState.PAGING
    released = await act(cast.sofia, held.id, K.RELEASE)
    assert released.state is ConsultState.PAGING
    assert held.id in [ids[1] for _, ids in await inbox(cast.priya, Notice.PAGE)]


async def test_the_share_comes_back_with_time_unless_the_consults_go_on(scene: Scene, cast: Cast) -> None:
    await scene.ladder(*steps((cast.priya,), delay_s=3_600))
    first = [await scene.request(cast.ana, cast.priya) for _ in range(CONSULTS_OPEN)]
    scene.city.clock.advance(CONSULTS_WINDOW_S)
    await scene.report()
    for who in (cast.ana, cast.priya):
        await who.sign_in()
    still = await scene.request(cast.ana, cast.priya)
    assert (await show(cast.ana, still.id)).state is ConsultState.REQUESTED
    await act(cast.ana, first[0].id, K.CANCEL)
    again = await scene.request(cast.ana, cast.priya)
    assert (await show(cast.ana, again.id)).state is ConsultState.PAGING


async def test_a_thousand_requests_of_one_device_are_kept_and_delay_nobody(scene: Scene, cast: Cast) -> None:
    await scene.arrive(cast.sofia)
    await scene.ladder(*steps((cast.priya,), delay_s=3_600))
    eva = await scene.agency.join(Role.RESPONDER)
    storm = [scene.ask(cast.ana) for _ in range(1_000)]
    room = asyncio.Semaphore(32)

    risen, done = asyncio.Event(), 0

    async def post(asked: Asked) -> None:
        nonlocal done
        async with room:
            await cast.ana.ask("create_consult", asked.post)
        done += 1
        if done == 100:
            risen.set()

    flood = [asyncio.ensure_future(post(asked)) for asked in storm]
    flood_s = time.monotonic()
    await risen.wait()
    began_s = time.monotonic()
    other = await scene.request(eva, cast.priya)
    # The page and its notice stand in the item that the request was answered for.
    assert other.id in [ids[1] for _, ids in await inbox(cast.priya, Notice.PAGE)]
    paged_s = time.monotonic() - began_s
    assert done < len(storm)
    await asyncio.gather(*flood)
    # However fast this machine is: it did not stand behind those who came before it.
    assert paged_s < (time.monotonic() - flood_s) / 2
    kept: set[str] = set()
    after = ""
    while True:
        page = await cast.sofia.ask("consults", query={"limit": "500", **({"after": after} if after else {})})
        kept |= {c.id for c in page.items if c.state is ConsultState.REQUESTED}
        after = page.next
        if not after:
            break
    assert len(kept) == 1_000 - CONSULTS_OPEN
    # All of them alarm at the same time; a step that is due then is not behind them.
    await scene.pass_time(ALARM_S)
    await act(cast.priya, other.id, K.DECLINE)
    assert (await show(eva, other.id)).step == 1


async def test_a_consult_that_this_node_cannot_read_holds_up_no_other(scene: Scene, cast: Cast) -> None:
    """A later version wrote it, say: that one waits for a node that can, and every other is climbed."""
    await scene.arrive(cast.sofia)
    await scene.ladder(*steps((cast.priya,)))
    later = Save(KINDS[ConsultRow], bytes(16), 0, b'{"state": "levitating"}', ACTIVE, 0)
    (outcome,) = await scene.city.node.store.apply([Item(scene.agency.id, 0, (later,))])
    assert isinstance(outcome, Stored)
    asked = await scene.request(cast.ana, cast.priya, cast.sofia)
    await scene.pass_time(60)
    assert (await show(cast.ana, asked.id)).step == 1


async def test_a_fault_in_one_consult_holds_up_no_other(
    scene: Scene, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.arrive(cast.sofia)
    await scene.ladder(*steps((cast.priya,)))
    broken, whole = [await scene.request(cast.ana, cast.priya, cast.sofia) for _ in range(2)]
    consults = scene.city.node.consults
    tick = consults.tick

    async def faulty(agency: AgencyId, key: ConsultId) -> None:
        if key == broken.id:
            raise RuntimeError("a fault of ours")
        await tick(agency, key)

    monkeypatch.setattr(consults, "tick", faulty)
    await scene.pass_time(60)
    assert (await show(cast.ana, broken.id)).step == 0
    assert (await show(cast.ana, whole.id)).step == 1
    # Readiness says nothing of one consult: an alert watches this.
    assert (scene.city.node.metrics.registry.get_sample_value("leeside_consults_failed_total") or 0) > 0


async def test_a_queue_of_held_requests_does_not_stand_before_a_step_that_is_due(
    scene: Scene, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many: what is due is handed out oldest first, and only so much at once."""
    for name, value in (("DUE_AT_ONCE", 4), ("HELD_AT_ONCE", 1), ("HELD_QUEUE", 2)):
        monkeypatch.setattr(shell, name, value)
    await scene.ladder(*steps((cast.priya,)))
    eva = await scene.agency.join(Role.RESPONDER)
    held = [await scene.request(cast.ana, cast.priya) for _ in range(CONSULTS_OPEN + 8)][CONSULTS_OPEN:]
    other = await scene.request(eva, cast.priya)
    scene.city.clock.advance(61)
    await scene.report()
    node = scene.city.node
    for _ in range(4):
        await node.consults.carry_out(await node.steady.now_ms())
    assert (await scene.row(other.id)).step == 1
    assert min([(await scene.row(asked.id)).alarms for asked in held]) == 1
    # None of them is forgotten.
    due_ms = [(await scene.row(asked.id)).deadline_steady_ms for asked in held]
    now_ms = await node.steady.now_ms()
    assert now_ms + HELD_LATER_MS <= max(due_ms) <= now_ms + HELD_LATER_MS + len(held) * HELD_APART_MS
    monkeypatch.undo()
    await scene.pass_time(HELD_LATER_MS / 1_000 + 60)
    assert min([(await scene.row(asked.id)).alarms for asked in held]) >= 2


# ---- its incident


async def test_an_incident_does_not_end_under_a_consult_that_goes_on(scene: Scene, cast: Cast) -> None:
    deniz = await scene.agency.join(Role.DISPATCHER)
    incident = bytes(range(16))
    post = channel_post(ChannelPurpose.INCIDENT, scene.agency.genesis(deniz, incident=incident), incident)
    await deniz.ask("open_incident", r.IncidentPost(incident, 2, (), post))
    asked = await scene.request(cast.ana, cast.priya, incident=incident)
    end = r.IncidentChange(1, state=IncidentState.CLOSED)
    assert await refusal(deniz.ask("change_incident", end, id=incident.hex())) is WireError.FORBIDDEN
    assert not (await cast.ana.ask("channel", id=asked.channel)).archived
    await act(deniz, asked.id, K.CANCEL)
    assert (await deniz.ask("incident", id=incident.hex())).state is IncidentState.OPEN
    assert (await cast.ana.ask("channel", id=asked.channel)).archived
    await deniz.ask("change_incident", end, id=incident.hex())
    late = scene.ask(cast.ana, cast.priya, incident=incident)
    assert await refusal(cast.ana.ask("create_consult", late.post)) is WireError.FORBIDDEN


async def test_the_incident_made_for_a_consult_ends_with_it_and_not_before(scene: Scene, cast: Cast) -> None:
    deniz = await scene.agency.join(Role.DISPATCHER)
    asked = await scene.request(cast.ana, cast.priya)
    end = r.IncidentChange(1, state=IncidentState.CLOSED)
    assert await refusal(deniz.ask("change_incident", end, id=asked.id.hex())) is WireError.FORBIDDEN
    await act(cast.ana, asked.id, K.CANCEL)
    assert (await deniz.ask("incident", id=asked.id.hex())).state is IncidentState.CANCELLED


# ---- the clinicians' own channel


async def test_the_side_channel_is_of_this_consult_and_sealed_for_clinicians(
    scene: Scene, cast: Cast
) -> None:
    await scene.arrive(cast.sofia)
    await scene.ladder(*steps((cast.priya,)))
    asked = await scene.request(cast.ana, cast.priya)
    await act(cast.priya, asked.id, K.ACCEPT)

    async def side(*people: Person, subject: bytes, compartment: Compartment) -> str:
        ground = (AuthRecord(Authorisation.CONSENT, bytes(32)),) if compartment else ()
        made = scene.agency.genesis(*people, incident=subject, compartment=compartment, auth=ground)
        await people[0].ask("create_channel", channel_post(ChannelPurpose.CONSULT, made, subject))
        return made.commit.channel_id.hex()

    other = await scene.request(cast.ana, cast.priya)
    clinical = Compartment.CLINICAL
    right = await side(cast.priya, cast.ana, subject=asked.id, compartment=clinical)
    for wrong in (
        await side(cast.priya, subject=asked.id, compartment=Compartment.OPERATIONS),
        await side(cast.priya, subject=other.id, compartment=clinical),
        await side(cast.ana, subject=asked.id, compartment=clinical),
        "00" * 16,
    ):
        assert await refusal(act(cast.priya, asked.id, K.SIDE, wrong)) is WireError.INVALID
    assert await refusal(act(cast.priya, asked.id, K.SIDE)) is WireError.INVALID
    assert await refusal(act(cast.priya, asked.id, K.JOIN, right)) is WireError.INVALID
    assert (await act(cast.priya, asked.id, K.SIDE, right)).side == right
    assert (await act(cast.priya, asked.id, K.SIDE, right)).side == right
    assert (await show(cast.ana, asked.id)).side == right
    await act(cast.priya, asked.id, K.END)
    for channel in (asked.channel, right):
        assert (await cast.ana.ask("channel", id=channel)).archived
