"""A page as a row, and its life: planned, claimed, attempted way by way, answered, over (spec 08, "Paging").

Theory of operation. The row is written in the item that moved the consult, so that no page is lost between deciding and
sending. A page has one id for as long as it lives, and several ways to its member: the notice in the inbox (written in the
same item), a push to each device on duty, a text message and a call. Every way is leased by itself: whoever claims the row
writes, for each way that is due, the number of the next attempt and when its lease ends. That number is the fence. An
attempt begins only if the row, read at that very moment, is not over and still has its number; so a node that slept may
finish what it had begun and begins nothing, and where a node died another makes the next attempt, with the same id.

Pure: `now_ms` is steady time (`core/steady.py`); what people see is wall time, and its names say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from leeside_protocol.ids import DeviceId, MemberId, PageId
from leeside_protocol.limits import PUSH_BYTES
from leeside_protocol.sealing.public.encoding import digest
from leeside_protocol.words import TargetState

LEASE_MS: Final = 10_000
"""How long an attempt is its node's own. Longer than `ATTEMPT_S`, so that nobody repeats one that is on its way."""
ATTEMPT_S: Final = 8.0
RETRY_MS: Final = (2_000, 5_000, 10_000, 20_000)
"""After the first, second, third and every later failure of a way."""
REPEAT_MS: Final = 20_000
"""A push that was taken is sent again until a person saw the page: one sound wakes nobody."""
LIFE_MS: Final = 3_600_000
"""A page that nobody ended ends itself. A probe has as long: a phone may be without a network for a while."""
TEST_LIFE_MS: Final = 60_000
NO_MEMBER: Final = MemberId(bytes(16))
"""Whose page the phone tree's is."""


class PageKind(StrEnum):
    """Why a device is told."""

    CONSULT = "consult"
    TEST = "test"
    """Asked for by the device itself, at the start of a shift."""
    PROBE = "probe"
    """The server's own, daily: does a push still reach this device?"""


class Path(StrEnum):
    """A way to a person."""

    SOCKET = "socket"
    PUSH = "push"
    SMS = "sms"
    VOICE = "voice"


class Way(msgspec.Struct, frozen=True):
    """One way of a page. `device`: where a push goes. `number`: of the phone tree; empty: the member's own, read when it
    is called. `attempts` is the fence; `next_ms` when the next attempt is due, 0 for none; `at_ms` wall time."""

    path: Path
    device: bytes = b""
    number: str = ""
    state: TargetState = TargetState.QUEUED
    attempts: int = 0
    failures: int = 0
    next_ms: int = 0
    at_ms: int = 0

    @property
    def name(self) -> tuple[Path, bytes, str]:
        """What tells it from the page's other ways."""
        return self.path, self.device, self.number


class PageRow(msgspec.Struct, frozen=True):
    """A page to one member, or to the phone tree (`NO_MEMBER` and `phones`). The row's id is the page's.

    `rings` counts how often the consult asked for it, last at `asked_ms`; `planned` up to which of these its ways were
    planned; both `asked_ms` and `until_ms` are steady time. `created_ms`, `delivered_ms`, `seen_ms`, `over_ms` are wall time,
    0 for what did not come.
    """

    kind: PageKind
    member: MemberId
    created_ms: int
    asked_ms: int
    until_ms: int
    consult: bytes = b""
    step: int = 0
    device: bytes = b""
    phones: tuple[str, ...] = ()
    rings: int = 1
    planned: int = 0
    ways: tuple[Way, ...] = ()
    delivered_ms: int = 0
    seen_ms: int = 0
    over_ms: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """One attempt that a node has claimed: `number` is its fence, `ring` tells a repeat that was asked for from a retry."""

    path: Path
    device: bytes
    number: str
    fence: int
    ring: int

    @property
    def name(self) -> tuple[Path, bytes, str]:
        return self.path, self.device, self.number


class Result(StrEnum):
    """What became of an attempt."""

    TAKEN = "taken"
    LATER = "later"
    """Not now; the same may succeed later. It may also have arrived."""
    NEVER = "never"
    """It would not be taken if it were sent again."""


class Reach(msgspec.Struct, frozen=True):
    """How a member can be reached now: devices that take pushes, and whether a gateway calls their number."""

    devices: tuple[DeviceId, ...] = ()
    phone: bool = False


