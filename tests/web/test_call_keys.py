"""What the bridge forwards of a call between real browsers is of no use to who lacks its key: to the bridge itself, and to a
browser that has another one."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Browser, expect

from leeside.media import Call, Outsider
from leeside_protocol.ids import ConsultId
from leeside_protocol.words import Role
from tests.support.call_browser import MEDIA_S
from tests.support.stage import Stage
from tests.support.town import Town
from tests.support.web_words import pattern
from tests.web.calling import DISCIPLINES, Caller, Party, accepted
from tests.web.test_call import bridge, cameras, harbour

__all__ = ["bridge", "cameras", "harbour"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENOUGH: Final = 20


async def test_what_the_bridge_forwards_of_two_browsers_decodes_to_nothing(
    cameras: Browser, bridge: Stage, harbour: Town
) -> None:
    party = await Party.of(harbour)
    ben = await harbour.enrol("ben", Role.RESPONDER, DISCIPLINES[Role.RESPONDER], member=party.mates[0])
    url = bridge.url(0)
    async with (
        Caller.opened(cameras, url, harbour, Role.RESPONDER, party.rosa) as rosa,
        Caller.opened(cameras, url, harbour, Role.PSYCHIATRIST, party.lee) as lee,
        ben.open(url) as tablet,
    ):
        consult, _ = await party.agrees(rosa.engine, lee.engine)
        await rosa.joins(consult)
        await lee.joins(consult)
        await lee.media.decodes()
        # Payloads are forwarded as they are: what a third hears is what the bridge has.
        outsider = Outsider()
        async with Call.join(tablet, ConsultId(bytes.fromhex(consult)), sink=outsider, tap=outsider) as call:
            await call.wait_for(
                lambda one: all(
                    device in one.seen and one.seen[device].pictures_decoded >= ENOUGH
                    for device in (rosa.screen.device, lee.screen.device)
                ),
                MEDIA_S,
            )
        assert outsider.frames >= 2 * ENOUGH
        assert outsider.recognised == 0


ANOTHER_KEY: Final = """\
{
    const own = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (words, transfer) {
        if (words?.kind !== 'keys') {
            own.call(this, words, transfer);
            return;
        }
        const { port1, port2 } = new MessageChannel();
        words.port.onmessage = async ({ data }) => {
            const base = await crypto.subtle.importKey('raw', new Uint8Array(16), 'HKDF', false, ['deriveBits']);
            port1.postMessage({ ...data, media: { ...data.media, base } });
        };
        own.call(this, { ...words, port: port2 }, [port2]);
    };
}
"""
"""Everything is right but the key: the page hands its sealing worker one of zeros."""


async def test_a_browser_with_another_key_shows_nothing_and_both_screens_say_so(
    cameras: Browser, bridge: Stage, harbour: Town
) -> None:
    async with accepted(cameras, bridge.url(0), harbour, ANOTHER_KEY) as night:
        await night.rosa.joins(night.consult)
        await night.lee.joins(night.consult)
        for one in (night.rosa, night.lee):
            await expect(one.screen.page.get_by_text(pattern("alarm.unopened"))).to_be_visible()
            media = await one.media.now()
            assert media["encoded"] > 0
            assert sum(media["decoded"].values()) == 0
