"""An agency's directory: who is certified, by whom, since when; one signed hash chain.

Every client replicates the whole chain and refuses gaps, so nobody can be shown a
directory of their own without it coming to light (`E_DIR_FORK`, `E_DIR_BEHIND`).  A
device's certificate *is* its `dev+` entry.  Spec chapter 04, "Directory".

A `Directory` is owned by one caller.  `apply` verifies all before it changes anything: a
failed entry leaves the directory as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.curve import weak_identity
from leeside_protocol.sealing.public.encoding import ZERO32
from leeside_protocol.sealing.public.entries import (
    CAP_POLICY,
    DUAL_CONTROL_COMPARTMENTS,
    AuthorityAdded,
    AuthorityId,
    AuthorityRemoved,
    DeviceAdded,
    DeviceRemoved,
    Entry,
    Limits,
    RecordsAdded,
    RecordsId,
    RecordsRemoved,
    SignedEntry,
    agency_id_of,
    parse_entry,
)

CLOCK_BOUND_MS: Final = 10 * 60_000


class Certificate(msgspec.Struct, frozen=True):
    """A certified device, as its directory has it.  Times in ms since 1970 UTC."""

    agency_id: AgencyId
    device_id: DeviceId
    public: bytes
    member_id: MemberId
    role: str
    compartments: int
    caps: int
    not_before_ms: int
    not_after_ms: int
    seq: int
    revoked_seq: int | None = None

    def revoked_as_of(self, seq: int) -> bool:
        return self.revoked_seq is not None and self.revoked_seq <= seq

    def valid_at(self, ts_ms: int) -> bool:
        return self.not_before_ms <= ts_ms <= self.not_after_ms


class RecordsKey(msgspec.Struct, frozen=True):
    """A records custodian's HPKE key: it can read what its masks say, and never send."""

    agency_id: AgencyId
    records_id: RecordsId
    suite: int
    public: bytes
    compartments: int
    class_mask: int
    not_before_ms: int
    not_after_ms: int
    seq: int
    revoked_seq: int | None = None

    def usable(self, seq: int, ts_ms: int) -> bool:
        """Known and not withdrawn as of head `seq`, and within its dates at `ts_ms`."""
        return (
            self.seq <= seq
            and not (self.revoked_seq is not None and self.revoked_seq <= seq)
            and self.not_before_ms <= ts_ms <= self.not_after_ms
        )


class Authority(msgspec.Struct, frozen=True):
    """Who may certify devices: the root's delegate, full or (with `limits`) delegated."""

    authority_id: AuthorityId
    public: bytes
    not_after_ms: int
    limits: Limits | None
    seq: int
    revoked_seq: int | None = None
    devices_certified: int = 0


class CheckedEntry(msgspec.Struct, frozen=True):
    """An entry that a directory has verified, ready to be applied and stored verbatim."""

    signed: SignedEntry
    entry: Entry
    hash: bytes


