"""Sealed attachments as files: `<folder>/<agency>/<blob>/<index>`, names in hexadecimal and digits.

A chunk is written beside its place, synced, renamed into it, and the folders that changed are synced: after a
power cut it is there whole or not at all. What lies beside its place (`.part`) was never acknowledged. What an earlier
process left of that is removed, an hour later at the earliest, after a start and beside everything else: to look into
the folders of many thousand attachments takes longer than clients should wait for a server that comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from leeside_protocol.ids import AgencyId, BlobId
from leeside_server.ports import ChunkDiffers, StoreFull, StoreRefused, StoreUnavailable

T = TypeVar("T")

THREADS: Final = 4
WAITING: Final = 1_000
"""Calls that wait for a thread, above which more raise `StoreUnavailable`."""
PART_KEPT_S: Final = 3_600.0
"""A part may be another process's, which is writing it: no write takes that long."""
_PART: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileBlobs:
    """`ports.Blobs` in a folder of one machine. Made by `open`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="leeside-blobs")
        self._stopping = threading.Event()
        self._tidying = self._executor.submit(_tidy, folder, self._stopping)
        self._waiting = 0
        self._closed = False

    @classmethod
    async def open(cls, folder: Path) -> FileBlobs:
        """Use the folder, which is made when missing. Raises `StoreRefused` when it cannot be written."""
        await asyncio.get_running_loop().run_in_executor(None, _prepare, folder)
        return cls(folder)

    async def tidied(self) -> None:
        """Returns once nothing is left of what an earlier process had begun to write."""
        await asyncio.wrap_future(self._tidying)

    async def put(self, agency: AgencyId, blob: BlobId, index: int, data: bytes) -> None:
        await self._run(lambda: _put(self._folder, agency, blob, index, data))

    async def get(self, agency: AgencyId, blob: BlobId, index: int) -> bytes | None:
        path = self._place(agency, blob) / str(index)
        return await self._run(lambda: _read(path))

    async def have(self, agency: AgencyId, blob: BlobId) -> Sequence[int]:
        place = self._place(agency, blob)
        return await self._run(lambda: _indexes(place))

    async def delete(self, agency: AgencyId, blob: BlobId) -> None:
        await self._run(lambda: _delete(self._folder, agency, blob))

    async def close(self) -> None:
        """Finish what was begun; later calls raise `StoreUnavailable`."""
        if self._closed:
            return
        self._closed = True
        self._stopping.set()
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)

    def _place(self, agency: AgencyId, blob: BlobId) -> Path:
        return self._folder / agency.hex() / blob.hex()

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the blobs are closed")
        if self._waiting >= WAITING:
            raise StoreUnavailable("too many calls wait")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull("the disk is full") from None
            raise StoreUnavailable(f"files: {errno.errorcode.get(error.errno or 0, 'error')}") from None
        finally:
            self._waiting -= 1


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f"probe{_PART}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StoreRefused(f"the folder for attachments cannot be written: {error.strerror}") from None


def _tidy(folder: Path, stopping: threading.Event) -> None:
    """Remove the parts of chunks that nobody writes any more. What cannot be removed now waits for the next start."""
    before_s = time.time() - PART_KEPT_S
    for agency in _listed(folder):
        for place in _listed(agency):
            if stopping.is_set():
                return
            for entry in _listed(place):
                if entry.name.endswith(_PART):
                    with contextlib.suppress(OSError):
                        if entry.stat().st_mtime < before_s:
                            entry.unlink()


def _listed(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none (any more)."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _put(folder: Path, agency: AgencyId, blob: BlobId, index: int, data: bytes) -> None:
    place = folder / agency.hex() / blob.hex()
    path = place / str(index)
    standing = _read(path)
    if standing is None:
        _write(place, path, data)
        standing = _read(path)
    if standing != data:
        raise ChunkDiffers
    # Even when it stood already: it may be another call's, whose syncs are still under way or have failed.
    for changed in (place, place.parent, folder):
        _sync_folder(changed)


def _write(place: Path, path: Path, data: bytes) -> None:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = place / f"{path.name}-{secrets.token_hex(8)}{_PART}"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            _sync(file.fileno())
        # A link never replaces what stands: of two writers at once the first wins, and the other compares.
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _sync(handle: int) -> None:
    """To the medium itself: on macOS fsync stops at the drive's cache."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _indexes(place: Path) -> list[int]:
    try:
        return sorted(int(entry.name) for entry in os.scandir(place) if entry.name.isdigit())
    except FileNotFoundError:
        return []


def _delete(folder: Path, agency: AgencyId, blob: BlobId) -> None:
    place = folder / agency.hex() / blob.hex()
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)
        _sync_folder(place.parent)
