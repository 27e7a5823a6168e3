"""Media keys: SFrame (RFC 9605, AES_128_GCM_SHA256_128) from an epoch's media secret.

`base_key = KDF(class_secret[3], "SFrame 1.0 Base Key", [commit_hash, call_id], 16)`;
`KID = random 40-bit context << 16 | roster index << 8 | epoch & 0xff`.  There is no
authentication of single senders among members (RFC 9605 says so).  Spec chapter 04, "Media".

How the frame lies around the codec's clear bytes, and what a receiver drops, is chapter 09's,
"Sealed frames": `MediaKey.seal_frame`, `MediaReceiver.open_frame`.
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

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.schedule import Random, kdf, nonce
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import u64
from leeside_protocol.video import frames
from leeside_protocol.video.formats import MediaKind

CIPHER_SUITE: Final = 0x0004
PREVIOUS_EPOCH_MS: Final = 10_000
MAX_MEDIA_KEYS: Final = 1024
REPLAY_WINDOW: Final = 1024
DUPLICATE_MS: Final = 2_000
"""What came first so short a time ago comes again because packets were repaired or doubled on their way; three times as long
ago it is told."""
_U64: Final = 2**64
_WINDOW_BITS: Final = 2**REPLAY_WINDOW - 1
_TAG_BYTES: Final = 16
_OVERHEAD: Final = 17 + _TAG_BYTES + frames.TRAILER_BYTES
"""Of an SFrame header at its longest, a tag and the trailer."""


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

    def seal_frame(self, media: MediaKind, frame: bytes) -> bytes:
        """An encoded frame as packets carry it; `E_FORMAT` for one that no receiver would take."""
        if len(frame) > frames.FRAME_BYTES - _OVERHEAD:
            raise SealingError(SealingCode.E_FORMAT, "a frame of too many bytes")
        clear = frame[: frames.clear_bytes(media, frame)]
        return frames.put_together(clear, self.encrypt(frame[len(clear) :], frames.metadata(media, clear)))

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
    roster: tuple[DeviceId, ...]
    epoch: int


class _Window:
    """Which of the last counters of one KID were there: bit n is the newest less n."""

    __slots__ = ("_before", "_lately", "_newest", "_seen", "_turned_ms")

    def __init__(self, now_ms: int) -> None:
        self._newest, self._seen = -1, 0
        self._before = self._lately = -1
        """The newest at the last two turns, which are `DUPLICATE_MS` apart at least."""
        self._turned_ms = now_ms

    def take(self, counter: int, now_ms: int) -> None:
        """`E_REPLAY` for one that was there, or is too old to say; `E_DUPLICATE` where it was there a moment ago."""
        self._turn(now_ms)
        ahead = counter - self._newest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, REPLAY_WINDOW) | 1) & _WINDOW_BITS
            self._newest = counter
            return
        if -ahead >= REPLAY_WINDOW:
            raise SealingError(SealingCode.E_REPLAY, "a media frame of long ago")
        if self._seen >> -ahead & 1:
            lately = counter > self._before
            code = SealingCode.E_DUPLICATE if lately else SealingCode.E_REPLAY
            raise SealingError(code, "a media frame that was there")
        self._seen |= 1 << -ahead

    def _turn(self, now_ms: int) -> None:
        passed_ms = now_ms - self._turned_ms
        if passed_ms < DUPLICATE_MS:
            return
        # Where both turns are due nothing came meanwhile.
        self._before = self._lately if passed_ms < 2 * DUPLICATE_MS else self._newest
        self._lately = self._newest
        self._turned_ms = now_ms


_Opener = tuple[MediaKey, _Window]


class MediaReceiver:
    """Opens the media of one call.  The epoch before is kept for 10 s; 1,024 keys at most."""

    def __init__(self, call_id: bytes) -> None:
        self._call_id = call_id
        self._now: _CallEpoch | None = None
        self._before: _CallEpoch | None = None
        self._before_until_ms = 0
        self._openers: OrderedDict[tuple[int, int], _Opener] = OrderedDict()

    def start_epoch(self, media_secret: bytes, commit: Commit, now_ms: int) -> None:
        """Use a new epoch's secret from now on; an epoch that is no newer changes nothing."""
        if self._now is not None and commit.epoch <= self._now.epoch:
            return
        self._forget_before()
        self._before, self._before_until_ms = self._now, now_ms + PREVIOUS_EPOCH_MS
        base = base_key(media_secret, commit.hash, self._call_id)
        self._now = _CallEpoch(base, tuple(e.device_id for e in commit.roster), commit.epoch)

    def open_frame(self, media: MediaKind, frame: bytes, sender: DeviceId, now_ms: int) -> bytes:
        """The encoded frame that `sender`, whose m-line this came on, sealed; bytes as its codec made them.

        Raises `E_FORMAT`, `E_UNKNOWN_EPOCH` (fetch commits), `E_AEAD`, `E_AUTHZ` (the place in the roster
        is another's: a swap), `E_REPLAY`, `E_DUPLICATE` (it came a moment ago: no alarm, and nothing is
        missing).  The caller drops the frame and counts by code.
        """
        parts = frames.take_apart(media, frame)
        if parts is None:
            raise SealingError(SealingCode.E_FORMAT, "not a sealed frame")
        clear, sframe = parts
        kid, counter, _ = decode_header(sframe)
        epoch = self._epoch_of(kid, now_ms)
        index = kid >> 8 & 0xFF
        if index >= len(epoch.roster) or kid >> 56:
            raise SealingError(SealingCode.E_AUTHZ, "no such place in the roster")
        name = (epoch.epoch, kid)
        opener = self._openers.get(name) or (MediaKey.derive(epoch.base, kid), _Window(now_ms))
        plain = opener[0].decrypt(sframe, frames.metadata(media, clear))
        # Only now is it known who says all this: nothing before it may change what is held.
        if epoch.roster[index] != sender:
            raise SealingError(SealingCode.E_AUTHZ, "sealed by another than whose place this is")
        opener[1].take(counter, now_ms)
        # Only a key that opened something is kept: strangers cannot push out those in use.
        self._openers[name] = opener
        self._openers.move_to_end(name)
        if len(self._openers) > MAX_MEDIA_KEYS:
            self._openers.popitem(last=False)
        return clear + plain

    def _epoch_of(self, kid: int, now_ms: int) -> _CallEpoch:
        if now_ms > self._before_until_ms:
            self._forget_before()
        for epoch in (self._now, self._before):
            if epoch is not None and epoch.epoch & 0xFF == kid & 0xFF:
                return epoch
        raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "media of another epoch")

    def _forget_before(self) -> None:
        if self._before is None:
            return
        gone, self._before = self._before.epoch, None
        for name in [n for n in self._openers if n[0] == gone]:
            del self._openers[name]
