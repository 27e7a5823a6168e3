"""What a supervisor and its worker say to each other, over the socket pair that the worker was started with.

Each word is one MessagePack array behind four bytes of length. Both ends are ours and on one machine, so nothing is sealed;
but a worker parses what strangers send, so its supervisor believes no length and no shape of it either: whatever is not
exactly one known word ends the worker.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from leeside_protocol.limits import VIDEO_BODY_BYTES
from leeside_server.core.video import Closed, Expelled, Heard, Spoken
from leeside_server.video.metrics import Counts

WORD_BYTES: Final = VIDEO_BODY_BYTES + 16_384
"""The longest word: a signal, its ticket and what surrounds them."""
WAITING_BYTES: Final = 8 << 20
"""What may wait to be written before the other end counts as hung."""

_Word = TypeVar("_Word")
_length: Final = struct.Struct("!I")


class Configure(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """To the worker, first: where to listen (one UDP port on each host), and what clients know those hosts as (the public
    addresses of a 1:1 NAT; none: the hosts themselves). `peers`: how many it takes."""

    hosts: tuple[str, ...]
    port: int
    public: tuple[str, ...] = ()
    peers: int = 96


class Drain(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """To the worker: no new rooms; tell everybody to join elsewhere, go on until they have, and end."""


class Kept(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Both ways: what a room must not forget when its worker dies. The worker says it at each change, and when it takes a
    room; the supervisor gives the newest to the worker that has the room next, before anything else about it."""

    room: bytes
    epoch: int
    restricted: bool = False
    by: bytes = b""
    admitted: Annotated[tuple[bytes, ...], Meta(max_length=64)] = ()


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """From the worker, first: it listens on this UDP port."""

    port: int


class Told(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """From the worker: for the node at this address."""

    node: bytes
    heard: Heard


class Load(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """From the worker, every second: `load` is the share of what it takes (1.0: full), `open` whether it takes new rooms."""

    rooms: int
    peers: int
    load: float
    open: bool
    cpu: float
    lag_ms: int
    counts: Counts


class Emptied(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """From the worker: nobody is in this room any more, and it is forgotten."""

    room: bytes
    epoch: int


ToWorker = Configure | Drain | Kept | Spoken | Expelled | Closed
FromWorker = Ready | Told | Load | Emptied | Kept

_encoder: Final = msgspec.msgpack.Encoder()
_to_worker: Final[msgspec.msgpack.Decoder[ToWorker]] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: Final[msgspec.msgpack.Decoder[FromWorker]] = msgspec.msgpack.Decoder(FromWorker)


class BadWord(Exception):
    """The other end sent what is no word. Nothing that follows can be understood."""


def write_word(word: ToWorker | FromWorker) -> bytes:
    """The word with its length."""
    data = _encoder.encode(word)
    if len(data) > WORD_BYTES:
        raise BadWord("too long")
    return _length.pack(len(data)) + data


async def read_to_worker(reader: asyncio.StreamReader) -> ToWorker | None:
    """The next word from the supervisor; None when it is gone. Raises `BadWord`."""
    data = await _read(reader)
    return None if data is None else _decoded(_to_worker, data)


async def read_from_worker(reader: asyncio.StreamReader) -> FromWorker | None:
    """The next word from the worker; None when it is gone. Raises `BadWord`."""
    data = await _read(reader)
    return None if data is None else _decoded(_from_worker, data)


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (size,) = _length.unpack(await reader.readexactly(_length.size))
        if size > WORD_BYTES:
            raise BadWord("too long")
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _decoded(decoder: msgspec.msgpack.Decoder[_Word], data: bytes) -> _Word:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadWord("not a word") from None
