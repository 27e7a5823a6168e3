"""A receiver's place for somebody's picture or sound: one m-line of its offer, fed by at most one track at a time.

What a slot sends is one stream of its own, whatever is behind it: its sequence numbers and timestamps go on without a
step when the layer or the person changes. Of a publisher's header only marker, payload type and orientation pass.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from leeside_protocol.video import rtcp
from leeside_protocol.video.formats import (
    AUDIO_HZ,
    EXT_MID,
    EXT_TRANSPORT_SEQ,
    RTX_OF,
    VIDEO_HZ,
    VP8_RTX,
    MediaKind,
)
from leeside_protocol.video.rtp import ahead16, ahead32
from leeside_protocol.video.signalling import PausedWhy
from leeside_server.video.layer import Layer, Track
from leeside_server.video.pacer import Pacer, Urgency
from leeside_server.video.pictures import (
    LEVELS,
    NO_NUMBERS,
    PICTURES,
    Numbers,
    place_numbers,
    read_numbers,
    shift_numbers,
)
from leeside_server.video.seal import PADDED, PLAIN, TURN_BYTES, Packet
from leeside_server.video.ways import PLAIN as PLAIN_WAYS
from leeside_server.video.ways import LinkState, Ways

ALL_LINES: Final = 4_320
HISTORY: Final = 8
"""Layer changes that are remembered, for packets asked for again from before them."""
PADDING_BYTES: Final = 255
NEVER: Final = 1 << 62
STEP_S: Final = 10.0
"""Publishers' clocks that lead further than this from what was sent are not believed."""
REPORTS: Final = 8
LOOK_BACK: Final = 8
"""Packets looked through for the picture sent last: the newest may be padding, or lost."""

HEAD_BYTES: Final = 21
"""Fixed header, extension head, mid, transport sequence. The extension ends with the first bytes of `Packet.body`."""
_OVERHEAD_BYTES: Final = HEAD_BYTES + TURN_BYTES
_head: Final = struct.Struct("!BBHLL7sH")
_pack_head: Final = _head.pack_into
_pack_number: Final = struct.Struct("!H").pack_into
_PADDING: Final = bytes(TURN_BYTES + PADDING_BYTES - 1) + bytes([PADDING_BYTES])


class Outlet(Protocol):
    """A receiving peer, as the plane sees it. What is called here never calls back into the plane."""

    @property
    def ready(self) -> bool:
        """Whether packets can be protected and sent now; what comes while they cannot is not kept."""
        ...

    def next_seq(self) -> int:
        """The next number (16 bits) of this peer's transport; a packet follows with it."""
        ...

    def send_rtp(self, length: int, transport_seq: int | None) -> None:
        """Protect and send what stands in the shared out buffer; remember its size and time for the estimate. None: no word of
        it is to be expected, since SRTP lets a packet that the receiver has already go no further."""
        ...

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send a compound."""
        ...

    def held(self) -> None:
        """A packet waits for its time: call `Downlink.due` every few milliseconds while it `waits`."""
        ...


class SlotState(IntEnum):
    """What a slot does. SWITCHING: it shows a layer while it waits for another's key frame."""

    EMPTY = 0
    WAIT_KEY = 1
    FLOW = 2
    SWITCHING = 3
    PAUSED = 4


class Period(NamedTuple):
    """While a slot showed one layer without a pause: its numbers from `first` on are the layer's with `shift` added, and so
    are the timestamps and the two numbers of its pictures."""

    first: int
    shift: int
    timestamp_shift: int
    layer: Layer
    pictures: int = 0
    levels: int = 0


class Held(NamedTuple):
    """A packet that waits in a receiver's pacer, with the place it has in its slot's stream."""

    slot: Slot
    packet: Packet
    number: int
    timestamp: int
    repairs: bool

    def send(self) -> None:
        """Its time has come."""
        if self.repairs:
            self.slot.send_repair(self.packet, self.number, self.timestamp)
        else:
            self.slot.send(self.packet, self.number, self.timestamp)


