"""The pure parts of the client: urgent repeats, receipts, pacing and coarsening, the board, feeds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside.board import Board
from leeside.bodies import Fix, Marks, Status
from leeside.events import (
    Lagged,
    PositionChange,
    Progress,
    StatusChange,
    TypingChange,
)
from leeside.feeds import QUEUE_EVENTS, Feeds
from leeside.position import LAST_POSITION_S, Pacer, coarsen, distance_m
from leeside.receipts import Receipts
from leeside.urgent import Repeats
from leeside_protocol.ids import ChannelId, DeviceId, MessageId, UnitId
from leeside_protocol.words import Mark, PrimaryStatus

CHANNEL = ChannelId(bytes(16))
ME, YOU, THEM = (DeviceId(bytes([n] * 16)) for n in (1, 2, 3))
FIRST, SECOND = (MessageId(bytes([n] * 16)) for n in (4, 5))


# ---- urgent


def test_an_urgent_message_sounds_every_fifteen_seconds_until_relieved() -> None:
    repeats = Repeats()
    repeats.press(CHANNEL, FIRST, 100.0)
    assert repeats.due(114.9) == ()
    assert repeats.due(115.0) == ((CHANNEL, FIRST, 1),)
    assert repeats.due(129.9) == ()
    assert repeats.due(130.0) == ((CHANNEL, FIRST, 2),)
    assert repeats.relieve(FIRST)
    assert repeats.due(1_000.0) == ()
    assert repeats.next_s() is None


def test_pressing_twice_changes_nothing_and_missed_times_are_not_made_up_for() -> None:
    repeats = Repeats()
    repeats.press(CHANNEL, FIRST, 0.0)
    repeats.press(CHANNEL, FIRST, 14.0)
    assert repeats.due(100.0) == ((CHANNEL, FIRST, 1),)
    assert repeats.next_s() == 115.0


def test_nobody_makes_a_device_sound_all_the_time() -> None:
    repeats = Repeats()
    repeats.press(CHANNEL, FIRST, 0.0, every_s=1)
    assert repeats.next_s() == 5.0


# ---- receipts


def test_marks_cover_every_message_up_to_them_and_never_go_back() -> None:
    receipts = Receipts(ME)
    for message, offset in ((FIRST, 3), (SECOND, 5)):
        receipts.composed(CHANNEL, message)
        assert [r.progress for r in receipts.accepted(CHANNEL, message, 1, offset)] == [Progress.ACCEPTED]
    assert [(r.id, r.progress) for r in receipts.marked(CHANNEL, YOU, Marks(1, 5, 3))] == [
        (FIRST, Progress.READ),
        (SECOND, Progress.DELIVERED),
    ]
    assert receipts.marked(CHANNEL, YOU, Marks(1, 4, 0)) == ()
    assert receipts.progress(SECOND) == {YOU: Progress.DELIVERED}


def test_marks_that_come_before_the_answer_count_when_it_comes() -> None:
    receipts = Receipts(ME)
    receipts.composed(CHANNEL, FIRST)
    assert receipts.marked(CHANNEL, YOU, Marks(1, 9, 9)) == ()
    assert [r.progress for r in receipts.accepted(CHANNEL, FIRST, 1, 9)] == [Progress.ACCEPTED, Progress.READ]


def test_marks_of_another_generation_and_of_this_device_prove_nothing() -> None:
    receipts = Receipts(ME)
    receipts.accepted(CHANNEL, FIRST, 2, 3)
    assert receipts.marked(CHANNEL, YOU, Marks(1, 9, 9)) == ()
    assert receipts.marked(CHANNEL, ME, Marks(2, 9, 9)) == ()


def test_an_acknowledgement_is_of_one_message_by_one_device() -> None:
    receipts = Receipts(ME)
    receipts.accepted(CHANNEL, FIRST, 1, 3)
    assert [r.progress for r in receipts.acknowledged(CHANNEL, YOU, FIRST)] == [Progress.ACKNOWLEDGED]
    assert receipts.acknowledged(CHANNEL, YOU, FIRST) == ()
    assert receipts.acknowledged(CHANNEL, YOU, SECOND) == ()
    assert receipts.marked(CHANNEL, YOU, Marks(1, 9, 9)) == ()


# ---- position

LATITUDES = st.integers(-899_000_000, 899_000_000)
LONGITUDES = st.integers(-1_799_000_000, 1_799_000_000)


def fix(lat: int = 470_000_000, lon: int = 85_000_000, at_ms: int = 0) -> Fix:
    return Fix(lat, lon, 5, at_ms, heading_deg=90, speed_cm_s=100)


@given(LATITUDES, LONGITUDES, st.sampled_from([50, 100, 500, 1_000]))
def test_a_coarse_place_says_no_more_than_its_cell(lat: int, lon: int, coarse_m: int) -> None:
    coarse = coarsen(fix(lat, lon), coarse_m)
    assert coarse.coarse_m == coarse_m
    assert coarse.accuracy_m >= coarse_m
    assert coarse.heading_deg is None
    assert coarse.speed_cm_s is None
    # Every place of the cell gives the same answer, its own middle included.
    assert coarsen(coarse, coarse_m) == coarse
    assert abs(coarse.lat_e7 - lat) <= round(coarse_m * 1e7 / 111_320) // 2 + 1


def test_a_fine_place_is_left_as_it_is() -> None:
    assert coarsen(fix(), 0) == fix()


def test_moving_is_sent_at_the_pace_standing_still_more_seldom() -> None:
    pacer = Pacer(10)
    moving = [s for s in range(40) if pacer.offer(fix(lat=470_000_000 + s * 5_000, at_ms=s), float(s))]
    assert moving == [0, 10, 20, 30]
    still = [s for s in range(40, 160) if pacer.offer(fix(lat=470_150_000, at_ms=s), float(s))]
    assert still == [70, 110, 150]


def test_an_older_fix_is_not_sent() -> None:
    pacer = Pacer(10)
    assert pacer.offer(fix(at_ms=100), 0.0)
    assert pacer.offer(fix(lat=471_000_000, at_ms=50), 20.0) is None


def test_the_last_position_is_kept_once_a_minute() -> None:
    pacer = Pacer(10)
    assert not pacer.keep_due(0.0)
    pacer.offer(fix(), 0.0)
    assert pacer.keep_due(0.0)
    assert not pacer.keep_due(LAST_POSITION_S - 1)
    assert pacer.keep_due(LAST_POSITION_S)


def test_distance_in_metres() -> None:
    assert distance_m(fix(lat=470_000_000), fix(lat=470_010_000)) == pytest.approx(111.3, rel=0.01)
    assert distance_m(fix(lon=85_000_000), fix(lon=85_010_000)) == pytest.approx(75.9, rel=0.01)


# ---- board


def place(device: DeviceId, at_ms: int, *, live: bool, sharing: bool = True) -> PositionChange:
    return PositionChange(CHANNEL, device, fix(at_ms=at_ms), at_ms, live=live, sharing=sharing)


def test_the_newest_position_is_shown_whatever_order_they_come_in() -> None:
    board = Board()
    for change in (place(YOU, 50, live=True), place(YOU, 40, live=False), place(THEM, 10, live=False)):
        board.take(change, 50)
    shown = board.position(YOU)
    assert shown is not None
    assert shown.at_ms == 50
    assert len(board.positions()) == 2


def test_who_shares_is_visible_and_who_stopped_is_not() -> None:
    board = Board()
    board.take(place(YOU, 0, live=False), 0)
    board.take(place(THEM, 0, live=True), 0)
    assert board.sharing(1_000) == {YOU, THEM}
    assert board.sharing(121_000) == {YOU}
    board.take(place(YOU, 1, live=False, sharing=False), 1)
    assert board.sharing(121_000) == frozenset()


def test_typing_is_forgotten_after_ten_seconds() -> None:
    board = Board()
    board.take(TypingChange(CHANNEL, YOU, on=True), 0)
    assert board.typing(9_000) == {YOU}
    assert board.typing(10_000) == frozenset()


def test_a_unit_has_one_status() -> None:
    board = Board()
    unit = UnitId(bytes(16))
    for primary in (PrimaryStatus.AVAILABLE, PrimaryStatus.NOT_AVAILABLE):
        status = Status(unit, primary, None, 0)
        board.take(StatusChange(CHANNEL, unit, status, YOU, 0, Mark.NONE), 0)
    assert board.statuses[unit].status.primary is PrimaryStatus.NOT_AVAILABLE


# ---- feeds


def test_a_feed_that_is_not_read_says_how_much_it_lost() -> None:
    async def story() -> None:
        feeds = Feeds()
        feed = feeds.open(CHANNEL)
        for _ in range(QUEUE_EVENTS + 3):
            feeds.put(CHANNEL, TypingChange(CHANNEL, YOU, on=True))
        assert await feed.next() == Lagged(CHANNEL, 3)
        feeds.end()
        assert len([event async for event in feed]) == QUEUE_EVENTS

    asyncio.run(story())


def test_a_feed_hears_its_channel_and_what_concerns_all() -> None:
    async def story() -> None:
        feeds = Feeds()
        feed = feeds.open(CHANNEL)
        feeds.put(ChannelId(bytes([9] * 16)), TypingChange(CHANNEL, THEM, on=True))
        feeds.put(None, TypingChange(CHANNEL, YOU, on=True))
        feeds.end()
        assert [event async for event in feed] == [TypingChange(CHANNEL, YOU, on=True)]

    asyncio.run(story())
