"""Who is who: rows of agencies, members, devices, enrolments and sessions, and how they may change.

Everything here is pure: time, ids and random bytes are arguments. A transition gives the row to save (by
compare-and-set on the revision it was read with) or raises `ProtocolError`. Rows are JSON in the object store:

| kind | agency | id | parent | row |
|---|---|---|---|---|
| `agency` | its own | agency id | | `AgencyRow` |
| `member` | its own | random | | `MemberRow` |
| `device` | its own | H("device", public key)[:16] | member id | `DeviceRow` |
| `session` | its own | of the challenge, see `session_id` | device id | `SessionRow` |
| `enrolment` | `NO_AGENCY` | SHA-256 of the code, [:16] | | `EnrolmentRow` |
| `home` | `NO_AGENCY` | device id | | `HomeRow`: which agency a device belongs to |
| `bootstrap` | `NO_AGENCY` | SHA-256 of the operator's code, [:16] | | `BootstrapRow` |
| `vapid_key` | `NO_AGENCY` | `VAPID_KEY_ID` | | `VapidKeyRow` |

What a stranger presents before anyone knows its agency is looked up in the zero agency, `NO_AGENCY`, which no
one is a member of. Codes and refresh secrets are kept as hashes alone.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import StrEnum
from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.limits import CHALLENGE_TTL_S, ENROLMENT_TTL_S, PERSON_HOURS, REFRESH_TTL_S, SHIFT_MAX_S
from leeside_protocol.sealing.public.encoding import digest
from leeside_protocol.words import Discipline, PersonBy, Role

NO_AGENCY: Final = AgencyId(bytes(16))
ENROLMENT_ATTEMPTS: Final = 5
"""Proofs that may fail under one code; then the code is dead, and another must be made."""
CODE_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Read aloud without doubt: no I, L, O or U (Crockford's base 32)."""
CODE_BYTES: Final = 10
"""80 bits: with single use, 15 minutes and the rate limit far beyond guessing, and also beyond a thief of the
store who has those minutes to search the hash."""
NONCE_BYTES: Final = 16


class AgencyRow(msgspec.Struct, frozen=True):
    """An agency. `root_pub` is what members pin; the server verifies the directory with it.

    `person` is what shows who is at a device, since `person_since_ms`, and `person_hours` how long that counts.
    """

    label: str
    root_pub: bytes
    created_ms: int
    person: PersonBy = PersonBy.DEVICE
    person_hours: int = PERSON_HOURS
    person_since_ms: int = 0


class MemberRow(msgspec.Struct, frozen=True):
    """A person, pseudonymous. `ended_ms` 0: the membership lasts. `languages`, `specialties` and `licences` are what steps of a
    ladder ask for; `phone` is where they are called by voice (E.164), empty for nowhere. `guest`: of one consult."""

    roles: tuple[Role, ...]
    created_ms: int
    discipline: Discipline | None = None
    login: str = ""
    ended_ms: int = 0
    languages: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    phone: str = ""
    guest: bool = False


class DeviceState(StrEnum):
    """Pending until `dev+`; revoked is for good."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKED = "revoked"


class DeviceRow(msgspec.Struct, frozen=True):
    """A device and its signed DeviceKeys as MessagePack, the newest last; `member` has 16 bytes.

    `guest`: of a guest of a consult, without a certificate (`core.guests`). `certified_ms` is when it became active. `push_*` is its subscription at a push service; an empty endpoint is none.
    `shift_until_ms` is when a shared device ends; 0: not a shared one.
    """

    member: MemberId
    public_key: bytes
    state: DeviceState
    label: str
    short_code: str
    created_ms: int
    device_keys: tuple[bytes, ...] = ()
    revoked_ms: int = 0
    push_endpoint: str = ""
    push_public: bytes = b""
    push_auth: bytes = b""
    certified_ms: int = 0
    shift_until_ms: int = 0
    guest: bool = False


class EnrolmentRow(msgspec.Struct, frozen=True):
    """A one-time code by its hash. `device` is set by the first device that redeems it."""

    agency: AgencyId
    member: MemberId
    label: str
    made_by: DeviceId
    expires_ms: int
    attempts: int = 0
    device: bytes = b""
    shift_until_ms: int = 0


class HomeRow(msgspec.Struct, frozen=True):
    """The agency that a device enrolled with."""

    agency: AgencyId


class BootstrapRow(msgspec.Struct, frozen=True):
    """An operator's code that was spent, and on which agency."""

    agency: AgencyId
    used_ms: int


