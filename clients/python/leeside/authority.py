"""An agency's authority: who may certify devices, with what rights, and the encrypted files that hold its keys.

The *root* names the agency (its id is a hash of the root's public key) and makes *authorities*; an authority certifies
and revokes devices and records keys. None of their private keys ever reaches a server. Each lives in a keystore file of its own, so that the
root and the records keys can be taken offline on a stick while the authority stays at the administrator's desk.

Losing the root: every authority goes on working until it expires, but no new one can be made. So set-up writes the
root twice, into two files with different passphrases (`copy_key`), of which one is put into a safe at another
place. Losing both means founding the agency anew.

Where an agency has two full authorities, records keys and devices that reach beyond `operations` need both signatures
(decision 10 of the sealing design); `sign` asks for the second by itself. Spec chapter 04, "Directory".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from leeside.errors import LeesideError
from leeside.keystore import Keystore, KeystoreDamaged, Unlock
from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.public.device_key import DeviceKey, parse_device_key
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.sealing.public.enrolment import short_code
from leeside_protocol.sealing.public.entries import (
    ALL_COMPARTMENTS,
    CAP_ADMIT,
    CAP_CREATE,
    CAP_GRANT,
    CAP_POLICY,
    CAP_REMOVE,
    CAP_SEND,
    DELEGATED_MAX_MS,
    DURABLE,
    SUITE_X25519,
    AuthorityAdded,
    AuthorityId,
    AuthorityRemoved,
    DeviceAdded,
    DeviceRemoved,
    Limits,
    Operation,
    RecordsAdded,
    RecordsId,
    RecordsRemoved,
    SignedEntry,
    device_id_of,
    records_id_of,
)
from leeside_protocol.sealing.public.signed import KIND_DEVICE_KEY, Signed, verify_signed
from leeside_protocol.words import Compartment, Discipline, Role

Random: TypeAlias = Callable[[int], bytes]
KeyKind = Literal["root", "authority", "records"]

DAY_MS: Final = 86_400_000
AUTHORITY_LIFETIME_MS: Final = 2 * 365 * DAY_MS
CERTIFICATE_LIFETIME_MS: Final = 365 * DAY_MS
RECORDS_LIFETIME_MS: Final = 5 * 365 * DAY_MS
CLOCK_SLACK_MS: Final = 600_000
"""A certificate is valid from a little before it was made: clocks differ."""
DELEGATED_DEVICES: Final = 4
"""Devices that a delegated authority may certify unless told otherwise."""
RECORDS_CLASSES: Final = 1 << DURABLE
"""What a records key reads: what is kept. Live positions and media only where policy says so."""

_KEY_NAME: Final = "key"


# ---- rights by role


_MEMBER_CAPS: Final = CAP_SEND | CAP_ADMIT | CAP_REMOVE | CAP_GRANT | CAP_CREATE
CAPS: Final[dict[Role, int]] = {
    Role.RESPONDER: _MEMBER_CAPS,
    Role.DISPATCHER: _MEMBER_CAPS,
    Role.PSYCHIATRIST: _MEMBER_CAPS,
    Role.SUPERVISOR: _MEMBER_CAPS,
    Role.ADMIN: _MEMBER_CAPS | CAP_POLICY,
    Role.INTERPRETER: CAP_SEND,
    Role.RECEIVING_FACILITY: CAP_SEND,
    Role.RECORDS_OFFICER: CAP_SEND,
}
"""What a certificate lets a device do, unless the administrator says otherwise (decision 5)."""


def _bits(*compartments: Compartment) -> int:
    return sum(1 << compartment for compartment in compartments)


_OPERATIONS: Final = _bits(Compartment.OPERATIONS)
_CLINICAL: Final = _bits(Compartment.OPERATIONS, Compartment.CLINICAL, Compartment.RECORD)
COMPARTMENTS: Final[dict[Role, int]] = {
    Role.RESPONDER: _OPERATIONS,
    Role.DISPATCHER: _OPERATIONS,
    Role.PSYCHIATRIST: _CLINICAL,
    Role.SUPERVISOR: _OPERATIONS,
    Role.ADMIN: _OPERATIONS,
    Role.INTERPRETER: _OPERATIONS,
    Role.RECEIVING_FACILITY: _bits(Compartment.OPERATIONS, Compartment.CLINICAL),
    Role.RECORDS_OFFICER: _OPERATIONS,
}
DISCIPLINE_COMPARTMENTS: Final[dict[Discipline, int]] = {
    Discipline.CLINICIAN: _CLINICAL,
    Discipline.PEER_SPECIALIST: _bits(Compartment.OPERATIONS, Compartment.CLINICAL),
    Discipline.EMT: _bits(Compartment.OPERATIONS, Compartment.CLINICAL),
    Discipline.LAW_ENFORCEMENT_OFFICER: _bits(Compartment.OPERATIONS, Compartment.CRIMINAL_JUSTICE),
    Discipline.CASE_MANAGER: _CLINICAL,
}
"""A responder's compartments follow the profession: an officer never reaches clinical content."""


