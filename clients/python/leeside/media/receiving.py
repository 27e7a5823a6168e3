"""What comes down: packets put in order, asked for again when they are missing, and joined to the frames that were sealed.

Bytes in, frames out: no codec, no key, no clock. One `Downlink` for all m-lines of a call; `due` says what to tell the
bridge. Bounded throughout: a bridge that sends nonsense costs a fixed amount of memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from leeside_protocol.video import rtcp
from leeside_protocol.video.formats import AUDIO_HZ, DOWN_MIDS, OPUS, RED, VIDEO_HZ, VP8, VP8_RTX, MediaKind
from leeside_protocol.video.rtp import JoinedFrame, RtpHeader, Vp8Joiner, ahead16
from leeside_protocol.video.twcc import Arrivals

NACK_EVERY_S: Final = 0.06
NACK_TRIES: Final = 10
MOST_MISSING: Final = 300
"""More than this many packets missing is no loss but a hole: a key frame repairs it."""
FEEDBACK_EVERY_S: Final = 0.1
REPORT_EVERY_S: Final = 1.0
KEY_WAIT_S: Final = 0.5
"""How long a picture with a packet missing is waited for, before a key frame is asked for."""
KEY_EVERY_S: Final = 1.0
SOUNDS_HELD: Final = 5
"""Sounds that wait for one before them: 100 ms."""
PICTURES_HELD: Final = 64


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it was sealed, of whoever has the m-line `mid`. `gap`: a sound before it never came; before a picture nothing
    is missing, or it is a key frame."""

    mid: str
    media: MediaKind
    data: bytes
    timestamp: int
    redundant: bool = False
    """Sound with earlier sounds in it (RFC 2198)."""
    gap: bool = False


class Gaps:
    """The numbers of one stream that are missing, and when to ask for them again."""

    def __init__(self) -> None:
        self.newest = -1
        self._missing: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def note(self, sequence: int) -> int:
        """A packet came; its unwrapped number."""
        if self.newest < 0:
            self.newest = sequence + 0x1_0000
            return self.newest
        number = self.newest + ahead16(sequence, self.newest)
        if number <= self.newest:
            self._missing.pop(number, None)
            return number
        if number - self.newest > MOST_MISSING:
            self._missing.clear()
        else:
            for missing in range(self.newest + 1, number):
                self._missing[missing] = (0, 0.0)
            while len(self._missing) > MOST_MISSING:
                self._missing.popitem(last=False)
        self.newest = number
        return number

    def forget(self, before: int) -> None:
        """Nothing below this number is waited for any more."""
        for number in [n for n in self._missing if n < before]:
            del self._missing[number]

    def due(self, now_s: float) -> list[int]:
        """What to ask for now, rising; each ten times at most."""
        due = sorted(n for n, (_, next_s) in self._missing.items() if next_s <= now_s)
        for number in due:
            tries, _ = self._missing[number]
            if tries + 1 >= NACK_TRIES:
                del self._missing[number]
            else:
                self._missing[number] = (tries + 1, now_s + NACK_EVERY_S)
        return due


class _Reception:
    """What a receiver report says of one stream (RFC 3550, 6.4.1 and A.8)."""

    def __init__(self, ssrc: int, hz: int) -> None:
        self._ssrc, self._hz = ssrc, hz
        self._first = self._highest = -1
        self._received = self._expected_before = self._received_before = 0
        self._transit: float | None = None
        self._jitter = 0.0
        self._report = (0, 0.0)

    def note(self, number: int, timestamp: int, now_s: float) -> None:
        if self._first < 0:
            self._first = number
        self._highest = max(self._highest, number)
        self._received += 1
        transit = now_s * self._hz - timestamp
        if self._transit is not None:
            change = abs(transit - self._transit)
            if (
                change < self._hz * 10
            ):  # The circle of timestamps has closed, or the bridge began another stream.
                self._jitter += (change - self._jitter) / 16
        self._transit = transit

    def sender_report(self, ntp: int, now_s: float) -> None:
        self._report = (rtcp.middle(ntp), now_s)

    def block(self, now_s: float) -> rtcp.ReportBlock | None:
        """None: nothing came yet."""
        if self._first < 0:
            return None
        expected = self._highest - self._first + 1
        lost = expected - self._expected_before - (self._received - self._received_before)
        fraction = 256 * max(0, lost) // max(1, expected - self._expected_before)
        self._expected_before, self._received_before = expected, self._received
        last, at_s = self._report
        delay = int((now_s - at_s) * 65_536) if last else 0
        total = expected - self._received
        return rtcp.ReportBlock(
            self._ssrc, min(fraction, 255), total, self._highest, int(self._jitter), last, delay
        )


