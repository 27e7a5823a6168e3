"""Whoever joins reads what comes; what was before is given by a member, and by nobody else."""

from __future__ import annotations

import asyncio

from leeside.events import ContextRequest, Granted, Unreadable
from leeside_protocol.words import Discipline, Role
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, settled, texts, until


async def test_who_joins_reads_the_earlier_context_once_a_member_grants_it(stage: Stage, town: Town) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    eva = await town.enrol("eva", Role.RESPONDER, Discipline.PEER_SPECIALIST)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with ana.open(stage.url(0)) as phone, deniz.open(stage.url(1)) as desk:
        channel = await town.unit_channel(desk, phone)
        await (await phone.send(channel, "he has a dog")).wait(timeout_s=WAIT_S)
        async with eva.open(stage.url(1)) as joiner:
            await phone.openings.admit(channel, [eva.device])
            await settled(joiner, channel)
            await (await phone.send(channel, "welcome, Eva")).wait(timeout_s=WAIT_S)
            await until(lambda: texts(joiner, channel) == ["welcome, Eva"], "she reads what comes")
            (closed,) = [e for e in joiner.history(channel) if isinstance(e, Unreadable)]
            assert closed.why == "not_granted"

            asked, given = phone.follow(channel), joiner.follow(channel)
            await joiner.ask_for_context(channel, "what happened before?")
            async with asyncio.timeout(WAIT_S):
                while not isinstance(request := await asked.next(), ContextRequest):
                    pass
            assert (request.device, request.reason) == (eva.device, "what happened before?")
            await phone.openings.grant(channel, request.device)
            async with asyncio.timeout(WAIT_S):
                while not isinstance(granted := await given.next(), Granted):
                    pass
            assert granted.opened == 1
            assert texts(joiner, channel) == ["he has a dog", "welcome, Eva"]
        # What was granted stays, also on the next start and on the other node.
        async with eva.open(stage.url(0)) as joiner:
            await settled(joiner, channel)
            assert texts(joiner, channel) == ["he has a dog", "welcome, Eva"]


async def test_a_psychiatrist_opens_the_clinical_channel_of_an_incident_and_an_officer_cannot(
    stage: Stage, town: Town
) -> None:
    """Keys follow compartments: an incident's operations are everyone's who works it, its clinical part is not."""
    from leeside.errors import NotPermitted
    from leeside_protocol.sealing.public.commit import Authorisation, AuthRecord
    from leeside_protocol.words import ChannelPurpose, Compartment

    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    ben = await town.enrol("ben", Role.RESPONDER, Discipline.LAW_ENFORCEMENT_OFFICER)
    priya = await town.enrol("priya", Role.PSYCHIATRIST)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        deniz.open(stage.url(0)) as desk,
        ana.open(stage.url(1)) as phone,
        priya.open(stage.url(0)) as laptop,
    ):
        devices = [ana.device, ben.device, priya.device]
        incident, operations = await desk.openings.incident(devices, first="person in crisis, Quay 4")
        await settled(phone, operations)
        await until(lambda: texts(phone, operations) == ["person in crisis, Quay 4"], "the first message")
        ground = (AuthRecord(Authorisation.CONSENT, b"\x07" * 32),)
        clinical = await phone.openings.channel(
            ChannelPurpose.INCIDENT,
            [priya.device],
            subject=incident,
            compartment=Compartment.CLINICAL,
            incident=incident,
            auth=ground,
        )
        await settled(laptop, clinical)
        await phone.send(clinical, "sertraline, 50 mg")
        await until(lambda: texts(laptop, clinical) == ["sertraline, 50 mg"], "the psychiatrist reads it")
        try:
            await phone.openings.admit(clinical, [ben.device])
        except NotPermitted:
            refused = True
        else:
            refused = False
        assert refused
        assert ben.device not in phone.readers(clinical)
        async with ben.open(stage.url(1)) as officer:
            assert {i.id for i in officer.channels()} == {operations.hex()}
