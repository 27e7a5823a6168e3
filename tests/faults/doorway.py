"""The process behind `doors`: takes what is brought, notes when and by whom, and fails and hangs as it is told.

A process of its own, ahead of the load on its core, so that a run which is busy with itself does not look at its doors late
and take a server for late. It opens nothing: what was brought goes to the run as it came.

Standard input: an `Order`, behind its length in four bytes; then process ids, a line each. Standard output: the port as a line;
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
from pathlib import Path
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
    """How it goes at which path, the longest that fits counts; and whose attempts are known from the beginning."""

    seed: int
    moods: dict[str, Moods]
    pids: tuple[int, ...] = ()


class Brought(msgspec.Struct, frozen=True):
    """One attempt: when its request began to arrive (Unix time), which process had sent it (0: it was gone already), and
    what became of it: `taken`, `failed` or `hung`."""

    path: str
    body: bytes
    at_s: float
    pid: int
    fate: str


@dataclass(slots=True)
class Doorway:
    """The running stub."""

    order: Order
    chance: random.Random
    port: int = 0
    pids: set[int] = field(default_factory=set[int])
    _serving: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection came."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid = _sender(writer.get_extra_info("peername")[1], self.port, self.pids)
        try:
            while await self._serve_one(reader, writer, pid):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int) -> bool:
        """One request; False: the connection is to be cut."""
        first = await reader.readuntil(b"\r\n")
        at_s = time.time()
        size = 0
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = min(int(value), BODY_BYTES)
        body = await reader.readexactly(size)
        path = first.split(b" ")[1].decode("ascii")
        moods = next((self.order.moods[known] for known in self._known() if path.startswith(known)), Moods())
        luck = self.chance.random()
        fate = (
            "failed" if luck < moods.failing else "hung" if luck < moods.failing + moods.hanging else "taken"
        )
        _tell(msgspec.msgpack.encode(Brought(path, body, at_s, pid, fate)))
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


def _sender(port: int, to_port: int, among: set[int]) -> int:
    """Which of these processes holds the other end of a loopback connection; 0 when none does (any more)."""
    inode = _inode(port, to_port)
    for pid in among if inode else ():
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(link.readlink()) == f"socket:[{inode}]":
                        return pid
    return 0


def _inode(port: int, to_port: int) -> str:
    """The socket from a local port to another one, as the kernel numbers it (proc_net_tcp(5)); empty when there is none."""
    wanted = (f":{port:04X}", f":{to_port:04X}")
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[1].endswith(wanted[0]) and words[2].endswith(wanted[1]):
                return words[9]
    return ""


async def _stand() -> None:
    source = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(source), sys.stdin
    )
    size = int.from_bytes(await source.readexactly(LENGTH), "big")
    order = msgspec.msgpack.decode(await source.readexactly(size), type=Order)
    doorway = Doorway(order, random.Random(order.seed), pids=set(order.pids))
    server = await asyncio.start_server(doorway.accept, HOST, 0)
    doorway.port = server.sockets[0].getsockname()[1]
    print(doorway.port, flush=True)
    while line := await source.readline():
        doorway.pids.add(int(line))


def main() -> None:
    """The process: it ends with its standard input."""
    pin(load_cores())
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    asyncio.run(_stand())


if __name__ == "__main__":
    main()
