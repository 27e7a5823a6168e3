"""Messages between people: sealed, in order, once, on whichever node each of them is."""

from __future__ import annotations

from contextlib import AsyncExitStack

from leeside.events import Message, Progress
from leeside_protocol.words import Discipline, Role
from tests.support.line import open_line
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Town, texts, until


async def test_a_message_from_the_phone_reaches_the_dispatcher_and_says_so(stage: Stage, town: Town) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with ana.open(stage.url(0)) as phone, deniz.open(stage.url(1)) as desk:
        channel = await town.unit_channel(desk, phone)
        sent = await phone.send(channel, "on scene, two people, calm")
        await sent.wait(Progress.DELIVERED, timeout_s=WAIT_S)
        (message,) = [e for e in desk.history(channel) if isinstance(e, Message)]
        assert message.text == "on scene, two people, calm"
        assert (message.device, message.member, message.mine) == (ana.device, ana.member, False)
        desk.mark_read(channel, message.offset)
        await sent.wait(Progress.READ, timeout_s=WAIT_S)
        assert sent.devices == {deniz.device: Progress.READ}


async def test_g3_everyone_reads_the_same_order_without_a_gap(stage: Stage, town: Town) -> None:
    people = [await town.enrol(f"p{n}", Role.RESPONDER, Discipline.EMT) for n in range(3)]
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(deniz.open(stage.url(0)))
        phones = [await stack.enter_async_context(p.open(stage.url(n))) for n, p in enumerate(people)]
        channel = await town.unit_channel(desk, *phones)
        for number in range(20):
            for name, phone in enumerate(phones):
                await phone.send(channel, f"{name} {number}")
        for client in (desk, *phones):
            await until(lambda c=client: len(texts(c, channel)) == 60, "all sixty are there")  # type: ignore[misc]
        orders = [texts(client, channel) for client in (desk, *phones)]
        assert all(order == orders[0] for order in orders)
        for name in range(3):
            mine = [text for text in orders[0] if text.startswith(f"{name} ")]
            assert mine == [f"{name} {number}" for number in range(20)]


async def test_without_signal_both_sides_write_and_all_of_it_arrives_on_return(
    stage: Stage, town: Town
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        open_line(stage.node(0).port) as line,
        ana.open(line.url) as phone,
        deniz.open(stage.url(1)) as desk,
    ):
        channel = await town.unit_channel(desk, phone)
        line.cut()
        await until(lambda: phone.link.state.value != "online", "the phone says that there is no link")
        written = [await phone.send(channel, text) for text in ("in the stairwell", "third floor")]
        heard = [await desk.send(channel, text) for text in ("anything you need?", "ambulance is 4 min out")]
        for sent in heard:
            await sent.wait(timeout_s=WAIT_S)
        assert [sent.progress for sent in written] == [Progress.WAITING, Progress.WAITING]
        assert [item.draft.id for item in phone.waiting(channel)] == [sent.id for sent in written]
        line.mend()
        phone.reconnect()
        for sent in written:
            await sent.wait(Progress.DELIVERED, timeout_s=WAIT_S)
        expected = ["anything you need?", "ambulance is 4 min out", "in the stairwell", "third floor"]
        await until(lambda: texts(phone, channel) == expected, "the phone has all four")
        assert texts(desk, channel) == expected
        assert phone.waiting(channel) == ()


async def test_what_was_written_before_the_phone_died_is_sent_when_it_lives_again(
    stage: Stage, town: Town
) -> None:
    ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with deniz.open(stage.url(1)) as desk:
        async with ana.open(stage.url(0)) as phone:
            channel = await town.unit_channel(desk, phone)
        async with ana.open("http://127.0.0.1:9", online=False) as phone:
            await phone.send(channel, "written without a server")
        async with ana.open(stage.url(1)) as phone:
            await until(lambda: texts(desk, channel) == ["written without a server"], "it arrived")
            await until(lambda: texts(phone, channel) == ["written without a server"], "and is one's own")


async def test_two_devices_of_one_person_hold_the_same_conversation(stage: Stage, town: Town) -> None:
    phone_of_ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
    tablet_of_ana = await town.enrol(
        "ana-tablet", Role.RESPONDER, Discipline.CLINICIAN, member=phone_of_ana.member
    )
    deniz = await town.enrol("deniz", Role.DISPATCHER)
    async with (
        phone_of_ana.open(stage.url(0)) as phone,
        tablet_of_ana.open(stage.url(1)) as tablet,
        deniz.open(stage.url(1)) as desk,
    ):
        channel = await town.unit_channel(desk, phone, tablet)
        for client in (phone, tablet):
            for alarm in client.alarms:
                assert alarm.device is not None
                client.confirm_device(alarm.device)
        sent = await phone.send(channel, "from the phone")
        await sent.wait(Progress.DELIVERED, devices=2, timeout_s=WAIT_S)
        (message,) = [e for e in tablet.history(channel) if isinstance(e, Message)]
        assert (message.text, message.mine, message.member) == ("from the phone", True, phone_of_ana.member)
        answer = await tablet.send(channel, "from the tablet")
        await answer.wait(Progress.DELIVERED, devices=2, timeout_s=WAIT_S)
        assert texts(phone, channel) == texts(desk, channel) == ["from the phone", "from the tablet"]
