"""What a client and the bridge say to each other about a call (spec 09, "Signalling").

Each is a MessagePack array whose first element is its tag, and travels as the `body` of `Video` and `VideoTold` on the
client's own socket: the relay says who speaks, the bridge believes nobody else. None of it holds a media key.

`generation` is a number that the client chooses anew, and higher, for each attempt to join: what speaks of another one is
out of date, and dropped by both sides. A body that is not exactly one known message is refused as `invalid`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ID_BYTES, DeviceId
from leeside_protocol.limits import INT_MAX, VIDEO_BODY_BYTES
from leeside_protocol.video.formats import SEATS, MediaKind

SDP_CHARS: Final = 24_576
TURN_SERVERS: Final = 4

_Generation = Annotated[int, Meta(ge=1, le=INT_MAX)]
_Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
_Device = Annotated[DeviceId, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Sdp = Annotated[str, Meta(max_length=SDP_CHARS)]
_Mid = Annotated[str, Meta(max_length=1)]
_Lines = Annotated[int, Meta(ge=0, le=4_320)]
_Grade = Annotated[int, Meta(ge=0, le=3)]


class Part(IntEnum):
    """What somebody is to the call. The smaller number's picture goes on for longer on a bad link."""

    RESPONDER = 1
    """Of the team beside the person; with `person` set this camera shows the person in crisis, who comes first."""
    PSYCHIATRIST = 2
    INTERPRETER = 3
    SUPERVISOR = 4
    RECEIVING_FACILITY = 5


class GoneWhy(IntEnum):
    """Why somebody is not in the room any more."""

    LEFT = 0
    LOST = 1
    REMOVED = 2
    ENDED = 3


class PausedWhy(IntEnum):
    """Why a picture does not come; `FLOWING`: it does."""

    FLOWING = 0
    BANDWIDTH = 1
    MUTED = 2
    UNSEALED = 3
    """It was not sealed, and the bridge passes on nothing that is not."""
    UNWANTED = 4


class Participant(msgspec.Struct, frozen=True, array_like=True):
    """Somebody in the room. `since_ms` is the server's time; `signs`: an interpreter of a signed language."""

    device: _Device
    part: Part
    since_ms: _Count
    person: bool = False
    signs: bool = False
    audio_muted: bool = False
    video_muted: bool = False


class TurnServer(msgspec.Struct, frozen=True, array_like=True):
    """A relay of media, for who reaches the bridge by no other way, until the credential ends (RFC 8656)."""

    urls: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=4)]
    username: Annotated[str, Meta(max_length=128)]
    credential: Annotated[str, Meta(max_length=128)]


# ---- from the client


