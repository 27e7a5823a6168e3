"""The words over the socket pair: what one end writes the other reads, and anything else ends it."""

import asyncio

import pytest

from leeside_protocol.ids import DeviceId
from leeside_protocol.limits import VIDEO_BODY_BYTES
from leeside_protocol.video.signalling import GoneWhy, TurnServer
from leeside_server.core.video import Closed, Expelled, Heard, Spoken
from leeside_server.video.metrics import Counts
from leeside_server.video.words import (
    WORD_BYTES,
    BadWord,
    Configure,
    Drain,
    Emptied,
    FromWorker,
    Kept,
    Load,
    Ready,
    Told,
    ToWorker,
    read_from_worker,
    read_to_worker,
    write_word,
)
from tests.video.worker.world import ticket

ANA = DeviceId(b"a" * 16)
ROOM = b"r" * 16
NODE = b"n" * 8
SERVER = TurnServer(("turn:" + "x" * 251,) * 4, "u" * 128, "c" * 128)
DOWN: tuple[ToWorker, ...] = (
    Configure(("192.0.2.1", "2001:db8::1"), 8_480, ("203.0.113.1",), 96),
    Drain(),
    Kept(ROOM, 7, restricted=True, by=ANA, admitted=(ANA,)),
    Spoken(7, ticket(ANA, turn=(SERVER,) * 4), bytes(VIDEO_BODY_BYTES)),
    Expelled(7, ROOM, ANA, GoneWhy.REMOVED),
    Closed(7, ROOM, GoneWhy.ENDED),
)
UP: tuple[FromWorker, ...] = (
    Ready(8_480),
    Told(NODE, Heard(7, ROOM, ANA, bytes(VIDEO_BODY_BYTES))),
    Load(1, 2, 0.5, open=True, cpu=0.25, lag_ms=3, counts=Counts(packets_in=9)),
    Emptied(ROOM, 7),
    Kept(ROOM, 7, restricted=True, by=ANA, admitted=(ANA,) * 32),
)


def reader(data: bytes) -> asyncio.StreamReader:
    made = asyncio.StreamReader(limit=1 << 20)
    made.feed_data(data)
    made.feed_eof()
    return made


async def test_every_word_is_read_as_it_was_written() -> None:
    down, up = reader(b"".join(map(write_word, DOWN))), reader(b"".join(map(write_word, UP)))
    assert [await read_to_worker(down) for _ in DOWN] == list(DOWN)
    assert [await read_from_worker(up) for _ in UP] == list(UP)
    assert await read_to_worker(down) is None
    assert await read_from_worker(up) is None


@pytest.mark.parametrize("word", [*DOWN, *UP], ids=lambda word: type(word).__name__)
async def test_a_word_that_is_cut_is_the_end(word: ToWorker | FromWorker) -> None:
    whole = write_word(word)
    for length in (1, 3, 4, len(whole) - 1):
        assert await read_to_worker(reader(whole[:length])) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x01\xc0",
        b"\x00\x00\x00\x02\x91\x7f",
        b"\x00\x00\x00\x00",
        (WORD_BYTES + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff" + bytes(100),
        b"\x00\x00\x00\x05" + b"\x91" * 5,
        write_word(Ready(1))[:-1] + b"\xc1",
    ],
)
async def test_what_is_no_word_ends_the_other_end(data: bytes) -> None:
    with pytest.raises(BadWord):
        await read_to_worker(reader(data))
    with pytest.raises(BadWord):
        await read_from_worker(reader(data))


async def test_neither_end_takes_the_others_words() -> None:
    with pytest.raises(BadWord):
        await read_to_worker(reader(write_word(Ready(1))))
    with pytest.raises(BadWord):
        await read_from_worker(reader(write_word(Drain())))
