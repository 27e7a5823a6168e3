"""The WebSocket class: uvicorn's private names that it stands on, and its bounds against a raw peer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import os
import re
import socket
import struct
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import Protocol

from leeside_protocol.codec import decode_server
from leeside_protocol.errors import CloseCode
from leeside_protocol.limits import FRAME_BYTES, STALL_S
from leeside_protocol.messages import Challenge
from leeside_server.relay import direct, handshake
from leeside_server.relay.direct import FRAGMENTS
from leeside_server.relay.frames import close_frame, frame, payloads
from leeside_server.relay.socket import Socket
from tests.relay.world import World, served, serving, world
from tests.support.patience import PATIENCE_S

METHODS = {
    "connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing", "shutdown",
    "handle_text", "handle_bytes", "handle_cont", "handle_ping", "handle_pong", "handle_close",
    "handle_parser_exception", "send_receive_event_to_app", "run_asgi", "send_500_response", "stop_keepalive",
}  # fmt: skip
ATTRIBUTES = {
    "app", "loop", "logger", "transport", "conn", "queue", "scope", "request", "response", "receive", "send",
    "handshake_complete", "close_sent", "close_timer", "read_paused", "frames",
}  # fmt: skip


def test_uvicorn_is_the_one_this_class_was_written_for() -> None:
    assert uvicorn.__version__ == "0.54.0"
    assert set(dir(WebSocketsSansIOProtocol)) >= METHODS
    source = inspect.getsource(WebSocketsSansIOProtocol)
    for name in ATTRIBUTES:
        assert f"self.{name}" in source, name
    for name in ("max_message_size", "max_fragment_size", "current_size", "parser_exc", "state"):
        assert f"self.{name}" in inspect.getsource(Protocol.__init__)
    for name in (
        "connection_made",
        "connection_lost",
        "data_received",
        "on_headers_complete",
        "on_message_complete",
        "on_response_complete",
        "handle_websocket_upgrade",
        "pause_writing",
        "resume_writing",
        "timeout_keep_alive_handler",
    ):
        assert hasattr(HttpToolsProtocol, name), name


def test_what_a_detached_connection_let_go_is_not_read_any_more() -> None:
    """Of uvicorn's methods that run after the handshake, and of ours."""
    after = ["connection_lost", "data_received", "handle_events", "handle_ping", "handle_pong", "handle_close",
             "stop_keepalive", "pause_writing", "resume_writing"]  # fmt: skip
    source = "".join(inspect.getsource(getattr(WebSocketsSansIOProtocol, name)) for name in after)
    read = {name for name in direct.HANDSHAKE_ONLY if re.search(rf"self\.{name}\b", source)}
    # The RTT of a ping of ours, and the client's address in a trace: neither happens here.
    assert read <= {"ping_sent_at", "last_ping_rtt", "client"}


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_is_read_back(size: int) -> None:
    payload = os.urandom(size)
    assert list(payloads(frame(payload) + frame(b"next"))) == [payload, b"next"]


@pytest.fixture
async def w(tmp_path: Path) -> AsyncGenerator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def port(w: World) -> AsyncGenerator[int]:
    async with serving(w) as number:
        yield number


