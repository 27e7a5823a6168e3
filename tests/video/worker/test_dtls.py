"""Names of aiortc and pylibsrtp that are not public, and what the bridge makes of them.

When a test here fails after a new version of one of them, dtls.py is the one file to look at.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pylibsrtp
import pytest
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from leeside_server.video.dtls import (
    WAITING_DATAGRAMS,
    Buffers,
    Certificate,
    Dtls,
    Fingerprint,
    HandshakeFailed,
    Srtp,
)
from tests.support.patience import PATIENCE_S

RTP = bytes([0x80, 111, 0, 1]) + bytes(4) + (7).to_bytes(4, "big") + b"sealed"
RTCP = bytes([0x80, 201, 0, 1]) + (7).to_bytes(4, "big")


class Pair:
    """The bridge's side and a client's, with a wire between them."""

    def __init__(self) -> None:
        self.closed = 0
        self.buffers = Buffers()
        self.certificate = Certificate()
        self.ours = Dtls(self.certificate, self.buffers, self._to_client, self._goodbye)
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self.client_certificate = RTCCertificate.generateCertificate()
        self.client = RTCDtlsTransport(cast("Any", self), [self.client_certificate])
        self.inner: Any = self.client
        self.inner._set_role("client")

    role = "controlling"
    state = "completed"

    async def _recv(self) -> bytes:
        return await self.waiting.get()

    async def _send(self, data: bytes) -> None:
        self.ours.feed(data)

    def _to_client(self, data: bytes) -> None:
        self.waiting.put_nowait(data)

    def _goodbye(self) -> None:
        self.closed += 1

    @property
    def fingerprint(self) -> Fingerprint:
        told = self.client_certificate.getFingerprints()
        return next(Fingerprint(x.algorithm, x.value) for x in told if x.algorithm == "sha-256")

    async def begin(self) -> None:
        told = [RTCDtlsFingerprint(algorithm="sha-256", value=self.certificate.sha256)]
        await self.client.start(RTCDtlsParameters(fingerprints=told))


@asynccontextmanager
async def shaken() -> AsyncGenerator[tuple[Pair, Srtp]]:
    pair = Pair()
    _, srtp = await asyncio.gather(pair.begin(), pair.ours.shake([pair.fingerprint], 10))
    try:
        yield pair, srtp
    finally:
        await pair.client.stop()
        await pair.ours.close()


def test_the_names_that_are_not_public_are_there() -> None:
    transport: Any = RTCDtlsTransport(cast("Any", Pair()), [RTCCertificate.generateCertificate()])
    assert transport._rx_srtp is None
    assert transport._tx_srtp is None
    assert callable(transport._set_role)
    session: Any = pylibsrtp.Session()
    assert session._srtp[0]


async def test_media_are_opened_and_protected_in_place() -> None:
    async with shaken() as (pair, srtp):
        coming = pair.inner._tx_srtp.protect(RTP)
        pair.buffers.inward[: len(coming)] = coming
        assert srtp.open_rtp(len(coming)) == len(RTP)
        assert pair.buffers.inward[: len(RTP)] == RTP
        pair.buffers.outward[: len(RTP)] = RTP
        length = srtp.close_rtp(len(RTP))
        assert length > len(RTP)
        assert pair.inner._rx_srtp.unprotect(bytes(pair.buffers.outward_view[:length])) == RTP


async def test_reports_are_opened_and_protected_in_place() -> None:
    async with shaken() as (pair, srtp):
        coming = pair.inner._tx_srtp.protect_rtcp(RTCP)
        pair.buffers.inward[: len(coming)] = coming
        assert srtp.open_rtcp(len(coming)) == len(RTCP)
        assert pair.buffers.inward[: len(RTCP)] == RTCP
        pair.buffers.outward[: len(RTCP)] = RTCP
        length = srtp.close_rtcp(len(RTCP))
        assert pair.inner._rx_srtp.unprotect_rtcp(bytes(pair.buffers.outward_view[:length])) == RTCP


async def test_what_was_altered_or_seen_before_is_refused() -> None:
    async with shaken() as (pair, srtp):
        coming = pair.inner._tx_srtp.protect(RTP)
        for place in range(len(coming)):
            altered = bytearray(coming)
            altered[place] ^= 1
            pair.buffers.inward[: len(coming)] = altered
            assert srtp.open_rtp(len(coming)) == -1
        pair.buffers.inward[: len(coming)] = coming
        assert srtp.open_rtp(len(coming)) == len(RTP)
        pair.buffers.inward[: len(coming)] = coming
        assert srtp.open_rtp(len(coming)) == -1


async def test_sound_may_be_sent_again_with_its_own_number() -> None:
    async with shaken() as (pair, srtp):
        for _ in range(2):
            pair.buffers.outward[: len(RTP)] = RTP
            assert srtp.close_rtp(len(RTP)) > 0


async def test_a_foreign_certificate_is_refused() -> None:
    pair = Pair()
    foreign = Fingerprint("sha-256", ":".join(["AB"] * 32))
    beginning = asyncio.ensure_future(pair.begin())
    with pytest.raises(HandshakeFailed):
        await pair.ours.shake([foreign], 10)
    await asyncio.gather(beginning, return_exceptions=True)
    await pair.client.stop()
    await pair.ours.close()


async def test_a_handshake_that_never_ends_is_given_up() -> None:
    pair = Pair()
    with pytest.raises(HandshakeFailed):
        await pair.ours.shake([pair.fingerprint], 0.05)
    await pair.ours.close()


async def test_handshake_datagrams_wait_and_are_bounded() -> None:
    pair = Pair()
    assert all(pair.ours.feed(b"\x16" * 20) for _ in range(WAITING_DATAGRAMS))
    assert not pair.ours.feed(b"\x16" * 20)
    await pair.ours.close()
    assert not pair.ours.feed(b"\x16" * 20)


async def test_a_goodbye_is_heard_once_and_our_own_is_not() -> None:
    async with shaken() as (pair, _):
        await pair.client.stop()
        async with asyncio.timeout(PATIENCE_S):
            while not pair.closed:  # noqa: ASYNC110
                await asyncio.sleep(0)
    assert pair.closed == 1
    async with shaken() as (pair, _):
        pass
    assert pair.closed == 0