class Join(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """I come. Answered by `Welcome` and, once admitted, by `Offer`; or by `Denied`. `person`: my camera shows the
    person in crisis (the team's devices alone may say so)."""

    generation: _Generation
    person: bool = False
    signs: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The SDP answer to the offer of this `version`."""

    generation: _Generation
    version: _Count
    sdp: _Sdp


class Mute(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """My microphone or camera is off, or on again: the others are told."""

    generation: _Generation
    media: MediaKind
    muted: bool


class Want(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """How large I show whom, in lines; 0: not at all. Who is not named is wanted as large as the link allows."""

    generation: _Generation
    pictures: Annotated[tuple[tuple[_Device, _Lines], ...], Meta(max_length=SEATS)]


class RestartIce(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """My path is dead: a new offer, please. The seat and the keys of the transport stay."""

    generation: _Generation


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """I go."""

    generation: _Generation


class Admit(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Who waits may come in; for who may admit."""

    generation: _Generation
    device: _Device


class Restrict(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Consent was withdrawn (or given again): media reach none but the team, the psychiatrist and the interpreter."""

    generation: _Generation
    restricted: bool


class Refuse(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """Who waits may not come in; for who may admit. They hear `Gone` (removed), and wait again when they ask again."""

    generation: _Generation
    device: _Device


# ---- from the bridge


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Your seat. `waiting`: somebody must admit you; an `Offer` follows when they did."""

    generation: _Generation
    server_ms: _Count
    waiting: bool
    restricted: bool
    participants: Annotated[tuple[Participant, ...], Meta(max_length=SEATS)]
    turn: Annotated[tuple[TurnServer, ...], Meta(max_length=TURN_SERVERS)]


class Offer(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """The bridge's SDP; answer it. A higher `version` within a generation restarts ICE on the same transport."""

    generation: _Generation
    version: _Count
    sdp: _Sdp


class Slot(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """Somebody is there: their media come on these m-lines from now on."""

    generation: _Generation
    participant: Participant
    audio_mid: _Mid
    video_mid: _Mid


class Gone(msgspec.Struct, frozen=True, array_like=True, tag=38):
    """Somebody is not there any more, or does not wait any more."""

    generation: _Generation
    device: _Device
    why: GoneWhy


class Muted(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Somebody's microphone or camera is off, or on again."""

    generation: _Generation
    device: _Device
    media: MediaKind
    muted: bool


class Paused(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """What comes of somebody's picture: why it does not, or in how many lines it does."""

    generation: _Generation
    device: _Device
    why: PausedWhy
    lines: _Lines = 0


class Quality(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """How your link is: 3 good, 2 fair, 1 poor, 0 lost. `audio_only`: no picture fits any more, in either direction."""

    generation: _Generation
    up: _Grade
    down: _Grade
    audio_only: bool = False


class Violation(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """Somebody's frames were not sealed. The bridge dropped them; stop that track at once if it is yours."""

    generation: _Generation
    device: _Device
    media: MediaKind


class Migrate(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """Join again, with a higher generation, and let go of this one when the first frame of the new one has come."""

    generation: _Generation


class Waiting(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Somebody waits to be admitted; told to who may."""

    generation: _Generation
    participant: Participant


class Denied(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """No seat. `busy`: the room or the bridge is full; `unavailable`: there is no bridge now; `expired`: the consult is over."""

    generation: _Generation
    error: Annotated[int, Meta(ge=100, le=399)]
    retry_ms: _Count = 0


class Restricted(msgspec.Struct, frozen=True, array_like=True, tag=54):
    """Media reach none but the team, the psychiatrist and the interpreter from now on, or everybody again."""

    generation: _Generation
    restricted: bool
    by: _Device


ClientSignal = Join | Answer | Mute | Want | RestartIce | Leave | Admit | Restrict | Refuse
BridgeSignal = (
    Welcome
    | Offer
    | Slot
    | Gone
    | Muted
    | Paused
    | Quality
    | Violation
    | Migrate
    | Waiting
    | Denied
    | Restricted
)
CLIENT_SIGNALS: Final = (Join, Answer, Mute, Want, RestartIce, Leave, Admit, Restrict, Refuse)
BRIDGE_SIGNALS: Final = (
    Welcome, Offer, Slot, Gone, Muted, Paused, Quality, Violation, Migrate, Waiting, Denied, Restricted,
)  # fmt: skip

_encoder: Final = msgspec.msgpack.Encoder()
_client: Final[msgspec.msgpack.Decoder[ClientSignal]] = msgspec.msgpack.Decoder(ClientSignal)
_bridge: Final[msgspec.msgpack.Decoder[BridgeSignal]] = msgspec.msgpack.Decoder(BridgeSignal)


def encode_signal(signal: ClientSignal | BridgeSignal) -> bytes:
    """A body for `Video` or `VideoTold`; `too_large` beyond `VIDEO_BODY_BYTES`."""
    data = _encoder.encode(signal)
    if len(data) > VIDEO_BODY_BYTES:
        raise ProtocolError(WireError.TOO_LARGE, "a signal has 32,768 bytes at most")
    return data


def decode_client_signal(data: bytes) -> ClientSignal:
    """What a client says to the bridge; `invalid`, `too_large`."""
    if len(data) <= VIDEO_BODY_BYTES:
        try:
            return _client.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    raise _refusal(data)


def decode_bridge_signal(data: bytes) -> BridgeSignal:
    """What the bridge says to a client; `invalid`, `too_large`."""
    if len(data) <= VIDEO_BODY_BYTES:
        try:
            return _bridge.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    raise _refusal(data)


def _refusal(data: bytes) -> ProtocolError:
    if len(data) > VIDEO_BODY_BYTES:
        return ProtocolError(WireError.TOO_LARGE, "a signal has 32,768 bytes at most")
    return ProtocolError(WireError.INVALID, "not a signal of a call")
