"""What travels through a browser on the way to an agency's own sign-in and back, sealed with a key of ours.

No state is kept on the way: any node can go on with what another began, and nobody makes the store grow by beginning. A
**state** goes with the person to the provider; a **ticket** comes back to the page and says who they are. Both are
AES-256-GCM over MessagePack, as base64url; what each is for is authenticated, so that none passes for the other.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.limits import TICKET_TTL_S
from leeside_server.core.notices import Random

STATE_TTL_S: Final = 600
"""How long a person may take at the provider."""
_NONCE_BYTES: Final = 12
_STATE: Final = b"leeside1 oidc state"
_TICKET: Final = b"leeside1 oidc ticket"
T = TypeVar("T", bound=msgspec.Struct)


class TicketRefused(Exception):
    """Not made here, not for this, or over."""


class State(msgspec.Struct, frozen=True, array_like=True):
    """What was begun. `device` is empty for a person without one; `verifier` is PKCE's, `nonce` the identity's."""

    device: bytes
    verifier: str
    nonce: str
    until_ms: int

    @property
    def begun_ms(self) -> int:
        return self.until_ms - STATE_TTL_S * 1000


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Who somebody is, told to one device, or to whom has none yet (`device` empty)."""

    member: MemberId
    device: bytes
    until_ms: int


_Dated = TypeVar("_Dated", State, Ticket)


def seal_state(
    key: bytes, device: DeviceId | None, verifier: str, nonce: str, now_ms: int, random: Random
) -> str:
    """The state of a sign-in that begins."""
    return _seal(key, _STATE, State(device or b"", verifier, nonce, now_ms + STATE_TTL_S * 1000), random)


def open_state(key: bytes, text: str, now_ms: int) -> State:
    """The state that came back. Raises `TicketRefused`."""
    return _in_time(_open(key, _STATE, text, State), now_ms)


def seal_ticket(key: bytes, member: MemberId, device: bytes, now_ms: int, random: Random) -> str:
    """A ticket for `TICKET_TTL_S`."""
    return _seal(key, _TICKET, Ticket(member, device, now_ms + TICKET_TTL_S * 1000), random)


def open_ticket(key: bytes, text: str, now_ms: int) -> Ticket:
    """The ticket that was shown. Whether it served before is the store's to say. Raises `TicketRefused`."""
    return _in_time(_open(key, _TICKET, text, Ticket), now_ms)


def _in_time(opened: _Dated, now_ms: int) -> _Dated:
    if now_ms >= opened.until_ms:
        raise TicketRefused
    return opened


def _seal(key: bytes, purpose: bytes, value: msgspec.Struct, random: Random) -> str:
    nonce = random(_NONCE_BYTES)
    return _text(nonce + AESGCM(key).encrypt(nonce, msgspec.msgpack.encode(value), purpose))


def _open(key: bytes, purpose: bytes, text: str, kind: type[T]) -> T:
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        if _text(raw) != text:
            # The same bytes spelled otherwise (padding, bits that mean nothing): as another text it would serve again.
            raise TicketRefused
        plain = AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose)
    except (binascii.Error, UnicodeEncodeError, InvalidTag, ValueError):
        raise TicketRefused from None
    return msgspec.msgpack.decode(plain, type=kind)


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")
