"""video: the bridge's worker is killed in mid-call, again and again, while messages flow through the same node.

Promises: G8 (docs/guarantees.md). Messages are acknowledged and delivered as before, no socket ends, and nothing acknowledged
is lost; everybody in a call hears the others again, soon, in their own room only. Then hostile peers attack the worker (`tests.faults.hostile`),
and people join and leave, 900 times in a full run: memory and open files stay as they are.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from leeside.api import ApiError
from leeside_protocol import oncall as o
from leeside_protocol.errors import Next, after_close
from leeside_protocol.ids import ConsultId
from leeside_protocol.words import ConsultActionKind
from tests.faults.call_checks import AGAIN, FOREIGN, LOST, CallBook, Held, back_s, check, grown
from tests.faults.callers import Caller
from tests.faults.checks import Minimum, conclude, no_traceback
from tests.faults.doors import open_doors
from tests.faults.hostile import Amount, Attacked, attack, port_of
from tests.faults.installation import Installation, one_node, workplace
from tests.faults.load import LoadFailed
from tests.faults.node import Node, NodeSettings, PagingBy, VideoBy
from tests.faults.outcome import SHOWN_BREAKS, Findings, percentile, seconds
from tests.faults.scene import Load, Scene, under_load
from tests.faults.staff import Crew, Staff, open_staff
from tests.support.services import HOST

BACK_S: Final = 1.5
"""p95, from the kill to the first sound of another."""
ACK_S: Final = 1.0
"""Messages stay live while the bridge dies (G9)."""
AFTER_S: Final = 2.0
"""So long after a kill acknowledgements are looked at apart."""
JOIN_S: Final = 60.0
PERSIST_S: Final = 30.0
WARM: Final = 20
"""People who come and go before memory is looked at: caches that the first ones fill."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a mode does. `pause_s`: between everybody being back and the next kill. A worker that ends within 30 s of its
    start counts as one that crashes again and again, and is replaced more slowly each time: a full run waits longer."""

    load: Load
    calls: int
    kills: int
    pause_s: tuple[float, float]
    hostile: Amount
    comings: int
    baseline_s: float


PLANS: Final = {
    "short": Plan(Load(30, 150, 300), 3, 3, (0.5, 1.5), Amount(5_000, 2_000, 0, 0.5), 40, 2.0),
    "full": Plan(Load(50, 60, 900), 6, 8, (31.0, 33.0), Amount(100_000, 20_000, 1_000, 0.9), 900, 5.0),
}


async def run(findings: Findings) -> None:
    """See the module."""
    plan = PLANS[findings.mode]
    async with workplace() as folder, open_doors(random.getrandbits(32)) as doors:
        settings = NodeSettings(paging_by=PagingBy(doors.gateway_url, (HOST,)), video_by=VideoBy())
        async with one_node(folder, settings) as site:
            async with (
                open_staff(site, doors, Crew(plan.calls, plan.calls)) as staff,
                under_load(site, plan.load) as scene,
            ):
                await scene.baseline(findings, plan.baseline_s)
                book = CallBook()
                async with calls(site, staff, plan.calls, book) as callers:
                    await _kill(findings, plan, site.first, scene, callers, book)
                    await _attack(findings, plan, site.first, callers, book)
                    await _come_and_go(findings, plan, site.first, callers)
                    # A token that ended closes a socket, as it should; its client comes back with another.
                    closed = scene.diary.closed.items()
                    messages = sum(n for code, n in closed if after_close(code) is not Next.SIGN_IN)
                    signals = sum(caller.broken for caller in callers)
                    told = f"{messages} of messages, {signals} of calls"
                    findings.judge("no socket ended while the bridge died", not messages + signals, told)
                await scene.quiet()
                await conclude(findings, scene.diary, scene.clients, Minimum(100, 1_000, plan.kills))
            no_traceback(findings, site)


# ---- killing


async def _kill(
    findings: Findings, plan: Plan, node: Node, scene: Scene, callers: list[Caller], book: CallBook
) -> None:
    loop = asyncio.get_running_loop()
    acks: list[float] = []
    for _ in range(plan.kills):
        await asyncio.sleep(random.uniform(*plan.pause_s))
        pid = await worker_of(node)
        before = [caller.heard_on for caller in callers]
        book.kills_s.append(loop.time())
        os.kill(pid, signal.SIGKILL)
        findings.injected += 1
        killed_s = loop.time()
        await asyncio.gather(
            *(caller.hears_anew(on, JOIN_S) for caller, on in zip(callers, before, strict=True))
        )
        await asyncio.sleep(max(0.0, killed_s + AFTER_S - loop.time()))
        acks += scene.diary.lags_between(scene.diary.ack_lags, killed_s, killed_s + AFTER_S)
    book.ended_s = loop.time()
    faults = check(book)
    for promise in (LOST, FOREIGN, AGAIN):
        found = [fault.what for fault in faults if fault.promise == promise]
        findings.judge(
            promise,
            not found,
            f"{len(found)} times: {'; '.join(found[:SHOWN_BREAKS])}"
            if found
            else f"{len(book.heard)} sounds",
        )
    back = back_s(book)
    spread = (
        f"median {seconds(percentile(back, 0.5))}, slowest {seconds(max(back, default=0.0))} of {len(back)}"
    )
    findings.timed(
        "G8 back in the call after its worker was killed (p95)", percentile(back, 0.95), BACK_S, spread
    )
    findings.minimum("returns to a call", len(back), plan.kills * len(callers))
    findings.judge(
        "G8 messages go on while the bridge dies",
        bool(acks),
        f"{len(acks)} acknowledged within 2 s of a kill",
    )
    findings.timed(
        "G8 acknowledgement within 2 s of a kill (p99)",
        percentile(acks, 0.99),
        ACK_S,
        f"median {seconds(percentile(acks, 0.5))}",
    )


async def worker_of(node: Node) -> int:
    """The process that has the bridge's port; not the spare. Raises `LoadFailed`."""
    deadline_s = asyncio.get_running_loop().time() + JOIN_S
    while asyncio.get_running_loop().time() < deadline_s:
        ports = media_sockets()
        for pid in children(node.pid):
            if ports & sockets(pid):
                return pid
        await asyncio.sleep(0.02)
    raise LoadFailed("no process of the node listens for media")


