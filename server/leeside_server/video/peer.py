"""One client of the bridge: its credentials, its path, its keys, and the media that come and go.

`Life` (life.py) says where it stands; `Uplink` and `Downlink` (the plane) what becomes of its packets. This is what stands
between them and the port: it opens and protects in place, and holds a peer to its bounds before anything is paid for.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from leeside_protocol.ids import DeviceId
from leeside_server.video.bwe import START_BPS, Bandwidth
from leeside_server.video.dtls import Buffers, Certificate, Dtls, Fingerprint, HandshakeFailed, Srtp
from leeside_server.video.fastways import FastWays
from leeside_server.video.forward import Allowance, Downlink, Uplink
from leeside_server.video.life import Life, State
from leeside_server.video.metrics import Counts
from leeside_server.video.pacer import Pacer
from leeside_server.video.quality import Grader, Link, Missing
from leeside_server.video.receiver import Receiver
from leeside_server.video.room import Member
from leeside_server.video.sdp import SSRCS, Candidate, DownLine, Offer, write_offer
from leeside_server.video.slot import Held
from leeside_server.video.stunlite import BindingRequest
from leeside_server.video.udp import Path, Port
from leeside_server.video.ways import PACKETS_A_SECOND, PLAIN, DoorState

HANDSHAKES_A_SECOND: Final = 100
"""Datagrams of DTLS: each is a call of OpenSSL. A handshake has a dozen, with its repeats."""
BINDINGS_A_SECOND: Final = 200
"""Binding requests that are answered: a browser with many addresses asks some fifty times a second, to begin with."""
HANDSHAKE_S: Final = 15.0
RESTART_S: Final = 1.0
"""A new path that was offered so lately is offered again, and no newer one."""
RTCP_SSRCS: Final = 2 * SSRCS
"""Names that a peer's reports may come under: each costs memory in libsrtp."""

_ssrc: Final = struct.Struct("!I")


