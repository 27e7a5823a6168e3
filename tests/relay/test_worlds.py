"""What a consult's decision knows of people: who can be reached now, and that absence must be proven."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leeside_protocol import resources as r
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.limits import NODE_BEAT_S
from leeside_protocol.words import Role
from leeside_server.adapters.memory import MemoryGateway
from leeside_server.core.consult_moves import Now
from leeside_server.core.duty import PROBED_MS, DutyRow
from leeside_server.core.identity import MemberRow
from leeside_server.core.ladder import NOBODY, Person, StepRow
from leeside_server.core.rota import OverrideRow, RotaRow
from leeside_server.core.rows import KINDS, change, create, read
from leeside_server.core.writes import Item, Stored
from leeside_server.relay.worlds import EXPECTED_S, Worlds
from tests.relay.http.consulting import Scene, member, scene_of
from tests.relay.http.world import Person as Someone
from tests.relay.http.world import city as open_city


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_city(tmp_path) as city:
        yield await scene_of(await city.agency())


async def known(scene: Scene, who: Someone) -> Person:
    """What a decision would know of this person now."""
    node = scene.city.node
    now = Now(await node.steady.now_ms(), scene.city.clock.now_ms())
    world = await node.consults.worlds.before(scene.agency.id, None, (StepRow((), (member(who),)),), now)
    return world.person(member(who))


async def connected(scene: Scene, *people: Someone) -> set[DeviceId]:
    worlds, devices = scene.city.node.consults.worlds, [who.id for who in people]
    return set(await worlds.connected(scene.agency.id, devices))


async def test_a_lost_socket_is_expected_back_for_a_moment(scene: Scene) -> None:
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    assert await connected(scene, priya) == set()
    await scene.arrive(priya)
    assert (await known(scene, priya)).live
    scene.there.clear()
    await scene.report()
    scene.city.clock.advance(EXPECTED_S - 1)
    await scene.report()
    assert (await known(scene, priya)).live
    scene.city.clock.advance(1)
    await scene.report()
    assert not (await known(scene, priya)).reachable


async def test_nobody_is_gone_while_presence_cannot_tell(scene: Scene) -> None:
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    # The other node has not reported for longer than its lease: what it holds, nobody knows.
    scene.city.clock.advance(NODE_BEAT_S * 4)
    await scene.city.node.presence.renew(scene.city.node.id.hex(), (), scene.city.clock.now_ms())
    assert await connected(scene, priya) == {priya.id}
    await scene.report()
    assert await connected(scene, priya) == set()


async def test_a_node_that_has_just_begun_counts_nobody_as_gone(scene: Scene) -> None:
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    fresh = Worlds(scene.city.node)
    assert await fresh.connected(scene.agency.id, [priya.id]) == {priya.id}
    scene.city.clock.advance(EXPECTED_S)
    await scene.report()
    assert await fresh.connected(scene.agency.id, [priya.id]) == set()


async def test_a_device_that_came_here_this_moment_is_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    priya, noor = await scene.agency.join(Role.PSYCHIATRIST), await scene.agency.join(Role.PSYCHIATRIST)
    held = {(scene.agency.id, priya.id)}

    def holds(agency: AgencyId, device: DeviceId) -> bool:
        return (agency, device) in held

    monkeypatch.setattr(scene.city.node.sockets, "holds", holds)
    assert await connected(scene, priya, noor) == {priya.id}


async def test_who_comes_is_told_to_other_nodes_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that begins in the second after somebody came must not pass them over."""
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    node = scene.city.node
    renewed: list[object] = []

    async def renew(_node: str, devices: Sequence[object], _now_ms: int) -> None:
        renewed.extend(devices)

    monkeypatch.setattr(node.presence, "renew", renew)
    telling = asyncio.ensure_future(node.beats.tell_arrivals())
    await asyncio.sleep(0)
    assert not telling.done()
    socket = Mock(agency=scene.agency.id, device=priya.id)
    node.sockets.signed_in(socket)
    await telling
    assert renewed == [(scene.agency.id, priya.id)]


