"""The path to the bridge: ICE (RFC 8445) by aioice, DTLS and SRTP (RFC 5764) by aiortc's transport.

`SecurePath` sends and receives plain RTP and RTCP over any `Route`. The names of aiortc that are not public are used in this
file alone, and `tests/client/media/test_path.py` holds them to what is needed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from aioice import Candidate, Connection, TransportPolicy
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, RTCIceTransport
from pylibsrtp import Session

from leeside.errors import LeesideError
from leeside.media.description import Remote
from leeside_protocol.video.signalling import TurnServer

CONNECT_S: Final = 15.0
QUEUE_PACKETS: Final = 1_024
"""Datagrams that wait to be read, or sent; the newest are dropped beyond, as by a full socket."""
_PORTS: Final = {"turn": 3478, "turns": 5349}

OnPacket = Callable[[bytes], None]


class NoPath(LeesideError):
    """The bridge was not reached: no candidate answered, or it is not who the offer names."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no path to the bridge: {why}")


class Route(Protocol):
    """What carries datagrams, by the names that aiortc's transport calls. Both raise `ConnectionError` at the end."""

    role: str

    async def _recv(self) -> bytes: ...

    async def _send(self, data: bytes) -> None: ...


class IceRoute:
    """Datagrams over the pair of candidates that ICE chose. A restart brings another pair; nobody above notices."""

    role = "controlling"

    def __init__(self, turn: Iterable[TurnServer] = (), *, relay_only: bool = False) -> None:
        self.turn = tuple(turn)
        """Relays, by credentials that end: set the newest before `gather`."""
        self._relay_only = relay_only
        self._now: Connection | None = None
        self._next: Connection | None = None
        self._closed = False
        self._reader: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_PACKETS)

    @property
    def alive(self) -> bool:
        """Whether the other side still answers, as ICE sees it (RFC 7675)."""
        return self._reader is not None and not self._reader.done()

    async def gather(self) -> tuple[str, str]:
        """Find this side's candidates, for a connection or its restart; user fragment and password for the answer.
        Raises `NoPath`."""
        await self._drop_next()
        connection = self._next = Connection(
            ice_controlling=True,
            stun_server=None,
            transport_policy=TransportPolicy.RELAY if self._relay_only else TransportPolicy.ALL,
            **_turn_of(self.turn),
        )
        connection.remote_is_lite = True
        await connection.gather_candidates()
        if self._closed:
            # Meanwhile: nobody would give these sockets back.
            await connection.close()
            raise NoPath("this way was given up")
        if not connection.local_candidates:
            raise NoPath("this machine has no address, and no relay answered")
        return connection.local_username, connection.local_password

    async def connect(self, remote: Remote) -> None:
        """Reach the bridge from what `gather` found; from then on datagrams take the new way. Raises `NoPath`."""
        connection = self._next
        if connection is None:
            raise NoPath("nothing was gathered")
        connection.remote_username, connection.remote_password = remote.ufrag, remote.password
        try:
            for line in remote.candidates:
                await connection.add_remote_candidate(Candidate.from_sdp(line))
            await connection.add_remote_candidate(None)
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
        except (ConnectionError, TimeoutError, ValueError):
            await self._drop_next()
            raise NoPath("no candidate answered") from None
        if self._closed:
            await connection.close()
            raise NoPath("this way was given up")
        before, reader = self._now, self._reader
        self._now, self._next = connection, None
        self._reader = asyncio.ensure_future(self._read(connection))
        if reader is not None and before is not None:
            reader.cancel()
            await before.close()

    async def close(self) -> None:
        """Give the sockets back, also those that are being opened now."""
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
        await self._drop_next()
        if self._now is not None:
            await self._now.close()

    async def _drop_next(self) -> None:
        if self._next is not None:
            unused, self._next = self._next, None
            await unused.close()

    async def _read(self, connection: Connection) -> None:
        # Ends with the connection: who listens notices by the silence, and restarts ICE.
        with suppress(ConnectionError):
            while True:
                data = await connection.recv()
                if not self._queue.full():
                    self._queue.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self._queue.get()

    async def _send(self, data: bytes) -> None:
        if self._now is None:
            raise ConnectionError("not connected")
        await self._now.send(data)


