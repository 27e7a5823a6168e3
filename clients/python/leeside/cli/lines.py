"""Events as lines: for people in words and marks, for programs as JSON objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from leeside import events as e
from leeside.bodies import (
    Assignment,
    CheckIn,
    Consent,
    ConsentBy,
    ConsentWithdrawn,
    ConsultAsked,
    Duress,
    Recommendation,
    TimelineMark,
)
from leeside.cli.live import Live
from leeside.cli.screen import plain, short
from leeside.connection import LinkState
from leeside_protocol.ids import DeviceId
from leeside_protocol.words import Mark, Urgency

MARKS: Final = {
    e.Progress.WAITING: "… waiting",
    e.Progress.ACCEPTED: "✓ accepted",
    e.Progress.DELIVERED: "✓✓ delivered",
    e.Progress.READ: "✓✓ read",
    e.Progress.ACKNOWLEDGED: "✔ acknowledged",
    e.Progress.REFUSED: "✗ NOT SENT",
}

_WHY: Final = {
    "not_granted": "Not granted: from before this device was let in. Ask a member.",
    "no_key": "Cannot decrypt: its keys did not come. Ask the sender to say it again.",
    "unsupported": "A message that this version cannot show. Update.",
    "pruned": "No longer kept by the server.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line and how much it presses: `plain`, `quiet`, `loud` (red, the full width), `warn`."""

    text: str
    tone: str = "plain"


