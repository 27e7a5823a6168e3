"""Thousands of WebSocket connections opened from one thread, each by a script that knows its server's protocol.

A `Script` gets what arrives and gives what to send until it is `done`. What is left afterwards is a plain socket, which
the load program reads (tests/bench/load.c). Frames to the server are masked with the zero key, as in tests/faults/wire.py.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from leeside_protocol.codec import decode_server, encode
from leeside_protocol.ids import ChannelAddress
from leeside_protocol.messages import (
    SUBPROTOCOL,
    Batch,
    Challenge,
    ClientBeat,
    Hello,
    Refused,
    Subscribe,
    Subscribed,
    Welcome,
)
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from tests.faults.wire import BINARY, masked
from tests.support.services import HOST

TEXT: Final = 0x1
BEAT_EVERY_S: Final = 8.0
AT_ONCE: Final = 256
"""Connections under way at a time, where the run is not about a storm."""
BEAT: Final = masked(encode(ClientBeat()))
RECEIVE: Final = 65_536


class DialFailed(RuntimeError):
    """A connection could not be made or was refused."""


class Script(Protocol):
    """One connection's opening. `done`: it is open, signed in and subscribed."""

    done: bool

    def begin(self) -> bytes:
        """What to send first."""
        ...

    def take(self, data: bytes) -> bytes:
        """What to send upon what arrived; may be nothing. Raises `DialFailed`."""
        ...


class WebSocketOpening:
    """The upgrade alone: done with the answer 101. Others build on it."""

    def __init__(self, path: str, subprotocol: str = "") -> None:
        self.done = False
        self._path = path
        self._subprotocol = subprotocol
        self._buffer = bytearray()
        self._upgraded = False

    def begin(self) -> bytes:
        wanted = f"Sec-WebSocket-Protocol: {self._subprotocol}\r\n" if self._subprotocol else ""
        return (
            f"GET {self._path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{wanted}\r\n"
        ).encode()

    def take(self, data: bytes) -> bytes:
        buffer = self._buffer
        buffer += data
        out = b""
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return b""
            if not buffer.startswith(b"HTTP/1.1 101"):
                raise DialFailed(f"no upgrade: {bytes(buffer[:60])!r}")
            del buffer[: end + 4]
            self._upgraded = True
            out = self.upgraded()
        return out + b"".join(self.message(payload) for payload in self._messages())

    def upgraded(self) -> bytes:
        """What to send once the WebSocket is open."""
        self.done = True
        return b""

    def message(self, payload: bytes) -> bytes:
        """What to send upon a message."""
        return b""

    def _messages(self) -> list[bytes]:
        found: list[bytes] = []
        buffer = self._buffer
        start = 0
        while len(buffer) - start >= 2:
            opcode, size, begin = buffer[start] & 0x0F, buffer[start + 1] & 0x7F, start + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size = int.from_bytes(buffer[begin : begin + width], "big")
                begin += width
            if len(buffer) < begin + size:
                break
            start = begin + size
            if opcode == 0x8:
                raise DialFailed(f"closed with {int.from_bytes(buffer[begin : begin + 2], 'big')}")
            if opcode in (TEXT, BINARY):
                found.append(bytes(buffer[begin:start]))
        del buffer[:start]
        return found


