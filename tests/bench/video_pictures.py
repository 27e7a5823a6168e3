"""Real VP8 pictures for forwarders that open them: two seconds of a moving pattern at 720p, the first a key frame."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import av
import numpy as np

from tests.bench.programs import MeasureFailed
from tests.bench.video_load import FRAMES_PER_S, KEY_FRAMES

WIDTH: Final = 1_280
HEIGHT: Final = 720
NOISE: Final = 2
"""Grain, as a camera's: without it the encoder would not use the bits that it may."""


def pictures(kbps: float, width: int = WIDTH, height: int = HEIGHT) -> list[bytes]:
    """One encoded frame for each picture, a thirtieth of a second each."""
    # What its type says of packets is not whole.
    encoder: Any = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.bit_rate = int(kbps * 1_000)
    encoder.time_base = Fraction(1, FRAMES_PER_S)
    encoder.options = {
        "deadline": "realtime",
        "cpu-used": "8",
        "lag-in-frames": "0",
        "g": str(KEY_FRAMES * 2),
    }
    random = np.random.default_rng(7)
    columns = np.arange(width, dtype=np.int32)
    rows = np.arange(height, dtype=np.int32)[:, None]
    encoded: list[bytes] = []
    for number in range(KEY_FRAMES):
        plane = (columns + 2 * rows + 6 * number) % 256
        plane = np.clip(plane + random.integers(-NOISE, NOISE, plane.shape), 0, 255)
        image = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
        image[:height] = plane
        frame: Any = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts = number
        encoded += [bytes(packet) for packet in encoder.encode(frame)]
    encoded += [bytes(packet) for packet in encoder.encode(None)]
    if len(encoded) != KEY_FRAMES:
        raise MeasureFailed("the encoder left pictures out")
    return encoded
