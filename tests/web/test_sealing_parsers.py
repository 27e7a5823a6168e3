"""Every parser of sealing in the browser ends in the same code as Python's, on bytes bent at random.

Two clients that part ways on one payload part ways on a channel: what the one takes, the other calls a forgery.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest

from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.body import decode_body
from leeside_protocol.sealing.public.archive import Archive, parse_archive_label
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.sealing.public.commit import parse_commit
from leeside_protocol.sealing.public.device_key import parse_device_key
from leeside_protocol.sealing.public.encoding import decode
from leeside_protocol.sealing.public.entries import SignedEntry, parse_entry
from leeside_protocol.sealing.public.frame import parse_frame
from leeside_protocol.sealing.public.grant import SealedGrant, parse_grant
from leeside_protocol.sealing.public.signed import Signed
from tests.support.make_sealing_vectors import PATH
from tests.web.sealing_page import run_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

EACH: Final = 600
"""Bent inputs for each parser."""
VECTORS: Final[dict[str, Any]] = json.loads(PATH.read_text())
CHANNEL: Final = VECTORS["channel"]
SIGNER: Final = bytes.fromhex(CHANNEL["devices"]["dispatcher"]["device_id"])

EDGES: Final = [n + d for n in (0, 2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**53, 2**63) for d in (-1, 0, 1)]
PIECES: Final = [
    *(bytes([kind]) for kind in (*range(0xC0, 0xE0), 0x00, 0x7F, 0x80, 0x81, 0x90, 0x91, 0xA1, 0xFF)),
    b"\x81\xa1a\x01",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\x91" * 9,
    b"\xcf\x00\x1f" + b"\xff" * 6,
    b"\xcf\x00\x20" + bytes(6),
    b"\xd3\xff\xe0" + bytes(6),
    b"\xa2\xc3\x28",
]
"""What is put into good bytes: every type, maps, depth, the edge of the integers, and text that is not UTF-8."""


def bend(data: bytes, draw: random.Random) -> bytes:
    """The bytes with one to three changes."""
    bent = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(bent) + 1)
        match draw.randrange(5):
            case 0:
                bent[at : at + 1] = draw.choice(PIECES)
            case 1:
                bent[at:at] = draw.choice(PIECES)
            case 2 if at < len(bent):
                bent[at] ^= 1 << draw.randrange(8)
            case 3:
                del bent[at : at + 1]
            case _:
                del bent[at:]
    return bytes(bent)


def value(draw: random.Random, depth: int = 0) -> object:
    """Something that MessagePack can hold, allowed or not."""
    match draw.randrange(9 if depth < 10 else 6):
        case 0:
            return draw.choice((None, True, False))
        case 1 | 2:
            number = draw.choice(EDGES)
            return number if number >= 2**63 or draw.random() < 0.5 else -number
        case 3:
            return "ü" * draw.randrange(200)
        case 4:
            return bytes(draw.randrange(300))
        case 5:
            return 1.5 if draw.random() < 0.1 else 7
        case 6 | 7:
            return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
        case _:
            odd = draw.random() < 0.1
            keys: tuple[object, ...] = (b"k", 3, "__proto__") if odd else ("a", "b", "c")
            return {draw.choice(keys): value(draw, depth + 1) for _ in range(draw.randrange(4))}


def hexes(cases: list[dict[str, Any]], name: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for case in cases if case.get(name)]


def signed(payload: bytes) -> Signed:
    return Signed(payload, SIGNER, bytes(64))


def parsers() -> dict[str, tuple[list[bytes], Callable[[bytes], object]]]:
    """By name: good bytes, and the parser."""
    entries, commits = hexes(VECTORS["directory"], "entry"), hexes(VECTORS["commits"], "commit")
    grants, archives = hexes(VECTORS["grants"], "grant"), hexes(VECTORS["archives"], "archive")
    device_keys = hexes(list(CHANNEL["devices"].values()), "device_key")
    boxes = [bytes.fromhex(box) for step in CHANNEL["commits"] for box in step["boxes"]]
    return {
        "signed": (commits, Signed.decode),
        "entry": ([SignedEntry.decode(e).signed.payload for e in entries], parse_entry),
        "signed entry": (entries, SignedEntry.decode),
        "device key": ([Signed.decode(k).payload for k in device_keys], parse_device_key),
        "commit": ([Signed.decode(c).payload for c in commits], lambda b: parse_commit(signed(b))),
        "box": (boxes, Box.decode),
        "frame": (hexes(VECTORS["frames"], "frame"), parse_frame),
        "body": (hexes(VECTORS["frames"], "body"), decode_body),
        "grant": ([SealedGrant.decode(g).signed.payload for g in grants], lambda b: parse_grant(signed(b))),
        "sealed grant": (grants, SealedGrant.decode),
        "archive label": (
            [Archive.decode(a).signed.payload for a in archives],
            lambda b: parse_archive_label(signed(b)),
        ),
        "archive": (archives, Archive.decode),
    }


def outcome(parse: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        parse(data)
    except SealingError as error:
        return error.code.value
    return None


def bent_cases(draw: random.Random) -> dict[str, list[tuple[str, str | None]]]:
    """By parser: bent bytes in hexadecimal, and the code that Python's ends in."""
    cases: dict[str, list[tuple[str, str | None]]] = {}
    for name, (good, parse) in parsers().items():
        inputs = [bend(draw.choice(good), draw) for _ in range(EACH)]
        cases[name] = [(data.hex(), outcome(parse, data)) for data in inputs]
    packed: list[bytes] = [msgpack.packb([value(draw)]) for _ in range(EACH)]
    inputs = packed + [bend(data, draw) for data in packed]
    for name, maps in (("plain", False), ("maps", True)):
        cases[name] = [(data.hex(), outcome(partial(decode, maps=maps), data)) for data in inputs]
    return cases


def test_the_browser_ends_in_the_same_code(tmp_path: Path) -> None:
    cases = bent_cases(random.Random(20261128))
    for name, found in cases.items():
        refused = sum(code is not None for _, code in found)
        assert 0 < refused < len(found), f"{name}: the bent inputs are all of one kind"
    file = tmp_path / "parsers.json"
    file.write_text(json.dumps({"signer": SIGNER.hex(), "cases": cases}))
    passed = run_page("chromium", parsers=file)["passed"]
    assert passed["parsers against Python"] == len(cases)
