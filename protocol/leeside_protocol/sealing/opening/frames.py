"""Sealing and opening message frames.

A sender instance is one process or tab, for one epoch and class.  Its `sid` is random, so
nothing about nonces is ever persisted: a crash or a second tab cannot reuse a counter.  The
signature is inside the ciphertext: authorship survives history grants and evidence exports,
and a member holding the group's key still cannot forge another.  Spec chapter 04, "Frame".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.body import Body, decode_body, encode_body, pad, unpad
from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.opening.schedule import ClassSecrets, nonce, sender_key
from leeside_protocol.sealing.public.acceptance import ChannelLine, Directories, certificate_for
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.encoding import (
    PREFIX,
    Packable,
    Value,
    as_bytes,
    as_list,
    as_uint,
    pae,
    u64,
)
from leeside_protocol.sealing.public.entries import CAP_SEND, EPHEMERAL
from leeside_protocol.sealing.public.frame import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    PADDING_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    FrameHeader,
    parse_frame,
)
from leeside_protocol.sealing.public.signed import verify_raw

WINDOW: Final = 64
MAX_WINDOWS: Final = 4096
MAX_CACHED_KEYS: Final = 1024
SID_BYTES: Final = 16

SenderInstance = tuple[int, int, DeviceId, bytes]
"""(epoch, class, device, sid)"""


def message_input(commit_hash: bytes, header: bytes, padded: bytes) -> bytes:
    """What a sender signs inside its frame."""
    return pae(PREFIX + b"msg", commit_hash, header, padded)


class FrameSender:
    """One sender instance.  Discard it when the epoch ends; never restore one from disk."""

    def __init__(
        self,
        identity: SigningKey,
        device_id: DeviceId,
        commit: Commit,
        secrets: ClassSecrets,
        *,
        key_class: int,
        sid: bytes,
    ) -> None:
        secret = secrets.get(key_class)
        if secret is None:
            raise SealingError(SealingCode.E_NO_KEY, "no secret for this class")
        if key_class not in PADDING_BYTES or len(sid) != SID_BYTES:
            raise SealingError(SealingCode.E_FORMAT, "frame class or sid")
        self._identity = identity
        self._commit = commit
        self._header = FrameHeader(
            key_class, commit.suite, commit.channel_id, commit.epoch, commit.hash[:16], device_id, sid, 0
        )
        key, self._salt = sender_key(secret, commit.hash, device_id, sid, key_class)
        self._aead = AESGCM(key)
        self.sent = 0

    def seal(self, body: Body) -> bytes:
        """The frame; `E_FORMAT` when it exceeds the largest payload, `E_ENCODING` for bad data."""
        first = self._header
        padded = pad(encode_body(body), PADDING_BYTES[first.key_class])
        if HEADER_BYTES + SIGNATURE_BYTES + len(padded) + TAG_BYTES > MAX_FRAME_BYTES:
            raise SealingError(SealingCode.E_FORMAT, "body too large")
        header = FrameHeader(
            first.key_class,
            first.suite,
            first.channel_id,
            first.epoch,
            first.commit_prefix,
            first.sender,
            first.sid,
            self.sent,
        ).pack()
        signature = self._identity.sign_raw(message_input(self._commit.hash, header, padded))
        used, self.sent = self.sent, self.sent + 1
        return header + self._aead.encrypt(nonce(self._salt, used), signature + padded, header)


@dataclass(frozen=True, slots=True, repr=False)
class OpenedFrame:
    """A frame whose sender and content hold.

    `old_epoch`: it was sealed before the newest commit; on live receipt, more than a few
    seconds after that commit, screens mark it.  `missing`: how many of this sender
    instance's frames before it have not been seen; gaps are shown.
    """

    header: FrameHeader
    body: Body
    old_epoch: bool
    missing: int


@dataclass(frozen=True, slots=True)
class ReplayWindow:
    """The highest counter of a sender instance, and which of the 64 up to it were seen."""

    highest: int
    bits: int

    def seen(self, seq: int) -> bool:
        behind = self.highest - seq
        return behind >= WINDOW or (behind >= 0 and bool(self.bits >> behind & 1))

    def with_seq(self, seq: int) -> ReplayWindow:
        if seq > self.highest:
            bits = (self.bits << min(seq - self.highest, WINDOW) | 1) & (1 << WINDOW) - 1
            return ReplayWindow(seq, bits)
        return ReplayWindow(self.highest, self.bits | 1 << self.highest - seq)


@dataclass(frozen=True, slots=True)
class _Newest:
    """A device's newest ephemeral frame (decision 11)."""

    epoch: int
    sid: bytes
    seq: int
    ts_ms: int


