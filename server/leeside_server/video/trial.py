"""A trial call: two clients of our own meet in a worker of their own, by the way that a client with nothing but TURN has.

What `doctor` runs. Everything is as in a real call (ICE, DTLS, SRTP, the worker's own process, the TURN server's
own credentials), but for the sounds, which only look sealed. A running server is not disturbed: the worker has a port of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from aioice import Candidate, Connection, TransportPolicy

from leeside_protocol.ids import DeviceId
from leeside_protocol.video import formats as f
from leeside_protocol.video.frames import MARK
from leeside_protocol.video.signalling import (
    Answer,
    BridgeSignal,
    ClientSignal,
    Join,
    Offer,
    Part,
    decode_bridge_signal,
    encode_signal,
)
from leeside_server.core.video import Spoken, Ticket, turn_server
from leeside_server.video.dtls import Buffers, Certificate, Dtls, Fingerprint, HandshakeFailed, Srtp
from leeside_server.video.sdp import MIDS
from leeside_server.video.words import Configure, Ready, Told, ToWorker, read_from_worker, write_word

WITHIN_S: Final = 12.0
"""For one call, from the first word to the last sound."""
SOUNDS: Final = 5
"""So many must be heard on each side."""
SOUND_S: Final = 0.02
TICKET_MS: Final = 60_000
_NODE: Final = b"a-doctor"
_PORTS: Final = {"turn": 3478, "turns": 5349}
_head: Final = struct.Struct("!BBHLL")
_Signal = TypeVar("_Signal", bound=BridgeSignal)


class TrialFailed(Exception):
    """The call was not had. `step` says how far it came."""

    def __init__(self, step: str) -> None:
        super().__init__(f"a trial call ended at: {step}")
        self.step = step


class Way(msgspec.Struct, frozen=True):
    """How the two reach the worker: over this TURN URL, with the secret it shares with the nodes; or straight, without one."""

    url: str = ""
    secret: str = ""


async def trial_call(hosts: tuple[str, ...], public: tuple[str, ...], way: Way, port: int = 0) -> float:
    """Place the call; seconds until both had heard the other. `port`: the worker's; 0 for any. Raises `TrialFailed`: `worker` (did not start), `turn` (gave no
    address), `path` (no way from there to the worker), `handshake`, `media`."""
    began_s = time.monotonic()
    async with _worker(hosts, public, port) as switch, contextlib.AsyncExitStack() as stack:
        room = secrets.token_bytes(16)
        guests = [_Guest(switch, room, way) for _ in range(2)]
        for guest in guests:
            stack.push_async_callback(guest.close)
        await asyncio.gather(*(guest.come() for guest in guests))
        try:
            async with asyncio.timeout(WITHIN_S):
                while any(guest.heard < SOUNDS for guest in guests):
                    for guest in guests:
                        await guest.sound()
                    await asyncio.sleep(SOUND_S)
        except TimeoutError:
            raise TrialFailed("media") from None
    return time.monotonic() - began_s


# ---- the worker


class _Switch:
    """The supervisor's end of a worker: words to it, and what it tells each guest."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._told: dict[bytes, list[BridgeSignal]] = {}
        self._came = asyncio.Event()

    def say(self, word: ToWorker) -> None:
        self._writer.write(write_word(word))

    async def hear(self) -> None:
        """Take its words until it is gone."""
        while (word := await read_from_worker(self._reader)) is not None:
            if isinstance(word, Told):
                signal = decode_bridge_signal(word.heard.body)
                self._told.setdefault(bytes(word.heard.device), []).append(signal)
                self._came.set()

    async def next(self, device: DeviceId, kind: type[_Signal]) -> _Signal:
        """The next signal of a kind for a guest; others are passed over."""
        while True:
            waiting = self._told.setdefault(bytes(device), [])
            while waiting:
                signal = waiting.pop(0)
                if isinstance(signal, kind):
                    return signal
            self._came.clear()
            await self._came.wait()


@asynccontextmanager
async def _worker(hosts: tuple[str, ...], public: tuple[str, ...], port: int) -> AsyncGenerator[_Switch]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "leeside_server.video.worker",
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
        )
    ours.setblocking(False)  # noqa: FBT003
    reader, writer = await asyncio.open_connection(sock=ours)
    hearing: asyncio.Task[None] | None = None
    try:
        writer.write(write_word(Configure(hosts, port, public)))
        try:
            async with asyncio.timeout(WITHIN_S):
                ready = await read_from_worker(reader)
        except TimeoutError:
            ready = None
        if not isinstance(ready, Ready):
            raise TrialFailed("worker")
        switch = _Switch(reader, writer)
        hearing = asyncio.create_task(switch.hear())
        yield switch
    finally:
        if hearing is not None:
            hearing.cancel()
        writer.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# ---- who calls