def compartments_for(role: Role, discipline: Discipline | None) -> int:
    """The bitmask that a device of this role gets unless the administrator says otherwise (decision 1)."""
    if role is Role.RESPONDER and discipline is not None:
        return DISCIPLINE_COMPARTMENTS[discipline]
    return COMPARTMENTS[role]


_RANK: Final = (
    Role.PSYCHIATRIST,
    Role.RESPONDER,
    Role.SUPERVISOR,
    Role.DISPATCHER,
    Role.ADMIN,
    Role.RECORDS_OFFICER,
    Role.RECEIVING_FACILITY,
    Role.INTERPRETER,
)


def certified_role(roles: Sequence[Role]) -> Role:
    """The one role that a certificate names for a member who holds several; the administrator may choose another."""
    return min(roles, key=_RANK.index)


# ---- key files


class _StoredKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    kind: KeyKind
    secret: bytes

    def __repr__(self) -> str:
        return f"_StoredKey({self.kind})"


def create_key(path: Path, unlock: Unlock, kind: KeyKind, random: Random = secrets.token_bytes) -> bytes:
    """Make a key of that kind and a new encrypted file that holds it; the 32 secret bytes.

    `KeystoreExists` when the file is there: a key is never overwritten.
    """
    secret = random(32)
    store_key(path, unlock, kind, secret)
    return secret


def store_key(path: Path, unlock: Unlock, kind: KeyKind, secret: bytes) -> None:
    """A new encrypted file with a key that exists already."""
    with Keystore.create(path, unlock) as store:
        store.put(_KEY_NAME, msgspec.msgpack.encode(_StoredKey(1, kind, secret)))


def load_key(path: Path, unlock: Unlock, kind: KeyKind) -> bytes:
    """The 32 secret bytes of a key file; `KeystoreDamaged` when it holds another kind of key."""
    with Keystore.open(path, unlock) as store:
        data = store.get(_KEY_NAME)
    try:
        stored = msgspec.msgpack.decode(data or b"", type=_StoredKey)
    except msgspec.MsgspecError:
        raise KeystoreDamaged("This file is not a key file.") from None
    if stored.kind != kind or len(stored.secret) != 32:
        raise KeystoreDamaged(f"This file holds no {kind} key, but another one.")
    return stored.secret


def copy_key(source: Path, source_unlock: Unlock, kind: KeyKind, target: Path, target_unlock: Unlock) -> None:
    """The same key in a second file with a passphrase of its own: the copy for the safe."""
    store_key(target, target_unlock, kind, load_key(source, source_unlock, kind))


def root_key(secret: bytes) -> AuthorityKey:
    return AuthorityKey(SigningKey(secret), root=True)


def authority_key(secret: bytes) -> AuthorityKey:
    return AuthorityKey(SigningKey(secret))


# ---- signing


class SecondSignature(LeesideError):
    """Two authorities must sign this entry, and only one key was given.

    `entry` carries the first signature: take it to the other authority (`SignedEntry.encode`), who reads it and adds
    the second with `cosign`.
    """

    def __init__(self, entry: SignedEntry) -> None:
        super().__init__("This needs the signature of a second authority.")
        self.entry = entry


def sign(
    directory: Directory, operation: Operation, keys: Sequence[AuthorityKey], now_ms: int
) -> SignedEntry:
    """The next entry of the directory, checked and applied to it; post it next.

    `keys[0]` signs; `keys[1]` adds the second signature where one is called for, else `SecondSignature` is raised.
    A key that may not do this is a `SealingError` (`E_DIR_SIGNER`, `E_DIR`), and nothing changed.
    """
    entry = keys[0].sign_entry(directory, operation, now_ms)
    try:
        directory.check(entry, now_ms)
    except SealingError as error:
        if error.code is not SealingCode.E_DIR_SIGNER or not _wants_second(directory, operation, now_ms):
            raise
        if len(keys) < 2:
            raise SecondSignature(entry) from None
        entry = keys[1].cosign(entry)
    directory.apply(entry, now_ms)
    return entry


def _wants_second(directory: Directory, operation: Operation, now_ms: int) -> bool:
    sensitive = isinstance(operation, RecordsAdded) or (
        isinstance(operation, DeviceAdded) and bool(operation.compartments & ~_OPERATIONS)
    )
    return sensitive and directory.dual_control(max(now_ms, directory.ts_ms))


def cosign(directory: Directory, entry: SignedEntry, key: AuthorityKey, now_ms: int) -> SignedEntry:
    """The second authority's signature on an entry that it has read; applied to the directory."""
    signed = key.cosign(entry)
    directory.apply(signed, now_ms)
    return signed


# ---- founding an agency


@dataclass(frozen=True, slots=True)
class Founding:
    """What `create_agency` posts: the proof that the root is held, and the directory's first entries."""

    directory: Directory
    proof: bytes
    entries: tuple[bytes, ...]


