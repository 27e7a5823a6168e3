"""People in a run of consults: they hear their pages by whichever way came through, and do what the run has them do.

A `Scene` plays consults: each has a `Play`, which says who answers what, once they have heard. All that is seen and done
goes into the run's `Book`. Nobody knows more than a person would: a psychiatrist learns of a consult from a notice, a push
or a call, and asks the server which one it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from leeside.api import ApiError
from leeside_protocol import oncall as o
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelAddress
from leeside_protocol.messages import Entry
from leeside_protocol.words import ConsultActionKind, ConsultState
from leeside_server.core.notices import Notice
from tests.faults.consult_book import Asked, Book, Did, Line, Rung, Sight, Told
from tests.faults.diary import Diary
from tests.faults.doors import Doors, Knock
from tests.faults.installation import Installation
from tests.faults.load import Client, Crowd, LoadFailed, running
from tests.faults.staff import Person, Staff

RETRY_S: Final = (0.1, 0.4)
LOOK_S: Final = 0.5
"""How often the desk looks at all active consults: so somebody is soon told when an answer was lost."""
PERSIST_S: Final = 60.0
"""How long somebody repeats what gets no answer."""
TREE: Final = b"phone tree"
"""Stands for a member where a page goes to the phone tree's number."""

Answer: TypeAlias = Literal["accept", "decline", "silence"]
Deed: TypeAlias = Literal["accept", "decline", "escalate", "take", "cancel"]
T = TypeVar("T")
_JOIN: Final = o.ConsultAction(ConsultActionKind.JOIN)
_END: Final = o.ConsultAction(ConsultActionKind.END)


@dataclass(frozen=True, slots=True)
class Play:
    """What becomes of one consult, as far as people decide it. `answers`: whoever of these hears it, does that;
    everybody else is silent. `think_s`: how long they take. The requester may escalate or cancel by themselves."""

    name: str
    answers: dict[bytes, Answer]
    think_s: tuple[float, float] = (0.2, 2.0)
    escalate_s: float = 0.0
    cancel_s: float = 0.0
    take_s: float = 0.0
    """So long after an alarm the supervisor takes it; 0: never."""


