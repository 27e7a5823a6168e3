"""Brings a database to the tables of `schema.py`, step by step, on SQLite and PostgreSQL alike.

Each file of `versions` is one alembic revision, named by its schema number ("0001", "0002", …). Alembic turns
the missing ones into SQL, and each adapter runs that SQL over its own connection, inside one transaction and
under the lock that keeps other processes out. Therefore revisions say plain statements (`op.create_table`,
`op.add_column`, `op.execute`) and never look at the database.

**One version back stays usable.** During a rolling upgrade the previous server works on the new tables, and
after it one may go back without a restore. So a change takes two releases:

1. *expand*: add a table, or a column that is nullable or has a default; the new server writes both forms.
   `meta.usable_by` stays at the previous number.
2. *contract*, a release later: remove what nobody reads any more, and raise `meta.usable_by` to the number
   of the release before.

A server refuses a database whose `usable_by` is above its own `SCHEMA`, with the reason.
"""

from __future__ import annotations

import functools
import time
from io import StringIO
from typing import Any, Final

from leeside_server.ports import StoreRefused

SCHEMA: Final = 1
"""The schema number that this server is built for: the newest file of `versions`."""

VERSIONS: Final = ("leeside_server.adapters:migrations/versions",)
"""Where the revisions are."""


def revision(schema: int) -> str:
    """The alembic revision of a schema number."""
    return f"{schema:04d}"


def statements(dialect: str, current: int) -> str:
    """The SQL that brings a database from schema `current` (0: empty) to `SCHEMA`; "" when there is nothing
    to do. `dialect` is `sqlite` or `postgresql`. The text has no BEGIN or COMMIT: the caller owns both."""
    return "" if current >= SCHEMA else _rendered(dialect, current, SCHEMA, VERSIONS)


@functools.cache  # the scripts do not change while a process runs, and a test suite makes a thousand databases
def _rendered(dialect: str, current: int, target: int, versions: tuple[str, ...]) -> str:
    # Only when there is work: a server that comes back after a crash does not wait for alembic.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    config = Config()
    config.set_main_option("script_location", "leeside_server.adapters:migrations")
    config.set_main_option("version_locations", "\n".join(versions))
    config.set_main_option("path_separator", "newline")
    script = ScriptDirectory.from_config(config)
    buffer = StringIO()
    start = revision(current) if current else None

    def upgrade(_heads: object, _context: object) -> Any:
        # What alembic's own `upgrade` command calls.
        return script._upgrade_revs(revision(target), start or "base")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    with EnvironmentContext(config, script, fn=upgrade, as_sql=True, starting_rev=start) as environment:
        environment.configure(
            dialect_name=dialect, output_buffer=buffer, transactional_ddl=False, literal_binds=True
        )
        try:
            environment.run_migrations()
        except RevisionError:
            raise StoreRefused(
                f"the database has schema {current}, which this server does not know"
            ) from None
    return f"{buffer.getvalue()}\nUPDATE meta SET schema = {target};\n"


def missing(schema: int, usable_by: int) -> int:
    """How many migrations a database lacks (0 when it is newer and still usable).

    Raises `StoreRefused` when a newer server has left it in a form that this one would damage.
    """
    if usable_by > SCHEMA:
        raise StoreRefused(
            f"the database has schema {schema}, usable from {usable_by} on; this server is built for {SCHEMA}: "
            "run the newer server, or restore a backup made before the upgrade"
        )
    return max(0, SCHEMA - schema)


def new_generation(before: int) -> int:
    """A generation that no other copy of this database has had: the time, and above the last one anyway."""
    return max(before + 1, time.time_ns() // 1_000_000)
