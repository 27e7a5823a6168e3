"""One client of the bridge: its credentials, its path, its keys, and the media that come and go.

`Life` (life.py) says where it stands; `Uplink` and `Downlink` (the plane) what becomes of its packets. This is what stands
between them and the port: it opens and protects in place, and holds a peer to its bounds before anything is paid for.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from leeside_protocol.ids import DeviceId
from leeside_server.video.dtls import Buffers, Certificate, Dtls, Fingerprint, HandshakeFailed, Srtp
from leeside_server.video.life import Life, State
from leeside_server.video.metrics import Counts
from leeside_server.video.sdp import SSRCS, Candidate, DownLine, Offer, write_offer
from leeside_server.video.stunlite import BindingRequest
from leeside_server.video.udp import Path, Port

PACKETS_A_SECOND: Final = 3_000
"""What one peer may send, RTP and RTCP together."""
HANDSHAKE_S: Final = 15.0
RESTART_S: Final = 1.0
"""A new path that was offered so lately is offered again, and no newer one."""
RTCP_SSRCS: Final = 2 * SSRCS
"""Names that a peer's reports may come under: each costs memory in libsrtp."""

_ssrc: Final = struct.Struct("!I")


class Upward(Protocol):
    """What takes a peer's own media (`forward.Uplink`)."""

    def receive_rtp(self, buffer: bytearray, length: int, now_s: float) -> None: ...
    def receive_rtcp(self, data: bytes, now_s: float) -> None: ...


class Downward(Protocol):
    """What hears how the others' media arrive (`forward.Downlink`)."""

    def receive_rtcp(self, data: bytes, now_s: float) -> None: ...


class Owner(Protocol):
    """Hears what becomes of a peer."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this until it ends, or the worker does."""
        ...

    def live(self, peer: Peer) -> None:
        """Media may flow: for the first time, or again."""
        ...


