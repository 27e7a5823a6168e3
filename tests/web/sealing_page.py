"""The page in which a browser checks its own cryptography of sealing, run by `clients/web/e2e/sealing.mjs`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import cryptography_vectors
import pytest

from deploy.devtool.services import CHROMIUM, FIREFOX, Program
from deploy.devtool.web import WEB, environment, node_folder
from leeside_server.relay.web import POLICY

BROWSERS: Final = {"chromium": CHROMIUM, "firefox": FIREFOX}
WAIT_S: Final = 280
"""Longer than the script waits for its page, so that it can say what went wrong."""


def run_page(browser: str, **files: Path) -> dict[str, Any]:
    """What the browser reports when every check passed; the test fails when one did not."""
    code, report = page_run(browser, **files)
    assert report["failed"] == [], f"{len(report['failed'])} checks failed in {report['version']}"
    assert code == 0
    return report


def page_run(browser: str, **files: Path) -> tuple[int, dict[str, Any]]:
    """The exit code and the report; the test is skipped when the browser may be missing and is.

    `files` are what the script is given besides: `interop` and `parsers`.
    """
    node = node_folder()
    command = [str(node / "node"), "e2e/sealing.mjs", "--browser", browser]
    for option, path in files.items():
        command += [f"--{option}", str(path)]
    vectors = Path(cryptography_vectors.__file__).parent / "HPKE" / "test-vectors.json"
    done = subprocess.run(
        command,
        cwd=WEB,
        env={
            **os.environ,
            **environment(node),
            BROWSERS[browser].variable: str(_program(BROWSERS[browser])),
            "LEESIDE_RFC9180": str(vectors),
            "LEESIDE_CONTENT_POLICY": POLICY,
        },
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _program(program: Program) -> Path:
    path = program.locate()
    if path is None:
        text = f"{program.name} is missing: {program.fix}"
        if program.needed:
            pytest.fail(text)
        pytest.skip(text)
    return path
