"""Clients that are far behind come back at once, again and again, in a process of their own, until it is told to end.

`Crowd` starts it; inside the process (`python -m tests.bench.catching_up`) every client connects, signs in and takes a
whole log from its beginning. Apart, so that whoever measures something meanwhile does not wait for this one's decoding.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from leeside_protocol.ids import ChannelAddress
from leeside_protocol.sealing.opening.keys import SigningKey
from tests.bench.dial import DialFailed, LeesideOpening, dial
from tests.bench.programs import MeasureFailed, raise_file_limit
from tests.faults.agency import Device
from tests.faults.machine import load_cores, pin

STORM_S: Final = 120.0
BEGUN_S: Final = 30.0


class Back(msgspec.Struct, frozen=True):
    """One client that comes back."""

    seed: bytes
    token: str


class Order(msgspec.Struct, frozen=True):
    """What the process is told on standard input, which stays open for as long as it is to go on."""

    port: int
    channel: bytes
    entries: int
    clients: tuple[Back, ...]


@dataclass(slots=True)
class Storms:
    """The running process; `told` once it has ended."""

    process: asyncio.subprocess.Process
    told: int = 0
    """How many storms came to their end, all of whose clients got everything."""


@asynccontextmanager
async def storms(
    port: int, channel: ChannelAddress, entries: int, devices: Sequence[Device]
) -> AsyncGenerator[Storms]:
    """Let these devices catch up for as long as the block runs. The block begins when the first storm does.

    Raises `MeasureFailed` when the process did not do what it was there for.
    """
    clients = tuple([Back(d.keys.identity.seed, await d.session.token()) for d in devices])
    order = msgspec.msgpack.encode(Order(port, channel, entries, clients))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.catching_up",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    found = Storms(process)
    try:
        process.stdin.write(len(order).to_bytes(4, "big") + order)
        await process.stdin.drain()
        async with asyncio.timeout(BEGUN_S):
            if await process.stdout.readline() != b"begun\n":
                raise MeasureFailed("the crowd that was to catch up did not begin")
        yield found
        process.stdin.close()
        async with asyncio.timeout(STORM_S):
            last = await process.stdout.read()
        if not last.strip().isdigit():
            raise MeasureFailed("the crowd that was to catch up did not get all that it was behind")
        found.told = int(last)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# ---- inside the process


def _come_back(order: Order) -> int:
    """Storm after storm, until standard input ends; how many there were."""
    keys = [SigningKey(client.seed) for client in order.clients]
    channel = ChannelAddress(order.channel)
    count = 0
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        scripts = [
            LeesideOpening(client.token, key.sign_raw, [(channel, 0, 0)])
            for client, key in zip(order.clients, keys, strict=True)
        ]
        dialled = dial(order.port, scripts, at_once=len(scripts), deadline_s=STORM_S)
        dialled.close()
        if any(script.received != order.entries for script in scripts):
            raise DialFailed("not everything came")
        count += 1
    return count


def main() -> None:
    """The process: behind everything else on its core."""
    pin(load_cores())
    os.nice(5)
    size = int.from_bytes(sys.stdin.buffer.read(4), "big")
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(size), type=Order)
    raise_file_limit(len(order.clients) + 100)
    print(_come_back(order), flush=True)


if __name__ == "__main__":
    main()
