"""A worker's rooms and peers: carries out what rooms decide, and lets time pass for all of them.

The rooms are pure (`room`), the plane is pure (`forward`, `slot`, `layer`), the peers send and receive (`peer`). This is the
one place where they meet. Nothing here awaits: whatever does is a task that the worker runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, assert_never

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId
from leeside_protocol.video import signalling as s
from leeside_protocol.video.formats import UP_AUDIO_MID, UP_VIDEO_MID, MediaKind
from leeside_protocol.video.signalling import GoneWhy, PausedWhy
from leeside_server.core.video import Closed, Expelled, Heard, Spoken
from leeside_server.log import get_logger
from leeside_server.video import room as r
from leeside_server.video.dtls import Buffers, Certificate
from leeside_server.video.fastways import FastWays
from leeside_server.video.forward import Downlink, Uplink
from leeside_server.video.layer import Layer, Track
from leeside_server.video.life import State
from leeside_server.video.metrics import Counts
from leeside_server.video.peer import Peer
from leeside_server.video.receiver import Receiver, mids_of
from leeside_server.video.room import Effect, Room
from leeside_server.video.sdp import Answer, Candidate, DownLine, read_answer
from leeside_server.video.slot import ALL_LINES
from leeside_server.video.udp import Port
from leeside_server.video.ways import PLAIN
from leeside_server.video.words import Configure, Emptied, FromWorker, Kept, Load, Told

SHARE_TICKS: Final = 10
"""Every so many ticks (0.2 s) a receiver's link is shared out anew. Peers take turns: all at once would hold up packets."""
CALM_TICKS: Final = 5
"""A peer of whom nothing can be due with every tick is looked at with every so many (0.1 s): in a calm call that is nearly all of
them, and the looks were a fifth of what a worker does."""
GRADE_TICKS: Final = 50
REOFFER_S: Final = 3.0
"""An offer without an answer is said again: signals may be lost."""
PACE_S: Final = 0.005
"""How often packets that wait are looked at."""
SHED_LINES: Final = 360
"""The largest picture while the worker has too much to do."""
BUSY_RETRY_MS: Final = 5_000
AGAIN_MS: Final = 500
"""Who comes to a worker that drains was sent a moment before the nodes knew."""
BEHIND_S: Final = 0.5
"""For so long behind packets that came and were not read, nothing is asked for again or sent twice."""
KEPT_ROOMS: Final = 256
KEPT_LINKS: Final = 32

_UP_MID: Final = {MediaKind.AUDIO: UP_AUDIO_MID, MediaKind.VIDEO: UP_VIDEO_MID}
_log = get_logger("leeside.video")


class Hall:
    """A room and what carries it: its epoch at the nodes, and its members' peers."""

    def __init__(self, name: bytes, number: int, epoch: int, room: Room) -> None:
        self.name: Final = name
        self.number: Final = number
        """Of the rooms since the worker began: says whose turn it is."""
        self.epoch = epoch
        self.room: Final = room
        self.peers: dict[DeviceId, Peer] = {}
        self.links: dict[DeviceId, float] = {}
        """What the links of those carried who have left: for when they come back."""

    @property
    def redundant(self) -> bool:
        """Everybody here reads redundant sound."""
        return all(peer.redundant for peer in self.peers.values())


