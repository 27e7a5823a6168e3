"""The publishing side of a call: a `Track` is a peer's microphone or camera, a `Layer` one stream of it.

A camera may send the same picture in several sizes (simulcast). A layer counts what arrives, asks for what is lost,
keeps the newest packets for receivers who lost them later, and hands every packet that may go on to the slots that
show it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from leeside_protocol.video import rtcp
from leeside_protocol.video.formats import AUDIO_HZ, LAYERS, OPUS, RED, VIDEO_HZ, VP8, MediaKind
from leeside_protocol.video.frames import is_sealed
from leeside_protocol.video.rtp import ahead16, begins_key_frame
from leeside_server.video.seal import MISSES, PLAIN, TURN_BYTES, Packet, SealGate
from leeside_server.video.ways import NOTHING, Ways
from leeside_server.video.ways import PLAIN as PLAIN_WAYS

if TYPE_CHECKING:
    from leeside_server.video.slot import Slot

CACHE_PACKETS: Final = {MediaKind.AUDIO: 256, MediaKind.VIDEO: 1_024}
"""The newest packets of a layer, kept for who asks again. Powers of two."""
RETRY_S: Final = 0.060
RETRIES: Final = 10
REORDER_S: Final = 0.010
"""A packet this late is not lost yet."""
ASK_GAP: Final = 500
"""More lost in a row than this are not asked for: a key frame says it in fewer."""
MISSING: Final = 1_000
BEFORE_FIRST: Final = 64
"""A stream's first packet may be overtaken by so many."""
KEY_THROTTLE_S: Final = 0.340
"""Browsers heed one request in 300 ms; two that leave so far apart may come nearer."""
KEY_REPEAT_S: Final = 0.500
FORGET_S: Final = 2.0
"""When nobody has seen a layer for this long, nobody will ask for what they lost of it."""
SILENT_S: Final = 1.0
"""A layer of which nothing came for this long is not sent any more."""
VIOLATION_REPEAT_S: Final = 1.0
RATE_S: Final = 0.5

_PAYLOAD_TYPES: Final = {MediaKind.AUDIO: (OPUS, RED), MediaKind.VIDEO: (VP8,)}


