"""SIGTERM under traffic, to a real process: what was acknowledged stands, clients are told to move on, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from leeside_protocol.errors import CloseCode, WireError
from leeside_protocol.ids import AgencyId
from leeside_protocol.messages import Accepted, Refused, Welcome
from leeside_server.adapters.sqlite import SqliteStore
from tests.relay.test_server_cli import Server
from tests.relay.world import SECRET, Client, Phone, Room, World, dial, say_hello, world
from tests.support.patience import PATIENCE_S

AGENCY = AgencyId(b"A" * 16)
CLIENTS = 4
WINDOW = 16
ENOUGH = 100
"""Acknowledged messages before the signal."""
ALL = 100_000


class Traffic:
    """What several clients published, and what they were told."""

    def __init__(self) -> None:
        self.accepted: dict[bytes, int] = {}
        self.sent: set[bytes] = set()
        self.refused: set[int] = set()
        self.codes: list[int | None] = []
        self.enough = asyncio.Event()

    async def keep_up(self, client: Client, room: Room) -> None:
        """Publish without a pause, `WINDOW` at a time, until the socket ends."""
        names: dict[int, bytes] = {}
        with contextlib.suppress(ConnectionClosed):
            while True:
                while len(names) < WINDOW:
                    name = len(self.sent).to_bytes(16, "big")
                    self.sent.add(name)
                    names[await client.publish(room, b"traffic", name)] = name
                message = await client.receive()
                if isinstance(message, Accepted):
                    assert message.repeat == 0
                    self.accepted[names.pop(message.req)] = message.offset
                elif isinstance(message, Refused):
                    self.refused.add(message.error)
                    names.pop(message.req)
                if len(self.accepted) >= ENOUGH:
                    self.enough.set()
        self.codes.append(client.socket.close_code)


def folder_with_secret(folder: Path) -> Path:
    """Where the server finds the secret that this process mints tokens with."""
    folder.mkdir()
    secret = folder / "server-secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    return folder


async def prepared(folder: Path) -> tuple[World, Room, list[tuple[Phone, str]]]:
    """An agency in a server's data folder, written by a node of this process; devices and their tokens."""
    store = await SqliteStore.open(folder / "leeside.db")
    async with world(folder, store=store) as w:
        phones = [await w.phone(AGENCY) for _ in range(CLIENTS)]
        room = await w.room(*phones)
        tokens = [w.token(phone) for phone in phones]
    await store.close()
    return w, room, list(zip(phones, tokens, strict=True))


@pytest.mark.slow
async def test_sigterm_under_traffic_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    w, room, phones = await prepared(folder_with_secret(tmp_path / "leeside-data"))
    traffic = Traffic()
    server = Server(tmp_path)
    try:
        port = await asyncio.to_thread(server.port)
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for phone, token in phones:
                client = Client(await stack.enter_async_context(dial(port)), phone)
                await say_hello(w, client, token=token)
                await client.expect(Welcome)
                await client.subscribe(room.content)
                group.create_task(traffic.keep_up(client, room))
            async with asyncio.timeout(PATIENCE_S):
                await traffic.enough.wait()
            assert await asyncio.to_thread(server.end, signal.SIGTERM) == 0
    finally:
        server.process.kill()
    assert traffic.codes == [CloseCode.RESTART] * CLIENTS
    assert traffic.refused <= {WireError.UNAVAILABLE}
    store = await SqliteStore.open(tmp_path / "leeside-data" / "leeside.db")
    standing: dict[bytes, int] = {}
    after = 0
    while (page := await store.read(AGENCY, room.content, after, ALL, 1 << 30)).entries:
        standing.update({bytes(entry.id): entry.offset for entry in page.entries})
        after = page.to
    await store.close()
    assert sorted(standing.values()) == list(range(1, after + 1))
    assert standing.keys() <= traffic.sent
    assert {name: standing.get(name) for name in traffic.accepted} == traffic.accepted
