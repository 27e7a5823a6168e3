"""DeviceKeys: the HPKE keys to which boxes are sealed, signed by the device, new each day.

Payload: `[v=1, device_id, kseq, suite, hpke_pub, not_before, not_after]`, signed by the
device's identity as "devkey"; kid = SHA-256(payload)[:8].  Spec chapter 04, "Device keys".
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.curve import low_order
from leeside_protocol.sealing.public.directory import Certificate
from leeside_protocol.sealing.public.encoding import as_bytes, as_list, as_uint, decode, encode
from leeside_protocol.sealing.public.entries import HPKE_PUBLIC_BYTES, kid_of, parse_suite
from leeside_protocol.sealing.public.signed import KIND_DEVICE_KEY, Signed, verify_signed

DEVICE_KEY_LIFETIME_MS: Final = 8 * 86_400_000
# How long a replaced key may still be named: its private half is deleted after that.
REPLACED_GRACE_MS: Final = 3_600_000
NO_KID: Final = bytes(8)
"""The kid of a dormant device: it stays in the roster and gets no box."""

MAX_DEVICE_KEY_BYTES: Final = 4096
_KEPT_PER_DEVICE: Final = 16


class DeviceKey(msgspec.Struct, frozen=True):
    """A parsed DeviceKey.  Times in ms since 1970 UTC."""

    device_id: DeviceId
    kseq: int
    suite: int
    public: bytes
    not_before_ms: int
    not_after_ms: int
    kid: bytes

    def valid_at(self, ts_ms: int) -> bool:
        return self.not_before_ms <= ts_ms <= self.not_after_ms


def encode_device_key(
    device_id: DeviceId, *, kseq: int, suite: int, public: bytes, not_before_ms: int, not_after_ms: int
) -> bytes:
    """The payload to sign."""
    return encode([1, device_id, kseq, suite, public, not_before_ms, not_after_ms])


def parse_device_key(payload: bytes) -> DeviceKey:
    """The key in `payload`, unverified: `E_ENCODING`, `E_FORMAT`, or `E_DEVKEY` for its dates."""
    version, device, kseq, suite, public, not_before, not_after = as_list(
        list(decode(payload, max_bytes=MAX_DEVICE_KEY_BYTES)), 7
    )
    if as_uint(version) != 1:
        raise SealingError(SealingCode.E_FORMAT, "unknown version")
    number = parse_suite(suite)
    key = DeviceKey(
        DeviceId(as_bytes(device, 16)),
        as_uint(kseq),
        number,
        as_bytes(public, HPKE_PUBLIC_BYTES[number]),
        as_uint(not_before),
        as_uint(not_after),
        kid_of(payload),
    )
    if not 0 < key.not_after_ms - key.not_before_ms <= DEVICE_KEY_LIFETIME_MS:
        raise SealingError(SealingCode.E_DEVKEY, "lifetime over eight days")
    if low_order(key.public):
        raise SealingError(SealingCode.E_DEVKEY, "nobody can seal to this key")
    return key


def verify_device_key(signed: Signed, certificate: Certificate, now_ms: int | None = None) -> DeviceKey:
    """The DeviceKey, signed by the certified device itself; with `now_ms`, valid now.

    Raises `E_SIG`, `E_DEVKEY`, `E_ENCODING`, `E_FORMAT`.
    """
    if signed.signer != certificate.device_id:
        raise SealingError(SealingCode.E_DEVKEY, "another device's key")
    verify_signed(signed, certificate.public, KIND_DEVICE_KEY)
    key = parse_device_key(signed.payload)
    if key.device_id != certificate.device_id:
        raise SealingError(SealingCode.E_DEVKEY, "another device's key")
    if now_ms is not None and not key.valid_at(now_ms):
        raise SealingError(SealingCode.E_DEVKEY, "not valid now")
    return key


class DeviceKeyBook:
    """Verified DeviceKeys by device, newest last; at most 16 are kept for each.

    Owned by one caller.  Used to choose a key to seal to, and to judge whether a commit
    named keys that were fresh.
    """

    def __init__(self) -> None:
        self._keys: dict[DeviceId, list[DeviceKey]] = {}

    def add(self, signed: Signed, certificate: Certificate) -> DeviceKey:
        """Verify and remember a DeviceKey.

        `E_DEVKEY` when the device already published another key of that kseq or a later
        one with an older kseq: a server must not bring an old key back.
        """
        key = verify_device_key(signed, certificate)
        kept = self._keys.setdefault(key.device_id, [])
        if any(k.kid == key.kid for k in kept):
            return key
        if kept and key.kseq <= kept[-1].kseq:
            raise SealingError(SealingCode.E_DEVKEY, "older than the key known")
        kept.append(key)
        del kept[:-_KEPT_PER_DEVICE]
        return key

    def newest(self, device_id: DeviceId) -> DeviceKey | None:
        kept = self._keys.get(device_id)
        return kept[-1] if kept else None

    def current(self, device_id: DeviceId, ts_ms: int) -> DeviceKey | None:
        """The newest key valid at `ts_ms`; None: the device is dormant and gets no box."""
        for key in reversed(self._keys.get(device_id, [])):
            if key.valid_at(ts_ms):
                return key
        return None

    def check_named(self, device_id: DeviceId, kid: bytes, ts_ms: int) -> DeviceKey | None:
        """The key that a commit made at `ts_ms` names, if valid then; None for a dormant device.

        `E_DEVKEY` otherwise; when the key is merely not known here, fetching the device's
        keys and trying again may help.
        """
        if kid == NO_KID:
            return None
        for key in self._keys.get(device_id, []):
            if key.kid == kid:
                if not key.valid_at(ts_ms):
                    raise SealingError(SealingCode.E_DEVKEY, "key not valid at the commit's time")
                return key
        raise SealingError(SealingCode.E_DEVKEY, "no such key of this device")

    def check_fresh(self, device_id: DeviceId, kid: bytes, ts_ms: int) -> None:
        """Besides `check_named`, that no newer key should have been named; else `E_DEVKEY`.

        Only the server asks this: it has the newest keys, while a member that knew a newer
        key than the committer did would refuse what all others accept.  A device with a key
        out for over an hour is not dormant, so nobody is starved of boxes in silence.
        """
        named = self.check_named(device_id, kid, ts_ms)
        for key in self._keys.get(device_id, []):
            newer = named is None or key.kseq > named.kseq
            if newer and key.valid_at(ts_ms) and key.not_before_ms + REPLACED_GRACE_MS < ts_ms:
                raise SealingError(SealingCode.E_DEVKEY, "a newer key was out for over an hour")
