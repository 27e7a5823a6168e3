"""Keys of a transport and what they do: the DTLS handshake (RFC 5764) and the SRTP that comes of it (RFC 3711).

aiortc's ORTC objects shake hands; media then go past them, in place, through libsrtp and two buffers that all peers of a
worker share. For that this file, and no other, touches names of aiortc and pylibsrtp that are not public:
`RTCDtlsTransport._set_role`, `._rx_srtp`, `._tx_srtp`, `pylibsrtp.Session._srtp` and `pylibsrtp._binding`; and it stands
in for aiortc's ICE transport (`_recv`, `_send`, `role`, `state`). `tests/video/worker/test_dtls.py` fails when one of them changes.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

PACKET_BYTES: Final = 1_500
"""The longest packet that is read or written, before its protection."""
ROOM_BYTES: Final = 2_048
"""Size of a shared buffer: a packet and what protection adds to it (148 bytes at most)."""
WAITING_DATAGRAMS: Final = 32
"""Handshake datagrams that wait to be read: a client begins before its answer is here. More are dropped; it repeats."""

# It has no types, and its functions are called for every packet: each is looked up once.
_binding: Final[Any] = importlib.import_module("pylibsrtp._binding")
_open_rtp: Final[Any] = _binding.lib.srtp_unprotect
_open_rtcp: Final[Any] = _binding.lib.srtp_unprotect_rtcp
_close_rtp: Final[Any] = _binding.lib.srtp_protect
_close_rtcp: Final[Any] = _binding.lib.srtp_protect_rtcp


class HandshakeFailed(Exception):
    """No transport came of it: a foreign certificate, no common profile, or no end in time."""


class Fingerprint(msgspec.Struct, frozen=True):
    """The hash of a certificate, as SDP writes it (RFC 8122)."""

    algorithm: str
    value: str


class Certificate:
    """A worker's certificate: made with the process, never stored."""

    def __init__(self) -> None:
        self.inner: Final = RTCCertificate.generateCertificate()

    @property
    def sha256(self) -> str:
        """Its fingerprint for offers."""
        return next(each.value for each in self.inner.getFingerprints() if each.algorithm == "sha-256")


class Buffers:
    """The two buffers of a worker. `inward` holds the datagram that came last; `outward` what is to be sent next."""

    def __init__(self) -> None:
        self.inward: Final = bytearray(ROOM_BYTES)
        self.outward: Final = bytearray(ROOM_BYTES)
        self.outward_view: Final = memoryview(self.outward)
        self.inward_at: Final[Any] = _binding.ffi.from_buffer(self.inward)
        self.outward_at: Final[Any] = _binding.ffi.from_buffer(self.outward)
        self.length: Final[Any] = _binding.ffi.new("int *")


class SrtpAddresses(NamedTuple):
    """Where functions of libsrtp are: `int (void *context, void *packet, int *length)`, 0 when it was done."""

    protect: int
    protect_rtcp: int
    unprotect: int


def srtp_addresses() -> SrtpAddresses:
    """For who calls libsrtp from C."""
    ffi, lib = _binding.ffi, _binding.lib
    return SrtpAddresses(
        *(int(ffi.cast("uintptr_t", ffi.addressof(lib, f"srtp_{name}"))) for name in SrtpAddresses._fields)
    )


class Srtp:
    """Both directions of one transport. Each function works in place, and returns the new length, or -1: not genuine,
    repeated, or not possible."""

    def __init__(self, transport: RTCDtlsTransport, buffers: Buffers) -> None:
        # The sessions free what the pointers name: they must live as long.
        self._sessions = (cast("Any", transport)._rx_srtp, cast("Any", transport)._tx_srtp)
        self._inward: Any = self._sessions[0]._srtp[0]
        self._outward: Any = self._sessions[1]._srtp[0]
        self._inward_at: Any = buffers.inward_at
        self._outward_at: Any = buffers.outward_at
        self._length: Any = buffers.length

    @property
    def outward_address(self) -> int:
        """Where the context is that packets are protected with: for `srtp_protect`, while this object lives."""
        return int(_binding.ffi.cast("uintptr_t", self._outward))

    @property
    def inward_address(self) -> int:
        """The same for `srtp_unprotect`."""
        return int(_binding.ffi.cast("uintptr_t", self._inward))

    def open_rtp(self, length: int) -> int:
        """The packet in `inward`, opened."""
        at = self._length
        at[0] = length
        return -1 if _open_rtp(self._inward, self._inward_at, at) else at[0]

    def open_rtcp(self, length: int) -> int:
        """The same for RTCP."""
        at = self._length
        at[0] = length
        return -1 if _open_rtcp(self._inward, self._inward_at, at) else at[0]

    def close_rtp(self, length: int) -> int:
        """The packet in `outward`, protected."""
        at = self._length
        at[0] = length
        return -1 if _close_rtp(self._outward, self._outward_at, at) else at[0]

    def close_rtcp(self, length: int) -> int:
        """The same for RTCP."""
        at = self._length
        at[0] = length
        return -1 if _close_rtcp(self._outward, self._outward_at, at) else at[0]


class _Path:
    """What aiortc takes for its ICE transport: a bounded queue one way, a function the other."""

    role: Final = "controlled"
    state: Final = "completed"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._write = send
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_DATAGRAMS)

    def take(self, data: bytes) -> bool:
        try:
            self._waiting.put_nowait(data)
        except asyncio.QueueFull:
            return False
        return True

    def end(self) -> None:
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def _recv(self) -> bytes:
        data = await self._waiting.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        self._write(data)


class Dtls:
    """The handshake of one peer: the bridge is the server, the peer begins (`role` "client": who tries a call out). `send`
    writes a datagram to the peer's path and may drop it. `on_closed` hears, once, that the peer said goodbye."""

    def __init__(
        self,
        certificate: Certificate,
        buffers: Buffers,
        send: Callable[[bytes], None],
        on_closed: Callable[[], None],
        *,
        role: Literal["server", "client"] = "server",
    ) -> None:
        self._path = _Path(send)
        self._buffers = buffers
        self._on_closed = on_closed
        self._closing = False
        self._transport = RTCDtlsTransport(cast("Any", self._path), [certificate.inner])
        cast("Any", self._transport)._set_role(role)
        self._transport.on("statechange", self._changed)

    def feed(self, data: bytes) -> bool:
        """A handshake datagram from the peer. False: too many wait, and it was dropped."""
        return not self._closing and self._path.take(data)

    async def shake(self, fingerprints: Sequence[Fingerprint], within_s: float) -> Srtp:
        """Shake hands with whoever holds the certificate of these fingerprints, and nobody else. Raises
        `HandshakeFailed`; the object is of no use then."""
        told = [RTCDtlsFingerprint(algorithm=each.algorithm, value=each.value) for each in fingerprints]
        try:
            async with asyncio.timeout(within_s):
                await self._transport.start(RTCDtlsParameters(fingerprints=told))
        except TimeoutError:
            raise HandshakeFailed("it took too long") from None
        if self._transport.state != "connected":
            raise HandshakeFailed("it was refused")
        return Srtp(self._transport, self._buffers)

    async def close(self) -> None:
        """Say goodbye and end. May be called at any time, and again."""
        if self._closing:
            return
        self._closing = True
        await self._transport.stop()
        self._path.end()

    def _changed(self) -> None:
        if self._transport.state == "closed" and not self._closing:
            self._on_closed()
