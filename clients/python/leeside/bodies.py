"""What is sealed inside a message: its type, its time, its id, what its sender had seen, and its data.

A body is the MessagePack array `[type, ts_ms, msg_id, seen, data]` (spec 04 and 05); sealing reads and writes
the whole, this module its `data`: an array whose form the type gives. Elements behind the known ones are
ignored, so that fields can be added at the end. There are no floats: a place is in 1e-7 degrees, a speed in
cm/s. A type that this version does not know is `Unsupported`: it is shown as such and never dropped in silence.
What does not fit its type is a `BodyError`.

Everything here comes from a member of the channel, whose signature was checked, and is still held to bounds:
one faulty client must not take the others down.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias, cast

import msgspec
from msgspec import Meta

from leeside_protocol.ids import ID_BYTES, BlobId, ConsultId, IncidentId, MemberId, MessageId, UnitId
from leeside_protocol.limits import BLOB_BYTES, INT_MAX
from leeside_protocol.sealing.opening.body import Body, encode_body
from leeside_protocol.sealing.public.encoding import Value
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.video.signalling import Part
from leeside_protocol.words import Disposition, Lane, Mark, PrimaryStatus, Role, SecondaryStatus, Urgency

TEXT_CHARS: Final = 8_000
NOTE_CHARS: Final = 500
NAME_CHARS: Final = 80
TYPE_CODE_CHARS: Final = 40
FILE_NAME_CHARS: Final = 255
MEDIA_TYPE_CHARS: Final = 127
REPEAT_S: Final = 15
"""How often an urgent message repeats at its receivers until each has acknowledged it."""

_Ms = Annotated[int, Meta(ge=0, le=INT_MAX)]
_Offset = Annotated[int, Meta(ge=0, le=INT_MAX)]
_Id16 = Meta(min_length=ID_BYTES, max_length=ID_BYTES)
_RepeatS = Annotated[int, Meta(ge=0, le=3_600)]
_LatE7 = Annotated[int, Meta(ge=-900_000_000, le=900_000_000)]
_LonE7 = Annotated[int, Meta(ge=-1_800_000_000, le=1_800_000_000)]
_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]


class BodyError(Exception):
    """A body whose data does not fit its type (`E_BODY` in the vectors); the text repeats no input."""

    code: Final = "E_BODY"

    def __init__(self) -> None:
        super().__init__("a message body that does not fit its type")


# ---- log lane


class Text(msgspec.Struct, frozen=True, array_like=True):
    """`text`: what a person wrote. `urgency` here is sealed and is the one that counts: the envelope's only helps
    the server to order. `repeat_s` is 0 unless the message is urgent."""

    urgency: Urgency
    text: Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS)]
    repeat_s: _RepeatS = 0
    reply_to: Annotated[MessageId, _Id16] | None = None


class Acknowledged(msgspec.Struct, frozen=True, array_like=True):
    """`acknowledged`: the person at this device acknowledged a message; ends its repeating there, and is kept for all.
    `read_back` is a recommendation in the words of who will act on it (spec 08); empty for everything else."""

    message: Annotated[MessageId, _Id16]
    read_back: Annotated[str, Meta(max_length=TEXT_CHARS)] = ""


class Attachment(msgspec.Struct, frozen=True, array_like=True):
    """`attachment`: a file: where its sealed chunks stand, and the key that opens them. `size_bytes` is of the plain file."""

    blob: Annotated[BlobId, _Id16]
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    file_id: Annotated[bytes, _Id16]
    size_bytes: Annotated[int, Meta(ge=0, le=BLOB_BYTES)]
    sha256: _Hash
    name: Annotated[str, Meta(min_length=1, max_length=FILE_NAME_CHARS)]
    media_type: Annotated[str, Meta(max_length=MEDIA_TYPE_CHARS)] = ""
    caption: Annotated[str, Meta(max_length=TEXT_CHARS)] = ""

    def __repr__(self) -> str:
        return f"Attachment({self.size_bytes} bytes)"


class ContextWanted(msgspec.Struct, frozen=True, array_like=True):
    """`context_wanted`: a member asks to be granted earlier epochs. Never answered by a machine on the server's word."""

    from_epoch: _Offset
    reason: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""


class Assignment(msgspec.Struct, frozen=True, array_like=True):
    """`assignment`: a unit is sent to this channel's incident; sounds at its people until they acknowledge (spec 10)."""

    unit: Annotated[UnitId, _Id16]
    priority: Annotated[int, Meta(ge=1, le=5)]
    repeat_s: _RepeatS = REPEAT_S
    note: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""


