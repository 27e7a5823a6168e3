"""What receivers say of what came is read the same both ways: the same reports, and all that the estimate knows compared."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.video import rtcp
from leeside_protocol.video.twcc import STATUSES
from leeside_server.video.bwe import CLOCK_WRAP_US, SILENT_S, TOO_OLD_S, Bandwidth
from leeside_server.video.ways import NOTHING, PLAIN, RING, Heard, LinkState, Ways
from tests.support.fast_way import WAYS, both_ways, missing, ways

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

LINK: Final = tuple(LinkState.__dataclass_fields__)
HEARD: Final = tuple(Heard.__dataclass_fields__)
TICK_US: Final = 250
REFERENCE_US: Final = 64_000
SOON_MOST: Final = 0xFF
Chunks = Callable[[list[int]], bytes]


@pytest.fixture(autouse=True, scope="module")
def way() -> str:
    """Each test here takes both."""
    return "both"


def runs(symbols: list[int]) -> bytes:
    """Statuses as runs of one kind."""
    chunks = bytearray()
    begin = 0
    for at in range(1, len(symbols) + 1):
        if at == len(symbols) or symbols[at] != symbols[begin]:
            chunks += struct.pack("!H", symbols[begin] << 13 | at - begin)
            begin = at
    return bytes(chunks)


def sevens(symbols: list[int]) -> bytes:
    """Statuses in two bits each. What is behind the last is not said, and may be anything."""
    chunks = bytearray()
    for at in range(0, len(symbols), 7):
        chunk = 0xC000
        for place, symbol in enumerate([*symbols[at : at + 7], 3, 3, 3, 3, 3, 3][:7]):
            chunk |= symbol << (12 - 2 * place)
        chunks += struct.pack("!H", chunk)
    return bytes(chunks)


def fourteens(symbols: list[int]) -> bytes:
    """Statuses in a bit each, where none needs two."""
    if max(symbols) > 1:
        return sevens(symbols)
    chunks = bytearray()
    for at in range(0, len(symbols), 14):
        chunk = 0x8000
        for place, symbol in enumerate(symbols[at : at + 14]):
            chunk |= symbol << (13 - place)
        chunks += struct.pack("!H", chunk)
    return bytes(chunks)


def strange(symbols: list[int]) -> bytes:
    """A status that is kept for later versions, in its turn."""
    return sevens([*symbols[:-1], 3])


def written(
    first: int, came_us: list[int | None], chunks: Chunks = runs, *, count: int | None = None, cut: int = 0
) -> bytes:
    """A report's body (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1), which may say another count, or be cut."""
    known = [each for each in came_us if each is not None]
    reference = (known[0] if known else 0) // REFERENCE_US
    ticks = reference * (REFERENCE_US // TICK_US)
    symbols: list[int] = []
    times = bytearray()
    for each in came_us:
        if each is None:
            symbols.append(0)
            continue
        delta = each // TICK_US - ticks
        ticks += delta
        soon = 0 <= delta <= SOON_MOST
        symbols.append(1 if soon else 2)
        times += bytes([delta]) if soon else struct.pack("!h", max(-0x8000, min(0x7FFF, delta)))
    head = struct.pack(
        "!LLHHL", 1, 2, first & 0xFFFF, len(symbols) if count is None else count, (reference & 0xFF_FFFF) << 8
    )
    whole = head + chunks(symbols) + bytes(times)
    return whole[: len(whole) - cut]


def part_of(body: bytes) -> tuple[bytes, rtcp.Part]:
    """Behind something else, and before it: only its own bytes may be read."""
    return b"\xff" * 4 + body + b"\x01" * 64, rtcp.Part(rtcp.TRANSPORT_FEEDBACK, rtcp.TWCC, 4, 4 + len(body))


@dataclass
class Watched:
    """A way, and how often it heard a report."""

    inner: Ways
    heard_times: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def heard(self, link: LinkState, data: bytes, start: int, end: int, oldest_s: float) -> Heard | None:
        heard = self.inner.heard(link, data, start, end, oldest_s)
        self.heard_times += heard is not None
        return heard


@dataclass
class Link:
    """A sender and its receiver."""

    chance: random.Random
    now_s: float = 100.0
    shift_us: int = 0
    """The receiver's clock before ours."""
    takes_s: tuple[float, ...] = (0.02, 0.021, 0.023)
    waiting: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    said: list[bytes] = field(default_factory=list[bytes])
    answers: list[bool] = field(default_factory=list[bool])

    def __post_init__(self) -> None:
        self.ways = Watched(ways())
        self.bandwidth = Bandwidth(ways=cast("Ways", self.ways))

    def begin(self) -> None:
        """Somewhere on the receiver's clock: just before it wraps, or just behind."""
        self.shift_us = self.chance.choice((-103_000_000, -99_900_000, 0))

    def send(self, count: int, every_s: float = 0.004) -> None:
        for _ in range(count):
            self.now_s += every_s
            seq = self.bandwidth.next_seq()
            self.bandwidth.sent(seq, self.chance.choice((120, 900, 1_200)), self.now_s)
            came_us = round((self.now_s + self.chance.choice(self.takes_s)) * 1e6) + self.shift_us
            self.waiting.append((seq, came_us))

    def say(self, body: bytes) -> None:
        self.said.append(body)
        self.answers.append(self.bandwidth.report(*part_of(body), self.now_s + 0.05))

    def tell(self, *, lost: float = 0.0, chunks: Chunks = runs, **odd: int) -> None:
        packets, self.waiting = self.waiting, []
        if packets:
            came_us = [None if self.chance.random() < lost else at for _, at in sorted(packets)]
            wraps_us = next((at // CLOCK_WRAP_US * CLOCK_WRAP_US for at in came_us if at is not None), 0)
            in_clock = [None if at is None else at - wraps_us for at in came_us]
            self.say(written(min(packets)[0], in_clock, chunks, **odd))

    def do(self, move: str) -> None:
        chance = self.chance
        if move not in ("again", "silence", "mangled", "jump", "want"):
            self.send(chance.randrange(1, 30))
        match move:
            case "lossy":
                self.tell(lost=0.3)
            case "again" if self.said:
                self.say(chance.choice(self.said))
            case "gap":
                self.waiting.clear()
            case "slow":
                self.send(3, every_s=0.08)
                self.tell()
            case "silence":
                self.now_s += chance.choice((SILENT_S + 0.5, TOO_OLD_S + 1.0))
            case "overtaken":
                self.takes_s, before = (0.02, 0.03), self.takes_s
                self.send(5)
                self.takes_s = before
                self.tell()
            case "sevens":
                self.tell(chunks=sevens)
            case "fourteens":
                self.tell(chunks=fourteens)
            case "cut":
                self.tell(cut=chance.randrange(1, 24))
            case "count":
                self.tell(count=chance.choice((0, 1, 5, 200, STATUSES, 0xFFFF)))
            case "mangled" if self.said:
                body = bytearray(self.said[-1])
                body[chance.randrange(8, len(body))] = chance.randrange(256)
                self.say(bytes(body))
            case "ahead":
                # It speaks of packets that never left.
                newest, came_us = self.waiting[-1]
                self.waiting += [(newest + more, came_us + 1_000 * more) for more in range(1, 4)]
                self.tell()
            case "strange":
                self.tell(chunks=strange)
            case "jump":
                self.shift_us += chance.choice((-500_000, 20_000_000))
            case "want":
                self.bandwidth.want(chance.choice((0.0, 4e6)))
                self.bandwidth.probe_due(self.now_s)
            case "wrap":
                # Numbers begin anew within what is told next.
                link = self.bandwidth.link
                link.seq = 0xFFFF - 2
                link.reported = 0xFFFF - 1
                self.waiting.clear()
                self.send(6)
                self.waiting = [(seq if seq > 0x8000 else seq + 0x1_0000, at) for seq, at in self.waiting]
                self.tell()
            case _:
                self.tell(chunks=chance.choice((runs, sevens, fourteens)))

    def known(self) -> list[Any]:
        estimate = {
            name: value
            for name, value in vars(self.bandwidth).items()
            if name not in ("link", "_ways", "_delay", "_losses", "_prober")
        }
        inner: list[Any] = [vars(getattr(self.bandwidth, name)) for name in ("_delay", "_losses", "_prober")]
        # A copy: what is kept of a state must not change with the next.
        return deepcopy(
            [estimate, inner, [getattr(self.bandwidth.link, name) for name in LINK], self.answers]
        )


MOVES: Final = (
    "lossy", "again", "overtaken", "gap", "slow", "silence", "sevens", "fourteens", "cut", "count", "mangled", "ahead",
    "strange", "jump", "want", "wrap", "usual", "usual", "usual", "usual",
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.sampled_from(MOVES), max_size=40), st.integers(0, 1 << 32))
def test_both_ways_know_the_same_of_a_link(moves: list[str], seed: int) -> None:
    told: list[Any] = []
    for way in WAYS:
        with both_ways(way):
            link = Link(random.Random(seed))
            link.begin()
            states = [link.known()]
            for move in ("usual", *moves, "usual"):
                link.do(move)
                states.append(link.known())
            told.append(states)
    assert told[0] == told[1]


@pytest.mark.parametrize("chunks", [runs, sevens, fourteens])
def test_what_all_came_is_heard_the_fast_way_and_known_once(chunks: Chunks) -> None:
    with both_ways("fast"):
        link = Link(random.Random(1))
        for _ in range(20):
            link.send(25)
            link.tell(chunks=chunks)
        # The first one says where they begin.
        assert link.ways.heard_times == 19
        link.say(link.said[-1])
        assert link.ways.heard_times == 19
        numbers = cast("Any", link.bandwidth.link).numbers
        assert all(numbers[place] == NOTHING for place in range(RING))


def test_without_a_fast_way_it_is_left_to_the_estimate() -> None:
    assert PLAIN.heard(LinkState(), b"", 0, 0, 0.0) is None


def test_what_is_told_of_a_report_is_what_it_says() -> None:
    with both_ways("fast"):
        link = Link(random.Random(2), shift_us=0)
        link.send(2)
        link.tell()
        bandwidth = link.bandwidth
        for at_s, size in ((200.0, 300), (200.01, 500)):
            bandwidth.sent(bandwidth.next_seq(), size, at_s)
        body = written(3, [200_020_000, 200_025_000])
        heard = link.ways.heard(bandwidth.link, *_span(body), oldest_s=199.0)
        assert heard is not None
        assert {name: getattr(heard, name) for name in HEARD} == asdict(
            Heard(2, 800, 200.025, 200.01, 200.025 - 200.01)
        )


@pytest.mark.parametrize("status", [0, 2, 3])
@pytest.mark.parametrize("place", [0, 6, 7, 9])
def test_a_report_that_says_anything_else_of_one_is_not_heard(status: int, place: int) -> None:
    with both_ways("fast"):
        link = Link(random.Random(4))
        link.send(10)
        link.tell()
        link.send(10)
        came_us: list[int | None] = [at for _, at in link.waiting]
        symbols = [status if number == place else 1 for number in range(10)]
        for chunks in (runs, sevens):
            body = written(11, came_us, partial(_said, chunks(symbols)))
            assert link.ways.heard(link.bandwidth.link, *_span(body), oldest_s=0.0) is None
        assert link.ways.heard(link.bandwidth.link, *_span(written(11, came_us)), oldest_s=0.0) is not None


def test_a_report_that_is_cut_is_not_heard() -> None:
    with both_ways("fast"):
        link = Link(random.Random(6))
        link.send(10)
        link.tell()
        link.send(30)
        body = written(11, [at for _, at in link.waiting], sevens)
        for length in range(len(body)):
            # What stands behind it would do; and where nothing does, nothing may be read.
            for data in (body[:length] + b"\x20\x1e" + bytes(64), body[:length]):
                assert link.ways.heard(link.bandwidth.link, data, 0, length, 0.0) is None
        assert link.ways.heard(link.bandwidth.link, body, 0, len(body), 0.0) is not None


def test_packets_that_never_left_are_not_heard_of_though_their_places_were_used() -> None:
    with both_ways("fast"):
        link = Link(random.Random(5))
        for _ in range(RING // 64 + 1):
            link.send(64)
            link.tell()
        first = link.bandwidth.link.reported
        heard = link.ways.heard(link.bandwidth.link, *_span(written(first, [1_000, 2_000])), oldest_s=0.0)
        assert heard is None


def test_what_was_sent_too_long_ago_is_not_heard() -> None:
    with both_ways("fast"):
        link = Link(random.Random(3))
        link.send(2)
        link.tell()
        link.bandwidth.sent(link.bandwidth.next_seq(), 300, 200.0)
        span = _span(written(3, [200_020_000]))
        assert link.ways.heard(link.bandwidth.link, *span, oldest_s=200.001) is None
        assert link.ways.heard(link.bandwidth.link, *span, oldest_s=200.0) is not None


def _said(statuses: bytes, _: list[int]) -> bytes:
    """These, whatever came."""
    return statuses


def _span(body: bytes) -> tuple[bytes, int, int]:
    data, part = part_of(body)
    return data, part.start, part.end
