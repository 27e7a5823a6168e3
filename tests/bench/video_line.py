"""One media connection of the video load: ICE, DTLS and SRTP over a socket of its own, with no media in it yet.

It connects to whatever a forwarder's SDP says, as offerer or as answerer. The load itself (`video_load`) then works on the
bare socket and libsrtp's two sessions: nothing of asyncio or aiortc stands between it and the packets.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import secrets
import socket
from collections.abc import Sequence
from typing import Any, Final, Literal, cast

from aioice import stun
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from leeside_protocol.video.formats import (
    EXT_MID,
    EXT_SEND_TIME,
    EXT_TRANSPORT_SEQ,
    EXTENSIONS,
    OPUS,
    VP8,
    VP8_RTX,
)
from tests.bench.programs import MeasureFailed

Kind = Literal["audio", "video"]
Direction = Literal["sendonly", "recvonly", "inactive"]

CONNECT_S: Final = 20.0
ASK_AGAIN_S: Final = 0.2
RECEIVE_BYTES: Final = 1 << 20
SENT_EXTENSIONS: Final = (EXT_MID, EXT_SEND_TIME, EXT_TRANSPORT_SEQ)
_CERTIFICATE: Final = RTCCertificate.generateCertificate()
_FINGERPRINT: Final = next(
    each.value for each in _CERTIFICATE.getFingerprints() if each.algorithm == "sha-256"
)
binding: Final[Any] = importlib.import_module("pylibsrtp._binding")


class Remote:
    """What a forwarder's SDP says about its transport. Raises `MeasureFailed` when it says none."""

    def __init__(self, sdp: str) -> None:
        self.ufrag = _first(r"a=ice-ufrag:(\S+)", sdp)
        self.password = _first(r"a=ice-pwd:(\S+)", sdp)
        self.fingerprint = _first(r"a=fingerprint:sha-256 (\S+)", sdp)
        self.setup = _first(r"a=setup:(\w+)", sdp)
        # An offer leaves the choice of the DTLS role. Who offers leads, except one that only ever answers (RFC 8445).
        self.leads = self.setup == "actpass" and "a=ice-lite" not in sdp
        found = re.search(
            r"a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host", sdp, re.IGNORECASE
        )
        if found is None:
            raise MeasureFailed("the forwarder's SDP names no address")
        self.address = (found[1], int(found[2]))


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
    if found is None:
        raise MeasureFailed(f"the forwarder's SDP has no {pattern}")
    return found[1]


