"""A consult's call: who may be in it and as what, and the words by which nodes and workers of the bridge tell each other
(spec 09, "Who may").

The relay says who speaks; the worker believes its ticket alone. Words cross the bus between machines, so each is sealed
under a key of the nodes' common secret and bound to the address it is for: whoever holds the bus can delay one, and neither
read nor plant one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Container
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ID_BYTES, AgencyId, ConsultId, DeviceId, MemberId
from leeside_protocol.limits import VIDEO_BODY_BYTES
from leeside_protocol.video.signalling import (
    Admit,
    ClientSignal,
    GoneWhy,
    Join,
    Part,
    Refuse,
    Restrict,
    TurnServer,
)
from leeside_protocol.words import ConsultState, Role
from leeside_server.core.consult_rights import takes_part
from leeside_server.core.consult_row import FINAL, ConsultRow
from leeside_server.core.guests import GuestRow
from leeside_server.core.ladder import World

CALLING: Final = frozenset({ConsultState.ACCEPTED, ConsultState.IN_SESSION})
"""The states in which there is a call."""
ADMITS: Final = frozenset({Part.RESPONDER, Part.PSYCHIATRIST})
"""Who comes in at once, lets others in, and says what was consented to."""
NEVER_RESTRICTED: Final = ADMITS | {Part.INTERPRETER}
"""Whom media reach also after consent was withdrawn."""
GUEST_PARTS: Final = {
    Role.INTERPRETER: Part.INTERPRETER,
    Role.RECEIVING_FACILITY: Part.RECEIVING_FACILITY,
}
TICKET_MS: Final = 12 * 3_600_000
"""The longest that a member's ticket lasts. It is renewed with every signal, and ended early by an `Expelled`: this is for the
day on which no node is left that could say so."""
TURN_S: Final = 600
ADDRESS_BYTES: Final = 8
WORD_AGE_MS: Final = 60_000
"""An older word is a repeat that somebody kept (or a clock that is wrong by a minute)."""
_NONCE_BYTES: Final = 12

_Id = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Device = Annotated[DeviceId, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Address = Annotated[bytes, Meta(min_length=ADDRESS_BYTES, max_length=ADDRESS_BYTES)]
_Body = Annotated[bytes, Meta(max_length=VIDEO_BODY_BYTES)]


# ---- who may


class Caller(msgspec.Struct, frozen=True):
    """Who asks: a signed-in device, the member it belongs to, and that member's row of a guest, if they are one."""

    member: MemberId
    device: DeviceId
    guest: GuestRow | None = None


def part_in(
    consult: ConsultId,
    row: ConsultRow,
    caller: Caller,
    world: World,
    roster: Container[DeviceId],
    now_ms: int,
) -> Part:
    """What the caller is to this consult's call. `roster`: the devices of its channel.

    Raises `not_found` when the consult is not theirs, `expired` when it is over, `forbidden` when this device is not in the
    channel, and so could open nothing: let it in first; and, last of all, `conflict` when nobody has accepted it (any more).
    """
    part = _part(consult, row, caller, world, now_ms)
    if part is None:
        raise ProtocolError(WireError.NOT_FOUND, "no such consult")
    if row.state in FINAL:
        raise ProtocolError(WireError.EXPIRED, "this consult is over")
    if caller.device not in roster:
        raise ProtocolError(WireError.FORBIDDEN, "this device is not in the consult's channel")
    if row.state not in CALLING:
        raise ProtocolError(WireError.CONFLICT, "nobody has accepted this consult")
    return part


def _part(consult: ConsultId, row: ConsultRow, caller: Caller, world: World, now_ms: int) -> Part | None:
    guest = caller.guest
    if guest is not None:
        return GUEST_PARTS.get(guest.role) if guest.consult == consult and guest.lasts(now_ms) else None
    if caller.member == row.accepted_by:
        return Part.PSYCHIATRIST
    if takes_part(row, caller.member, world):
        return Part.RESPONDER
    return Part.SUPERVISOR if caller.member in world.supervisors else None