class Owner(Protocol):
    """Hears what becomes of a peer."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this until it ends, or the worker does."""
        ...

    def live(self, peer: Peer) -> None:
        """Keys and a path are there: media may flow."""
        ...

    def held(self, peer: Peer) -> None:
        """Packets wait for their time: `Downlink.due` lets them leave."""
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
        fast: FastWays | None = None,
    ) -> None:
        self.device: Final = device
        self.generation: Final = generation
        self.door: Final = DoorState() if fast is None else fast.door()
        """What its datagrams change. `second` and `taken` bound RTP and RTCP together."""
        self.life: Final = Life(clock(), self.door)
        self.ready = False
        """Keys and a path are there: what is sent goes out."""
        self.answered = False
        self.redundant = True
        """It reads redundant sound, as far as is known."""
        self.offered_redundant = True
        """It was offered to send some."""
        self.offered_s = 0.0
        self.version = 1
        self.answered_version = 0
        """Of the newest offer that was answered."""
        self.bandwidth: Final = Bandwidth(ways=fast or PLAIN)
        self.pacer: Final[Pacer[Held]] = Pacer(START_BPS, self.bandwidth.link)
        self.next_seq: Final = self.bandwidth.next_seq
        """The next number of this transport, for every packet that leaves."""
        self._sent: Final = self.bandwidth.sent
        self.up: Uplink
        self.down: Downlink
        self.receiver: Receiver
        self._fast: Final = fast
        self._port = port
        self._inward = buffers.inward
        self._outward = buffers.outward
        self._outward_view = buffers.outward_view
        self._certificate = certificate
        self._counts = counts
        self._owner = owner
        self._clock = clock
        self._session = secrets.randbits(62)
        self._ufrag, self._password = _credentials()
        self._before: tuple[bytes, bytes] | None = None
        """The credentials of the path before, until the new one is used."""
        self._renewed_s = clock()
        self._path: Path | None = None
        self._srtp: Srtp | None = None
        self._dtls: Final = Dtls(certificate, buffers, self._send_plain, self._farewell)
        self._fingerprints: tuple[Fingerprint, ...] = ()
        self._up_grader = Grader()
        self._up_missing = Missing()
        self._said: tuple[int, int, bool] | None = None
        self._handshakes = Allowance(HANDSHAKES_A_SECOND)
        self._bindings = Allowance(BINDINGS_A_SECOND)
        self._rtp_ssrcs: set[int] = set()
        self._rtcp_ssrcs: set[int] = set()
        port.name(self._ufrag, self)

    def join(self, up: Uplink, down: Downlink, receiver: Receiver) -> None:
        """The plane's halves of this peer, which need it themselves; before anything else."""
        self.up, self.down, self.receiver = up, down, receiver
        self._aim()

    # ---- signalling

    @property
    def awaits_answer(self) -> bool:
        """The newest offer led to nothing yet: it, or its answer, may be lost. Where media flow, a newer one says what may be
        sent, or names a newer path."""
        state = self.life.state
        if state is State.LIVE:
            return self.answered_version < self.version
        if state is State.OFFERED:
            return True
        return state is State.STALE and not self.life.parting and self._before is not None

    def offer(self, candidates: Sequence[Candidate], down: Sequence[DownLine], *, redundant: bool) -> str:
        """The offer that stands, as SDP. One that says something new about `redundant` sound has a new version."""
        if redundant != self.offered_redundant:
            self.offered_redundant = redundant
            self.version += self.offered_s > 0.0
        self.offered_s = self._clock()
        self.life.offered(self.offered_s)
        return write_offer(
            Offer(
                session=self._session,
                version=self.version,
                ufrag=self._ufrag.decode(),
                password=self._password.decode(),
                fingerprint=self._certificate.sha256,
                candidates=candidates,
                down=down,
                redundant=redundant,
            )
        )

    def restart(self) -> bool:
        """Make new credentials for a new path; the keys stay. False: the newest are not used yet, and stand."""
        now_s = self._clock()
        if self._before is not None and now_s - self._renewed_s < RESTART_S:
            return False
        if self._before is not None:
            # The newest path was never used: the one before it may still be.
            self._port.unname(self._ufrag)
        else:
            self._before = (self._ufrag, self._password)
        self._ufrag, self._password = _credentials()
        self._port.name(self._ufrag, self)
        self._renewed_s = now_s
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
        """What proves a binding request to this user name; None beyond what is answered."""
        if not self._bindings.take(self._clock()):
            return None
        if ufrag == self._ufrag:
            return self._password
        before = self._before
        return before[1] if before is not None and ufrag == before[0] else None

    def reached(self, path: Path, request: BindingRequest, now_s: float) -> None:
        """A proven request came on this path. The newest credentials' nomination decides which path is used."""
        current = request.ufrag == self._ufrag
        if self._path is None:
            self._path = path
            self._aim()
        elif request.nominates and current and path is not self._path:
            self._path = path
            self._aim()
            self.bandwidth.path_changed(now_s)
        if current and request.nominates and self._before is not None:
            self._port.unname(self._before[0])
            self._before = None
        if self.life.path(now_s):
            self._owner.spawn(self._shake())

    def handshake(self, data: bytes) -> None:
        """A DTLS datagram."""
        if not self._handshakes.take(self._clock()) or not self._dtls.feed(data):
            self._counts.flooded += 1

    def media(self, length: int, now_s: float) -> None:
        """A datagram that looks like SRTP or SRTCP stands in the inward buffer."""
        srtp = self._srtp
        counts = self._counts
        if srtp is None:
            counts.strange += 1
            return
        door = self.door
        second = int(now_s)
        if second != door.second:
            door.second, door.taken = second, 0
        if door.taken >= PACKETS_A_SECOND:
            counts.flooded += 1
            return
        door.taken += 1
        inward = self._inward
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
        self.opened(opened, now_s)

    def opened(self, length: int, now_s: float) -> None:
        """A genuine packet stands in the inward buffer, opened."""
        self._counts.packets_in += 1
        self.life.heard(now_s, media=True)
        self.up.receive_rtp(self._inward, length, now_s)

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
        self.life.heard(now_s)
        self.down.receive_rtcp(bytes(inward[:opened]), now_s)

    # ---- what the plane sends

    def send_rtp(self, length: int, transport_seq: int | None) -> None:
        """Protect the packet in the outward buffer, and send it."""
        srtp, path, fast = self._srtp, self._path, self._fast
        if srtp is None or path is None:
            return
        if fast is not None:
            fast.send(self.bandwidth.link, self._outward, length, transport_seq)
            return
        closed = srtp.close_rtp(length)
        if closed >= 0:
            self._counts.packets_out += 1
            if transport_seq is not None:
                self._sent(transport_seq, closed, self._clock())
            path.send(self._outward_view[:closed])

    def held(self) -> None:
        """A packet waits in the pacer."""
        self._owner.held(self)

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send."""
        srtp, path, fast = self._srtp, self._path, self._fast
        if srtp is None or path is None:
            return
        if fast is not None:
            fast.send_control(self.bandwidth.link, packet)
            return
        length = len(packet)
        self._outward[:length] = packet
        closed = srtp.close_rtcp(length)
        if closed >= 0:
            path.send(self._outward_view[:closed])

    def share(self, member: Member, others: Mapping[DeviceId, Member], most_lines: int, now_s: float) -> None:
        """Share its link out among what it is shown."""
        self.pacer.rate(self.bandwidth.pace_bps)
        self.receiver.share(member, others, most_lines, now_s)

    # ---- how it is

    def grade(self, now_s: float) -> tuple[int, int, bool] | None:
        """How its link is, up and down, and whether no picture fits: when that changed."""
        silent_s = now_s - self.door.heard_s if self.life.state is State.STALE else 0.0
        layers = self.up.layers
        expected = sum(layer.expected for layer in layers)
        loss = self._up_missing.share(expected, sum(layer.came for layer in layers), now_s)
        jitter_s = max((layer.jitter_s for layer in layers if layer.alive), default=0.0)
        up = self._up_grader.grade(Link(loss=loss, queue_s=jitter_s, silent_s=silent_s), now_s)
        said = up, self.receiver.grade(now_s), self.receiver.audio_only
        if said == self._said:
            return None
        self._said = said
        return said

    def retell(self) -> None:
        """What was said of its link may be lost: the next looks say it again."""
        self._said = None
        self.receiver.retell()

    # ---- its end

    async def close(self) -> None:
        """Be known no more, and say goodbye."""
        self.ready = False
        if self._fast is not None:
            self._fast.aim(self.bandwidth.link, None, None)
            self._fast.admit(self.door, None, self.up.state)
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
        self._aim()
        self.life.secured(self._clock())
        if self.life.state is State.LIVE:
            self.ready = True
            self._owner.live(self)

    def _aim(self) -> None:
        """Keys or the path changed: the fast way must know."""
        if self._fast is not None:
            self._fast.aim(self.bandwidth.link, self._srtp, self._path)
            self._fast.admit(self.door, self._srtp, self.up.state)

    def _send_plain(self, data: bytes) -> None:
        if self._path is not None:
            self._path.send(data)

    def _farewell(self) -> None:
        self.ready = False
        self.life.farewell(self._clock())


def _credentials() -> tuple[bytes, bytes]:
    """A user name and a password (RFC 8445, 5.3): 32 and 128 bits."""
    return secrets.token_hex(4).encode(), secrets.token_hex(16).encode()