class TimelineMark(msgspec.Struct, frozen=True, array_like=True):
    """`timeline`: a mark of the incident's timeline that stays in its log: the number of a `Mark`, never `NONE`."""

    mark: Annotated[int, Meta(ge=1, le=16)]
    unit: Annotated[UnitId, _Id16] | None = None
    note: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""


class ConsultAsked(msgspec.Struct, frozen=True, array_like=True):
    """`consult`: what a consult is about, the first message of its channel (spec 08). To the roles in `grant_to`, and to no
    others, a member's client gives the incident's earlier context by itself."""

    consult: Annotated[ConsultId, _Id16]
    urgency: Urgency
    summary: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""
    grant_to: Annotated[tuple[Role, ...], Meta(max_length=len(Role))] = ()


class Recommendation(msgspec.Struct, frozen=True, array_like=True):
    """`recommendation`: a clinician's, which sounds until the requester's unit has read it back (spec 08)."""

    text: Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS)]
    repeat_s: _RepeatS = REPEAT_S


class ConsentBy(IntEnum):
    """Who agreed to a call. `EMERGENCY`: nobody could be asked."""

    PERSON = 0
    GUARDIAN = 1
    EMERGENCY = 2


class ConsentMethod(IntEnum):
    """How they agreed."""

    SPOKEN = 0
    WRITTEN = 1


class Consent(msgspec.Struct, frozen=True, array_like=True):
    """`consent`: what a person agreed to, or why nobody could be asked; before it is read, no media are sent (spec 09).

    `recipients`: to whom their picture and sound may go. `expires_ms`: the server's time. `reason`: of an emergency."""

    by: ConsentBy
    scope: Annotated[str, Meta(min_length=1, max_length=NOTE_CHARS)]
    purpose: Annotated[str, Meta(min_length=1, max_length=NOTE_CHARS)]
    recipients: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=len(Part))]
    expires_ms: _Ms
    method: ConsentMethod
    capacity: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""
    interpreter: bool = False
    reason: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""

    def __post_init__(self) -> None:
        if (self.by is ConsentBy.EMERGENCY) == (self.reason == ""):
            raise ValueError("an emergency, and nothing else, has a reason")


class ConsentWithdrawn(msgspec.Struct, frozen=True, array_like=True):
    """`consent_withdrawn`: the `consent` of this message id ends here (spec 09)."""

    consent: Annotated[MessageId, _Id16]


# ---- state lane


class Status(msgspec.Struct, frozen=True, array_like=True):
    """`status`: a unit's status (NENA-STA-021.1b), kept under the unit's key. `since_ms` is when it began."""

    unit: Annotated[UnitId, _Id16]
    primary: PrimaryStatus
    secondary: SecondaryStatus | None
    since_ms: _Ms
    note: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""
    destination: Annotated[str, Meta(max_length=NOTE_CHARS)] = ""
    mark: Mark = Mark.NONE


class MemberName(msgspec.Struct, frozen=True, array_like=True):
    """`member_name`: a member's name, kept in the agency's channel under the member's key."""

    member: Annotated[MemberId, _Id16]
    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS)]


class UnitName(msgspec.Struct, frozen=True, array_like=True):
    """`unit_name`: a unit's name, kept in the agency's channel under the unit's key."""

    unit: Annotated[UnitId, _Id16]
    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS)]


class Marks(msgspec.Struct, frozen=True, array_like=True):
    """`marks`: receipt marks of one device, kept under its key: all up to these offsets of `generation` is on the
    device (`delivered`) and was shown to its person (`read`)."""

    generation: _Offset
    delivered: _Offset
    read: _Offset


class Fix(msgspec.Struct, frozen=True, array_like=True):
    """A place on earth: WGS 84 in 1e-7 degrees, already coarsened to `coarse_m` by the device that sent it."""

    lat_e7: _LatE7
    lon_e7: _LonE7
    accuracy_m: Annotated[int, Meta(ge=0, le=100_000)]
    fix_ms: _Ms
    coarse_m: Annotated[int, Meta(ge=0, le=100_000)] = 0
    heading_deg: Annotated[int, Meta(ge=0, le=359)] | None = None
    speed_cm_s: Annotated[int, Meta(ge=0, le=20_000)] | None = None
    battery_percent: Annotated[int, Meta(ge=0, le=100)] | None = None


class CheckIn(msgspec.Struct, frozen=True, array_like=True):
    """`check_in`: all is well here; sounds at the others until one of them acknowledges."""

    unit: Annotated[UnitId, _Id16] | None = None
    repeat_s: _RepeatS = REPEAT_S
    fix: Fix | None = None


