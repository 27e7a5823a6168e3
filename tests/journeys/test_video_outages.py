"""Calls on two nodes while what joins the nodes is away, and when one of them ends: media never came that way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import httpx
import pytest

from leeside.media import Call, Pattern
from leeside_protocol.ids import DeviceId
from tests.faults.node import Node, VideoBy
from tests.journeys.test_video import CALL_S, talking
from tests.support.services import PostgresServer
from tests.support.stage import Stage, two_nodes
from tests.support.town import Town, open_town, texts, until

pytestmark = [pytest.mark.slow, pytest.mark.services]

SOUNDS = 50
"""A second of somebody."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Generator[Stage]:
    """Two nodes, with a bridge each."""
    with two_nodes(tmp_path_factory.mktemp("pair"), postgres_server, VideoBy()) as stage:
        yield stage


@pytest.fixture
async def town(pair: Stage, tmp_path: Path) -> AsyncGenerator[Town]:
    await pair.ready()
    node = pair.node(0)
    async with open_town(node.url, node.codes, tmp_path / "people") as found:
        yield found


async def goes_on(call: Call, other: DeviceId) -> None:
    """More of their sound is opened, from now on. Pictures may pause on a machine that is busy; sound never does."""
    seen = call.seen.get(other)
    before = 0 if seen is None else seen.sounds_decoded

    def heard(one: Call) -> bool:
        now = one.seen.get(other)
        count = 0 if now is None else now.sounds_decoded
        # Counted anew when they joined anew.
        return count > before + SOUNDS or SOUNDS < count < before

    await call.wait_for(heard, CALL_S)


async def holder(stage: Stage) -> Node:
    """The node whose worker has the two, once those of before have left."""
    async with asyncio.timeout(CALL_S), httpx.AsyncClient() as http:
        while True:
            peers = [await _peers(http, node) for node in stage.nodes]
            if sorted(peers) == [0, 2]:
                return stage.nodes[peers.index(2)]
            await asyncio.sleep(0.1)


async def _peers(http: httpx.AsyncClient, node: Node) -> float:
    told = (await http.get(f"{node.url}/metrics")).text
    line = next(line for line in told.splitlines() if line.startswith("leeside_video_peers "))
    return float(line.split()[1])


async def test_a_call_and_its_messages_go_on_while_redis_is_frozen(pair: Stage, town: Town) -> None:
    async with talking(pair, town) as (scene, near, far):
        ana, priya = scene.ana.device, scene.priya.device
        await goes_on(near, priya)
        await goes_on(far, ana)
        with pair.frozen_bus():
            for _ in range(3):
                await goes_on(near, priya)
                await goes_on(far, ana)
            await scene.phone.send(scene.channel, "the bus is away")
            await until(lambda: "the bus is away" in texts(scene.laptop, scene.channel), "it came by polling")
        # And who comes now meets them, over whichever node.
        for number in (0, 1):
            async with (
                scene.ben.open(pair.url(number)) as tablet,
                Call.join(tablet, scene.consult, source=Pattern()) as third,
            ):
                await goes_on(third, priya)


async def test_people_meet_again_when_the_node_of_their_room_ends(pair: Stage, town: Town) -> None:
    async with talking(pair, town) as (scene, near, far):
        ana, priya = scene.ana.device, scene.priya.device
        await goes_on(near, priya)
        await goes_on(far, ana)
        node = await holder(pair)
        await node.kill()
        await node.start()
        await goes_on(near, priya)
        await goes_on(far, ana)
