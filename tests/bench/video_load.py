"""The media of the video load: 30 pictures and 50 sounds a second from every sender, and what arrives at every receiver.

One loop over bare sockets, the part of it that is done for every packet in C (`media.c`), so that what the load itself costs
stays small beside what the forwarder does. Every forwarder gets the same packets: VP8 in packets of 1,150 bytes with a key
frame every two seconds and when somebody asks for one, Opus of 80 bytes, both with the trailer of sealed frames (spec 09,
"Sealed frames"). A packet says in its payload when it was sent, and the system when the forwarder's answer to it came: the
time between, of a sample of them, is the delay. How late the load itself was is told apart (`Seen.late_ms`): where it is, the
load is full, and not the forwarder.
"""

from __future__ import annotations

import gc
import heapq
import importlib
import secrets
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, cast

from leeside_protocol.video.formats import OPUS, VP8, MediaKind
from leeside_protocol.video.frames import MARK
from leeside_protocol.video.rtcp import compound, read_picture_requests
from leeside_protocol.video.twcc import PENDING, Arrivals, ArrivalsState
from leeside_server.video.dtls import srtp_addresses
from tests.bench.programs import MeasureFailed, library
from tests.bench.rounds import cpu_s, stolen_s
from tests.bench.video_line import Line, binding
from tests.faults.machine import load_cores, server_cores

FRAMES_PER_S: Final = 30
KEY_FRAMES: Final = 60
"""A key frame comes after so many pictures."""
SOUND_S: Final = 0.02
SOUND_BYTES: Final = 80
PART_BYTES: Final = 1_150
REPORT_S: Final = 0.1
ALIVE_S: Final = 2.0
BEGINS_S: Final = 0.11
"""Between the beginnings of two senders: their key frames, two seconds apart, fall on all times."""
SETTLE_S: Final = 1.0
SETTLED: Final = 0.995
"""The share that arrives once every link is known to carry all; two times in a row."""
OWN_S: Final = 0.015
"""A second of which others had less, of both cores together, is ours: the system counts hundredths, and one of them says little."""
DELAYS: Final = 1 << 20
"""Of the sample, at most."""
STAMP_AT: Final = {MediaKind.AUDIO: 1, MediaKind.VIDEO: 20}
"""Where in the payload the time of sending stands: behind all that a forwarder may read."""
BUFFER_BYTES: Final = 2_048
_TRAILERS: Final = {MediaKind.AUDIO: b"\x01" + MARK, MediaKind.VIDEO: b"\x0a" + MARK}
# Extension elements of one byte each (RFC 8285): the media line, when it was sent, the transport's number.
_EXTENSIONS: Final = bytes.fromhex("bede0003100022000000310000000000")
_HEADER_BYTES: Final = 12 + len(_EXTENSIONS)


_ffi: Final[Any] = importlib.import_module("cffi").FFI()
_ffi.cdef(Path(__file__).with_name("media.h").read_text(encoding="ascii"))


@dataclass(slots=True)
class Sender:
    """Somebody who sends sound and a picture on a line; `mids`: of which media lines."""

    line: Line
    mids: tuple[str, str] = ("0", "1")
    pictured: bool = True
    audio_seq: int = field(default_factory=lambda: secrets.randbits(14))
    video_seq: int = field(default_factory=lambda: secrets.randbits(14))
    pictures: int = 0
    sounds: int = 0
    asked: bool = True
    """Somebody wants a key frame."""


@dataclass(frozen=True, slots=True)
class Second:
    """A second of the measured time: the delays of the sample, and for how long the machine's owner gave the forwarder's core and
    the load's to others."""

    delays_s: Sequence[float]
    stolen_s: float = 0.0

    @property
    def own(self) -> bool:
        return self.stolen_s < OWN_S