def _turn_of(servers: tuple[TurnServer, ...]) -> dict[str, Any]:
    """aioice's options for the first relay named. Addresses of relays are literal or names; ports have their usual value."""
    for server in servers:
        for url in server.urls:
            scheme, _, rest = url.partition(":")
            place, _, query = rest.partition("?")
            host, port = _host_port(place, _PORTS.get(scheme, 0))
            if port:
                return {
                    "turn_server": (host, port),
                    "turn_username": server.username,
                    "turn_password": server.credential,
                    "turn_ssl": scheme == "turns",
                    "turn_transport": "tcp" if "transport=tcp" in query or scheme == "turns" else "udp",
                }
    return {}


def _host_port(place: str, usual: int) -> tuple[str, int]:
    with suppress(ValueError):
        return str(ipaddress.ip_address(place.strip("[]"))), usual
    host, _, port = place.rpartition(":")
    if host and port.isdigit():
        return host.strip("[]"), int(port) if usual else 0
    return place, usual


class _Dtls(RTCDtlsTransport):
    """aiortc's transport, with what it decrypts handed on as bytes and not taken apart."""

    def __init__(
        self, route: Route, certificate: RTCCertificate, on_rtp: OnPacket, on_rtcp: OnPacket
    ) -> None:
        super().__init__(cast("RTCIceTransport", route), [certificate])
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        # The answer says `active`, as every client's does.
        self._set_role("client")

    @property
    def sessions(self) -> tuple[Session, Session]:
        """SRTP inwards and outwards, once it is connected."""
        return self._rx_srtp, self._tx_srtp

    async def send(self, packet: bytes) -> None:
        """Encrypt and send RTP or RTCP. Raises `ConnectionError`."""
        await self._send_rtp(packet)

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        del arrival_time_ms
        self._on_rtp(data)

    async def _handle_rtcp_data(self, data: bytes) -> None:
        self._on_rtcp(data)


class SecurePath:
    """RTP and RTCP over a route, encrypted to the bridge hop by hop. What is inside is sealed besides (spec 09)."""

    def __init__(
        self,
        route: Route,
        *,
        on_rtp: OnPacket,
        on_rtcp: OnPacket,
        certificate: RTCCertificate | None = None,
    ) -> None:
        self._certificate = certificate or RTCCertificate.generateCertificate()
        self._dtls = _Dtls(route, self._certificate, on_rtp, on_rtcp)
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_PACKETS)
        self._sender: asyncio.Task[None] | None = None
        self.dropped = 0
        """Packets that were not sent because too many waited."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of this side's certificate, for the answer."""
        found = {one.algorithm: one.value for one in self._certificate.getFingerprints()}
        return found["sha-256"]

    @property
    def connected(self) -> bool:
        """Whether packets go through; false again when the bridge closed it."""
        return self._dtls.state == "connected"

    @property
    def sessions(self) -> tuple[Session, Session]:
        """SRTP inwards and outwards, for a program that moves packets itself."""
        return self._dtls.sessions

    async def open(self, remote: Remote) -> None:
        """Shake hands with whom the offer names. Raises `NoPath`: somebody else is there, or nobody; or this one shook hands
        before, and ended: then it takes a new one."""
        if self._dtls.state != "new":
            raise NoPath("the handshake of this path is over")
        prints = [RTCDtlsFingerprint(algorithm=name, value=value) for name, value in remote.fingerprints]
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CONNECT_S):
                await self._dtls.start(RTCDtlsParameters(fingerprints=prints))
        if not self.connected:
            raise NoPath("the handshake failed")
        self._sender = asyncio.ensure_future(self._send_all())

    def send(self, packet: bytes) -> None:
        """Send a plain RTP or RTCP packet, in order. Never waits."""
        if self._waiting.full():
            self.dropped += 1
        else:
            self._waiting.put_nowait(packet)

    async def close(self) -> None:
        """Say goodbye; the route is the caller's to close."""
        if self._sender is not None:
            self._sender.cancel()
        await self._dtls.stop()

    async def _send_all(self) -> None:
        while True:
            packet = await self._waiting.get()
            # A path that is being restarted loses packets like any other.
            with suppress(ConnectionError):
                await self._dtls.send(packet)
