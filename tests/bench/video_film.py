"""Somebody in a call whose camera costs the measuring machine next to nothing: real pictures that were encoded before.

    async with filmed(worker, room, film(KBPS)):
        ...                                            # whoever joins the room sees and hears them

In a call everybody has a device of their own. A browser that encodes three sizes on the machine on which another one joins measures
how the two share its cores.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.frames import put_together
from leeside_protocol.video.signalling import Part
from tests.bench.video_load import FRAMES_PER_S
from tests.bench.video_page import SIGNAL_S, Worker
from tests.bench.video_pictures import pictures
from tests.support.light_peer import LightPeer
from tests.support.services import HOST

COLUMNS: Final = 480
LINES: Final = 272
"""The middle one of a camera's three sizes: what somebody is sent first of whose link nothing is known."""
PICTURES_PER_S: Final = 15
SOUNDS_PER_S: Final = 50
_TICKS: Final = 90_000 // PICTURES_PER_S
_SAMPLES: Final = 48_000 // SOUNDS_PER_S
_SILENCE: Final = put_together(b"\xf8", b"\xff\xfe")
"""20 ms of it (RFC 6716, 3.1)."""


def film(kbps: float) -> list[bytes]:
    """Four seconds of pictures, as sealed ones look to the bridge; the first is a key frame."""
    frames = pictures(kbps * FRAMES_PER_S / PICTURES_PER_S, COLUMNS, LINES)
    return [put_together(frame[: _clear(at)], frame[_clear(at) :]) for at, frame in enumerate(frames)]


def _clear(at: int) -> int:
    return 10 if at == 0 else 3


@asynccontextmanager
async def filmed(worker: Worker, room: bytes, frames: Sequence[bytes]) -> AsyncGenerator[None]:
    """A responder who is in this room, and shows this film over and over, from its beginning whenever a key frame is wanted."""
    device, peer = DeviceId(secrets.token_bytes(16)), LightPeer(host=HOST)
    heard = worker.heard(device)
    await worker.say(room, device, Part.RESPONDER, s.Join(1))
    async with asyncio.timeout(SIGNAL_S):
        while not isinstance(offer := await heard.get(), s.Offer):
            pass
    await worker.say(room, device, Part.RESPONDER, s.Answer(1, offer.version, peer.answer(offer.sdp)))
    try:
        await peer.connect()
        async with asyncio.TaskGroup() as group:
            playing = [group.create_task(_play(peer, frames)), group.create_task(_speak(peer))]
            yield
            for each in playing:
                each.cancel()
    finally:
        await peer.close()


async def _play(peer: LightPeer, frames: Sequence[bytes]) -> None:
    assert peer.up is not None
    next_at = 0
    async for number in _beat(PICTURES_PER_S):
        if peer.up.key_wanted:
            peer.up.key_wanted, next_at = False, 0
        peer.up.picture(frames[next_at], number * _TICKS)
        next_at = (next_at + 1) % len(frames)


async def _speak(peer: LightPeer) -> None:
    assert peer.up is not None
    async for number in _beat(SOUNDS_PER_S):
        peer.up.sound(_SILENCE, number * _SAMPLES)


async def _beat(per_s: int) -> AsyncGenerator[int]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(max(0.0, began_s + number / per_s - loop.time()))