class Line:
    """A connection. `receive` and `protect` are libsrtp's sessions once it is connected."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(16)
        self.audio_ssrc, self.video_ssrc, self.repair_ssrc = (1 + secrets.randbits(31) for _ in range(3))
        self.role: str = "controlling"
        self.state: str = "completed"
        self._remote: Remote | None = None
        self._proven = asyncio.Event()
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(256)
        # It takes us for its ICE transport: `_recv`, `_send`, `role` and `state` are all that it asks.
        self._dtls = RTCDtlsTransport(cast("Any", self), [_CERTIFICATE])
        # The same without its types: libsrtp's sessions are not public (see leeside_server.video.dtls).
        self._inside: Any = self._dtls
        self.receive: Any = None
        self.protect: Any = None

    async def connect(self, sdp: str) -> None:
        """Connect to where this SDP says. Raises `MeasureFailed`."""
        remote = self._remote = Remote(sdp)
        loop = asyncio.get_running_loop()
        self.socket.connect(remote.address)
        loop.add_reader(self.socket, self._readable)
        try:
            async with asyncio.timeout(CONNECT_S):
                while not self._proven.is_set():
                    self._ask(remote)
                    try:
                        async with asyncio.timeout(ASK_AGAIN_S):
                            await self._proven.wait()
                    except TimeoutError:
                        continue
                # Who offered to be either takes the part that the answer leaves.
                self._inside._set_role(  # noqa: SLF001
                    "server" if remote.setup == "active" else "client"
                )
                fingerprint = RTCDtlsFingerprint(algorithm="sha-256", value=remote.fingerprint)
                await self._dtls.start(RTCDtlsParameters(fingerprints=[fingerprint]))
        except TimeoutError:
            raise MeasureFailed("a connection of the load was not made in time") from None
        finally:
            loop.remove_reader(self.socket)
        if self._dtls.state != "connected":
            raise MeasureFailed("a handshake of the load was refused")
        inside = self._inside
        self.receive, self.protect = inside._rx_srtp._srtp[0], inside._tx_srtp._srtp[0]  # noqa: SLF001

    def close(self) -> None:
        """Let go of the socket; the forwarder is not told."""
        self.socket.close()
        # It ends who waits for a datagram.
        if not self._arrived.full():
            self._arrived.put_nowait(None)

    def take(self, data: bytes) -> None:
        """A datagram that is no media."""
        if data[0] < 4:
            self._binding(data)
        elif 19 < data[0] < 64 and not self._arrived.full():
            self._arrived.put_nowait(data)

    def _ask(self, remote: Remote) -> None:
        request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{remote.ufrag}:{self.ufrag}"
        request.attributes["PRIORITY"] = 1_853_824_767
        if remote.leads:
            request.attributes["ICE-CONTROLLED"] = self.audio_ssrc
        else:
            request.attributes["ICE-CONTROLLING"] = self.audio_ssrc
            request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(remote.password.encode())
        self._write(bytes(request))

    def _binding(self, data: bytes) -> None:
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        if message.message_class == stun.Class.RESPONSE:
            self._proven.set()
        elif message.message_class == stun.Class.REQUEST and self._remote is not None:
            answer = stun.Message(
                message_method=stun.Method.BINDING,
                message_class=stun.Class.RESPONSE,
                transaction_id=message.transaction_id,
            )
            answer.attributes["XOR-MAPPED-ADDRESS"] = self._remote.address
            answer.add_message_integrity(self.password.encode())
            self._write(bytes(answer))

    def keep_alive(self) -> None:
        """Prove again that we are there (RFC 7675)."""
        if self._remote is not None:
            self._ask(self._remote)

    def _readable(self) -> None:
        while True:
            try:
                data = self.socket.recv(2_048)
            except OSError:
                return
            if data:
                self.take(data)

    def _write(self, data: bytes) -> None:
        try:
            self.socket.send(data)
        except OSError:
            return

    async def _recv(self) -> bytes:
        data = await self._arrived.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        self._write(data)


# ---- what is offered and answered


def described(line: Line, media: Sequence[tuple[Kind, str, Direction]], setup: str) -> str:
    """An SDP for these media lines: kind, mid, direction."""
    lines = [
        "v=0",
        f"o=- {line.audio_ssrc} 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(mid for _, mid, _ in media)}",
        "a=msid-semantic: WMS *",
    ]
    for kind, mid, direction in media:
        lines += _media(line, kind, mid, direction, setup)
    return "\r\n".join(lines) + "\r\n"


def _media(line: Line, kind: Kind, mid: str, direction: Direction, setup: str) -> list[str]:
    types = f"{OPUS}" if kind == "audio" else f"{VP8} {VP8_RTX}"
    lines = [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {types}",
        "c=IN IP4 0.0.0.0",
        f"a=ice-ufrag:{line.ufrag}",
        f"a=ice-pwd:{line.password}",
        f"a=fingerprint:sha-256 {_FINGERPRINT}",
        f"a=setup:{setup}",
        f"a=mid:{mid}",
        f"a={direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *(f"a=extmap:{number} {EXTENSIONS[number]}" for number in SENT_EXTENSIONS),
    ]
    if kind == "audio":
        lines += [f"a=rtpmap:{OPUS} opus/48000/2", f"a=fmtp:{OPUS} minptime=10;useinbandfec=1"]
        lines += [f"a=rtcp-fb:{OPUS} transport-cc"]
    else:
        lines += [f"a=rtpmap:{VP8} VP8/90000"]
        lines += [f"a=rtcp-fb:{VP8} {told}" for told in ("nack", "nack pli", "ccm fir", "transport-cc")]
        lines += [f"a=rtpmap:{VP8_RTX} rtx/90000", f"a=fmtp:{VP8_RTX} apt={VP8}"]
    if direction == "sendonly":
        lines.append(f"a=msid:load-{line.audio_ssrc} {kind}-{line.audio_ssrc}")
        if kind == "audio":
            return [*lines, f"a=ssrc:{line.audio_ssrc} cname:load"]
        lines.append(f"a=ssrc-group:FID {line.video_ssrc} {line.repair_ssrc}")
        lines += [f"a=ssrc:{ssrc} cname:load" for ssrc in (line.video_ssrc, line.repair_ssrc)]
    return lines


def answered(line: Line, offer: str) -> str:
    """The answer to an offer: send on what it receives, receive what it sends."""
    media: list[tuple[Kind, str, Direction]] = []
    for block in re.split(r"\r?\n(?=m=)", offer)[1:]:
        kind: Kind = "audio" if block.startswith("m=audio") else "video"
        theirs = re.search(r"^a=(sendonly|recvonly|sendrecv|inactive)", block, re.MULTILINE)
        ours: Direction = {"sendonly": "recvonly", "recvonly": "sendonly"}.get(
            theirs[1] if theirs else "", "inactive"
        )  # type: ignore[assignment]
        media.append((kind, _first(r"^a=mid:(\S+)", block), ours))
    return described(line, media, "active")
