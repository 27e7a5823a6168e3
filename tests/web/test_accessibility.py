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


async def said_by(*command: str, **variables: str) -> str:
    """What a program of the client's folder printed. Fails with it unless the program was content."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=WEB,
        env={
            **os.environ,
            **environment(node_folder()),
            CHROMIUM.variable: str(program_path(CHROMIUM)),
            **variables,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    told = out.decode()
    assert process.returncode == 0, told
    return told


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(built: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the other stage."""
    folder = str(tmp_path_factory.mktemp("stage") / "built")
    await said_by("npx", "vite", "build", "--config", "stage/vite.config.ts", STAGE_OUT=folder)
    return folder


@pytest.mark.parametrize("half", [("1/4", "2/4"), ("3/4", "4/4")], ids=["first", "second"])
async def test_the_screens_have_no_violation(stage: str, half: tuple[str, str]) -> None:
    """Every scene of the other stage, light and dark, two browsers at a time: e2e/axe.mjs looks."""
    looks = (said_by("node", "e2e/axe.mjs", share, STAGE_OUT=stage) for share in half)
    for told in await asyncio.gather(*looks):
        assert int(told.split(" looked at")[0].split()[-1]) > 50