class _Guest:
    """One of the two."""

    def __init__(self, switch: _Switch, room: bytes, way: Way) -> None:
        self.heard = 0
        self._switch = switch
        self._room = room
        self._device = DeviceId(secrets.token_bytes(16))
        self._ssrc = 1 + secrets.randbits(31)
        self._sequence = 0
        self._buffers = Buffers()
        self._certificate = Certificate()
        self._leaving: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._dtls = Dtls(self._certificate, self._buffers, self._put, _nothing, role="client")
        self._srtp: Srtp | None = None
        self._ice = Connection(ice_controlling=True, stun_server=None, **_options(way, room, self._device))
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        """Join and connect. Raises `TrialFailed`."""
        self._say(Join(1))
        try:
            async with asyncio.timeout(WITHIN_S):
                offer = await self._switch.next(self._device, Offer)
        except TimeoutError:
            raise TrialFailed("worker") from None
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._ice.gather_candidates()
        except (TimeoutError, OSError):
            raise TrialFailed("turn") from None
        if not self._ice.local_candidates:
            raise TrialFailed("turn")
        answer = _answer(
            self._ice.local_username, self._ice.local_password, self._certificate.sha256, self._ssrc
        )
        self._say(Answer(1, offer.version, answer))
        remote = _Remote(offer.sdp)
        self._ice.remote_is_lite = True
        self._ice.remote_username, self._ice.remote_password = remote.ufrag, remote.password
        for candidate in remote.candidates:
            await self._ice.add_remote_candidate(Candidate.from_sdp(candidate))
        await self._ice.add_remote_candidate(None)
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._ice.connect()
        except (TimeoutError, ConnectionError):
            raise TrialFailed("path") from None
        self._tasks += [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        try:
            self._srtp = await self._dtls.shake([Fingerprint("sha-256", remote.fingerprint)], WITHIN_S)
        except HandshakeFailed:
            raise TrialFailed("handshake") from None

    async def sound(self) -> None:
        """Say something that looks sealed."""
        if self._srtp is None:
            return
        self._sequence += 1
        head = _head.pack(0x90, f.OPUS, self._sequence, 960 * self._sequence, self._ssrc)
        mid = b"\xbe\xde\x00\x01" + bytes((f.EXT_MID << 4, ord(f.UP_AUDIO_MID), 0, 0))
        packet = head + mid + b"\x78" + bytes(40) + b"\x01" + MARK
        self._buffers.outward[: len(packet)] = packet
        length = self._srtp.close_rtp(len(packet))
        if length > 0:
            self._put(bytes(self._buffers.outward[:length]))

    async def close(self) -> None:
        """Give everything back, the TURN server's address too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self._dtls.close()
        with contextlib.suppress(Exception):
            await self._ice.close()

    def _say(self, signal: ClientSignal) -> None:
        until_ms = time.time_ns() // 1_000_000 + TICKET_MS
        ticket = Ticket(self._room, self._device, Part.RESPONDER, True, True, _NODE, until_ms)  # noqa: FBT003
        self._switch.say(Spoken(1, ticket, encode_signal(signal)))

    def _put(self, data: bytes) -> None:
        if not self._leaving.full():
            self._leaving.put_nowait(data)

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._ice.send(await self._leaving.get())

    async def _receive(self) -> None:
        inward = self._buffers.inward
        with contextlib.suppress(ConnectionError):
            while True:
                data = await self._ice.recv()
                if data and 19 < data[0] < 64:
                    self._dtls.feed(data)
                elif 12 <= len(data) <= len(inward) and data[0] > 127 and self._srtp is not None:
                    inward[: len(data)] = data
                    if not 192 <= data[1] <= 223 and self._srtp.open_rtp(len(data)) > 0:
                        self.heard += 1


def _nothing() -> None:
    """The worker said goodbye: the media that do not come will tell."""


def _options(way: Way, room: bytes, device: DeviceId) -> dict[str, Any]:
    """What aioice is to do: nothing but this TURN server, or nothing but the straight way."""
    if not way.url:
        return {}
    parts = urlsplit(way.url.replace(":", "://", 1))
    given = turn_server((way.url,), way.secret, room, device, time.time_ns() // 1_000_000)
    return {
        "turn_server": (parts.hostname, parts.port or _PORTS[parts.scheme]),
        "turn_username": given.username,
        "turn_password": given.credential,
        "turn_ssl": parts.scheme == "turns",
        "turn_transport": "tcp" if "transport=tcp" in parts.query or parts.scheme == "turns" else "udp",
        "transport_policy": TransportPolicy.RELAY,
    }


class _Remote:
    """What the worker's offer says of its transport."""

    def __init__(self, sdp: str) -> None:
        self.ufrag = self.password = self.fingerprint = ""
        candidates: dict[str, None] = {}
        for line in sdp.splitlines():
            name, _, value = line.partition(":")
            match name:
                case "a=ice-ufrag":
                    self.ufrag = value
                case "a=ice-pwd":
                    self.password = value
                case "a=fingerprint":
                    self.fingerprint = value.partition(" ")[2]
                case "a=candidate":
                    candidates[value] = None
                case _:
                    pass
        self.candidates = tuple(candidates)


def _answer(ufrag: str, password: str, fingerprint: str, ssrc: int) -> str:
    """An answer that sends sound, and takes what comes."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(MIDS)}"]
    for number, mid in enumerate(MIDS):
        sound = number % 2 == 0
        up = mid in (f.UP_AUDIO_MID, f.UP_VIDEO_MID)
        kinds = f"{f.OPUS}" if sound else f"{f.VP8} {f.VP8_RTX}"
        lines += [
            f"m={'audio' if sound else 'video'} 9 UDP/TLS/RTP/SAVPF {kinds}",
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{ufrag}",
            f"a=ice-pwd:{password}",
            f"a=fingerprint:sha-256 {fingerprint}",
            "a=setup:active",
            f"a=mid:{mid}",
            f"a={'recvonly' if not up else 'sendonly' if sound else 'inactive'}",
            "a=rtcp-mux",
        ]
        if up and sound:
            lines.append(f"a=ssrc:{ssrc} cname:trial")
    return "\r\n".join(lines) + "\r\n"
