"""Frames of the others: opened, decoded, counted, and shown to who wants to see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from leeside.media.codecs import PictureDecoder, SoundDecoder, Undecodable, without_redundancy
from leeside.media.keys import CallKeys
from leeside.media.receiving import Frame
from leeside.media.seen import Seen
from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import is_key_frame


class Sink(Protocol):
    """Who watches. Neither method may block: both are called where packets arrive."""

    def picture(self, device: DeviceId, picture: VideoFrame) -> None:
        """A picture of this participant."""
        ...

    def sound(self, device: DeviceId, sound: AudioFrame) -> None:
        """20 ms of this participant, two channels at 48 kHz."""
        ...


@dataclass(slots=True)
class _Decoders:
    """Of one participant. `broken`: the next picture that can be shown is a key frame."""

    pictures: PictureDecoder = field(default_factory=PictureDecoder)
    sounds: SoundDecoder = field(default_factory=SoundDecoder)
    broken: bool = True


class Showing:
    """Everybody else's media in one call."""

    def __init__(self, keys: CallKeys, sink: Sink | None, now_ms: Callable[[], int]) -> None:
        self.seen: dict[DeviceId, Seen] = {}
        """What came, by participant; those who went stay counted."""
        self._keys = keys
        self._sink = sink
        self._now_ms = now_ms
        self._decoders: dict[DeviceId, _Decoders] = {}

    def restart(self, device: DeviceId) -> None:
        """This participant's streams begin anew, or end."""
        self._decoders.pop(device, None)

    def take(self, device: DeviceId, frame: Frame, now_s: float) -> bool:
        """Show a frame that came on this participant's m-line. False: its pictures cannot go on without a key frame."""
        seen = self.seen.setdefault(device, Seen())
        decoders = self._decoders.setdefault(device, _Decoders())
        seen.sounds_lost += frame.gap
        try:
            plain = self._keys.open(frame.media, frame.data, device, self._now_ms())
            if frame.media is MediaKind.AUDIO:
                self._hear(device, seen, decoders, plain, redundant=frame.redundant)
            else:
                self._look(device, seen, decoders, plain)
        except SealingError as error:
            seen.drop(error.code, now_s)
            # A picture that comes a second time is missing to nobody.
            decoders.broken |= frame.media is MediaKind.VIDEO and error.code is not SealingCode.E_REPLAY
        except Undecodable:
            seen.undecodable += 1
            decoders.broken |= frame.media is MediaKind.VIDEO
        return not decoders.broken

    def _hear(
        self, device: DeviceId, seen: Seen, decoders: _Decoders, plain: bytes, *, redundant: bool
    ) -> None:
        seen.sounds_opened += 1
        for sound in decoders.sounds.decode(without_redundancy(plain) if redundant else plain):
            seen.sounds_decoded += 1
            if self._sink is not None:
                self._sink.sound(device, sound)

    def _look(self, device: DeviceId, seen: Seen, decoders: _Decoders, plain: bytes) -> None:
        seen.pictures_opened += 1
        if decoders.broken and not is_key_frame(plain):
            seen.waiting_for_key += 1
            return
        decoders.broken = False
        for picture in decoders.pictures.decode(plain):
            seen.pictures_decoded += 1
            seen.size = (picture.width, picture.height)
            if self._sink is not None:
                self._sink.picture(device, picture)