class _Sounds:
    """Sounds in order; one that is late is waited for while five come after it."""

    def __init__(self) -> None:
        self._next = -1
        self._held: dict[int, tuple[bytes, int, bool]] = {}

    def push(
        self, number: int, payload: bytes, timestamp: int, *, redundant: bool
    ) -> Iterator[tuple[bytes, int, bool, bool]]:
        """(Payload, timestamp, redundant, gap) of each sound that can be heard now."""
        if self._next < 0:
            self._next = number
        if number < self._next:
            return
        if (
            number - self._next > 50 * SOUNDS_HELD
        ):  # A pause, or another stream: nothing of before is waited for.
            self._held.clear()
            self._next = number
        self._held[number] = (payload, timestamp, redundant)
        gap = False
        while self._held:
            if self._next in self._held:
                data, at, red = self._held.pop(self._next)
                yield data, at, red, gap
                gap = False
            elif len(self._held) <= SOUNDS_HELD:
                return
            else:
                gap = True
            self._next += 1


class _Pictures:
    """Pictures in order. One that was not whole in time is passed over at the next key frame, which is then wanted."""

    def __init__(self) -> None:
        self._joiner = Vp8Joiner()
        self._next = -1
        self._held: dict[int, JoinedFrame] = {}
        self.waits_since_s: float | None = None
        """Since when a picture is whole and one before it is not."""

    def push(
        self, sequence: int, timestamp: int, payload: bytes, now_s: float, *, marker: bool
    ) -> Iterator[JoinedFrame]:
        """Each frame that can be shown now."""
        frame = self._joiner.push(sequence, timestamp, marker, payload)
        if frame is None or frame.last < self._next:
            return
        self._held[frame.first] = frame
        while True:
            ready = self._held.pop(self._next, None)
            if ready is None:
                keys = [first for first, held in self._held.items() if held.key]
                if not keys:
                    break
                ready = self._held.pop(max(keys))
            self._next = ready.last + 1
            for first in [f for f in self._held if f < self._next]:
                del self._held[first]
            yield ready
        while len(self._held) > PICTURES_HELD:
            del self._held[min(self._held)]
        if not self._held:
            self.waits_since_s = None
        elif self.waits_since_s is None:
            self.waits_since_s = now_s

    @property
    def done_before(self) -> int:
        """Packets below this number are not needed any more."""
        return self._next


class _Line:
    """One m-line that comes down."""

    def __init__(self, mid: str, ssrc: int, now_s: float) -> None:
        self.mid, self.ssrc = mid, ssrc
        self.media = MediaKind.VIDEO if DOWN_MIDS.index(mid) % 2 else MediaKind.AUDIO
        self.gaps = Gaps()
        self.reception = _Reception(ssrc, VIDEO_HZ if self.media is MediaKind.VIDEO else AUDIO_HZ)
        self.sounds, self.pictures = _Sounds(), _Pictures()
        self.key_wanted = False
        self.key_asked_s = now_s - KEY_EVERY_S