class LeesideOpening(WebSocketOpening):
    """Sign in, then follow logs from a position each, up to their heads.

    `follows`: address, generation, offset. `received` counts the entries that came; `positions` has the end of each
    log as generation and offset.
    """

    def __init__(
        self,
        token: str,
        sign: Callable[[bytes], bytes],
        follows: Sequence[tuple[ChannelAddress, int, int]] = (),
    ) -> None:
        super().__init__("/v1/socket", SUBPROTOCOL)
        self.received = 0
        self.positions: dict[ChannelAddress, tuple[int, int]] = {}
        self._token = token
        self._sign = sign
        self._follows = follows
        self._heads: dict[ChannelAddress, int] = {}
        self._reached = {channel: offset for channel, _, offset in follows}

    def upgraded(self) -> bytes:
        return b""

    def message(self, payload: bytes) -> bytes:
        message = decode_server(payload)
        if isinstance(message, Challenge):
            proof = self._sign(pae(PREFIX + b"socket", message.nonce, self._token.encode()))
            return masked(encode(Hello(self._token, proof, "bench")))
        if isinstance(message, Welcome):
            self._judge()
            return b"".join(
                masked(encode(Subscribe(req, channel, generation, offset)))
                for req, (channel, generation, offset) in enumerate(self._follows, start=1)
            )
        if isinstance(message, Subscribed):
            self._heads[message.channel] = message.head
            self.positions[message.channel] = (message.generation, message.head)
        elif isinstance(message, Batch):
            self.received += len(message.entries)
            self._reached[message.channel] = message.to
        elif isinstance(message, Refused):
            raise DialFailed(f"refused with {message.error}")
        self._judge()
        return b""

    def _judge(self) -> None:
        heads, reached = self._heads, self._reached
        self.done = len(heads) == len(self._follows) and all(reached[c] >= head for c, head in heads.items())


class MqttOpening(WebSocketOpening):
    """CONNECT, then SUBSCRIBE to the topic `t` at QoS 0 if wanted."""

    def __init__(self, client_id: str, *, subscribe: bool) -> None:
        super().__init__("/mqtt", "mqtt")
        self._id = client_id.encode()
        self._subscribe = subscribe

    def upgraded(self) -> bytes:
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(self._id)) + self._id
        return masked(bytes((0x10, len(body))) + body)

    def message(self, payload: bytes) -> bytes:
        if payload.startswith(b"\x20\x02\x00\x00"):
            if self._subscribe:
                return masked(b"\x82\x06\x00\x01\x00\x01t\x00")
            self.done = True
        elif payload.startswith(b"\x90"):
            self.done = True
        return b""


class NatsOpening(WebSocketOpening):
    """CONNECT, then what the client says first (`SUB t 1`), and PING: done with PONG."""

    def __init__(self, orders: bytes = b"") -> None:
        super().__init__("/")
        self._orders = orders
        self._told = False

    def upgraded(self) -> bytes:
        return b""

    def message(self, payload: bytes) -> bytes:
        if not self._told and b"INFO" in payload:
            self._told = True
            return masked(b'CONNECT {"verbose":false,"pedantic":false}\r\n' + self._orders + b"PING\r\n")
        if b"-ERR" in payload:
            raise DialFailed(payload.decode(errors="replace"))
        if b"PONG" in payload:
            self.done = True
        return b""


class SocketIoOpening(WebSocketOpening):
    """Engine.IO's opening, then the default namespace; the query decides whether the server puts it in the room."""

    def __init__(self, *, subscribe: bool) -> None:
        super().__init__(f"/socket.io/?EIO=4&transport=websocket{'&sub=1' if subscribe else ''}")

    def upgraded(self) -> bytes:
        return b""

    def message(self, payload: bytes) -> bytes:
        if payload.startswith(b"0{"):
            return masked(b"40", TEXT)
        if payload.startswith(b"40"):
            self.done = True
        return b""


@dataclass(frozen=True, slots=True)
class Dialled:
    """Open connections. Close them."""

    sockets: tuple[socket.socket, ...]
    scripts: tuple[Script, ...]
    """In the order of `sockets`: what became of each."""
    took_s: float
    """From the first connect to the last script's end."""
    waits_s: tuple[float, ...]
    """Each connection's own time, from its first connect, sorted."""
    again: int
    """Connections that the server ended before they were open, and that were made again."""

    @property
    def descriptors(self) -> list[int]:
        return [handle.fileno() for handle in self.sockets]

    def close(self) -> None:
        """Close all of them."""
        for handle in self.sockets:
            handle.close()


