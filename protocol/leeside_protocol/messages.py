"""The messages of the socket, subprotocol `leeside.v1` (spec 02 and 03).

Each message is a MessagePack array whose first element is its tag. An *even* tag must be understood: a
peer that does not know it closes the socket with `protocol`. An *odd* tag may be ignored. Elements behind
the known ones are ignored, so that fields can be added at the end. There are no maps, floats or extension
types; integers stay below 2^53; ids are `bin`.

Fields named in `LOGGABLE` may stand in a log line; no other field ever does.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from leeside_protocol.ids import ADDRESS_BYTES, ID_BYTES, ChannelAddress, ConsultId, DeviceId, MessageId
from leeside_protocol.limits import (
    CLIENT_NAME_CHARS,
    INT_MAX,
    PAGE_ENTRIES,
    PAYLOAD_BYTES,
    STATE_KEY_BYTES,
    SUBSCRIPTIONS,
    TOKEN_BYTES,
    VIDEO_BODY_BYTES,
)
from leeside_protocol.words import Lane, Mark, Urgency

SUBPROTOCOL: Final = "leeside.v1"

_Req = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
_Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
_Address = Annotated[ChannelAddress, Meta(min_length=ADDRESS_BYTES, max_length=ADDRESS_BYTES)]
_Device = Annotated[DeviceId, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Message = Annotated[MessageId, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Consult = Annotated[ConsultId, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Signal = Annotated[bytes, Meta(max_length=VIDEO_BODY_BYTES)]
_Key = Annotated[bytes, Meta(max_length=STATE_KEY_BYTES)]
_Payload = Annotated[bytes, Meta(max_length=PAYLOAD_BYTES)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Client, first frame: who I am. Answered by `Welcome`, or the socket closes (41xx, 42xx).

    `proof` is the device's Ed25519 signature over PAE("leeside1 socket", nonce, token), where `nonce` is
    the one of `Challenge`: a stolen token alone opens nothing.
    """

    token: Annotated[str, Meta(max_length=TOKEN_BYTES)]
    proof: Annotated[bytes, Meta(min_length=64, max_length=64)]
    client: Annotated[str, Meta(max_length=CLIENT_NAME_CHARS)] = ""


