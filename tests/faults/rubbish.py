"""Frames and requests that no correct client sends, one kind each; made from a seed, so that a run can be repeated.

*Broken* ones end their connection (or are refused before there is one); *foreign* ones are well-formed requests for
what does not exist or is not the sender's, and are only refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from leeside_protocol.codec import encode
from leeside_protocol.ids import ChannelAddress, ChannelKind, MessageId, address
from leeside_protocol.limits import FRAME_BYTES, PAYLOAD_BYTES
from leeside_protocol.messages import Publish, Subscribe, Who
from leeside_protocol.words import Lane
from tests.faults.wire import BINARY, CLOSE, PING, masked

Maker = Callable[[random.Random], bytes]


def _pack(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def _frame(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes((first, second)) + rest


def _publish_fields(source: random.Random) -> list[object]:
    return [10, 1, source.randbytes(17), 1, b"", source.randbytes(16), source.randbytes(100)]


def _truncated(source: random.Random) -> bytes:
    whole = _pack(_publish_fields(source))
    return masked(whole[: source.randrange(1, len(whole))])


def _wrong_type(source: random.Random) -> bytes:
    fields = _publish_fields(source)
    wrong: list[object] = [None, -1, 2**63, 1.5, "text", [[1]], {"a": 1}]
    fields[source.randrange(1, len(fields))] = source.choice(wrong)
    return masked(_pack(fields))


def _duplicate_keys(source: random.Random) -> bytes:
    key = _pack("k" * source.randrange(1, 30))
    return masked(bytes((0x82,)) + key + _pack(1) + key + _pack(2))


BROKEN: Final[dict[str, Maker]] = {
    # Not beginning as an array: an unknown odd tag would have to be ignored.
    "random bytes": lambda s: masked(bytes((s.randrange(0xE0, 0x100),)) + s.randbytes(s.randrange(0, 400))),
    "empty": lambda _: masked(b""),
    "truncated message": _truncated,
    "field of a wrong type": _wrong_type,
    "trailing bytes": lambda s: masked(_pack([14, 0]) + s.randbytes(s.randrange(1, 20))),
    "unknown even tag": lambda s: masked(_pack([s.randrange(100, 120, 2), s.randbytes(8)])),
    "duplicate keys": _duplicate_keys,
    "nested arrays": lambda s: masked(b"\x91" * s.randrange(1_000, FRAME_BYTES)),
    "nested maps": lambda s: masked(b"\x81\xa1a" * s.randrange(1_000, FRAME_BYTES // 3)),
    "endless empty maps": lambda s: masked(b"\xdd\x00\x00\xff\xf0" + b"\x80" * (FRAME_BYTES - 5)),
    "array that claims four billion": lambda s: masked(b"\xdd\xff\xff\xff\xff" + s.randbytes(20)),
    "bytes that claim four gigabytes": lambda s: masked(b"\x93\x0a\xc6\xff\xff\xff\xff" + s.randbytes(20)),
    "extension type": lambda s: masked(b"\xc7\x08\x05" + s.randbytes(8)),
    "oversize message": lambda s: masked(s.randbytes(FRAME_BYTES + s.randrange(1, 2_000))),
    "payload beyond its limit": lambda s: masked(
        _pack([10, 1, s.randbytes(17), 1, b"", s.randbytes(16), s.randbytes(PAYLOAD_BYTES + 1)])
    ),
    "claimed terabyte": lambda s: _frame(
        0x82, 0xFF, (1 << 40).to_bytes(8, "big") + b"\0\0\0\0" + s.randbytes(50)
    ),
    "text": lambda s: masked(b'{"a":1,"a":2}', 0x1),
    "unmasked": lambda s: _frame(0x82, 4, s.randbytes(4)),
    "reserved bits": lambda s: _frame(0xF2, 0x84, b"\0\0\0\0" + s.randbytes(4)),
    "reserved opcode": lambda s: masked(s.randbytes(4), s.choice([0x3, 0x7, 0xB, 0xF])),
    "endless empty continuation": lambda _: (
        _frame(0x02, 0x80, b"\0\0\0\0") + _frame(0x00, 0x80, b"\0\0\0\0") * 200
    ),
    "continuation of nothing": lambda s: _frame(0x80, 0x84, b"\0\0\0\0" + s.randbytes(4)),
    "long ping": lambda s: _frame(
        0x80 | PING, 0xFE, (300).to_bytes(2, "big") + b"\0\0\0\0" + s.randbytes(300)
    ),
    "close of one byte": lambda s: masked(s.randbytes(1), CLOSE),
    "fragmented ping": lambda s: _frame(PING, 0x84, b"\0\0\0\0" + s.randbytes(4)),
}
"""Before and after signing in, each of them ends the connection."""


def _unknown_channel(source: random.Random) -> ChannelAddress:
    return address(source.choice(list(ChannelKind)), source.randbytes(16))


FOREIGN: Final[dict[str, Maker]] = {
    "publish to no channel": lambda s: masked(
        encode(Publish(7, _unknown_channel(s), Lane.LOG, b"", MessageId(s.randbytes(16)), s.randbytes(200)))
    ),
    "subscribe to no channel": lambda s: masked(encode(Subscribe(7, _unknown_channel(s)))),
    "who in no channel": lambda s: masked(encode(Who(7, _unknown_channel(s)))),
    "unknown kind of address": lambda s: masked(_pack([6, 7, b"z" + s.randbytes(16)])),
    "unknown odd tag": lambda s: masked(_pack([s.randrange(101, 121, 2), s.randbytes(8)])),
}
"""After signing in: refused or ignored, and the connection stands."""


def into_channel(channel: ChannelAddress, source: random.Random) -> bytes:
    """A publish into a real channel whose payload is no sealed frame: refused by its header."""
    payload = source.randbytes(source.randrange(0, 400))
    lane = source.choice([Lane.LOG, Lane.STATE])
    key = source.randbytes(17) if lane is Lane.STATE and source.random() < 0.5 else b""
    return masked(encode(Publish(7, channel, lane, key, MessageId(source.randbytes(16)), payload)), BINARY)


REQUESTS: Final[dict[str, Maker]] = {
    "random bytes": lambda s: s.randbytes(s.randrange(1, 2_000)),
    "unknown method": lambda _: b"LEESIDE /v1/socket HTTP/1.1\r\nHost: x\r\n\r\n",
    "endless header": lambda s: b"GET /v1/socket HTTP/1.1\r\n" + b"X-A: " + b"a" * 100_000,
    "many headers": lambda s: b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 8_000,
    "bad upgrade": lambda _: (
        b"GET /v1/socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 99\r\n\r\n"
    ),
    "body that never comes": lambda _: (
        b"POST /v1/challenges HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n{"
    ),
    "nested JSON": lambda _: _json_request(b"[" * 60_000),
    "duplicate JSON keys": lambda _: _json_request(b'{"device":"a","device":"b"}'),
    "JSON that is no text": lambda s: _json_request(b"\xff\xfe" + s.randbytes(50)),
}
"""Instead of an upgrade."""


def _json_request(body: bytes) -> bytes:
    head = f"POST /v1/challenges HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


HALF_HEADERS: Final = (
    b"GET /v1/socket HTTP/1.1\r\nHost: x\r\nUpgra",
    b"G",
    b"GET /v1/socket HTTP/1.1\r\n" + b"X-A: b\r\n" * 50,
    b"",
)
"""Sent, and never continued."""