# ---- its life


def open_page(
    kind: PageKind,
    member: MemberId,
    *,
    now_ms: int,
    wall_ms: int,
    consult: bytes = b"",
    step: int = 0,
    device: bytes = b"",
    phones: tuple[str, ...] = (),
) -> PageRow:
    """A new page, due at once (`due_ms`). Whoever creates it writes the notice to the member's inboxes in the same item.

    `phones`: numbers of the phone tree, with `NO_MEMBER`. `device`: of a test or a probe, which go nowhere else.
    """
    life_ms = TEST_LIFE_MS if kind is PageKind.TEST else LIFE_MS
    row = PageRow(kind, member, wall_ms, now_ms, now_ms + life_ms, consult, step, device, phones)
    if kind is PageKind.PROBE or member == NO_MEMBER:
        return row
    notice = Way(Path.SOCKET, state=TargetState.SENT, attempts=1, at_ms=wall_ms)
    return msgspec.structs.replace(row, ways=(notice,))


def due_ms(row: PageRow) -> int | None:
    """When the row must be looked at next; None once it is over."""
    if row.over_ms:
        return None
    if row.planned < row.rings:
        return row.asked_ms
    return min([row.until_ms, *(way.next_ms for way in row.ways if way.next_ms)])


def ring_again(row: PageRow, now_ms: int) -> PageRow:
    """The consult asks for the same page once more: by every way at once, with the same id, until it is seen anew."""
    return msgspec.structs.replace(
        row, rings=row.rings + 1, asked_ms=now_ms, until_ms=now_ms + LIFE_MS, seen_ms=0
    )


def end(row: PageRow, wall_ms: int) -> PageRow:
    """Nothing more goes out; unchanged when it is over already."""
    return row if row.over_ms else msgspec.structs.replace(row, over_ms=wall_ms)


def claim(row: PageRow, reach: Reach, now_ms: int, wall_ms: int) -> tuple[PageRow, tuple[Attempt, ...]]:
    """The row with everything that is due leased to the claimant, and the attempts to make once it is saved.

    A page whose time is over is ended instead.
    """
    if row.over_ms:
        return row, ()
    if now_ms >= row.until_ms:
        return end(row, wall_ms), ()
    row = _plan(row, reach, now_ms)
    ways: list[Way] = []
    attempts: list[Attempt] = []
    for way in row.ways:
        if not way.next_ms or way.next_ms > now_ms:
            ways.append(way)
            continue
        leased = msgspec.structs.replace(way, attempts=way.attempts + 1, next_ms=now_ms + LEASE_MS)
        ways.append(leased)
        attempts.append(Attempt(way.path, way.device, way.number, leased.attempts, row.rings))
    return msgspec.structs.replace(row, ways=tuple(ways)), tuple(attempts)


def may_begin(row: PageRow, attempt: Attempt) -> bool:
    """The fence: whether this attempt may still begin, by the row as it stands now."""
    return not row.over_ms and any(
        way.name == attempt.name and way.attempts == attempt.fence and way.next_ms for way in row.ways
    )


def settle(row: PageRow, attempt: Attempt, result: Result, now_ms: int, wall_ms: int) -> PageRow:
    """The row with what became of an attempt; unchanged when a later one was made since."""

    def settled(way: Way) -> Way:
        if way.name != attempt.name or way.attempts != attempt.fence:
            return way
        match result:
            case Result.TAKEN:
                repeats = row.kind is PageKind.CONSULT and way.path is Path.PUSH and not row.seen_ms
                return msgspec.structs.replace(
                    way,
                    state=max(way.state, TargetState.SENT, key=_far),
                    failures=0,
                    next_ms=now_ms + REPEAT_MS if repeats else 0,
                    at_ms=wall_ms,
                )
            case Result.LATER:
                wait_ms = RETRY_MS[min(way.failures, len(RETRY_MS) - 1)]
                return msgspec.structs.replace(way, failures=way.failures + 1, next_ms=now_ms + wait_ms)
            case Result.NEVER:
                return msgspec.structs.replace(way, state=TargetState.UNREACHABLE, next_ms=0, at_ms=wall_ms)

    return _with_ways(row, settled)


