"""The media of the video load: 30 pictures and 50 sounds a second from every sender, and what arrives at every receiver.

One loop over bare sockets, so that what the load itself costs stays small beside what the forwarder does. Every
forwarder gets the same packets: VP8 in packets of 1,150 bytes with a key frame every two seconds and when somebody asks
for one, Opus of 80 bytes, both with the trailer of sealed frames (spec 09, "Sealed frames"). A packet says in its payload
when it was sent, and the system when the forwarder's answer to it came: the time between, of a sample of them, is the
delay. How late the load itself was is told apart (`Seen.late_ms`): where it is, the load is full, and not the forwarder.
"""

from __future__ import annotations

import gc
import heapq
import secrets
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from leeside_protocol.video.formats import OPUS, VP8, VP8_RTX, MediaKind
from leeside_protocol.video.frames import MARK
from leeside_protocol.video.rtcp import compound, read_picture_requests
from leeside_protocol.video.twcc import Arrivals
from tests.bench.rounds import cpu_s
from tests.bench.video_line import Line, binding

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
SAMPLE: Final = 8
"""Of so many packets that arrive, one is opened and its delay read."""
SO_TIMESTAMPNS: Final = 35
"""The system notes when each packet came (socket(7)); Python has no name for it."""
STAMP_AT: Final = {MediaKind.AUDIO: 1, MediaKind.VIDEO: 20}
"""Where in the payload the time of sending stands: behind all that a forwarder may read."""
BUFFER_BYTES: Final = 2_048
_TRAILERS: Final = {MediaKind.AUDIO: b"\x01" + MARK, MediaKind.VIDEO: b"\x0a" + MARK}
_head: Final = struct.Struct("!BBHLL")
_pack_head: Final = _head.pack_into
_pack_number: Final = struct.Struct("!H").pack_into
_time: Final = struct.Struct("!d")
_noted: Final = struct.Struct("=qq")
# Extension elements of one byte each (RFC 8285): the media line, when it was sent, the transport's number.
_EXTENSIONS: Final = bytes.fromhex("bede0003100022000000310000000000")
_HEADER_BYTES: Final = 12 + len(_EXTENSIONS)


