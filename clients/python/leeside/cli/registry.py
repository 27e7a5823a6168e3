"""The agency's directory and people, as a management command sees them: verified, or not shown.

The whole signed chain is checked against the root pinned at enrolment. What was verified before is kept in the profile's
`directory.log` (length-prefixed entries), so that a server that shows a shorter or another chain later is found out:
`E_DIR_FORK`, `E_DIR_BEHIND`.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leeside.api import Api, every
from leeside.cli.exits import CommandError, Exit
from leeside.keystore import replace_file
from leeside_protocol import resources as r
from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import MAX_ENTRY_BYTES, SignedEntry
from leeside_protocol.sealing.public.signed import Signed

_PAGE: Final = 500


def read_entries(path: Path) -> list[bytes]:
    """The entries that were verified before; none when there is no file, and none behind a torn end."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    entries: list[bytes] = []
    at = 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        entry = data[at + 4 : at + 4 + length]
        if length > MAX_ENTRY_BYTES or len(entry) < length:
            break
        entries.append(entry)
        at += 4 + length
    return entries


def write_entries(path: Path, entries: Iterable[bytes]) -> None:
    """Keep verified entries, durably."""
    replace_file(path, b"".join(struct.pack(">I", len(entry)) + entry for entry in entries))


async def fetch_directory(api: Api, root_public: bytes, cache: Path) -> Directory:
    """The agency's directory up to the server's head, verified from the first entry on.

    Raises `SealingError` when the server's chain does not continue the one that was verified before.
    """
    entries = read_entries(cache)
    directory = Directory.replay(root_public, entries)
    if entries:
        await _compare_head(api, directory, entries)
    known = directory.seq
    while True:
        page = await api.directory(directory.seq, _PAGE)
        for data in page:
            directory.apply(SignedEntry.decode(data))
            entries.append(data)
        if len(page) < _PAGE:
            break
    if directory.seq != known:
        write_entries(cache, entries)
    return directory


async def _compare_head(api: Api, directory: Directory, entries: Sequence[bytes]) -> None:
    """That the server still shows the entry that is the head here, the same one."""
    shown = await api.directory(directory.seq - 1, 1)
    if not shown:
        raise SealingError(SealingCode.E_DIR_BEHIND, "the server shows less of the directory than before")
    if shown[0] != entries[-1]:
        raise SealingError(SealingCode.E_DIR_FORK, "the server shows another directory than before")


async def post_entries(api: Api, entries: Sequence[SignedEntry]) -> None:
    """Post entries that were signed and applied here; all stand or none. `conflict` when others came first."""
    await api.post_directory(r.DirectoryPost(tuple(entry.encode() for entry in entries)))


async def all_devices(api: Api, state: str = "") -> list[r.DeviceInfo]:
    """Every device that the server lists."""
    return await every(lambda after: api.devices(after, _PAGE, state))


async def all_members(api: Api) -> list[r.Member]:
    """Every member that the server lists."""
    return await every(lambda after: api.members(after, _PAGE))


async def device_keys(api: Api, directory: Directory) -> DeviceKeyBook:
    """The DeviceKeys of certified devices. One that does not hold leaves its device dormant, and nobody else."""
    book = DeviceKeyBook()
    for info in await all_devices(api, "active"):
        certificate = directory.device(DeviceId(bytes.fromhex(info.id)))
        if certificate is None or not info.device_key:
            continue
        try:
            book.add(Signed.decode(info.device_key), certificate)
        except SealingError:
            continue
    return book


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that a person can name: by its id, the first digits of it, or its shown name.

    `past`: it has ended, and its name means it only where nothing else has that name. `note` tells it from others of its name.
    """

    id: bytes
    name: str = ""
    note: str = ""
    past: bool = False


def choose(what: str, text: str, choices: Iterable[Choice]) -> Choice:
    """The one that `text` means: a whole id, an unambiguous prefix of 4 digits or more, or a name.

    Never guesses: two that fit are both told, and none is taken.
    """
    wanted = _typed(text)
    every_one = list(choices)
    exact = [c for c in every_one if c.id.hex() == wanted]
    if exact:
        return exact[0]
    named = [c for c in every_one if c.name and _typed(c.name) == wanted]
    named = [c for c in named if not c.past] or named
    prefixed = [c for c in every_one if len(wanted) >= 4 and c.id.hex().startswith(wanted)]
    found = {c.id: c for c in (*named, *prefixed)}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise CommandError(f"There is no {what} called {text}.", Exit.NOT_FOUND, "not_found")
    several = "; ".join(" ".join(p for p in (c.id.hex()[:12], c.name, c.note) if p) for c in found.values())
    raise CommandError(
        f"{text} may mean several: {several}. Say which by its digits.", Exit.USAGE, "ambiguous"
    )


def _typed(text: str) -> str:
    """A name as two people may type it: in any case, with spaces or accents made on another keyboard."""
    return unicodedata.normalize("NFC", " ".join(text.split())).casefold()
