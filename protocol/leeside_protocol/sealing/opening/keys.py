"""A device's private keys: its identity, and the HPKE keys that change daily.

Owned by one caller, which keeps `export()` encrypted at rest.  Spec chapter 04, "Keys".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leeside_protocol.ids import AgencyId, DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.schedule import Random
from leeside_protocol.sealing.public.commit import Guest, RosterEntry
from leeside_protocol.sealing.public.device_key import (
    DEVICE_KEY_LIFETIME_MS,
    REPLACED_GRACE_MS,
    encode_device_key,
)
from leeside_protocol.sealing.public.encoding import as_bytes, as_list, as_uint, decode, encode
from leeside_protocol.sealing.public.enrolment import enrolment_input
from leeside_protocol.sealing.public.entries import SUITE_X25519, device_id_of, kid_of
from leeside_protocol.sealing.public.signed import KIND_DEVICE_KEY, Signed, signing_input

ROTATION_MS: Final = 86_400_000
# A DeviceKey is valid from a little before it was made: clocks differ.
_CLOCK_SLACK_MS: Final = 600_000
_EXPORT_VERSION: Final = 1


class SigningKey:
    """An Ed25519 private key.  Never printed; `seed` (32 bytes) is for the keystore alone."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = self._key.public_key().public_bytes_raw()

    @classmethod
    def create(cls, random: Random) -> SigningKey:
        return cls(random(32))

    @property
    def seed(self) -> bytes:
        return self._key.private_bytes_raw()

    def sign_raw(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def sign(self, kind: bytes, signer: bytes, payload: bytes) -> Signed:
        """A signed object of that kind, in the name of `signer` (16 bytes)."""
        return Signed(payload, signer, self._key.sign(signing_input(kind, signer, payload)))


@dataclass(frozen=True, slots=True, repr=False)
class HeldKey:
    """One HPKE private key; `signed` is None for a guest's, which the roster carries."""

    kid: bytes
    suite: int
    private: bytes
    kseq: int
    not_after_ms: int
    signed: Signed | None
    replaced_ms: int | None = None


class DeviceKeys:
    """A device's (or guest's) identity and its HPKE keys, newest last."""

    def __init__(self, identity: SigningKey) -> None:
        self.identity: Final = identity
        self.device_id: Final[DeviceId] = device_id_of(identity.public)
        self._held: dict[bytes, HeldKey] = {}
        self._kseq = 0

    @classmethod
    def create(cls, random: Random, now_ms: int) -> DeviceKeys:
        """A new device with its first DeviceKey, which `newest` gives for publishing."""
        keys = cls(SigningKey.create(random))
        keys.rotate(random, now_ms)
        return keys

    @classmethod
    def create_guest(cls, random: Random, not_after_ms: int) -> DeviceKeys:
        """A guest's keys: one HPKE key, named by its public half, vouched for in a commit."""
        keys = cls(SigningKey.create(random))
        private = random(32)
        kid = kid_of(hpke.public_of(private))
        keys._held[kid] = HeldKey(kid, SUITE_X25519, private, 0, not_after_ms, None)
        return keys

    def rotate(self, random: Random, now_ms: int) -> Signed:
        """A new DeviceKey (due daily); publish it before the first box is sealed to it."""
        self._kseq += 1
        private = random(32)
        payload = encode_device_key(
            self.device_id,
            kseq=self._kseq,
            suite=SUITE_X25519,
            public=hpke.public_of(private),
            not_before_ms=now_ms - _CLOCK_SLACK_MS,
            not_after_ms=now_ms - _CLOCK_SLACK_MS + DEVICE_KEY_LIFETIME_MS,
        )
        signed = self.identity.sign(KIND_DEVICE_KEY, self.device_id, payload)
        for kid, held in self._held.items():
            if held.replaced_ms is None:
                self._held[kid] = replace(held, replaced_ms=now_ms)
        kid = kid_of(payload)
        not_after_ms = now_ms - _CLOCK_SLACK_MS + DEVICE_KEY_LIFETIME_MS
        self._held[kid] = HeldKey(kid, SUITE_X25519, private, self._kseq, not_after_ms, signed)
        return signed

    def rotation_due(self, now_ms: int) -> bool:
        """Whether the newest DeviceKey is a day old, or begins later than now.

        The latter when a clock ran ahead for a while: nobody could seal to it until that day comes.
        """
        newest = self._newest()
        if newest is None:
            return True
        begins_ms = newest.not_after_ms - DEVICE_KEY_LIFETIME_MS
        return not begins_ms <= now_ms < begins_ms + ROTATION_MS

    def adopt(self, kept: DeviceKeys, now_ms: int) -> None:
        """Take over the HPKE keys that another process of this device made since, as `export` kept them.

        Two that rotate each on their own would publish one key and keep the private half of another.
        """
        for kid, held in kept._held.items():
            known = self._held.get(kid)
            if known is None or known.replaced_ms is None:
                self._held[kid] = held
        self._kseq = max(self._kseq, kept._kseq)
        newest = self._newest()
        for kid, held in self._held.items():
            if held is not newest and held.replaced_ms is None and held.signed is not None:
                self._held[kid] = replace(held, replaced_ms=now_ms)

    def prune(self, now_ms: int, *, boxes_fetched: bool) -> int:
        """Delete keys replaced over an hour ago, once no box for them is left to fetch; how many."""
        if not boxes_fetched:
            return 0
        gone = [
            kid
            for kid, held in self._held.items()
            if held.replaced_ms is not None and held.replaced_ms + REPLACED_GRACE_MS <= now_ms
        ]
        for kid in gone:
            del self._held[kid]
        return len(gone)

    def _newest(self) -> HeldKey | None:
        return max(self._held.values(), key=lambda h: h.kseq, default=None)

    @property
    def newest(self) -> Signed:
        """The signed DeviceKey to publish; `E_STATE` for a guest."""
        newest = self._newest()
        if newest is None or newest.signed is None:
            raise SealingError(SealingCode.E_STATE, "no DeviceKey")
        return newest.signed

    def held(self, kid: bytes) -> HeldKey:
        """The private key of that kid; `E_NO_KEY` when deleted or never held."""
        found = self._held.get(kid)
        if found is None:
            raise SealingError(SealingCode.E_NO_KEY, "no such private key")
        return found

    def holds(self, kid: bytes) -> bool:
        return kid in self._held

    def guest_entry(self, agency_id: AgencyId, class_mask: int) -> RosterEntry:
        """The roster entry that a voucher puts into a commit for these guest keys."""
        for held in self._held.values():
            if held.signed is None:
                public = hpke.public_of(held.private)
                guest = Guest(self.identity.public, public, held.not_after_ms)
                return RosterEntry(self.device_id, agency_id, held.kid, class_mask, guest)
        raise SealingError(SealingCode.E_STATE, "not a guest")

    def enrolment_proof(self, code: str) -> bytes:
        """64 bytes: that this device holds its identity key (`verify_enrolment`)."""
        return self.identity.sign_raw(enrolment_input(code, self.identity.public))

    def export(self) -> bytes:
        """All private keys, for a keystore that encrypts them at rest."""
        return encode(
            [
                _EXPORT_VERSION,
                self.identity.seed,
                self._kseq,
                [
                    [
                        h.kid,
                        h.suite,
                        h.private,
                        h.kseq,
                        h.not_after_ms,
                        None if h.signed is None else h.signed.encode(),
                        h.replaced_ms,
                    ]
                    for h in self._held.values()
                ],
            ]
        )

    @classmethod
    def restore(cls, data: bytes) -> DeviceKeys:
        """What `export` wrote; `E_ENCODING` or `E_STATE` when it is not that."""
        version, seed, kseq, held = as_list(list(decode(data)), 4)
        if as_uint(version) != _EXPORT_VERSION:
            raise SealingError(SealingCode.E_STATE, "unknown export version")
        keys = cls(SigningKey(as_bytes(seed, 32)))
        keys._kseq = as_uint(kseq)
        for item in as_list(held):
            kid, suite, private, number, not_after, signed, replaced = as_list(item, 7)
            keys._held[as_bytes(kid, 8)] = HeldKey(
                as_bytes(kid, 8),
                as_uint(suite),
                as_bytes(private, 32),
                as_uint(number),
                as_uint(not_after),
                None if signed is None else Signed.decode(as_bytes(signed)),
                None if replaced is None else as_uint(replaced),
            )
        return keys
