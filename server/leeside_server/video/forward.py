"""The two directions of one peer: `Uplink` takes what it publishes, `Downlink` answers for what it is sent.

Pure: packets in (after SRTP), packets out through an `Outlet`, the time as an argument. The worker calls `due` every 20
ms. Each peer is bounded here: packets, streams and requests in a second. A packet that cannot be read, or on which
something of ours breaks, costs that packet alone, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from leeside_protocol.video import rtcp
from leeside_protocol.video.formats import (
    DOWN_MIDS,
    EXT_MID,
    EXT_REPAIRED_RID,
    EXT_RID,
    LAYERS,
    RTX_OF,
    UP_AUDIO_MID,
    UP_VIDEO_MID,
    MediaKind,
)
from leeside_protocol.video.rtp import RtpHeader
from leeside_protocol.video.twcc import Arrivals
from leeside_server.video.layer import Layer, Track
from leeside_server.video.pacer import Pacer
from leeside_server.video.slot import Held, Outlet, Slot
from leeside_server.video.ways import PACKETS_A_SECOND, PLAIN, STREAMS, LinkState, Ways

CONTROL_PER_S: Final = 400
"""RTCP compounds of one peer; browsers send below 100."""
NACKS_PER_S: Final = 200
RESENT_PER_S: Final = 600
"""Packets sent again to one peer: a storm of requests costs no more than this."""
ASKED_PER_S: Final = 1_000
"""Packets asked for again of one peer."""
RENEWAL_S: Final = 1.0
"""A stream may begin anew under another SSRC this often."""
REPORT_S: Final = 0.5
TWCC_S: Final = 0.1
TWCC_PACKETS: Final = 100

_ORIGINAL_OF: Final = {repair: original for original, repair in RTX_OF.items()}


class Allowance:
    """So many a second, by whole seconds."""

    __slots__ = ("_began_s", "_left", "_per_s")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._began_s = float("-inf")
        self._left = per_s

    def room(self, now_s: float) -> int:
        """How many more there may be in this second."""
        if now_s - self._began_s >= 1.0:
            self._began_s = now_s
            self._left = self._per_s
        return self._left

    def take(self, now_s: float, count: int = 1) -> bool:
        """Whether there is room for `count`; takes it."""
        # As `room`, without another call for every packet.
        if now_s - self._began_s >= 1.0:
            self._began_s = now_s
            self._left = self._per_s
        if self._left < count:
            return False
        self._left -= count
        return True


class Uplink:
    """What one peer publishes. `tracks`: its microphone and camera by mid; slots attach to them.

    `on_layer(track, layer)`: a layer began, stopped or came back (`layer.alive`). `on_unsealed(track)`: three frames in
    a row were not sealed; told once a second while it lasts. Neither may call back into this peer's `receive_rtp`.
    """

    def __init__(
        self,
        outlet: Outlet,
        on_layer: Callable[[Track, Layer], None],
        on_unsealed: Callable[[Track], None],
        ways: Ways = PLAIN,
    ) -> None:
        self.tracks = {
            mid: Track(kind, mid, outlet.send_rtcp, on_layer, on_unsealed, ways)
            for kind, mid in ((MediaKind.AUDIO, UP_AUDIO_MID), (MediaKind.VIDEO, UP_VIDEO_MID))
        }
        self.refused = self.over = self.faults = 0
        """Packets not read or of no stream; beyond the bounds; and lost to a fault of ours (which has to be 0)."""
        self._outlet = outlet
        self._head = RtpHeader()
        self._streams: dict[int, tuple[Layer, bool]] = {}
        self._asked_left = Allowance(ASKED_PER_S)
        self._ways = ways
        self.arrivals = Arrivals(ways.arrivals)
        self.state: Final = ways.uplink(self.arrivals.state)
        self._told_s = self._reported_s = 0.0

    @property
    def packets(self) -> int:
        """How many it sent that were within the bounds."""
        return self.state.packets

    @property
    def layers(self) -> list[Layer]:
        """All that it publishes, in any size."""
        return [layer for track in self.tracks.values() for layer in track.layers.values()]

    # ---- RTP

    def receive_rtp(self, buffer: bytearray, length: int, now_s: float) -> None:
        """A packet in `buffer[:length]`, after SRTP. `now_s`: when *it* arrived (the estimate of the link rests on it)."""
        try:
            if not self._ways.take(self.state, buffer, length, now_s) and self._is_allowed(now_s):
                self._receive(buffer, length, now_s)
        except Exception:  # noqa: BLE001 - one packet must not cost a call
            self.faults += 1

    def _is_allowed(self, now_s: float) -> bool:
        state = self.state
        if now_s - state.began_s >= 1.0:
            state.began_s = now_s
            state.left = PACKETS_A_SECOND
        if state.left < 1:
            self.over += 1
            return False
        state.left -= 1
        state.packets += 1
        return True

    def _receive(self, buffer: bytearray, length: int, now_s: float) -> None:
        head = self._head
        if not head.read(buffer, length):
            self.refused += 1
            return
        if head.transport_seq >= 0:
            self.arrivals.add(head.transport_seq, now_s)
        stream = self._streams.get(head.ssrc)
        if stream is None:
            stream = self._learn(buffer, now_s)
            if stream is None:
                self.refused += 1
                return
        layer, repair = stream
        start, end = head.start, head.end
        sequence, marker_type = head.sequence, head.marker_type
        if repair:
            if end - start <= 2:
                return  # Padding, which measures the link.
            original = _ORIGINAL_OF.get(marker_type & 0x7F)
            if original is None:
                self.refused += 1
                return
            marker_type = marker_type & 0x80 | original
            sequence = buffer[start] << 8 | buffer[start + 1]
            start += 2
        layer.receive(
            sequence, marker_type, head.timestamp, head.orientation, buffer[start:end], now_s, repair
        )

    def bind(self, mid: str, ssrc: int, repair_ssrc: int | None, now_s: float) -> None:
        """What the answer says of a track without simulcast: its streams, before their first packet."""
        track = self.tracks.get(mid)
        if track is not None:
            layer = self._layer(track, ssrc, "", now_s)
            if layer is not None and repair_ssrc is not None:
                self._add(repair_ssrc, layer, repair=True)

    def _learn(self, buffer: bytearray, now_s: float) -> tuple[Layer, bool] | None:
        """Whose stream a new SSRC is: its first packets say their m-line, and their layer (RFC 9429, RFC 8853)."""
        head = self._head
        track = self.tracks.get(_text(head.extension(buffer, EXT_MID)))
        if track is None:
            return None
        if head.payload_type in _ORIGINAL_OF:
            rid = _text(head.extension(buffer, EXT_REPAIRED_RID))
            layer = track.layers.get(rid)
            return None if layer is None else self._add(head.ssrc, layer, repair=True)
        rid = _text(head.extension(buffer, EXT_RID))
        if (
            rid and (rid not in LAYERS or track.kind is MediaKind.AUDIO)
        ) or head.payload_type not in track.types:
            return None
        layer = self._layer(track, head.ssrc, rid, now_s)
        return None if layer is None else (layer, False)

    def _layer(self, track: Track, ssrc: int, rid: str, now_s: float) -> Layer | None:
        before = track.layers.get(rid)
        if before is not None:
            if before.ssrc == ssrc:
                return before
            if now_s - before.began_s < RENEWAL_S:
                return None
            for known, (layer, _) in list(self._streams.items()):
                if layer is before:
                    del self._streams[known]
            self._tell_streams()
        if len(self._streams) >= STREAMS or ssrc in self._streams:
            return None
        layer = track.add(ssrc, rid, now_s)
        self._add(ssrc, layer, repair=False)
        return layer

    def _add(self, ssrc: int, layer: Layer, *, repair: bool) -> tuple[Layer, bool] | None:
        if repair:
            for known, (other, repairs) in list(self._streams.items()):
                if repairs and other is layer:
                    del self._streams[known]
        if len(self._streams) >= STREAMS or ssrc in self._streams:
            return None
        stream = self._streams[ssrc] = (layer, repair)
        self._tell_streams()
        return stream

    def _tell_streams(self) -> None:
        streams = self._streams.items()
        self._ways.streams(self.state, {ssrc: layer for ssrc, (layer, repair) in streams if not repair})

    # ---- RTCP

    def clock(self, info: rtcp.SenderInfo, now_s: float) -> None:
        """A sender report of the publisher: how the clock of one of its streams goes."""
        stream = self._streams.get(info.ssrc)
        if stream is not None and not stream[1]:
            stream[0].sender_report(info, now_s)

    @property
    def restless(self) -> bool:
        """Whether `due` is to be called with every tick: something is lost that may still come, a key frame is to be asked for,
        or a stream has just begun. Else every 100 ms will do."""
        return any(track.restless for track in self.tracks.values())

    def due(self, now_s: float, *, behind: bool = False) -> None:
        """What is to be said to the publisher now: call it every 20 ms, or less often (`restless`), while the peer is ready.
        `behind`: packets are lost here, not on their way; asking for each of them ten times would be work for who has too much."""
        for track in self.tracks.values():
            restless = False
            for layer in track.layers.values():
                layer.due(now_s)
                if layer.misses:
                    self._miss(layer, now_s, behind=behind)
                restless = restless or layer.restless
            track.restless = restless
        waiting = len(self.arrivals)
        if waiting and (waiting >= TWCC_PACKETS or now_s - self._told_s >= TWCC_S):
            self._told_s = now_s
            layers = self.layers
            for report in self.arrivals.reports(layers[0].ssrc if layers else 0):
                self._outlet.send_rtcp(report)
        if now_s - self._reported_s >= REPORT_S and (layers := self.layers):
            self._reported_s = now_s
            blocks = [block for layer in layers if (block := layer.report(now_s)) is not None]
            if blocks:
                self._outlet.send_rtcp(rtcp.write_receiver_report(blocks))

    def _miss(self, layer: Layer, now_s: float, *, behind: bool) -> None:
        if behind:
            layer.give_up(now_s)
            return
        lost = layer.asks(now_s, self._asked_left.room(now_s))
        self._asked_left.take(now_s, len(lost))
        for nack in rtcp.write_nacks(layer.ssrc, lost):
            self._outlet.send_rtcp(nack)

    def close(self) -> None:
        """The peer is gone: every slot that showed it is empty."""
        for track in self.tracks.values():
            for slot in list(track.slots):
                slot.detach()


class Downlink:
    """What one peer is sent: its slots, by mid. `on_twcc(data, part, now_s)`: its receiver's report for the estimate; false: it
    cannot be read.
    `on_clock(info, now_s)`: how the clock of something goes that this peer publishes, for its `Uplink`.

    `pacer`: spreads bursts of pictures; without one everything leaves at once. `link`: the state of its link (`Bandwidth.link`).

    `ssrcs`: two for each of `DOWN_MIDS`, in order (the second of a picture repairs it); chosen at random by the worker,
    and written into the offer.
    """

    def __init__(
        self,
        outlet: Outlet,
        out: bytearray,
        ssrcs: Iterable[int],
        on_twcc: Callable[[bytes, rtcp.Part, float], bool],
        on_clock: Callable[[rtcp.SenderInfo, float], None],
        pacer: Pacer[Held] | None = None,
        link: LinkState | None = None,
        ways: Ways = PLAIN,
    ) -> None:
        numbers = iter(ssrcs)
        self.slots: dict[str, Slot] = {}
        for place, mid in enumerate(DOWN_MIDS):
            kind = MediaKind(place % 2)
            cname = f"seat{place // 2}".encode()
            self.slots[mid] = Slot(
                outlet, out, kind, mid, next(numbers), next(numbers), cname, pacer, link, ways
            )
        self.refused = self.over = self.faults = 0
        self._by_ssrc = {slot.ssrc: slot for slot in self.slots.values()}
        self._on_twcc = on_twcc
        self._on_clock = on_clock
        self._pacer = pacer
        self._control_left = Allowance(CONTROL_PER_S)
        self._nacks_left = Allowance(NACKS_PER_S)
        self._resent_left = Allowance(RESENT_PER_S)

    @property
    def rtt_s(self) -> float | None:
        """There and back, by the slots' newest reports; None before the first."""
        times = [slot.rtt_s for slot in self.slots.values() if slot.rtt_s is not None]
        return min(times, default=None)

    @property
    def loss(self) -> float:
        """The worst slot's loss by the receiver's last report: 0 to 1."""
        return max(slot.loss for slot in self.slots.values())

    def due(self, now_s: float) -> None:
        """Send what waited and may leave now: call it every few milliseconds while `waits`."""
        pacer = self._pacer
        if pacer is None:
            return
        for held in pacer.due(now_s):
            held.send()
        if not pacer.held_bytes:
            for slot in self.slots.values():
                if slot.stalled:
                    slot.begin_anew(now_s)

    @property
    def waits(self) -> bool:
        """Whether packets wait for `due`."""
        return self._pacer is not None and self._pacer.waits

    @property
    def dropped(self) -> int:
        """Packets that waited too long, or were too many to wait."""
        return 0 if self._pacer is None else self._pacer.dropped

    def pad(self) -> int:
        """Send one packet of padding beside a picture that is shown or will be; its bytes, or 0 when there is none."""
        for slot in self.slots.values():
            if slot.track is not None and (size := slot.pad()):
                return size
        return 0

    def receive_rtcp(self, data: bytes, now_s: float) -> None:
        """A compound, after SRTCP: reports, and requests for packets and key frames. All that a peer says comes here."""
        if not self._control_left.take(now_s):
            self.over += 1
            return
        try:
            parts = rtcp.compound(data)
            if parts is None:
                self.refused += 1
                return
            for part in parts:
                self._take(data, part, now_s)
        except Exception:  # noqa: BLE001 - one packet must not cost a call
            self.faults += 1

    def _take(self, data: bytes, part: rtcp.Part, now_s: float) -> None:
        if part.kind == rtcp.TRANSPORT_FEEDBACK:
            if part.variant == rtcp.TWCC:
                if not self._on_twcc(data, part, now_s):
                    self.refused += 1
            elif part.variant == rtcp.NACK:
                self._resend(data, part, now_s)
        elif part.kind in (rtcp.SENDER_REPORT, rtcp.RECEIVER_REPORT):
            if part.kind == rtcp.SENDER_REPORT and (info := rtcp.read_sender(data, part)) is not None:
                self._on_clock(info, now_s)
            for block in rtcp.read_blocks(data, part):
                if slot := self._by_ssrc.get(block.ssrc):
                    slot.received(block, now_s)
        elif part.kind == rtcp.PAYLOAD_FEEDBACK:
            for ssrc in rtcp.read_picture_requests(data, part):
                if slot := self._by_ssrc.get(ssrc):
                    slot.ask_key(now_s)

    def _resend(self, data: bytes, part: rtcp.Part, now_s: float) -> None:
        if not self._nacks_left.take(now_s):
            self.over += 1
            return
        nack = rtcp.read_nack(data, part)
        slot = self._by_ssrc.get(nack[0]) if nack is not None else None
        if nack is None or slot is None:
            self.refused += 1
            return
        for number in nack[1]:
            if not self._resent_left.take(now_s):
                self.over += 1
                return
            slot.resend(number, now_s)

    def close(self) -> None:
        """The peer is gone: nothing is sent to it any more."""
        for slot in self.slots.values():
            slot.detach()


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("ascii", "replace")
