"""No violation of WCAG 2.2 AA that axe can see, in any scene of the stages, light and dark."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from deploy.devtool.services import CHROMIUM
from deploy.devtool.web import WEB, environment, node_folder
from tests.support.axe import violations
from tests.support.browser import DESK, watched
from tests.support.pages import built_stage, pages_served
from tests.support.services import program_path

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    """The address of the dispatcher's stage."""
    async with pages_served(await built_stage("desk", tmp_path_factory.mktemp("desk"))) as url:
        yield url


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("scene", ["quiet", "busy", "empty", "loading", "offline", "duress", "alarm"])
async def test_the_desk_has_no_violation(browser: Browser, desk: str, scene: str, theme: str) -> None:
    async with watched(browser, desk, viewport=DESK, color_scheme=theme) as (context, watch):
        watch.expect("favicon.ico")
        page = await context.new_page()
        await page.goto(f"{desk}/?scene={scene}&theme={theme}")
        await page.locator("#app *").first.wait_for()
        await page.wait_for_load_state("networkidle")
        assert await violations(page) == []


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the other stage is built, by whichever share comes first."""
    return tmp_path_factory.mktemp("stage") / "built"


@pytest.mark.parametrize("share", ["1/4", "2/4", "3/4", "4/4"])
async def test_the_screens_have_no_violation(built: Path, stage: Path, share: str) -> None:
    """Every scene of the other stage, light and dark: e2e/axe.mjs builds it and looks."""
    process = await asyncio.create_subprocess_exec(
        "node",
        "e2e/axe.mjs",
        share,
        cwd=WEB,
        env={
            **os.environ,
            **environment(node_folder()),
            CHROMIUM.variable: str(program_path(CHROMIUM)),
            "STAGE_OUT": str(stage),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    told = out.decode()
    assert process.returncode == 0, told
    assert int(told.split(" looked at")[0].split()[-1]) > 50
