"""What the command line says again of the server, because it may not import it, is what the server says."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from leeside.cli import backup, rosters
from leeside.cli.exits import CommandError, Exit
from leeside_protocol.words import ChannelPurpose
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.config import Config
from leeside_server.core import policy

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize("purpose", ChannelPurpose)
def test_new_channels_seat_whom_the_server_lets_sit(purpose: ChannelPurpose) -> None:
    assert rosters.SEATED[purpose] == policy.SEATS[purpose]


def test_whom_a_purpose_brings_may_sit_there() -> None:
    for purpose in rosters.WITH_DESK | rosters.EVERYONE:
        assert policy.SEATS[purpose] & rosters.SEATED[ChannelPurpose.DESK]


async def test_a_backup_knows_the_stores_file_its_generation_and_its_lock(tmp_path: Path) -> None:
    config = Config()
    assert config.store_path == config.server.data_dir / backup.DATABASE
    store = await SqliteStore.open(tmp_path / config.store_path.name)
    try:
        assert backup.database_generation(tmp_path / backup.DATABASE) == store.generation
        with pytest.raises(CommandError) as caught, backup.alone(tmp_path):
            pass
        assert (caught.value.exit_code, caught.value.code) == (Exit.CONFLICT, "in_use")
        assert list(backup.other_files(tmp_path)) == [], "what the store makes beside its file it makes anew"
    finally:
        await store.close()
    with backup.alone(tmp_path):
        pass


async def test_a_restored_store_is_given_a_generation_that_the_server_takes(tmp_path: Path) -> None:
    path = tmp_path / backup.DATABASE
    store = await SqliteStore.open(path)
    before = store.generation
    await store.close()
    assert backup.raise_generation(path, NOW_MS) == max(before + 1, NOW_MS)
    assert backup.raise_generation(path, before) == max(before + 1, NOW_MS) + 1, (
        "never back, whatever the clock says"
    )
    again = await SqliteStore.open(path)
    try:
        assert again.generation == max(before + 1, NOW_MS) + 1
    finally:
        await again.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM meta").fetchone() == (1,)
