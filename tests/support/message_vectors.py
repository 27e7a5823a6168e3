"""Makes `protocol/vectors/messages.json` with `msgpack`, a writer that shares no code with the codec under test."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec

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


def valid(name: str, direction: str, message: str, array: list[Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "direction": direction,
        "message": message,
        "hex": msgpack.packb(array, use_bin_type=True).hex(),
        "fields": {k: _hex(v) for k, v in fields.items()},
    }


def invalid(name: str, direction: str, data: bytes, error: str = "invalid") -> dict[str, Any]:
    return {"name": name, "direction": direction, "hex": data.hex(), "error": error}


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


def _valid_cases() -> list[dict[str, Any]]:
    entry = [7, 1, b"", DEVICE, MESSAGE, 1_795_000_000_000, b"sealed"]
    return [
        valid("hello", "client", "Hello", [2, "a.b.c", SIG], token="a.b.c", proof=SIG, client=""),
        valid("hello with client name", "client", "Hello", [2, "a.b.c", SIG, "python/0.1"], token="a.b.c", proof=SIG, client="python/0.1"),
        valid("renew", "client", "Renew", [4, 9, "a.b.c"], req=9, token="a.b.c"),
        valid("subscribe from the start", "client", "Subscribe", [6, 1, ADDRESS], req=1, channel=ADDRESS, generation=0, offset=0),
        valid("subscribe from a position", "client", "Subscribe", [6, 1, ADDRESS, 5, 2**53 - 1], req=1, channel=ADDRESS, generation=5, offset=2**53 - 1),
        valid("unsubscribe", "client", "Unsubscribe", [8, 2**32 - 1, ADDRESS], req=2**32 - 1, channel=ADDRESS),
        valid("publish to the log", "client", "Publish", [10, 3, ADDRESS, 1, b"", MESSAGE, b"sealed"], req=3, channel=ADDRESS, lane=1, key=b"", id=MESSAGE, payload=b"sealed", urgency=0, mark=0),
        valid("publish a state, urgent, marked", "client", "Publish", [10, 3, ADDRESS, 2, KEY, MESSAGE, b"sealed", 2, 6], req=3, channel=ADDRESS, lane=2, key=KEY, id=MESSAGE, payload=b"sealed", urgency=2, mark=6),
        valid("publish with a field of the future", "client", "Publish", [10, 3, ADDRESS, 1, b"", MESSAGE, b"x", 0, 0, "later"], req=3, channel=ADDRESS, lane=1, key=b"", id=MESSAGE, payload=b"x", urgency=0, mark=0),
        valid("who", "client", "Who", [12, 4, ADDRESS], req=4, channel=ADDRESS),
        valid("client beat", "client", "ClientBeat", [14, 1_795_000_000_000], at_ms=1_795_000_000_000),
        valid("client beat, shortest", "client", "ClientBeat", [14], at_ms=0),
        valid("video", "client", "Video", [16, 5, MESSAGE, b"signal"], req=5, consult=MESSAGE, body=b"signal"),
        valid("challenge", "server", "Challenge", [32, MESSAGE, 1], nonce=MESSAGE, server_ms=1),
        valid("welcome", "server", "Welcome", [34, 1, 2, 10, 4, 64, 262_144], server_ms=1, token_until_ms=2, beat_s=10, generation=4, in_flight_messages=64, in_flight_bytes=262_144),
        valid("subscribed with a gap", "server", "Subscribed", [36, 1, ADDRESS, 1, 5, 90, 40], req=1, channel=ADDRESS, status=1, generation=5, head=90, floor=40),
        valid("batch", "server", "Batch", [38, ADDRESS, 6, 7, [entry]], channel=ADDRESS, after=6, to=7, entries=[[*entry, 0, 0, b""]]),
        valid("batch of an empty range", "server", "Batch", [38, ADDRESS, 6, 9, []], channel=ADDRESS, after=6, to=9, entries=[]),
        valid("batch with a pruned entry", "server", "Batch", [38, ADDRESS, 6, 7, [[7, 1, b"", DEVICE, MESSAGE, 1, b"", 0, 0, bytes(32)]]], channel=ADDRESS, after=6, to=7, entries=[[7, 1, b"", DEVICE, MESSAGE, 1, b"", 0, 0, bytes(32)]]),
        valid("accepted", "server", "Accepted", [40, 3, 7, 5], req=3, offset=7, generation=5, repeat=0),
        valid("accepted before, with other bytes", "server", "Accepted", [40, 3, 7, 5, 2], req=3, offset=7, generation=5, repeat=2),
        valid("refused, stale", "server", "Refused", [42, 3, 200, 12], req=3, error=200, head=12, retry_ms=0, detail=""),
        valid("live", "server", "Live", [44, ADDRESS, b"p" + DEVICE, DEVICE, 1, b"sealed"], channel=ADDRESS, key=b"p" + DEVICE, device=DEVICE, at_ms=1, payload=b"sealed"),
        valid("beat", "server", "Beat", [46, 1, [[ADDRESS, 7]], True], server_ms=1, heads=[[ADDRESS, 7]], degraded=True),
        valid("online", "server", "Online", [48, 1, ADDRESS, 2, False, [DEVICE]], req=1, channel=ADDRESS, as_of_ms=2, stale=False, devices=[DEVICE]),
        valid("renewed", "server", "Renewed", [50, 1, 2], req=1, token_until_ms=2),
        valid("video told", "server", "VideoTold", [52, MESSAGE, b"signal"], consult=MESSAGE, body=b"signal"),
        {"name": "an unknown odd tag is ignored", "direction": "client", "message": None, "hex": pack([15, "anything"]).hex(), "fields": {}},
        {"name": "an unknown odd tag is ignored", "direction": "server", "message": None, "hex": pack([253, {"a": 1}]).hex(), "fields": {}},
    ]  # fmt: skip


def _invalid_cases() -> list[dict[str, Any]]:
    publish = [10, 3, ADDRESS, 1, b"", MESSAGE, b"sealed"]

    def changed(index: int, value: Any) -> bytes:
        return pack([*publish[:index], value, *publish[index + 1 :]])

    whole = pack(publish)
    return [
        invalid("nothing", "client", b""),
        invalid("nil", "client", b"\xc0"),
        invalid("a map", "client", pack({"tag": 10})),
        invalid("an empty array", "client", pack([])),
        invalid("a tag that is text", "client", pack(["10"])),
        invalid("an unknown even tag", "client", pack([18, 1])),
        invalid("a server's message from a client", "client", pack([40, 1, 2, 3])),
        invalid("a client's message from a server", "server", whole),
        invalid("cut short", "client", whole[:-1]),
        invalid("a byte too many", "client", whole + b"\x00"),
        invalid("two messages in one frame", "client", whole + whole),
        invalid("a field missing", "client", pack(publish[:-1])),
        invalid("an address of 16 bytes", "client", changed(2, ADDRESS[:-1])),
        invalid("an address as text", "client", changed(2, "c" * 17)),
        invalid("lane 0", "client", changed(3, 0)),
        invalid("lane 4", "client", changed(3, 4)),
        invalid("a lane as float", "client", changed(3, 1.0)),
        invalid("a key of 18 bytes", "client", changed(4, bytes(18))),
        invalid("a message id of 15 bytes", "client", changed(5, bytes(15))),
        invalid("a payload that is a map", "client", changed(6, {"clear": "text"})),
        invalid("a payload that is text", "client", changed(6, "text")),
        invalid("a payload of 60,001 bytes", "client", changed(6, bytes(60_001))),
        invalid("urgency 3", "client", pack([*publish, 3])),
        invalid("mark 17", "client", pack([*publish, 0, 17])),
        invalid("a negative req", "client", changed(1, -1)),
        invalid("a req of 33 bits", "client", changed(1, 2**32)),
        invalid("an offset of 2^53", "client", pack([6, 1, ADDRESS, 5, 2**53])),
        invalid("a proof of 63 bytes", "client", pack([2, "a.b.c", SIG[:-1]])),
        invalid("a token of 4,097 bytes", "client", pack([2, "a" * 4_097, SIG])),
        invalid("text that is not UTF-8", "client", b"\x93\x02\xa1\xff" + pack(SIG)),
        invalid("an extension type", "client", b"\x92\x0c\xd4\x01\x00"),
        invalid("arrays 1,000 deep", "client", b"\x91" * 1_000 + b"\x00"),
        invalid("a length that lies", "client", b"\x97\x0a\x03\xc6\xff\xff\xff\xff"),
        invalid("more than a frame", "client", bytes(65_537), "too_large"),
        invalid("a signal of 32,769 bytes", "client", pack([16, 1, MESSAGE, bytes(32_769)])),
        invalid("a batch with a lane that is none", "server", pack([38, ADDRESS, 6, 7, [[7, 9, b"", DEVICE, MESSAGE, 1, b""]]])),
        invalid("a refusal without a number of the table's range", "server", pack([42, 3, 99])),
    ]  # fmt: skip


def vector_file(chapter: str, valid: list[dict[str, Any]], invalid: list[dict[str, Any]]) -> dict[str, Any]:
    """A file of vectors as data."""
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
    return {"chapter": chapter, "valid": valid, "invalid": invalid}


def message_vectors() -> dict[str, Any]:
    """The whole file as data; `tests.support.generate` writes it."""
    return vector_file("01-encoding, 02-session, 03-channels", _valid_cases(), _invalid_cases())


def plain(value: Any) -> Any:
    """A field of a decoded message as the files write it."""
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, msgspec.Struct):
        return [plain(getattr(value, field)) for field in value.__struct_fields__]
    if isinstance(value, tuple):
        return [plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def vector_bytes(case: dict[str, Any]) -> bytes:
    """The bytes of a case, whole or in the parts of `vector_file`."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    front, zeros, behind = case["parts"]
    return bytes.fromhex(front) + bytes(zeros) + bytes.fromhex(behind)
