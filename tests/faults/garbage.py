"""garbage: frames that no client of this protocol sends, before and after signing in, beside live traffic.

Promises: memory stays flat; live messages stay quick and correct; each connection ends or is refused as it should be;
half-sent headers are given up; nobody gets a stack trace, and the log has none.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from typing import Final

from leeside_protocol.codec import decode_server, encode
from leeside_protocol.messages import Challenge, Hello, Refused, Welcome
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from tests.faults.agency import Device
from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.disk import MB
from tests.faults.installation import embedded, workplace
from tests.faults.load import LoadFailed
from tests.faults.node import Node
from tests.faults.outcome import Findings, percentile, seconds
from tests.faults.rubbish import BROKEN, FOREIGN, HALF_HEADERS, REQUESTS, into_channel
from tests.faults.scene import Load, Scene, under_load
from tests.faults.wire import Wire, connect, masked
from tests.faults.world import Room
from tests.support.services import HOST

GROWTH_BYTES: Final = 16 * MB
LIVE_LIMIT_S: Final = 0.25
ANSWER_S: Final = 20.0
HALF_SENT_S: Final = 20.0
"""The server's own deadline for a header is 10 s."""
FOREIGN_EACH: Final = 24
"""Foreign frames of one signed-in connection, before the broken one that ends it."""
SEED: Final = 20_240_917


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does."""

    load: Load
    frames: int
    before: float
    """The share of frames that is sent before signing in."""
    requests: int
    half_sent: int
    at_once: int


PLANS: Final = {
    "short": Plan(Load(10, 100, 1_000), 5_000, 0.2, 200, 50, 8),
    "full": Plan(Load(10, 100, 6_000), 100_000, 0.2, 2_000, 300, 8),
}


@dataclass(slots=True)
class Tally:
    """What was sent and what came back."""

    sent: Counter[str] = field(default_factory=Counter[str])
    ended: Counter[int] = field(default_factory=Counter[int])
    refused: Counter[int] = field(default_factory=Counter[int])
    survived: list[str] = field(default_factory=list[str])
    """Broken frames that did not end their connection in time."""
    leaked: int = 0
    """Answers with a stack trace in them."""

    def total(self) -> int:
        return self.sent.total()


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    source = random.Random(SEED)
    async with workplace() as folder, embedded(folder) as site, under_load(site, plan.load) as scene:
        await scene.baseline(findings, 5.0 if findings.full else 1.0)
        node, loop = site.first, asyncio.get_running_loop()
        half_sent = [
            await _half_send(node, HALF_HEADERS[n % len(HALF_HEADERS)]) for n in range(plan.half_sent)
        ]
        half_from_s = loop.time()
        # A tenth first, so that what is set up once (caches, the allocator's pools) does not count as growth.
        await _send_all(plan, scene, Tally(), plan.frames // 10, source)
        before, from_s, tally = node.rss_bytes(), loop.time(), Tally()
        await _send_all(plan, scene, tally, plan.frames, source)
        await _send_requests(plan, node, tally, source)
        findings.injected = tally.total()
        lags = scene.diary.lags_between(scene.diary.delivery_lags, from_s, loop.time())
        took_s = loop.time() - from_s
        open_still = await _ended(half_sent, half_from_s + HALF_SENT_S)
        grown = node.rss_bytes() - before
        await scene.quiet()
        findings.judge(
            "memory stays flat", grown <= GROWTH_BYTES, f"{grown / MB:.1f} MB (at most {GROWTH_BYTES // MB})"
        )
        findings.judge("live traffic goes on", bool(lags), f"{len(lags)} delivered meanwhile")
        findings.timed(
            "live delivery, p99",
            percentile(lags, 0.99),
            LIVE_LIMIT_S,
            f"median {seconds(percentile(lags, 0.5))}",
        )
        findings.judge(
            "a broken frame ends its connection",
            not tally.survived,
            f"{tally.total() / took_s:.0f} frames/s; ends by code {dict(sorted(tally.ended.items()))}"
            + (f"; survived: {sorted(set(tally.survived))}" if tally.survived else ""),
        )
        findings.judge(
            "a foreign frame is refused",
            bool(tally.refused) and all(code >= 200 for code in tally.refused),
            f"refusals by number {dict(sorted(tally.refused.items()))}",
        )
        findings.judge(
            "half-sent headers are given up", not open_still, f"{open_still} of {plan.half_sent} still open"
        )
        findings.judge("nobody gets a stack trace", not tally.leaked, f"{tally.leaked} answers with one")
        await conclude(findings, scene.diary, scene.clients, Minimum(100, 1_000, plan.frames))
        no_traceback(findings, site)


async def _send_all(plan: Plan, scene: Scene, tally: Tally, frames: int, source: random.Random) -> None:
    """Send that many frames over connections of their own, `at_once` at a time."""
    rooms, devices = scene.world.rooms, scene.world.devices
    goal = tally.total() + frames
    before_goal = tally.total() + int(frames * plan.before)

    async def sender(own: random.Random) -> None:
        while tally.total() < goal:
            scene.crowd.check()
            if tally.total() < before_goal:
                await _before(scene.site.first, tally, own)
            else:
                await _after(scene.site.first, own.choice(devices), own.choice(rooms), tally, own)

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.at_once):
            group.create_task(sender(random.Random(source.random())))


async def _before(node: Node, tally: Tally, source: random.Random) -> None:
    """One broken frame from somebody who has not signed in."""
    ready = asyncio.Event()

    def on_message(_data: bytes) -> None:
        ready.set()

    wire = Wire(on_message)
    await _dial(node, wire)
    try:
        await _soon(ready.wait(), "a challenge")
        await _end_by_broken(wire, tally, source, "before")
    finally:
        wire.abort()


async def _after(node: Node, device: Device, room: Room, tally: Tally, source: random.Random) -> None:
    """Foreign frames from a signed-in device, answered one by one, and a broken one that ends it."""
    welcome, answered = asyncio.Event(), asyncio.Semaphore(0)
    token = await device.session.token()

    def on_message(data: bytes) -> None:
        message = decode_server(data)
        if isinstance(message, Challenge):
            proof = device.keys.identity.sign_raw(pae(PREFIX + b"socket", message.nonce, token.encode()))
            wire.write(masked(encode(Hello(token, proof, "garbage"))))
        elif isinstance(message, Welcome):
            welcome.set()
        elif isinstance(message, Refused):
            tally.refused[message.error] += 1
            answered.release()

    wire = Wire(on_message)
    await _dial(node, wire)
    try:
        await _soon(welcome.wait(), "a welcome")
        for _ in range(FOREIGN_EACH):
            name = source.choice([*FOREIGN, "into a channel"])
            frame = into_channel(room.address, source) if name == "into a channel" else FOREIGN[name](source)
            wire.write(frame)
            tally.sent[name] += 1
            if name not in SILENT and not wire.ended.done():
                await _soon(_first(answered.acquire(), wire), f"an answer to {name}")
        await _end_by_broken(wire, tally, source, "after")
    finally:
        wire.abort()


SILENT: Final = frozenset({"unknown odd tag", "unknown kind of address"})
"""Foreign frames that need no answer."""


async def _end_by_broken(wire: Wire, tally: Tally, source: random.Random, when: str) -> None:
    name = source.choice(list(BROKEN))
    wire.write(BROKEN[name](source))
    tally.sent[name] += 1
    try:
        async with asyncio.timeout(ANSWER_S):
            tally.ended[await asyncio.shield(wire.ended)] += 1
    except TimeoutError:
        tally.survived.append(f"{name} {when} signing in")


async def _dial(node: Node, wire: Wire) -> None:
    try:
        await connect(wire, HOST, node.port, ANSWER_S)
    except (OSError, TimeoutError):
        raise LoadFailed("garbage found no server to connect to") from None


async def _soon(what: Awaitable[object], name: str) -> None:
    try:
        async with asyncio.timeout(ANSWER_S):
            await what
    except TimeoutError:
        raise LoadFailed(f"{name} did not come within {ANSWER_S:.0f} s") from None


async def _first(what: Coroutine[None, None, object], wire: Wire) -> None:
    """Wait for it, or for the end of the connection."""
    task = asyncio.ensure_future(what)
    await asyncio.wait((task, wire.ended), return_when=asyncio.FIRST_COMPLETED)
    task.cancel()


async def _send_requests(plan: Plan, node: Node, tally: Tally, source: random.Random) -> None:
    """Broken HTTP: each is answered with an error, or its connection ends."""
    for _ in range(plan.requests):
        name = source.choice(list(REQUESTS))
        tally.sent[f"request: {name}"] += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(HOST, node.port)
                writer.write(REQUESTS[name](source))
                writer.write_eof()
                answer = await reader.read(65_536)
        except (OSError, TimeoutError):
            continue
        writer.close()
        tally.leaked += b"Traceback" in answer


async def _half_send(node: Node, data: bytes) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection(HOST, node.port)
    writer.write(data)
    _kept.append(writer)
    return reader


_kept: list[asyncio.StreamWriter] = []
"""Writers of half-sent headers: one that is collected closes its connection, and nothing would be shown."""


async def _ended(readers: list[asyncio.StreamReader], until_s: float) -> int:
    """How many connections the server has not ended by then."""
    loop = asyncio.get_running_loop()

    async def over(reader: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(max(0.1, until_s - loop.time())):
                while await reader.read(4_096):
                    pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    open_still = sum(not ended for ended in await asyncio.gather(*(over(r) for r in readers)))
    while _kept:
        _kept.pop().close()
    return open_still