@dataclass(slots=True)
class Sender:
    """Somebody who sends sound and a picture on a line; `mids`: of which media lines."""

    line: Line
    mids: tuple[str, str] = ("0", "1")
    pictured: bool = True
    audio_seq: int = field(default_factory=lambda: secrets.randbits(14))
    video_seq: int = field(default_factory=lambda: secrets.randbits(14))
    transport_seq: int = 0
    pictures: int = 0
    sounds: int = 0
    asked: bool = True
    """Somebody wants a key frame."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a forwarder did in the measured time. `cpu_s`: its processor time, all threads together."""

    elapsed_s: float
    sent: int
    forwarded: int
    expected: int
    cpu_s: float
    load_cpu_s: float
    refused: int
    """Packets of the sample that could not be opened."""
    delays_s: Sequence[float]
    late_s: Sequence[float]
    """How long after its time each picture and sound was sent."""
    pictures: float
    """Pictures that came whole enough to have an end, a second and receiver of a sender."""

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

    def delay_ms(self, share: float) -> float:
        """The delay that this share of the packets stayed below."""
        return _below_ms(self.delays_s, share)

    @property
    def late_ms(self) -> float:
        """What 99 % of all that the load sent was less late than."""
        return _below_ms(self.late_s, 0.99)


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
    """Senders and receivers of one forwarder. `each`: how many receivers a packet should reach."""

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
        self._frames = [_packets(frame) for frame in frames]
        self._each = each
        self._stamped = stamped
        self._lines = lines
        self._by_descriptor = {line.socket.fileno(): line for line in lines}
        self._by_line = {id(sender.line): sender for sender in senders}
        self._arrivals = {descriptor: Arrivals() for descriptor in self._by_descriptor}
        self._out = bytearray(BUFFER_BYTES)
        self._in = bytearray(BUFFER_BYTES)
        self._out_at: Any = binding.ffi.from_buffer(self._out)
        self._in_at: Any = binding.ffi.from_buffer(self._in)
        self._length: Any = binding.ffi.new("int *")
        self._sent = self._forwarded = self._repairs = self._refused = self._pictures = self._reads = 0
        self._seq_at = dict.fromkeys(self._by_descriptor, 0)
        """Where the transport's number stood in the packet before."""
        self._delays_s: list[float] = []
        self._late_s: list[float] = []
        self._due: list[tuple[float, int, str]] = []

    def run(self, pid: int, warm_s: float, measure_s: float) -> Seen:
        """Send and receive until all arrives and nothing else does, or for `warm_s`; then measure for so long. Before that they begin
        one after another, as people come. Blocks."""
        poll = select.epoll()
        for descriptor, line in self._by_descriptor.items():
            poll.register(descriptor, select.EPOLLIN)
            line.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
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
        gc.disable()
        try:
            all_there_s = begun_s + len(self._senders) * BEGINS_S
            self._until(poll, all_there_s)
            self._settle(poll, all_there_s + warm_s)
            self._forget()
            server_s, own_s, from_s = cpu_s(pid), time.process_time(), time.perf_counter()
            self._until(poll, from_s + measure_s)
            elapsed_s = time.perf_counter() - from_s
            return Seen(
                elapsed_s,
                self._sent,
                self._forwarded,
                self._sent * self._each,
                cpu_s(pid) - server_s,
                time.process_time() - own_s,
                self._refused,
                list(self._delays_s),
                list(self._late_s),
                self._pictures / elapsed_s / (len(self._senders) * self._each),
            )
        finally:
            gc.enable()
            poll.close()
            self._due.clear()

    def _forget(self) -> None:
        self._sent = self._forwarded = self._repairs = self._refused = self._pictures = 0
        self._delays_s.clear()
        self._late_s.clear()

    def _settle(self, poll: select.epoll, end_s: float) -> None:
        settled = 0
        while settled < 2 and (now_s := time.perf_counter()) < end_s:
            self._forget()
            self._until(poll, min(end_s, now_s + SETTLE_S))
            whole = self._forwarded >= SETTLED * self._each * self._sent
            probed = self._repairs > (1 - SETTLED) * self._forwarded
            settled = settled + 1 if whole and not probed else 0

    def _until(self, poll: select.epoll, end_s: float) -> None:
        due = self._due
        while (now_s := time.perf_counter()) < end_s:
            while due[0][0] <= now_s:
                at, number, what = heapq.heappop(due)
                self._late_s.append(now_s - at)
                heapq.heappush(due, (at + self._do(number, what, now_s), number, what))
            for descriptor, _ in poll.poll(max(0.0, min(due[0][0], end_s) - time.perf_counter())):
                self._read(descriptor)

    def _do(self, number: int, what: str, now_s: float) -> float:
        """One thing that is due; returns after how long it is due again."""
        match what:
            case "picture":
                self._picture(self._senders[number])
                return 1 / FRAMES_PER_S
            case "sound":
                self._sound(self._senders[number])
                return SOUND_S
            case "report":
                self._report(self._lines[number])
                return REPORT_S
            case _:
                self._lines[number].keep_alive()
                return ALIVE_S

    # ---- sending

    def _sound(self, sender: Sender) -> None:
        sender.sounds += 1
        sender.audio_seq += 1
        ticks = sender.sounds * 960
        self._fill(sender, 0, _SOUND, OPUS, sender.audio_seq, ticks, sender.line.audio_ssrc)
        self._send(sender, len(_SOUND), _HEADER_BYTES + STAMP_AT[MediaKind.AUDIO])

    def _picture(self, sender: Sender) -> None:
        if not sender.pictured:
            return
        if sender.asked:
            # The next key frame is now: those who asked cannot wait for two seconds.
            sender.pictures += -sender.pictures % len(self._frames)
            sender.asked = False
        packets = self._frames[sender.pictures % len(self._frames)]
        sender.pictures += 1
        ticks = sender.pictures * 3_000
        stamp_at = _HEADER_BYTES + STAMP_AT[MediaKind.VIDEO]
        for packet in packets:
            sender.video_seq += 1
            kind = VP8 | 0x80 if packet is packets[-1] else VP8
            self._fill(sender, 1, packet, kind, sender.video_seq, ticks, sender.line.video_ssrc)
            _pack_number(self._out, _HEADER_BYTES + 2, 0x8000 | sender.pictures & 0x7FFF)
            self._send(sender, len(packet), stamp_at if len(packet) >= stamp_at + 12 else 0)

    def _fill(
        self, sender: Sender, media: int, packet: bytes, kind: int, seq: int, ticks: int, ssrc: int
    ) -> None:
        """Write a packet whose header and extensions are empty, and fill those in."""
        out = self._out
        out[: len(packet)] = packet
        _pack_head(out, 0, 0x90, kind, seq & 0xFFFF, ticks & 0xFFFFFFFF, ssrc)
        out[17] = ord(sender.mids[media])
        sender.transport_seq = sender.transport_seq + 1 & 0xFFFF
        _pack_number(out, 23, sender.transport_seq)

    def _send(self, sender: Sender, length: int, stamp_at: int) -> None:
        out, line = self._out, sender.line
        now_s = time.time()
        out[19:22] = (int(now_s * 262_144) & 0xFFFFFF).to_bytes(3, "big")
        if stamp_at and self._stamped:
            _time.pack_into(out, stamp_at, now_s)
        self._length[0] = length
        binding.lib.srtp_protect(line.protect, self._out_at, self._length)
        try:
            line.socket.send(memoryview(out)[: self._length[0]])
        except OSError:
            return
        self._sent += 1

    def _report(self, line: Line) -> None:
        """What arrived at a receiver, as its forwarder needs to know it (transport-wide congestion control)."""
        for report in self._arrivals[line.socket.fileno()].reports(line.video_ssrc):
            self._out[: len(report)] = report
            self._length[0] = len(report)
            binding.lib.srtp_protect_rtcp(line.protect, self._out_at, self._length)
            try:
                line.socket.send(memoryview(self._out)[: self._length[0]])
            except OSError:
                continue

    # ---- receiving

    def _read(self, descriptor: int) -> None:
        line, buffer = self._by_descriptor[descriptor], self._in
        receive = line.socket.recv_into
        now_s = time.perf_counter()
        for _ in range(32):
            noted_s = 0.0
            try:
                if self._reads % SAMPLE:
                    length = receive(buffer)
                else:
                    length, notes, _, _ = line.socket.recvmsg_into([buffer], 64)
                    noted_s = _noted_s(notes)
            except OSError:
                return
            # Those that came alone: a look that finds nothing follows each row, and could fall on every sample.
            self._reads += 1
            if length < 12 or buffer[0] < 128:
                if length:
                    line.take(bytes(buffer[:length]))
            elif 192 <= buffer[1] <= 223:
                self._heard(line, length)
            else:
                self._arrived(descriptor, now_s)
                if noted_s:
                    self._open(line, length, noted_s)

    def _heard(self, line: Line, length: int) -> None:
        """RTCP: somebody may want a key frame."""
        sender = self._by_line.get(id(line))
        if sender is None or sender.asked:
            return
        self._length[0] = length
        if binding.lib.srtp_unprotect_rtcp(line.receive, self._in_at, self._length):
            return
        data = bytes(self._in[: self._length[0]])
        if any(read_picture_requests(data, part) for part in compound(data) or ()):
            sender.asked = True

    def _arrived(self, descriptor: int, now_s: float) -> None:
        buffer = self._in
        kind = buffer[1]
        if kind & 0x7F != VP8_RTX:
            self._forwarded += 1
            self._pictures += kind == VP8 | 0x80
        else:
            self._repairs += 1
        # A forwarder writes its extensions in one order: nearly always it stands where it stood before.
        at = self._seq_at[descriptor]
        if buffer[at] != 0x31:
            at = self._seq_at[descriptor] = _find_seq(buffer)
        if at:
            self._arrivals[descriptor].add(buffer[at + 1] << 8 | buffer[at + 2], now_s)

    def _open(self, line: Line, length: int, noted_s: float) -> None:
        """One of the sample: is it genuine, and how long did it take?"""
        buffer = self._in
        self._length[0] = length
        if binding.lib.srtp_unprotect(line.receive, self._in_at, self._length):
            self._refused += 1
            return
        kind = buffer[1] & 0x7F
        if not self._stamped or kind == VP8_RTX:
            return
        start = 12 + 4 * (buffer[0] & 15)
        if buffer[0] & 0x10:
            start += 4 + 4 * (buffer[start + 2] << 8 | buffer[start + 3])
        at = start + STAMP_AT[MediaKind.AUDIO if kind == OPUS else MediaKind.VIDEO]
        if at + 12 <= self._length[0]:
            took_s = noted_s - _time.unpack_from(buffer, at)[0]
            if 0 <= took_s < 60:
                self._delays_s.append(took_s)


def _find_seq(buffer: bytearray) -> int:
    """Where the element with the transport's number stands; 0: there is none."""
    if not buffer[0] & 0x10 or buffer[12] != 0xBE:
        return 0
    at, end = 16, 16 + 4 * (buffer[14] << 8 | buffer[15])
    while at < end:
        if buffer[at] == 0x31:
            return at
        at += 1 if buffer[at] == 0 else 2 + (buffer[at] & 0x0F)
    return 0


def _noted_s(notes: Sequence[tuple[int, int, bytes]]) -> float:
    """When the system took the packet for this socket, as `time.time()`; 0: it does not say."""
    for level, kind, data in notes:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _noted.size:
            whole_s, ns = _noted.unpack_from(data)
            return float(whole_s + ns / 1e9)
    return 0.0
