"""A consult's call between Firefox and Chromium, our own client in both, through the real bridge: sealed and decoded both ways."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from deploy.devtool.services import FIREFOX
from leeside import authority as a
from leeside_protocol import resources as r
from leeside_protocol.words import Role
from tests.faults.node import NodeSettings, VideoBy
from tests.support.call_browser import WATCHING, Media, call_browser_running
from tests.support.firefox import FirefoxPage, firefox_page
from tests.support.loopback import own_address
from tests.support.services import program_path
from tests.support.stage import Stage, one_node
from tests.support.town import Town, now_ms, open_town
from tests.support.web_engine import LISTENING, Engine
from tests.support.web_words import words
from tests.web.calling import Caller, Party

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cameras(built: Path) -> AsyncGenerator[Browser]:
    async with call_browser_running() as running:
        yield running


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """Firefox takes no candidate of the loopback: the bridge is at this machine's own address."""
    by = VideoBy((own_address(),))
    with one_node(tmp_path_factory.mktemp("bridge"), NodeSettings(video_by=by)) as stage:
        yield stage


async def enrol(page: FirefoxPage, town: Town, url: str, party: Party) -> None:
    """A psychiatrist's Firefox: invited, its code compared, certified."""
    code = (await town.office.create_enrolment(party.lee, r.NewEnrolment("browser"))).code
    await page.goto(f"{url}/#enrol={code}&root={town.directory.root_public.hex()}")
    await page.click(words("enrol.do"))
    script = "(name) => document.querySelector(`[role=group][aria-label='${name}']`)?.innerText"
    shown = (await page.wait_for_function(script, arg=words("pending.code"))).value
    (info,) = (await town.office.devices(state="pending")).items
    seen = a.applicant(info.public_key, info.device_key)
    assert "-".join(re.findall(r"[0-9A-Z]{4}", shown)) == seen.short_code
    await town.sign(a.device_added(seen.public, party.lee, Role.PSYCHIATRIST, now_ms()))


async def test_firefox_and_chromium_see_and_hear_each_other(
    cameras: Browser, bridge: Stage, tmp_path: Path
) -> None:
    await bridge.ready()
    url = bridge.url(0)
    async with (
        open_town(url, bridge.node(0).codes, tmp_path / "people") as town,
        firefox_page(program_path(FIREFOX)) as firefox,
    ):
        party = await Party.of(town)
        await firefox.before(LISTENING)
        await firefox.before(WATCHING)
        await enrol(firefox, town, url, party)
        engine, media = Engine(firefox), Media(firefox)
        await engine.until("link", "(told) => told.link.state === 'online'")
        async with Caller.opened(cameras, url, town, Role.RESPONDER, party.rosa) as rosa:
            consult, _ = await party.agrees(rosa.engine, engine)
            await rosa.joins(consult)
            await firefox.evaluate(f"() => {{ location.hash = '#/consult/{consult}/room' }}")
            await firefox.click(words("door.join"))
            for one in (rosa.media, media):
                await one.decodes()
                await one.hears()
        assert firefox.complaints == []
