"""People in calls: each has a socket of its own to a node, speaks with the bridge over it, and says numbered sounds.

    caller = Caller(device, port, consult, room, book)
    await caller.start()
    await caller.in_call(10.0)      # media flow
    await caller.stop()

They do what spec 09 asks of a client: repeat `Join` every 2 s, join again when told to, and drop what speaks of another
generation. They come back by the bridge's word alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Final

import msgspec

from leeside.api import ApiError
from leeside.media.receiving import Frame
from leeside_protocol.codec import decode_server, encode
from leeside_protocol.ids import ConsultId
from leeside_protocol.limits import BEAT_S
from leeside_protocol.messages import Challenge, ClientBeat, Hello, Refused, Renew, Video, VideoTold, Welcome
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import put_together, take_apart
from tests.faults.agency import Device
from tests.faults.call_checks import CallBook, Sound
from tests.faults.load import LoadFailed
from tests.faults.wire import Wire, connect, masked
from tests.support.light_peer import LightPeer
from tests.support.services import HOST

DIAL_S: Final = 10.0
ASK_AGAIN_S: Final = 2.0
RETRY_S: Final = 0.05
RENEW_S: Final = 100.0
"""A token holds for five minutes."""
SOUND_S: Final = 0.02
CLEAR: Final = b"\x78"
ROOM_BYTES: Final = 16
NAME_BYTES: Final = 16
NUMBER_BYTES: Final = 4


class _Ears(LightPeer):
    """A transport that says what it hears."""

    def __init__(self, caller: Caller, generation: int) -> None:
        super().__init__(host=HOST)
        self._caller = caller
        self.generation = generation

    def _on_frame(self, frame: Frame) -> None:
        super()._on_frame(frame)
        if frame.media is MediaKind.AUDIO:
            self._caller.hears(frame.data, self.generation)


class Caller:
    """One device in one call."""

    def __init__(self, device: Device, port: int, consult: ConsultId, book: CallBook) -> None:
        self.device: Final = device
        self.name: Final = bytes(device.id)
        self.generation = 0
        self.heard = 0
        self.heard_on = 0
        """Over which of its transports it heard somebody last."""
        self.refusals: Counter[int] = Counter()
        self._retry: asyncio.TimerHandle | None = None
        self._port = port
        self._consult: Final = consult
        self._book: Final = book
        self._wire: Wire | None = None
        self._token = ""
        self._signed_in = asyncio.Event()
        self._answered = asyncio.Event()
        self._peer: _Ears | None = None
        self._version = 0
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: list[asyncio.Task[None]] = []

    # ---- what the run asks of it

    async def start(self) -> None:
        """Connect, sign in, and join. Raises `LoadFailed`."""
        self._token = await self.device.session.token()
        self._wire = Wire(self._on_message)
        try:
            await connect(self._wire, HOST, self._port, DIAL_S)
            async with asyncio.timeout(DIAL_S):
                await self._signed_in.wait()
        except (OSError, TimeoutError):
            raise LoadFailed("a caller could not sign in") from None
        self._book.rooms[self.name] = bytes(self._consult)
        self._tasks += [
            asyncio.ensure_future(each) for each in (self._beat(), self._talk(), self._ask(), self._renew())
        ]
        self.join()

    def join(self) -> None:
        """Come in, or come in anew."""
        self.generation += 1
        self._answered.clear()
        old, self._peer = self._peer, None
        if old is not None:
            self._ended.append(asyncio.ensure_future(_let_go(old)))
        self._say(s.Join(self.generation))

    def leave(self) -> None:
        """Go out of the call; the socket stays."""
        self._say(s.Leave(self.generation))
        old, self._peer = self._peer, None
        if old is not None:
            self._ended.append(asyncio.ensure_future(_let_go(old)))

    async def in_call(self, within_s: float) -> None:
        """Return once somebody was heard from now on. Raises `LoadFailed`."""
        before = self.heard
        try:
            async with asyncio.timeout(within_s):
                while self.heard == before:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise LoadFailed(
                f"nobody was heard for {within_s:.0f} s; refused with {dict(self.refusals)}"
            ) from None

    async def hears_anew(self, before: int, within_s: float) -> None:
        """Return once somebody was heard over a newer transport than this one. Raises `LoadFailed`."""
        try:
            async with asyncio.timeout(within_s):
                while self.heard_on <= before:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            told = f"attempt {self.generation}, heard on {self.heard_on}, refused with {dict(self.refusals)}"
            raise LoadFailed(f"not back in the call for {within_s:.0f} s: {told}") from None

    @property
    def ufrag(self) -> str:
        """The name of its transport at the bridge; empty without one."""
        remote = None if self._peer is None else self._peer.remote
        return "" if remote is None else remote.ufrag

    def say_raw(self, data: bytes, *, protected: bool) -> None:
        """Send a datagram over its transport: as RTP or RTCP under its keys, or as it is."""
        if self._peer is not None and self._peer.up is not None:
            if protected:
                self._peer.raw(data)
            else:
                self._peer.route.send(data)

    def signal_raw(self, body: bytes) -> None:
        """Send bytes in place of a signal, over its socket, however many."""
        self._write(msgspec.msgpack.encode(Video(1, self._consult, body)))

    @property
    def broken(self) -> bool:
        """Whether its socket to the node has ended."""
        return self._wire is None or self._wire.ended.done()

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        if self._retry is not None:
            self._retry.cancel()
        if self._wire is not None:
            self._wire.abort()
        if self._peer is not None:
            await _let_go(self._peer)
        await asyncio.gather(*self._tasks, *self._ended, return_exceptions=True)

    # ---- what it hears

    def hears(self, data: bytes, generation: int) -> None:
        """A sound came down."""
        parts = take_apart(MediaKind.AUDIO, data)
        if parts is None or len(parts[1]) < ROOM_BYTES + NAME_BYTES + NUMBER_BYTES:
            return
        told = parts[1]
        self.heard += 1
        self.heard_on = max(self.heard_on, generation)
        self._book.heard.append(
            Sound(
                asyncio.get_running_loop().time(),
                self.name,
                generation,
                told[:ROOM_BYTES],
                told[ROOM_BYTES : ROOM_BYTES + NAME_BYTES],
                int.from_bytes(told[ROOM_BYTES + NAME_BYTES :][:NUMBER_BYTES], "big"),
            )
        )

    def _on_message(self, data: bytes) -> None:
        message = decode_server(data)
        match message:
            case Challenge(nonce=nonce):
                proof = self.device.keys.identity.sign_raw(
                    pae(PREFIX + b"socket", nonce, self._token.encode())
                )
                self._write(encode(Hello(self._token, proof, "faults")))
            case Welcome():
                self._signed_in.set()
            case VideoTold(consult=consult, body=body) if consult == self._consult:
                self._on_signal(s.decode_bridge_signal(body))
            case Refused(error=error, retry_ms=retry_ms):
                self.refusals[error] += 1
                self._again(retry_ms)
            case _:
                pass

    def _on_signal(self, signal: s.BridgeSignal) -> None:
        if signal.generation != self.generation:
            return
        match signal:
            case s.Welcome():
                self._answered.set()
            case s.Offer():
                self._tasks.append(asyncio.ensure_future(self._connect(signal)))
            case s.Migrate():
                self.join()
            case s.Denied(retry_ms=retry_ms):
                self._again(retry_ms)
            case _:
                pass

    def _again(self, retry_ms: int) -> None:
        """No seat now: ask once more when it was said to be worth it."""
        if self._retry is not None:
            self._retry.cancel()
        delay_s = max(retry_ms / 1_000, RETRY_S)
        self._retry = asyncio.get_running_loop().call_later(delay_s, self._ask_now, self.generation)

    def _ask_now(self, generation: int) -> None:
        if generation == self.generation and not self._answered.is_set():
            self._say(s.Join(generation))

    async def _connect(self, offer: s.Offer) -> None:
        known = self._peer
        if known is not None and known.generation == offer.generation and offer.version <= self._version:
            return
        anew = known is None or known.generation != offer.generation
        peer = _Ears(self, offer.generation) if known is None or anew else known
        self._peer, self._version = peer, offer.version
        self._say(s.Answer(offer.generation, offer.version, peer.answer(offer.sdp)))
        # The bridge may be killed while we connect: then we are told to join again.
        with contextlib.suppress(Exception):
            if anew:
                await peer.connect()
            elif peer.remote is not None:
                await peer.route.connect(peer.remote)

    # ---- what it does all the time

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S / 2)
            self._write(encode(ClientBeat()))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            # The session is as good on another node, and outlives a busy moment.
            with contextlib.suppress(ApiError):
                self._token = await self.device.session.renew(self._token)
                self._write(encode(Renew(2, self._token)))

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            self._ask_now(self.generation)

    async def _talk(self) -> None:
        room = bytes(self._consult)
        while True:
            await asyncio.sleep(SOUND_S)
            peer = self._peer
            if peer is not None and peer.up is not None:
                self._number += 1
                self._book.said[self.name, self._number] = asyncio.get_running_loop().time()
                content = room + self.name + self._number.to_bytes(NUMBER_BYTES, "big") + bytes(30)
                peer.up.sound(put_together(CLEAR, content), 960 * self._number)

    def _say(self, signal: s.ClientSignal) -> None:
        self._write(encode(Video(1, self._consult, s.encode_signal(signal))))

    def _write(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.write(masked(data))


async def _let_go(peer: LightPeer) -> None:
    with contextlib.suppress(Exception):
        await peer.close()
