"""The arrows between the layers are guarded: each forbidden import, planted in a small copy, is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.devtool.place import ROOT, VENV_BIN

PLANTED = {
    "leeside_protocol/__init__.py": "",
    "leeside_protocol/codec.py": "import time\nimport leeside_server.errors\nimport leeside.client",
    "leeside_protocol/sealing/__init__.py": "",
    "leeside_protocol/sealing/opening.py": "",
    "leeside_server/__init__.py": "",
    "leeside_server/errors.py": "",
    "leeside_server/config.py": "",
    "leeside_server/log.py": "",
    "leeside_server/core/__init__.py": "import asyncio\nimport sqlite3\nimport secrets\nimport leeside_server.ports",
    "leeside_server/ports.py": "import leeside_server.relay",
    "leeside_server/relay/__init__.py": "import leeside_server.video\nimport leeside_protocol.sealing.opening",
    "leeside_server/video/__init__.py": "import leeside_server.relay",
    "leeside_server/adapters/__init__.py": "import leeside_server.relay\nimport leeside",
    "leeside_server/cli.py": "",
    "leeside/__init__.py": "",
    "leeside/client.py": "import leeside.cli\nimport leeside_server.core",
    "leeside/cli.py": "",
}

ARROWS = (
    "leeside_protocol is not allowed to import time",
    "leeside_protocol is not allowed to import leeside",
    "leeside_protocol is not allowed to import leeside_server",
    "leeside_server.core is not allowed to import asyncio",
    "leeside_server.core is not allowed to import sqlite3",
    "leeside_server.core is not allowed to import secrets",
    "leeside_server.core is not allowed to import leeside_server.ports",
    "leeside_server.ports is not allowed to import leeside_server.relay",
    "leeside_server.relay is not allowed to import leeside_server.video",
    "leeside_server.video is not allowed to import leeside_server.relay",
    "leeside_server.adapters is not allowed to import leeside_server.relay",
    "leeside_server is not allowed to import leeside_protocol.sealing.opening",
    "leeside_server is not allowed to import leeside",
    "leeside is not allowed to import leeside_server",
    "leeside.client is not allowed to import leeside.cli",
)


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of the planted copy, on one line."""
    copy = tmp_path_factory.mktemp("planted")
    for name, body in PLANTED.items():
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body + "\n")
    return lint(copy, copy / "cache")


def lint(folder: Path, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, VENV_BIN / "lint-imports", "--no-logo", "--config", ROOT / "pyproject.toml", "--cache-dir", cache],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "400"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("arrow", ARROWS)
def test_a_forbidden_arrow_is_found(verdict: str, arrow: str) -> None:
    assert f"{arrow}:" in verdict


def test_every_contract_was_broken_by_the_copy(verdict: str) -> None:
    assert " 0 kept," in verdict