async def test_a_push_reaches_whom_it_reached_within_a_day(scene: Scene) -> None:
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    await priya.ask("put_push", r.PushSubscription("https://push.test/x", public, bytes(16)))
    # A subscription alone proves nothing.
    assert not (await known(scene, priya)).pushed
    now_ms = await scene.city.node.steady.now_ms()
    probed = DutyRow(member(priya), on=True, probed_ms=now_ms - PROBED_MS + 1_000)
    found = await scene.city.node.store.get(scene.agency.id, KINDS[DutyRow], priya.id)
    save = create(priya.id, probed) if found is None else change(read(DutyRow, found), probed)
    await scene.city.node.write([Item(scene.agency.id, now_ms, (save,))])
    assert (await known(scene, priya)).pushed
    scene.city.clock.advance(2)
    await scene.report()
    assert not (await known(scene, priya)).pushed


@pytest.mark.parametrize("on", [True, False], ids=["gateway", "no gateway"])
async def test_a_number_counts_where_somebody_can_call_it(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    on: bool,
) -> None:
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    monkeypatch.setattr(scene.city.node, "gateway", MemoryGateway(on=on))
    change_to = r.MemberChange(1, phone="+15550100")
    await scene.agency.admin.ask("change_member", change_to, id=priya.member)
    assert (await known(scene, priya)).phone is on


async def test_who_came_and_went_here_is_known_at_once(scene: Scene) -> None:
    staff, agency = scene.city.node.staff, scene.agency.id
    before = await staff.of(agency)
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    assert before.having(Role.PSYCHIATRIST) == ()
    assert (await staff.of(agency)).having(Role.PSYCHIATRIST) == (member(priya),)
    assert (await staff.of(agency)).devices_of([member(priya)]) == (priya.id,)
    assert (await staff.of(agency)).owners([priya.id]) == {member(priya)}
    await scene.agency.admin.ask("revoke_device", id=priya.id.hex())
    assert (await staff.of(agency)).devices_of([member(priya)]) == ()
    await scene.agency.admin.ask("change_member", r.MemberChange(1, ended=True), id=priya.member)
    assert (await staff.of(agency)).having(Role.PSYCHIATRIST) == ()
    assert await known(scene, priya) == NOBODY


async def test_who_came_by_another_node_is_known_soon(scene: Scene) -> None:
    node, agency = scene.city.node, scene.agency.id
    await node.staff.of(agency)
    stranger = MemberId(os.urandom(16))
    # Written past this node, as another one would.
    row = MemberRow((Role.SUPERVISOR,), scene.city.clock.now_ms())
    (outcome,) = await node.store.apply([Item(agency, 0, (create(stranger, row),))])
    assert isinstance(outcome, Stored)
    assert stranger not in (await node.staff.of(agency)).members
    scene.city.clock.advance(1)
    assert stranger in (await node.staff.of(agency)).members


async def test_a_rota_is_held_by_nobody_who_left(scene: Scene) -> None:
    priya = await scene.agency.join(Role.PSYCHIATRIST)
    now_ms = scene.city.clock.now_ms()
    rota = await scene.empty_rota()
    found = await scene.city.node.store.get(scene.agency.id, KINDS[RotaRow], rota)
    assert found is not None
    held = read(RotaRow, found)
    cover = OverrideRow(os.urandom(16), now_ms - 1, now_ms + 3_600_000, member(priya))
    row = RotaRow(held.row.label, held.row.created_ms, overrides=(cover,))
    await scene.city.node.write([Item(scene.agency.id, now_ms, (change(held, row),))])

    async def holder() -> MemberId | None:
        people = await scene.city.node.staff.of(scene.agency.id)
        steps = (StepRow((rota,)),)
        holders = await scene.city.node.consults.worlds.holders(scene.agency.id, steps, now_ms, people)
        return holders[rota]

    assert await holder() == member(priya)
    await scene.agency.admin.ask("change_member", r.MemberChange(1, ended=True), id=priya.member)
    assert await holder() is None
