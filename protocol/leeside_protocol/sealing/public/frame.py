"""Message frames as an observer without keys sees them: the 84-byte header.

Spec chapter 04, "Frame".  The rest of the frame is AES-256-GCM ciphertext over a signature
and the padded body.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.limits import PAYLOAD_BYTES
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL, HPKE_PUBLIC_BYTES

HEADER: Final = struct.Struct(">BBBB16sQ16s16s16sQ")
HEADER_BYTES: Final = 84
TAG_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
PADDING_BYTES: Final = {DURABLE: 64, EPHEMERAL: 32}
MAX_FRAME_BYTES: Final = PAYLOAD_BYTES
FRAME_VERSION: Final = 1


class FrameHeader(msgspec.Struct, frozen=True, gc=False):
    """The clear part of a frame.  It is authenticated by the ciphertext behind it."""

    key_class: int
    suite: int
    channel_id: ChannelId
    epoch: int
    commit_prefix: bytes
    sender: DeviceId
    sid: bytes
    seq: int

    def pack(self) -> bytes:
        return HEADER.pack(
            FRAME_VERSION,
            self.key_class,
            self.suite,
            0,
            self.channel_id,
            self.epoch,
            self.commit_prefix,
            self.sender,
            self.sid,
            self.seq,
        )


def parse_frame(frame: bytes) -> FrameHeader:
    """The header of a frame of the right size, or `E_FORMAT`.

    Classes are durable and ephemeral; media travels as SFrame.
    """
    if not HEADER_BYTES < len(frame) <= MAX_FRAME_BYTES:
        raise SealingError(SealingCode.E_FORMAT, "frame size")
    version, key_class, suite, flags, channel, epoch, prefix, sender, sid, seq = HEADER.unpack_from(frame)
    if version != FRAME_VERSION or flags != 0:
        raise SealingError(SealingCode.E_FORMAT, "frame version or flags")
    if key_class not in PADDING_BYTES or suite not in HPKE_PUBLIC_BYTES:
        raise SealingError(SealingCode.E_FORMAT, "frame class or suite")
    padded = len(frame) - HEADER_BYTES - TAG_BYTES - SIGNATURE_BYTES
    if padded <= 0 or padded % PADDING_BYTES[key_class]:
        raise SealingError(SealingCode.E_FORMAT, "frame padding")
    return FrameHeader(key_class, suite, ChannelId(channel), epoch, prefix, DeviceId(sender), sid, seq)


def check_frame(header: FrameHeader, head: Commit, sender: DeviceId) -> None:
    """What the server checks before it stores a frame, against the channel's newest commit.

    `sender` is the authenticated device.  Raises `E_AUTHZ` (another device's frame, or not
    in the roster, or a class it was not given), `E_UNKNOWN_EPOCH` (not the newest epoch:
    answer `stale` with the head), `E_FORK` (the same epoch on another branch), `E_FORMAT`.
    A duplicate is to be looked for *before* this check.
    """
    if header.channel_id != head.channel_id or header.suite != head.suite:
        raise SealingError(SealingCode.E_FORMAT, "another channel or suite")
    if header.sender != sender:
        raise SealingError(SealingCode.E_AUTHZ, "another device's frame")
    if header.epoch != head.epoch:
        raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "not the newest epoch")
    if header.commit_prefix != head.hash[:16]:
        raise SealingError(SealingCode.E_FORK, "another branch of this epoch")
    entry = head.entry(sender)
    if entry is None or not entry.class_mask >> header.key_class & 1:
        raise SealingError(SealingCode.E_AUTHZ, "not in the roster for this class")
