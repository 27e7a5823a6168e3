"""The path to the bridge: what aiortc and aioice must go on doing for us, over memory and over this machine's own sockets."""

# ruff: noqa: SLF001  (what is private there is what this file is about)
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aioice import Connection
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters

from leeside.media.description import Remote
from leeside.media.path import IceRoute, NoPath, SecurePath, _Dtls, _turn_of
from leeside_protocol.video.signalling import TurnServer
from tests.support.patience import PATIENCE_S

WAIT_S = PATIENCE_S


class Heard(list[bytes]):
    """What came, and a wait for so much of it."""

    def __init__(self) -> None:
        super().__init__()
        self._came = asyncio.Event()

    def put(self, packet: bytes) -> None:
        self.append(packet)
        self._came.set()

    async def first(self, count: int) -> list[bytes]:
        async with asyncio.timeout(WAIT_S):
            while len(self) < count:
                self._came.clear()
                await self._came.wait()
        return self[:count]


class MemoryRoute:
    """One end of a pair."""

    role = "controlling"

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.other: MemoryRoute | None = None

    async def _recv(self) -> bytes:
        return await self.queue.get()

    async def _send(self, data: bytes) -> None:
        assert self.other is not None
        self.other.queue.put_nowait(data)


class Bridge:
    """The other side of a handshake, as the bridge takes it."""

    def __init__(self, route: MemoryRoute) -> None:
        self.rtp, self.rtcp = Heard(), Heard()
        self.certificate = RTCCertificate.generateCertificate()
        self.dtls = _Dtls(route, self.certificate, self.rtp.put, self.rtcp.put)
        self.dtls._set_role("server")

    @property
    def remote(self) -> Remote:
        prints = tuple((f.algorithm, f.value) for f in self.certificate.getFingerprints())
        return Remote("ufrag", "p" * 22, prints, (), {}, {})


def pair() -> tuple[MemoryRoute, MemoryRoute]:
    one, other = MemoryRoute(), MemoryRoute()
    one.other, other.other = other, one
    return one, other


@asynccontextmanager
async def handshake(remote: Remote | None = None) -> AsyncGenerator[tuple[SecurePath, Bridge, Heard]]:
    near, far = pair()
    bridge, heard = Bridge(far), Heard()
    path = SecurePath(near, on_rtp=heard.put, on_rtcp=heard.put)
    prints = [RTCDtlsFingerprint(algorithm="sha-256", value=path.fingerprint)]
    accepting = asyncio.ensure_future(bridge.dtls.start(RTCDtlsParameters(fingerprints=prints)))
    try:
        await path.open(remote or bridge.remote)
        await accepting
        yield path, bridge, heard
    finally:
        accepting.cancel()
        await path.close()
        await bridge.dtls.stop()


def rtp(n: int) -> bytes:
    return b"\x80\x6f" + n.to_bytes(2, "big") + bytes(8) + b"payload"


REPORT = b"\x80\xc9\x00\x01" + bytes(4)


async def test_rtp_and_rtcp_pass_in_both_directions_as_they_are() -> None:
    async with handshake() as (path, bridge, heard):
        assert path.connected
        for n in range(3):
            path.send(rtp(n))
        path.send(REPORT)
        assert await bridge.rtp.first(3) == [rtp(0), rtp(1), rtp(2)]
        assert await bridge.rtcp.first(1) == [REPORT]
        await bridge.dtls._send_rtp(rtp(9))
        await bridge.dtls._send_rtp(REPORT)
        assert await heard.first(2) == [rtp(9), REPORT]
        inwards, outwards = path.sessions
        assert outwards.protect(rtp(4)) != rtp(4)
        assert inwards is not outwards


async def test_another_certificate_than_the_offer_names_is_no_path() -> None:
    remote = Remote("ufrag", "p" * 22, (("sha-256", ":".join(["00"] * 32)),), (), {}, {})
    with pytest.raises(NoPath):
        async with handshake(remote):
            pass


async def test_ice_finds_a_way_and_another_one_after_a_restart() -> None:
    route = IceRoute()
    answering = [Connection(ice_controlling=False) for _ in range(2)]
    try:
        for other in answering:
            ufrag, password = await route.gather()
            await other.gather_candidates()
            other.remote_username, other.remote_password = ufrag, password
            assert route._next is not None
            for candidate in route._next.local_candidates:
                await other.add_remote_candidate(candidate)
            await other.add_remote_candidate(None)
            candidates = tuple(c.to_sdp() for c in other.local_candidates)
            remote = Remote(other.local_username, other.local_password, (), candidates, {}, {})
            await asyncio.gather(route.connect(remote), other.connect())
            await route._send(b"there")
            assert await asyncio.wait_for(other.recv(), WAIT_S) == b"there"
            await other.send(b"back")
            assert await asyncio.wait_for(route._recv(), WAIT_S) == b"back"
    finally:
        await route.close()
        for other in answering:
            await other.close()


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("turn:192.0.2.1", (("192.0.2.1", 3478), False, "udp")),
        ("turn:192.0.2.1:80?transport=tcp", (("192.0.2.1", 80), False, "tcp")),
        ("turn:[2001:db8::1]:3479?transport=udp", (("2001:db8::1", 3479), False, "udp")),
        ("turns:relay.example:443?transport=tcp", (("relay.example", 443), True, "tcp")),
        ("turns:relay.example", (("relay.example", 5349), True, "tcp")),
    ],
)
def test_a_relay_is_read_from_its_url(url: str, options: tuple[tuple[str, int], bool, str]) -> None:
    found = _turn_of((TurnServer((url,), "user", "secret"),))
    assert (found["turn_server"], found["turn_ssl"], found["turn_transport"]) == options
    assert (found["turn_username"], found["turn_password"]) == ("user", "secret")


def test_what_is_no_relay_is_passed_over_and_none_is_assumed() -> None:
    assert _turn_of(()) == {}
    assert _turn_of((TurnServer(("stun:192.0.2.1", "http:x"), "", ""),)) == {}