@dataclass(frozen=True, slots=True)
class Seen:
    """What a forwarder did in the measured time. `cpu_s`: its processor time, all threads together.

    A virtual machine is stopped for hundredths of a second at a time, and everything on it is so much later: where enough seconds are
    our own (`Pace.own_s`), delays are told of these, and else of all. Which they are is told by the system, and not by the delays.
    """

    elapsed_s: float
    sent: int
    forwarded: int
    expected: int
    cpu_s: float
    load_cpu_s: float
    refused: int
    """Packets of the sample that could not be opened."""
    seconds: Sequence[Second]
    late_s: Sequence[float]
    """How long after its time each picture and sound was sent."""
    pictures: float
    """Pictures that came whole enough to have an end, a second and receiver of a sender."""
    least_own: int = 0
    """Seconds of our own by which delays are told."""

    @property
    def cpu_us(self) -> float:
        """The forwarder's processor time for each packet that it handed on."""
        return self.cpu_s * 1e6 / self.forwarded if self.forwarded else float("inf")

    @property
    def cores(self) -> float:
        return self.cpu_s / self.elapsed_s

    @property
    def load_cores(self) -> float:
        """What the load itself used."""
        return self.load_cpu_s / self.elapsed_s

    @property
    def arrived(self) -> float:
        """The share of what should have been handed on."""
        return self.forwarded / self.expected if self.expected else 0.0

    @property
    def stolen(self) -> float:
        """The share of the time that others had, of both cores."""
        return sum(second.stolen_s for second in self.seconds) / self.elapsed_s

    @property
    def own_seconds(self) -> int:
        """How many seconds were our own."""
        return sum(second.own for second in self.seconds)

    @property
    def by_own(self) -> bool:
        """Whether delays are told of these."""
        return self.own_seconds >= max(1, self.least_own)

    def delay_ms(self, share: float) -> float:
        """The delay that this share of the packets stayed below, of the seconds that were our own if these are enough."""
        return self._delay_ms(share, [second for second in self.seconds if second.own or not self.by_own])

    def any_delay_ms(self, share: float) -> float:
        """The same of all seconds, whoever had the machine."""
        return self._delay_ms(share, self.seconds)

    def _delay_ms(self, share: float, seconds: Iterable[Second]) -> float:
        return _below_ms(list(chain.from_iterable(second.delays_s for second in seconds)), share)

    @property
    def late_ms(self) -> float:
        """What 99 % of all that the load sent was less late than."""
        return _below_ms(self.late_s, 0.99)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to measure: at least for `least_s`, and then, for `most_s` at most, until `own_s` were our own. `warm_s`: the longest
    wait, before that, until all arrives and nothing else does."""

    warm_s: float
    least_s: float
    own_s: int = 0
    most_s: float = 0.0


def _below_ms(values_s: Sequence[float], share: float) -> float:
    ordered = sorted(values_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3 if ordered else float("nan")


def synthetic(kbps: float) -> list[bytes]:
    """Two seconds of pictures that only look like VP8 from outside, in a key frame and 59 smaller ones."""
    whole = kbps * 1_000 / 8 * KEY_FRAMES / FRAMES_PER_S
    key = int(whole * 3 / (KEY_FRAMES + 2))
    other = int((whole - key) / (KEY_FRAMES - 1))
    first = bytes.fromhex("100200009d012a0005d002")
    frames = [first + secrets.token_bytes(key - len(first))]
    return frames + [b"\x11\x02\x00" + secrets.token_bytes(other - 3) for _ in range(KEY_FRAMES - 1)]


def _packets(frame: bytes) -> list[bytes]:
    """A frame's packets, with room for the header and the picture's number."""
    whole = frame + _TRAILERS[MediaKind.VIDEO]
    head = bytes(12) + _EXTENSIONS
    return [
        head + bytes((0x90 if at == 0 else 0x80, 0x80, 0, 0)) + whole[at : at + PART_BYTES]
        for at in range(0, len(whole), PART_BYTES)
    ]


_SOUND: Final = bytes(12) + _EXTENSIONS + b"\x78" + bytes(SOUND_BYTES - 5) + _TRAILERS[MediaKind.AUDIO]


class VideoLoad:
    """Senders and receivers of one forwarder. `each`: how many receivers a packet should reach. `stamped`: nobody reads what is
    in the pictures, and the time of sending may stand there. Raises `Impossible` where there is no C compiler."""

    def __init__(
        self,
        senders: Sequence[Sender],
        lines: Sequence[Line],
        frames: Sequence[bytes],
        each: int,
        *,
        stamped: bool = True,
    ) -> None:
        self._senders = senders
        self._lines = lines
        self._each = each
        self._by_line = {id(sender.line): sender for sender in senders}
        self._c: Any = _ffi.dlopen(str(library("media")))
        assert self._c.PENDING == PENDING
        self._kept: list[Any] = []
        """What C points at."""
        self._delays_s: Any = _ffi.new("double[]", DELAYS)
        self._frames = [self._frame(_packets(frame), MediaKind.VIDEO, stamped) for frame in frames]
        self._sound_frame = self._frame([_SOUND], MediaKind.AUDIO, stamped)
        self._arrivals = [Arrivals(partial(_in_c, line)) for line in lines]
        self._in_c: dict[int, Any] = {
            id(line): arrivals.state for line, arrivals in zip(lines, self._arrivals, strict=True)
        }
        self._media = self._open()
        self._seen: Any = self._c.media_seen(self._media)
        self._told: Any = _ffi.new("struct told *")
        self._buffer = bytearray(BUFFER_BYTES)
        self._buffer_at: Any = binding.ffi.from_buffer(self._buffer)
        self._length: Any = binding.ffi.new("int *")
        self._late_s: list[float] = []
        self._due: list[tuple[float, int, str]] = []

    def _frame(self, packets: Sequence[bytes], kind: MediaKind, stamped: bool) -> Any:
        frame = _ffi.new("struct frame *")
        whole = _ffi.from_buffer(b"".join(packets))
        self._kept.append(whole)
        frame.packets, frame.parts, frame.bytes = whole, len(packets), [len(packet) for packet in packets]
        frame.stamp_at = _HEADER_BYTES + STAMP_AT[kind] if stamped else -1
        return frame

    def _open(self) -> Any:
        srtp = srtp_addresses()
        lines = _ffi.new("struct line *[]", list(self._in_c.values()))
        self._kept.append(lines)
        protect, unprotect = (_ffi.cast("void *", each) for each in (srtp.protect, srtp.unprotect))
        media = self._c.media_new(lines, len(lines), protect, unprotect, self._delays_s, DELAYS)
        if media == _ffi.NULL:
            raise MeasureFailed("the load could not watch its connections")
        return _ffi.gc(media, self._c.media_free)

    def run(self, pid: int, pace: Pace) -> Seen:
        """Send and receive until all arrives and nothing else does; then measure. Before that they begin one after another, as people
        come. Blocks."""
        begun_s = time.perf_counter()
        for number in range(len(self._senders)):
            at = begun_s + number * BEGINS_S
            heapq.heappush(self._due, (at, number, "picture"))
            heapq.heappush(self._due, (at + SOUND_S / 3, number, "sound"))
        for number in range(len(self._lines)):
            # People's clocks do not tick together.
            share = (number + 1) / len(self._lines)
            heapq.heappush(self._due, (begun_s + share * REPORT_S, number, "report"))
            heapq.heappush(self._due, (begun_s + share * ALIVE_S, number, "alive"))
        seen = self._seen
        gc.disable()
        try:
            all_there_s = begun_s + len(self._senders) * BEGINS_S
            self._until(all_there_s)
            self._settle(all_there_s + pace.warm_s)
            self._forget()
            server_s, own_s, from_s = cpu_s(pid), time.process_time(), time.perf_counter()
            seconds = self._seconds(from_s, pace)
            elapsed_s = time.perf_counter() - from_s
            return Seen(
                elapsed_s,
                seen.sent,
                seen.forwarded,
                seen.sent * self._each,
                cpu_s(pid) - server_s,
                time.process_time() - own_s,
                seen.refused,
                seconds,
                list(self._late_s),
                seen.pictures / elapsed_s / (len(self._senders) * self._each),
                pace.own_s,
            )
        finally:
            gc.enable()
            self._due.clear()

    def _seconds(self, from_s: float, pace: Pace) -> list[Second]:
        seconds: list[Second] = []
        cores = server_cores() | load_cores()
        until_s = 0.0
        while until_s < pace.least_s or (
            until_s < pace.most_s and sum(second.own for second in seconds) < pace.own_s
        ):
            until_s += 1.0
            before_s = stolen_s(cores)
            self._until(from_s + until_s)
            seconds.append(Second(list(self._delays_s[0 : self._seen.delays]), stolen_s(cores) - before_s))
            self._seen.delays = 0
        return seconds

    def _forget(self) -> None:
        seen = self._seen
        seen.sent = seen.forwarded = seen.repairs = seen.refused = seen.pictures = seen.delays = 0
        self._late_s.clear()

    def _settle(self, end_s: float) -> None:
        settled = 0
        seen = self._seen
        while settled < 2 and (now_s := time.perf_counter()) < end_s:
            self._forget()
            self._until(min(end_s, now_s + SETTLE_S))
            whole = seen.forwarded >= SETTLED * self._each * seen.sent
            probed = seen.repairs > (1 - SETTLED) * seen.forwarded
            settled = settled + 1 if whole and not probed else 0

    def _until(self, end_s: float) -> None:
        due, left = self._due, self._c.media_left(self._media)
        while (now_s := time.perf_counter()) < end_s:
            while due[0][0] <= now_s:
                at, number, what = heapq.heappop(due)
                self._late_s.append(now_s - at)
                heapq.heappush(due, (at + self._do(number, what), number, what))
            for place in range(self._c.media_wait(self._media, min(due[0][0], end_s))):
                each: Any = left[place]
                self._take(self._lines[int(each.line)], bytes(_ffi.buffer(each.datagram, each.bytes)))

    def _do(self, number: int, what: str) -> float:
        """One thing that is due; returns after how long it is due again."""
        match what:
            case "picture":
                self._picture(self._senders[number])
                return 1 / FRAMES_PER_S
            case "sound":
                self._sound(self._senders[number])
                return SOUND_S
            case "report":
                self._report(number)
                return REPORT_S
            case _:
                self._lines[number].keep_alive()
                return ALIVE_S

    # ---- sending

    def _sound(self, sender: Sender) -> None:
        told = self._told
        told.is_picture = False
        told.type, told.mid, told.ssrc = OPUS, ord(sender.mids[0]), sender.line.audio_ssrc
        sender.sounds += 1
        told.timestamp = sender.sounds * 960 & 0xFFFF_FFFF
        sender.audio_seq = told.sequence = sender.audio_seq + 1 & 0xFFFF
        self._c.media_send(self._media, self._in_c[id(sender.line)], self._sound_frame, told)

    def _picture(self, sender: Sender) -> None:
        if not sender.pictured:
            return
        if sender.asked:
            # The next key frame is now: those who asked cannot wait for two seconds.
            sender.pictures += -sender.pictures % len(self._frames)
            sender.asked = False
        frame, told = self._frames[sender.pictures % len(self._frames)], self._told
        told.is_picture = True
        told.type, told.mid, told.ssrc = VP8, ord(sender.mids[1]), sender.line.video_ssrc
        sender.pictures += 1
        told.picture = sender.pictures & 0x7FFF
        told.timestamp = sender.pictures * 3_000 & 0xFFFF_FFFF
        told.sequence = sender.video_seq + 1 & 0xFFFF
        sender.video_seq = sender.video_seq + frame.parts & 0xFFFF
        self._c.media_send(self._media, self._in_c[id(sender.line)], frame, told)

    def _report(self, number: int) -> None:
        """What arrived at a receiver, as its forwarder needs to know it (transport-wide congestion control)."""
        line = self._lines[number]
        for report in self._arrivals[number].reports(line.video_ssrc):
            self._buffer[: len(report)] = report
            self._length[0] = len(report)
            binding.lib.srtp_protect_rtcp(line.protect, self._buffer_at, self._length)
            try:
                line.socket.send(memoryview(self._buffer)[: self._length[0]])
            except OSError:
                continue

    # ---- receiving

    def _take(self, line: Line, datagram: bytes) -> None:
        """What is no media."""
        if datagram[0] < 128:
            line.take(datagram)
        elif len(datagram) >= 12:
            self._heard(line, datagram)

    def _heard(self, line: Line, datagram: bytes) -> None:
        """RTCP: somebody may want a key frame."""
        sender = self._by_line.get(id(line))
        if sender is None or sender.asked:
            return
        self._buffer[: len(datagram)] = datagram
        self._length[0] = len(datagram)
        if binding.lib.srtp_unprotect_rtcp(line.receive, self._buffer_at, self._length):
            return
        data = bytes(self._buffer[: self._length[0]])
        if any(read_picture_requests(data, part) for part in compound(data) or ()):
            sender.asked = True


def _in_c(line: Line, numbers: array[int], times: array[float]) -> ArrivalsState:
    """A connection as C has it; what arrives on it is noted in these arrays."""
    inner = _ffi.new("struct line *")
    inner.newest = -1
    inner.numbers = _ffi.from_buffer("int64_t[]", numbers, require_writable=True)
    inner.times = _ffi.from_buffer("double[]", times, require_writable=True)
    inner.descriptor = line.socket.fileno()
    inner.protect, inner.receive = (
        _ffi.cast("void *", int(binding.ffi.cast("uintptr_t", session)))
        for session in (line.protect, line.receive)
    )
    return cast("ArrivalsState", inner)
