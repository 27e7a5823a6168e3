"""The hostile part of the fault `video`: strangers and a member with keys do what they can to the bridge's worker, and others
who are in calls must not notice.

Strangers flood from a process of their own. Mallory is in a call like everybody: whoever has a ticket has keys of a transport,
and may say anything in it. Each attack is judged by itself: what the others heard and how late, what the worker and the node
hold afterwards, and that the attack was really refused.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leeside_protocol.ids import DeviceId
from leeside_protocol.video.formats import OPUS
from leeside_server.core.video import turn_server
from tests.faults.call_checks import CallBook, Held, delays_s, disturbed, grown, shares
from tests.faults.callers import Caller
from tests.faults.load import LoadFailed
from tests.faults.node import Node
from tests.faults.outcome import SHOWN_BREAKS, Findings, percentile, seconds
from tests.support.coturn import Coturn, coturn_running
from tests.support.hostile import BURST, BURST_S, LIES

DELAY_S: Final = 0.25
"""p99 of what others hear while somebody attacks: still a conversation."""
SETTLE_S: Final = 2.0
"""From the end of an attack to the look at what it left; and before the first."""
PATIENCE_S: Final = 60.0
SDP_BYTES: Final = 1_000_000
QUOTA: Final = 24
"""deploy/turn/turnserver.conf, `user-quota`."""
OVER_QUOTA: Final = 486
TURN_FLAT_BYTES: Final = 16_000_000


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a mode does. `allocations` 0: no TURN server is attacked. `share`: what others must hear at least; a short run on a
    busy machine is over before a stall of it is."""

    datagrams: int
    packets: int
    allocations: int
    share: float


@dataclass(slots=True)
class Attacked:
    """Who is attacked, and who must not notice."""

    findings: Findings
    amount: Amount
    node: Node
    held: Callable[[], Held]
    port: int
    calm: list[Caller]
    mallory: Caller
    book: CallBook


async def attack(at: Attacked) -> None:
    """Every attack, one after the other."""
    amount = at.amount
    await asyncio.sleep(SETTLE_S)
    async with _watched(at, "datagrams of strangers") as told:
        sent = await _strangers(at, amount.datagrams)
        told.append(f"{sent} sent")
    async with _watched(at, "floods of a member") as told:
        told.append(f"{await _floods(at.mallory, amount.packets)} packets")
    await _dropped(at)
    async with _watched(at, "an answer of a megabyte"):
        at.mallory.signal_raw(b"\x94\x04\x01\x01\xdb" + SDP_BYTES.to_bytes(4, "big") + b"v" * SDP_BYTES)
        await _ends(at.mallory)
    if amount.allocations:
        with coturn_running({"max-allocate-timeout": "1"}) as turn:
            before_bytes = await _warm(turn, amount.allocations)
            async with _watched(at, "TURN allocations of one person") as told:
                answers = await _allocations(turn, amount.allocations)
                told.append(", ".join(f"{count} x {code or 'granted'}" for code, count in answers.items()))
            grown_bytes = turn.memory_bytes() - before_bytes
        granted, refused = answers.get(0, 0), answers.get(OVER_QUOTA, 0)
        at.findings.judge(
            "one person is granted their share of TURN, and coturn's memory is flat",
            0 < granted <= QUOTA and refused > 0 and grown_bytes < TURN_FLAT_BYTES,
            f"{granted} granted, {refused} refused, {grown_bytes / 1e6:+.1f} MB",
        )


@asynccontextmanager
async def _watched(at: Attacked, what: str) -> AsyncGenerator[list[str]]:
    """Judge what the others hear while the block runs, and what is left after it. Fill the list with what the figures say."""
    loop = asyncio.get_running_loop()
    before, since_s = at.held(), loop.time()
    told: list[str] = []
    yield told
    until_s = loop.time()
    await asyncio.sleep(SETTLE_S)
    who = [caller.name for caller in at.calm]
    # What was said a moment ago may still be on its way.
    stretch = since_s, until_s + SETTLE_S / 2
    after = at.held()
    faults = [*disturbed(at.book, *stretch, who, at.amount.share), *grown(before, after)]
    late, heard = delays_s(at.book, *stretch, who), shares(at.book, *stretch)
    told += [
        f"others heard {min(heard[name] for name in who):.1%} at least",
        f"worker {(after.worker_bytes - before.worker_bytes) / 1e6:+.1f} MB",
        f"node {(after.node_bytes - before.node_bytes) / 1e6:+.1f} MB",
        f"in {until_s - since_s:.1f} s",
        *(fault.what for fault in faults[:SHOWN_BREAKS]),
    ]
    at.findings.judge(f"{what}: others hear each other, and nothing grows", not faults, "; ".join(told))
    at.findings.timed(
        f"{what}: what others hear is not late (p99)",
        percentile(late, 0.99),
        DELAY_S,
        f"median {seconds(percentile(late, 0.5))} of {len(late)} sounds",
    )


