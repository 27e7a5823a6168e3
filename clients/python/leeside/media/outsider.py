"""What somebody without the keys makes of a call's pictures: nothing, and this counts it.

The packets that a client receives hold what the bridge has after SRTP, byte for byte: it forwards payloads as they are. So an
`Outsider` beside a client sees what the bridge sees, and tries what the bridge could try.
"""

from __future__ import annotations

from leeside.media.codecs import PictureDecoder, Undecodable
from leeside.media.receiving import Frame
from leeside_protocol.ids import DeviceId
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import take_apart


class Outsider:
    """Give it as `tap` to `Call.join`."""

    def __init__(self) -> None:
        self.frames = self.decoded = 0
        """Pictures that passed, and pictures that a decoder made of them."""
        self._decoders: dict[tuple[DeviceId, str], PictureDecoder] = {}

    def __call__(self, device: DeviceId, frame: Frame) -> None:
        """Try a frame as it is, and its clear and sealed parts without what is around them."""
        if frame.media is not MediaKind.VIDEO:
            return
        self.frames += 1
        parts = take_apart(frame.media, frame.data)
        self.decoded += self._try(device, "whole", frame.data)
        if parts is not None:
            self.decoded += self._try(device, "parts", parts[0] + parts[1])

    def _try(self, device: DeviceId, way: str, data: bytes) -> int:
        decoder = self._decoders.setdefault((device, way), PictureDecoder())
        try:
            return len(decoder.decode(data))
        except Undecodable:
            return 0
