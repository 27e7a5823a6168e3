"""VP8 and Opus by libvpx and libopus (through PyAV): pictures and sounds to frames and back. What RED (RFC 2198) adds to
sound is taken off here."""

# PyAV's packets are generic, and its types do not say of what.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from leeside_protocol.video.formats import AUDIO_HZ, VIDEO_HZ

SOUND_SAMPLES: Final = 960
"""20 ms."""
_SOUND_BPS: Final = 24_000
_REALTIME: Final = {
    "deadline": "realtime",
    "cpu-used": "8",
    "lag-in-frames": "0",
    "error-resilient": "1",
    "auto-alt-ref": "0",
}


class Undecodable(Exception):
    """A frame that was opened is none of its codec. Ask for a key frame."""


class PictureEncoder:
    """Pictures of one size to VP8 at one rate; the first is a key frame. `rate`: pictures a second."""

    def __init__(self, width: int, height: int, *, rate: int, bps: int) -> None:
        context: VideoCodecContext = av.CodecContext.create("libvpx", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, VIDEO_HZ), Fraction(rate, 1)
        context.bit_rate = bps
        # No more than that over half a second, whatever moves: a link that is full loses sound as well.
        held = {"minrate": bps, "maxrate": bps, "bufsize": bps // 2}
        context.gop_size = 3_600  # Key frames are made when somebody needs one.
        context.thread_count = 1
        context.options = _REALTIME | {name: str(value) for name, value in held.items()}
        self._context = context

    def encode(self, picture: VideoFrame, at: int, *, key: bool) -> bytes:
        """The frame of a picture at a time in 1/90,000 s that rises; empty: the encoder left this one out."""
        picture.pts, picture.time_base = at, Fraction(1, VIDEO_HZ)
        picture.pict_type = PictureType.I if key else PictureType.NONE
        return b"".join(bytes(packet) for packet in self._context.encode(picture))


class PictureDecoder:
    """VP8 to pictures, in their order."""

    def __init__(self) -> None:
        self._context: VideoCodecContext = av.CodecContext.create("libvpx", "r")
        self._context.thread_count = 1

    def decode(self, frame: bytes) -> list[VideoFrame]:
        """What can be shown of a frame. Raises `Undecodable`."""
        try:
            return self._context.decode(Packet(frame))
        except (FFmpegError, ValueError):
            raise Undecodable from None


class SoundEncoder:
    """20 ms of one channel at 48 kHz to Opus."""

    def __init__(self) -> None:
        context: AudioCodecContext = av.CodecContext.create("libopus", "w")
        context.sample_rate, context.layout, context.format = AUDIO_HZ, "mono", "s16"
        context.time_base, context.bit_rate = Fraction(1, AUDIO_HZ), _SOUND_BPS
        context.options = {"application": "voip", "frame_duration": "20"}
        self._context = context

    def encode(self, sound: AudioFrame, at: int) -> list[bytes]:
        """The frames of 960 samples at a time in 1/48,000 s; the encoder looks a little ahead."""
        sound.pts, sound.time_base = at, Fraction(1, AUDIO_HZ)
        return [bytes(packet) for packet in self._context.encode(sound)]


class SoundDecoder:
    """Opus to sound of two channels at 48 kHz."""

    def __init__(self) -> None:
        context: AudioCodecContext = av.CodecContext.create("libopus", "r")
        context.sample_rate, context.layout, context.format = AUDIO_HZ, "stereo", "s16"
        self._context = context

    def decode(self, frame: bytes) -> list[AudioFrame]:
        """The sound of a frame. Raises `Undecodable`."""
        try:
            return self._context.decode(Packet(frame))
        except (FFmpegError, ValueError):
            raise Undecodable from None


def without_redundancy(payload: bytes) -> bytes:
    """The newest sound of a RED payload (RFC 2198, 3). Raises `Undecodable` when its lengths lie."""
    at = before = 0
    while at < len(payload) and payload[at] & 0x80:
        if at + 4 > len(payload):
            raise Undecodable
        before += (payload[at + 2] & 0x03) << 8 | payload[at + 3]
        at += 4
    start = at + 1 + before
    if start > len(payload):
        raise Undecodable
    return payload[start:]
