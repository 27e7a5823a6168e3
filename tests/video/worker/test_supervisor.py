"""Real workers in processes of their own: started, spoken with over the nodes' port, killed, hung, drained."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.signalling import Part
from leeside_server.adapters.clock import SystemClock
from leeside_server.adapters.memory_bridges import MemoryBridges
from leeside_server.core.video import ADMITS, NEVER_RESTRICTED, Heard, Spoken, Ticket, WordSeal
from leeside_server.ports import Placement
from leeside_server.video import supervisor as supervising
from leeside_server.video.settings import VideoSettings
from leeside_server.video.supervisor import Supervisor
from leeside_server.video.worker import OOM_SCORE
from tests.support.patience import PATIENCE_S
from tests.support.services import free_ports
from tests.video.worker.light_client import LightClient
from tests.video.worker.world import FAR_MS, Client, until

pytestmark = pytest.mark.slow

ROOM = b"r" * 16
NODE = b"n" * 8
ANA = b"a" * 16
BEN = b"b" * 16
EVE = b"e" * 16


class Node:
    """What a node does for its clients: asks where the room is at each join, and moves them when a worker is gone."""

    def __init__(self, bridges: MemoryBridges, seal: WordSeal) -> None:
        self.bridges = bridges
        self.seal = seal
        self.clock = SystemClock()
        self.placement: Placement | None = None
        self.clients: dict[bytes, Client] = {}
        self.everyone: list[LightClient] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.gone = 0

    def heard(self, data: bytes) -> None:
        word = self.seal.open(NODE, data, self.clock.now_ms())
        assert isinstance(word, Heard)
        if self.placement is not None and word.epoch < self.placement.epoch:
            return
        client = self.clients.get(word.device)
        if client is not None:
            client.hear(word.body)

    def worker_gone(self, _worker: bytes) -> None:
        self.gone += 1
        for client in list(self.clients.values()):
            client.hear(s.encode_signal(s.Migrate(client.generation)))

    def client(self, device: bytes, part: Part = Part.RESPONDER, **more: Any) -> LightClient:
        client = LightClient(self.speaker(device, part), **more)
        self.clients[device] = client
        self.everyone.append(client)
        return client

    def speaker(self, device: bytes, part: Part = Part.RESPONDER) -> Callable[[s.ClientSignal], None]:
        """Hands this device's signals to the worker that has the room."""
        ticket = Ticket(ROOM, DeviceId(device), part, part in ADMITS, part in NEVER_RESTRICTED, NODE, FAR_MS)

        def say(said: s.ClientSignal) -> None:
            task = asyncio.ensure_future(self._say(ticket, said))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        return say

    async def _say(self, ticket: Ticket, said: s.ClientSignal) -> None:
        if isinstance(said, s.Join):
            self.placement = await self.bridges.place(ROOM)
        assert self.placement is not None
        word = Spoken(self.placement.epoch, ticket, s.encode_signal(said))
        worker = self.placement.worker
        await self.bridges.say(worker, self.seal.seal(worker, word, self.clock.now_ms()))

    async def joined(self, device: bytes, part: Part = Part.RESPONDER, **more: Any) -> LightClient:
        client = self.client(device, part, **more)
        client.join()
        async with asyncio.timeout(PATIENCE_S):
            await client.secured.wait()
        return client


