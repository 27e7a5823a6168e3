"""From an entry that was read to what a person is told of it. Pure.

A content counts only in the lane of its type and under the key that it names: a status of another unit, or a
position under another device's key, does not hold and is told as unreadable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leeside.bodies import (
    Acknowledged,
    Assignment,
    Attachment,
    BodyError,
    CheckIn,
    Consent,
    ConsentWithdrawn,
    ConsultAsked,
    Content,
    ContextWanted,
    Duress,
    Incident,
    LastPosition,
    LivePosition,
    Marks,
    MemberName,
    Recommendation,
    Status,
    Text,
    TimelineMark,
    Typing,
    UnitName,
    Unsupported,
    lane_of,
    read_content,
)
from leeside.events import (
    Acknowledgement,
    ContextRequest,
    Event,
    IncidentChange,
    Message,
    NameChange,
    PositionChange,
    Report,
    Reported,
    StatusChange,
    TypingChange,
    Unreadable,
)
from leeside.history import Row, Verdict
from leeside.reading import Reading
from leeside_protocol.ids import ChannelId, DeviceId, MemberId, StateKind, state_key
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.body import Body, decode_body
from leeside_protocol.words import Lane, Urgency

MemberOf = Callable[[DeviceId], MemberId | None]


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells one channel's entries to one member."""

    channel: ChannelId
    me: MemberId
    member_of: MemberOf

    def tell(self, reading: Reading) -> Event | None:
        """The event of an entry; None for what a screen shows otherwise (receipt marks, pruned messages)."""
        row = reading.row
        if reading.code:
            quiet = row.verdict is Verdict.PRUNED or row.key[:1] == StateKind.RECEIPT.value
            return None if quiet else self._unreadable(row, reading.code)
        if reading.body is None or reading.content is None:
            return None
        if isinstance(reading.content, Unsupported):
            return self._unreadable(row, "unsupported")
        if not belongs(reading.content, row.lane, row.key, row.device):
            return self._unreadable(row, BodyError.code)
        return self._event(row, reading.body, reading.content)

    def retell(self, row: Row) -> Event | None:
        """The event of an entry from the history."""
        match row.verdict:
            case Verdict.OPENED if row.value:
                return self.tell(reading_of(row))
            case Verdict.OPENED:
                return None
            case Verdict.NOT_GRANTED:
                return self._unreadable(row, "not_granted")
            case Verdict.UNKNOWN_EPOCH:
                return self._unreadable(row, "no_key")
            case Verdict.UNREADABLE:
                return self._unreadable(row, row.value.decode("ascii", "replace"))
            case Verdict.PRUNED:
                return self._unreadable(row, "pruned")

    def tell_stream(self, device: DeviceId, key: bytes, at_ms: int, body: Body) -> Event | None:
        """The event of a stream value; None for one that does not hold: the next will do."""
        try:
            content = read_content(body.type, body.data)
        except BodyError:
            return None
        if isinstance(content, Unsupported) or not belongs(content, Lane.STREAM, key, device):
            return None
        match content:
            case LivePosition():
                return PositionChange(self.channel, device, content.fix, at_ms, live=True, sharing=True)
            case Typing():
                return TypingChange(self.channel, device, content.on)
            case _:
                return None

    def _event(self, row: Row, body: Body, content: Content) -> Event | None:
        match content:
            case Text():
                return self._message(row, body, content.text, content)
            case Attachment():
                return self._message(row, body, content.caption, content)
            case Acknowledged():
                member = self.member_of(row.device)
                return Acknowledgement(
                    self.channel, content.message, row.device, member, row.at_ms, content.read_back
                )
            case (
                Assignment()
                | TimelineMark()
                | CheckIn()
                | Duress()
                | ConsultAsked()
                | Recommendation()
                | Consent()
                | ConsentWithdrawn()
            ):
                return self._report(row, body, content)
            case Incident():
                return IncidentChange(self.channel, content, row.device, row.at_ms)
            case ContextWanted():
                return ContextRequest(self.channel, row.device, content.from_epoch, content.reason)
            case Status():
                return StatusChange(self.channel, content.unit, content, row.device, row.at_ms, content.mark)
            case LastPosition():
                return PositionChange(
                    self.channel,
                    row.device,
                    content.fix,
                    row.at_ms,
                    live=False,
                    sharing=content.sharing,
                    duress=content.duress,
                )
            case MemberName():
                return NameChange(self.channel, content.member, content.name)
            case UnitName():
                return NameChange(self.channel, content.unit, content.name)
            case Marks() | LivePosition() | Typing():
                return None

    def _message(self, row: Row, body: Body, text: str, content: Text | Attachment) -> Message:
        member = self.member_of(row.device)
        return Message(
            self.channel,
            row.id,
            row.offset,
            row.device,
            member,
            row.at_ms,
            body.ts_ms,
            text,
            content.urgency if isinstance(content, Text) else Urgency.ROUTINE,
            member == self.me,
            content.reply_to if isinstance(content, Text) else None,
            content if isinstance(content, Attachment) else None,
        )

    def _report(self, row: Row, body: Body, content: Reported) -> Report:
        member = self.member_of(row.device)
        mine = member == self.me
        return Report(
            self.channel, row.id, row.offset, row.device, member, row.at_ms, body.ts_ms, content, mine
        )

    def _unreadable(self, row: Row, why: str) -> Unreadable:
        return Unreadable(self.channel, row.id, row.offset, row.device, row.at_ms, why)


def reading_of(row: Row) -> Reading:
    """An opened row of the history, read again."""
    try:
        body = decode_body(row.value)
        return Reading(row, body, read_content(body.type, body.data))
    except (SealingError, BodyError) as error:
        return Reading(row, code=error.code)


def belongs(content: Content, lane: Lane, key: bytes, device: DeviceId) -> bool:
    """Whether a content stands in the lane and under the key that its type and its sender allow."""
    if lane_of(content) is not lane:
        return False
    match content:
        case Status():
            return key == state_key(StateKind.STATUS, content.unit)
        case MemberName():
            return key == state_key(StateKind.NAME, content.member)
        case UnitName():
            return key == state_key(StateKind.NAME, content.unit)
        case Incident():
            return key == state_key(StateKind.INCIDENT, content.incident)
        case Marks():
            return key == state_key(StateKind.RECEIPT, device)
        case LastPosition() | LivePosition():
            return key == state_key(StateKind.POSITION, device)
        case Typing():
            return key == state_key(StateKind.TYPING, device)
        case _:
            return key == b""
