"""Migrations: an empty database and the previous version's become the tables of `schema.py`, and one version
back stays usable."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from leeside_server.adapters import migrations
from leeside_server.adapters.postgres import PostgresStore
from leeside_server.adapters.schema import METADATA
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.ports import StoreRefused
from tests.ports.stores import Place, offsets, says, stored

NEXT = """
from alembic import op
import sqlalchemy as sa

revision = "{next:04d}"
down_revision = "{newest:04d}"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("messages", sa.Column("colour", sa.BigInteger, nullable=True))
"""
CONTRACTING = '    op.execute("UPDATE meta SET usable_by = {next}")\n'
NEWEST = migrations.SCHEMA


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Turns this server into the one of the next version, whose migration expands, or contracts as well."""

    def turn(*, contracts: bool = False) -> None:
        folder = tmp_path / "versions"
        folder.mkdir()
        text = NEXT + (CONTRACTING if contracts else "")
        (folder / "next.py").write_text(text.format(newest=NEWEST, next=NEWEST + 1))
        monkeypatch.setattr(migrations, "SCHEMA", NEWEST + 1)
        monkeypatch.setattr(migrations, "VERSIONS", (*migrations.VERSIONS, str(folder)))

    return turn


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Turns this server back into the present one."""

    def turn() -> None:
        monkeypatch.setattr(migrations, "SCHEMA", NEWEST)

    return turn


async def test_the_previous_versions_database_is_migrated_with_all_it_holds(
    place: Place, newer: Callable[..., None]
) -> None:
    store = await place.reopen()
    await stored(store, says(1))
    generation = store.generation
    await store.close()
    newer()
    store = await place.open()
    assert store.generation == generation
    assert await offsets(store) == [1]
    assert (await stored(store, says(2))).offsets == (2,)


async def test_the_previous_version_works_on_tables_that_were_expanded(
    place: Place, newer: Callable[..., None], older: Callable[[], None]
) -> None:
    newer()
    store = await place.reopen()
    await stored(store, says(1))
    await store.close()
    older()
    store = await place.open()
    assert await offsets(store) == [1]
    assert (await stored(store, says(2))).offsets == (2,)


async def test_the_previous_version_refuses_tables_that_were_contracted(
    place: Place, newer: Callable[..., None], older: Callable[[], None]
) -> None:
    newer(contracts=True)
    await (await place.reopen()).close()
    older()
    with pytest.raises(StoreRefused, match="run the newer server, or restore a backup"):
        await place.reopen()


def ddl(dialect: Dialect) -> list[str]:
    """The statements that make the tables of `schema.py`."""
    found: list[str] = []
    for table in METADATA.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=dialect)))
        found.extend(
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        )
    return found


def sqlite_tables(db: sqlite3.Connection) -> dict[str, list[Any]]:
    """Columns and indexes of each table but alembic's."""
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: [
            db.execute(f"PRAGMA table_info({name})").fetchall(),
            db.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? ORDER BY name",
                [name],
            ).fetchall(),
            db.execute("SELECT wr FROM pragma_table_list(?)", [name]).fetchall(),
        ]
        for name in names
        if name != "alembic_version"
    }


async def test_migrations_leave_the_tables_of_the_schema_on_sqlite(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "migrated.db")).close()
    migrated = sqlite3.connect(tmp_path / "migrated.db")
    made = sqlite3.connect(":memory:")
    for statement in ddl(SQLiteDialect()):
        made.execute(statement)
    assert sqlite_tables(migrated) == sqlite_tables(made)
    assert migrated.execute("SELECT schema, usable_by FROM meta").fetchone() == (NEWEST, 1)
    migrated.close()
    made.close()


COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
    "WHERE table_schema = $1 AND table_name <> 'alembic_version' ORDER BY table_name, ordinal_position"
)
INDEXES = (
    "SELECT tablename, replace(indexdef, $1 || '.', '') FROM pg_indexes "
    "WHERE schemaname = $1 AND tablename <> 'alembic_version' ORDER BY tablename, indexname"
)


@pytest.mark.services
async def test_migrations_leave_the_tables_of_the_schema_on_postgresql(postgres_dsn: str) -> None:
    await (await PostgresStore.open(postgres_dsn)).close()
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("CREATE SCHEMA made; SET search_path TO made")
    for statement in ddl(PGDialect()):  # type: ignore[no-untyped-call]
        await connection.execute(statement)
    for query in (COLUMNS, INDEXES):
        migrated = [tuple(row) for row in await connection.fetch(query, "public")]
        made = [tuple(row) for row in await connection.fetch(query, "made")]
        assert migrated == made
        assert len(migrated) >= 10
    await connection.close()


def test_the_newest_migration_is_the_one_this_server_is_built_for() -> None:
    files = sorted(Path(migrations.__file__).parent.glob("versions/[0-9]*.py"))
    assert [path.name[:4] for path in files] == [migrations.revision(n + 1) for n in range(NEWEST)]


def test_there_is_nothing_to_do_for_a_database_that_is_up_to_date() -> None:
    assert migrations.statements("sqlite", NEWEST) == ""
    assert migrations.missing(NEWEST, 1) == 0
    assert migrations.missing(NEWEST + 3, NEWEST) == 0
