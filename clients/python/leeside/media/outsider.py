"""What somebody without the keys makes of a call's pictures: nothing, and this shows it.

The packets that a client receives hold what the bridge has after SRTP, byte for byte: it forwards payloads as they are. So an
`Outsider` beside a client sees what the bridge sees, and tries what the bridge could try.

A decoder makes a picture of many a frame that is nothing but a good beginning and random bytes: noise. That somebody can see
something is not that a decoder gave a picture, but that the picture shows what was sent. So each is held against the pictures
that the client itself saw, with the keys.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Final

import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from leeside.media.codecs import PictureDecoder, Undecodable
from leeside.media.receiving import Frame
from leeside_protocol.ids import DeviceId
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import take_apart

KEPT: Final = 512
"""Of each participant: the newest pictures that are compared."""
COLUMNS, LINES = 64, 36
ALIKE: Final = 0.5
"""Correlation of the edges of two pictures: 1 of a picture with itself, about 0 of noise with anything."""

Edges = NDArray[np.float32]


class Outsider:
    """Give it as `tap` and as `sink` to `Call.join`: what passes, and what who has the keys sees of it."""

    def __init__(self) -> None:
        self.frames = self.decoded = 0
        """Pictures that passed, and what a decoder made of them: noise, now and then."""
        self._decoders: dict[tuple[DeviceId, str], PictureDecoder] = {}
        self._made: defaultdict[DeviceId, deque[Edges]] = defaultdict(_kept)
        self._sent: defaultdict[DeviceId, deque[Edges]] = defaultdict(_kept)

    @property
    def recognised(self) -> int:
        """How many of the pictures that a decoder made show what was really sent."""
        return sum(
            any(float(made @ sent) >= ALIKE for sent in self._sent[device])
            for device, pictures in tuple(self._made.items())
            for made in tuple(pictures)
        )

    def __call__(self, device: DeviceId, frame: Frame) -> None:
        """Try a frame as it is, and its clear and sealed parts without what is around them."""
        if frame.media is not MediaKind.VIDEO:
            return
        self.frames += 1
        parts = take_apart(frame.media, frame.data)
        self._try(device, "whole", frame.data)
        if parts is not None:
            self._try(device, "parts", parts[0] + parts[1])

    def picture(self, device: DeviceId, picture: VideoFrame) -> None:
        """What who has the keys saw."""
        self._sent[device].append(_edges(picture))

    def sound(self, device: DeviceId, sound: AudioFrame) -> None:
        """Sound is not tried: a decoder of Opus makes noise of anything."""

    def _try(self, device: DeviceId, way: str, data: bytes) -> None:
        decoder = self._decoders.setdefault((device, way), PictureDecoder())
        try:
            pictures = decoder.decode(data)
        except Undecodable:
            return
        self.decoded += len(pictures)
        self._made[device].extend(map(_edges, pictures))


def _kept() -> deque[Edges]:
    return deque(maxlen=KEPT)


def _edges(picture: VideoFrame) -> Edges:
    """Where a small copy of the picture changes from left to right and from top to bottom, as a vector of length 1; of length 0
    where it changes nowhere."""
    small: NDArray[Any] = picture.reformat(width=COLUMNS, height=LINES, format="gray").to_ndarray()
    levels = small.astype(np.float32)
    edges: Edges = np.concatenate([np.diff(levels, axis=1).ravel(), np.diff(levels, axis=0).ravel()])
    edges -= edges.mean()
    edges /= max(float(np.linalg.norm(edges)), 1e-6)
    return edges
