"""Directory entries: the signed steps of an agency's directory, parsed.

An entry is `[payload, signer_id, signature]`; where two authorities must agree, the third
field is `signature || cosigner_id || cosignature` (144 bytes).  The payload is
`[v=1, agency_id, seq, prev_hash, ts_ms, op, body]`.  Nothing here verifies; `directory`
does.  Spec chapter 04, "Directory".
"""

from __future__ import annotations

from typing import Final, NewType, TypeAlias

import msgspec

from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.curve import low_order, weak_identity
from leeside_protocol.sealing.public.encoding import (
    PREFIX,
    Value,
    as_bytes,
    as_list,
    as_text,
    as_uint,
    decode,
    digest,
    encode,
    pae,
    sha256,
)
from leeside_protocol.sealing.public.signed import (
    KIND_DIRECTORY,
    KIND_DIRECTORY_COSIGN,
    Signed,
    verify_raw,
    verify_signed,
)

AuthorityId = NewType("AuthorityId", bytes)
RecordsId = NewType("RecordsId", bytes)

# Compartments (decision 1 of the design): one per channel, a bitmask per certificate.
OPERATIONS: Final = 0
CLINICAL: Final = 1
RECORD: Final = 2
SUBSTANCE_USE: Final = 3
CRIMINAL_JUSTICE: Final = 4
COMPARTMENTS: Final = (OPERATIONS, CLINICAL, RECORD, SUBSTANCE_USE, CRIMINAL_JUSTICE)
ALL_COMPARTMENTS: Final = 0b11111
# Devices that reach any of these need two authorities wherever an agency has two.
DUAL_CONTROL_COMPARTMENTS: Final = 0b11110

# Capabilities of a device.
CAP_SEND: Final = 1
CAP_ADMIT: Final = 2
CAP_REMOVE: Final = 4
CAP_GRANT: Final = 8
CAP_POLICY: Final = 16
CAP_CREATE: Final = 32
ALL_CAPS: Final = 63

# Key classes; a class mask has the bit `1 << class`.
DURABLE: Final = 1
EPHEMERAL: Final = 2
MEDIA: Final = 3
CLASSES: Final = (DURABLE, EPHEMERAL, MEDIA)
FULL_CLASS_MASK: Final = 0b1110

SUITE_X25519: Final = 1
HPKE_PUBLIC_BYTES: Final = {SUITE_X25519: 32}

DELEGATED_MAX_MS: Final = 24 * 3_600_000
MAX_ENTRY_BYTES: Final = 4096
MAX_ROLE_BYTES: Final = 32
MAX_REASON_BYTES: Final = 64


def agency_id_of(root_public: bytes) -> AgencyId:
    return AgencyId(digest(b"agency", root_public)[:16])


def authority_id_of(public: bytes) -> AuthorityId:
    return AuthorityId(digest(b"issuer", public)[:16])


def device_id_of(public: bytes) -> DeviceId:
    return DeviceId(digest(b"device", public)[:16])


def records_id_of(public: bytes) -> RecordsId:
    return RecordsId(digest(b"records", public)[:16])


def kid_of(data: bytes) -> bytes:
    """Key id: the first 8 bytes of SHA-256 over a DeviceKey payload or a raw public key."""
    return sha256(data)[:8]


class Limits(msgspec.Struct, frozen=True):
    """What a delegated authority may do: never more than `max_lifetime_ms` of 24 h."""

    compartments: int
    max_lifetime_ms: int
    max_devices: int


class AuthorityAdded(msgspec.Struct, frozen=True):
    """`ea+`: [pub, not_after, limits or nil]; limits = [compartments, lifetime_ms, count]."""

    public: bytes
    not_after_ms: int
    limits: Limits | None

    @property
    def authority_id(self) -> AuthorityId:
        return authority_id_of(self.public)


class AuthorityRemoved(msgspec.Struct, frozen=True):
    """`ea-`: [authority_id, reason, ts]."""

    authority_id: AuthorityId
    reason: str
    ts_ms: int


class DeviceAdded(msgspec.Struct, frozen=True):
    """`dev+`: [pub, member_id, role, compartments, caps, not_before, not_after]."""

    public: bytes
    member_id: MemberId
    role: str
    compartments: int
    caps: int
    not_before_ms: int
    not_after_ms: int

    @property
    def device_id(self) -> DeviceId:
        return device_id_of(self.public)


class DeviceRemoved(msgspec.Struct, frozen=True):
    """`dev-`: [device_id, reason, ts]."""

    device_id: DeviceId
    reason: str
    ts_ms: int


