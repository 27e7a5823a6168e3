"""This device's own picture and sound: drawn from a source when it is time, encoded, sealed, and given to the path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from leeside.media.codecs import SOUND_SAMPLES, PictureEncoder, SoundEncoder
from leeside.media.keys import CallKeys
from leeside.media.leg import Leg
from leeside.media.sources import Source
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.video.formats import AUDIO_HZ, VIDEO_HZ, MediaKind

SOUND_S: Final = SOUND_SAMPLES / AUDIO_HZ
REPORT_S: Final = 1.0
PICTURE_BPS: Final = 250_000
_BEHIND_S: Final = 0.2
"""A machine that is behind by more leaves out what should have been."""


class Speaking:
    """Sends what a source gives, for as long as `may` says so; `leg` is where to. Every frame is sealed, or is not sent."""

    def __init__(
        self,
        source: Source,
        keys: CallKeys,
        leg: Callable[[], Leg | None],
        may: Callable[[], bool],
        now_ms: Callable[[], int],
    ) -> None:
        self.pictures = self.sounds = self.withheld = 0
        """Frames that were sent, and that could not be sealed."""
        self.muted: set[MediaKind] = set()
        self._source = source
        self._keys = keys
        self._leg = leg
        self._may = may
        self._now_ms = now_ms
        self._to: Leg | None = None
        self._began_s = self._report_s = 0.0
        self._sound_at = self._picture_at = -1
        self._share = 1.0
        """Of the usual rate of the picture, which it is made at."""

    async def run(self) -> None:
        """Until cancelled."""
        works = [
            asyncio.ensure_future(self._pace(SOUND_S, self._sound)),
            asyncio.ensure_future(self._pace(1 / self._source.rate, self._picture)),
        ]
        try:
            await asyncio.gather(*works)
        finally:
            for work in works:
                work.cancel()

    async def _pace(self, every_s: float, send: Callable[[Leg, float], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            await asyncio.sleep(max(0.001, next_s - loop.time()))
            leg = self._ready(loop.time())
            if leg is None:
                next_s = loop.time() + SOUND_S
                continue
            await send(leg, next_s)
            following_s, now_s = next_s + every_s, loop.time()
            next_s = following_s if now_s - following_s < _BEHIND_S else now_s

    def _ready(self, now_s: float) -> Leg | None:
        """Where to send now; None: nowhere."""
        leg = self._leg()
        if leg is None or leg.up is None or not leg.live or not self._may():
            return None
        if leg is not self._to:
            self._begin(leg, now_s)
        return leg

    def _begin(self, leg: Leg, now_s: float) -> None:
        """New streams: their clocks, their coders and their keys are new, too."""
        self._to, self._began_s = leg, now_s
        # Times rise whatever happens: coders refuse one that stands still, as after a machine's pause it would.
        self._sound_at = self._picture_at = -1
        self._make(1.0)
        self._sounds = SoundEncoder()
        self._keys.begin()

    def _make(self, share: float) -> None:
        """Pictures at this share of their usual rate, from a key frame on: libvpx takes no other rate once it runs."""
        self._share = share
        if share:
            self._pictures = PictureEncoder(
                self._source.width,
                self._source.height,
                rate=self._source.rate,
                bps=round(share * PICTURE_BPS),
            )

    async def _sound(self, leg: Leg, at_s: float) -> None:
        at = self._sound_at = max(self._sound_at + 1, round((at_s - self._began_s) * AUDIO_HZ))
        sound = self._source.sound()
        if MediaKind.AUDIO in self.muted or leg.up is None:
            return
        for frame in self._sounds.encode(sound, at):
            sealed = self._seal(MediaKind.AUDIO, frame)
            if sealed is not None:
                self.sounds += 1
                leg.up.sound(sealed, at)
        if at_s >= self._report_s:
            self._report_s = at_s + REPORT_S
            leg.up.report(self._now_ms() / 1000, at_s - self._began_s)

    async def _picture(self, leg: Leg, at_s: float) -> None:
        if MediaKind.VIDEO in self.muted or leg.up is None:
            return
        at = self._picture_at = max(self._picture_at + 1, round((at_s - self._began_s) * VIDEO_HZ))
        if leg.up.rate.share != self._share:
            self._make(leg.up.rate.share)
        if not self._share:
            return
        key, leg.up.key_wanted = leg.up.key_wanted, False
        # Not on the loop: what comes meanwhile would seem to come late, and the bridge would take the link for a bad one.
        frame = await asyncio.to_thread(self._encode, self._pictures, at, key)
        sealed = self._seal(MediaKind.VIDEO, frame) if frame else None
        if sealed is None:
            # What is built on this one would show nothing.
            leg.up.key_wanted |= key or bool(frame)
            return
        self.pictures += 1
        leg.up.picture(sealed, at)

    def _encode(self, encoder: PictureEncoder, at: int, key: bool) -> bytes:
        return encoder.encode(self._source.picture(), at, key=key)

    def _seal(self, media: MediaKind, frame: bytes) -> bytes | None:
        try:
            return self._keys.seal(media, frame, self._now_ms())
        except SealingError:
            self.withheld += 1
            return None
