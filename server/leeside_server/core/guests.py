"""Guests of a consult: invited by a link that serves once, let in by whoever invited them (spec 08, "Guests").

An interpreter, or somebody of the facility that will receive the person. They have no certificate: the member who invited
them vouches for their keys in a signed commit (spec 04), for four hours at most. The server's part is small. A link's code
serves one device, for fifteen minutes; what it brings can sign in as this guest and be let into this one channel; and all
of it ends by itself.

| kind | agency | id | parent | row |
|---|---|---|---|---|
| `guest` | its own | the guest's member id | consult id | `GuestRow` |
| `guest_code` | `NO_AGENCY` | SHA-256 of the code, [:16] | | `GuestCodeRow` |

A guest is also a member and a device with the one role of its kind, so that sessions, sockets and revocation are those of
everybody; neither is listed among the agency's people.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelId, ConsultId, DeviceId, MemberId
from leeside_protocol.limits import ENROLMENT_TTL_S, GUEST_S
from leeside_protocol.words import Role
from leeside_server.core.identity import ENROLMENT_ATTEMPTS, DeviceRow, DeviceState, MemberRow

GUEST_ROLES: Final = frozenset({Role.INTERPRETER, Role.RECEIVING_FACILITY})
GUESTS: Final = 8
"""Links of one consult that have not ended."""


class GuestCodeRow(msgspec.Struct, frozen=True):
    """Which guest a code is for. `attempts` are proofs that failed under it."""

    agency: AgencyId
    guest: MemberId
    expires_ms: int
    attempts: int = 0


class GuestRow(msgspec.Struct, frozen=True):
    """One link and who came by it. `device` is empty until the code was used; `ended_ms` 0: it lasts until `until_ms`.

    `mac` shows whoever made the link that these keys are those of the one they gave it to: the server cannot make it.
    """

    consult: ConsultId
    channel: ChannelId
    role: Role
    made_by: DeviceId
    made_ms: int
    expires_ms: int
    until_ms: int
    device: bytes = b""
    public_key: bytes = b""
    hpke_public: bytes = b""
    mac: bytes = b""
    ended_ms: int = 0

    def lasts(self, now_ms: int) -> bool:
        """Whether the guest may come, or be here."""
        return not self.ended_ms and now_ms < (self.until_ms if self.device else self.expires_ms)


def invite(
    consult: ConsultId, channel: ChannelId, role: Role, by: DeviceId, standing: int, now_ms: int
) -> GuestRow:
    """A guest's row; `forbidden` when the consult has `GUESTS` of them, `invalid` for a role that is no guest's."""
    if role not in GUEST_ROLES:
        raise ProtocolError(WireError.INVALID, "a guest is an interpreter or of a receiving facility")
    if standing >= GUESTS:
        raise ProtocolError(WireError.FORBIDDEN, "this consult has as many guests as it may have")
    return GuestRow(
        consult, channel, role, by, now_ms, now_ms + ENROLMENT_TTL_S * 1000, now_ms + GUEST_S * 1000
    )


def code_of(guest: MemberId, row: GuestRow, agency: AgencyId) -> GuestCodeRow:
    """The row of the guest's code."""
    return GuestCodeRow(agency, guest, row.expires_ms)


def check_code(code: GuestCodeRow, row: GuestRow, device: DeviceId, now_ms: int) -> None:
    """Whether this code may still bring this device: `not_found` once another used it, `expired` when its time is over.

    The device that used it may repeat itself (its answer was lost).
    """
    if row.ended_ms:
        raise ProtocolError(WireError.EXPIRED, "this link has ended; ask for a new one")
    if row.device:
        if row.device != device:
            raise ProtocolError(WireError.NOT_FOUND, "no such code")
        return
    if now_ms >= code.expires_ms or code.attempts >= ENROLMENT_ATTEMPTS:
        raise ProtocolError(WireError.EXPIRED, "this link has ended; ask for a new one")


def failed_code(code: GuestCodeRow) -> GuestCodeRow:
    """The row after a proof that did not hold."""
    return msgspec.structs.replace(code, attempts=code.attempts + 1)


def arrive(row: GuestRow, device: DeviceId, public_key: bytes, hpke_public: bytes, mac: bytes) -> GuestRow:
    """The row once its code was used; the caller has verified the proof. `not_found` for other keys on a repeat."""
    if row.device and not (
        row.device == device
        and hmac.compare_digest(row.hpke_public, hpke_public)
        and hmac.compare_digest(row.mac, mac)
    ):
        raise ProtocolError(WireError.NOT_FOUND, "no such code")
    return msgspec.structs.replace(
        row, device=bytes(device), public_key=public_key, hpke_public=hpke_public, mac=mac
    )


def as_member(row: GuestRow, now_ms: int) -> MemberRow:
    """The guest among the members: not listed, and with its one role."""
    return MemberRow((row.role,), now_ms, guest=True)


def as_device(guest: MemberId, row: GuestRow, now_ms: int) -> DeviceRow:
    """The guest's device: it may sign in at once, and ends like a shared device's shift."""
    return DeviceRow(
        member=guest,
        public_key=row.public_key,
        state=DeviceState.ACTIVE,
        label="guest",
        short_code="",
        created_ms=now_ms,
        certified_ms=now_ms,
        shift_until_ms=row.until_ms,
        guest=True,
    )


def ended(row: GuestRow, now_ms: int) -> GuestRow:
    """The link and its guest, over; unchanged when they are already."""
    return row if row.ended_ms else msgspec.structs.replace(row, ended_ms=now_ms)