def found(
    root: AuthorityKey,
    authorities: Sequence[AuthorityKey],
    admin: DeviceAdded,
    code: str,
    now_ms: int,
) -> Founding:
    """The first entries of a new agency: its authorities, then the administrator's own device.

    With two authorities both sign from then on where two are called for. `code` is the operator's one-time code.
    """
    directory = Directory(root.key.public)
    entries: list[bytes] = []
    for authority in authorities:
        added = AuthorityAdded(authority.key.public, now_ms + AUTHORITY_LIFETIME_MS, None)
        entries.append(sign(directory, added, [root], now_ms).encode())
    entries.append(sign(directory, admin, authorities, now_ms).encode())
    proof = root.key.sign_raw(pae(PREFIX + b"agency", code.encode()))
    return Founding(directory, proof, tuple(entries))


# ---- what is signed


@dataclass(frozen=True, slots=True)
class Applicant:
    """A device that waits for approval, as its own keys describe it; nothing here is the server's word."""

    device_id: DeviceId
    public: bytes
    device_key: DeviceKey
    short_code: str


def applicant(public: bytes, device_key: bytes) -> Applicant:
    """Check that a waiting device signed its DeviceKey, and make the short code that two people compare.

    The code is computed from the keys here. `E_SIG`, `E_DEVKEY` or `E_ENCODING` when they do not belong together.
    """
    signed = Signed.decode(device_key, max_bytes=4096)
    device_id = device_id_of(public)
    if signed.signer != device_id:
        raise SealingError(SealingCode.E_DEVKEY, "another device's key")
    verify_signed(signed, public, KIND_DEVICE_KEY)
    key = parse_device_key(signed.payload)
    if key.device_id != device_id:
        raise SealingError(SealingCode.E_DEVKEY, "another device's key")
    return Applicant(device_id, public, key, short_code(public, signed.payload))


def device_added(
    public: bytes,
    member: MemberId,
    role: Role,
    now_ms: int,
    *,
    discipline: Discipline | None = None,
    compartments: int | None = None,
    caps: int | None = None,
    lifetime_ms: int = CERTIFICATE_LIFETIME_MS,
    shift_until_ms: int = 0,
) -> DeviceAdded:
    """`dev+`: a certificate with the role's usual rights, unless others are given. That of a shared device ends with its
    shift, `shift_until_ms` (0: not shared)."""
    until_ms = now_ms + lifetime_ms
    return DeviceAdded(
        public=public,
        member_id=member,
        role=role.value,
        compartments=compartments_for(role, discipline) if compartments is None else compartments,
        caps=CAPS[role] if caps is None else caps,
        not_before_ms=now_ms - CLOCK_SLACK_MS,
        not_after_ms=min(until_ms, shift_until_ms) if shift_until_ms else until_ms,
    )


def device_removed(device: DeviceId, reason: str, now_ms: int) -> DeviceRemoved:
    """`dev-`: the device is refused from this entry on."""
    return DeviceRemoved(device, reason, now_ms)


def authority_added(
    public: bytes,
    now_ms: int,
    *,
    lifetime_ms: int = AUTHORITY_LIFETIME_MS,
    delegated: bool = False,
    compartments: int = _OPERATIONS,
    devices: int = DELEGATED_DEVICES,
) -> AuthorityAdded:
    """`ea+`: a full authority, or a delegated one whose certificates last 24 hours at most and never carry POLICY."""
    limits = Limits(compartments, DELEGATED_MAX_MS, devices) if delegated else None
    return AuthorityAdded(public, now_ms + lifetime_ms, limits)


def authority_removed(authority: AuthorityId, reason: str, now_ms: int) -> AuthorityRemoved:
    """`ea-`: it signs nothing from this entry on; what it signed before stands."""
    return AuthorityRemoved(authority, reason, now_ms)


def records_added(
    secret: bytes,
    now_ms: int,
    *,
    compartments: int = ALL_COMPARTMENTS,
    class_mask: int = RECORDS_CLASSES,
    lifetime_ms: int = RECORDS_LIFETIME_MS,
) -> RecordsAdded:
    """`rec+`: a records key; `secret` is its private half, which stays in its file."""
    return RecordsAdded(
        suite=SUITE_X25519,
        public=hpke.public_of(secret),
        compartments=compartments,
        class_mask=class_mask,
        not_before_ms=now_ms - CLOCK_SLACK_MS,
        not_after_ms=now_ms + lifetime_ms,
    )


def records_removed(records: RecordsId, reason: str, now_ms: int) -> RecordsRemoved:
    """`rec-`: nothing more is sealed to it; what was, it still opens."""
    return RecordsRemoved(records, reason, now_ms)


def records_id(secret: bytes) -> RecordsId:
    """The id of a records key, from its private half."""
    return records_id_of(hpke.public_of(secret))