@asynccontextmanager
async def supervised(workers: int = 1, port: int = 0) -> AsyncGenerator[tuple[Supervisor, Node]]:
    clock = SystemClock()
    bridges = MemoryBridges(clock)
    seal = WordSeal(bytes(32), secrets.token_bytes)
    node = Node(bridges, seal)
    await bridges.start(node.worker_gone)
    await bridges.listen(NODE, node.heard)
    supervisor = Supervisor(VideoSettings(port=port, workers=workers), bridges, seal, clock)
    running = asyncio.ensure_future(supervisor.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await supervisor.ready()
        yield supervisor, node
    finally:
        for client in node.everyone:
            await client.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def talk(one: LightClient, other: LightClient) -> None:
    """Until each has heard the other."""
    before = len(one.got), len(other.got)
    async with asyncio.timeout(PATIENCE_S):
        while len(one.got) <= before[0] or len(other.got) <= before[1]:
            one.sound()
            other.sound()
            await asyncio.sleep(0.02)


async def test_a_worker_in_its_own_process_carries_a_call() -> None:
    async with supervised() as (supervisor, node):
        ana, ben = await node.joined(ANA), await node.joined(BEN, Part.PSYCHIATRIST, ssrc=41)
        await talk(ana, ben)
        (post,) = supervisor.posts
        assert post.pid != os.getpid()
        assert set(post.rooms) == {ROOM}
        if sys.platform == "linux":
            # When memory ends it goes first.
            assert oom_score(post.pid) == OOM_SCORE
    # Its end is the supervisor's own doing.
    assert supervisor.figures.crashes == 0


async def test_a_killed_worker_is_replaced_and_its_people_come_back() -> None:
    async with supervised() as (supervisor, node):
        ana, ben = await node.joined(ANA), await node.joined(BEN, Part.PSYCHIATRIST, ssrc=41)
        eve = node.client(EVE, Part.INTERPRETER, ssrc=61)
        eve.join()
        await until(lambda: bool(ana.told(s.Waiting)))
        ben.say(s.Admit(ben.generation, DeviceId(EVE)))
        await until(lambda: bool(eve.told(s.Offer)))
        ben.say(s.Restrict(ben.generation, restricted=True))
        await until(lambda: bool(ana.told(s.Restricted)))
        await talk(ana, ben)
        (post,) = supervisor.posts
        assert post.pid is not None
        os.kill(post.pid, signal.SIGKILL)
        await until(lambda: bool(ana.told(s.Migrate) and ben.told(s.Migrate)))
        await until(lambda: bool(post.worker))
        again = [
            await node.joined(ANA, generation=2),
            await node.joined(BEN, Part.PSYCHIATRIST, ssrc=41, generation=2),
        ]
        await talk(*again)
        eve = node.client(EVE, Part.INTERPRETER, ssrc=61, generation=2)
        eve.join()
        await until(lambda: bool(eve.told(s.Offer)))
        (welcome,) = eve.told(s.Welcome)
        assert not welcome.waiting
        assert welcome.restricted
        assert supervisor.figures.crashes == 1


async def test_a_worker_that_hangs_is_ended_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "SILENT_S", 2.5)
    async with supervised() as (supervisor, node):
        (post,) = supervisor.posts
        first = post.worker
        assert post.pid is not None
        os.kill(post.pid, signal.SIGSTOP)
        await until(lambda: node.gone == 1, 30)
        await until(lambda: post.worker not in {b"", first}, 30)
        ana, ben = await node.joined(ANA), await node.joined(BEN, ssrc=41)
        await talk(ana, ben)


