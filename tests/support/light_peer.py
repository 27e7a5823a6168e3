"""A light participant of a call for load and for hostile tests: real ICE, DTLS and SRTP, made-up frames, no codec.

    peer = LightPeer()
    answer = peer.answer(offer_sdp)          # hand it to the bridge
    await peer.connect()
    peer.picture(key=True)                   # looks sealed; `sealed=False`: does not
    peer.sound()
    assert peer.received["a"] > 0            # packets, by m-line

`Mischief` loses and reorders what it sends and receives. `taken()` gives socket and SRTP sessions away, for a loop of one's own
that needs no asyncio for each packet.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import secrets
import socket
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aioice import Candidate, stun
from aiortc import RTCCertificate

from leeside.media.description import Remote, Sent, read_offer, write_answer
from leeside.media.path import NoPath, SecurePath
from leeside.media.receiving import Downlink, Frame
from leeside.media.sending import Uplink
from leeside_protocol.sealing.opening.media import MediaKey
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import put_together
from leeside_protocol.video.rtp import RtpHeader

CHECK_S: Final = 0.1
CHECKS: Final = 600
CONSENT_S: Final = 2.0
KEPT_FRAMES: Final = 256
_CERTIFICATE: Final[list[RTCCertificate]] = []
"""One for all peers of a process: making one costs more than the rest of a peer."""


@dataclass
class Mischief:
    """What the way does to packets of media: lost and overtaken, by chance of a seeded generator."""

    loss: float = 0.0
    reorder: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def pass_on(self, packet: bytes, held: deque[bytes], on: Callable[[bytes], None]) -> None:
        """Give a packet to `on`, later, or never."""
        if self.random.random() < self.loss:
            return
        if self.random.random() < self.reorder:
            held.append(packet)
            return
        on(packet)
        while held:
            on(held.popleft())


class LightRoute:
    """Datagrams over one socket, with just the ICE that a controlling client owes an ICE-lite bridge (RFC 8445, 7.2)."""

    role = "controlling"

    def __init__(self, host: str = "") -> None:
        self._host = host
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(16)
        self.socket: socket.socket | None = None
        self.packets = 0
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(4_096)
        self._answered = asyncio.Event()
        self._tie_breaker = secrets.randbits(64)
        self._keeping: asyncio.Task[None] | None = None

    async def connect(self, remote: Remote, candidate: int = 0) -> None:
        """Check the way to one of the bridge's candidates until it answers, and go on checking. Raises `NoPath`."""
        place = Candidate.from_sdp(remote.candidates[candidate])
        family = socket.AF_INET if ipaddress.ip_address(place.host).version == 4 else socket.AF_INET6
        if self.socket is None:
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
            self.socket.bind((self._host, 0))
            asyncio.get_running_loop().add_reader(self.socket, self._read)
        self.socket.connect((place.host, place.port))
        self._answered.clear()
        for _ in range(CHECKS):
            self.check(remote)
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._answered.wait()
            except TimeoutError:
                continue
            if self._keeping is not None:
                self._keeping.cancel()
            self._keeping = asyncio.ensure_future(self._keep(remote))
            return
        raise NoPath("no answer to a check")

    def check(self, remote: Remote) -> None:
        """One binding request."""
        request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{remote.ufrag}:{self.ufrag}"
        request.attributes["PRIORITY"] = 1_853_824_767
        request.attributes["ICE-CONTROLLING"] = self._tie_breaker
        request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(remote.password.encode())
        request.add_fingerprint()
        self.send(bytes(request))

    def send(self, data: bytes) -> None:
        """A datagram as it is, whatever it is."""
        assert self.socket is not None
        try:
            self.socket.send(data)
        except OSError:  # Full, or nobody there: lost.
            return

    def leave_to_others(self) -> socket.socket:
        """Stop reading the socket here. Checks go on."""
        assert self.socket is not None
        asyncio.get_running_loop().remove_reader(self.socket)
        return self.socket

    def close(self) -> None:
        """Give the socket back."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self.socket is not None:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
            self.socket = None

    async def _keep(self, remote: Remote) -> None:
        while True:
            await asyncio.sleep(CONSENT_S)
            self.check(remote)

    def _read(self) -> None:
        for _ in range(64):
            if self.socket is None:
                return
            try:
                data = self.socket.recv(2_048)
            except OSError:
                return
            if data and data[0] < 4:
                self._checked(data)
            elif data and not self._queue.full():
                self.packets += 1
                self._queue.put_nowait(data)

    def _checked(self, data: bytes) -> None:
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        if message.message_class is stun.Class.RESPONSE:
            self._answered.set()

    async def _recv(self) -> bytes:
        return await self._queue.get()

    async def _send(self, data: bytes) -> None:
        self.send(data)


class LightPeer:
    """One participant as the bridge sees it."""

    def __init__(self, *, host: str = "", sends: bool = True, mischief: Mischief | None = None) -> None:
        self.sent: Sent | None = Sent.draw() if sends else None
        self.route = LightRoute(host)
        self.remote: Remote | None = None
        self.received: Counter[str] = Counter()
        """Packets of media by m-line, repairs not counted."""
        self.frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        """The newest frames that came whole and in order, sealed as they are."""
        self.pictures = self.sounds = 0
        """How many of them there were."""
        self.down: Downlink | None = None
        self.up: Uplink | None = None
        self._mischief = mischief or Mischief()
        self._held: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._header = RtpHeader()
        self._tending: asyncio.Task[None] | None = None
        if not _CERTIFICATE:
            _CERTIFICATE.append(RTCCertificate.generateCertificate())
        self.path = SecurePath(
            self.route, on_rtp=self._on_rtp, on_rtcp=self._on_rtcp, certificate=_CERTIFICATE[0]
        )
        self._sound_at = self._picture_at = 0

    # ---- coming and going

    def answer(self, offer: str) -> str:
        """The answer to an offer, or to one that restarts ICE."""
        self.remote = read_offer(offer)
        return write_answer(
            ufrag=self.route.ufrag,
            password=self.route.password,
            fingerprint=self.path.fingerprint,
            sent=self.sent,
        )

    async def connect(self, candidate: int = 0) -> None:
        """Once the bridge has the answer: be there. Raises `NoPath`."""
        assert self.remote is not None
        await self.route.connect(self.remote, candidate)
        await self.path.open(self.remote)
        loop = asyncio.get_running_loop()
        self.down = Downlink(self.remote.streams, self.remote.repairs, self._on_frame, loop.time())
        if self.sent is not None:
            self.up = Uplink(self.sent, self._send)
        self._tending = asyncio.ensure_future(self._tend())

    async def close(self) -> None:
        """Go without a word, as a phone whose battery is empty, but for what DTLS says."""
        if self._tending is not None:
            self._tending.cancel()
        await self.path.close()
        self.route.close()

    def taken(self) -> tuple[socket.socket, Any, Any]:
        """(Socket, SRTP session inwards, outwards): nothing is read or tended here any more."""
        if self._tending is not None:
            self._tending.cancel()
        return self.route.leave_to_others(), *self.path.sessions

    # ---- sending

    def sound(self, *, size: int = 80, sealed: bool = True, key: MediaKey | None = None) -> None:
        """20 ms of sound."""
        assert self.up is not None
        self.up.sound(made_up(MediaKind.AUDIO, size, sealed=sealed, key=key), self._sound_at)
        self._sound_at += 960

    def picture(
        self,
        *,
        key_frame: bool | None = None,
        size: int = 4_000,
        sealed: bool = True,
        key: MediaKey | None = None,
    ) -> None:
        """A picture, a thirtieth of a second after the one before. `key_frame` None: when one is wanted."""
        assert self.up is not None
        begins = self.up.key_wanted if key_frame is None else key_frame
        if begins:
            self.up.key_wanted = False
        frame = made_up(MediaKind.VIDEO, size, begins=begins, sealed=sealed, key=key)
        self.up.picture(frame, self._picture_at)
        self._picture_at += 3_000

    def raw(self, packet: bytes) -> None:
        """An RTP or RTCP packet as it is, encrypted."""
        self.path.send(packet)

    def _send(self, packet: bytes) -> None:
        self._mischief.pass_on(packet, self._held[0], self.path.send)

    # ---- receiving

    def _on_rtp(self, packet: bytes) -> None:
        self._mischief.pass_on(packet, self._held[1], self._arrived)

    def _arrived(self, packet: bytes) -> None:
        if self.down is None or self.remote is None:
            return
        if self._header.read(packet, len(packet)) and self._header.ssrc not in self.remote.repairs:
            self.received[self.remote.streams.get(self._header.ssrc, "?")] += 1
        self.down.receive(packet, asyncio.get_running_loop().time())

    def _on_frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.media is MediaKind.VIDEO:
            self.pictures += 1
        else:
            self.sounds += 1

    def _on_rtcp(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        if self.up is not None:
            self.up.take(data, now_s)
        if self.down is not None:
            self.down.take(data, now_s)

    async def _tend(self) -> None:
        assert self.down is not None
        while True:
            await asyncio.sleep(0.02)
            for packet in self.down.due(asyncio.get_running_loop().time()):
                self.path.send(packet)


def made_up(
    media: MediaKind, size: int, *, begins: bool = False, sealed: bool = True, key: MediaKey | None = None
) -> bytes:
    """A frame of about this many bytes. With a key it is truly sealed; else it looks so, or does not."""
    if media is MediaKind.AUDIO:
        clear = b"\x78"
    else:
        clear = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" if begins else b"\x11\x00\x00"
    content = secrets.token_bytes(size)
    if key is not None:
        return key.seal_frame(media, clear + content)
    return put_together(clear, content) if sealed else clear + content + b"\x00\x00\x00\x00"