class Bridge:
    """All rooms of a worker. `say` hands a word to the supervisor; `spawn` runs what awaits; `clock` gives seconds that only
    go forward, `wall` the time of day in milliseconds. `fast`: the fast way of packets, where there is one (its clock is the
    system's, `time.monotonic`)."""

    def __init__(
        self,
        settings: Configure,
        say: Callable[[FromWorker], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        wall: Callable[[], int],
        fast: FastWays | None = None,
    ) -> None:
        self.counts: Final = Counts()
        self.buffers: Final = Buffers()
        self._fast: Final = fast
        self._ways: Final = fast or PLAIN
        self.port: Final = Port(self.buffers, self.counts, clock, self._flush, fast)
        self.halls: dict[bytes, Hall] = {}
        self.draining = False
        self.shedding = False
        """Too much to do: nobody new, and no large pictures."""
        self._settings = settings
        self._say = say
        self._spawn = spawn
        self._later = later
        self._clock = clock
        self._wall = wall
        self._certificate = Certificate()
        self._kept: dict[bytes, Kept] = {}
        self._waiting: dict[Peer, None] = {}
        """Whose packets wait for their time."""
        self._ticks = self._rooms = 0
        self._behind_until_s = float("-inf")

    @property
    def peers(self) -> int:
        """How many transports there are."""
        return sum(len(hall.peers) for hall in self.halls.values())

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Where clients reach this worker."""
        hosts = self._settings.public or self._settings.hosts
        return tuple(Candidate(host, self.port.number) for host in hosts)

    # ---- words

    def remember(self, kept: Kept) -> None:
        """What a room decided while another worker had it."""
        self._kept[kept.room] = kept
        if len(self._kept) > KEPT_ROOMS:
            del self._kept[next(iter(self._kept))]

    def spoken(self, word: Spoken) -> None:
        """A client says something. What cannot be read is dropped: the relay refuses it before."""
        ticket = word.ticket
        try:
            signal = s.decode_client_signal(word.body)
        except ProtocolError:
            return
        hall = self._hall(ticket.room, word.epoch)
        if hall is None:
            if isinstance(signal, s.Join):
                busy = s.Denied(signal.generation, WireError.BUSY, BUSY_RETRY_MS)
                body = s.encode_signal(busy)
                self._say(Told(ticket.node, Heard(word.epoch, ticket.room, DeviceId(ticket.device), body)))
            return
        device = DeviceId(ticket.device)
        comes = isinstance(signal, s.Join) and (device not in hall.room.members or self.draining)
        if comes and self._full():
            busy = s.Denied(signal.generation, WireError.BUSY, AGAIN_MS if self.draining else BUSY_RETRY_MS)
            self._perform(hall, [r.Tell(ticket.node, device, busy)])
            return
        self._perform(hall, hall.room.hear(ticket, signal, self._clock(), self._wall()))

    def expelled(self, word: Expelled) -> None:
        """Somebody must not be in the room any more."""
        hall = self.halls.get(word.room)
        if hall is not None:
            self._perform(hall, hall.room.remove(DeviceId(word.device), word.why, self._clock()))

    def closed(self, word: Closed) -> None:
        """A call is over."""
        hall = self.halls.get(word.room)
        if hall is not None:
            self._perform(hall, hall.room.end(word.why))

    def drain(self) -> None:
        """No new rooms; everybody is to join again elsewhere, and goes on here until then."""
        self.draining = True
        for hall in list(self.halls.values()):
            self._perform(hall, hall.room.migrate())

    async def close(self) -> None:
        """Say goodbye to every peer."""
        peers = [peer for hall in self.halls.values() for peer in hall.peers.values()]
        self.halls.clear()
        for peer in peers:
            await peer.close()

    def load(self, cpu: float, lag_ms: int) -> Load:
        """How much there is to do, and what was counted."""
        peers = self.peers
        share = max(peers / self._settings.peers, cpu)
        return Load(
            len(self.halls), peers, share, open=not self._full(), cpu=cpu, lag_ms=lag_ms, counts=self.counts
        )

    def _full(self) -> bool:
        return self.draining or self.shedding or self.peers >= self._settings.peers

    def _hall(self, name: bytes, epoch: int) -> Hall | None:
        hall = self.halls.get(name)
        if hall is None:
            if self._full():
                return None
            room = Room(self._clock())
            kept = self._kept.pop(name, None)
            if kept is not None:
                room.restore(kept.restricted, kept.by, kept.admitted)
            self._rooms += 1
            hall = self.halls[name] = Hall(name, self._rooms, epoch, room)
            self._keep(hall)
        hall.epoch = max(hall.epoch, epoch)
        return hall

    # ---- what rooms decide

    def _perform(self, hall: Hall, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case r.Tell():
                    body = s.encode_signal(effect.signal)
                    self._say(Told(effect.node, Heard(hall.epoch, hall.name, effect.device, body)))
                case r.Open():
                    self._open(hall, effect)
                case r.Reoffer():
                    self._reoffer(hall, effect)
                case r.Accept():
                    self._accept(hall, effect)
                case r.Shut():
                    self._shut(hall, effect.device)
                case r.Link():
                    self._link(hall, effect)
                case r.Unlink():
                    self._unlink(hall, effect)
                case r.Hush():
                    self._hush(hall, effect)
                case r.Retell():
                    self._retell(hall, effect.device)
                case r.Keep():
                    self._keep(hall)
                case r.Forget():
                    self._forget(hall)
                case _:
                    assert_never(effect)
        # What these asked of publishers must not wait for the next row.
        self._flush()

    def _open(self, hall: Hall, effect: r.Open) -> None:
        self._shut(hall, effect.device)
        device = effect.device
        peer = Peer(
            device,
            effect.generation,
            self.port,
            self.buffers,
            self._certificate,
            self.counts,
            self,
            self._clock,
            self._fast,
        )

        def paused(publisher: DeviceId, why: PausedWhy, lines: int) -> None:
            self._perform(hall, hall.room.paused(device, publisher, why, lines))

        def unsealed(track: Track) -> None:
            self.counts.unsealed += 1
            # The plane must not be changed while it speaks.
            self._later(0, lambda: self._perform(hall, hall.room.violated(device, track.kind, self._clock())))

        bandwidth, ways = peer.bandwidth, self._ways
        up = Uplink(peer, _nothing, unsealed, ways)
        down = Downlink(
            peer,
            self.buffers.outward,
            _ssrcs(),
            bandwidth.report,
            up.clock,
            peer.pacer,
            bandwidth.link,
            ways,
        )
        peer.join(up, down, Receiver(bandwidth, down, paused))
        known_bps = hall.links.pop(device, None)
        if known_bps is not None:
            peer.bandwidth.resume(known_bps)
        hall.peers[device] = peer
        self.counts.joins += 1
        self._offer(hall, peer)

    def _offer(self, hall: Hall, peer: Peer) -> None:
        lines = [DownLine(mid, slot.kind, slot.ssrc, slot.repair_ssrc if slot.kind is MediaKind.VIDEO else 0)
                 for mid, slot in peer.down.slots.items()]  # fmt: skip
        sdp = peer.offer(self.candidates, lines, redundant=hall.redundant)
        self._perform(hall, hall.room.offered(peer.device, peer.version, sdp))

    def _reoffer(self, hall: Hall, effect: r.Reoffer) -> None:
        peer = hall.peers.get(effect.device)
        stands = peer is not None and peer.life.state in (State.LIVE, State.STALE)
        if peer is None or (stands and not effect.anew and not peer.awaits_answer):
            return
        if effect.anew:
            peer.restart()
        self._offer(hall, peer)

    def _accept(self, hall: Hall, effect: r.Accept) -> None:
        peer = hall.peers.get(effect.device)
        if peer is None or effect.version > peer.version:
            return
        if effect.version < peer.version and peer.answered:
            # A newer offer is under way, and will be answered. The first answer counts whatever it answers: it says who it is.
            return
        try:
            answer = read_answer(effect.sdp)
        except ProtocolError as refused:
            self._perform(hall, hall.room.refuse(peer.device, refused.code, self._clock()))
            return
        if not peer.accept(answer.fingerprints):
            self._perform(hall, hall.room.refuse(peer.device, WireError.INVALID, self._clock()))
            return
        peer.answered_version = max(peer.answered_version, effect.version)
        peer.redundant = answer.redundant
        self._bind(peer, answer)
        self._agree(hall)

    def _agree(self, hall: Hall) -> None:
        """Sound is sealed with its redundancy, which we cannot take away: nobody sends it while anybody cannot read it."""
        for peer in list(hall.peers.values()):
            # Who has not answered yet is looked at when they do: an answer under way is not made void.
            if peer.answered and peer.redundant and peer.offered_redundant is not hall.redundant:
                self._offer(hall, peer)

    def _bind(self, peer: Peer, answer: Answer) -> None:
        """The streams that an answer names. Layers name themselves, with their first packets."""
        now_s = self._clock()
        for mid in (UP_AUDIO_MID, UP_VIDEO_MID):
            line = answer.line(mid)
            if line.flows and not line.rids and line.ssrcs:
                repairs = dict(line.repairs)
                repaired = set(repairs.values())
                ssrc = next((each for each in line.ssrcs if each not in repaired), None)
                if ssrc is not None:
                    peer.up.bind(mid, ssrc, repairs.get(ssrc), now_s)

    def _shut(self, hall: Hall, device: DeviceId) -> None:
        peer = hall.peers.pop(device, None)
        if peer is None:
            return
        if peer.bandwidth.lasting_bps is not None:
            hall.links[device] = peer.bandwidth.lasting_bps
            if len(hall.links) > KEPT_LINKS:
                del hall.links[next(iter(hall.links))]
        self.counts.faulty += peer.up.faults + peer.down.faults
        peer.up.close()
        for slot in peer.down.slots.values():
            slot.detach()
        self._spawn(peer.close())
        self._agree(hall)

    def _link(self, hall: Hall, effect: r.Link) -> None:
        subscriber, publisher = hall.peers.get(effect.subscriber), hall.peers.get(effect.publisher)
        # What is shown to who has no keys yet goes nowhere, and would wait for a way out: `live` links them.
        if subscriber is None or publisher is None or not subscriber.ready:
            return
        for kind, mid in mids_of(effect.pair):
            subscriber.down.slots[mid].attach(publisher.up.tracks[_UP_MID[kind]], self._clock())
            subscriber.receiver.forget(mid)

    def _unlink(self, hall: Hall, effect: r.Unlink) -> None:
        subscriber = hall.peers.get(effect.subscriber)
        if subscriber is not None:
            for _, mid in mids_of(effect.pair):
                subscriber.down.slots[mid].detach()
                subscriber.receiver.forget(mid)

    def _hush(self, hall: Hall, effect: r.Hush) -> None:
        publisher = hall.peers.get(effect.publisher)
        if publisher is None:
            return
        now_s = self._clock()
        for slot in list(publisher.up.tracks[_UP_MID[effect.media]].slots):
            if effect.muted:
                slot.pause(PausedWhy.MUTED)
            elif slot.why is PausedWhy.MUTED:
                slot.resume(now_s)

    def _retell(self, hall: Hall, device: DeviceId) -> None:
        peer = hall.peers.get(device)
        if peer is not None:
            peer.retell()

    def _keep(self, hall: Hall) -> None:
        room = hall.room
        self._say(Kept(hall.name, hall.epoch, room.restricted, room.by, tuple(room.admitted)))

    def _forget(self, hall: Hall) -> None:
        for device in list(hall.peers):
            self._shut(hall, device)
        if self.halls.pop(hall.name, None) is not None:
            self._say(Emptied(hall.name, hall.epoch))

    # ---- peers

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a peer's handshake."""
        self._spawn(work)

    def live(self, peer: Peer) -> None:
        """Media may flow to this peer: what it is shown begins with a key frame, and in the size that it will have. Publishers'
        browsers heed one request in 300 ms: for a size that is chosen a moment later it would be too late."""
        for hall in self.halls.values():
            if hall.peers.get(peer.device) is peer:
                self._perform(hall, hall.room.linked(peer.device))
                self._share(hall, peer, self._clock())
        self._flush()

    def held(self, peer: Peer) -> None:
        """Packets for this peer wait for their time."""
        if not self._waiting:
            self._later(PACE_S, self._pace)
        self._waiting[peer] = None

    def _pace(self) -> None:
        """Let those packets leave that waited long enough; again in 5 ms while any do."""
        now_s = self._clock()
        waiting, self._waiting = self._waiting, {}
        for peer in waiting:
            try:
                if peer.ready:
                    peer.down.due(now_s)
            except Exception:  # noqa: BLE001 - a packet's fault must not be the others'
                self.counts.faulty += 1
                _log.error("packet_failed", exc_info=True)
            if peer.ready and peer.down.waits:
                self.held(peer)
        self._flush()

    def _flush(self) -> None:
        """What was sent by the fast way leaves now."""
        if self._fast is not None:
            self._fast.flush()

    # ---- time

    def tick(self) -> None:
        """Let time pass; every 20 ms. What fails costs the room it fails in, this once."""
        for _ in self.turns():
            pass

    def turns(self) -> Iterator[None]:
        """A tick, room by room: between two rooms, packets that came may have their turn."""
        self._ticks += 1
        if self._fast is not None:
            self._fast.count(self.counts)
        if overrun := self.port.overrun():
            self.counts.overrun += overrun
            self._behind_until_s = self._clock() + BEHIND_S
        for hall in list(self.halls.values()):
            if self.halls.get(hall.name) is not hall:
                continue
            turn = self._ticks + hall.number
            try:
                self._pass(hall, self._clock(), turn)
            except Exception:  # noqa: BLE001 - a room's fault must not be the others'
                self.counts.faulty += 1
                _log.error("room_failed", exc_info=True)
            self._flush()
            yield

    def _pass(self, hall: Hall, now_s: float, turn: int) -> None:
        behind = now_s < self._behind_until_s
        for place, peer in enumerate(list(hall.peers.values())):
            changed = peer.life.due(now_s)
            if changed is State.STALE and not peer.life.parting:
                self.counts.stale += 1
                self._reoffer(hall, r.Reoffer(peer.device, anew=True))
            elif peer.life.state is State.GONE:
                self.counts.lost += 1
                self._perform(hall, hall.room.remove(peer.device, GoneWhy.LOST, now_s))
                continue
            elif peer.awaits_answer and now_s - peer.offered_s >= REOFFER_S:
                self._offer(hall, peer)
            if not peer.ready:
                continue
            own, receiver = turn + place, peer.receiver
            calm = own % CALM_TICKS != 0
            if not calm or peer.up.restless:
                peer.up.due(now_s, behind=behind)
            if not calm or receiver.restless:
                # Not left out: a link that is thought to carry less than it does has packets wait, and those are the most to do.
                receiver.probe(now_s)
                if not behind:
                    receiver.repeat(now_s)
            if own % SHARE_TICKS == 0 or receiver.awaits:
                self._share(hall, peer, now_s)
        if turn % GRADE_TICKS == 0:
            for peer in list(hall.peers.values()):
                if peer.life.state in (State.LIVE, State.STALE) and (word := peer.grade(now_s)) is not None:
                    self._perform(hall, hall.room.quality(peer.device, *word))
            self._perform(hall, hall.room.due(now_s, self._wall()))

    def _share(self, hall: Hall, peer: Peer, now_s: float) -> None:
        """Share this peer's link out."""
        member = hall.room.members.get(peer.device)
        if member is not None:
            peer.share(member, hall.room.members, SHED_LINES if self.shedding else ALL_LINES, now_s)


def _nothing(_track: Track, _layer: Layer) -> None:
    """The allocator looks at the layers itself, five times a second."""


def _ssrcs() -> list[int]:
    """Random names for the streams of a downlink, all different and none of them one of ours."""
    names: set[int] = set()
    while len(names) < 20:
        name = secrets.randbits(32)
        if name > 0xFFFF:
            names.add(name)
    return list(names)
