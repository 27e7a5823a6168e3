"""Frames of the others: opened, decoded, counted, and shown to who wants to see them.

Opened where they come, in their order, because keys belong to the loop; decoded in a thread, because a slow picture must not
make the loop late: the bridge takes lateness for a bad link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

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

_SURPLUS: Final = frozenset((SealingCode.E_REPLAY, SealingCode.E_DUPLICATE))
"""A frame that came before is missing to nobody."""
WAITING: Final = 256
"""Opened frames that wait for the decoder; a machine that is slower than that leaves frames out."""


class Sink(Protocol):
    """Who watches. Both methods are called in a thread, one at a time; the next frame waits for them."""

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


@dataclass(frozen=True, slots=True)
class _Opened:
    """A frame for the decoder. `plain` None: a picture is missing here; `begins`: the streams begin anew."""

    device: DeviceId
    media: MediaKind
    plain: bytes | None = None
    redundant: bool = False
    begins: bool = False


class Showing:
    """Everybody else's media in one call."""

    def __init__(self, keys: CallKeys, sink: Sink | None, now_ms: Callable[[], int]) -> None:
        self.seen: dict[DeviceId, Seen] = {}
        """What came, by participant; those who went stay counted."""
        self._keys = keys
        self._sink = sink
        self._now_ms = now_ms
        self._decoders: dict[DeviceId, _Decoders] = {}
        self._waiting: asyncio.Queue[_Opened] = asyncio.Queue(WAITING)

    def restart(self, device: DeviceId) -> None:
        """This participant's streams begin anew, or end."""
        self._put(_Opened(device, MediaKind.VIDEO, begins=True))

    def take(self, device: DeviceId, frame: Frame, now_s: float) -> None:
        """A frame came on this participant's m-line."""
        seen = self.seen.setdefault(device, Seen())
        seen.sounds_lost += frame.gap
        try:
            plain = self._keys.open(frame.media, frame.data, device, self._now_ms())
        except SealingError as error:
            seen.drop(error.code, now_s)
            if frame.media is MediaKind.VIDEO and error.code not in _SURPLUS:
                self._put(_Opened(device, frame.media))
            return
        if frame.media is MediaKind.AUDIO:
            seen.sounds_opened += 1
        else:
            seen.pictures_opened += 1
        self._put(_Opened(device, frame.media, plain, frame.redundant))

    def broken(self, device: DeviceId) -> bool:
        """Whether the pictures of somebody who sent some cannot go on without a key frame."""
        decoders = self._decoders.get(device)
        return decoders is not None and decoders.broken

    async def run(self) -> None:
        """Decode what was opened; until cancelled."""
        while True:
            opened = await self._waiting.get()
            await asyncio.to_thread(self._show, opened)

    def flush(self) -> None:
        """Decode what waits, here and now: for who does not `run`."""
        while not self._waiting.empty():
            self._show(self._waiting.get_nowait())

    def _put(self, opened: _Opened) -> None:
        if self._waiting.full():
            # The oldest goes, and what was built on it with it.
            late = self._waiting.get_nowait()
            if late.device in self._decoders:
                self._decoders[late.device].broken = True
        self._waiting.put_nowait(opened)

    def _show(self, opened: _Opened) -> None:
        if opened.begins:
            self._decoders.pop(opened.device, None)
            return
        seen = self.seen[opened.device]
        decoders = self._decoders.setdefault(opened.device, _Decoders())
        try:
            if opened.plain is None:
                decoders.broken = True
            elif opened.media is MediaKind.AUDIO:
                plain = without_redundancy(opened.plain) if opened.redundant else opened.plain
                self._hear(opened.device, seen, decoders, plain)
            else:
                self._look(opened.device, seen, decoders, opened.plain)
        except Undecodable:
            seen.undecodable += 1
            decoders.broken |= opened.media is MediaKind.VIDEO

    def _hear(self, device: DeviceId, seen: Seen, decoders: _Decoders, plain: bytes) -> None:
        for sound in decoders.sounds.decode(plain):
            seen.sounds_decoded += 1
            if self._sink is not None:
                self._sink.sound(device, sound)

    def _look(self, device: DeviceId, seen: Seen, decoders: _Decoders, plain: bytes) -> None:
        if decoders.broken and not is_key_frame(plain):
            seen.waiting_for_key += 1
            return
        decoders.broken = False
        for picture in decoders.pictures.decode(plain):
            seen.pictures_decoded += 1
            seen.size = (picture.width, picture.height)
            if self._sink is not None:
                self._sink.picture(device, picture)
