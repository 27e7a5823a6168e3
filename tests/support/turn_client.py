"""A small TURN client (RFC 8656) over UDP or TLS, to see what a server grants and what it refuses.

    with TurnClient(server, username, credential) as client:
        client.allocate()                       # raises Refused(401), Refused(486)
        client.permit(("192.0.2.7", 5000))      # raises Refused(403)
        client.send(b"…", ("192.0.2.7", 5000))
        client.receive()                        # (data, peer)

It blocks, and is not safe to share between threads. Nothing checks what a server signs: it is for tests.
"""

import contextlib
import hashlib
import hmac
import ipaddress
import secrets
import socket
import ssl
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

Address = tuple[str, int]

COOKIE: Final = 0x2112A442
TRIES: Final = 4

ALLOCATE, REFRESH, SEND, DATA, PERMISSION, CHANNEL_BIND = 0x003, 0x004, 0x016, 0x017, 0x008, 0x009
BINDING: Final = 0x001
ERROR: Final = 0x110

USERNAME, INTEGRITY, ERROR_CODE, CHANNEL, LIFETIME = 0x0006, 0x0008, 0x0009, 0x000C, 0x000D
PEER, PAYLOAD, REALM, NONCE, RELAYED = 0x0012, 0x0013, 0x0014, 0x0015, 0x0016
FAMILY, TRANSPORT, FINGERPRINT = 0x0017, 0x0019, 0x8028
UDP: Final = 17
TCP: Final = 6


