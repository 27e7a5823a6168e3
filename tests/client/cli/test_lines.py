"""What a person sees of the link, and what a program gets of an event."""

from __future__ import annotations

from leeside import events as e
from leeside.cli.lines import LinkNews, link_line, object_of
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
