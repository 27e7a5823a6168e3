"""Makes `protocol/vectors/messages.json` with `msgpack`, a writer that shares no code with the codec under test."""

from __future__ import annotations

from typing import Any

import msgpack

ADDRESS = b"c" + bytes(range(16))
DEVICE = bytes(range(16, 32))
MESSAGE = bytes(range(32, 48))
KEY = b"s" + bytes(range(48, 64))
SIG = bytes(range(64))


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, list | tuple):
        return [_hex(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _valid(name: str, direction: str, message: str, array: list[Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "direction": direction,
        "message": message,
        "hex": msgpack.packb(array, use_bin_type=True).hex(),
        "fields": {k: _hex(v) for k, v in fields.items()},
    }


def _invalid(name: str, direction: str, data: bytes, error: str = "invalid") -> dict[str, Any]:
    return {"name": name, "direction": direction, "hex": data.hex(), "error": error}


def _pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


def _valid_cases() -> list[dict[str, Any]]:
    entry = [7, 1, b"", DEVICE, MESSAGE, 1_795_000_000_000, b"sealed"]
    return [
        _valid("hello", "client", "Hello", [2, "a.b.c", SIG], token="a.b.c", proof=SIG, client=""),
        _valid("hello with client name", "client", "Hello", [2, "a.b.c", SIG, "python/0.1"], token="a.b.c", proof=SIG, client="python/0.1"),
        _valid("renew", "client", "Renew", [4, 9, "a.b.c"], req=9, token="a.b.c"),
        _valid("subscribe from the start", "client", "Subscribe", [6, 1, ADDRESS], req=1, channel=ADDRESS, generation=0, offset=0),
        _valid("subscribe from a position", "client", "Subscribe", [6, 1, ADDRESS, 5, 2**53 - 1], req=1, channel=ADDRESS, generation=5, offset=2**53 - 1),
        _valid("unsubscribe", "client", "Unsubscribe", [8, 2**32 - 1, ADDRESS], req=2**32 - 1, channel=ADDRESS),
        _valid("publish to the log", "client", "Publish", [10, 3, ADDRESS, 1, b"", MESSAGE, b"sealed"], req=3, channel=ADDRESS, lane=1, key=b"", id=MESSAGE, payload=b"sealed", urgency=0, mark=0),
        _valid("publish a state, urgent, marked", "client", "Publish", [10, 3, ADDRESS, 2, KEY, MESSAGE, b"sealed", 2, 6], req=3, channel=ADDRESS, lane=2, key=KEY, id=MESSAGE, payload=b"sealed", urgency=2, mark=6),
        _valid("publish with a field of the future", "client", "Publish", [10, 3, ADDRESS, 1, b"", MESSAGE, b"x", 0, 0, "later"], req=3, channel=ADDRESS, lane=1, key=b"", id=MESSAGE, payload=b"x", urgency=0, mark=0),
        _valid("who", "client", "Who", [12, 4, ADDRESS], req=4, channel=ADDRESS),
        _valid("client beat", "client", "ClientBeat", [14, 1_795_000_000_000], at_ms=1_795_000_000_000),
        _valid("client beat, shortest", "client", "ClientBeat", [14], at_ms=0),
        _valid("challenge", "server", "Challenge", [32, MESSAGE, 1], nonce=MESSAGE, server_ms=1),
        _valid("welcome", "server", "Welcome", [34, 1, 2, 10, 4, 64, 262_144], server_ms=1, token_until_ms=2, beat_s=10, generation=4, in_flight_messages=64, in_flight_bytes=262_144),
        _valid("subscribed with a gap", "server", "Subscribed", [36, 1, ADDRESS, 1, 5, 90, 40], req=1, channel=ADDRESS, status=1, generation=5, head=90, floor=40),
        _valid("batch", "server", "Batch", [38, ADDRESS, 6, 7, [entry]], channel=ADDRESS, after=6, to=7, entries=[[*entry, 0, 0, b""]]),
        _valid("batch of an empty range", "server", "Batch", [38, ADDRESS, 6, 9, []], channel=ADDRESS, after=6, to=9, entries=[]),
        _valid("batch with a pruned entry", "server", "Batch", [38, ADDRESS, 6, 7, [[7, 1, b"", DEVICE, MESSAGE, 1, b"", 0, 0, bytes(32)]]], channel=ADDRESS, after=6, to=7, entries=[[7, 1, b"", DEVICE, MESSAGE, 1, b"", 0, 0, bytes(32)]]),
        _valid("accepted", "server", "Accepted", [40, 3, 7, 5], req=3, offset=7, generation=5, repeat=0),
        _valid("accepted before, with other bytes", "server", "Accepted", [40, 3, 7, 5, 2], req=3, offset=7, generation=5, repeat=2),
        _valid("refused, stale", "server", "Refused", [42, 3, 200, 12], req=3, error=200, head=12, retry_ms=0, detail=""),
        _valid("live", "server", "Live", [44, ADDRESS, b"p" + DEVICE, DEVICE, 1, b"sealed"], channel=ADDRESS, key=b"p" + DEVICE, device=DEVICE, at_ms=1, payload=b"sealed"),
        _valid("beat", "server", "Beat", [46, 1, [[ADDRESS, 7]], True], server_ms=1, heads=[[ADDRESS, 7]], degraded=True),
        _valid("online", "server", "Online", [48, 1, ADDRESS, 2, False, [DEVICE]], req=1, channel=ADDRESS, as_of_ms=2, stale=False, devices=[DEVICE]),
        _valid("renewed", "server", "Renewed", [50, 1, 2], req=1, token_until_ms=2),
        {"name": "an unknown odd tag is ignored", "direction": "client", "message": None, "hex": _pack([15, "anything"]).hex(), "fields": {}},
        {"name": "an unknown odd tag is ignored", "direction": "server", "message": None, "hex": _pack([253, {"a": 1}]).hex(), "fields": {}},
    ]  # fmt: skip


def _invalid_cases() -> list[dict[str, Any]]:
    publish = [10, 3, ADDRESS, 1, b"", MESSAGE, b"sealed"]

    def changed(index: int, value: Any) -> bytes:
        return _pack([*publish[:index], value, *publish[index + 1 :]])

    whole = _pack(publish)
    return [
        _invalid("nothing", "client", b""),
        _invalid("nil", "client", b"\xc0"),
        _invalid("a map", "client", _pack({"tag": 10})),
        _invalid("an empty array", "client", _pack([])),
        _invalid("a tag that is text", "client", _pack(["10"])),
        _invalid("an unknown even tag", "client", _pack([16, 1])),
        _invalid("a server's message from a client", "client", _pack([40, 1, 2, 3])),
        _invalid("a client's message from a server", "server", whole),
        _invalid("cut short", "client", whole[:-1]),
        _invalid("a byte too many", "client", whole + b"\x00"),
        _invalid("two messages in one frame", "client", whole + whole),
        _invalid("a field missing", "client", _pack(publish[:-1])),
        _invalid("an address of 16 bytes", "client", changed(2, ADDRESS[:-1])),
        _invalid("an address as text", "client", changed(2, "c" * 17)),
        _invalid("lane 0", "client", changed(3, 0)),
        _invalid("lane 4", "client", changed(3, 4)),
        _invalid("a lane as float", "client", changed(3, 1.0)),
        _invalid("a key of 18 bytes", "client", changed(4, bytes(18))),
        _invalid("a message id of 15 bytes", "client", changed(5, bytes(15))),
        _invalid("a payload that is a map", "client", changed(6, {"clear": "text"})),
        _invalid("a payload that is text", "client", changed(6, "text")),
        _invalid("a payload of 60,001 bytes", "client", changed(6, bytes(60_001))),
        _invalid("urgency 3", "client", _pack([*publish, 3])),
        _invalid("mark 17", "client", _pack([*publish, 0, 17])),
        _invalid("a negative req", "client", changed(1, -1)),
        _invalid("a req of 33 bits", "client", changed(1, 2**32)),
        _invalid("an offset of 2^53", "client", _pack([6, 1, ADDRESS, 5, 2**53])),
        _invalid("a proof of 63 bytes", "client", _pack([2, "a.b.c", SIG[:-1]])),
        _invalid("a token of 4,097 bytes", "client", _pack([2, "a" * 4_097, SIG])),
        _invalid("text that is not UTF-8", "client", b"\x93\x02\xa1\xff" + _pack(SIG)),
        _invalid("an extension type", "client", b"\x92\x0c\xd4\x01\x00"),
        _invalid("arrays 1,000 deep", "client", b"\x91" * 1_000 + b"\x00"),
        _invalid("a length that lies", "client", b"\x97\x0a\x03\xc6\xff\xff\xff\xff"),
        _invalid("more than a frame", "client", bytes(65_537), "too_large"),
        _invalid("a batch with a lane that is none", "server", _pack([38, ADDRESS, 6, 7, [[7, 9, b"", DEVICE, MESSAGE, 1, b""]]])),
        _invalid("a refusal without a number of the table's range", "server", _pack([42, 3, 99])),
    ]  # fmt: skip


def message_vectors() -> dict[str, Any]:
    """The whole file as data; `tests.support.generate` writes it."""
    invalid = _invalid_cases()
    for case in invalid:
        if len(case["hex"]) > 4_000:
            # A file for people to read: long runs of zero bytes are written as (prefix, count of zeros, suffix).
            data = bytes.fromhex(case.pop("hex"))
            start = data.find(bytes(1_000))
            end = len(data) - len(data[start:].lstrip(b"\0"))
            if start < 0:
                start, end = 0, 0
                case["hex"] = data.hex()
                continue
            case["parts"] = [data[:start].hex(), end - start, data[end:].hex()]
    return {"chapter": "01-encoding, 02-session, 03-channels", "valid": _valid_cases(), "invalid": invalid}