def dial(
    port: int,
    scripts: Sequence[Script],
    *,
    at_once: int = AT_ONCE,
    deadline_s: float = 120.0,
    receive_bytes: int = 0,
    beat: bytes = b"",
    again: Callable[[], Script] | None = None,
) -> Dialled:
    """Open a connection for each script. Raises `DialFailed`; then all are closed.

    `receive_bytes` bounds what the kernel takes for a connection that is not read; 0 leaves it as it is. `beat` is what
    open connections say while a slow server lets the others wait. With `again`, who is turned away or closed comes back
    at once, with the script that this gives: as clients do, if less patiently.
    """
    dialler = _Dialler(port, list(scripts), receive_bytes, again)
    try:
        return dialler.run(at_once, deadline_s, beat)
    except (OSError, DialFailed) as problem:
        dialler.close()
        raise DialFailed(str(problem)) from problem
    finally:
        dialler.poll.close()


class _Dialler:
    """One dial: which connections are under way, and how far each is."""

    def __init__(
        self, port: int, scripts: list[Script], receive_bytes: int, again: Callable[[], Script] | None
    ) -> None:
        self.poll = select.epoll()
        self._port = port
        self._scripts = scripts
        self._receive_bytes = receive_bytes
        self._again = again
        self._handles: list[socket.socket] = []
        self._places: dict[int, int] = {}
        self._connecting: set[int] = set()
        self._began_s: list[float] = []
        self._waits_s: list[float] = []
        self._repeats = 0

    def run(self, at_once: int, deadline_s: float, beat: bytes) -> Dialled:
        begun_s = beaten_s = time.monotonic()
        count, handles = len(self._scripts), self._handles
        while len(self._waits_s) < count:
            while len(handles) < count and len(handles) - len(self._waits_s) < at_once:
                self._began_s.append(time.monotonic())
                handles.append(self._connect(len(handles)))
            now_s = time.monotonic()
            if now_s - begun_s > deadline_s:
                raise DialFailed(f"{len(self._waits_s)} of {count} connections within {deadline_s:.0f} s")
            if beat and now_s - beaten_s > BEAT_EVERY_S:
                beaten_s = now_s
                for handle, script in zip(handles, self._scripts, strict=False):
                    if script.done:
                        _send(handle, beat)
            for descriptor, _ in self.poll.poll(1.0, 1024):
                self._advance(descriptor, self._places[descriptor])
        took_s = time.monotonic() - begun_s
        return Dialled(
            tuple(handles), tuple(self._scripts), took_s, tuple(sorted(self._waits_s)), self._repeats
        )

    def close(self) -> None:
        for handle in self._handles:
            handle.close()

    def _advance(self, descriptor: int, number: int) -> None:
        try:
            self._step(descriptor, number)
        except (OSError, DialFailed):
            if self._again is None:
                raise
            self._repeats += 1
            self._handles[number].close()
            self._scripts[number] = self._again()
            self._handles[number] = self._connect(number)

    def _step(self, descriptor: int, number: int) -> None:
        handle, script = self._handles[number], self._scripts[number]
        if descriptor in self._connecting:
            self._connecting.discard(descriptor)
            refused = handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                raise DialFailed(f"connection {number}: {errno.errorcode.get(refused, refused)}")
            self.poll.modify(descriptor, select.EPOLLIN)
            _send(handle, script.begin())
            return
        data = handle.recv(RECEIVE)
        if not data:
            raise DialFailed(f"connection {number} was closed by the server")
        answer = script.take(data)
        if answer:
            _send(handle, answer)
        if script.done:
            self._waits_s.append(time.monotonic() - self._began_s[number])
            self.poll.unregister(descriptor)

    def _connect(self, number: int) -> socket.socket:
        handle = socket.socket()
        handle.setblocking(False)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._receive_bytes:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        code = handle.connect_ex((HOST, self._port))
        if code not in (0, errno.EINPROGRESS):
            handle.close()
            raise DialFailed(errno.errorcode.get(code, str(code)))
        self._places[handle.fileno()] = number
        self._connecting.add(handle.fileno())
        self.poll.register(handle.fileno(), select.EPOLLOUT)
        return handle


def _send(handle: socket.socket, data: bytes) -> None:
    if handle.send(data) != len(data):
        raise DialFailed("the kernel took only a part of an opening")
