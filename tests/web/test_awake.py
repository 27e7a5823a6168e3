"""A phone stays awake while its unit works an incident, and lets go when it is over."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside_protocol import resources as r
from leeside_protocol.ids import UnitId
from leeside_protocol.words import IncidentState, Role
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow

_COUNTED: Final = """\
(() => {
    globalThis.awake = 0;
    const request = () => {
        globalThis.awake += 1;
        const held = { released: false, release: async () => {
            if (!held.released) globalThis.awake -= 1;
            held.released = true;
        } };
        return Promise.resolve(held);
    };
    Object.defineProperty(navigator, 'wakeLock', { value: { request } });
})();
"""


async def awake(screen: Screen, times: int) -> None:
    await screen.page.wait_for_function("(times) => globalThis.awake === times", arg=times)


async def test_a_phone_stays_awake_by_itself_while_its_unit_works(
    browser: Browser, one: Stage, town: Town
) -> None:
    url = f"http://localhost:{one.node(0).port}"
    sofia = await town.enrol("sofia", Role.SUPERVISOR)
    async with Screen.opened(browser, url) as ana, sofia.open(one.url(0)) as desk:
        await ana.context.add_init_script(_COUNTED)
        await ana.enrol(town, Role.RESPONDER)
        unit = UnitId(bytes.fromhex((await town.office.create_unit(r.NewUnit((ana.member.hex(),)))).id))
        await awake(ana, 0)
        incident, _ = await desk.openings.incident([ana.device], units=[unit], first="Quay Street 4")
        await awake(ana, 1)

        await ana.page.goto(f"{url}/#/me")
        switch = ana.page.get_by_role("checkbox", name=words("me.awake"))
        await expect(switch).to_be_checked()
        await switch.uncheck()
        await awake(ana, 0)
        await ana.page.reload()
        await expect(switch).not_to_be_checked()
        await awake(ana, 0)
        await switch.check()
        await awake(ana, 1)

        await desk.openings.move_incident(incident, IncidentState.CANCELLED)
        await awake(ana, 0)