class VapidKeyRow(msgspec.Struct, frozen=True):
    """What push services know this server by (RFC 8292): P-256, `public` uncompressed, `sealed` nonce and AES-256-GCM of
    the 32 private bytes, aad = the public ones. One for good: browsers bind their subscriptions to it."""

    public: bytes
    sealed: bytes
    created_ms: int


VAPID_KEY_ID: Final = digest(b"vapid key")[:16]


class SessionRow(msgspec.Struct, frozen=True):
    """A session family: one sign-in and all tokens refreshed from it. `ended_ms` 0: it lasts.

    `count` is how often it was refreshed; `refresh_hash` the SHA-256 of the one secret that serves next. `person` is what
    showed the person at `person_ms`; the device alone unless something did.
    """

    device: DeviceId
    member: MemberId
    created_ms: int
    refresh_until_ms: int
    refresh_hash: bytes
    count: int = 0
    ended_ms: int = 0
    ended_for: str = ""
    person: PersonBy = PersonBy.DEVICE
    person_ms: int = 0


# ---- codes


def enrolment_code(random: bytes) -> str:
    """A code of `CODE_BYTES` random bytes, in groups of four letters: `7QK2-…`."""
    number = int.from_bytes(random[:CODE_BYTES], "big")
    letters = [CODE_LETTERS[number >> 5 * i & 31] for i in range(CODE_BYTES * 8 // 5)]
    return "-".join("".join(letters[i : i + 4]) for i in range(0, len(letters), 4))


def code_id(code: str) -> bytes:
    """The store's id of a code as a person types it: case, spaces, dashes and O for 0, I or L for 1 forgiven."""
    return hashlib.sha256(b"leeside1 code " + _plain(code)).digest()[:16]


def bootstrap_hash(code: str) -> bytes:
    """What the operator's file keeps of a one-time code: 32 bytes, written there as hexadecimal digits."""
    return hashlib.sha256(b"leeside1 bootstrap " + _plain(code)).digest()


def _plain(code: str) -> bytes:
    return code.upper().replace("-", "").replace(" ", "").translate(_FORGIVEN).encode("utf-8", "replace")


_FORGIVEN: Final = str.maketrans("OIL", "011")


# ---- enrolment


def issue_enrolment(
    agency: AgencyId,
    member: MemberRow,
    member_id: MemberId,
    made_by: DeviceId,
    label: str,
    now_ms: int,
    shift_until_ms: int = 0,
) -> EnrolmentRow:
    """A code's row for one new device of a member; `revoked` when the membership ended."""
    if member.ended_ms:
        raise ProtocolError(WireError.REVOKED, "this membership has ended")
    expires_ms = now_ms + ENROLMENT_TTL_S * 1000
    return EnrolmentRow(agency, member_id, label, made_by, expires_ms, shift_until_ms=shift_until_ms)


def check_shift(shift: bool, until_ms: int, now_ms: int) -> int:
    """When the shift of a code to be made ends, 0 for none; `invalid` for one that is over, endless, or not said."""
    if shift != bool(until_ms):
        raise ProtocolError(WireError.INVALID, "a shift has an end, and nothing else has")
    if shift and not now_ms < until_ms <= now_ms + SHIFT_MAX_S * 1000:
        raise ProtocolError(WireError.INVALID, "a shift ends within 16 hours")
    return until_ms


def check_enrolment(row: EnrolmentRow, device: DeviceId, now_ms: int) -> None:
    """Whether this code may still admit this device.

    The device that redeemed it already may repeat itself (its answer was lost); for all others a spent code is
    like an unknown one. `expired` after 15 minutes or too many failed proofs.
    """
    if row.device:
        if row.device != device:
            raise ProtocolError(WireError.NOT_FOUND, "no such code")
        return
    if now_ms >= row.expires_ms or row.attempts >= ENROLMENT_ATTEMPTS:
        raise ProtocolError(WireError.EXPIRED, "this code has ended; ask for a new one")


def failed_enrolment(row: EnrolmentRow) -> EnrolmentRow:
    """The row after a proof that did not hold."""
    return msgspec.structs.replace(row, attempts=row.attempts + 1)


def redeem_enrolment(
    row: EnrolmentRow, device: DeviceId, public_key: bytes, device_key: bytes, short_code: str, now_ms: int
) -> tuple[EnrolmentRow, DeviceRow]:
    """The spent code and the pending device. The caller has verified the proof and the DeviceKey."""
    check_enrolment(row, device, now_ms)
    pending = DeviceRow(
        member=row.member,
        public_key=public_key,
        state=DeviceState.PENDING,
        label=row.label,
        short_code=short_code,
        created_ms=now_ms,
        device_keys=(device_key,),
        shift_until_ms=row.shift_until_ms,
    )
    return msgspec.structs.replace(row, device=device), pending


# ---- devices

DEVICE_KEYS_KEPT: Final = 4
"""A key is replaced daily and may be named for an hour after: older ones decide nothing."""


def certify(
    row: DeviceRow,
    member: MemberRow | None,
    public_key: bytes,
    member_id: MemberId,
    role: str,
    now_ms: int,
) -> DeviceRow:
    """The device once its `dev+` stands: active. A later one, which renews it, does not make it new.

    `invalid` when the entry certifies another key, member or role than the server knows; `revoked` for a device
    or membership that has ended.
    """
    if row.public_key != public_key or row.member != member_id:
        raise ProtocolError(WireError.INVALID, "the entry certifies another key or member")
    if member is None or role not in {held.value for held in member.roles}:
        raise ProtocolError(WireError.INVALID, "the member does not hold the certified role")
    if row.state is DeviceState.REVOKED or member.ended_ms:
        raise ProtocolError(WireError.REVOKED, "this device or membership has ended")
    certified_ms = now_ms if row.state is DeviceState.PENDING else row.certified_ms
    return msgspec.structs.replace(row, state=DeviceState.ACTIVE, certified_ms=certified_ms)


def revoke(row: DeviceRow, now_ms: int) -> DeviceRow:
    """The device, refused for good; unchanged when it is already."""
    if row.state is DeviceState.REVOKED:
        return row
    return msgspec.structs.replace(without_push(row), state=DeviceState.REVOKED, revoked_ms=now_ms)


def with_push(row: DeviceRow, endpoint: str, public: bytes, auth: bytes) -> DeviceRow:
    """The device with this subscription in the place of the one before; the caller has checked the endpoint."""
    return msgspec.structs.replace(row, push_endpoint=endpoint, push_public=public, push_auth=auth)


def without_push(row: DeviceRow) -> DeviceRow:
    """The device without a subscription."""
    return with_push(row, "", b"", b"")


def with_device_key(row: DeviceRow, device_key: bytes) -> DeviceRow:
    """The device with a newer signed DeviceKey; the caller has verified that it is newer."""
    kept = (*row.device_keys, device_key)[-DEVICE_KEYS_KEPT:]
    return msgspec.structs.replace(row, device_keys=kept)


def end_member(row: MemberRow, now_ms: int) -> MemberRow:
    """The membership, ended for good; unchanged when it is already. Its devices are revoked with it."""
    return row if row.ended_ms else msgspec.structs.replace(row, ended_ms=now_ms)


def check_member(row: MemberRow | None) -> MemberRow:
    """`revoked` unless the membership lasts."""
    if row is None or row.ended_ms:
        raise ProtocolError(WireError.REVOKED, "this membership has ended")
    return row


def check_device(row: DeviceRow) -> None:
    """`pending` or `revoked` unless the device is active."""
    if row.state is DeviceState.PENDING:
        raise ProtocolError(WireError.PENDING, "this device waits for approval")
    if row.state is DeviceState.REVOKED:
        raise ProtocolError(WireError.REVOKED, "this device was revoked")


def check_shift_lasts(row: DeviceRow, now_ms: int) -> None:
    """`expired` for a shared device whose shift is over."""
    if row.shift_until_ms and now_ms >= row.shift_until_ms:
        raise ProtocolError(WireError.EXPIRED, "this shift is over: enrol the device anew")


# ---- challenges: stateless, for one device, once


def challenge_nonce(key: bytes, device: DeviceId, now_ms: int, random: bytes) -> bytes:
    """A nonce for one device: u32 end in seconds, 4 random bytes, 8 bytes of HMAC-SHA-256.

    No state is kept, so asking costs the server nothing and tells nothing about which devices exist. That it
    serves once comes from `session_id`: the session it opens is named after it.
    """
    head = struct.pack(">I", now_ms // 1000 + CHALLENGE_TTL_S) + random[:4]
    return head + _challenge_mac(key, device, head)


def challenge_end_ms(nonce: bytes) -> int:
    """When a nonce ends."""
    return int.from_bytes(nonce[:4], "big") * 1000


def check_challenge(key: bytes, device: DeviceId, nonce: bytes, now_ms: int) -> None:
    """`unauthenticated` unless the nonce is ours and this device's; `expired` after its minute."""
    mac = _challenge_mac(key, device, nonce[:8])
    if len(nonce) != NONCE_BYTES or not hmac.compare_digest(mac, nonce[8:]):
        raise ProtocolError(WireError.UNAUTHENTICATED, "ask for a new challenge")
    if now_ms >= challenge_end_ms(nonce):
        raise ProtocolError(WireError.EXPIRED, "ask for a new challenge")


def session_id(device: DeviceId, nonce: bytes) -> bytes:
    """The id of the session that a challenge opens: creating it a second time is a `conflict` in the store."""
    return digest(b"session id", device, nonce)[:16]


def _challenge_mac(key: bytes, device: DeviceId, head: bytes) -> bytes:
    return hmac.new(key, b"leeside1 challenge" + device + head, hashlib.sha256).digest()[:8]


# ---- sessions and their refresh secrets

_SECRET: Final = struct.Struct(">16s16sQ16s")
REFRESH_BYTES: Final = _SECRET.size + 16


class RefreshSecret(msgspec.Struct, frozen=True):
    """A refresh secret taken apart; only what this server made gets here."""

    agency: AgencyId
    session: bytes
    count: int
    hash: bytes


def refresh_secret(key: bytes, agency: AgencyId, session: bytes, count: int, random: bytes) -> bytes:
    """The secret number `count` of a session: agency, session, count, 16 random bytes, a MAC over them."""
    body = _SECRET.pack(agency, session, count, random[:16])
    return body + hmac.new(key, b"leeside1 refresh" + body, hashlib.sha256).digest()[:16]


def read_refresh(key: bytes, secret: bytes) -> RefreshSecret:
    """Take a secret apart; `unauthenticated` for what this server never made.

    The MAC tells a secret used twice from noise, so that a stranger who knows a session's id cannot end it.
    """
    body, mac = secret[: _SECRET.size], secret[_SECRET.size :]
    expected = hmac.new(key, b"leeside1 refresh" + body, hashlib.sha256).digest()[:16]
    if len(secret) != REFRESH_BYTES or not hmac.compare_digest(expected, mac):
        raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again")
    agency, session, count, _ = _SECRET.unpack(body)
    return RefreshSecret(AgencyId(agency), session, count, hashlib.sha256(secret).digest())


def open_session(
    device: DeviceId,
    member: MemberId,
    secret: bytes,
    now_ms: int,
    *,
    person: PersonBy = PersonBy.DEVICE,
    shift_until_ms: int = 0,
) -> SessionRow:
    """A new session family with its first refresh secret."""
    return SessionRow(
        device=device,
        member=member,
        created_ms=now_ms,
        refresh_until_ms=_refresh_until_ms(now_ms, shift_until_ms),
        refresh_hash=hashlib.sha256(secret).digest(),
        person=person,
        person_ms=now_ms,
    )


def _refresh_until_ms(now_ms: int, shift_until_ms: int) -> int:
    until_ms = now_ms + REFRESH_TTL_S * 1000
    return min(until_ms, shift_until_ms) if shift_until_ms else until_ms


class Refreshed(msgspec.Struct, frozen=True):
    """The family goes on with the next secret."""

    row: SessionRow


class Reused(msgspec.Struct, frozen=True):
    """A secret came twice: one of its two users stole it, so the family ends."""

    row: SessionRow


def refresh(
    row: SessionRow, shown: RefreshSecret, following: bytes, now_ms: int, shift_until_ms: int = 0
) -> Refreshed | Reused:
    """Trade the secret `shown` for `following` (number `shown.count + 1`).

    `unauthenticated` when the family ended or its 30 days are over; `Reused` (ended) when the secret served
    before. A client whose answer was lost signs in anew with its device key: no person is asked.
    """
    if row.ended_ms or now_ms >= row.refresh_until_ms:
        raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again")
    if shown.count != row.count or not hmac.compare_digest(shown.hash, row.refresh_hash):
        return Reused(end_session(row, "refresh_reuse", now_ms))
    return Refreshed(
        msgspec.structs.replace(
            row,
            count=row.count + 1,
            refresh_hash=hashlib.sha256(following).digest(),
            refresh_until_ms=_refresh_until_ms(now_ms, shift_until_ms),
        )
    )


def end_session(row: SessionRow, ended_for: str, now_ms: int) -> SessionRow:
    """The family, ended; unchanged when it is already."""
    return row if row.ended_ms else msgspec.structs.replace(row, ended_ms=now_ms, ended_for=ended_for)