class Renew(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Client: a newer token of the same session, before the last one ends. Answered by `Renewed`."""

    req: _Req
    token: Annotated[str, Meta(max_length=TOKEN_BYTES)]


class Subscribe(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Client: follow a log from `(generation, offset)`; (0, 0) asks for all of it.

    Answered by `Subscribed`, then by `Batch` after `Batch` up to the head, then live ones; or by `Refused`:
    `not_found` when there is no such channel or it is not yours.
    """

    req: _Req
    channel: _Address
    generation: _Count = 0
    offset: _Count = 0


class Unsubscribe(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Client: stop following a log. Never answered."""

    req: _Req
    channel: _Address


class Publish(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Client: store (log, state) or pass on (stream) one sealed payload.

    Log and state are answered by `Accepted` after the message is durable, or by `Refused`; stream never is.
    Repeat with the same `id` and bytes until one of them comes: it stands exactly once. `key` names the
    value in the state and stream lanes and is empty in the log; `payload` empty in `state` deletes.
    """

    req: _Req
    channel: _Address
    lane: Lane
    key: _Key
    id: _Message
    payload: _Payload
    urgency: Urgency = Urgency.ROUTINE
    mark: Mark = Mark.NONE


class Who(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Client: which devices of this channel are connected? Answered by `Online`."""

    req: _Req
    channel: _Address


class ClientBeat(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Client: I am here; sent every `BEAT_S` seconds when nothing else was."""

    at_ms: _Count = 0


class Video(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Client: a signal of this consult's call (`video.signalling`), for the bridge.

    Never answered by itself: what the bridge says comes as `VideoTold`. `Refused`: `not_found` when the consult is not
    yours, `conflict` when it is not accepted, `unavailable` when there is no bridge now, `unsupported` when the server
    has none at all, `rate_limited`.
    """

    req: _Req
    consult: _Consult
    body: _Signal


class Challenge(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Server, first frame: sign this nonce (see `Hello`)."""

    nonce: Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    server_ms: _Count


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """Server: you are signed in until `token_until_ms`; send `Renew` before. Times are the server's."""

    server_ms: _Count
    token_until_ms: _Count
    beat_s: _Count
    generation: _Count
    in_flight_messages: _Count
    in_flight_bytes: _Count


class Subscribed(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """Server: you follow this log.

    `status` 0 `ok`: batches continue behind your offset. 1 `gap`: payloads up to `floor` were pruned, say so
    to the person where the log begins; batches continue behind your offset, pruned entries as hashes. 2 `reset`:
    the generation differs or you are ahead; drop your copy, post again what the store may have lost; batches start
    at the beginning.
    """

    req: _Req
    channel: _Address
    status: Annotated[int, Meta(ge=0, le=2)]
    generation: _Count
    head: _Count
    floor: _Count


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One message as it stands in a log. `payload` is empty for a deleted state value and for a pruned
    message; a pruned one carries the SHA-256 of what it was in `hash`, which is empty otherwise."""

    offset: _Count
    lane: Lane
    key: _Key
    device: Annotated[DeviceId, Meta(max_length=ID_BYTES)]
    id: _Message
    at_ms: _Count
    payload: _Payload
    urgency: Urgency = Urgency.ROUTINE
    mark: Mark = Mark.NONE
    hash: Annotated[bytes, Meta(max_length=32)] = b""


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=38):
    """Server: all that stands in the log in the range (after, to].

    State values that were replaced are left out, so offsets inside may skip: the *range* is gapless. A
    receiver whose position is below `after` missed something and subscribes again from its position; one
    at or beyond `to` ignores the batch.
    """

    channel: _Address
    after: _Count
    to: _Count
    entries: Annotated[tuple[Entry, ...], Meta(max_length=PAGE_ENTRIES)]


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Server: your message is durable at `offset`. `repeat` 0: stored now; 1: it stood already, the same
    bytes; 2: it stood already with other bytes, and what stood first stands."""

    req: _Req
    offset: _Count
    generation: _Count
    repeat: Annotated[int, Meta(ge=0, le=2)] = 0


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """Server: your request was refused; `error` is a number of spec 90. `head` is the epoch to fetch when
    `stale`, the head offset when `conflict`, else 0. `retry_ms` is how long to wait when it may be retried."""

    req: _Req
    error: Annotated[int, Meta(ge=100, le=399)]
    head: _Count = 0
    retry_ms: _Count = 0
    detail: Annotated[str, Meta(max_length=200)] = ""


class Live(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """Server: the newest value of a stream key. Older ones may have been skipped, and none is kept."""

    channel: _Address
    key: _Key
    device: _Device
    at_ms: _Count
    payload: _Payload


class Beat(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """Server: I am here, and these are the heads of the logs you follow. A head beyond your position means
    that a push was lost: subscribe again from your position."""

    server_ms: _Count
    heads: Annotated[tuple[tuple[_Address, _Count], ...], Meta(max_length=SUBSCRIPTIONS)]
    degraded: bool = False


class Online(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """Server: devices of the channel that were connected at `as_of_ms`; show its age. `stale` is set when a
    node has not reported for a lease, so that absence proves nothing."""

    req: _Req
    channel: _Address
    as_of_ms: _Count
    stale: bool
    devices: tuple[_Device, ...]


class Renewed(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Server: you are signed in until `token_until_ms`."""

    req: _Req
    token_until_ms: _Count


class VideoTold(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """Server: what the bridge says about this consult's call; only to who sent `Video` on this socket."""

    consult: _Consult
    body: _Signal


ClientMessage = Hello | Renew | Subscribe | Unsubscribe | Publish | Who | ClientBeat | Video
ServerMessage = (
    Challenge | Welcome | Subscribed | Batch | Accepted | Refused | Live | Beat | Online | Renewed | VideoTold
)

CLIENT_MESSAGES: Final = (Hello, Renew, Subscribe, Unsubscribe, Publish, Who, ClientBeat, Video)
SERVER_MESSAGES: Final = (
    Challenge, Welcome, Subscribed, Batch, Accepted, Refused, Live, Beat, Online, Renewed, VideoTold,
)  # fmt: skip

LOGGABLE: Final[dict[str, frozenset[str]]] = {
    "Hello": frozenset(),
    "Renew": frozenset({"req"}),
    "Subscribe": frozenset({"req", "channel", "generation", "offset"}),
    "Unsubscribe": frozenset({"req", "channel"}),
    "Publish": frozenset({"req", "channel", "lane", "id", "urgency"}),
    "Who": frozenset({"req", "channel"}),
    "ClientBeat": frozenset({"at_ms"}),
    "Video": frozenset({"req", "consult"}),
    "Challenge": frozenset({"server_ms"}),
    "Welcome": frozenset({"server_ms", "token_until_ms", "beat_s", "generation"}),
    "Subscribed": frozenset({"req", "channel", "status", "generation", "head", "floor"}),
    "Entry": frozenset({"offset", "lane", "device", "id", "at_ms", "urgency"}),
    "Batch": frozenset({"channel", "after", "to"}),
    "Accepted": frozenset({"req", "offset", "generation", "repeat"}),
    "Refused": frozenset({"req", "error", "head", "retry_ms"}),
    "Live": frozenset({"channel", "device", "at_ms"}),
    "Beat": frozenset({"server_ms", "degraded"}),
    "Online": frozenset({"req", "channel", "as_of_ms", "stale"}),
    "Renewed": frozenset({"req", "token_until_ms"}),
    "VideoTold": frozenset({"consult"}),
}
"""Fields of each message that a log line may carry: ids, counts and codes, never content or secrets."""