def take_receipt(row: PageRow, path: Path, state: TargetState, wall_ms: int) -> PageRow:
    """The row after a device said `DELIVERED` or `SEEN`. Who saw it is told no more by push; it is not over by that,
    unless it was a test."""
    seen = state is TargetState.SEEN

    def received(way: Way) -> Way:
        if seen and way.path is Path.PUSH and way.next_ms:
            way = msgspec.structs.replace(way, next_ms=0)
        if way.path is not path or _far(way.state) >= _far(state):
            return way
        return msgspec.structs.replace(way, state=state, at_ms=wall_ms)

    row = msgspec.structs.replace(
        _with_ways(row, received),
        delivered_ms=row.delivered_ms or wall_ms,
        seen_ms=row.seen_ms or (wall_ms if seen else 0),
    )
    done = row.kind is PageKind.PROBE or (row.kind is PageKind.TEST and seen)
    return end(row, wall_ms) if done else row


def came(row: PageRow) -> bool:
    """Whether some way beside the inbox took it."""
    return any(_far(way.state) >= _far(TargetState.SENT) for way in row.ways if way.path is not Path.SOCKET)


def summary(row: PageRow) -> tuple[Way, ...]:
    """One line for each path, of several devices the one that came furthest; all their attempts together."""
    lines: dict[Path, Way] = {}
    for way in row.ways:
        best = lines.get(way.path)
        if best is None:
            lines[way.path] = way
        else:
            furthest = max(best, way, key=lambda one: _far(one.state))
            lines[way.path] = msgspec.structs.replace(furthest, attempts=best.attempts + way.attempts)
    return tuple(lines.values())


# ---- what is said


def push_payload(kind: PageKind, page: PageId) -> bytes:
    """What a push says: `PUSH_BYTES` whatever it is, padded with spaces."""
    words = {PageKind.PROBE: "probe", PageKind.TEST: "a test is waiting"}.get(kind, "a consult is waiting")
    return f"{words} {page.hex()}".ljust(PUSH_BYTES).encode("ascii")


def push_topic(page: PageId) -> str:
    """What tells a push service which push takes which one's place, without telling it the page's id."""
    return digest(b"push topic", page)[:16].hex()


def delivery_id(page: PageId, attempt: Attempt) -> str:
    """The idempotency key of a message to a gateway: the same for every retry, another for a repeat that was asked for."""
    parts = (attempt.path.encode(), attempt.number.encode(), attempt.ring.to_bytes(4, "big"))
    return f"msg_{digest(b'gateway', page, *parts)[:16].hex()}"


# ---- inside

_ORDER: Final = (
    TargetState.UNREACHABLE,
    TargetState.QUEUED,
    TargetState.SENT,
    TargetState.DELIVERED,
    TargetState.SEEN,
)


def _far(state: TargetState) -> int:
    """How far a way's state is along. A way is never accepted or declined: a member is."""
    return _ORDER.index(state)


def _with_ways(row: PageRow, changed: Callable[[Way], Way]) -> PageRow:
    return msgspec.structs.replace(row, ways=tuple(changed(way) for way in row.ways))


def _plan(row: PageRow, reach: Reach, now_ms: int) -> PageRow:
    """The row with a way for everything that reaches its member; all of them due at once for a new ring."""
    known = {way.name for way in row.ways}
    new = [way for way in _ways(row, reach) if way.name not in known]
    fresh = row.planned < row.rings

    def planned(way: Way) -> Way:
        if way.path is Path.SOCKET or (not fresh and way.attempts):
            return way
        return msgspec.structs.replace(way, next_ms=now_ms, failures=0)

    ways = tuple(planned(way) for way in (*row.ways, *new))
    return msgspec.structs.replace(row, ways=ways, planned=row.rings)


def _ways(row: PageRow, reach: Reach) -> Iterable[Way]:
    if row.member == NO_MEMBER:
        if reach.phone:
            yield from (Way(Path.VOICE, number=number) for number in row.phones)
        return
    only = row.device
    yield from (Way(Path.PUSH, device=device) for device in reach.devices if not only or device == only)
    if reach.phone and row.kind is not PageKind.PROBE:
        yield Way(Path.SMS)
        yield Way(Path.VOICE)
