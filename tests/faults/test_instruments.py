"""The instruments of the fault runs are themselves right: they must notice, and must not invent."""

from __future__ import annotations

import asyncio
import random

import pytest

from leeside_protocol.codec import decode_client
from leeside_protocol.errors import ProtocolError
from leeside_protocol.limits import FRAME_BYTES
from tests.faults.history import Broken
from tests.faults.outcome import Findings, percentile
from tests.faults.rubbish import BROKEN, FOREIGN
from tests.faults.wire import BINARY, CLOSE, Wire, masked

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
FRAMING = frozenset(
    {
        "oversize message",
        "claimed terabyte",
        "text",
        "unmasked",
        "reserved bits",
        "reserved opcode",
        "endless empty continuation",
        "continuation of nothing",
        "long ping",
        "close of one byte",
        "fragmented ping",
    }
)
"""Broken below the message: the WebSocket layer's business, not the codec's."""


class Transport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def server_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
async def test_the_thin_client_reads_frames_however_they_arrive(step: int) -> None:
    payloads = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 3_000]
    stream = ANSWER + b"".join(map(server_frame, payloads)) + server_frame(b"\x0f\xa1", CLOSE)
    got: list[bytes] = []
    wire, transport = Wire(got.append), Transport()
    wire.connection_made(transport)
    for start in range(0, len(stream), step):
        wire.data_received(stream[start : start + step])
    wire.connection_lost(None)
    assert got == payloads
    assert await wire.ended == 4001


async def test_the_thin_client_ends_where_there_is_no_socket() -> None:
    got: list[bytes] = []
    wire, transport = Wire(got.append), Transport()
    wire.connection_made(transport)
    wire.data_received(b"HTTP/1.1 503 Service Unavailable\r\n\r\n" + server_frame(b"x"))
    assert transport.closed
    assert not got


@pytest.mark.parametrize("name", sorted(set(BROKEN) - FRAMING))
def test_every_broken_message_is_refused_by_the_codec(name: str) -> None:
    source = random.Random(name)
    for _ in range(50):
        frame = BROKEN[name](source)
        payload = unmasked(frame)
        with pytest.raises(ProtocolError):
            decode_client(payload)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_every_foreign_message_is_one_of_the_protocol(name: str) -> None:
    source = random.Random(name)
    for _ in range(50):
        decode_client(unmasked(FOREIGN[name](source)))


def unmasked(frame: bytes) -> bytes:
    """The payload of one of our frames, whose mask is zero."""
    size = frame[1] & 0x7F
    start = 6 if size < 126 else 8 if size == 126 else 14
    payload = frame[start:]
    assert frame == masked(payload)
    assert len(payload) <= FRAME_BYTES
    return payload


def test_a_run_that_did_too_little_does_not_hold() -> None:
    findings = Findings("x", "short")
    findings.judge("a promise", True, "fine")
    findings.minimum("messages acknowledged", 9, 10)
    assert not findings.holds
    assert not Findings("nothing", "short").holds


def test_time_limits_fail_full_runs_alone() -> None:
    short, full = Findings("x", "short"), Findings("x", "full")
    for findings in (short, full):
        findings.timed("quick", 2.0, 1.0)
    assert short.holds
    assert not full.holds


def test_a_broken_history_is_told_by_its_promise() -> None:
    findings = Findings("x", "short")
    findings.history([Broken("G3 no gap", "here"), Broken("G3 no gap", "there")], 5)
    assert [(p.promise, p.holds) for p in findings.promises] == [("G3 no gap", False)]
    assert "2 times" in findings.promises[0].figure
    assert findings.table().splitlines()[1].startswith("BROKEN")


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(n) for n in range(100)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([], 0.99) == 0.0
