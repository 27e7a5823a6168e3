"""The load and its dialler against a small server of known behaviour: what they count is what was there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.bench.dial import DialFailed, WebSocketOpening, dial
from tests.bench.programs import Measured, MeasureFailed, Orders, load, mark, program, write_frames
from tests.faults.outcome import Impossible
from tests.faults.wire import masked
from tests.support.services import HOST

MESSAGES = 40


class Broadcast:
    """Passes on what a publisher sends to every reader, but for those messages it is told to swallow."""

    def __init__(self, swallow: int = 0) -> None:
        self.readers: set[ServerConnection] = set()
        self.left = swallow

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        reads = connection.request.path == "/sub"
        if reads:
            self.readers.add(connection)
        async for message in connection:
            if self.left:
                self.left -= 1
                continue
            for reader in self.readers:
                await reader.send(message)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    try:
        program("load")
    except Impossible as problem:
        pytest.skip(str(problem))


def run_load(port: int, folder: Path, *, readers: int, stalled: int = 0) -> Measured:
    frames = write_frames([masked(mark(7 + n).ljust(200, b"x")) for n in range(MESSAGES)], folder)
    opened = dial(port, [WebSocketOpening("/sub") for _ in range(readers)])
    publisher = dial(port, [WebSocketOpening("/pub")])
    try:
        return load(
            Orders(
                pid=os.getpid(),
                frames=frames,
                publishers=publisher.descriptors,
                readers=opened.descriptors,
                window=4,
                warm_s=0.0,
                measure_s=10.0,
                first=7,
                stalled=stalled,
            )
        )
    finally:
        opened.close()
        publisher.close()


async def test_every_delivery_is_counted_once(tmp_path: Path) -> None:
    async with serve(Broadcast().serve, HOST, 0) as server:
        port = int(next(iter(server.sockets)).getsockname()[1])
        seen = await asyncio.to_thread(run_load, port, tmp_path, readers=3)
    assert (seen.published, seen.deliveries, seen.missing, seen.used) == (MESSAGES, 3 * MESSAGES, 0, MESSAGES)
    assert seen.elapsed_s < 10, "it ends when the frames do"
    assert 0 < seen.read_p50_us <= seen.read_p99_us


async def test_stalled_readers_are_not_waited_for(tmp_path: Path) -> None:
    async with serve(Broadcast().serve, HOST, 0) as server:
        port = int(next(iter(server.sockets)).getsockname()[1])
        seen = await asyncio.to_thread(run_load, port, tmp_path, readers=3, stalled=1)
    assert (seen.deliveries, seen.missing) == (2 * MESSAGES, 0)


async def test_what_never_came_is_told(tmp_path: Path) -> None:
    async with serve(Broadcast(swallow=1).serve, HOST, 0) as server:
        port = int(next(iter(server.sockets)).getsockname()[1])
        orders = await asyncio.to_thread(run_load_briefly, port, tmp_path)
    assert orders.missing == 1


def run_load_briefly(port: int, folder: Path) -> Measured:
    frames = write_frames([masked(mark(n)) for n in range(3)], folder)
    reader, publisher = dial(port, [WebSocketOpening("/sub")]), dial(port, [WebSocketOpening("/pub")])
    try:
        return load(
            Orders(
                pid=os.getpid(),
                frames=frames,
                publishers=publisher.descriptors,
                readers=reader.descriptors,
                window=3,
                warm_s=0.0,
                measure_s=0.2,
            )
        )
    finally:
        reader.close()
        publisher.close()


async def test_a_closed_connection_ends_the_run(tmp_path: Path) -> None:
    async def close(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with serve(close, HOST, 0) as server:
        port = int(next(iter(server.sockets)).getsockname()[1])
        with pytest.raises(MeasureFailed, match=r"closed a connection|reset|pipe"):
            await asyncio.to_thread(run_load_briefly, port, tmp_path)


async def test_a_refused_upgrade_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        port = int(server.sockets[0].getsockname()[1])
        with pytest.raises(DialFailed, match=r"no upgrade: b'HTTP/1.1 403"):
            await asyncio.to_thread(dial, port, [WebSocketOpening("/sub")])
