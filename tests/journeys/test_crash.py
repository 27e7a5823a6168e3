"""G1: what was acknowledged survives the crash of the process, and the conversation goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from leeside_protocol.words import Discipline, Role
from tests.support.stage import Stage
from tests.support.town import WAIT_S, open_town, settled, texts, until

pytestmark = pytest.mark.slow

COUNT = 30


async def test_g1_what_was_acknowledged_survives_kill_9_and_the_rest_follows(
    own_stage: Stage, tmp_path: Path
) -> None:
    stage = own_stage
    async with open_town(stage.url(0), stage.node(0).codes, tmp_path / "people") as town:
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        deniz = await town.enrol("deniz", Role.DISPATCHER)
        async with ana.open(stage.url(0)) as phone, deniz.open(stage.url(1)) as desk:
            channel = await town.unit_channel(desk, phone)
            sent = [await phone.send(channel, f"{number}") for number in range(COUNT)]
            await sent[COUNT // 2].wait(timeout_s=WAIT_S)
            await stage.kill()
            acknowledged = [s.id for s in sent if s.progress.value == "accepted"]
            assert len(acknowledged) > COUNT // 2
            await until(lambda: phone.link.state.value != "online", "the phone says that there is no link")
            later = await phone.send(channel, "written while the server was down")
            await stage.start()
            phone.reconnect()
            desk.reconnect()
            await later.wait(timeout_s=WAIT_S)
            everything = [*(f"{number}" for number in range(COUNT)), "written while the server was down"]
            await until(lambda: texts(desk, channel) == everything, "all of it, once and in order")
            assert texts(phone, channel) == everything
        # Whoever was never there before reads the same from the store.
        fresh = await town.enrol("fresh", Role.SUPERVISOR)
        async with deniz.open(stage.url(0)) as desk, fresh.open(stage.url(1)) as late:
            await settled(desk, channel)
            await desk.openings.admit(channel, [fresh.device])
            await desk.openings.grant(channel, fresh.device)
            await settled(late, channel)
            await until(lambda: texts(late, channel) == everything, "the log says the same")
    assert stage.complaints() == []
