"""A photo from a telephone tells the others what can be seen in it, and not where the one who took it stood."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, expect

from leeside.bodies import Attachment
from leeside.client import Leeside
from leeside.events import Message
from leeside_protocol.ids import ChannelId
from leeside_protocol.words import ChannelPurpose, Discipline, Role
from tests.support.photo import MAKER, applications, size_px, with_exif
from tests.support.stage import Stage
from tests.support.town import Town, settled, until
from tests.support.web_words import words
from tests.web.screen import Screen

pytestmark = pytest.mark.slow

DRAW = """async () => {
    const canvas = new OffscreenCanvas(3000, 1500);
    const pen = canvas.getContext('2d');
    pen.fillStyle = 'teal';
    pen.fillRect(0, 0, 3000, 1500);
    const blob = await canvas.convertToBlob({ type: 'image/jpeg' });
    return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
}"""
QUAY = (41, 30, 17)


async def taken(screen: Screen) -> bytes:
    """A photo of 3,000 by 1,500 px, held upright, with the place where it was taken."""
    return with_exif(base64.b64decode(await screen.page.evaluate(DRAW)), QUAY)


async def choose(screen: Screen, photo: bytes) -> None:
    """Pick it from the telephone's pictures, until it stands there to be sent."""
    payload: FilePayload = {"name": "IMG_2041.jpg", "mimeType": "image/jpeg", "buffer": photo}
    await screen.page.locator("input[type=file]").set_input_files(payload)
    await expect(screen.page.get_by_role("dialog")).to_be_visible()
    await expect(screen.page.get_by_text(words("file.redrawn"))).to_be_visible()


def files(desk: Leeside, channel: ChannelId) -> list[Attachment]:
    """The files that the other side sees, in order."""
    said = [event for event in desk.history(channel) if isinstance(event, Message)]
    return [event.attachment for event in said if event.attachment is not None]


async def test_what_the_others_open_of_a_photo_does_not_tell_where_it_was_taken(
    browser: Browser, one: Stage, town: Town, tmp_path: Path
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk, Screen.opened(browser, one.url(0)) as ana:
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        photo = await taken(ana)
        assert (applications(photo)[0], MAKER in photo, size_px(photo)) == (b"Exif", True, (3000, 1500))

        await choose(ana, photo)
        await ana.page.get_by_role("dialog").get_by_role("button", name=words("do.send"), exact=True).click()
        await until(lambda: len(files(desk, channel)) == 1, "the picture came")
        opened = tmp_path / "opened.jpg"
        await desk.fetch(files(desk, channel)[0], opened)
        seen = opened.read_bytes()
        assert files(desk, channel)[0].name == "IMG_2041.jpg"
        assert b"Exif" not in applications(seen)
        assert MAKER not in seen
        assert size_px(seen) == (1024, 2048), "upright, and no larger than it has to be"

        # Who asks for the original is told what it tells, and the others get that very file.
        await choose(ana, photo)
        await ana.page.get_by_label(words("file.as_it_is")).check()
        await expect(ana.page.get_by_text(words("file.tells"))).to_be_visible()
        await ana.page.get_by_role("dialog").get_by_role("button", name=words("do.send"), exact=True).click()
        await until(lambda: len(files(desk, channel)) == 2, "the original came")
        original = tmp_path / "original.jpg"
        await desk.fetch(files(desk, channel)[1], original)
        assert original.read_bytes() == photo


async def test_a_picture_that_the_browser_cannot_read_is_sent_with_a_warning(
    browser: Browser, one: Stage, town: Town, tmp_path: Path
) -> None:
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(one.url(0)) as desk, Screen.opened(browser, one.url(0)) as ana:
        await ana.enrol(town, Role.RESPONDER, Discipline.CLINICIAN)
        channel = await desk.openings.channel(ChannelPurpose.UNIT, [ana.device], subject=await town.unit())
        await settled(desk, channel)
        await ana.open_channel(channel)
        strange: FilePayload = {"name": "a.heic", "mimeType": "image/heic", "buffer": b"no picture" * 9}
        await ana.page.locator("input[type=file]").set_input_files(strange)
        await expect(ana.page.get_by_text(words("file.unreadable"))).to_be_visible()
        await ana.page.get_by_role("dialog").get_by_role("button", name=words("do.send"), exact=True).click()
        await until(lambda: len(files(desk, channel)) == 1, "the picture came")
        opened = tmp_path / "opened.heic"
        await desk.fetch(files(desk, channel)[0], opened)
        assert opened.read_bytes() == strange["buffer"]