class Layer:
    """One stream of a track. `rid` and `lines` are its simulcast name and height ("" and 0: it is the only one)."""

    def __init__(self, track: Track, ssrc: int, rid: str) -> None:
        self.track = track
        self.ssrc = ssrc
        self.rid = rid
        self.lines = LAYERS.get(rid, 0)
        self.began_s = 0.0
        self.alive = False
        self.bps = 0.0
        """What arrives of it, smoothed; 0 when it is not sent."""
        self._video = track.kind is MediaKind.VIDEO
        self.gate = SealGate(track.ways)
        self.state, self._shelf, self.flowing = track.ways.stream(
            track.hz, track.types, CACHE_PACKETS[track.kind], self.gate.state if self._video else None
        )
        self._waiting: list[Slot] = []
        self.sender: rtcp.SenderInfo | None = None
        self.lost = self.recovered = self.asked = self.keys_asked = self.unsealed = 0

        self._told_s = -VIOLATION_REPEAT_S
        self._seen_s = 0.0
        self._first = 0
        self._skipped = 0
        self._missing: dict[int, int] = {}
        """How often each packet was asked for that is lost and may still come."""
        self._fresh: deque[tuple[float, int]] = deque(maxlen=MISSING)
        self._again: deque[tuple[float, int]] = deque(maxlen=MISSING)
        """(when it is due, which packet), rising: who looks for what is due touches nothing else, however much is lost."""
        self._before = (0, 0)
        self._rated = (0, 0.0)
        self._sender_s = 0.0
        self._key_asked_s = -KEY_REPEAT_S
        self._key_wanted = False

    def receive(
        self,
        sequence: int,
        marker_type: int,
        timestamp: int,
        orientation: int,
        payload: bytearray | bytes,
        now_s: float,
        repaired: bool = False,
    ) -> None:
        """A packet of this stream; `repaired`: it came on the stream for packets sent again. (Most of those that come in order
        take the fast way, where there is one: what is changed here is to be changed in `intake.c`.)"""
        if marker_type & 0x7F not in self.track.types:
            return
        state = self.state
        newest = state.newest
        if newest < 0:
            at = sequence + 0x1_0000  # So that what was overtaken stays positive.
            self._first = state.newest = at
        else:
            at = newest + ahead16(sequence, newest)
            if at > newest:
                if at > newest + 1:
                    self._miss(newest + 1, at, now_s)
                state.newest = at
            elif self._missing.pop(at, None) is not None:
                self.recovered += 1
            elif self._first - BEFORE_FIRST <= at < self._first:
                self._miss(at + 1, self._first, now_s)
                self._first = at
            else:
                return  # It came before, or nobody waits for it any more.
        state.octets += len(payload)
        state.heard_s = now_s
        if not repaired:
            state.came += 1
            if timestamp != state.timestamp:
                self._measure(timestamp, now_s)
        packet = Packet(at, marker_type, timestamp, orientation, payload)
        if not payload:
            self._forward(packet, now_s)
        elif not self._video:
            if is_sealed(payload):
                state.sound_misses = 0
                self._forward(packet, now_s)
            else:
                state.sound_misses += 1
                self._violate(state.sound_misses, now_s)
        else:
            gate = self.gate
            misses = gate.state.misses
            for admitted in gate.admit(
                packet, payload[0] & 0x17 == 0x10 and begins_key_frame(payload), now_s
            ):
                self._forward(admitted, now_s)
            if gate.state.misses > misses:
                # What was passed on of it is neither sent again nor from a receiver's pacer.
                self._shelf.empty(timestamp)
                self._violate(gate.state.misses, now_s)

    def _forward(self, packet: Packet, now_s: float) -> None:
        if not self.flowing.slots and not self._waiting:
            return  # Nobody sees it, so nobody can have lost it.
        self._shelf.put(packet)
        started: list[Slot] | None = None
        if self._waiting and packet.first == PLAIN and (not self._video or _begins_key(packet)):
            started = self._waiting
            self._let_wait([])
            self._key_wanted = False
            for slot in started:
                slot.start(self, packet, now_s)
        self.flowing.forward(packet, now_s)
        if started is not None:
            self._catch_up(started, packet.at + 1, now_s)

    def _catch_up(self, started: list[Slot], begin: int, now_s: float) -> None:
        """A key frame's first packet was lost and came again: what was passed on behind it follows."""
        for at in range(begin, min(self.state.newest + 1, begin + CACHE_PACKETS[self.track.kind])):
            if (kept := self.kept(at)) is not None:
                for slot in started:
                    slot.forward(kept, now_s)

    @property
    def held(self) -> int:
        """Packets that wait for the trailer of their frame."""
        return self.gate.held

    def kept(self, at: int) -> Packet | None:
        """A packet that was passed on, by its unwrapped sequence number, while it is kept."""
        return self._shelf.at(at)

    # ---- who waits for it

    @property
    def waiting(self) -> Sequence[Slot]:
        """The slots that show it from its next key frame on (sound: from its next packet)."""
        return self._waiting

    def await_key(self, slot: Slot) -> None:
        """Let this slot wait."""
        self._let_wait([*self._waiting, slot])

    def leave(self, slot: Slot) -> None:
        """It waits no more; nothing, where it did not."""
        if slot in self._waiting:
            self._let_wait([each for each in self._waiting if each is not slot])

    def _let_wait(self, slots: list[Slot]) -> None:
        self._waiting = slots
        self.state.waits = len(slots)

    # ---- what is lost

    def _miss(self, begin: int, end: int, now_s: float) -> None:
        self.track.restless = True
        if end - begin > ASK_GAP:
            self._skipped += end - begin  # The sender jumped: nothing was lost.
            self._missing.clear()
            self._fresh.clear()
            self._again.clear()
            if self._video and self.flowing.slots:
                self.ask_key(now_s)
            return
        missing = self._missing
        due_s = now_s + REORDER_S
        for at in range(begin, end):
            missing[at] = 0
            self._fresh.append((due_s, at))
        while len(missing) > MISSING:
            del missing[next(iter(missing))]

    @property
    def misses(self) -> bool:
        """Whether anything is lost that may still come."""
        return bool(self._missing)

    def asks(self, now_s: float, room: int) -> list[int]:
        """What is to be asked for now, rising, `room` packets at most; each is asked for every 60 ms, ten times."""
        missing, again = self._missing, self._again
        due: list[int] = []
        given_up = False
        for waiting in (self._fresh, again):
            while waiting and waiting[0][0] <= now_s and len(due) < room:
                _, at = waiting.popleft()
                tries = missing.get(at)
                if tries is None:
                    continue  # It came.
                if tries < RETRIES:
                    missing[at] = tries + 1
                    again.append((now_s + RETRY_S, at))
                    due.append(at)
                else:
                    del missing[at]
                    self.lost += 1
                    given_up = True
        if given_up and self._video and self.flowing.slots:
            self.ask_key(now_s)
        self.asked += len(due)
        due.sort()
        return due

    def give_up(self, now_s: float) -> None:
        """Ask for nothing of what is lost: it came here, and nobody had time to read it."""
        if not self._missing:
            return
        self.lost += len(self._missing)
        self._missing.clear()
        self._fresh.clear()
        self._again.clear()
        if self._video and self.flowing.slots:
            self.ask_key(now_s)

    def ask_key(self, now_s: float) -> None:
        """A key frame, please: at once, or when the throttle allows it. That is the track's: browsers answer with a key frame
        of every size."""
        track = self.track
        if now_s - track.key_asked_s < KEY_THROTTLE_S:
            self._key_wanted = track.restless = True
            return
        self._key_wanted = False
        self._key_asked_s = track.key_asked_s = now_s
        self.keys_asked += 1
        self.track.send_rtcp(rtcp.write_pli(self.ssrc))

    # ---- what is due, and what is told

    def due(self, now_s: float) -> None:
        """Ask again for the key frame that somebody waits for; notice that the stream stopped or began."""
        if self._key_wanted or (self._video and self._waiting and now_s - self._key_asked_s >= KEY_REPEAT_S):
            self.ask_key(now_s)
        if self.flowing.slots or self._waiting:
            self._seen_s = now_s
        elif self._seen_s > 0 and now_s - self._seen_s > FORGET_S:
            self._seen_s = 0.0
            self._shelf.clear()
        state = self.state
        octets, since_s = self._rated
        if now_s - since_s >= RATE_S:
            rate = (state.octets - octets) * 8 / (now_s - since_s)
            self.bps = 0.0 if not rate else rate if not self.bps else (self.bps + rate) / 2
            self._rated = (state.octets, now_s)
        alive = state.newest >= 0 and now_s - state.heard_s < SILENT_S
        if alive != self.alive:
            self.alive = alive
            self.track.changed(self, now_s)

    @property
    def restless(self) -> bool:
        """Whether anything may be due with the next tick: it misses packets, or a key frame is to be asked for."""
        return bool(self._missing) or self._key_wanted

    def rated_from(self, now_s: float) -> None:
        """Its rate is what comes from now on, over the time from now on."""
        self._rated = (self.state.octets, now_s)

    @property
    def jitter_s(self) -> float:
        """How unevenly its packets come."""
        return self.state.jitter / self.track.hz

    @property
    def came(self) -> int:
        """How many packets there were at once, without repairs."""
        return self.state.came

    @property
    def expected(self) -> int:
        """How many packets it should have had until now."""
        newest = self.state.newest
        return 0 if newest < 0 else newest - self._first + 1 - self._skipped

    def report(self, now_s: float) -> rtcp.ReportBlock | None:
        """How this stream arrives, since the report before (RFC 3550, A.3)."""
        state = self.state
        if state.newest < 0:
            return None
        expected, came = self.expected, state.came
        before_expected, before_came = self._before
        self._before = (expected, came)
        interval = expected - before_expected
        lost = interval - (came - before_came)
        fraction = min(255, (lost << 8) // interval) if interval > 0 and lost > 0 else 0
        last_report = delay = 0
        if self.sender is not None:
            last_report = rtcp.middle(self.sender.ntp)
            delay = round((now_s - self._sender_s) * 65_536)
        highest = state.newest - 0x1_0000
        return rtcp.ReportBlock(
            self.ssrc, fraction, expected - came, highest, int(state.jitter), last_report, delay
        )

    def sender_report(self, info: rtcp.SenderInfo, now_s: float) -> None:
        """The publisher's clock: passed on to everybody who sees this layer."""
        self.sender = info
        self._sender_s = now_s
        for slot in self.flowing.slots:
            slot.report(info, now_s)

    def _measure(self, timestamp: int, now_s: float) -> None:
        """Jitter (RFC 3550, A.8), by the first packet of each frame."""
        state = self.state
        transit = now_s * self.track.hz - timestamp
        if state.timestamp != NOTHING:
            difference = abs(transit - state.transit)
            if difference < 5 * self.track.hz:
                state.jitter += (difference - state.jitter) / 16
        state.timestamp = timestamp
        state.transit = transit

    def _violate(self, misses: int, now_s: float) -> None:
        """A frame was not sealed, and was dropped. The pictures after it need a key frame, sealed again."""
        self.unsealed += 1
        if self._video:
            stopped = self.flowing.clear()
            for slot in stopped:
                slot.lose_key()
            self._let_wait([*self._waiting, *stopped])
        if misses >= MISSES and now_s - self._told_s >= VIOLATION_REPEAT_S:
            self._told_s = now_s
            self.track.on_unsealed(self.track)


class Track:
    """A microphone or a camera of one peer, and the slots of the others that show it."""

    def __init__(
        self,
        kind: MediaKind,
        mid: str,
        send_rtcp: Callable[[bytes], None],
        on_layer: Callable[[Track, Layer], None],
        on_unsealed: Callable[[Track], None],
        ways: Ways = PLAIN_WAYS,
    ) -> None:
        self.kind = kind
        self.mid = mid
        self.types = _PAYLOAD_TYPES[kind]
        self.hz = VIDEO_HZ if kind is MediaKind.VIDEO else AUDIO_HZ
        self.send_rtcp = send_rtcp
        self.on_unsealed = on_unsealed
        self.ways = ways
        self.layers: dict[str, Layer] = {}
        """By simulcast name; "" for a stream without one."""
        self.slots: dict[Slot, None] = {}
        self.key_asked_s = -KEY_REPEAT_S
        """Of any of its layers, the last time."""
        self.restless = True
        """See `Uplink.restless`."""
        self._on_layer = on_layer

    def add(self, ssrc: int, rid: str, now_s: float) -> Layer:
        """A stream of this track was seen for the first time, or begins anew under another SSRC."""
        layer = self.layers[rid] = Layer(self, ssrc, rid)
        self.restless = True
        layer.began_s = now_s
        layer.rated_from(now_s)
        self.changed(layer, now_s)
        return layer

    def changed(self, layer: Layer, now_s: float) -> None:
        """A layer began or stopped: every slot looks again for what it wants, and the room is told."""
        for slot in list(self.slots):
            slot.choose(now_s)
        self._on_layer(self, layer)

    def pick(self, lines: int) -> Layer | None:
        """The largest living layer of at most this many lines, else the smallest living one, else any."""
        layers = [layer for layer in self.layers.values() if layer.alive] or list(self.layers.values())
        fitting = [layer for layer in layers if layer.lines <= lines]
        if fitting:
            return max(fitting, key=_lines)
        return min(layers, key=_lines, default=None)


def _begins_key(packet: Packet) -> bool:
    return begins_key_frame(memoryview(packet.body)[TURN_BYTES:])


def _lines(layer: Layer) -> int:
    return layer.lines
