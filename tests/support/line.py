"""The wire between a client and a server, in the test's hands: a TCP proxy that can be cut, mended and listened to.

async with open_line(node.port) as line:
    async with ana.open(line.url) as phone: ...
    line.cut()       # no signal: what is open breaks, and nothing new gets through
    line.mend()
    line.heard()     # every byte that went through, in both directions
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from tests.support.services import HOST

_READ_BYTES: Final = 65_536


@dataclass(slots=True)
class Line:
    """One proxy on a port of its own. `cut_after_bytes`: cut by itself once so many more went towards the server."""

    target: int
    port: int = 0
    up: bool = True
    cut_after_bytes: int | None = None
    _streams: list[bytearray] = field(default_factory=list[bytearray])
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def cut(self) -> None:
        """Break every connection without a goodbye and take no new one."""
        self.up = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        """Let new connections through again."""
        self.up = True
        self.cut_after_bytes = None

    def heard(self) -> bytes:
        """All that went through, stream by stream."""
        return b"\0".join(bytes(stream) for stream in self._streams)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        if not self.up:
            writer.transport.abort()
            return
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection(HOST, self.target)
            self._writers.add(onward)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, onward, towards_server=True))
                group.create_task(self._carry(back, writer, towards_server=False))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, onward):
                if end is not None:
                    self._writers.discard(end)
                    end.close()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, towards_server: bool
    ) -> None:
        stream = bytearray()
        self._streams.append(stream)
        while data := await source.read(_READ_BYTES):
            stream += data
            if towards_server and self.cut_after_bytes is not None:
                self.cut_after_bytes -= len(data)
                if self.cut_after_bytes < 0:
                    self.cut()
                    return
            target.write(data)
            await target.drain()
        with suppress(OSError):
            target.write_eof()


@asynccontextmanager
async def open_line(target: int, port: int = 0) -> AsyncGenerator[Line]:
    """A line to a port of this machine, open until told otherwise."""
    line = Line(target)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(line.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, HOST, port)
    line.port = int(server.sockets[0].getsockname()[1])
    try:
        yield line
    finally:
        server.close()
        line.cut()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