@dataclass(slots=True)
class Scene:
    """The people of a run at work."""

    site: Installation
    staff: Staff
    doors: Doors
    book: Book
    chance: random.Random
    plays: dict[bytes, Play] = field(default_factory=dict[bytes, Play])
    refused: Counter[str] = field(default_factory=Counter[str])
    unanswered: int = 0
    diary: Diary = field(default_factory=Diary)
    states: dict[bytes, ConsultState] = field(default_factory=dict[bytes, ConsultState])
    """Where the desk's screen saw each consult last."""
    _taking: set[bytes] = field(default_factory=set[bytes])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    _group: asyncio.TaskGroup | None = None
    _heard: set[tuple[bytes, bytes]] = field(default_factory=set[tuple[bytes, bytes]])
    _numbers: dict[str, Person] = field(default_factory=dict[str, Person])
    _devices: dict[str, Person] = field(default_factory=dict[str, Person])
    _trees: dict[str, bytes] = field(default_factory=dict[str, bytes])

    # ---- asking

    async def ask(
        self, by: Person, wanted: o.ConsultPost, number: str, rungs: Sequence[Rung], play: Play
    ) -> None:
        """Request a consult, again and again until it is confirmed; then do what its requester does."""
        consult = wanted.consult
        self.plays[consult] = play
        self._trees[number] = consult
        asked_s = time.time()
        await self.insist(lambda: by.api.create_consult(wanted))
        self.book.asked[consult] = Asked(asked_s, time.time(), tuple(rungs))
        if play.escalate_s:
            await asyncio.sleep(play.escalate_s)
            await self.act(by, consult, "escalate")
        if play.cancel_s:
            await asyncio.sleep(play.cancel_s)
            await self.act(by, consult, "cancel")

    async def act(self, who: Person, consult: bytes, kind: Deed) -> bool:
        """Do it until it is answered; whether it was done. A refusal is an answer too: somebody else was first. One that
        follows an attempt without an answer leaves open what became of that one."""
        called_s, tries = time.time(), 0
        action = o.ConsultAction(ConsultActionKind(kind))

        async def once() -> o.Consult:
            nonlocal tries
            tries += 1
            return await who.api.consult_action(consult, action)

        try:
            answer = await self.insist(once)
        except ApiError as refused:
            self.refused[f"{kind} {refused.code.label}"] += 1
            if refused.code is WireError.ALREADY_ACCEPTED:
                self.book.saw(consult, ConsultState.ACCEPTED, time.time())
            if tries > 1:
                self.book.deeds.append(Did(consult, who.member, kind, called_s, math.inf))
            return False
        self.book.deeds.append(Did(consult, who.member, kind, called_s, time.time()))
        self.book.saw(consult, answer.state, time.time())
        return True

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat what got no answer. Raises what was refused for good, and `LoadFailed` after `PERSIST_S`."""
        until_s = time.monotonic() + PERSIST_S
        while True:
            try:
                return await call()
            except ApiError as error:
                if not error.code.may_retry:
                    raise
                self.unanswered += 1
                if time.monotonic() > until_s:
                    raise LoadFailed(f"no answer for {PERSIST_S:.0f} s: {error}") from None
            await asyncio.sleep(self.chance.uniform(*RETRY_S))

    # ---- hearing

    def knocked(self, knock: Knock) -> None:
        """An attempt came to the push service or the gateway."""
        if knock.way == "push":
            who = self._devices[knock.door]
        elif knock.door in self._numbers:
            who = self._numbers[knock.door]
        else:
            consult = self._trees.get(knock.door)
            self._saw(knock, TREE, consult)
            return
        self._saw(knock, who.member, None)
        if knock.taken:
            self._hear(who, knock.page, None)

    def _saw(self, knock: Knock, member: bytes, consult: bytes | None) -> None:
        self.book.sights.append(Sight(knock.page, knock.way, knock.at_s, member, consult, knock.node))

    def noticed(self, client: Client, inbox: ChannelAddress, entries: tuple[Entry, ...]) -> None:
        """Notices came over a socket: `load.Taker`."""
        who = self._devices[client.device.id.hex()]
        for entry in entries:
            kind, ids = _notice(entry)
            if kind == Notice.PAGE:
                page, consult = ids
                self.book.sights.append(Sight(page, "socket", time.time(), who.member, consult))
                self._hear(who, page, consult)
            elif kind == Notice.CONSULT_ALARM:
                (consult,) = ids
                self.book.alarmed(consult, time.time())
                self._alarmed(who, consult)

    def _hear(self, who: Person, page: bytes, consult: bytes | None) -> None:
        if (who.member, page) not in self._heard:
            self._heard.add((who.member, page))
            self._spawn(self._answer(who, page, consult))

    async def _answer(self, who: Person, page: bytes, consult: bytes | None) -> None:
        consult = consult or await self._which(who, page)
        play = self.plays.get(consult or b"")
        if consult is None or play is None:
            return
        answer = play.answers.get(who.member, "silence")
        if answer == "silence":
            return
        await asyncio.sleep(self.chance.uniform(*play.think_s))
        if await self.act(who, consult, answer) and answer == "accept":
            # A refusal is no matter here: the requester may have ended it at the same moment. It is soon over: whose
            # device is gone for a minute while it goes on is searched for again.
            with contextlib.suppress(ApiError):
                await self.insist(lambda: who.api.consult_action(consult, _JOIN))
                await self.insist(lambda: who.api.consult_action(consult, _END))

    async def _which(self, who: Person, page: bytes) -> bytes | None:
        """The consult that this page is for, as its device asks the server; None when it rings no more."""
        listing = await self.insist(lambda: who.api.consults(state="active"))
        return next((bytes.fromhex(one.id) for one in listing.items if one.me.page == page.hex()), None)

    def _alarmed(self, who: Person, consult: bytes) -> None:
        play = self.plays.get(consult)
        if play is not None and play.take_s and consult not in self._taking:
            self._taking.add(consult)
            self._spawn(self._take(who, consult, play.take_s))

    async def _take(self, who: Person, consult: bytes, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.act(who, consult, "take")

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        assert self._group is not None
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- looking

    async def watch(self) -> None:
        """The desk's screen, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(ApiError):
                listing = await self.staff.supervisor.api.consults(state="active")
                for one in listing.items:
                    self.book.saw(bytes.fromhex(one.id), one.state, time.time())
                    self.states[bytes.fromhex(one.id)] = one.state

    def settled(self, consult: bytes) -> bool:
        """Nothing more is to happen with it: somebody accepted, it is over, or its alarm was heard."""
        exhausted = self.states.get(consult) is ConsultState.EXHAUSTED
        return consult in self.book.decided or (exhausted and bool(self.book.alarms.get(consult)))

    async def tell(self) -> None:
        """Write down how the server tells every consult now."""
        for consult in self.book.asked:
            self.book.told[consult] = told(await self._consult(consult))
        for who in (*self.staff.psychiatrists, self.staff.supervisor):
            await self._read_inbox(who)
        self.book.ended_s = time.time()

    async def _read_inbox(self, who: Person) -> None:
        """Every page that this member was ever sent stands there."""
        after = 0
        while True:
            batch = await self.insist(partial(who.api.log, who.inbox, after))
            for entry in batch.entries:
                kind, ids = _notice(entry)
                if kind == Notice.PAGE:
                    self.book.notices.append((ids[0], ids[1], who.member))
            if batch.to <= after:
                return
            after = batch.to

    async def _consult(self, consult: bytes) -> o.Consult:
        return await self.insist(lambda: self.staff.supervisor.api.consult(consult))

    @asynccontextmanager
    async def playing(self) -> AsyncGenerator[Crowd]:
        """Everybody is at work inside the block."""
        self.doors.on_knock = self.knocked
        for who in (*self.staff.psychiatrists, self.staff.supervisor):
            self._devices[who.device.id.hex()] = who
            self._numbers[who.number] = who
        listening = [
            Client(
                who.device,
                self.site.nodes[n % len(self.site.nodes)].port,
                [who.inbox],
                self.diary,
                self.noticed,
            )
            for n, who in enumerate((self.staff.supervisor, *self.staff.psychiatrists))
            # Some have their screen off, and are reached by push and telephone alone.
            if n % 3 == 0
        ]
        async with asyncio.TaskGroup() as group, running(listening, self.diary) as crowd:
            self._group = group
            await crowd.all_live()
            watching = group.create_task(self.watch())
            try:
                yield crowd
            finally:
                self.doors.on_knock = _ignore
                watching.cancel()
                for task in self._tasks:
                    task.cancel()


def _ignore(knock: Knock) -> None:
    """Nobody is at home any more."""


def told(consult: o.Consult) -> Told:
    """A consult as the server tells it, for the checker."""
    return Told(
        consult.state,
        None if consult.accepted_by is None else bytes.fromhex(consult.accepted_by),
        tuple(
            Line(
                line.at_ms / 1000,
                line.event,
                line.step,
                None if line.member is None else bytes.fromhex(line.member),
            )
            for line in consult.tried
        ),
        tuple(
            (bytes.fromhex(target.member), bytes.fromhex(target.page))
            for target in consult.targets
            if target.page is not None
        ),
    )


def _notice(entry: Entry) -> tuple[int, tuple[bytes, ...]]:
    """Its kind and its ids; kind 0 where only a hash is left."""
    if not entry.payload:
        return 0, ()
    kind, *ids = msgspec.msgpack.decode(entry.payload, type=tuple[int | bytes, ...])
    if not isinstance(kind, int) or not all(isinstance(one, bytes) for one in ids):
        raise LoadFailed("a notice of another form")
    return kind, tuple(bytes(one) for one in ids)