class Duress(msgspec.Struct, frozen=True, array_like=True):
    """`duress`: whoever sent this is in danger. Silent at the sender; sounds at the others, and stands on their screens
    until another member than the sender acknowledged it."""

    unit: Annotated[UnitId, _Id16] | None = None
    repeat_s: _RepeatS = REPEAT_S
    fix: Fix | None = None


class Incident(msgspec.Struct, frozen=True, array_like=True):
    """`incident`: what is sealed about an incident, kept under its key in its operations channel. `place` is where people
    are sent, in 1e-7 degrees; `disposition` is empty while it goes on."""

    incident: Annotated[IncidentId, _Id16]
    type_code: Annotated[str, Meta(max_length=TYPE_CODE_CHARS)]
    district: Annotated[str, Meta(max_length=NAME_CHARS)]
    address: Annotated[str, Meta(max_length=NOTE_CHARS)]
    place: tuple[_LatE7, _LonE7] | None = None
    narrative: Annotated[str, Meta(max_length=TEXT_CHARS)] = ""
    disposition: Disposition = Disposition.NONE


class LastPosition(msgspec.Struct, frozen=True, array_like=True):
    """`last_position`: where a device was last, kept under its key so that age and place outlive the device. `sharing` says
    whether it goes on sharing, every `every_s` seconds; `fix` is None when there was never one."""

    sharing: bool
    every_s: Annotated[int, Meta(ge=0, le=3_600)]
    duress: bool
    fix: Fix | None


# ---- stream lane


class LivePosition(msgspec.Struct, frozen=True, array_like=True):
    """`position`: where a device is now; never stored."""

    fix: Fix


class Typing(msgspec.Struct, frozen=True, array_like=True):
    """`typing`: a person is typing, or stopped."""

    on: bool


class Unsupported(msgspec.Struct, frozen=True):
    """A type that this version does not know. Show "a message that this version cannot show"."""

    type: str


Content: TypeAlias = (
    Text
    | Acknowledged
    | Attachment
    | ContextWanted
    | Assignment
    | TimelineMark
    | CheckIn
    | Duress
    | ConsultAsked
    | Recommendation
    | Consent
    | ConsentWithdrawn
    | Status
    | MemberName
    | UnitName
    | Incident
    | Marks
    | LastPosition
    | LivePosition
    | Typing
)

LOG_TYPES: Final[dict[str, type[Content]]] = {
    "text": Text,
    "acknowledged": Acknowledged,
    "attachment": Attachment,
    "context_wanted": ContextWanted,
    "assignment": Assignment,
    "timeline": TimelineMark,
    "check_in": CheckIn,
    "duress": Duress,
    "consult": ConsultAsked,
    "recommendation": Recommendation,
    "consent": Consent,
    "consent_withdrawn": ConsentWithdrawn,
}
STATE_TYPES: Final[dict[str, type[Content]]] = {
    "status": Status,
    "member_name": MemberName,
    "unit_name": UnitName,
    "incident": Incident,
    "marks": Marks,
    "last_position": LastPosition,
}
STREAM_TYPES: Final[dict[str, type[Content]]] = {"position": LivePosition, "typing": Typing}
TYPES: Final = LOG_TYPES | STATE_TYPES | STREAM_TYPES
_NAMES: Final = {kind: name for name, kind in TYPES.items()}
_LANES: Final = {
    **dict.fromkeys(LOG_TYPES, Lane.LOG),
    **dict.fromkeys(STATE_TYPES, Lane.STATE),
    **dict.fromkeys(STREAM_TYPES, Lane.STREAM),
}


def type_of(content: Content) -> str:
    """The name of a content's type, as it stands first in the body."""
    return _NAMES[type(content)]


def lane_of(content: Content) -> Lane:
    """The lane that a content belongs to."""
    return _LANES[type_of(content)]


def encode_content(content: Content, ts_ms: int, message: MessageId, seen: LogHead | None = None) -> bytes:
    """The body to seal. Raises `BodyError` when the content is beyond its bounds: nothing is cut short, and
    bounds are told to the one who wrote it, not to the many who would refuse it."""
    kind = type_of(content)
    data = cast("Value", msgspec.to_builtins(content, builtin_types=(bytes,)))
    read_content(kind, data)
    return encode_body(Body(kind, ts_ms, message, seen, data))


def read_content(kind: str, data: Value) -> Content | Unsupported:
    """What a body's `data` says. Raises `BodyError` when it does not fit the type: show "a message that cannot
    be read", with its sender."""
    expected = TYPES.get(kind)
    if expected is None:
        return Unsupported(kind)
    try:
        return msgspec.convert(data, type=expected, strict=True)
    except (msgspec.MsgspecError, RecursionError):
        raise BodyError from None