def require(part: Part, signal: ClientSignal) -> None:
    """Raise `forbidden` for what is not this part's to say."""
    match signal:
        case Join(person=True):
            allowed = part is Part.RESPONDER
        case Join(signs=True):
            allowed = part is Part.INTERPRETER
        case Admit() | Refuse() | Restrict():
            allowed = part in ADMITS
        case _:
            allowed = True
    if not allowed:
        raise ProtocolError(WireError.FORBIDDEN, "this is not yours to say in this call")


# ---- what a worker believes


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Who speaks, for the worker. `admits`: comes in at once, and lets others in; `team`: never restricted. What the bridge
    says to the device goes to `node` (an address), until a later ticket names another. `turn` is filled for a `Join` alone.

    So are `restricted` and `admitted`: what the node heard of this room, and of this device in it, from a worker that may have
    it no more. A worker that knows better goes by what it knows."""

    room: _Id
    device: _Device
    part: Part
    admits: bool
    team: bool
    node: _Address
    until_ms: int
    turn: tuple[TurnServer, ...] = ()
    restricted: bool = False
    admitted: bool = False


def ticket_for(
    room: bytes, caller: Caller, part: Part, node: bytes, now_ms: int, turn: tuple[TurnServer, ...] = ()
) -> Ticket:
    """The ticket of who has this part: until their stay ends, or for `TICKET_MS`."""
    until_ms = now_ms + TICKET_MS
    if caller.guest is not None:
        until_ms = min(until_ms, caller.guest.until_ms)
    admits, team = part in ADMITS, part in NEVER_RESTRICTED
    return Ticket(room, caller.device, part, admits, team, node, until_ms, turn)


def room_of(agency: AgencyId, consult: ConsultId) -> bytes:
    """The room's id, 16 bytes. Agencies choose the ids of their consults, so the agency is part of it."""
    return hashlib.sha256(b"leeside1 room" + agency + consult).digest()[:16]


def turn_server(urls: tuple[str, ...], secret: str, room: bytes, device: DeviceId, now_ms: int) -> TurnServer:
    """A credential of coturn's `use-auth-secret`, for `TURN_S`. Its name says when it ends, and nothing else that the TURN
    server could put together with another call."""
    name = hmac.digest(secret.encode(), b"leeside1 turn" + room + device, "sha256")[:8].hex()
    username = f"{now_ms // 1000 + TURN_S}:{name}"
    mac = hmac.digest(secret.encode(), username.encode(), "sha1")
    return TurnServer(urls, username, base64.b64encode(mac).decode())


# ---- words between nodes and workers


class Spoken(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Node to worker: `ticket.device` says `body` (a `ClientSignal`) in `ticket.room`."""

    epoch: int
    ticket: Ticket
    body: _Body


class Expelled(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Node to worker: this device must not be in the room any more."""

    epoch: int
    room: _Id
    device: _Device
    why: GoneWhy


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Node to worker: the call is over for all."""

    epoch: int
    room: _Id
    why: GoneWhy


class Heard(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Worker to node: `body` (a `BridgeSignal`) is for this device."""

    epoch: int
    room: _Id
    device: _Device
    body: _Body


ToWorker = Spoken | Expelled | Closed
AnyWord = Spoken | Expelled | Closed | Heard


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    at_ms: int
    word: AnyWord


class WordSeal:
    """Seals and opens words under the nodes' secret (32 bytes). `random` gives bytes nobody can foresee."""

    def __init__(self, secret: bytes, random: Callable[[int], bytes]) -> None:
        self._aead = AESGCM(HKDF(SHA256(), 32, None, b"leeside1 video").derive(secret))
        self._random = random
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[_Envelope] = msgspec.msgpack.Decoder(_Envelope)

    def seal(self, address: bytes, word: AnyWord, now_ms: int) -> bytes:
        """The bytes for this address: nonce (12), then AES-256-GCM of `[at_ms, word]`."""
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, self._encoder.encode(_Envelope(now_ms, word)), address)

    def open(self, address: bytes, data: bytes, now_ms: int) -> AnyWord | None:
        """The word, or None for what no node of ours sealed for this address within `WORD_AGE_MS`."""
        try:
            plain = self._aead.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], address)
            envelope = self._decoder.decode(plain)
        except (InvalidTag, ValueError):
            # msgspec's errors are ValueErrors: another version's word is none that could be acted on.
            return None
        return envelope.word if abs(now_ms - envelope.at_ms) <= WORD_AGE_MS else None