def media_sockets() -> set[str]:
    """The inodes of all UDP sockets of the machine."""
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("udp", "udp6")]
    return {line.split()[9] for table in tables for line in table.splitlines()[1:]}


def children(pid: int) -> set[int]:
    """The processes that this one started."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found.update(int(word) for word in path.read_text().split())
    return found


def sockets(pid: int) -> set[str]:
    """The inodes of a process' sockets."""
    found: set[str] = set()
    try:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            target = path.readlink().name
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        # It ended meanwhile.
        return set()
    return found


# ---- attacking


async def _attack(findings: Findings, plan: Plan, node: Node, callers: list[Caller], book: CallBook) -> None:
    """The last pair is mallory's: her room is hers to spoil, and both go with her."""
    *calm, mallory, guest = callers
    pid = await worker_of(node)
    port = port_of(pid, sockets(pid))
    held = partial(_held, pid, node.pid)
    await attack(Attacked(findings, plan.hostile, node, held, port, calm, mallory, book))
    findings.judge(
        "the worker outlives what hostile peers do", await worker_of(node) == pid, "the same process"
    )
    for gone in (mallory, guest):
        callers.remove(gone)
        await gone.stop()


# ---- coming and going


async def _come_and_go(findings: Findings, plan: Plan, node: Node, callers: list[Caller]) -> None:
    """Everybody in turn leaves and comes back, over and over, and is heard each time. What the first half makes the worker keep
    (memory that was given back to the process and not to the system) the second half must find there."""
    pid = await worker_of(node)
    held: list[Held] = []
    for number in range(WARM + plan.comings):
        if number in (WARM, WARM + plan.comings // 2):
            held.append(_held(pid, node.pid))
        # They stand in pairs: who is left hears who comes.
        at = number % len(callers)
        goes, stays = callers[at], callers[at ^ 1]
        goes.leave()
        goes.join()
        await asyncio.gather(goes.in_call(JOIN_S), stays.in_call(JOIN_S))
    # Who left is forgotten a moment later.
    await asyncio.sleep(AFTER_S)
    warm, half, last = *held, _held(pid, node.pid)
    same = await worker_of(node) == pid
    findings.judge("the worker outlives them", same, f"{plan.comings} came and went")
    told = [
        f"worker {(after.worker_bytes - before.worker_bytes) / 1e6:+.1f} MB and {after.worker_files - before.worker_files:+d} "
        f"files, node {(after.node_bytes - before.node_bytes) / 1e6:+.1f} MB and {after.node_files - before.node_files:+d} files"
        for before, after in ((warm, half), (half, last))
    ]
    faults = grown(half, last)
    findings.judge(
        "memory and open files are flat after them",
        not faults,
        "; ".join(["; then ".join(told), *(fault.what for fault in faults)]),
    )
    findings.minimum("people who came and went", plan.comings, plan.comings)


def _held(worker: int, node: int) -> Held:
    return Held(_rss_bytes(worker), _files(worker), _rss_bytes(node), _files(node))


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


# ---- putting people into calls


@asynccontextmanager
async def calls(site: Installation, staff: Staff, count: int, book: CallBook) -> AsyncGenerator[list[Caller]]:
    """Accepted consults, each with its responder and its psychiatrist in the call. They stand in pairs."""
    callers: list[Caller] = []
    try:
        for number in range(count):
            by, psychiatrist = staff.responders[number], staff.psychiatrists[number]
            step = o.LadderStep(members=(psychiatrist.member.hex(),), delay_s=60)
            ladder = await staff.ladder([step], staff.new_number())
            wanted = staff.wanted(by, ladder, [psychiatrist, staff.supervisor])
            await by.api.create_consult(wanted)
            consult = ConsultId(wanted.consult)
            await _act(staff, number, consult, ConsultActionKind.ACCEPT)
            # Who accepts and does not come is paged again, and then there is no call.
            await _act(staff, number, consult, ConsultActionKind.JOIN)
            for person in (by, psychiatrist):
                caller = Caller(person.device, site.first.port, consult, book)
                callers.append(caller)
                await caller.start()
        await asyncio.gather(*(caller.in_call(JOIN_S) for caller in callers))
        yield callers
    finally:
        await asyncio.gather(*(caller.stop() for caller in callers))


async def _act(staff: Staff, number: int, consult: ConsultId, kind: ConsultActionKind) -> None:
    """The psychiatrist does this, as soon as they may. Raises `LoadFailed`."""
    deadline_s = asyncio.get_running_loop().time() + PERSIST_S
    while True:
        try:
            await staff.psychiatrists[number].api.consult_action(consult, o.ConsultAction(kind))
        except ApiError as refused:
            if asyncio.get_running_loop().time() > deadline_s:
                raise LoadFailed(f"{kind.value} was refused: {refused.code.label}") from None
            await asyncio.sleep(0.1)
        else:
            return
