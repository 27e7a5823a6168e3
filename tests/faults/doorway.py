"""The process behind `doors`: takes what is brought, notes when and by whom, and fails and hangs as it is told.

A process of its own, ahead of the load on its core, so that a run which is busy with itself does not look at its doors late
and take a server for late. It opens nothing: what was brought goes to the run as it came.

Standard input: an `Order`, behind its length in four bytes; then nothing, until it is to end. Standard output: the port as a line;
then a `Brought` for each attempt, behind its length.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

from tests.faults.machine import load_cores, pin
from tests.support.services import HOST

BODY_BYTES: Final = 8_192
LENGTH: Final = 4


class Moods(msgspec.Struct, frozen=True):
    """Which share of attempts fails, by a refusal that may be retried or a connection cut, and which one hangs."""

    failing: float = 0.0
    hanging: float = 0.0


class Order(msgspec.Struct, frozen=True):
    """How it goes at which path: the longest that fits counts."""

    seed: int
    moods: dict[str, Moods]


class Brought(msgspec.Struct, frozen=True):
    """One attempt: when it began (Unix time), by whose authority, and what became of it: `taken`, `failed` or `hung`."""

    path: str
    authorization: str
    body: bytes
    at_s: float
    fate: str


@dataclass(slots=True)
class Doorway:
    """The running stub."""

    order: Order
    chance: random.Random
    _serving: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection came. Its first attempt began with it: others that came with it are read before, one after another."""
        task = asyncio.create_task(self._serve(reader, writer, time.time()))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, came_s: float | None
    ) -> None:
        try:
            while await self._serve_one(reader, writer, came_s):
                came_s = None
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, came_s: float | None
    ) -> bool:
        """One request; False: the connection is to be cut."""
        first = await reader.readuntil(b"\r\n")
        at_s = came_s or time.time()
        headers: dict[bytes, str] = {}
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.decode("latin-1").strip()
        body = await reader.readexactly(min(int(headers.get(b"content-length", "0")), BODY_BYTES))
        path = first.split(b" ")[1].decode("ascii")
        moods = next((self.order.moods[known] for known in self._known() if path.startswith(known)), Moods())
        luck = self.chance.random()
        fate = (
            "failed" if luck < moods.failing else "hung" if luck < moods.failing + moods.hanging else "taken"
        )
        _tell(msgspec.msgpack.encode(Brought(path, headers.get(b"authorization", ""), body, at_s, fate)))
        if fate == "hung":
            # Until the other side gives it up.
            await reader.read(1)
            return False
        if luck < moods.failing / 2:
            return False
        status = HTTPStatus.ACCEPTED if fate == "taken" else HTTPStatus.SERVICE_UNAVAILABLE
        words = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: 0\r\n\r\n"
        writer.write(words.encode("ascii"))
        return True

    def _known(self) -> list[str]:
        return sorted(self.order.moods, key=len, reverse=True)


def _tell(record: bytes) -> None:
    sys.stdout.buffer.write(len(record).to_bytes(LENGTH, "big") + record)
    sys.stdout.buffer.flush()


async def _stand() -> None:
    source = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(source), sys.stdin
    )
    size = int.from_bytes(await source.readexactly(LENGTH), "big")
    order = msgspec.msgpack.decode(await source.readexactly(size), type=Order)
    server = await asyncio.start_server(Doorway(order, random.Random(order.seed)).accept, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await source.read()


def main() -> None:
    """The process: it ends with its standard input."""
    pin(load_cores())
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    asyncio.run(_stand())


if __name__ == "__main__":
    main()
