"""The person at a device: what an agency asks for, and how long a proof counts (spec 02, "The person").

Pure. A passkey is what a member's authenticator made for this server (WebAuthn); its row's id is H("passkey",
credential id)[:16], so that one credential stands once in an agency.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.limits import FIRST_PASSKEY_S, PERSON_GRACE_S
from leeside_protocol.sealing.public.encoding import digest
from leeside_protocol.words import PersonBy
from leeside_server.core.identity import AgencyRow, DeviceRow, SessionRow

PASSKEYS: Final = 10
"""Of one member."""
REGISTER_MS: Final = 15 * 60_000
"""How long after its person's proof a session may register a passkey: whoever finds a device that is unlocked must not
become the person for good."""


class PasskeyRow(msgspec.Struct, frozen=True):
    """A credential: `public_key` is COSE, `sign_count` the newest its authenticator told (0: it counts nothing)."""

    member: MemberId
    device: DeviceId
    credential: bytes
    public_key: bytes
    sign_count: int
    syncs: bool
    synced: bool
    created_ms: int
    used_ms: int


class TicketRow(msgspec.Struct, frozen=True):
    """A ticket of the agency's own sign-in that was used: it serves once. Its id is H("ticket", ticket)[:16]."""

    until_ms: int


def passkey_id(credential: bytes) -> bytes:
    """The row's id of a credential."""
    return digest(b"passkey", credential)[:16]


def ticket_id(ticket: str) -> bytes:
    """The row's id of a ticket, as it was shown."""
    return digest(b"ticket", ticket.encode())[:16]


def knows(login: str, subject: str, email: str) -> bool:
    """Whether a member's login is this identity: its subject, or an e-mail address that its provider verified (else
    empty). A login with an @ is an address, and never a subject: some providers make subjects of names or addresses
    that people give themselves and nobody verified. Addresses are compared without the case of A to Z, and of nothing
    else: Unicode makes one of letters that are not the same, and `straße.example` is not the domain of who has
    `strasse.example`."""
    if "@" in login:
        return _without_case(login) == _without_case(email)
    return bool(login) and login == subject


def _without_case(address: str) -> str:
    return address.translate(_LOWER)


_LOWER: Final = {ord(letter): ord(letter) + 32 for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def person_challenge(device: DeviceId, nonce: bytes) -> bytes:
    """What a passkey signs at sign-in: for this device, and for as long and as often as the nonce serves."""
    return digest(b"person challenge", device, nonce)


def person_until_ms(agency: AgencyRow, session: SessionRow) -> int:
    """Until when a session's proof counts; 0 where the agency asks for none.

    One that was opened before the agency asked for this counts from when it began to.
    """
    if agency.person is PersonBy.DEVICE:
        return 0
    shown_ms = session.person_ms if session.person is agency.person else 0
    return max(shown_ms, agency.person_since_ms) + agency.person_hours * 3_600_000


def proof_is_over(agency: AgencyRow, session: SessionRow, now_ms: int) -> bool:
    """Whether the session is refreshed no more before its person was shown anew."""
    until_ms = person_until_ms(agency, session)
    return bool(until_ms) and now_ms >= until_ms + PERSON_GRACE_S * 1000


def may_register_first(device: DeviceRow, passkeys: int, now_ms: int) -> bool:
    """Whether this device may register its member's first passkey when it signs in: an authority has just compared its
    short code with the person."""
    fresh = bool(device.certified_ms) and now_ms < device.certified_ms + FIRST_PASSKEY_S * 1000
    return fresh and not passkeys


def check_may_register(agency: AgencyRow, session: SessionRow, passkeys: int, now_ms: int) -> None:
    """`forbidden` unless a passkey may be registered from this session: its person was shown just now. Or it is older than
    the agency's wish, and its member has had no occasion yet."""
    if passkeys >= PASSKEYS:
        raise ProtocolError(WireError.FORBIDDEN, f"a member has {PASSKEYS} passkeys at most")
    if agency.person is PersonBy.DEVICE:
        return
    shown = session.person is agency.person and now_ms < session.person_ms + REGISTER_MS
    older = session.created_ms < agency.person_since_ms and not passkeys
    if not (shown or older):
        raise ProtocolError(WireError.FORBIDDEN, "sign in as yourself first")


def used(row: PasskeyRow, sign_count: int, synced: bool, now_ms: int) -> PasskeyRow:
    """The passkey after it was used; `unauthenticated` when its counter did not grow: there may be a copy of it."""
    if (sign_count or row.sign_count) and sign_count <= row.sign_count:
        raise ProtocolError(WireError.UNAUTHENTICATED, "person")
    return msgspec.structs.replace(row, sign_count=sign_count, synced=synced, used_ms=now_ms)


def with_person(row: AgencyRow, person: PersonBy | None, hours: int | None, now_ms: int) -> AgencyRow:
    """The agency with another way to show the person, or another time that it counts; None leaves it."""
    changed = person is not None and person is not row.person
    return msgspec.structs.replace(
        row,
        person=row.person if person is None else person,
        person_hours=row.person_hours if hours is None else hours,
        person_since_ms=now_ms if changed else row.person_since_ms,
    )
