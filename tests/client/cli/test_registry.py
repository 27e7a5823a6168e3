"""The directory as commands see it: verified from the first entry, and never allowed to shrink or change."""

from __future__ import annotations

import random
from pathlib import Path

import httpx
import msgspec
import pytest

from leeside import authority as a
from leeside.api import Api
from leeside.cli.exits import CommandError, Exit
from leeside.cli.registry import Choice, choose, fetch_directory, read_entries, write_entries
from leeside_protocol.ids import MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.words import Role

NOW = 1_800_000_000_000


class Tokens:
    async def token(self) -> str:
        return "t"

    async def renew(self, stale: str) -> str:
        return "t"


def founding(seed: int, devices: int = 0) -> tuple[bytes, list[bytes]]:
    """A root's public key and the entries of its agency, with so many devices besides the administrator's."""
    rnd = random.Random(seed).randbytes
    root, authority = a.root_key(rnd(32)), a.authority_key(rnd(32))
    admin = DeviceKeys.create(rnd, NOW)
    added = a.device_added(admin.identity.public, MemberId(rnd(16)), Role.ADMIN, NOW)
    made = a.found(root, [authority], added, "code", NOW)
    entries = list(made.entries)
    for _ in range(devices):
        device = DeviceKeys.create(rnd, NOW)
        more = a.device_added(device.identity.public, MemberId(rnd(16)), Role.DISPATCHER, NOW)
        entries.append(a.sign(made.directory, more, [authority], NOW).encode())
    return root.key.public, entries


def serving(entries: list[bytes]) -> Api:
    def answer(request: httpx.Request) -> httpx.Response:
        after, limit = int(request.url.params.get("after", 0)), int(request.url.params["limit"])
        return httpx.Response(200, content=msgspec.msgpack.encode(entries[after : after + limit]))

    return Api("https://server.test", Tokens(), transport=httpx.MockTransport(answer))


async def test_it_is_fetched_kept_and_continued(tmp_path: Path) -> None:
    root, entries = founding(1, devices=4)
    cache = tmp_path / "directory.log"
    assert (await fetch_directory(serving(entries[:3]), root, cache)).seq == 3
    assert read_entries(cache) == entries[:3]
    assert (await fetch_directory(serving(entries), root, cache)).seq == len(entries)
    assert read_entries(cache) == entries


async def test_a_server_that_shows_less_than_before_is_found_out(tmp_path: Path) -> None:
    root, entries = founding(1, devices=2)
    cache = tmp_path / "directory.log"
    write_entries(cache, entries)
    with pytest.raises(SealingError) as caught:
        await fetch_directory(serving(entries[:-1]), root, cache)
    assert caught.value.code is SealingCode.E_DIR_BEHIND


async def test_a_server_that_shows_another_chain_is_found_out(tmp_path: Path) -> None:
    root, entries = founding(1, devices=2)
    _, others = founding(2, devices=2)
    cache = tmp_path / "directory.log"
    write_entries(cache, entries)
    with pytest.raises(SealingError) as caught:
        await fetch_directory(serving(others), root, cache)
    assert caught.value.code is SealingCode.E_DIR_FORK


async def test_another_agencys_chain_is_never_taken(tmp_path: Path) -> None:
    root, _ = founding(1)
    _, others = founding(2)
    with pytest.raises(SealingError):
        await fetch_directory(serving(others), root, tmp_path / "directory.log")
    assert not (tmp_path / "directory.log").exists()


async def test_a_gap_is_refused(tmp_path: Path) -> None:
    root, entries = founding(1, devices=3)
    with pytest.raises(SealingError) as caught:
        await fetch_directory(serving([*entries[:2], entries[3]]), root, tmp_path / "directory.log")
    assert caught.value.code is SealingCode.E_DIR_CHAIN


def test_a_torn_end_of_the_copy_is_left_out(tmp_path: Path) -> None:
    cache = tmp_path / "directory.log"
    write_entries(cache, [b"one", b"two"])
    cache.write_bytes(cache.read_bytes()[:-1])
    assert read_entries(cache) == [b"one"]
    assert read_entries(tmp_path / "none") == []


ROSA, SAM, SAME = (
    Choice(bytes(15) + b"\x01", "Rosa"),
    Choice(b"\xab" * 16, "Sam"),
    Choice(b"\xac" * 16, "Sam"),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [("rosa", ROSA), ("ROSA", ROSA), (ROSA.id.hex(), ROSA), ("abab", SAM), ("ABABAB", SAM), (" Rosa ", ROSA)],
)
def test_choosing_by_id_digits_or_name(text: str, found: Choice) -> None:
    assert choose("member", text, [ROSA, SAM, SAME]) is found


GONE = Choice(b"\xad" * 16, "Rosa", "ended", past=True)
JOSE = Choice(b"\xae" * 16, " Jose\u0301  Luis ")


@pytest.mark.parametrize(
    ("text", "found"), [("Rosa", ROSA), ("adad", GONE), ("jos\u00e9 luis", JOSE), ("Jose\u0301 Luis", JOSE)]
)
def test_who_has_ended_gives_the_name_back(text: str, found: Choice) -> None:
    assert choose("member", text, [ROSA, GONE, JOSE]) is found
    assert choose("member", "rosa", [GONE, JOSE]) is GONE


def test_several_of_one_name_are_told_apart() -> None:
    phones = [Choice(bytes([n]) * 16, "phone", f"of {who}") for n, who in ((1, "Ana"), (2, "Ben"))]
    with pytest.raises(CommandError, match="010101010101 phone of Ana; 020202020202 phone of Ben"):
        choose("device", "phone", phones)


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [("Sam", Exit.USAGE), ("ab", Exit.NOT_FOUND), ("Anna", Exit.NOT_FOUND), ("", Exit.NOT_FOUND)],
)
def test_what_is_not_clear_is_not_guessed(text: str, exit_code: Exit) -> None:
    with pytest.raises(CommandError) as caught:
        choose("member", text, [ROSA, SAM, SAME])
    assert caught.value.exit_code is exit_code