class Peer:
    """A transport of a member. `generation` is that of the join it was made for."""

    def __init__(
        self,
        device: DeviceId,
        generation: int,
        port: Port,
        buffers: Buffers,
        certificate: Certificate,
        counts: Counts,
        owner: Owner,
        clock: Callable[[], float],
    ) -> None:
        self.device: Final = device
        self.generation: Final = generation
        self.life: Final = Life(clock())
        self.ready = False
        """Keys and a path are there: what is sent goes out."""
        self.answered = False
        self.version = 1
        self.up: Upward | None = None
        self.down: Downward | None = None
        self._port = port
        self._buffers = buffers
        self._certificate = certificate
        self._counts = counts
        self._owner = owner
        self._clock = clock
        self._session = secrets.randbits(62)
        self._ufrag, self._password = _credentials()
        self._before: tuple[bytes, bytes] | None = None
        """The credentials of the path before, until the new one is used."""
        self._offered_s = clock()
        self._path: Path | None = None
        self._srtp: Srtp | None = None
        self._dtls: Final = Dtls(certificate, buffers, self._send_plain, self._farewell)
        self._fingerprints: tuple[Fingerprint, ...] = ()
        self._second = 0
        self._taken = 0
        self._rtp_ssrcs: set[int] = set()
        self._rtcp_ssrcs: set[int] = set()
        port.name(self._ufrag, self)

    # ---- signalling

    def offer(self, candidates: Sequence[Candidate], down: Sequence[DownLine]) -> str:
        """The offer that stands, as SDP."""
        self.life.offered(self._clock())
        return write_offer(
            Offer(
                session=self._session,
                version=self.version,
                ufrag=self._ufrag.decode(),
                password=self._password.decode(),
                fingerprint=self._certificate.sha256,
                candidates=candidates,
                down=down,
            )
        )

    def restart(self) -> bool:
        """Make new credentials for a new path; the keys stay. False: the newest are not used yet, and stand."""
        now_s = self._clock()
        if self._before is not None and now_s - self._offered_s < RESTART_S:
            return False
        if self._before is not None:
            # The newest path was never used: the one before it may still be.
            self._port.unname(self._ufrag)
        else:
            self._before = (self._ufrag, self._password)
        self._ufrag, self._password = _credentials()
        self._port.name(self._ufrag, self)
        self._offered_s = now_s
        self.version += 1
        self._counts.restarts += 1
        return True

    def accept(self, fingerprints: Sequence[Fingerprint]) -> bool:
        """The answer of this peer. False: it names another certificate than the answer before."""
        if self.answered:
            return tuple(fingerprints) == self._fingerprints
        self.answered = True
        self._fingerprints = tuple(fingerprints)
        if self.life.answered(self._clock()):
            self._owner.spawn(self._shake())
        return True

    # ---- the port

    def password(self, ufrag: bytes) -> bytes | None:
        """What proves a binding request to this user name."""
        if ufrag == self._ufrag:
            return self._password
        before = self._before
        return before[1] if before is not None and ufrag == before[0] else None

    def reached(self, path: Path, request: BindingRequest, now_s: float) -> None:
        """A proven request came on this path. The newest credentials' nomination decides which path is used."""
        current = request.ufrag == self._ufrag
        if self._path is None or (request.nominates and current and path is not self._path):
            self._path = path
        if current and request.nominates and self._before is not None:
            self._port.unname(self._before[0])
            self._before = None
        if self.life.path(now_s):
            self._owner.spawn(self._shake())
        elif self.life.state is State.LIVE and not self.ready:
            self._ready()

    def handshake(self, data: bytes) -> None:
        """A DTLS datagram."""
        if not self._dtls.feed(data):
            self._counts.flooded += 1

    def media(self, length: int, now_s: float) -> None:
        """A datagram that looks like SRTP or SRTCP stands in the inward buffer."""
        srtp = self._srtp
        counts = self._counts
        if srtp is None:
            counts.strange += 1
            return
        second = int(now_s)
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        if self._taken > PACKETS_A_SECOND:
            counts.flooded += 1
            return
        inward = self._buffers.inward
        if 192 <= inward[1] <= 223:
            self._rtcp(srtp, inward, length, now_s)
            return
        if length < 12:
            counts.strange += 1
            return
        ssrc = _ssrc.unpack_from(inward, 8)[0]
        known = ssrc in self._rtp_ssrcs
        if not known and len(self._rtp_ssrcs) >= SSRCS:
            counts.flooded += 1
            return
        opened = srtp.open_rtp(length)
        if opened < 0:
            counts.refused += 1
            return
        if not known:
            self._rtp_ssrcs.add(ssrc)
        counts.packets_in += 1
        if self.life.heard(now_s, media=True):
            self._ready()
        if self.up is not None:
            self.up.receive_rtp(inward, opened, now_s)

    def _rtcp(self, srtp: Srtp, inward: bytearray, length: int, now_s: float) -> None:
        if length < 8:
            self._counts.strange += 1
            return
        ssrc = _ssrc.unpack_from(inward, 4)[0]
        known = ssrc in self._rtcp_ssrcs
        if not known and len(self._rtcp_ssrcs) >= RTCP_SSRCS:
            self._counts.flooded += 1
            return
        opened = srtp.open_rtcp(length)
        if opened < 0:
            self._counts.refused += 1
            return
        if not known:
            self._rtcp_ssrcs.add(ssrc)
        if self.life.heard(now_s):
            self._ready()
        data = bytes(inward[:opened])
        if self.up is not None:
            self.up.receive_rtcp(data, now_s)
        if self.down is not None:
            self.down.receive_rtcp(data, now_s)

    # ---- what the plane sends

    def send_rtp(self, length: int) -> None:
        """Protect the packet in the outward buffer, and send it."""
        srtp, path = self._srtp, self._path
        if srtp is None or path is None:
            return
        closed = srtp.close_rtp(length)
        if closed >= 0:
            self._counts.packets_out += 1
            path.send(self._buffers.outward_view[:closed])

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send."""
        srtp, path = self._srtp, self._path
        if srtp is None or path is None:
            return
        length = len(packet)
        self._buffers.outward[:length] = packet
        closed = srtp.close_rtcp(length)
        if closed >= 0:
            path.send(self._buffers.outward_view[:closed])

    # ---- its end

    async def close(self) -> None:
        """Be known no more, and say goodbye."""
        self.ready = False
        self._port.unname(self._ufrag)
        if self._before is not None:
            self._port.unname(self._before[0])
        await self._dtls.close()
        self._port.forget(self)

    # ---- small change

    async def _shake(self) -> None:
        try:
            self._srtp = await self._dtls.shake(self._fingerprints, HANDSHAKE_S)
        except HandshakeFailed:
            self._counts.handshakes_failed += 1
            self.life.failed(self._clock())
            return
        self.life.secured(self._clock())
        if self.life.state is State.LIVE:
            self._ready()

    def _ready(self) -> None:
        self.ready = self._srtp is not None
        if self.ready:
            self._owner.live(self)

    def _send_plain(self, data: bytes) -> None:
        if self._path is not None:
            self._path.send(data)

    def _farewell(self) -> None:
        self.life.farewell(self._clock())


def _credentials() -> tuple[bytes, bytes]:
    """A user name and a password (RFC 8445, 5.3): 32 and 128 bits."""
    return secrets.token_hex(4).encode(), secrets.token_hex(16).encode()