def clock(at_ms: int) -> str:
    """The local time of day; dashes for a time that no calendar has, which a server may well send."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "--:--:--"


def line_of(event: e.Event, live: Live) -> Line | None:
    """What a person sees of an event; None when there is nothing to see."""
    match event:
        case e.Message():
            return _message(event, live)
        case e.Repeat():
            return Line(f"NOT ACKNOWLEDGED ({event.times}): an urgent message waits. /ack", "loud")
        case e.Acknowledgement() if event.read_back:
            who = live.who(event.device, event.member)
            return Line(f"{clock(event.at_ms)} {who} reads back {short(event.message)}: {event.read_back}")
        case e.Acknowledgement():
            return Line(
                f"{clock(event.at_ms)} ✔ {live.who(event.device, event.member)} acknowledged {short(event.message)}",
                "quiet",
            )
        case e.Receipt():
            where = "" if event.device is None else f" by {live.who(event.device, None)}"
            tone = "loud" if event.progress is e.Progress.REFUSED else "quiet"
            return Line(f"{MARKS[event.progress]}{where} {short(event.id)}", tone)
        case e.StatusChange():
            status = event.status
            words = [status.primary.value, *([status.secondary.value] if status.secondary else [])]
            more = [t for t in (status.destination, status.note) if t]
            return Line(
                f"{clock(event.at_ms)} ◆ {live.names().show(event.unit)}: {' / '.join(words)} {' - '.join(more)}".rstrip()
            )
        case e.Report():
            return _report(event, live)
        case e.IncidentChange():
            what = event.incident
            words = [w for w in (what.type_code, what.district, what.address, what.disposition) if w]
            return Line(f"{clock(event.at_ms)} ■ {' / '.join(words)}: {what.narrative}".rstrip(" :"))
        case e.MemberChange():
            return _members(event, live)
        case e.Unreadable():
            why = _WHY.get(event.why, f"Somebody sent what does not hold ({event.why}). It is not shown.")
            return Line(f"{clock(event.at_ms)} {live.who(event.device, None)}: [{why}]", "warn")
        case e.ContextRequest():
            return Line(f"{live.who(event.device, None)} asks for earlier context: {event.reason}", "warn")
        case e.Granted():
            return Line(f"Earlier context was granted: {event.opened} messages open now.", "quiet")
        case _:
            return _state(event)


def _message(event: e.Message, live: Live) -> Line:
    who = "me" if event.mine else live.who(event.device, event.member)
    text = event.text
    if event.attachment is not None:
        text = f"[file {event.attachment.name}, {event.attachment.size_bytes:,} bytes] {text}".rstrip()
    late = " (written earlier)" if event.at_ms - event.written_ms > 120_000 else ""
    line = f"{clock(event.at_ms)} {who}{late}: {text}"
    if event.urgency is Urgency.URGENT:
        return Line(f"URGENT {line}", "plain" if event.mine else "loud")
    return Line(f"! {line}" if event.urgency is Urgency.IMPORTANT else line)


def _report(event: e.Report, live: Live) -> Line:
    who = "me" if event.mine else live.who(event.device, event.member)
    start, content = f"{clock(event.at_ms)} {who}", event.content
    tone = "plain" if event.mine else "loud"
    match content:
        case Assignment():
            unit = live.names().show(content.unit)
            return Line(f"{start} assigns {unit}, priority {content.priority}. {content.note}".rstrip(), tone)
        case CheckIn():
            return Line(f"{start} checks in: all is well.", tone)
        case Duress():
            # Whoever stands beside this person may look at this screen.
            return (
                Line(f"{start}: sent.", "quiet")
                if event.mine
                else Line(f"DURESS {start} is in danger.", tone)
            )
        case ConsultAsked():
            about = content.summary or "nothing was said about it yet."
            return Line(f"{start} asks for a consult ({content.urgency.name.lower()}): {about}", tone)
        case Recommendation():
            return Line(f"{start} recommends, to be read back: {content.text}", tone)
        case Consent(by=ConsentBy.EMERGENCY):
            return Line(f"{start} records an emergency, without consent: {content.reason}", tone)
        case Consent():
            return Line(f"{start} records consent to the call: {content.scope}", tone)
        case ConsentWithdrawn():
            return Line(f"{start} records that consent to the call was withdrawn.", tone)
        case TimelineMark():
            mark = Mark(content.mark).name.lower().replace("_", " ")
            return Line(f"{start} ◆ {mark} {content.note}".rstrip())


def _members(event: e.MemberChange, live: Live) -> Line | None:
    parts: list[str] = []
    if event.joined:
        parts.append("can read now: " + _names(event.joined, live))
    if event.left:
        parts.append("no longer reads: " + _names(event.left, live))
    if not parts:
        return None
    return Line(f"Members changed by {live.who(event.committer, None)}; {'; '.join(parts)}", "warn")


def _names(devices: Iterable[DeviceId], live: Live) -> str:
    """Whose devices they are, each person once."""
    shown = Counter(live.who(device, None) for device in devices)
    return ", ".join(f"{who} ({times} devices)" if times > 1 else who for who, times in sorted(shown.items()))


def _state(event: e.Event) -> Line | None:
    match event:
        case e.Gap():
            return Line(
                f"Messages {event.since + 1} to {event.floor} are no longer kept by the server.", "warn"
            )
        case e.Reset():
            return Line(
                "The server was restored from a backup: everything is loaded anew. "
                f"{event.posted_again} of this device's messages go out again.",
                "warn",
            )
        case e.Lagged():
            return Line(f"{event.lost} events were skipped here: see /history.", "warn")
        case e.Left():
            return Line("This device is no longer in the channel.", "loud")
        case e.Alarm(kind=e.AlarmKind.GHOST_DEVICE, device=bytes() as device):
            return Line(
                f"ALARM: device {short(device)} was certified under your name. Yours? leeside device confirm "
                f"{short(device)}. Not yours? Tell an administrator by voice.",
                "loud",
            )
        case e.Forgotten():
            return Line("This incident ended a day ago: its messages are no longer on this device.", "warn")
        case e.Alarm():
            stops = " Sending is stopped." if event.stops_sending else ""
            return Line(
                f"ALARM {event.kind.value} ({event.code}): somebody may be deceiving you.{stops} Talk by voice.",
                "loud",
            )
        case e.Link():
            return link_line(event)
        case _:
            return None


class LinkNews:
    """Tells when a change of the link is news: a broken one is announced once, not at each attempt."""

    def __init__(self) -> None:
        self._last: tuple[bool, bool, bool] | None = None

    def fresh(self, event: e.Link) -> bool:
        """Whether people should be told."""
        state = event.status.state
        now = (state is LinkState.ONLINE, state is LinkState.STOPPED, event.status.degraded)
        before, self._last = self._last, now
        return now != before


def link_line(event: e.Link) -> Line:
    """The link as people must see it: never silently gone."""
    status = event.status
    if status.state is LinkState.ONLINE:
        return Line(
            "Live link." + (" The server is degraded: delivery may take seconds." if status.degraded else ""),
            "quiet",
        )
    if status.state is LinkState.STOPPED:
        return Line(f"NO LIVE LINK: the server refuses this device ({status.code}).", "loud")
    return Line(
        f"NO LIVE LINK since {clock(status.since_ms)}. What you write is kept and sent later.", "warn"
    )


def object_of(event: e.Event) -> dict[str, Any]:
    """An event for programs: its kind in snake_case, and its fields."""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = plain(event)
    assert isinstance(fields, dict)
    return {"event": kind, **fields}