class Refused(Exception):
    """The server answered with an error: its code is `code` (RFC 8656, section 19)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code}")
        self.code = code


class NoAnswer(Exception):
    """The server said nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One message of the server: its type and its attributes (the first of each)."""

    kind: int
    transaction: bytes
    attributes: dict[int, bytes]


def attribute(number: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)


def xor_address(address: Address, transaction: bytes) -> bytes:
    """An address as STUN hides it from gateways that rewrite them."""
    packed = ipaddress.ip_address(address[0]).packed
    pad = struct.pack("!I", COOKIE) + transaction
    hidden = bytes(a ^ b for a, b in zip(packed, pad, strict=False))
    return struct.pack("!BBH", 0, 1 if len(packed) == 4 else 2, address[1] ^ (COOKIE >> 16)) + hidden


def read_address(value: bytes, transaction: bytes) -> Address:
    """The address behind `xor_address`."""
    pad = struct.pack("!I", COOKIE) + transaction
    packed = bytes(a ^ b for a, b in zip(value[4:], pad, strict=False))
    return str(ipaddress.ip_address(packed)), struct.unpack_from("!H", value, 2)[0] ^ (COOKIE >> 16)


def read_answer(data: bytes) -> Answer:
    """Take a message apart."""
    kind, length = struct.unpack_from("!HH", data)
    attributes: dict[int, bytes] = {}
    at = 20
    while at < 20 + length:
        number, size = struct.unpack_from("!HH", data, at)
        attributes.setdefault(number, data[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    return Answer(kind, data[8:20], attributes)


@dataclass(slots=True)
class TurnClient:
    """One client with one allocation. `family`: 4 or 6, of the relayed address. `tls`: over TLS with this context."""

    server: Address
    username: str
    credential: str
    family: int = 4
    tls: ssl.SSLContext | None = None
    tls_name: str = ""
    patience_s: float = 3.0
    """For each of `TRIES` attempts."""
    relayed: Address | None = None
    _line: socket.socket = field(init=False)
    _rest: bytes = b""
    _realm: bytes = b""
    _nonce: bytes = b""

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        family = socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET
        self._line = socket.socket(family, socket.SOCK_DGRAM if self.tls is None else socket.SOCK_STREAM)
        self._line.settimeout(self.patience_s)
        self._line.connect(self.server)
        if self.tls is not None:
            self._line = self.tls.wrap_socket(self._line, server_hostname=self.tls_name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the allocation back, and close. Idempotent."""
        if self.relayed is not None:
            self.relayed = None
            with contextlib.suppress(Refused, NoAnswer, OSError):
                self.refresh(0)
        self._line.close()

    def allocate(self, lifetime_s: int | None = None, transport: int = UDP) -> Answer:
        """Ask for a relayed address. Raises `Refused`, `NoAnswer`.

        From another port if the server still knows an allocation from this one (437): the system may give us a port that
        somebody let go of a moment ago (RFC 8656, section 7.4).
        """
        wanted = attribute(TRANSPORT, bytes((transport, 0, 0, 0)))
        if self.family == 6:
            wanted += attribute(FAMILY, bytes((2, 0, 0, 0)))
        if lifetime_s is not None:
            wanted += attribute(LIFETIME, struct.pack("!I", lifetime_s))
        answer = self._granted(wanted, TRIES)
        self.relayed = read_address(answer.attributes[RELAYED], answer.transaction)
        return answer

    def _granted(self, wanted: bytes, tries: int) -> Answer:
        try:
            return self._ask(ALLOCATE, lambda _: wanted)
        except Refused as refusal:
            if refusal.code != 437 or self.relayed is not None or tries == 1:
                raise
        self._line.close()
        self._open()
        return self._granted(wanted, tries - 1)

    def refresh(self, lifetime_s: int) -> int:
        """Ask for more time; returns what was granted, in seconds. Raises `Refused`, `NoAnswer`."""
        answer = self._ask(REFRESH, lambda _: attribute(LIFETIME, struct.pack("!I", lifetime_s)))
        return int(struct.unpack("!I", answer.attributes[LIFETIME])[0])

    def permit(self, *peers: Address) -> None:
        """Ask to exchange data with these. Raises `Refused`, `NoAnswer`."""
        self._ask(PERMISSION, lambda t: b"".join(attribute(PEER, xor_address(peer, t)) for peer in peers))

    def bind(self, channel: int, peer: Address) -> None:
        """Ask for a channel to a peer. Raises `Refused`, `NoAnswer`."""
        wanted = attribute(CHANNEL, struct.pack("!HH", channel, 0))
        self._ask(CHANNEL_BIND, lambda t: wanted + attribute(PEER, xor_address(peer, t)))

    def send(self, data: bytes, peer: Address) -> None:
        """Have data sent to a peer, as an indication: nobody answers."""
        transaction = secrets.token_bytes(12)
        body = attribute(PEER, xor_address(peer, transaction)) + attribute(PAYLOAD, data)
        self._line.sendall(self._head(SEND, len(body), transaction) + body)

    def send_on(self, channel: int, data: bytes) -> None:
        """Have data sent on a bound channel."""
        self._line.sendall(struct.pack("!HH", channel, len(data)) + data + bytes(-len(data) % 4))

    def receive(self) -> tuple[bytes, Address]:
        """The next data that a peer sent, by indication. Raises `NoAnswer`."""
        while True:
            answer = read_answer(self._message())
            if answer.kind == DATA:
                return answer.attributes[PAYLOAD], read_address(answer.attributes[PEER], answer.transaction)

    def ask_binding(self) -> Answer:
        """A STUN Binding request without any credential (RFC 8489). Raises `Refused`, `NoAnswer`."""
        return self._exchange(BINDING, b"", secrets.token_bytes(12), signed=False)

    # ---- messages

    @staticmethod
    def _head(kind: int, length: int, transaction: bytes) -> bytes:
        return struct.pack("!HHI", kind, length, COOKIE) + transaction

    def _ask(self, kind: int, build: Callable[[bytes], bytes]) -> Answer:
        """A request with credentials; the first one learns realm and nonce, and a stale nonce is replaced once."""
        for _ in range(2):
            known = self._nonce
            transaction = secrets.token_bytes(12)
            try:
                return self._exchange(kind, build(transaction), transaction, signed=bool(known))
            except Refused as refusal:
                if refusal.code != 438 and (refusal.code != 401 or known):
                    raise
        transaction = secrets.token_bytes(12)
        return self._exchange(kind, build(transaction), transaction, signed=True)

    def _signed(self, kind: int, body: bytes, transaction: bytes) -> bytes:
        body += (
            attribute(USERNAME, self.username.encode())
            + attribute(REALM, self._realm)
            + attribute(NONCE, self._nonce)
        )
        # The long-term credential of RFC 8489, section 9.2.2; MD5 is the protocol's choice.
        whole = b":".join((self.username.encode(), self._realm, self.credential.encode()))
        key = hashlib.md5(whole, usedforsecurity=False).digest()
        tag = hmac.digest(key, self._head(kind, len(body) + 24, transaction) + body, "sha1")
        return body + attribute(INTEGRITY, tag)

    def _exchange(self, kind: int, body: bytes, transaction: bytes, *, signed: bool) -> Answer:
        if signed:
            body = self._signed(kind, body, transaction)
        head = self._head(kind, len(body) + 8, transaction)
        message = (
            head + body + attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(head + body) ^ 0x5354554E))
        )
        for _ in range(TRIES if self.tls is None else 1):
            self._line.sendall(message)
            with contextlib.suppress(NoAnswer):
                return self._answer_to(transaction)
        raise NoAnswer

    def _answer_to(self, transaction: bytes) -> Answer:
        while True:
            answer = read_answer(self._message())
            if answer.transaction != transaction:
                continue
            if answer.kind & ERROR == ERROR:
                self._realm = answer.attributes.get(REALM, self._realm)
                self._nonce = answer.attributes.get(NONCE, self._nonce)
                code = answer.attributes[ERROR_CODE]
                raise Refused(code[2] * 100 + code[3])
            return answer

    def _message(self) -> bytes:
        """The next message, channel data left out. Raises `NoAnswer`."""
        try:
            while True:
                data = self._line.recv(65_536) if self.tls is None else self._from_stream()
                if len(data) >= 20 and data[0] < 0x40:
                    return data
        except (TimeoutError, ConnectionRefusedError):
            raise NoAnswer from None

    def _from_stream(self) -> bytes:
        while len(self._rest) < 4 or len(self._rest) < self._length():
            got = self._line.recv(65_536)
            if not got:
                raise NoAnswer
            self._rest += got
        length = self._length()
        message, self._rest = self._rest[:length], self._rest[length:]
        return message

    def _length(self) -> int:
        size = int(struct.unpack_from("!H", self._rest, 2)[0])
        return 20 + size if self._rest[0] < 0x40 else 4 + size + -size % 4
