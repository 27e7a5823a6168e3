"""A bridge in the test's own process, with the real port, and the clients that speak to it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.signalling import Part
from leeside_server.core.video import ADMITS, NEVER_RESTRICTED, Spoken, Ticket
from leeside_server.video import fastways
from leeside_server.video.bridge import Bridge
from leeside_server.video.words import Configure, FromWorker, Told
from tests.support.fast_way import library
from tests.support.patience import PATIENCE_S
from tests.video.worker.light_client import LightClient

ROOM = b"r" * 16
NODE = b"n" * 8
FAR_MS = 1 << 45
FAST = True
"""Whether packets take the fast way."""


def ticket(
    device: bytes, part: Part = Part.RESPONDER, *, room: bytes = ROOM, until_ms: int = FAR_MS, **more: Any
) -> Ticket:
    return Ticket(
        room, DeviceId(device), part, part in ADMITS, part in NEVER_RESTRICTED, NODE, until_ms, **more
    )


async def until(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait until it holds; fails when it does not."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def fast() -> fastways.FastWays | None:
    """The fast way, if packets take it."""
    return fastways.load(library()) if FAST else None


class Client(Protocol):
    """Who is told what the bridge says to a device."""

    generation: int

    def hear(self, body: bytes) -> None: ...
    async def close(self) -> None: ...


class World:
    """The bridge, its words, and one client a device."""

    def __init__(self, settings: Configure, group: asyncio.TaskGroup) -> None:
        self.said: list[FromWorker] = []
        self.clients: dict[bytes, Client] = {}
        self.everyone: list[Client] = []
        self.group = group
        loop = asyncio.get_running_loop()
        self.bridge = Bridge(settings, self._hear, self._spawn, loop.call_later, loop.time, _wall_ms, fast())
        self.bridge.port.open(settings.hosts, settings.port)
        self.bridge.port.listen(loop)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.group.create_task(work)

    def _hear(self, word: FromWorker) -> None:
        self.said.append(word)
        if isinstance(word, Told) and (client := self.clients.get(word.heard.device)) is not None:
            client.hear(word.heard.body)

    def client(
        self, device: bytes, part: Part = Part.RESPONDER, *, room: bytes = ROOM, **more: Any
    ) -> LightClient:
        """A client for this device; one that it had is forgotten, and not closed."""
        allowed = ticket(device, part, room=room)
        client = LightClient(
            lambda signal: self.bridge.spoken(Spoken(1, allowed, s.encode_signal(signal))), **more
        )
        self.clients[device] = client
        self.everyone.append(client)
        return client

    async def joined(self, device: bytes, part: Part = Part.RESPONDER, **more: Any) -> LightClient:
        """A client whose media may flow."""
        client = self.client(device, part, **more)
        client.join()
        async with asyncio.timeout(PATIENCE_S):
            await client.secured.wait()
        return client


@asynccontextmanager
async def bridge(settings: Configure | None = None) -> AsyncGenerator[World]:
    """A bridge that ticks, until the block ends."""
    async with asyncio.TaskGroup() as group:
        world = World(settings or Configure(("127.0.0.1",), 0), group)

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.02)
                world.bridge.tick()

        ticking = group.create_task(tick())
        try:
            yield world
        finally:
            ticking.cancel()
            for client in world.everyone:
                await client.close()
            await world.bridge.close()
            world.bridge.port.close()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
