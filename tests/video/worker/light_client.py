"""A client of the bridge without a browser: signals by hand, ICE and DTLS by aioice's and aiortc's own codecs, RTP in bytes.

It knows nothing of the server's code but the signals, so that what it can do a browser can.
"""

import asyncio
import re
import struct
from collections.abc import Callable
from typing import Any, cast

from aioice import stun
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import EXT_MID, OPUS, VP8
from leeside_protocol.video.rtp import split_vp8
from tests.video.worker.answers import answer

SEALED = b"\x5a" * 40 + b"\x01LS\x01"
"""What the bridge takes for a sealed frame of sound."""


class _Path:
    role = "controlling"
    state = "completed"

    def __init__(self, client: "LightClient") -> None:
        self.client = client
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue()

    async def _recv(self) -> bytes:
        return await self.waiting.get()

    async def _send(self, data: bytes) -> None:
        self.client.write(data)


class LightClient(asyncio.DatagramProtocol):
    """One transport. `say` hands a signal to the bridge; `heard` are the signals that came back, `got` the RTP packets."""

    def __init__(
        self,
        say: Callable[[s.ClientSignal], None],
        *,
        ssrc: int = 11,
        generation: int = 1,
        redundant: bool = True,
    ) -> None:
        self.say = say
        self.ssrc = ssrc
        self.redundant = redundant
        self.old = False
        """It knows addresses of IPv4 alone."""
        self.generation = generation
        self.heard: list[s.BridgeSignal] = []
        self.got: list[bytes] = []
        self.offers = 0
        self.ufrag = self.password = ""
        self.host, self.port = "", 0
        self.bound = asyncio.Event()
        self.secured = asyncio.Event()
        self.socket: asyncio.DatagramTransport | None = None
        self.certificate = RTCCertificate.generateCertificate()
        self.path = _Path(self)
        self.dtls = RTCDtlsTransport(cast("Any", self.path), [self.certificate])
        self.inner: Any = self.dtls
        self.inner._set_role("client")
        self.tasks: list[asyncio.Task[None]] = []
        self.sequence = self.pictures = self.picture_sequence = 0

    @property
    def fingerprint(self) -> str:
        return next(each.value for each in self.certificate.getFingerprints() if each.algorithm == "sha-256")

    @property
    def address(self) -> tuple[str, int]:
        assert self.socket is not None
        address: tuple[str, int] = self.socket.get_extra_info("sockname")
        return address

    # ---- signals

    def join(self, **more: bool) -> None:
        self.say(s.Join(self.generation, **more))

    def hear(self, body: bytes) -> None:
        signal = s.decode_bridge_signal(body)
        self.heard.append(signal)
        if isinstance(signal, s.Offer) and signal.generation == self.generation:
            self.offers += 1
            self.ufrag = _found(r"a=ice-ufrag:(\S+)", signal.sdp)
            self.password = _found(r"a=ice-pwd:(\S+)", signal.sdp)
            kind = r"[\d.]+" if self.old else r"\S+"
            self.host = _found(rf"a=candidate:\d 1 udp \d+ ({kind}) ", signal.sdp)
            self.port = int(_found(rf"a=candidate:\d 1 udp \d+ {kind} (\d+) ", signal.sdp))
            fingerprint = _found(r"a=fingerprint:sha-256 (\S+)", signal.sdp)
            self.say(
                s.Answer(
                    self.generation,
                    signal.version,
                    answer(
                        self.fingerprint,
                        audio=self.ssrc,
                        video=(self.ssrc + 1, self.ssrc + 2),
                        redundant=self.redundant,
                    ),
                )
            )
            self.tasks.append(asyncio.ensure_future(self._connect(fingerprint)))

    def told(self, kind: type[s.BridgeSignal]) -> list[Any]:
        return [signal for signal in self.heard if isinstance(signal, kind)]

    # ---- the path

    async def _connect(self, fingerprint: str) -> None:
        loop = asyncio.get_running_loop()
        if self.socket is None:
            local = ("::1", 0) if ":" in self.host else ("127.0.0.1", 0)
            self.socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=local)
        self.bind()
        await self.bound.wait()
        if not self.secured.is_set():
            told = [RTCDtlsFingerprint(algorithm="sha-256", value=fingerprint)]
            await self.dtls.start(RTCDtlsParameters(fingerprints=told))
            if self.dtls.state == "connected":
                self.secured.set()

    def bind(self, *, ufrag: str | None = None, password: str | None = None) -> None:
        """Ask whether the path works, and nominate it."""
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{ufrag or self.ufrag}:theirs"
        request.attributes["PRIORITY"] = 1
        request.attributes["ICE-CONTROLLING"] = 7
        request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity((password or self.password).encode())
        self.write(bytes(request))

    async def move(self) -> None:
        """Take another address; nothing is known of it until `bind`."""
        loop = asyncio.get_running_loop()
        assert self.socket is not None
        self.socket.close()
        self.bound.clear()
        self.socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))

    def write(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.sendto(data, (self.host, self.port))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] < 4:
            message = stun.parse_message(data)
            if message.check_message_integrity(self.password.encode()):
                self.bound.set()
        elif data[0] < 64:
            self.path.waiting.put_nowait(data)
        elif 192 <= data[1] <= 223:
            self.inner._rx_srtp.unprotect_rtcp(data)
        else:
            self.got.append(self.inner._rx_srtp.unprotect(data))

    def error_received(self, exc: Exception) -> None:
        """The other side has closed its port."""

    # ---- media

    def sound(self, payload: bytes = SEALED, *, ssrc: int | None = None, sends: bool = True) -> bytes:
        """A packet of sound as it is sent; not sent unless `sends`."""
        self.sequence += 1
        head = struct.pack("!BBHLL", 0x90, OPUS, self.sequence, 960 * self.sequence, ssrc or self.ssrc)
        packet = head + b"\xbe\xde\x00\x01" + bytes([EXT_MID << 4, ord("0"), 0, 0]) + payload
        protected: bytes = self.inner._tx_srtp.protect(packet)
        if sends:
            self.write(protected)
        return protected

    def picture(self, size: int, *, key: bool) -> None:
        """A sealed frame of so many bytes, of a camera that sends one size."""
        self.pictures += 1
        # The first bit of a frame says whether others are needed for it.
        frame = (b"\x10" if key else b"\x11") + bytes(size) + b"\x0aLS\x01"
        payloads = split_vp8(frame, self.pictures)
        for number, payload in enumerate(payloads, 1):
            self.picture_sequence += 1
            marker = 0x80 if number == len(payloads) else 0
            head = struct.pack(
                "!BBHLL", 0x90, VP8 | marker, self.picture_sequence, 6_000 * self.pictures, self.ssrc + 1
            )
            mid = b"\xbe\xde\x00\x01" + bytes([EXT_MID << 4, ord("1"), 0, 0])
            self.write(self.inner._tx_srtp.protect(head + mid + payload))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.dtls.stop()
        if self.socket is not None:
            self.socket.close()
            # Its socket is closed in the loop's next turn.
            await asyncio.sleep(0)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found[1]
