"""Twenty accept at the same moment, over two nodes of which one may die: what each was answered, and what that proves.

Requests are made beforehand and lie ready on open connections, so that they leave within a few milliseconds. Who gets no
answer asks again, on whichever node is there, as a claim of its own; and once all know, all ask once more: a retry of the
winner must get the same answer. The whole is given to the linearizability checker (`tests/faults/linear.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from tests.faults.history import Broken
from tests.faults.installation import Installation
from tests.faults.linear import Answer, Claim, Operation, Read, linearizable, winners
from tests.faults.load import LoadFailed
from tests.faults.node import Node
from tests.faults.staff import Person
from tests.support.services import HOST

ANSWER_S: Final = 4.0
"""How long an answer is waited for; a node that was killed cuts the connection at once."""
PERSIST_S: Final = 40.0
PAUSE_S: Final = 0.1
KILL_S: Final = 0.2
"""Within this time after the first request a node is killed, if at no other moment: in the write that decides, or behind."""
READERS: Final = 3
LINEAR, SAME = "G5 accepting is linearizable", "G5 the winner's retry gets the same answer"
_ACCEPT: Final = b'{"kind":"accept"}'


class Moment(Enum):
    """When a node is killed. The first leaves claims without an answer on every machine, however quick it is."""

    SENT = "all requests are on their way"
    FIRST_ANSWER = "somebody knows who won"
    ANY = "a random one"


class Won(NamedTuple):
    """What a winner is told: always the same."""

    member: str | None
    device: str | None
    at_ms: int


@dataclass(slots=True)
class Race:
    """One race, written down. Seconds of the monotonic clock."""

    history: list[Operation] = field(default_factory=list[Operation])
    won: set[Won] = field(default_factory=set[Won])
    spread_s: float = 0.0
    unanswered: int = 0
    strange: Counter[str] = field(default_factory=Counter[str])
    """Answers that are neither: none may come."""
    first_answer: asyncio.Event = field(default_factory=asyncio.Event)


def judge(race: Race) -> list[Broken]:
    """What this race proves wrong; empty when all held."""
    broken: list[Broken] = []
    found = winners(race.history)
    if not linearizable(race.history) or len(found) != 1:
        claims = [op for op in race.history if isinstance(op, Claim)]
        told = Counter(op.answer.value for op in claims)
        broken.append(Broken(LINEAR, f"{len(found)} winners; answers: {dict(told)}"))
    if len(race.won) > 1:
        broken.append(Broken(SAME, f"{len(race.won)} different answers"))
    if race.strange:
        broken.append(Broken(LINEAR, f"answers that are neither: {dict(race.strange)}"))
    return broken


async def race(
    site: Installation,
    consult: bytes,
    people: Sequence[Person],
    chance: random.Random,
    harm: Callable[[], Awaitable[None]] | None = None,
    moment: Moment = Moment.ANY,
) -> Race:
    """Let them all accept at once, half of them on each node. `harm` is done at `moment`, while they are under way.

    Raises `LoadFailed` when somebody gets no answer for `PERSIST_S`.
    """
    made = Race()
    tokens = {who.member: await who.device.session.token() for who in people}
    claims = [_request(consult, tokens[who.member], _ACCEPT) for who in people]
    nodes = [site.nodes[n % len(site.nodes)] for n in range(len(people))]
    lines = await asyncio.gather(*(_Line.open(node) for node in nodes))
    async with asyncio.TaskGroup() as group:
        called: list[float] = []
        for line, request in zip(lines, claims, strict=True):
            called.append(time.monotonic())
            line.send(request)
        made.spread_s = called[-1] - called[0]
        if harm is not None:
            group.create_task(_later(harm, made, moment, chance.uniform(0.0, KILL_S)))
        for who, request, line, called_s in zip(people, claims, lines, called, strict=True):
            group.create_task(_claim(site, made, who, request, chance, line, called_s))
        for who in people[:READERS]:
            look = _request(consult, tokens[who.member], b"")
            group.create_task(_read(site, made, look, chance))
    async with asyncio.TaskGroup() as group:
        for who, request in zip(people, claims, strict=True):
            group.create_task(_claim(site, made, who, request, chance))
    return made


async def _later(harm: Callable[[], Awaitable[None]], made: Race, moment: Moment, any_s: float) -> None:
    match moment:
        case Moment.SENT:
            pass
        case Moment.FIRST_ANSWER:
            await made.first_answer.wait()
        case Moment.ANY:
            await asyncio.sleep(any_s)
    await harm()


async def _claim(
    site: Installation,
    made: Race,
    who: Person,
    request: bytes,
    chance: random.Random,
    line: _Line | None = None,
    called_s: float = 0.0,
) -> None:
    """Claim until it is answered. The first time over a line that the request was already sent on, if there is one."""
    until_s = time.monotonic() + PERSIST_S
    while True:
        if line is None:
            called_s = time.monotonic()
            line = await _ask(chance.choice(site.nodes), request)
        answer = None if line is None else await line.answer()
        line = None
        made.first_answer.set()
        outcome = _outcome(made, answer)
        if outcome is None:
            return
        if outcome is not Answer.UNKNOWN:
            made.history.append(Claim(who.member, outcome, called_s, time.monotonic()))
            return
        made.history.append(Claim(who.member, outcome, called_s))
        made.unanswered += 1
        if time.monotonic() > until_s:
            raise LoadFailed("an acceptance got no answer")
        await asyncio.sleep(PAUSE_S * chance.random())


def _outcome(made: Race, answer: tuple[int, bytes] | None) -> Answer | None:
    """None for an answer that may not come: asking again would not help."""
    if answer is None:
        return Answer.UNKNOWN
    status, body = answer
    if status == 200:
        told = msgspec.json.decode(body, type=o.Consult)
        made.won.add(Won(told.accepted_by, told.accepted_device, told.accepted_ms))
        return Answer.WON
    refused = msgspec.json.decode(body, type=r.ErrorAnswer)
    if refused.number == WireError.ALREADY_ACCEPTED:
        return Answer.LOST
    if refused.may_retry:
        return Answer.UNKNOWN
    made.strange[refused.code] += 1
    return None


async def _read(site: Installation, made: Race, request: bytes, chance: random.Random) -> None:
    """One look, some time during the race; where none was answered there was none."""
    await asyncio.sleep(chance.uniform(0.0, 0.05))
    called_s = time.monotonic()
    line = await _ask(chance.choice(site.nodes), request)
    answer = None if line is None else await line.answer()
    if answer is not None and answer[0] == 200:
        holder = msgspec.json.decode(answer[1], type=o.Consult).accepted_by
        made.history.append(
            Read(None if holder is None else bytes.fromhex(holder), called_s, time.monotonic())
        )


async def _ask(node: Node, request: bytes) -> _Line | None:
    try:
        line = await _Line.open(node)
    except LoadFailed:
        return None
    line.send(request)
    return line


def _request(consult: bytes, token: str, body: bytes) -> bytes:
    """A whole request, as bytes: to accept, or without a body to look."""
    what = f"POST /v1/consults/{consult.hex()}/actions" if body else f"GET /v1/consults/{consult.hex()}"
    head = [
        f"{what} HTTP/1.1",
        f"Host: {HOST}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


@dataclass(slots=True)
class _Line:
    """One connection for one request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, node: Node) -> _Line:
        """Raises `LoadFailed` when the node is not there."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return cls(*await asyncio.open_connection(HOST, node.port))
        except (OSError, TimeoutError):
            raise LoadFailed("a node is not there") from None

    def send(self, request: bytes) -> None:
        self.writer.write(request)

    async def answer(self) -> tuple[int, bytes] | None:
        """Status and body; None when the connection ended before they were whole, or they did not come in time."""
        try:
            async with asyncio.timeout(ANSWER_S):
                head = await self.reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                sizes = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
                body = await (self.reader.readexactly(sizes[0]) if sizes else self.reader.read())
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return None
        finally:
            self.writer.close()
        return int(head.split(b" ", 2)[1]), body