class Slot:
    """One m-line towards a receiver. `out` is shared by all slots of a worker: 2,048 bytes, sent before the next use."""

    def __init__(
        self,
        outlet: Outlet,
        out: bytearray,
        kind: MediaKind,
        mid: str,
        ssrc: int,
        repair_ssrc: int,
        cname: bytes,
        pacer: Pacer[Held] | None = None,
        link: LinkState | None = None,
        ways: Ways = PLAIN_WAYS,
    ) -> None:
        self.kind = kind
        self.mid = mid
        self.ssrc = ssrc
        self.repair_ssrc = repair_ssrc
        self.track: Track | None = None
        self.layer: Layer | None = None
        """What is shown now, and while paused or waiting None."""
        self.pending: Layer | None = None
        self.lines = ALL_LINES
        self.why = PausedWhy.FLOWING
        self.resent = self.keys_asked = 0
        self.rtt_s: float | None = None
        self.loss = 0.0
        """Of what was sent, by the receiver's last report: 0 to 1."""

        self._outlet = outlet
        self._next_seq = outlet.next_seq
        self._send_rtp = outlet.send_rtp
        self._out = out
        self._pacer = pacer
        self._repairs = kind is MediaKind.VIDEO
        """It has a repair stream (RFC 4588); sound is sent again as it was."""
        self._urgency = Urgency.VIDEO if self._repairs else Urgency.AUDIO
        self._cname = cname
        self._hz = VIDEO_HZ if kind is MediaKind.VIDEO else AUDIO_HZ
        self._prefix = struct.pack("!HHBBB", 0xBEDE, 2, EXT_MID << 4, ord(mid), EXT_TRANSPORT_SEQ << 4 | 1)
        # A stream that begins at a small number cannot wrap before the receiver's SRTP has heard of it.
        self.line: Final = ways.line(link or LinkState(), ssrc, self._prefix, paced=self._repairs)
        self._began = 0
        self._repair_newest = 0
        self._history: deque[Period] = deque(maxlen=HISTORY)
        self._numbers = NO_NUMBERS
        """Of the picture sent last, before the layer that sent it was left."""
        self._reports: dict[int, float] = {}

    @property
    def state(self) -> SlotState:
        """Derived, so that it cannot lie."""
        if self.track is None:
            return SlotState.EMPTY
        if self.why is not PausedWhy.FLOWING:
            return SlotState.PAUSED
        if self.layer is None:
            return SlotState.WAIT_KEY
        return SlotState.FLOW if self.pending is None else SlotState.SWITCHING

    # ---- what it shows

    def attach(self, track: Track, now_s: float) -> None:
        """Show this track from its next key frame on (sound: from its next packet)."""
        if track.kind is not self.kind:
            raise ValueError("sound and picture have slots of their own")
        self.detach()
        self.track = track
        track.slots[self] = None
        self.choose(now_s)

    def detach(self) -> None:
        """Show nothing."""
        self._leave()
        if self.track is not None:
            self.track.slots.pop(self, None)
        self.track = None
        self._history.clear()  # It would keep what somebody sent who may be gone.
        self.why = PausedWhy.FLOWING

    def want(self, lines: int, now_s: float) -> None:
        """Show the largest layer of at most `lines`, from its next key frame on; until then what is shown goes on."""
        self.lines = lines
        self.choose(now_s)

    def pause(self, why: PausedWhy) -> None:
        """Send nothing until `resume`."""
        self._leave()
        self.why = why

    def resume(self, now_s: float) -> None:
        """Go on with the next key frame, which is asked for."""
        if self.why is not PausedWhy.FLOWING:
            self.why = PausedWhy.FLOWING
            self.choose(now_s)

    def choose(self, now_s: float) -> None:
        """Look again which layer fits; called when one begins or stops."""
        if self.track is None or self.why is not PausedWhy.FLOWING:
            return
        layer = self.track.pick(self.lines)
        current = self.layer
        if current is not None and current not in self.track.layers.values():
            self._leave()  # It began anew under another SSRC.
            current = None
        if layer is None or layer is self.pending:
            return
        if self.pending is not None:
            self.pending.leave(self)
        self.pending = None
        if layer is current:
            return
        self.pending = layer
        layer.await_key(self)
        if self.kind is MediaKind.VIDEO:
            layer.ask_key(now_s)

    def _leave(self) -> None:
        self._discard_held()
        self._remember()
        if self.layer is not None:
            self.layer.flowing.remove(self)
        if self.pending is not None:
            self.pending.leave(self)
        self.layer = self.pending = None

    def begin_anew(self, now_s: float) -> None:
        """Show the layer from its next key frame on: of what it has sent lately the receiver has lost too much."""
        if self.layer is None or self.why is not PausedWhy.FLOWING:
            return
        self._leave()
        self.choose(now_s)

    @property
    def stalled(self) -> bool:
        """Whether pictures are left out until `begin_anew`: they would come too late. What waits already still leaves."""
        return self.line.since == NEVER and self.layer is not None

    def lose_key(self) -> None:
        """The layer shown goes on only with its next key frame. The layer moves the slot from `flowing` to `waiting`."""
        self._remember()
        if self.pending is not None:
            self.pending.leave(self)
        self.pending = self.layer
        self.layer = None

    def start(self, layer: Layer, packet: Packet, now_s: float) -> None:
        """The layer's key frame begins with `packet`: from here on it is shown, without a step in what was sent."""
        shift = self._clock_shift(layer, packet.timestamp, now_s)
        self._discard_held()
        self._remember()
        if self.layer is not None:
            self.layer.flowing.remove(self)
        self.layer = layer
        self.pending = None
        layer.flowing.add(self)
        line = self.line
        line.since = self._began = packet.at
        line.shift = line.newest + 1 - packet.at
        line.timestamp_shift = shift
        line.pictures, line.levels = pictures, levels = self._picture_shifts(packet)
        self._history.append(Period(line.newest + 1, line.shift, shift, layer, pictures, levels))
        if layer.sender is not None:
            self.report(layer.sender, now_s)

    def _remember(self) -> None:
        """Which picture was sent last: the next layer's go on from there."""
        if not self._history or self.kind is not MediaKind.VIDEO:
            return
        period = self._history[-1]
        sent = self.line.sent
        for at in range(sent, max(period.first, sent - LOOK_BACK) - 1, -1):
            packet = period.layer.kept(at - period.shift)
            if packet is not None and packet.first == PLAIN:
                picture, level = read_numbers(packet.body, TURN_BYTES)
                self._numbers = Numbers(
                    -1 if picture < 0 else (picture + period.pictures) % PICTURES,
                    -1 if level < 0 else (level + period.levels) % LEVELS,
                )
                return

    def _picture_shifts(self, packet: Packet) -> tuple[int, int]:
        """What is added to the numbers of a layer's pictures that begin with this packet."""
        before = self._numbers
        if before == NO_NUMBERS:
            return 0, 0
        picture, level = read_numbers(packet.body, TURN_BYTES)
        return (
            0 if picture < 0 or before.picture < 0 else before.picture + 1 - picture,
            0 if level < 0 or before.level < 0 else before.level + 1 - level,
        )

    def _renumber(self, number: int, at: int, end: int) -> None:
        """Shift the numbers of the picture in the packet that is about to leave; its descriptor is at `at`."""
        for period in reversed(self._history):
            if number >= period.first:
                shift_numbers(self._out, at, end, period.pictures, period.levels)
                return

    def _discard_held(self) -> None:
        """What waits of the picture until now is of no use once another begins or it ends, and would only hold that up.
        Numbers beyond the highest that was ever sent are given again: to the receiver nothing is missing. None that was
        sent may be: SRTP would make two packets of one keystream."""
        if self._pacer is not None and self.kind is MediaKind.VIDEO:
            self._pacer.discard(lambda held: held.slot is self)
            self.line.newest = self.line.sent

    def _clock_shift(self, layer: Layer, timestamp: int, now_s: float) -> int:
        """What is added to the layer's timestamps (32 bits): by the publisher's clock between two layers of one picture, else
        by the time that passed here."""
        line = self.line
        if line.sent_s < 0:
            return -timestamp & 0xFFFF_FFFF
        before = self.layer
        if before is not None and before.track is layer.track and before.sender and layer.sender:
            old, new = before.sender, layer.sender
            between = ((new.ntp - old.ntp) * self._hz) >> 32
            shift = line.timestamp_shift + old.rtp - new.rtp + between
            step = ahead32(timestamp + shift, line.timestamp)
            if abs(step) < STEP_S * self._hz:
                return shift + max(0, 1 - step) & 0xFFFF_FFFF
        step = max(1, round((now_s - line.sent_s) * self._hz))
        return line.timestamp + step - timestamp & 0xFFFF_FFFF

    # ---- what it sends

    def forward(self, packet: Packet, now_s: float) -> None:
        """Send a packet of the layer shown. This is the path that every packet takes to every receiver, but where the fast way
        takes it (`fan.c`): what is changed here is to be changed there."""
        line = self.line
        at = packet.at
        if at < line.since:
            return
        number = at + line.shift
        timestamp = packet.timestamp + line.timestamp_shift & 0xFFFF_FFFF
        before = line.timestamp
        pacer = self._pacer
        size = HEAD_BYTES + len(packet.body)
        if number > line.newest:
            line.newest = number
            line.timestamp = timestamp
            line.sent_s = now_s
        elif number < line.sent and self._repairs and packet.first == PLAIN:
            # It was lost on its way here. As late as an original, it would teach browsers to wait before they ask for others.
            self._repair(packet, number, timestamp, now_s, Urgency.REPAIR)
            return
        if pacer is None or pacer.passes(self._urgency, size, now_s):
            self.send(packet, number, timestamp)
        elif timestamp != before and at != self._began and pacer.crowded:
            line.since = NEVER
        else:
            held = Held(self, packet, number, timestamp, repairs=False)
            self._hold(pacer, self._urgency, size, held, now_s)

    def send(self, packet: Packet, number: int, timestamp: int, *, copy: bool = False) -> None:
        """Write a packet with this (unwrapped) number and timestamp, and let it go. `copy`: it was sent before, as it is."""
        line = self.line
        if number > line.sent:  # noqa: PLR1730 - `max` would be a call for every packet
            line.sent = number
        out = self._out
        body = packet.body
        transport_seq = self._next_seq()
        _pack_head(
            out,
            0,
            packet.first,
            packet.marker_type,
            number & 0xFFFF,
            timestamp,
            self.ssrc,
            self._prefix,
            transport_seq,
        )
        end = HEAD_BYTES + len(body)
        out[HEAD_BYTES:end] = body
        if line.pictures or line.levels:
            placed = packet.placed
            if placed is None:
                placed = packet.placed = place_numbers(body, TURN_BYTES)
            if placed is None:
                shift_numbers(out, HEAD_BYTES + TURN_BYTES, end, line.pictures, line.levels)
            else:
                picture_at, picture, level_at, level = placed
                if picture_at:
                    _pack_number(out, HEAD_BYTES + picture_at, 0x8000 | picture + line.pictures & 0x7FFF)
                if level_at:
                    out[HEAD_BYTES + level_at] = level + line.levels & 0xFF
        line.packets += 1
        line.octets += end - _OVERHEAD_BYTES
        self._send_rtp(end, None if copy else transport_seq)

    def resend(self, number: int, now_s: float, *, asked: bool = True) -> bool:
        """Send a packet again that the receiver asked for (16 bits), if it is kept: a picture's on the repair stream
        (RFC 4588), sound as it was. What is from before a picture's newest beginning is not waited for: nothing that came
        since needs it. Not `asked`: it lets all others go first."""
        newest = self.line.newest
        at = newest + ahead16(number, newest)
        period = next((period for period in reversed(self._history) if at >= period.first), None)
        if period is None or at > newest:
            return False
        packet = period.layer.kept(at - period.shift)
        if packet is None or packet.first != PLAIN:
            return False
        timestamp = packet.timestamp + period.timestamp_shift & 0xFFFF_FFFF
        self.resent += 1
        if self._repairs:
            urgency = Urgency.REPAIR if asked else Urgency.COPY
            return self._repair(packet, at, timestamp, now_s, urgency, wait=period is self._history[-1])
        if self._pacer is not None:
            self._pacer.passes(Urgency.AUDIO, HEAD_BYTES + len(packet.body), now_s)
        self.send(packet, at, timestamp, copy=True)
        return True

    def _repair(
        self,
        packet: Packet,
        number: int,
        timestamp: int,
        now_s: float,
        urgency: Urgency,
        *,
        wait: bool = True,
    ) -> bool:
        """Send it on the repair stream, now or, where it may `wait`, with its turn; whether that comes."""
        pacer = self._pacer
        size = HEAD_BYTES + 2 + len(packet.body)
        if pacer is None or pacer.passes(urgency, size, now_s):
            self.send_repair(packet, number, timestamp)
            return True
        if not wait:
            return False
        held = Held(self, packet, number, timestamp, repairs=True)
        return self._hold(pacer, urgency, size, held, now_s)

    def _hold(self, pacer: Pacer[Held], urgency: Urgency, size: int, held: Held, now_s: float) -> bool:
        self._outlet.held()
        return pacer.hold(urgency, size, held, now_s)

    def send_repair(self, packet: Packet, number: int, timestamp: int) -> None:
        """Write a packet that was sent before, on the repair stream (RFC 4588): its number, then what it carried."""
        if packet.first != PLAIN:
            return
        body = packet.body
        marker_type = packet.marker_type & 0x80 | RTX_OF[packet.marker_type & 0x7F]
        payload = HEAD_BYTES + TURN_BYTES
        self._out[HEAD_BYTES:payload] = body[:TURN_BYTES]
        _pack_number(self._out, payload, number & 0xFFFF)
        end = HEAD_BYTES + 2 + len(body)
        self._out[payload + 2 : end] = body[TURN_BYTES:]
        self._renumber(number, payload + 2, end)
        self._write_repair(PLAIN, marker_type, timestamp, end)

    def pad(self) -> int:
        """Send a packet of padding on the repair stream, which is not seen: it only measures the link. How many bytes
        it had; 0: nothing can be sent."""
        if self.kind is not MediaKind.VIDEO or not self._outlet.ready:
            return 0
        end = HEAD_BYTES + len(_PADDING)
        self._out[HEAD_BYTES:end] = _PADDING
        self._write_repair(PADDED, VP8_RTX, self.line.timestamp, end)
        return end

    def _write_repair(self, first: int, marker_type: int, timestamp: int, end: int) -> None:
        self._repair_newest = self._repair_newest + 1 & 0xFFFF
        transport_seq = self._next_seq()
        _pack_head(
            self._out,
            0,
            first,
            marker_type,
            self._repair_newest,
            timestamp,
            self.repair_ssrc,
            self._prefix,
            transport_seq,
        )
        self._send_rtp(end, transport_seq)

    # ---- reports

    def report(self, info: rtcp.SenderInfo, now_s: float) -> None:
        """The publisher's clock, with the timestamps that this slot sends: keeps sound and picture together."""
        if not self._outlet.ready:
            return
        reports = self._reports
        reports[rtcp.middle(info.ntp)] = now_s
        if len(reports) > REPORTS:
            del reports[next(iter(reports))]
        line = self.line
        shifted = rtcp.SenderInfo(self.ssrc, info.ntp, info.rtp + line.timestamp_shift)
        self._outlet.send_rtcp(rtcp.write_sender_report(shifted, line.packets, line.octets, self._cname))

    def received(self, block: rtcp.ReportBlock, now_s: float) -> None:
        """What the receiver reports of this slot: its loss, and how long a packet takes there and back."""
        self.loss = block.fraction / 256
        sent_s = self._reports.get(block.last_report)
        if sent_s is not None:
            self.rtt_s = max(0.0, now_s - sent_s - block.delay / 65_536)

    @property
    def sent_to(self) -> int:
        """The highest number that left; `resend` takes its lower 16 bits."""
        return self.line.sent

    def ask_key(self, now_s: float) -> None:
        """The receiver wants a key frame of what it sees."""
        layer = self.pending or self.layer
        if layer is not None and self.kind is MediaKind.VIDEO:
            self.keys_asked += 1
            layer.ask_key(now_s)
