"""What this device sends: times that rise, seals or nothing, and only while it may."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from leeside.media.keys import CallKeys
from leeside.media.leg import Leg
from leeside.media.sources import Pattern
from leeside.media.speaking import Speaking
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.video.formats import MediaKind
from tests.support.patience import PATIENCE_S


@dataclass
class Rate:
    """What the link bears."""

    share: float = 1.0


class Up:
    """What was sent, instead of a path."""

    def __init__(self) -> None:
        self.key_wanted = True
        self.rate = Rate()
        self.sounds: list[int] = []
        self.pictures: list[int] = []
        self.keys: list[bool] = []
        self.came = asyncio.Event()

    def sound(self, frame: bytes, at: int) -> None:
        assert frame.startswith(b"sealed")
        self.sounds.append(at)
        self.came.set()

    def picture(self, frame: bytes, at: int) -> None:
        assert frame.startswith(b"sealed")
        self.pictures.append(at)
        self.keys.append(not frame[len(b"sealed")] & 1)
        self.came.set()

    def report(self, unix_s: float, at_s: float) -> None:
        del unix_s, at_s


class OpenLeg:
    """A leg that stands."""

    def __init__(self) -> None:
        self.up = Up()
        self.live = True


class Keys:
    """Seals, unless told otherwise."""

    def __init__(self) -> None:
        self.gone = False

    def begin(self) -> None:
        return

    def seal(self, media: MediaKind, frame: bytes, now_ms: int) -> bytes:
        del media, now_ms
        if self.gone:
            raise SealingError(SealingCode.E_AUTHZ, "not in the roster any more")
        return b"sealed" + frame


class Stage:
    def __init__(self) -> None:
        self.leg, self.keys, self.may = OpenLeg(), Keys(), True
        self.speaking = Speaking(
            Pattern(64, 48, 25),
            cast("CallKeys", self.keys),
            lambda: cast("Leg", self.leg),
            lambda: self.may,
            lambda: 0,
        )

    async def play(self, sounds: int, pictures: int) -> Up:
        up = self.leg.up
        running = asyncio.ensure_future(self.speaking.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(up.sounds) < sounds or len(up.pictures) < pictures:
                    up.came.clear()
                    coming = asyncio.ensure_future(up.came.wait())
                    await asyncio.wait({coming, running}, return_when=asyncio.FIRST_COMPLETED)
                    coming.cancel()
                    if running.done():
                        running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return up


async def test_times_rise_also_when_the_clock_of_the_streams_begins_later_than_their_schedule() -> None:
    stage = Stage()
    for count in (4, 8, 12):
        up = await stage.play(count, count)
        for times in (up.sounds, up.pictures):
            assert times[0] >= 0
            assert times == sorted(set(times))
        stage.speaking._began_s += 5  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


async def test_what_cannot_be_sealed_is_not_sent_and_a_key_frame_follows() -> None:
    stage = Stage()
    stage.keys.gone = True
    running = asyncio.ensure_future(stage.speaking.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            # Sounds and pictures by turns, so some of these are pictures; and one that is being made has taken the wish with it.
            while stage.speaking.withheld < 30 or not stage.leg.up.key_wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (stage.leg.up.sounds, stage.leg.up.pictures) == ([], [])


async def test_another_rate_begins_with_a_key_frame_and_none_leaves_sound_alone() -> None:
    stage = Stage()
    up = await stage.play(1, 4)
    assert up.keys[0]
    assert not any(up.keys[1:])
    before = len(up.pictures)
    up.rate.share = 0.25
    await stage.play(1, before + 3)
    assert up.keys.count(True) >= 2, "the new rate's first, and that of the second play"
    up.rate.share = 0.0
    before = len(up.pictures)
    await stage.play(len(up.sounds) + 30, before)
    assert len(up.pictures) <= before + 1, "one may have been under way"
    up.rate.share = 1.0
    await stage.play(1, before + 3)
    assert any(up.keys[before:])
