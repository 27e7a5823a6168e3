"""What a worker does as time passes, with a clock of the test's own: rooms take turns, and what waits leaves by itself."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from leeside_protocol.video import signalling as s
from leeside_server.core.video import Spoken
from leeside_server.video import fastways
from leeside_server.video.bridge import GRADE_TICKS, PACE_S, SHARE_TICKS, Bridge, Hall
from leeside_server.video.peer import Peer
from leeside_server.video.words import Configure
from leeside_server.video.worker import Worker
from tests.video.worker.world import ticket


class Still(Bridge):
    """A bridge whose time stands. `later`: what is to be called, and after how long; `passed`: whose turn each tick was."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.passed: list[tuple[bytes, bool, bool]] = []
        super().__init__(
            Configure(("127.0.0.1",), 0), _ignore, _close, self._remember, lambda: 1.0, lambda: 1_000
        )

    def _remember(self, after_s: float, call: Callable[[], None]) -> None:
        self.later.append((after_s, call))

    def _pass(self, hall: Hall, now_s: float, turn: int) -> None:
        self.passed.append((hall.name, turn % SHARE_TICKS == 0, turn % GRADE_TICKS == 0))


def _ignore(_word: object) -> None:
    return


def _close(work: Coroutine[Any, Any, None]) -> None:
    work.close()


class Waiting:
    """A peer with packets that leave one by one."""

    def __init__(self, packets: int, *, breaks: bool = False) -> None:
        self.ready = True
        self.down = self
        self.packets = packets
        self.breaks = breaks
        self.looks = 0

    @property
    def waits(self) -> bool:
        return self.packets > 0

    def due(self, _now_s: float) -> None:
        self.looks += 1
        self.packets -= 1
        if self.breaks:
            raise OSError


async def test_a_spare_has_done_what_takes_long_before_it_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[None] = []
    monkeypatch.setattr(fastways, "load", lambda: loaded.append(None))
    reader = asyncio.StreamReader()
    running = asyncio.ensure_future(Worker(reader, cast("asyncio.StreamWriter", None)).run())
    await asyncio.sleep(0)
    assert loaded, "whose worker died waits for the next one's first word"
    reader.feed_eof()
    await running


def test_each_room_has_its_turn_and_no_tick_has_all_of_them() -> None:
    bridge = Still()
    rooms = [bytes([number]) * 16 for number in range(2 * SHARE_TICKS)]
    for room in rooms:
        bridge.spoken(Spoken(1, ticket(b"a" * 16, room=room), s.encode_signal(s.Join(1))))
    shared: dict[bytes, int] = dict.fromkeys(rooms, 0)
    graded: dict[bytes, int] = dict.fromkeys(rooms, 0)
    for _ in range(GRADE_TICKS):
        bridge.passed.clear()
        bridge.tick()
        assert [name for name, _, _ in bridge.passed] == rooms, "what is urgent is looked at each time"
        assert sum(share for _, share, _ in bridge.passed) == 2
        assert sum(grade for _, _, grade in bridge.passed) <= 1
        for name, share, grade in bridge.passed:
            shared[name] += share
            graded[name] += grade
    assert set(shared.values()) == {GRADE_TICKS // SHARE_TICKS}
    assert set(graded.values()) == {1}


def test_between_two_rooms_others_have_their_turn_and_one_that_ended_has_none() -> None:
    bridge = Still()
    for number in range(3):
        bridge.spoken(Spoken(1, ticket(b"a" * 16, room=bytes([number]) * 16), s.encode_signal(s.Join(1))))
    seen: list[int] = []
    for turn, _ in enumerate(bridge.turns()):
        seen.append(len(bridge.passed))
        if turn == 0:
            del bridge.halls[bytes([1]) * 16]
    assert seen == [1, 2]
    assert [name for name, _, _ in bridge.passed] == [bytes(16), bytes([2]) * 16]


def test_what_waits_is_looked_at_until_nothing_does() -> None:
    bridge = Still()
    few, more = Waiting(1), Waiting(3)
    for peer in (few, more, more):
        bridge.held(cast("Peer", peer))
    while bridge.later:
        ((after_s, look),) = bridge.later
        assert after_s == PACE_S
        bridge.later.clear()
        look()
    assert (few.looks, more.looks) == (1, 3)
    bridge.held(cast("Peer", few))
    assert len(bridge.later) == 1, "and again when something waits again"


def test_whose_packets_break_holds_up_nobody_elses() -> None:
    bridge = Still()
    broken, sound, gone = Waiting(2, breaks=True), Waiting(2), Waiting(2)
    for peer in (broken, gone, sound):
        bridge.held(cast("Peer", peer))
    gone.ready = False
    while bridge.later:
        _, look = bridge.later.pop()
        look()
    assert (broken.looks, sound.looks, gone.looks) == (2, 2, 0)
    assert bridge.counts.faulty == 2
