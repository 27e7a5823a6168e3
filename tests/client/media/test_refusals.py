"""How long a call waits when it is refused and may ask again."""

from __future__ import annotations

from leeside.media.call import REPEAT_S, RETRY_S, wait_s
from leeside_protocol.errors import WireError


def test_a_bridge_that_is_gone_is_looked_for_soon_and_then_less_and_less_often() -> None:
    waits = [wait_s(WireError.UNAVAILABLE, 250, before) for before in range(6)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_full_bridge_is_left_alone_for_as_long_as_it_said() -> None:
    assert [wait_s(WireError.BUSY, 5_000, before) for before in (0, 3)] == [5.0, 5.0]


def test_one_that_did_not_say_how_long_has_a_second() -> None:
    assert wait_s(WireError.RATE_LIMITED, 0, 0) == RETRY_S
    assert wait_s(WireError.UNAVAILABLE, 0, 4) == REPEAT_S