class Raw:
    """A peer that may send any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> None:
        size = len(payload)
        head = bytes(((0x80 if fin else 0) | opcode,))
        bit = 0x80 if masked else 0
        if size < 126:
            head += bytes((bit | size,))
        elif size < 0x10000:
            head += bytes((bit | 126,)) + struct.pack(">H", size)
        else:
            head += bytes((bit | 127,)) + struct.pack(">Q", size)
        # A mask of zeros leaves the payload as it is.
        self.writer.write(head + (bytes(4) if masked else b"") + payload)

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(PATIENCE_S):
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")


async def raw(port: int) -> Raw:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /v1/socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: leeside.v1\r\n"
        f"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
    )
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"permessage-deflate" not in answer
    peer = Raw(reader, writer)
    opcode, payload = await peer.frame()
    assert opcode == 2
    assert isinstance(decode_server(payload), Challenge)
    return peer


async def test_a_ping_is_answered(port: int) -> None:
    peer = await raw(port)
    peer.send(9, b"there?")
    assert await peer.frame() == (10, b"there?")
    peer.writer.close()


async def test_text_is_a_violation(port: int) -> None:
    peer = await raw(port)
    peer.send(1, b"hello")
    assert await peer.close_code() == CloseCode.PROTOCOL
    peer.writer.close()


async def test_a_message_beyond_the_frame_limit_is_too_large(port: int) -> None:
    peer = await raw(port)
    peer.send(2, bytes(FRAME_BYTES + 1))
    assert await peer.close_code() == CloseCode.TOO_LARGE
    peer.writer.close()


async def test_a_message_too_large_in_pieces_is_too_large(port: int) -> None:
    peer = await raw(port)
    peer.send(2, bytes(FRAME_BYTES), fin=False)
    peer.send(0, bytes(1))
    assert await peer.close_code() == CloseCode.TOO_LARGE
    peer.writer.close()


async def test_endless_empty_pieces_are_a_violation(port: int) -> None:
    peer = await raw(port)
    peer.send(2, b"", fin=False)
    for _ in range(FRAGMENTS):
        peer.send(0, b"", fin=False)
    assert await peer.close_code() == CloseCode.PROTOCOL
    peer.writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01x",
        b"\xf2\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x89\xfe\x00\xff" + bytes(300),
    ],
    ids=["unmasked", "reserved bits", "continues nothing", "unknown opcode", "long ping"],
)
async def test_broken_framing_is_a_violation(port: int, data: bytes) -> None:
    peer = await raw(port)
    peer.writer.write(data)
    assert await peer.close_code() == CloseCode.PROTOCOL
    assert await peer.reader.read() == b""
    peer.writer.close()


async def test_a_peer_may_close_and_is_answered(w: World, port: int) -> None:
    peer = await raw(port)
    peer.send(8, (1000).to_bytes(2, "big"))
    assert await peer.close_code() == 1000
    assert await peer.reader.read() == b""
    peer.writer.close()


async def test_our_close_frame_names_its_code(port: int) -> None:
    peer = await raw(port)
    peer.send(2, b"\xc1")
    assert await peer.frame() == (8, close_frame(CloseCode.PROTOCOL)[2:])
    peer.writer.close()


async def test_a_connection_that_is_cut_leaves_nothing(w: World, port: int) -> None:
    peer = await raw(port)
    assert len(w.node.sockets) == 1
    peer.writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        while len(w.node.sockets):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_header_that_never_ends_is_given_up(
    w: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HEADER_DEADLINE_S", 0.05)
    for sent in (b"", b"GET /v1/socket HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_a_header_without_bound_is_given_up(w: World, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * (2 * handshake.HEADER_BYTES))
    answer = b""
    # Bytes that we did not read make the kernel reset the connection: given up all the same.
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    writer.close()


async def test_a_body_that_nobody_waits_for_does_not_hold_a_connection(
    w: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HEADER_DEADLINE_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await reader.read(100)
    writer.close()


async def test_trailers_without_end_are_not_kept(
    w: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HEADER_DEADLINE_S", 2 * PATIENCE_S)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    sent = 0
    # Sooner than the time in which a body that nobody waits for must end.
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"X-%d: trailer\r\n" % sent * 1_000)
                sent += 1
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await reader.read(1_000)
    writer.close()


async def test_requests_sent_ahead_without_end_are_not_taken_in(w: World, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200") <= handshake.PIPELINED + 1
    writer.close()


async def test_a_few_requests_sent_ahead_are_answered(w: World, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * handshake.PIPELINED)
    for _ in range(handshake.PIPELINED):
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"}")
    writer.close()


async def test_an_answer_that_nobody_reads_does_not_hold_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "UNREAD_S", 0.05)
    gone = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            await send({"type": "http.response.body", "body": bytes(32_000_000), "more_body": True})
        # The second waited until the first was taken, or the connection gone.
        gone.set()
        await send({"type": "http.response.body", "body": b""})

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_S):
                while data := await reader.read(1_000_000):
                    taken += len(data)
        assert taken < 32_000_000
        writer.close()


class Draining(asyncio.Transport):
    """A connection whose unsent bytes a test counts."""

    unsent = 0
    aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


async def test_an_answer_that_is_taken_slowly_may_take_long() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    config, transport = uvicorn.Config(app, log_config=None), Draining()
    protocol = handshake.HeaderDeadline(config, ServerState(), {})
    protocol.connection_made(transport)
    transport.unsent = 1_000_000
    protocol.pause_writing()
    look = protocol._look_at_reader  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    for left in (999_999, 100_000):
        transport.unsent = left
        look()
        assert not transport.aborted
    look()
    assert transport.aborted
    protocol.connection_lost(ConnectionResetError())


async def test_a_later_request_on_the_same_connection_is_served(w: World, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(b'{"status":"ok"}')) == b'{"status":"ok"}'
    writer.close()


def test_the_kernel_leaves_a_stalled_client_to_the_session() -> None:
    # Linux resets a connection whose window stays shut for TCP_USER_TIMEOUT, though the peer answers every probe.
    assert direct.USER_TIMEOUT_MS / 1_000 > STALL_S + 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what its kernel holds")
async def test_what_the_kernel_holds_for_a_revoked_device_is_dropped(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires: list[direct.DirectSocket] = []
    detach = direct.DirectSocket.detach

    def noted(self: direct.DirectSocket) -> None:
        wires.append(self)
        detach(self)

    monkeypatch.setattr(direct.DirectSocket, "detach", noted)
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", port))
        await loop.sock_sendall(peer, request())
        got = b""
        while frame(b"")[:1] not in got.partition(b"\r\n\r\n")[2]:
            got += await loop.sock_recv(peer, 4_096)
        (wire,) = wires
        session = wire.user
        assert isinstance(session, Socket)
        wire.write(frame(bytes(60_000)))
        assert wire.buffered() == 0
        assert wire.unsent() > 0
        session.revoke(CloseCode.REVOKED)
        # The loop closes what was aborted in its next turn; this peer shares the loop, and must not read before.
        await asyncio.sleep(0)
        got, reset = b"", False
        while not reset:
            try:
                data = await loop.sock_recv(peer, 4_096)
            except ConnectionResetError:
                reset = True
            else:
                assert data, "the connection ended as if all were well"
                got += data
    assert len(got) < 60_000


GOOD = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "leeside.v1",
}


def request(line: str = "GET /v1/socket HTTP/1.1", **changed: str | None) -> bytes:
    """An upgrade; headers by name with underscores, None leaves one out."""
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


UPGRADES = {
    "good": request(),
    "keep-alive too": request(Connection="keep-alive, Upgrade"),
    "case": request(Upgrade="WebSocket", Connection="upgrade"),
    "query and escapes": request("GET /v1/socket?a=%20b HTTP/1.1"),
    "another path": request("GET /v1/other HTTP/1.1"),
    "latin-1": request(X_Name="caf\xe9"),
    "two subprotocols": request(Sec_WebSocket_Protocol="other, leeside.v1"),
    "no subprotocol": request(Sec_WebSocket_Protocol=None),
    "foreign origin": request(Origin="https://evil.example"),
    "POST": request("POST /v1/socket HTTP/1.1"),
    "HTTP/1.0": request("GET /v1/socket HTTP/1.0"),
    "no key": request(Sec_WebSocket_Key=None),
    "short key": request(Sec_WebSocket_Key="dGhl"),
    "no base64": request(Sec_WebSocket_Key="?"),
    "two keys": request()[:-2] + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "old version": request(Sec_WebSocket_Version="8"),
    "no version": request(Sec_WebSocket_Version=None),
    "not an upgrade": request(Connection="close"),
    "another upgrade": request(Upgrade="h2c"),
    "empty body": request(Content_Length="0"),
}


async def answer_to(port: int, data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, headers but the date, and what kind of byte follows them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(PATIENCE_S):
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        following = await reader.read(1)
    writer.close()
    return head[0], sorted(line for line in head[1:] if not line.lower().startswith(b"date")), following


@pytest.mark.parametrize("name", UPGRADES)
async def test_the_short_way_answers_as_the_long_one(
    port: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every upgrade, good and bad, gets what `websockets` would answer behind its own parser."""
    short = await answer_to(port, UPGRADES[name])
    uvicorns = HttpToolsProtocol.handle_websocket_upgrade
    monkeypatch.setattr(handshake.HeaderDeadline, "handle_websocket_upgrade", uvicorns)
    assert await answer_to(port, UPGRADES[name]) == short


@pytest.mark.parametrize("header", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_an_upgrade_with_a_body_is_refused_and_closed(port: int, header: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request()[:-2] + header.encode() + b"\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