async def test_workers_that_cannot_start_are_tried_ever_more_slowly_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else has the port of one post: the other's calls are none the worse, and it comes back by itself."""
    monkeypatch.setattr(supervising, "BACK_OFF_S", (0.0, 0.01, 0.02))
    first = free_ports(2, socket.SOCK_DGRAM)
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", first))
    clock = SystemClock()
    seal = WordSeal(bytes(32), secrets.token_bytes)
    supervisor = Supervisor(VideoSettings(port=first, workers=2), MemoryBridges(clock), seal, clock)
    running = asyncio.ensure_future(supervisor.run())
    try:
        async with asyncio.timeout(120):
            await supervisor.ready(every=False)
        await until(lambda: supervisor.standing.failing == 1 and supervisor.standing.living == 1, 120)
        assert supervisor.standing.wanted == 2
        crashes = supervisor.figures.crashes
        taken.close()
        await until(lambda: supervisor.standing.living == 2, 120)
        # Nobody was ever in a call there: that is told as failing, and not as a crash.
        assert (crashes, supervisor.figures.crashes) == (0, 0)
    finally:
        taken.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_machine_without_room_for_a_spare_loses_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "LOOK_S", 0.05)
    really = asyncio.create_subprocess_exec
    refusals = 0
    full = False

    async def started(*words: str, **more: Any) -> asyncio.subprocess.Process:
        nonlocal refusals
        if full:
            refusals += 1
            raise BlockingIOError("no more processes")
        return await really(*words, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    async with supervised() as (supervisor, node):
        ana, ben = await node.joined(ANA), await node.joined(BEN, ssrc=41)
        full = True
        (post,) = supervisor.posts
        worker = post.worker
        # The one spare is taken as the worker's place, and no other can be started.
        assert post.pid is not None
        os.kill(post.pid, signal.SIGKILL)
        await until(lambda: post.worker not in {b"", worker} and refusals >= 3, 120)
        ana, ben = await node.joined(ANA, generation=2), await node.joined(BEN, ssrc=41, generation=2)
        await talk(ana, ben)
        full = False
        worker = post.worker
        assert post.pid is not None
        os.kill(post.pid, signal.SIGKILL)
        await until(lambda: post.worker not in {b"", worker}, 120)


async def test_a_drained_worker_lets_its_people_go_to_another_before_it_ends() -> None:
    async with supervised(workers=2) as (supervisor, node):
        ana, ben = await node.joined(ANA), await node.joined(BEN, ssrc=41)
        await talk(ana, ben)
        (full,) = [post for post in supervisor.posts if post.rooms]
        worker = full.worker
        await supervisor.let_go(full)
        await until(lambda: bool(ana.told(s.Migrate) and ben.told(s.Migrate)))
        # Both go on where they were until both are elsewhere: media first, goodbye after.
        await talk(ana, ben)
        again = [await node.joined(ANA, generation=2), await node.joined(BEN, ssrc=41, generation=2)]
        await talk(*again)
        await talk(ana, ben)
        for client in (ana, ben):
            await client.close()
        await until(lambda: full.worker not in {b"", worker}, 30)
        await talk(*again)
        assert supervisor.figures.crashes == 0


async def test_words_of_strangers_reach_no_worker() -> None:
    async with supervised() as (supervisor, node):
        (post,) = supervisor.posts
        foreign = WordSeal(b"\x01" * 32, secrets.token_bytes)
        word = Spoken(1, Ticket(ROOM, DeviceId(ANA), Part.RESPONDER, True, True, NODE, FAR_MS), b"")
        now_ms = node.clock.now_ms()
        for data in (
            b"",
            b"\x00" * 40,
            foreign.seal(post.worker, word, now_ms),
            node.seal.seal(NODE, word, now_ms),
        ):
            await node.bridges.say(post.worker, data)
        assert supervisor.figures.words_refused == 4
        await until(lambda: post.load is not None)
        assert post.rooms == {}


async def test_workers_stand_on_ports_in_a_row() -> None:
    first = free_ports(2, socket.SOCK_DGRAM)
    async with supervised(workers=2, port=first) as (supervisor, _):
        assert [post.udp_port for post in supervisor.posts] == [first, first + 1]


async def test_what_workers_counted_stands_in_the_servers_metrics_also_when_they_end() -> None:
    registry = CollectorRegistry()
    async with supervised() as (supervisor, node):
        registry.register(supervisor.figures)
        await node.joined(ANA)
        (post,) = supervisor.posts
        await until(lambda: registry.get_sample_value("leeside_video_joins_total") == 1)
        assert registry.get_sample_value("leeside_video_peers") == 1
        assert post.pid is not None
        os.kill(post.pid, signal.SIGKILL)
        await until(lambda: registry.get_sample_value("leeside_video_worker_crashes_total") == 1)
        assert registry.get_sample_value("leeside_video_joins_total") == 1
        assert registry.get_sample_value("leeside_video_dropped_total", {"why": "faulty"}) == 0


def oom_score(pid: int | None) -> int:
    """How gladly the kernel ends this process when memory ends."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
