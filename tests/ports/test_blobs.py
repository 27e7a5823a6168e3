"""The contract of `Blobs`, on files and on PostgreSQL, and what only files can do."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from leeside_protocol.ids import AgencyId, BlobId
from leeside_protocol.limits import BLOB_CHUNK_BYTES
from leeside_server.adapters.blobs_files import FileBlobs
from leeside_server.adapters.blobs_postgres import PostgresBlobs
from leeside_server.ports import Blobs, ChunkDiffers, StoreFull, StoreRefused, StoreUnavailable
from tests.ports.stores import AGENCY, OTHER_AGENCY
from tests.support.patience import PATIENCE_S
from tests.support.services import PostgresServer

BLOB = BlobId(b"b" * 16)
OTHER_BLOB = BlobId(b"c" * 16)

Opener = Callable[[], Awaitable[Blobs]]


@pytest.fixture(params=["files", pytest.param("postgres", marks=pytest.mark.services)])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Opener]:
    """Opens the blobs of one place, again and again."""
    opened: list[Blobs] = []
    dsn = None if request.param == "files" else str(request.getfixturevalue("postgres_dsn"))

    async def opens() -> Blobs:
        blobs: Blobs
        blobs = await FileBlobs.open(tmp_path / "blobs") if dsn is None else await PostgresBlobs.open(dsn)
        opened.append(blobs)
        return blobs

    yield opens
    for blobs in opened:
        await blobs.close()


@pytest.fixture
async def blobs(opener: Opener) -> Blobs:
    return await opener()


async def test_a_chunk_reads_back_as_it_was_written(blobs: Blobs) -> None:
    data = os.urandom(BLOB_CHUNK_BYTES)
    await blobs.put(AGENCY, BLOB, 0, data)
    await blobs.put(AGENCY, BLOB, 1, b"")
    assert await blobs.get(AGENCY, BLOB, 0) == data
    assert await blobs.get(AGENCY, BLOB, 1) == b""


async def test_what_is_not_there_is_none(blobs: Blobs) -> None:
    await blobs.put(AGENCY, BLOB, 0, b"x")
    assert await blobs.get(AGENCY, BLOB, 1) is None
    assert await blobs.get(AGENCY, OTHER_BLOB, 0) is None
    assert list(await blobs.have(AGENCY, OTHER_BLOB)) == []


async def test_the_same_bytes_again_are_fine_and_others_are_refused(blobs: Blobs) -> None:
    await blobs.put(AGENCY, BLOB, 0, b"first")
    await blobs.put(AGENCY, BLOB, 0, b"first")
    with pytest.raises(ChunkDiffers):
        await blobs.put(AGENCY, BLOB, 0, b"other")
    assert await blobs.get(AGENCY, BLOB, 0) == b"first"


async def test_of_many_that_write_the_same_chunk_one_wins(opener: Opener) -> None:
    both = (await opener(), await opener())
    calls = [both[n % 2].put(AGENCY, BLOB, 0, b"%d" % n) for n in range(12)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    winners = [number for number, answer in enumerate(answers) if answer is None]
    assert len(winners) == 1
    assert sum(isinstance(answer, ChunkDiffers) for answer in answers) == 11
    assert await both[0].get(AGENCY, BLOB, 0) == b"%d" % winners[0]


async def test_the_same_chunk_from_many_at_once_is_fine_for_all(opener: Opener) -> None:
    both = (await opener(), await opener())
    await asyncio.gather(*(both[n % 2].put(AGENCY, BLOB, 0, b"same") for n in range(12)))
    assert list(await both[0].have(AGENCY, BLOB)) == [0]


async def test_indexes_come_ascending_whatever_the_order_of_writing(blobs: Blobs) -> None:
    for index in (10, 2, 0, 1_000):
        await blobs.put(AGENCY, BLOB, index, b"x")
    assert list(await blobs.have(AGENCY, BLOB)) == [0, 2, 10, 1_000]


async def test_agencies_are_apart(blobs: Blobs) -> None:
    await blobs.put(AGENCY, BLOB, 0, b"ours")
    await blobs.put(OTHER_AGENCY, BLOB, 0, b"theirs")
    await blobs.delete(OTHER_AGENCY, BLOB)
    assert await blobs.get(OTHER_AGENCY, BLOB, 0) is None
    assert await blobs.get(AGENCY, BLOB, 0) == b"ours"
    assert list(await blobs.have(AgencyId(b"Z" * 16), BLOB)) == []


async def test_deleting_takes_every_chunk_of_one_blob(blobs: Blobs) -> None:
    for index in range(3):
        await blobs.put(AGENCY, BLOB, index, b"x")
    await blobs.put(AGENCY, OTHER_BLOB, 0, b"x")
    await blobs.delete(AGENCY, BLOB)
    await blobs.delete(AGENCY, BLOB)
    assert list(await blobs.have(AGENCY, BLOB)) == []
    assert list(await blobs.have(AGENCY, OTHER_BLOB)) == [0]
    await blobs.put(AGENCY, BLOB, 0, b"other bytes now")


async def test_chunks_survive_reopening(opener: Opener) -> None:
    first = await opener()
    await first.put(AGENCY, BLOB, 0, b"x")
    await first.close()
    assert await (await opener()).get(AGENCY, BLOB, 0) == b"x"


async def test_closed_blobs_say_so(opener: Opener) -> None:
    blobs = await opener()
    await blobs.close()
    await blobs.close()
    with pytest.raises(StoreUnavailable):
        await blobs.put(AGENCY, BLOB, 0, b"x")
    with pytest.raises(StoreUnavailable):
        await blobs.get(AGENCY, BLOB, 0)


# ---- files


async def test_what_was_never_acknowledged_is_removed_at_opening(tmp_path: Path) -> None:
    blobs = await FileBlobs.open(tmp_path)
    await blobs.put(AGENCY, BLOB, 0, b"x")
    place = tmp_path / AGENCY.hex() / BLOB.hex()
    half = place / "1-0123456789abcdef.part"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    assert list(await blobs.have(AGENCY, BLOB)) == [0]
    await blobs.close()
    blobs = await FileBlobs.open(tmp_path)
    await blobs.tidied()
    await blobs.close()
    assert [path.name for path in place.iterdir()] == ["0"]


async def test_tidying_keeps_nobody_waiting_and_takes_nothing_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / AGENCY.hex() / BLOB.hex()
    place.mkdir(parents=True)
    half = place / "1-0123456789abcdef.part"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    listing, loop, sync = threading.Event(), asyncio.get_running_loop(), os.fsync

    def slow(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            assert listing.wait(10)
            return real(*args)

        return call

    def watched(handle: int) -> None:
        if not listing.is_set():
            listing.set()
            asyncio.run_coroutine_threadsafe(opened.tidied(), loop).result(10)
        sync(handle)

    with monkeypatch.context() as patched:
        for name in ("listdir", "scandir"):
            patched.setattr(os, name, slow(getattr(os, name)))
        patched.setattr(os, "fsync", watched)
        async with asyncio.timeout(PATIENCE_S):
            opened = await FileBlobs.open(tmp_path)
            await opened.put(AGENCY, BLOB, 0, b"x")
    assert await opened.get(AGENCY, BLOB, 0) == b"x"
    assert [path.name for path in place.iterdir()] == ["0"]
    await opened.close()


async def test_nobody_else_may_look_into_the_folders(tmp_path: Path) -> None:
    blobs = await FileBlobs.open(tmp_path / "blobs")
    await blobs.put(AGENCY, BLOB, 0, b"x")
    await blobs.close()
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)],
)
async def test_a_failing_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    blobs = await FileBlobs.open(tmp_path)

    def fails(*_: Any) -> None:
        raise OSError(number, "a text that must not be told")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(expected) as caught:
            await blobs.put(AGENCY, BLOB, 0, b"x")
        assert "a text" not in str(caught.value)
    assert await blobs.get(AGENCY, BLOB, 0) is None
    assert list((tmp_path / AGENCY.hex() / BLOB.hex()).iterdir()) == []
    await blobs.put(AGENCY, BLOB, 0, b"y")
    await blobs.close()


async def test_a_chunk_is_synced_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await FileBlobs.open(tmp_path)
    seen: list[tuple[str, bool]] = []
    path = tmp_path / AGENCY.hex() / BLOB.hex() / "0"
    sync = os.fsync

    def watched(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        seen.append((kind, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    await blobs.put(AGENCY, BLOB, 0, b"x")
    assert seen == [("file", False), ("folder", True), ("folder", True), ("folder", True)]
    await blobs.close()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreRefused):
        await FileBlobs.open(tmp_path / "file" / "blobs")


# ---- PostgreSQL


async def test_blobs_come_back_with_the_server(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    blobs = await PostgresBlobs.open(postgres_dsn)
    await blobs.put(AGENCY, BLOB, 0, b"x")
    await asyncio.to_thread(postgres_server.stop)
    with pytest.raises(StoreUnavailable):
        await blobs.put(AGENCY, BLOB, 1, b"x")
    await asyncio.to_thread(postgres_server.start)
    await blobs.put(AGENCY, BLOB, 1, b"x")
    assert list(await blobs.have(AGENCY, BLOB)) == [0, 1]
    await blobs.close()