class Directory:
    """The verified state of one agency's chain.

    `root_public` is pinned at install (MDM or QR), never taken from the server.  Raises `E_DIR`
    for one with which anybody can sign.
    """

    def __init__(self, root_public: bytes) -> None:
        if weak_identity(root_public):
            raise SealingError(SealingCode.E_DIR, "anybody can sign with this key")
        self.root_public: Final = root_public
        self.agency_id: Final = agency_id_of(root_public)
        self.seq = 0
        self.head = ZERO32
        self.ts_ms = 0
        self._hashes: list[bytes] = [ZERO32]
        # Where two signed: what the entry's hash would be with the first signature alone.
        self._firsts: dict[int, bytes] = {}
        self._authorities: dict[AuthorityId, Authority] = {}
        self._devices: dict[DeviceId, Certificate] = {}
        self._records: dict[RecordsId, RecordsKey] = {}
        self._by_member: dict[MemberId, list[DeviceId]] = {}

    @classmethod
    def replay(cls, root_public: bytes, entries: Iterable[bytes]) -> Directory:
        """A directory from its stored entries, verified from the first."""
        directory = cls(root_public)
        for data in entries:
            directory.apply(SignedEntry.decode(data))
        return directory

    # -- looking up ------------------------------------------------------------------

    def hash_at(self, seq: int) -> bytes | None:
        """The head hash after entry `seq` (0: the empty directory); None when not yet seen."""
        return self._hashes[seq] if 0 <= seq < len(self._hashes) else None

    def device(self, device_id: DeviceId) -> Certificate | None:
        """The certificate, revoked or not; None when never certified here."""
        return self._devices.get(device_id)

    def live_device(self, device_id: DeviceId, as_of_seq: int | None = None) -> Certificate:
        """The certificate if known and unrevoked as of a head (default: the newest).

        Raises `E_UNKNOWN_DEVICE` or `E_REVOKED`.  Dates are not looked at.
        """
        seq = self.seq if as_of_seq is None else as_of_seq
        certificate = self._devices.get(device_id)
        if certificate is None or certificate.seq > seq:
            raise SealingError(SealingCode.E_UNKNOWN_DEVICE, "device not certified")
        if certificate.revoked_as_of(seq):
            raise SealingError(SealingCode.E_REVOKED, "device revoked")
        return certificate

    def records_key(self, records_id: RecordsId) -> RecordsKey | None:
        return self._records.get(records_id)

    def records_keys(self) -> tuple[RecordsKey, ...]:
        return tuple(self._records.values())

    def devices(self) -> tuple[Certificate, ...]:
        return tuple(self._devices.values())

    def devices_of(self, member_id: MemberId) -> tuple[Certificate, ...]:
        """All devices ever certified for a member: a client warns of those it does not know."""
        return tuple(self._devices[d] for d in self._by_member.get(member_id, ()))

    def authority(self, authority_id: AuthorityId) -> Authority | None:
        return self._authorities.get(authority_id)

    def authorities(self) -> tuple[Authority, ...]:
        return tuple(self._authorities.values())

    def dual_control(self, ts_ms: int) -> bool:
        """Whether two full authorities live at `ts_ms`, so that two must sign.

        Where it is false, the members' screens say so for good (decision 10).
        """
        return (
            sum(
                a.limits is None and a.revoked_seq is None and ts_ms <= a.not_after_ms
                for a in self._authorities.values()
            )
            >= 2
        )

    # -- applying ----------------------------------------------------------------------

    def apply(self, signed: SignedEntry, now_ms: int | None = None) -> CheckedEntry:
        """Verify the next entry and make it the head.

        `now_ms` on live receipt bounds the entry's clock; None when replaying.  Raises as
        `check` does, and then leaves the directory unchanged.
        """
        checked = self.check(signed, now_ms)
        self._install(checked)
        return checked

    def check(self, signed: SignedEntry, now_ms: int | None = None) -> CheckedEntry:
        """Verify the next entry without changing anything.

        Raises `E_DUPLICATE` (already the entry of that seq), `E_DIR_FORK` (another entry
        validly signed for a seq already passed: raise the alarm), `E_DIR_CHAIN` (a gap, or
        another branch), `E_DIR_SIGNER`, `E_SIG`, `E_CLOCK`, `E_DIR`, `E_ENCODING`.
        """
        entry = parse_entry(signed.signed.payload)
        if entry.agency_id != self.agency_id:
            raise SealingError(SealingCode.E_DIR, "another agency")
        if 1 <= entry.seq <= self.seq:
            self._check_passed(signed, entry)
        if entry.seq != self.seq + 1 or entry.prev_hash != self.head:
            raise SealingError(SealingCode.E_DIR_CHAIN, "not the next entry")
        signer = self._signer(signed.signed.signer, entry.ts_ms)
        signed.verify(self.root_public if signer is None else signer.public)
        if entry.ts_ms < self.ts_ms:
            raise SealingError(SealingCode.E_CLOCK, "earlier than the entry before")
        if now_ms is not None and abs(entry.ts_ms - now_ms) >= CLOCK_BOUND_MS:
            raise SealingError(SealingCode.E_CLOCK, "ten minutes off")
        self._check_scope(entry, signer)
        self._check_cosignature(signed, entry)
        self._check_state(entry)
        return CheckedEntry(signed, entry, signed.hash)

    def _check_passed(self, signed: SignedEntry, entry: Entry) -> None:
        if signed.hash == self._hashes[entry.seq]:
            raise SealingError(SealingCode.E_DUPLICATE, "entry already applied")
        # Only a signed branch is evidence; anyone can invent an unsigned one, add 80 bytes to an
        # entry that stands, or take its second signature away.
        signed.verify(self._known_public(signed.signed.signer))
        if signed.cosigner is not None:
            if signed.cosigner == signed.signed.signer:
                raise SealingError(SealingCode.E_DIR_SIGNER, "one authority signed twice")
            signed.verify_cosignature(self._known_public(signed.cosigner))
        elif SignedEntry(signed.signed).hash == self._firsts.get(entry.seq):
            raise SealingError(SealingCode.E_DIR_SIGNER, "second signature missing")
        raise SealingError(SealingCode.E_DIR_FORK, "two entries signed for one place")

    def _known_public(self, signer: bytes) -> bytes:
        """The key of the root, or of an authority that ever was."""
        if signer == self.agency_id:
            return self.root_public
        known = self._authorities.get(AuthorityId(signer))
        if known is None:
            raise SealingError(SealingCode.E_DIR_SIGNER, "not an authority")
        return known.public

    def _signer(self, signer: bytes, ts_ms: int) -> Authority | None:
        """The live authority of that id; None for the root."""
        if signer == self.agency_id:
            return None
        authority = self._authorities.get(AuthorityId(signer))
        if authority is None or authority.revoked_seq is not None:
            raise SealingError(SealingCode.E_DIR_SIGNER, "not an authority")
        if ts_ms > authority.not_after_ms:
            raise SealingError(SealingCode.E_DIR_SIGNER, "authority expired")
        return authority

    def _check_scope(self, entry: Entry, signer: Authority | None) -> None:
        """What this signer may sign at all; the root may sign everything."""
        if signer is None:
            return
        op = entry.operation
        if isinstance(op, AuthorityAdded):
            raise SealingError(SealingCode.E_DIR_SIGNER, "root only")
        if isinstance(op, AuthorityRemoved):
            # A full authority may stop a delegated one at night; all else waits for the root.
            target = self._authorities.get(op.authority_id)
            if signer.limits is not None or target is None or target.limits is None:
                raise SealingError(SealingCode.E_DIR_SIGNER, "root only")
        if signer.limits is None:
            return
        if isinstance(op, RecordsAdded | RecordsRemoved):
            raise SealingError(SealingCode.E_DIR_SIGNER, "not for a delegated authority")
        if isinstance(op, DeviceAdded):
            self._check_limits(op, entry.ts_ms, signer, signer.limits)

    @staticmethod
    def _check_limits(op: DeviceAdded, ts_ms: int, signer: Authority, limits: Limits) -> None:
        if op.compartments & ~limits.compartments or op.caps & CAP_POLICY:
            raise SealingError(SealingCode.E_DIR_SIGNER, "beyond the delegation's scope")
        if op.not_after_ms - ts_ms > limits.max_lifetime_ms:
            raise SealingError(SealingCode.E_DIR_SIGNER, "beyond the delegation's lifetime")
        if signer.devices_certified >= limits.max_devices:
            raise SealingError(SealingCode.E_DIR_SIGNER, "beyond the delegation's count")

    def _check_cosignature(self, signed: SignedEntry, entry: Entry) -> None:
        op = entry.operation
        needed = self.dual_control(entry.ts_ms) and (
            isinstance(op, RecordsAdded)
            or (isinstance(op, DeviceAdded) and bool(op.compartments & DUAL_CONTROL_COMPARTMENTS))
        )
        if not needed:
            # A second signature that is not called for would give one entry two hashes.
            if signed.cosigner is not None:
                raise SealingError(SealingCode.E_DIR_SIGNER, "second signature not called for")
            return
        if signed.cosigner is None:
            raise SealingError(SealingCode.E_DIR_SIGNER, "second signature missing")
        if signed.cosigner == signed.signed.signer:
            raise SealingError(SealingCode.E_DIR_SIGNER, "one authority signed twice")
        cosigner = self._signer(signed.cosigner, entry.ts_ms)
        signed.verify_cosignature(self.root_public if cosigner is None else cosigner.public)
        self._check_scope(entry, cosigner)

    def _check_state(self, entry: Entry) -> None:
        op = entry.operation
        match op:
            case AuthorityAdded():
                known = op.authority_id in self._authorities
                if known or op.not_after_ms <= entry.ts_ms or op.public == self.root_public:
                    raise SealingError(SealingCode.E_DIR, "authority reused or expired")
            case AuthorityRemoved():
                authority = self._authorities.get(op.authority_id)
                if authority is None or authority.revoked_seq is not None:
                    raise SealingError(SealingCode.E_DIR, "no such authority")
            case DeviceAdded():
                if op.device_id in self._devices:
                    raise SealingError(SealingCode.E_DIR, "device id reused")
            case DeviceRemoved():
                device = self._devices.get(op.device_id)
                if device is None or device.revoked_seq is not None:
                    raise SealingError(SealingCode.E_DIR, "no such device")
            case RecordsAdded():
                if op.records_id in self._records:
                    raise SealingError(SealingCode.E_DIR, "records id reused")
            case RecordsRemoved():
                key = self._records.get(op.records_id)
                if key is None or key.revoked_seq is not None:
                    raise SealingError(SealingCode.E_DIR, "no such records key")

    def _install(self, checked: CheckedEntry) -> None:
        entry, op, seq = checked.entry, checked.entry.operation, checked.entry.seq
        match op:
            case AuthorityAdded():
                self._authorities[op.authority_id] = Authority(
                    op.authority_id, op.public, op.not_after_ms, op.limits, seq
                )
            case AuthorityRemoved():
                old = self._authorities[op.authority_id]
                self._authorities[op.authority_id] = msgspec.structs.replace(old, revoked_seq=seq)
            case DeviceAdded():
                self._devices[op.device_id] = Certificate(
                    self.agency_id,
                    op.device_id,
                    op.public,
                    op.member_id,
                    op.role,
                    op.compartments,
                    op.caps,
                    op.not_before_ms,
                    op.not_after_ms,
                    seq,
                )
                self._by_member.setdefault(op.member_id, []).append(op.device_id)
                self._count(checked.signed)
            case DeviceRemoved():
                device = self._devices[op.device_id]
                self._devices[op.device_id] = msgspec.structs.replace(device, revoked_seq=seq)
            case RecordsAdded():
                self._records[op.records_id] = RecordsKey(
                    self.agency_id,
                    op.records_id,
                    op.suite,
                    op.public,
                    op.compartments,
                    op.class_mask,
                    op.not_before_ms,
                    op.not_after_ms,
                    seq,
                )
            case RecordsRemoved():
                key = self._records[op.records_id]
                self._records[op.records_id] = msgspec.structs.replace(key, revoked_seq=seq)
        self.seq, self.head, self.ts_ms = seq, checked.hash, entry.ts_ms
        self._hashes.append(checked.hash)
        if checked.signed.cosigner is not None:
            self._firsts[seq] = SignedEntry(checked.signed.signed).hash

    def _count(self, signed: SignedEntry) -> None:
        for signer in (signed.signed.signer, signed.cosigner):
            authority = self._authorities.get(AuthorityId(signer)) if signer else None
            if authority is not None:
                self._authorities[authority.authority_id] = msgspec.structs.replace(
                    authority, devices_certified=authority.devices_certified + 1
                )
