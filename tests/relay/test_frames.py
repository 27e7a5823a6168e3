"""Frames that arrive: what `DirectSocket` takes apart itself is what the parser of `websockets` would have made of it."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Iterator
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import OPEN, Protocol

from leeside_protocol.errors import CloseCode
from leeside_protocol.limits import FRAME_BYTES
from leeside_server.relay.direct import DirectSocket

HEADERS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class FakeTransport:
    """Notes what is written; closing stops nothing, so that the test decides what still arrives."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class User:
    """Notes what it is told, and closes upon a violation, as a session does."""

    def __init__(self, wire: DirectSocket) -> None:
        self.told: list[object] = []
        self.wire = wire

    def on_message(self, data: bytes) -> None:
        self.told.append(bytes(data))
        if data == b"close me":
            self.wire.close(CloseCode.REVOKED)

    def on_sign_of_life(self) -> None:
        self.told.append("alive")

    def on_violation(self, code: CloseCode) -> None:
        self.told.append(code)
        self.wire.close(code)

    def on_congested(self) -> None: ...

    def on_writable(self) -> None: ...

    def on_shutdown(self) -> None: ...

    def on_close(self) -> None: ...


class ParserAlone(DirectSocket):
    """The same, without the short way."""

    def data_received(self, data: bytes) -> None:
        WebSocketsSansIOProtocol.data_received(self, data)


async def app(_scope: object, _receive: object, _send: object) -> None:
    """Never started."""


def connected(kind: type[DirectSocket], loop: asyncio.AbstractEventLoop) -> tuple[DirectSocket, User]:
    """A connection behind its handshake."""
    config = uvicorn.Config(cast("Any", app), ws=kind, log_config=None, ws_per_message_deflate=False)
    config.load()
    wire = kind(config, ServerState(), {}, loop)
    wire.transport = cast("asyncio.Transport", FakeTransport())
    request = Request("/", Headers(HEADERS))
    wire.conn.parser = Protocol.parse(wire.conn)
    next(wire.conn.parser)
    wire.conn.send_response(wire.conn.accept(request))
    wire.conn.data_to_send()
    assert wire.conn.state is OPEN
    wire.handshake_complete = True
    user = User(wire)
    wire.attach(user)
    wire.detach()
    return wire, user


def frame(first: int, payload: bytes, *, masked: bool = True, width: int = 0) -> bytes:
    """A frame of a client; `width` forces the length into 2 or 8 bytes."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if width == 8 or size > 0xFFFF:
        head = bytes((first, bit | 127)) + struct.pack(">Q", size)
    elif width == 2 or size > 125:
        head = bytes((first, bit | 126)) + struct.pack(">H", size)
    else:
        head = bytes((first, bit | size))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def some_frame(rng: random.Random) -> bytes:
    """Mostly what clients send, and everything else there is."""
    payload = rng.randbytes(rng.choice([0, 1, 4, 125, 126, 127, 300, 2_000]))
    kind = rng.random()
    if kind < 0.6:
        return frame(0x82, payload)
    first, width, masked = 0x82, 0, True
    choice = rng.randrange(12)
    if choice == 0:
        first = 0x81  # text
    elif choice == 1:
        first = 0x02  # a message in fragments begins
    elif choice == 2:
        first = rng.choice((0x00, 0x80))  # and goes on, or ends
    elif choice == 3:
        first, payload = 0x89, payload[:125]
    elif choice == 4:
        first, payload = 0x8A, payload[:125]
    elif choice == 5:
        first, payload = 0x88, rng.choice([b"", struct.pack(">H", 1000), b"\x03", struct.pack(">H", 999)])
    elif choice == 6:
        first = rng.choice((0xC2, 0xA2, 0x92, 0x83, 0x8B))  # reserved
    elif choice == 7:
        masked = False
    elif choice == 8:
        width = rng.choice((2, 8))  # longer than it need be
    elif choice == 9:
        payload = rng.randbytes(FRAME_BYTES + rng.choice((-1, 0, 1)))
    elif choice == 10:
        payload = b"close me"
    else:
        return rng.randbytes(rng.randrange(20))
    return frame(first, payload, masked=masked, width=width)


def chunks(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut as the network may: whole, byte by byte, or anywhere."""
    step = rng.choice((len(data) or 1, 1 if len(data) < 3_000 else 997, 7, 4_096))
    at = 0
    while at < len(data):
        size = step if rng.random() < 0.7 else rng.randrange(1, 2 * step + 1)
        yield data[at : at + size]
        at += size


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


def same(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> User:
    """Feed pieces one way, and the same byte by byte the other; they must say the same after each.

    Byte by byte, because uvicorn forgets the good messages in front of a bad frame when both come in one piece: only
    so much may be missing on our side, too, and only where all is left to the parser.
    """
    (wire, user), (parser, told) = connected(DirectSocket, loop), connected(ParserAlone, loop)
    for piece in pieces:
        if not wire.transport.is_closing():
            wire.data_received(piece)
        for at in range(len(piece)):
            if not parser.transport.is_closing():
                parser.data_received(piece[at : at + 1])
        assert (wire.conn.parser_exc is None) == (parser.conn.parser_exc is None)
        if wire.rest is None and wire.conn.parser_exc is not None:
            assert told.told[: len(user.told) - 1] == user.told[:-1]
            assert told.told[-1] == user.told[-1]
        else:
            assert user.told == told.told
            ours, theirs = (cast("FakeTransport", one.transport).written for one in (wire, parser))
            assert ours == theirs
        assert wire.transport.is_closing() == parser.transport.is_closing()
        assert wire.close_sent == parser.close_sent
        assert wire.rest is None or len(wire.rest) < FRAME_BYTES + 8
    for one in (wire, parser):
        if one.close_timer is not None:
            one.close_timer.cancel()
    return user


@given(seed=st.integers(min_value=0, max_value=1 << 32))
def test_any_frames_in_any_pieces_mean_what_the_parser_says(
    loop: asyncio.AbstractEventLoop, seed: int
) -> None:
    rng = random.Random(seed)
    data = b"".join(some_frame(rng) for _ in range(rng.randrange(1, 12)))
    same(loop, list(chunks(rng, data)))


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1_000_000])
def test_plain_messages_never_see_the_parser(
    loop: asyncio.AbstractEventLoop, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (0, 1, 125, 126, 127, 300, 0xFFFF)
    messages = [os.urandom(size) for size in sizes]
    wire, user = connected(DirectSocket, loop)
    monkeypatch.setattr(wire.conn, "receive_data", None)
    data = b"".join(frame(0x82, message) for message in messages)
    for at in range(0, len(data), step):
        wire.data_received(data[at : at + step])
    assert user.told == messages
    assert wire.rest == b""


def test_a_ping_between_plain_messages_leaves_the_short_way_open(loop: asyncio.AbstractEventLoop) -> None:
    wire, user = connected(DirectSocket, loop)
    wire.data_received(frame(0x82, b"one") + frame(0x89, b"?") + frame(0x82, b"two"))
    assert user.told == [b"one", "alive", b"two"]
    assert wire.rest == b""


def test_an_oversize_frame_is_refused_by_its_header(loop: asyncio.AbstractEventLoop) -> None:
    user = same(loop, [b"\x82\xff" + struct.pack(">Q", FRAME_BYTES + 1)])
    assert user.told == [CloseCode.TOO_LARGE]


def test_an_unmasked_frame_is_refused_before_it_is_whole(loop: asyncio.AbstractEventLoop) -> None:
    user = same(loop, [b"\x82\x05"])
    assert user.told == [CloseCode.PROTOCOL]
