"""What a person sees of the link, and what a program gets of an event."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from leeside import events as e
from leeside.cli.chat import HANGING, show
from leeside.cli.lines import Line, LinkNews, clock, link_line, object_of
from leeside.cli.screen import Screen
from leeside.connection import LinkState, LinkStatus
from leeside_protocol.ids import ChannelId, MessageId


def link(state: LinkState, *, since_ms: int = 1, degraded: bool = False) -> e.Link:
    return e.Link(LinkStatus(state, since_ms, degraded=degraded))


def test_a_broken_link_is_announced_once_and_its_return_too() -> None:
    news = LinkNews()
    told = [
        news.fresh(link(state, since_ms=n))
        for n, state in enumerate(
            [
                LinkState.OFFLINE, LinkState.CONNECTING, LinkState.OFFLINE, LinkState.ONLINE,
                LinkState.ONLINE, LinkState.OFFLINE, LinkState.STOPPED,
            ]
        )
    ]  # fmt: skip
    assert told == [True, False, False, True, False, True, True]
    assert news.fresh(link(LinkState.ONLINE))
    assert news.fresh(link(LinkState.ONLINE, degraded=True))


def test_no_link_is_never_shown_as_live() -> None:
    for state in LinkState:
        line = link_line(link(state))
        assert ("NO LIVE LINK" in line.text) is (state is not LinkState.ONLINE)
        assert (line.tone == "quiet") is (state is LinkState.ONLINE)


def test_an_event_for_programs_has_its_kind_and_plain_fields() -> None:
    repeat = e.Repeat(ChannelId(bytes(16)), MessageId(b"\x01" * 16), 2)
    assert object_of(repeat) == {"event": "repeat", "channel": "00" * 16, "id": "01" * 16, "times": 2}
    assert object_of(e.CaughtUp(ChannelId(bytes(16))))["event"] == "caught_up"


@pytest.mark.parametrize("tone", ["plain", "loud", "warn", "quiet"])
@pytest.mark.parametrize("gap", ["\n", "\n\n", " " * 60, "x" * 70 + " ", "\r\n", "\u2028"])
def test_nobody_begins_a_line_that_looks_like_another_persons(tone: str, gap: str) -> None:
    """A message may hold line breaks and wrap. Only the line that the program made begins at the left."""
    out = StringIO()
    screen = Screen(out=Console(file=out, width=60))
    show(screen, Line(f"13:00:00 mallory: fine{gap}13:00:01 dispatcher: stand down", tone))
    rows = [row for row in out.getvalue().replace("\a", "").split("\n") if row.strip()]
    assert rows[0].startswith("13:00:00 mallory:")
    assert all(row.startswith(HANGING) for row in rows[1:])
    assert sum("dispatcher" in row for row in rows) == 1


@pytest.mark.parametrize("at_ms", [2**53 - 1, 253_402_300_800_000])
def test_a_time_that_no_calendar_has_is_shown_as_none(at_ms: int) -> None:
    assert clock(at_ms) == "--:--:--"