class RecordsAdded(msgspec.Struct, frozen=True):
    """`rec+`: [suite, pub, compartments, class_mask, not_before, not_after]."""

    suite: int
    public: bytes
    compartments: int
    class_mask: int
    not_before_ms: int
    not_after_ms: int

    @property
    def records_id(self) -> RecordsId:
        return records_id_of(self.public)


class RecordsRemoved(msgspec.Struct, frozen=True):
    """`rec-`: [records_id, reason, ts]."""

    records_id: RecordsId
    reason: str
    ts_ms: int


Operation: TypeAlias = (
    AuthorityAdded | AuthorityRemoved | DeviceAdded | DeviceRemoved | RecordsAdded | RecordsRemoved
)

OP_NAMES: Final[dict[type[object], str]] = {
    AuthorityAdded: "ea+",
    AuthorityRemoved: "ea-",
    DeviceAdded: "dev+",
    DeviceRemoved: "dev-",
    RecordsAdded: "rec+",
    RecordsRemoved: "rec-",
}


class SignedEntry(msgspec.Struct, frozen=True):
    """A directory entry as it travels: one signature, or two."""

    signed: Signed
    cosigner: bytes | None = None
    cosignature: bytes | None = None

    @property
    def signature_field(self) -> bytes:
        """64 bytes; with a second signature `sig || cosigner || cosig`, 144 bytes."""
        if self.cosigner is None or self.cosignature is None:
            return self.signed.signature
        return self.signed.signature + self.cosigner + self.cosignature

    def encode(self) -> bytes:
        return encode([self.signed.payload, self.signed.signer, self.signature_field])

    @classmethod
    def of(cls, payload: bytes, signer: bytes, signature_field: bytes) -> SignedEntry:
        """An entry from its three fields, or `E_ENCODING`.  Signatures are not yet verified."""
        if len(signer) != 16 or len(signature_field) not in (64, 144) or len(payload) > MAX_ENTRY_BYTES:
            raise SealingError(SealingCode.E_ENCODING, "wrong length")
        signed = Signed(payload, signer, signature_field[:64])
        if len(signature_field) == 64:
            return cls(signed)
        return cls(signed, signature_field[64:80], signature_field[80:])

    @classmethod
    def decode(cls, data: bytes) -> SignedEntry:
        payload, signer, field = as_list(list(decode(data, max_bytes=MAX_ENTRY_BYTES)), 3)
        return cls.of(as_bytes(payload), as_bytes(signer), as_bytes(field))

    @property
    def hash(self) -> bytes:
        """The entry's name in the chain.  It covers the second signature where there is one."""
        return digest(b"dir", self.signed.payload, self.signed.signer, self.signature_field)

    def verify(self, public: bytes) -> None:
        verify_signed(self.signed, public, KIND_DIRECTORY)

    def verify_cosignature(self, public: bytes) -> None:
        if self.cosigner is None or self.cosignature is None:
            raise SealingError(SealingCode.E_DIR_SIGNER, "second signature missing")
        verify_raw(public, self.cosignature, cosigning_input(self.signed, self.cosigner))


def cosigning_input(signed: Signed, cosigner: bytes) -> bytes:
    """What the second authority signs.

    It covers the first signature and has a type of its own, so the two signatures can be
    neither swapped nor moved to another entry.
    """
    return pae(
        PREFIX + b"sig",
        KIND_DIRECTORY_COSIGN,
        cosigner,
        pae(signed.payload, signed.signer, signed.signature),
    )


class Entry(msgspec.Struct, frozen=True):
    """A parsed directory entry."""

    agency_id: AgencyId
    seq: int
    prev_hash: bytes
    ts_ms: int
    operation: Operation


def parse_entry(payload: bytes) -> Entry:
    """The entry in `payload`; `E_ENCODING` for its shape, `E_DIR` for what it asks."""
    values = as_list(list(decode(payload, max_bytes=MAX_ENTRY_BYTES)), 7)
    if as_uint(values[0]) != 1:
        raise SealingError(SealingCode.E_FORMAT, "unknown version")
    return Entry(
        agency_id=AgencyId(as_bytes(values[1], 16)),
        seq=as_uint(values[2]),
        prev_hash=as_bytes(values[3], 32),
        ts_ms=as_uint(values[4]),
        operation=_parse_operation(as_text(values[5], 8), values[6]),
    )


def encode_entry(entry: Entry) -> bytes:
    """The payload to sign."""
    return encode(
        [
            1,
            entry.agency_id,
            entry.seq,
            entry.prev_hash,
            entry.ts_ms,
            OP_NAMES[type(entry.operation)],
            _operation_body(entry.operation),
        ]
    )


