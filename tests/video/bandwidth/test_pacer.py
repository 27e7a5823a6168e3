"""What may leave at once, and what waits how long."""

from hypothesis import given
from hypothesis import strategies as st

from leeside_server.video.pacer import (
    BURST_S,
    COPY_WAITS_S,
    HELD_BYTES,
    LEAST_BURST_BYTES,
    VIDEO_WAITS_S,
    Pacer,
    Urgency,
)

SIZE = 1_200


def fill(pacer: Pacer[str], count: int, now_s: float) -> int:
    """Offer a burst of video; how many of it went at once."""
    passed = 0
    for number in range(count):
        if pacer.passes(Urgency.VIDEO, SIZE, now_s):
            passed += 1
        else:
            assert pacer.hold(Urgency.VIDEO, SIZE, f"video {number}", now_s)
    return passed


def test_video_within_its_budget_goes_at_once() -> None:
    pacer: Pacer[str] = Pacer(600_000)
    for number in range(1, 100):
        assert pacer.passes(Urgency.VIDEO, 750, number * 0.01)


def test_a_burst_leaves_at_its_pace_and_in_order() -> None:
    pacer: Pacer[str] = Pacer(400_000)
    passed = fill(pacer, 20, 0.0)
    assert passed == 3
    left: list[tuple[float, str]] = []
    for tick in range(100):
        left += [(tick * 0.005, item) for item in pacer.due(tick * 0.005)]
    assert [item for _, item in left] == [f"video {number}" for number in range(passed, 20)]
    took_s = left[-1][0]
    assert abs(took_s - (20 * SIZE - LEAST_BURST_BYTES) * 8 / (400_000)) < 0.03
    assert pacer.held_bytes == 0
    assert pacer.dropped == 0


def test_sound_never_waits_and_repairs_and_pictures_go_by_turns() -> None:
    pacer: Pacer[str] = Pacer(400_000)
    fill(pacer, 6, 0.0)
    assert pacer.passes(Urgency.AUDIO, 200, 0.0)
    for number in range(2):
        assert not pacer.passes(Urgency.REPAIR, SIZE, 0.0)
        pacer.hold(Urgency.REPAIR, SIZE, f"repair {number}", 0.0)
    left = [item for tick in range(40) for item in pacer.due(tick * 0.005)]
    assert left == ["repair 0", "video 3", "repair 1", "video 4", "video 5"]


def test_a_picture_does_not_overtake_its_own_packets() -> None:
    pacer: Pacer[str] = Pacer(400_000)
    fill(pacer, 4, 0.0)
    assert pacer.held_bytes
    assert not pacer.passes(Urgency.VIDEO, SIZE, 0.039), "there would be room, but one waits already"


def test_what_is_too_old_is_dropped_and_not_sent() -> None:
    pacer: Pacer[str] = Pacer(30_000)
    fill(pacer, 50, 0.0)
    held = pacer.held_bytes
    assert list(pacer.due(VIDEO_WAITS_S + 0.01)) == []
    assert pacer.held_bytes == 0
    assert pacer.dropped == held // SIZE


def test_what_finds_no_room_is_refused() -> None:
    pacer: Pacer[str] = Pacer(30_000)
    while pacer.hold(Urgency.VIDEO, SIZE, "video", 0.0):
        assert pacer.held_bytes <= HELD_BYTES
    assert pacer.dropped == 1
    pacer.clear()
    assert pacer.held_bytes == 0
    assert list(pacer.due(0.1)) == []


def test_what_is_not_wanted_any_more_is_taken_out() -> None:
    pacer: Pacer[str] = Pacer(400_000)
    fill(pacer, 6, 0.0)
    pacer.hold(Urgency.REPAIR, 100, "repair", 0.0)
    held = pacer.held_bytes
    assert pacer.discard(lambda item: item in {"repair", "video 4"}) == ["repair", "video 4"]
    assert pacer.held_bytes == held - SIZE - 100
    assert pacer.dropped == 0
    assert list(pacer.due(0.2)) == ["video 3", "video 5"]


def test_a_repair_that_is_asked_for_again_while_it_waits_leaves_once() -> None:
    pacer: Pacer[str] = Pacer(800_000)
    assert pacer.passes(Urgency.AUDIO, 5_000, 0.0)
    for _ in range(9):
        assert not pacer.passes(Urgency.REPAIR, SIZE, 0.0)
        assert pacer.hold(Urgency.REPAIR, SIZE, "asked for", 0.0)
    assert pacer.held_bytes == SIZE
    assert list(pacer.due(0.1)) == ["asked for"]
    assert pacer.hold(Urgency.REPAIR, SIZE, "asked for", 0.2)
    assert list(pacer.due(0.2)) == ["asked for"], "that one was lost as well"


def test_what_is_sent_twice_lets_all_others_go_first_and_holds_up_nobody() -> None:
    pacer: Pacer[str] = Pacer(800_000)
    assert pacer.passes(Urgency.AUDIO, 4_000, 0.0)
    pacer.hold(Urgency.COPY, SIZE, "copy", 0.0)
    assert (pacer.held_bytes, pacer.waits, pacer.crowded) == (0, True, False)
    pacer.hold(Urgency.VIDEO, SIZE, "video", 0.005)
    pacer.hold(Urgency.REPAIR, SIZE, "repair", 0.006)
    assert not pacer.passes(Urgency.COPY, SIZE, 0.04), "others wait"
    assert list(pacer.due(0.04)) == ["repair", "video", "copy"]
    assert not pacer.waits
    pacer.hold(Urgency.COPY, SIZE, "copy", 0.05)
    assert pacer.passes(Urgency.VIDEO, SIZE, 0.08), "a copy that waits is before nobody"
    pacer.hold(Urgency.COPY, SIZE, "too late", 0.1)
    assert list(pacer.due(0.1 + 2 * COPY_WAITS_S)) == []
    assert not pacer.waits


@given(
    bps=st.floats(40_000, 10_000_000),
    offers=st.lists(
        st.tuples(
            st.sampled_from([Urgency.REPAIR, Urgency.VIDEO, Urgency.COPY]),
            st.integers(40, 1_400),
            st.floats(0, 0.03),
        ),
        max_size=200,
    ),
)
def test_no_more_leaves_than_a_burst_and_the_pace(
    bps: float, offers: list[tuple[Urgency, int, float]]
) -> None:
    pacer: Pacer[int] = Pacer(bps)
    now_s, left = 0.0, 0
    for urgency, size, later_s in offers:
        now_s += later_s
        left += sum(pacer.due(now_s))
        if pacer.passes(urgency, size, now_s):
            left += size
        else:
            pacer.hold(urgency, size, size, now_s)
        pace = bps / 8
        # The last packet may leave on the last byte of room.
        assert left <= max(LEAST_BURST_BYTES, pace * BURST_S) + pace * now_s + 1_400
