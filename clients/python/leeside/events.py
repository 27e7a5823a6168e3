"""What `Leeside.follow` gives: one frozen object for each thing that happened in a channel.

Nothing is left out in silence: what cannot be opened or shown comes as `Unreadable`, what the server no longer has
as `Gap`, a queue that ran over as `Lagged`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from leeside.bodies import (
    Assignment,
    Attachment,
    CheckIn,
    Consent,
    ConsentWithdrawn,
    ConsultAsked,
    Duress,
    Fix,
    Incident,
    Recommendation,
    Status,
    TimelineMark,
)
from leeside.connection import LinkStatus
from leeside_protocol import oncall as o
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId, MemberId, MessageId, UnitId
from leeside_protocol.words import Mark, Urgency


@dataclass(frozen=True, slots=True)
class Message:
    """What a person wrote or attached. `at_ms` is the server's time, `written_ms` the sender's clock; `offset` its
    place in the log. `mine`: written by this device's own member."""

    channel: ChannelId
    id: MessageId
    offset: int
    device: DeviceId
    member: MemberId | None
    at_ms: int
    written_ms: int
    text: str
    urgency: Urgency
    mine: bool
    reply_to: MessageId | None = None
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """An urgent message that nobody acknowledged here yet: sound again. `times` counts from 1."""

    channel: ChannelId
    id: MessageId
    times: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A device acknowledged a message, before all; a recommendation in its own words (`read_back`)."""

    channel: ChannelId
    message: MessageId
    device: DeviceId
    member: MemberId | None
    at_ms: int
    read_back: str = ""


class Progress(StrEnum):
    """How far a message has come at one device; each includes those before."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    READ = "read"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message of this device came further at another one (`device` None: at the server)."""

    channel: ChannelId
    id: MessageId
    progress: Progress
    device: DeviceId | None = None
    code: int = 0


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A unit's status is this one now."""

    channel: ChannelId
    unit: UnitId
    status: Status
    device: DeviceId
    at_ms: int
    mark: Mark


Reported: TypeAlias = (
    Assignment | TimelineMark | CheckIn | Duress | ConsultAsked | Recommendation | Consent | ConsentWithdrawn
)


@dataclass(frozen=True, slots=True)
class Report:
    """Something that a person or a program said in a form of its own (spec 08, 09, 10): an assignment, a mark of the
    timeline, a check-in, duress, what a consult is about, a recommendation, consent to a call. Times as in `Message`."""

    channel: ChannelId
    id: MessageId
    offset: int
    device: DeviceId
    member: MemberId | None
    at_ms: int
    written_ms: int
    content: Reported
    mine: bool


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """What is sealed about an incident is this now."""

    channel: ChannelId
    incident: Incident
    device: DeviceId
    at_ms: int


@dataclass(frozen=True, slots=True)
class PositionChange:
    """A device's position. `live`: pushed now; else its last position, kept. Show the age of `fix.fix_ms`."""

    channel: ChannelId
    device: DeviceId
    fix: Fix | None
    at_ms: int
    live: bool
    sharing: bool
    duress: bool = False


@dataclass(frozen=True, slots=True)
class TypingChange:
    """A person is typing, or stopped; forget it after ten seconds without another."""

    channel: ChannelId
    device: DeviceId
    on: bool


@dataclass(frozen=True, slots=True)
class NameChange:
    """A member's or unit's shown name is this one now."""

    channel: ChannelId
    owner: bytes
    name: str


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Who can read this channel changed: its roster after the commit, and who came and went."""

    channel: ChannelId
    epoch: int
    committer: DeviceId
    joined: frozenset[DeviceId]
    left: frozenset[DeviceId]
    at_ms: int


@dataclass(frozen=True, slots=True)
class ContextRequest:
    """A member asks for what was before. A person decides: `Leeside.grant`."""

    channel: ChannelId
    device: DeviceId
    from_epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Granted:
    """This device was given earlier epochs; messages that now open follow as `Message`."""

    channel: ChannelId
    epochs: tuple[int, ...]
    opened: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that this device cannot show. `why`: `not_granted` (ask a member), `no_key` (its keys did not come
    in time), `unsupported` (a newer kind of message), `pruned`, or a sealing code: then somebody sent what does
    not hold."""

    channel: ChannelId
    id: MessageId
    offset: int
    device: DeviceId
    at_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Gap:
    """The server pruned what was between these offsets before it was received here."""

    channel: ChannelId
    since: int
    floor: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The server's history is another one (a restored backup): the local copy was dropped; what follows is the
    log as it stands now, and `posted_again` of this device's messages are under way once more."""

    channel: ChannelId
    posted_again: int


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything up to the head is here; what follows happens now. Only now may a screen say "no messages"."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class Lagged:
    """This iterator was not read for so long that events were thrown away: read `history` again."""

    channel: ChannelId
    lost: int


@dataclass(frozen=True, slots=True)
class Left:
    """This device is no longer in the channel."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The channel's incident ended a day ago: its messages and keys are no longer on this device."""

    channel: ChannelId


class AlarmKind(StrEnum):
    """What someone may be doing."""

    FORK = "fork"
    """Two signed branches of a channel: members are shown different histories of its keys."""
    DIRECTORY_FORK = "directory_fork"
    """Two signed branches of the agency's directory."""
    GHOST_DEVICE = "ghost_device"
    """A device was certified under this person's name that they did not enrol."""
    WITHHELD = "withheld"
    """The server does not give what a commit names: entries of the directory, or this device's keys."""
    HISTORY = "history"
    """Another member saw another order of messages than this device was given."""
    REFUSED_COMMIT = "refused_commit"
    """The server passed on a change of members or keys that breaks a rule."""
    CHANGED_FRAME = "changed_frame"
    """A message came back other than it was sent, under another name, or once more."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Full screen, in red. `stops_sending`: nothing is sent in this channel until a person decided; talk by
    voice. `channel` None: all channels."""

    channel: ChannelId | None
    kind: AlarmKind
    code: str
    stops_sending: bool
    device: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """The link to the server changed: show "no live link" while it is not online."""

    status: LinkStatus


@dataclass(frozen=True, slots=True)
class ConsultChange:
    """A consult that concerns this person stands like this now (spec 08); it comes to followers of every channel."""

    consult: o.Consult


@dataclass(frozen=True, slots=True)
class Ring:
    """This person is asked to come: sound, full screen, until they answer. `times` counts from 1."""

    consult: o.Consult
    times: int


@dataclass(frozen=True, slots=True)
class RingTest:
    """The page came that this device asked for, to see that it rings."""

    page: bytes


@dataclass(frozen=True, slots=True)
class ConsultAlarm:
    """Nobody came to a consult, or too many were asked for: a supervisor takes it. Repeats until then."""

    consult: ConsultId


Event: TypeAlias = (
    Message
    | Report
    | Repeat
    | Acknowledgement
    | Receipt
    | StatusChange
    | IncidentChange
    | PositionChange
    | TypingChange
    | NameChange
    | MemberChange
    | ContextRequest
    | Granted
    | Unreadable
    | Gap
    | Reset
    | CaughtUp
    | Lagged
    | Left
    | Forgotten
    | Alarm
    | Link
    | ConsultChange
    | Ring
    | RingTest
    | ConsultAlarm
)