def _operation_body(op: Operation) -> list[bytes | int | str | list[int] | None]:
    match op:
        case AuthorityAdded():
            limits = op.limits
            return [
                op.public,
                op.not_after_ms,
                None if limits is None else [limits.compartments, limits.max_lifetime_ms, limits.max_devices],
            ]
        case AuthorityRemoved():
            return [op.authority_id, op.reason, op.ts_ms]
        case DeviceAdded():
            return [
                op.public,
                op.member_id,
                op.role,
                op.compartments,
                op.caps,
                op.not_before_ms,
                op.not_after_ms,
            ]
        case DeviceRemoved():
            return [op.device_id, op.reason, op.ts_ms]
        case RecordsAdded():
            return [
                op.suite,
                op.public,
                op.compartments,
                op.class_mask,
                op.not_before_ms,
                op.not_after_ms,
            ]
        case RecordsRemoved():
            return [op.records_id, op.reason, op.ts_ms]


def _parse_operation(name: str, value: Value) -> Operation:
    match name:
        case "ea+":
            public, not_after, limits = as_list(value, 3)
            authority = AuthorityAdded(as_bytes(public, 32), as_uint(not_after), _parse_limits(limits))
            _check_identity(authority.public)
            return authority
        case "ea-":
            ident, reason, ts = as_list(value, 3)
            return AuthorityRemoved(
                AuthorityId(as_bytes(ident, 16)), as_text(reason, MAX_REASON_BYTES), as_uint(ts)
            )
        case "dev+":
            public, member, role, compartments, caps, not_before, not_after = as_list(value, 7)
            added = DeviceAdded(
                as_bytes(public, 32),
                MemberId(as_bytes(member, 16)),
                as_text(role, MAX_ROLE_BYTES),
                as_uint(compartments, ALL_COMPARTMENTS),
                as_uint(caps, ALL_CAPS),
                as_uint(not_before),
                as_uint(not_after),
            )
            _check_identity(added.public)
            if added.not_before_ms >= added.not_after_ms:
                raise SealingError(SealingCode.E_DIR, "empty lifetime")
            return added
        case "dev-":
            ident, reason, ts = as_list(value, 3)
            return DeviceRemoved(
                DeviceId(as_bytes(ident, 16)), as_text(reason, MAX_REASON_BYTES), as_uint(ts)
            )
        case "rec+":
            suite, public, compartments, class_mask, not_before, not_after = as_list(value, 6)
            records = RecordsAdded(
                parse_suite(suite),
                as_bytes(public, HPKE_PUBLIC_BYTES[parse_suite(suite)]),
                as_uint(compartments, ALL_COMPARTMENTS),
                parse_class_mask(class_mask),
                as_uint(not_before),
                as_uint(not_after),
            )
            if low_order(records.public):
                raise SealingError(SealingCode.E_DIR, "nobody can seal to this key")
            if records.not_before_ms >= records.not_after_ms:
                raise SealingError(SealingCode.E_DIR, "empty lifetime")
            return records
        case "rec-":
            ident, reason, ts = as_list(value, 3)
            return RecordsRemoved(
                RecordsId(as_bytes(ident, 16)), as_text(reason, MAX_REASON_BYTES), as_uint(ts)
            )
        case _:
            # Skipping an operation one does not know would split the directory in two.
            raise SealingError(SealingCode.E_DIR, "unknown operation")


def _check_identity(public: bytes) -> None:
    if weak_identity(public):
        raise SealingError(SealingCode.E_DIR, "anybody can sign with this key")


def _parse_limits(value: Value) -> Limits | None:
    if value is None:
        return None
    compartments, lifetime, count = as_list(value, 3)
    limits = Limits(as_uint(compartments, ALL_COMPARTMENTS), as_uint(lifetime), as_uint(count, 1000))
    if not 0 < limits.max_lifetime_ms <= DELEGATED_MAX_MS:
        raise SealingError(SealingCode.E_DIR, "delegated lifetime over 24 hours")
    return limits


def parse_suite(value: Value) -> int:
    """A suite this version speaks, or `E_FORMAT`."""
    suite = as_uint(value)
    if suite not in HPKE_PUBLIC_BYTES:
        raise SealingError(SealingCode.E_FORMAT, "unknown suite")
    return suite


def parse_class_mask(value: Value) -> int:
    """A non-empty set of the three classes, or `E_ENCODING`."""
    mask = as_uint(value, FULL_CLASS_MASK)
    if mask == 0 or mask & ~FULL_CLASS_MASK:
        raise SealingError(SealingCode.E_ENCODING, "class mask")
    return mask