class FrameReceiver:
    """Opens the frames of one channel, once each.

    Holds a replay window per sender instance (4,096 at most, the least used go first) and
    the sender keys in use (1,024).  A durable message is besides deduplicated by the local
    store, by device and message id.  A frame that fails leaves everything as it was.
    """

    def __init__(self, line: ChannelLine, secrets: Mapping[int, ClassSecrets]) -> None:
        self._line = line
        self._secrets = secrets
        self._keys: OrderedDict[SenderInstance, tuple[AESGCM, bytes]] = OrderedDict()
        self._windows: OrderedDict[SenderInstance, ReplayWindow] = OrderedDict()
        self._newest: dict[DeviceId, _Newest] = {}

    def open(self, frame: bytes, directories: Directories, *, again: bool = False) -> OpenedFrame:
        """The verified content of a frame.

        `again` reads a stored log entry once more (history, paging backwards): replay and
        order are then the store's matter.  Raises `E_FORMAT`, `E_UNKNOWN_EPOCH` (fetch
        commits and boxes, retry within 30 s), `E_FORK` (sealed on another branch: fetch
        that commit; only two signed commits are proof), `E_AUTHZ`, `E_NO_KEY` (not
        granted), `E_REPLAY`, `E_AEAD`, `E_SIG`, `E_STALE_POSITION`, `E_ENCODING`.  Drop,
        count and report; never show a frame "as far as possible".
        """
        header = parse_frame(frame)
        commit = self._commit_of(header)
        public = self._sender_public(header, commit, directories)
        secret = self._secrets.get(header.epoch, {}).get(header.key_class)
        if secret is None:
            raise SealingError(SealingCode.E_NO_KEY, "not granted")
        instance = (header.epoch, header.key_class, header.sender, header.sid)
        window = self._windows.get(instance)
        if not again and window is not None and window.seen(header.seq):
            raise SealingError(SealingCode.E_REPLAY, "seen already, or too far behind")
        keys = self._keys.get(instance)
        if keys is None:
            key, salt = sender_key(secret, commit.hash, header.sender, header.sid, header.key_class)
            keys = (AESGCM(key), salt)
        body = _open_content(frame, header, commit, keys, public)
        if not again and header.key_class == EPHEMERAL:
            self._check_order(header, body)
        self._keep_keys(instance, keys)
        missing = 0
        if not again:
            missing = self._keep_window(instance, window, header, body)
        return OpenedFrame(header, body, header.epoch < self._line.epoch, missing)

    def forget_keys(self) -> None:
        """Drop cached sender keys; called when secrets are deleted."""
        self._keys.clear()

    def _commit_of(self, header: FrameHeader) -> Commit:
        if header.channel_id != self._line.channel_id:
            raise SealingError(SealingCode.E_FORMAT, "another channel")
        commit = self._line.commits.get(header.epoch)
        if commit is None:
            raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
        if header.suite != commit.suite:
            raise SealingError(SealingCode.E_FORMAT, "another suite")
        if header.commit_prefix != commit.hash[:16]:
            raise SealingError(SealingCode.E_FORK, "sealed on another branch")
        return commit

    @staticmethod
    def _sender_public(header: FrameHeader, commit: Commit, directories: Directories) -> bytes:
        entry = commit.entry(header.sender)
        if entry is None or not entry.class_mask >> header.key_class & 1:
            raise SealingError(SealingCode.E_AUTHZ, "sender not in the roster for this class")
        if entry.guest is not None:
            return entry.guest.public
        certificate = certificate_for(directories, entry.agency_id, header.sender)
        if certificate is None:
            raise SealingError(SealingCode.E_UNKNOWN_DEVICE, "sender not certified")
        if not certificate.caps & CAP_SEND:
            raise SealingError(SealingCode.E_AUTHZ, "sender may not send")
        return certificate.public

    def _check_order(self, header: FrameHeader, body: Body) -> None:
        """Refuse only what is older than that device's newest.

        Within one sender instance the counter tells; between two of one epoch the sender's
        own clock does; a later epoch always wins, so a clock that once ran ahead blocks a
        device until the next epoch at most.
        """
        newest = self._newest.get(header.sender)
        if newest is None or header.epoch > newest.epoch:
            return
        if header.epoch == newest.epoch:
            if header.sid == newest.sid and header.seq > newest.seq:
                return
            if header.sid != newest.sid and body.ts_ms >= newest.ts_ms:
                return
        raise SealingError(SealingCode.E_STALE_POSITION, "older than this device's newest")

    def _keep_keys(self, instance: SenderInstance, keys: tuple[AESGCM, bytes]) -> None:
        self._keys[instance] = keys
        self._keys.move_to_end(instance)
        if len(self._keys) > MAX_CACHED_KEYS:
            self._keys.popitem(last=False)

    def _keep_window(
        self, instance: SenderInstance, window: ReplayWindow | None, header: FrameHeader, body: Body
    ) -> int:
        missing = 0
        if window is None:
            self._windows[instance] = ReplayWindow(header.seq, 1)
            missing = header.seq
        else:
            missing = max(0, header.seq - window.highest - 1)
            self._windows[instance] = window.with_seq(header.seq)
        self._windows.move_to_end(instance)
        if len(self._windows) > MAX_WINDOWS:
            self._windows.popitem(last=False)
        if header.key_class == EPHEMERAL:
            self._newest[header.sender] = _Newest(header.epoch, header.sid, header.seq, body.ts_ms)
        return missing

    def export(self) -> Packable:
        """Replay state as plain values; no keys.  Counters as bytes: a member may count beyond any integer."""
        windows: list[Packable] = [
            [epoch, key_class, device, sid, u64(w.highest), w.bits.to_bytes(8, "big")]
            for (epoch, key_class, device, sid), w in self._windows.items()
        ]
        newest: list[Packable] = [[d, n.epoch, n.sid, u64(n.seq), n.ts_ms] for d, n in self._newest.items()]
        return [windows, newest]

    def restore(self, state: Value) -> None:
        """Take the replay state that `export` wrote; `E_ENCODING`."""
        windows, newest = as_list(state, 2)
        for item in as_list(windows):
            epoch, key_class, device, sid, highest, bits = as_list(item, 6)
            instance = (as_uint(epoch), as_uint(key_class), DeviceId(as_bytes(device, 16)), as_bytes(sid, 16))
            self._windows[instance] = ReplayWindow(
                _counter(highest), int.from_bytes(as_bytes(bits, 8), "big")
            )
        for item in as_list(newest):
            device, epoch, sid, seq, ts = as_list(item, 5)
            self._newest[DeviceId(as_bytes(device, 16))] = _Newest(
                as_uint(epoch), as_bytes(sid, 16), _counter(seq), as_uint(ts)
            )


def _counter(kept: Value) -> int:
    """A counter of 64 bits; as a number, one that was kept by an earlier version."""
    return int.from_bytes(as_bytes(kept, 8), "big") if isinstance(kept, bytes) else as_uint(kept)


def _open_content(
    frame: bytes, header: FrameHeader, commit: Commit, keys: tuple[AESGCM, bytes], public: bytes
) -> Body:
    clear = frame[:HEADER_BYTES]
    aead, salt = keys
    try:
        content = aead.decrypt(nonce(salt, header.seq), frame[HEADER_BYTES:], clear)
    except InvalidTag:
        raise SealingError(SealingCode.E_AEAD, "frame does not open") from None
    padded = content[SIGNATURE_BYTES:]
    verify_raw(public, content[:SIGNATURE_BYTES], message_input(commit.hash, clear, padded))
    return decode_body(unpad(padded, PADDING_BYTES[header.key_class]))