# ---- the attacks


async def _strangers(at: Attacked, count: int) -> int:
    """Noise, lengths that lie, and tried passwords, from another process; how many datagrams left it."""
    words = [str(at.port), str(count), str(random.getrandbits(32)), at.calm[0].ufrag]
    out = await _process("tests.support.hostile", *words)
    at.findings.injected += 1
    return int(out)


async def _floods(mallory: Caller, packets: int) -> int:
    """What is not genuine, what lies inside a proven transport, and streams beyond a peer's eight; far above 3,000 a second."""
    chance = random.Random(packets)
    for number in range(packets):
        match number % 4:
            case 0:
                mallory.say_raw(b"\x90\x6f" + secrets.token_bytes(90), protected=False)
            case 1:
                mallory.say_raw(LIES[number // 4 % len(LIES)], protected=False)
            case 2:
                mallory.say_raw(b"\x81" + bytes([200 + number % 8]) + chance.randbytes(30), protected=True)
            case _:
                ssrc = (1_000 + number).to_bytes(4, "big")
                mallory.say_raw(bytes([0x80, OPUS, 0, 1, 0, 0, 0, 1]) + ssrc + bytes(40), protected=True)
        if number % BURST == BURST - 1:
            await asyncio.sleep(BURST_S)
    return packets


async def _ends(mallory: Caller) -> None:
    """Whoever sends a frame that large is cut off. Raises `LoadFailed`."""
    deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
    while not mallory.broken:
        if asyncio.get_running_loop().time() > deadline_s:
            raise LoadFailed("a signal of a megabyte ended nothing")
        await asyncio.sleep(0.05)


async def _dropped(at: Attacked) -> None:
    """The worker says that it dropped much of it (the kernel drops the rest), and had no fault of its own."""
    deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        answer = await at.node.ask("/metrics")
        text = "" if answer is None else answer[1].decode()
        found = {
            why: float(count)
            for why, count in re.findall(
                r'^leeside_video_dropped_total\{why="(\w+)"\} (\S+)$', text, re.MULTILINE
            )
        }
        strangers = found.get("strange", 0.0) >= at.amount.datagrams / 10
        member = found.get("refused", 0.0) + found.get("flooded", 0.0) >= at.amount.packets / 20
        if (strangers and member) or asyncio.get_running_loop().time() > deadline_s:
            break
        await asyncio.sleep(0.2)
    at.findings.judge(
        "what hostile peers send is dropped, and breaks nothing of ours",
        strangers and member and found.get("faulty") == 0,
        ", ".join(f"{count:.0f} {why}" for why, count in sorted(found.items())),
    )


async def _warm(turn: Coturn, attempts: int) -> int:
    """What coturn holds once it has refused as many and forgotten them: it remembers each for a moment (here a second)."""
    await _allocations(turn, attempts)
    await asyncio.sleep(SETTLE_S)
    return turn.memory_bytes()


async def _allocations(turn: Coturn, attempts: int) -> dict[int, int]:
    """What one person's device is answered, code to count."""
    given = turn_server(
        turn.urls,
        turn.secret,
        secrets.token_bytes(16),
        DeviceId(secrets.token_bytes(16)),
        time.time_ns() // 1_000_000,
    )
    words = [turn.address[0], str(turn.address[1]), given.username, given.credential, str(attempts)]
    found: dict[str, int] = json.loads(await _process("tests.support.turn_flood", *words))
    return {int(code): count for code, count in found.items()}


async def _process(module: str, *words: str) -> str:
    """Run it to its end; what it says. Raises `LoadFailed`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise LoadFailed(f"{module} ended with {process.returncode}")
    return out.decode().strip()


def port_of(pid: int, inodes: set[str]) -> int:
    """The UDP port of this process's socket. Raises `LoadFailed`."""
    for name in ("udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in inodes:
                return int(words[1].rpartition(":")[2], 16)
    raise LoadFailed("the worker has no port")