class Downlink:
    """All streams that the bridge sends to one client. `on_frame` is given each frame in order, sealed as it is."""

    def __init__(
        self,
        streams: Mapping[int, str],
        repairs: Mapping[int, int],
        on_frame: Callable[[Frame], None],
        now_s: float,
    ) -> None:
        self._lines = {ssrc: _Line(mid, ssrc, now_s) for ssrc, mid in streams.items() if ssrc not in repairs}
        self._repairs = dict(repairs)
        self._on_frame = on_frame
        self._header = RtpHeader()
        self._arrivals = Arrivals()
        self._feedback_s = self._report_s = now_s
        self.packets = self.repaired = self.asked = self.keys_asked = self.malformed = 0
        """Packets that came; those of them that were repairs; asked for again; key frames asked for; no RTP of ours."""

    def receive(self, packet: bytes, now_s: float) -> None:
        """Take a plain RTP packet."""
        header = self._header
        if not header.read(packet, len(packet)):
            self.malformed += 1
            return
        self.packets += 1
        if header.transport_seq >= 0:
            self._arrivals.add(header.transport_seq, now_s)
        payload, sequence, timestamp = packet[header.start : header.end], header.sequence, header.timestamp
        line, kind = self._lines.get(header.ssrc), header.payload_type
        if line is None and kind == VP8_RTX:
            line = self._lines.get(self._repairs.get(header.ssrc, 0))
            if len(payload) < 2:
                return  # Padding, by which the bridge measures the link.
            sequence, payload, kind = payload[0] << 8 | payload[1], payload[2:], VP8
            self.repaired += line is not None
        if line is None:
            self.malformed += 1
            return
        number = line.gaps.note(sequence)
        if header.ssrc == line.ssrc:
            line.reception.note(number, timestamp, now_s)
        if line.media is MediaKind.AUDIO and kind in (OPUS, RED):
            line.gaps.forget(number - SOUNDS_HELD)
            for data, at, red, gap in line.sounds.push(number, payload, timestamp, redundant=kind == RED):
                self._on_frame(Frame(line.mid, line.media, data, at, red, gap))
        elif line.media is MediaKind.VIDEO and kind == VP8:
            for frame in line.pictures.push(sequence, timestamp, payload, now_s, marker=header.marker):
                self._on_frame(Frame(line.mid, line.media, frame.data, frame.timestamp))
            line.gaps.forget(line.pictures.done_before)

    def want_key(self, mid: str, *, wanted: bool = True) -> None:
        """The pictures of this m-line cannot be shown: ask for a key frame until one came (then say so: false)."""
        for line in self._lines.values():
            if line.mid == mid:
                line.key_wanted = wanted

    def take(self, data: bytes, now_s: float) -> None:
        """Take an RTCP compound: of what it says only the senders' clocks count here."""
        for part in rtcp.compound(data) or ():
            info = rtcp.read_sender(data, part) if part.kind == rtcp.SENDER_REPORT else None
            line = None if info is None else self._lines.get(info.ssrc)
            if line is not None and info is not None:
                line.reception.sender_report(info.ntp, now_s)

    def due(self, now_s: float) -> list[bytes]:
        """What to tell the bridge now; call it every 20 ms or so."""
        told: list[bytes] = []
        for line in self._lines.values():
            missing = line.gaps.due(now_s)
            if missing:
                self.asked += len(missing)
                told += rtcp.write_nacks(line.ssrc, missing)
            if line.media is MediaKind.VIDEO and self._key_due(line, now_s):
                line.key_asked_s = now_s
                self.keys_asked += 1
                told.append(rtcp.write_pli(line.ssrc))
        if now_s - self._feedback_s >= FEEDBACK_EVERY_S:
            self._feedback_s = now_s
            told += self._arrivals.reports(rtcp.OWN_SSRC)
        if now_s - self._report_s >= REPORT_EVERY_S:
            self._report_s = now_s
            blocks = [b for line in self._lines.values() if (b := line.reception.block(now_s)) is not None]
            told.append(rtcp.write_receiver_report(blocks))
        return told

    def _key_due(self, line: _Line, now_s: float) -> bool:
        since_s = line.pictures.waits_since_s
        stuck = since_s is not None and now_s - since_s >= KEY_WAIT_S
        return (stuck or line.key_wanted) and now_s - line.key_asked_s >= KEY_EVERY_S
