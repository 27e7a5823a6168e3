"""Where a peer's picture and sound come from: a test pattern, or a file that is played again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from av.video.frame import VideoFrame

from leeside.errors import LeesideError
from leeside.media.codecs import SOUND_SAMPLES
from leeside_protocol.video.formats import AUDIO_HZ

WIDTH: Final = 320
HEIGHT: Final = 240
RATE: Final = 12
"""Pictures a second: enough to see that they move, on a machine that does other things."""
_TONE_HZ: Final = 440
_LOUD: Final = 2_000
_ROUNDED_S: Final = 0.001
"""Files say the times of their pictures in milliseconds."""
_SWEEP: Final = 4
"""Columns by which the pattern moves from one picture to the next."""


class SourceError(LeesideError):
    """A file that is not there, or holds nothing that can be shown."""


class Source(Protocol):
    """Gives the next picture and the next 20 ms of sound, each when it is time for it. Pictures have one size. `picture` is called
    in a thread, and may be while `sound` is."""

    width: int
    height: int
    rate: int
    """Pictures a second."""

    def picture(self) -> VideoFrame:
        """The next picture (yuv420p)."""
        ...

    def sound(self) -> AudioFrame:
        """The next 960 samples of one channel at 48 kHz (s16)."""
        ...


class Pattern:
    """Grey stripes that move, and a quiet tone: nobody takes it for a person."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, rate: int = RATE) -> None:
        self.width, self.height, self.rate = width, height, rate
        self._number = 0
        self._samples = 0

    def picture(self) -> VideoFrame:
        """Part of `Source`."""
        planes = np.full((self.height * 3 // 2, self.width), 128, np.uint8)
        columns = np.arange(self.width) + self._number * _SWEEP
        planes[: self.height] = (columns * 2 % 256).astype(np.uint8)
        self._number += 1
        return VideoFrame.from_ndarray(planes, format="yuv420p")

    def sound(self) -> AudioFrame:
        """Part of `Source`."""
        times = (np.arange(SOUND_SAMPLES) + self._samples) / AUDIO_HZ
        self._samples += SOUND_SAMPLES
        tone = (np.sin(2 * np.pi * _TONE_HZ * times) * _LOUD).astype(np.int16)
        return _mono(tone)


class FilePlayer:
    """A video file's pictures at their own pace, made to the size and rate of this source, from its beginning when it ends.

    Raises `SourceError` when it is opened. Sound that the file does not have is silence.
    """

    def __init__(self, path: Path, width: int = WIDTH, height: int = HEIGHT, rate: int = RATE) -> None:
        self.width, self.height, self.rate = width, height, rate
        self._path = path
        self._pictures = self._play_pictures()
        self._sounds = self._play_sounds()
        self._shown: tuple[float, VideoFrame] = next(self._pictures)
        self._next: tuple[float, VideoFrame] = next(self._pictures)
        self._time_s = self._shown[0]

    def picture(self) -> VideoFrame:
        """Part of `Source`."""
        self._time_s += 1 / self.rate
        while self._next[0] <= self._time_s + _ROUNDED_S:
            self._shown, self._next = self._next, next(self._pictures)
        return self._shown[1]

    def sound(self) -> AudioFrame:
        """Part of `Source`."""
        return next(self._sounds)

    def _play_pictures(self) -> Iterator[tuple[float, VideoFrame]]:
        """Each picture and its time on a clock that goes on when the file begins again."""
        began_s = 0.0
        while True:
            last_s = -1.0
            try:
                with av.open(self._path) as container:
                    if not container.streams.video:
                        raise SourceError(f"{self._path} has no picture")
                    for frame in container.decode(container.streams.video[0]):
                        last_s = max(last_s, frame.time or 0.0)
                        yield began_s + last_s, frame.reformat(self.width, self.height, "yuv420p")
            except (OSError, FFmpegError) as error:
                raise SourceError(f"{self._path} cannot be played: {type(error).__name__}") from None
            if last_s < 0:
                raise SourceError(f"{self._path} has no picture")
            began_s += last_s + 1 / self.rate

    def _play_sounds(self) -> Iterator[AudioFrame]:
        while True:
            heard = False
            with av.open(self._path) as container:
                if container.streams.audio:
                    resampler = AudioResampler(
                        format="s16", layout="mono", rate=AUDIO_HZ, frame_size=SOUND_SAMPLES
                    )
                    for frame in container.decode(container.streams.audio[0]):
                        for sound in resampler.resample(frame):
                            heard = True
                            yield sound
            if not heard:
                yield _mono(np.zeros(SOUND_SAMPLES, np.int16))


def _mono(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> AudioFrame:
    frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = AUDIO_HZ
    return frame
