"""What a server loads before it listens: clients wait for it after a crash. Counted by name, so that no clock decides."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOT_AT_A_START = {
    "alembic": "a database of the current schema needs no migration",
    "sqlalchemy": "statements stand compiled (docs/adr/0008)",
    "asyncpg": "PostgreSQL was not chosen",
    "redis": "Redis was not chosen",
    "typer": "argparse reads the command line",
    "pydantic": "Typer would bring it",
    "rich.console": "no traceback is ever drawn",
    "icalendar": "nobody asked for a calendar yet",
    "httpx": "a server asks nobody",
    "requests": "a server asks nobody",
    "jinja2": "nothing is rendered",
    "starlette.testclient": "for tests",
    "leeside_server.adapters.definitions": "statements stand compiled (docs/adr/0008)",
    "leeside_server.doctor": "another command",
}
_IMPORT = re.compile(r"import time: +\d+ \| +\d+ \| *(\S+)")


def loaded_until_it_serves(folder: Path) -> set[str]:
    """Every module that `leeside-server serve` in this folder asked for until it took connections."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "leeside_server.cli", "serve"],
        cwd=folder,
        env={**os.environ, "LEESIDE_PORT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found: set[str] = set()
    said: list[str] = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if named := _IMPORT.match(line):
                found.add(named[1])
                continue
            said.append(line)
            if '"event": "serving"' in line:
                return found
    finally:
        process.kill()
        process.communicate()
    raise AssertionError("".join(said))


@pytest.mark.slow
def test_a_start_loads_nothing_that_only_others_need(tmp_path: Path) -> None:
    first = loaded_until_it_serves(tmp_path)
    assert {"leeside_server.relay.node", "uvicorn", "alembic", "sqlalchemy"} <= first  # it made the tables
    again = loaded_until_it_serves(tmp_path)
    assert {"leeside_server.relay.node", "uvicorn"} <= again
    assert {name: why for name, why in NOT_AT_A_START.items() if name in again} == {}
