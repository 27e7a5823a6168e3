"""Media keys: SFrame (RFC 9605, AES_128_GCM_SHA256_128) from an epoch's media secret.

`base_key = KDF(class_secret[3], "SFrame 1.0 Base Key", [commit_hash, call_id], 16)`;
`KID = random 40-bit context << 16 | roster index << 8 | epoch & 0xff`.  There is no
authentication of single senders among members (RFC 9605 says so).  How the frame lies
around the codec's clear bytes is chapter 09's.  Spec chapter 04, "Media".
"""

from __future__ import annotations

import hmac
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.schedule import Random, kdf, nonce
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import u64

CIPHER_SUITE: Final = 0x0004
PREVIOUS_EPOCH_MS: Final = 10_000
MAX_MEDIA_KEYS: Final = 1024
_U64: Final = 2**64


def base_key(media_secret: bytes, commit_hash: bytes, call_id: bytes) -> bytes:
    """16 bytes for one call (`call_id`: 16 bytes) in one epoch."""
    return kdf(media_secret, b"SFrame 1.0 Base Key", [commit_hash, call_id], 16)


def key_and_salt(base: bytes, kid: int) -> tuple[bytes, bytes]:
    """RFC 9605 section 4.4.2: a 16-byte key and a 12-byte salt."""
    secret = hmac.digest(b"", base, "sha256")
    tail = u64(kid) + struct.pack(">H", CIPHER_SUITE)
    key = HKDFExpand(hashes.SHA256(), 16, b"SFrame 1.0 Secret key " + tail).derive(secret)
    salt = HKDFExpand(hashes.SHA256(), 12, b"SFrame 1.0 Secret salt " + tail).derive(secret)
    return key, salt


def encode_header(kid: int, counter: int) -> bytes:
    """RFC 9605 section 4.3."""
    k, kid_bytes = _field(kid)
    c, counter_bytes = _field(counter)
    return bytes([k << 4 | c]) + kid_bytes + counter_bytes


def _field(number: int) -> tuple[int, bytes]:
    if number < 8:
        return number, b""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return 8 | len(data) - 1, data


def decode_header(data: bytes) -> tuple[int, int, int]:
    """(KID, counter, header length); `E_FORMAT` when cut short or not the shortest form."""
    if not data:
        raise SealingError(SealingCode.E_FORMAT, "media header")
    kid, at = _read(data, data[0] >> 4, 1)
    counter, at = _read(data, data[0] & 15, at)
    return kid, counter, at


def _read(data: bytes, code: int, at: int) -> tuple[int, int]:
    if code < 8:
        return code, at
    end = at + (code & 7) + 1
    number = int.from_bytes(data[at:end], "big")
    if len(data) < end or _field(number)[0] != code:
        raise SealingError(SealingCode.E_FORMAT, "media header")
    return number, end


@dataclass(slots=True, repr=False)
class MediaKey:
    """The key of one KID, and the next counter of a sender."""

    kid: int
    key: bytes
    salt: bytes
    counter: int = 0

    @classmethod
    def derive(cls, base: bytes, kid: int) -> MediaKey:
        return cls(kid, *key_and_salt(base, kid))

    def encrypt(self, plain: bytes, metadata: bytes = b"") -> bytes:
        """SFrame header and ciphertext; the counter rises by one."""
        if self.counter >= _U64:
            raise SealingError(SealingCode.E_STATE, "counter used up")
        header = encode_header(self.kid, self.counter)
        sealed = AESGCM(self.key).encrypt(nonce(self.salt, self.counter), plain, header + metadata)
        self.counter += 1
        return header + sealed

    def decrypt(self, frame: bytes, metadata: bytes = b"") -> bytes:
        """The plaintext of a whole SFrame; `E_AEAD`, `E_FORMAT`."""
        kid, counter, at = decode_header(frame)
        if kid != self.kid:
            raise SealingError(SealingCode.E_FORMAT, "another media key")
        try:
            return AESGCM(self.key).decrypt(nonce(self.salt, counter), frame[at:], frame[:at] + metadata)
        except InvalidTag:
            raise SealingError(SealingCode.E_AEAD, "media frame does not open") from None


def media_sender(media_secret: bytes, commit: Commit, call_id: bytes, index: int, random: Random) -> MediaKey:
    """A sender's key: make a new one at each start of a transceiver, so counters may start at 0.

    `index` is the sender's place in the commit's roster.
    """
    if not 0 <= index < len(commit.roster):
        raise SealingError(SealingCode.E_AUTHZ, "no such place in the roster")
    kid = int.from_bytes(random(5), "big") << 16 | index << 8 | commit.epoch & 0xFF
    return MediaKey.derive(base_key(media_secret, commit.hash, call_id), kid)


@dataclass(frozen=True, slots=True, repr=False)
class _CallEpoch:
    base: bytes
    roster: int
    epoch: int


class MediaReceiver:
    """Opens the media of one call.  The epoch before is kept for 10 s; 1,024 keys at most."""

    def __init__(self, call_id: bytes) -> None:
        self._call_id = call_id
        self._now: _CallEpoch | None = None
        self._before: _CallEpoch | None = None
        self._before_until_ms = 0
        self._keys: OrderedDict[tuple[int, int], MediaKey] = OrderedDict()

    def start_epoch(self, media_secret: bytes, commit: Commit, now_ms: int) -> None:
        """Use a new epoch's secret from now on."""
        self._before, self._before_until_ms = self._now, now_ms + PREVIOUS_EPOCH_MS
        base = base_key(media_secret, commit.hash, self._call_id)
        self._now = _CallEpoch(base, len(commit.roster), commit.epoch)

    def decrypt(self, frame: bytes, now_ms: int, metadata: bytes = b"") -> tuple[int, bytes]:
        """(Roster index of the KID, plaintext).

        Raises `E_UNKNOWN_EPOCH`, `E_AUTHZ` (index beyond the roster), `E_AEAD`, `E_FORMAT`.
        """
        kid, _, _ = decode_header(frame)
        if self._before is not None and now_ms > self._before_until_ms:
            gone = self._before.epoch
            self._before = None
            for name in [n for n in self._keys if n[0] == gone]:
                del self._keys[name]
        for epoch in (self._now, self._before):
            if epoch is not None and epoch.epoch & 0xFF == kid & 0xFF:
                return self._decrypt(epoch, kid, frame, metadata)
        raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "media of another epoch")

    def _decrypt(self, epoch: _CallEpoch, kid: int, frame: bytes, metadata: bytes) -> tuple[int, bytes]:
        index = kid >> 8 & 0xFF
        if index >= epoch.roster or kid >> 56:
            raise SealingError(SealingCode.E_AUTHZ, "no such place in the roster")
        name = (epoch.epoch, kid)
        key = self._keys.get(name) or MediaKey.derive(epoch.base, kid)
        plain = key.decrypt(frame, metadata)
        # Only a key that opened something is kept: strangers cannot push out those in use.
        self._keys[name] = key
        self._keys.move_to_end(name)
        if len(self._keys) > MAX_MEDIA_KEYS:
            self._keys.popitem(last=False)
        return index, plain
