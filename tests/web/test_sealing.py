"""Sealing in real browsers: the vectors of the protocol, and those that others published, in a worker under the strict policy."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from deploy.devtool.services import CHROMIUM, FIREFOX, Program
from deploy.devtool.web import WEB, environment, install_modules, node_folder
from tests.support.services import program_path

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]


async def checked(browser: Program) -> dict[str, Any]:
    """What came of the checks in this browser."""
    install_modules()
    process = await asyncio.create_subprocess_exec(
        "node",
        "e2e/sealing.mjs",
        "--browser",
        browser.name,
        cwd=WEB,
        env={**os.environ, **environment(node_folder()), browser.variable: str(program_path(browser))},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert out, err.decode()
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.parametrize("browser", [CHROMIUM, FIREFOX], ids=lambda browser: browser.name)
async def test_the_vectors_hold_in_a_browser(browser: Program) -> None:
    if browser.locate() is None and not browser.needed:
        pytest.skip(f"{browser.name} is not here: {browser.fix}")
    report = await checked(browser)
    assert report["failed"] == []
    for group in (
        "own: encoding",
        "own: directory",
        "own: commits",
        "RFC 9180",
        "HPKE against another library",
    ):
        assert report["passed"][group] > 0, f"nothing was checked of {group}"
