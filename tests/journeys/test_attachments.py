"""Files: sealed before they leave, whole or not there, and going on where they broke off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leeside.api import ApiError
from leeside.events import Message
from leeside_protocol.words import Discipline, Role
from tests.support.line import open_line
from tests.support.stage import Stage
from tests.support.town import Town, until

SIZE_BYTES = 1_500_000
HALF_BYTES = 700_000


@pytest.mark.slow
async def test_a_file_whose_upload_and_download_break_off_arrives_whole(
    stage: Stage, town: Town, tmp_path: Path
) -> None:
    photo = tmp_path / "kitchen.jpg"
    photo.write_bytes(os.urandom(SIZE_BYTES))
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        open_line(stage.node(0).port) as uphill,
        open_line(stage.node(1).port) as downhill,
        ana.open(uphill.url) as phone,
        deniz.open(downhill.url) as desk,
    ):
        channel = await town.unit_channel(desk, phone)
        uphill.cut_after_bytes = HALF_BYTES
        with pytest.raises(ApiError):
            await phone.attach(channel, photo)
        uphill.mend()
        told: list[int] = []
        before = len(uphill.heard())
        await phone.attach(channel, photo, caption="look", progressed=lambda done, _: told.append(done))
        assert told[-1] == SIZE_BYTES
        again = len(uphill.heard()) - before
        assert again < SIZE_BYTES, "what the server had was not sent again"

        await until(lambda: any(isinstance(e, Message) for e in desk.history(channel)), "the message came")
        (message,) = [e for e in desk.history(channel) if isinstance(e, Message)]
        attachment = message.attachment
        assert attachment is not None
        assert (attachment.name, attachment.caption, attachment.size_bytes) == (
            "kitchen.jpg",
            "look",
            SIZE_BYTES,
        )
        target = tmp_path / "received.jpg"

        def break_at_half(done: int, _whole: int) -> None:
            if done >= HALF_BYTES:
                downhill.cut()

        with pytest.raises(ApiError):
            await desk.fetch(attachment, target, progressed=break_at_half)
        assert not target.exists()
        downhill.mend()
        before = len(downhill.heard())
        await desk.fetch(attachment, target)
        assert target.read_bytes() == photo.read_bytes()
        assert len(downhill.heard()) - before < SIZE_BYTES, "what was here was not fetched again"
