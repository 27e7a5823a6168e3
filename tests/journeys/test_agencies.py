"""Agencies on one server know nothing of each other: what is another's and what does not exist look the same."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from leeside.api import Api, ApiError
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelAddress, ChannelId, ChannelKind, address
from leeside_protocol.messages import Refused
from leeside_protocol.words import Discipline, Role
from tests.support.meddling import plain_socket
from tests.support.stage import Stage
from tests.support.town import Town, open_town

Ask = Callable[[Api, bytes], Awaitable[object]]


async def refusal(ask: Awaitable[object]) -> tuple[object, str]:
    with pytest.raises(ApiError) as caught:
        await ask
    return caught.value.code, str(caught.value)


async def test_another_agencys_things_and_things_that_do_not_exist_get_the_same_answer(
    stage: Stage, town: Town, tmp_path: Path
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    unit = await town.unit(ana)
    async with deniz.open(stage.url(0)) as desk, ana.open(stage.url(1)) as phone:
        channel = await town.unit_channel(desk, phone, unit=unit)
        incident, incident_channel = await desk.openings.incident([ana.device], units=[unit], first="go")
    node = stage.node(1)
    async with open_town(node.url, node.codes, tmp_path / "there", "River County") as there:
        spy = await there.enrol("spy", Role.SUPERVISOR)
        asks: list[Ask] = [
            lambda api, i: api.channel(i),
            lambda api, i: api.boxes(i, 0),
            lambda api, i: api.log(address(ChannelKind.CONTENT, ChannelId(i))),
            lambda api, i: api.log(address(ChannelKind.EPOCHS, ChannelId(i))),
            lambda api, i: api.create_blob(i, r.NewBlob(100)),
        ]
        async with deniz.desk(stage.url(0)) as api:
            for ask in asks:
                await ask(api, channel)  # whose they are, gets them
        cases: list[tuple[Ask, bytes]] = [
            (lambda api, i: api.archive_channel(i), channel),
            (lambda api, i: api.member(i), ana.member),
            (lambda api, i: api.device(i), ana.device),
            (lambda api, i: api.revoke_device(i), ana.device),
            (lambda api, i: api.create_enrolment(i, r.NewEnrolment()), ana.member),
            (lambda api, i: api.unit(i), unit),
            (lambda api, i: api.incident(i), incident),
        ]
        async with spy.desk(stage.url(0)) as api:
            for ask, theirs in (*((ask, x) for ask in asks for x in (channel, incident_channel)), *cases):
                assert await refusal(ask(api, theirs)) == await refusal(ask(api, os.urandom(16)))
            assert (await api.channels()).items == ()
            assert [m.id for m in (await api.members()).items] == sorted(
                m.hex() for m in {spy.member, there.admin.member}
            )
        async with plain_socket(spy, stage.url(1)) as socket:
            logs: list[ChannelAddress] = []
            for kind, owner in (
                (ChannelKind.CONTENT, channel),
                (ChannelKind.EPOCHS, channel),
                (ChannelKind.DIRECTORY, town.directory.agency_id),
                (ChannelKind.INBOX, ana.device),
            ):
                logs += [address(kind, owner), address(kind, os.urandom(16))]
            answers = [await socket.subscribe(log) for log in logs]
            assert all(isinstance(answer, Refused) for answer in answers)
            assert answers[0::2] == answers[1::2]
    async with ana.open(stage.url(0)) as phone:
        assert {i.id for i in phone.channels()} == {channel.hex(), incident_channel.hex()}
