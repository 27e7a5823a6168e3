"""Journeys of the client over a relay in memory, on virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leeside.api import ApiError
from leeside.attachments import AttachmentDamaged
from leeside.bodies import Fix, Marks
from leeside.connection import LinkState
from leeside.errors import ChannelAlarmed, Stopped
from leeside.events import AlarmKind, Message, Progress, Receipt, Reset, Unreadable
from leeside.outbox import Step
from leeside.telling import reading_of
from leeside_protocol import messages as m
from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    ChannelKind,
    MessageId,
    StateKind,
    UnitId,
    address,
    state_key,
)
from leeside_protocol.words import Lane, Mark, PrimaryStatus, SecondaryStatus, Urgency
from tests.client.people import channel_of, person, said, settled, texts
from tests.client.relay_double import DAY_MS, SERVER, RelayDouble, Wire
from tests.client.virtual_time import START_MS, eventually, play


def test_a_sealed_message_reaches_the_other_device_and_its_receipts_come_back(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            heard = b.follow(channel)
            sent = await a.send(channel, "on scene", Urgency.IMPORTANT)
            await sent.wait(timeout_s=30)
            message = await heard.next()
            while not isinstance(message, Message):
                message = await heard.next()
            assert message.text == "on scene"
            assert message.urgency is Urgency.IMPORTANT
            assert message.member == ana.member
            assert not message.mine
            await sent.wait(Progress.DELIVERED, timeout_s=30)
            b.mark_read(channel, message.offset)
            await sent.wait(Progress.READ, timeout_s=30)
            await b.acknowledge(channel, message.id)
            await sent.wait(Progress.ACKNOWLEDGED, timeout_s=30)
        assert all(b"on scene" not in publish.payload for publish in relay.published)

    play(story())


def test_what_is_said_without_signal_goes_out_in_order_when_it_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            relay.reachable = relay.http_reachable = False
            for wire in list(relay.wires):
                wire.break_off()
            await eventually(lambda: a.link.state is not LinkState.ONLINE)
            for text in ("one", "two", "three"):
                await a.send(channel, text)
            await asyncio.sleep(40)
            assert [w.step for w in a.waiting(channel)] == [Step.COMPOSED] * 3
            relay.reachable = relay.http_reachable = True
            await said(b, channel, "one", "two", "three")
            await said(a, channel, "one", "two", "three")

    play(story())


def test_what_waits_in_a_channel_that_was_left_is_shown_and_can_be_taken_back(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ben.open() as b:
            async with ana.open() as a:
                channel = await channel_of(b, a)
                relay.http_reachable = relay.reachable = False
                for wire in list(relay.wires):
                    wire.break_off()
                waiting = (await a.send(channel, "written without signal")).id
            relay.http_reachable = relay.reachable = True
            await b.openings.remove(channel, [ana.keys.device_id])
            async with ana.open() as a:
                await eventually(lambda: not a.channels())
                assert [item.draft.id for item in a.waiting(channel)] == [waiting]
                assert a.cancel(waiting)
                assert a.waiting(channel) == ()

    play(story())


def test_a_lost_answer_and_a_new_epoch_leave_one_message(tmp_path: Path) -> None:
    """G2: stored, the answer lost, the keys changed: the exact bytes go again and stand once."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            lost: list[m.ServerMessage] = []

            def lose(wire: Wire, message: m.ServerMessage) -> bool:
                if isinstance(message, m.Accepted) and wire.device == a.device and not lost:
                    lost.append(message)
                    return True
                return False

            relay.lose = lose
            sent = await a.send(channel, "once")
            await eventually(lambda: bool(lost))
            for wire in [w for w in relay.wires if w.device == a.device]:
                wire.break_off()
            assert await b.openings.rekey(channel)
            await sent.wait(timeout_s=60)
            await said(b, channel, "once")
            payloads = {p.payload for p in relay.published if p.id == sent.id}
            assert len(payloads) == 1
            log = relay.log(address(ChannelKind.CONTENT, channel))
            assert [e.id for e in log.entries].count(sent.id) == 1

    play(story())


def test_a_stale_frame_is_sealed_again_under_the_same_id(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            relay.lose = lambda wire, message: wire.device == a.device and isinstance(message, m.Batch)
            assert await b.openings.rekey(channel)
            sent = await a.send(channel, "late")
            await sent.wait(timeout_s=60)
            frames = [p.payload for p in relay.published if p.id == sent.id]
            assert len(frames) == 2
            assert [int.from_bytes(f[20:28], "big") for f in frames] == [0, 1]
            await said(b, channel, "late")

    play(story())


def test_a_sender_drops_a_revoked_device_before_it_seals(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, eve = (person(relay, tmp_path) for _ in range(3))
        async with ana.open() as a, ben.open() as b, eve.open() as e:
            channel = await channel_of(a, b, e)
            relay.revoke(eve.keys.device_id)
            await a.refresh()
            sent = await a.send(channel, "without her")
            await sent.wait(timeout_s=60)
            assert e.device not in a.readers(channel)
            await said(b, channel, "without her")
            feed = e.follow(channel) if e.link.state is not LinkState.STOPPED else None
            assert feed is None
            with pytest.raises(Stopped):
                e.follow(channel)

    play(story())


def test_members_drop_a_revoked_device_without_being_asked(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, eve = (person(relay, tmp_path) for _ in range(3))
        async with ana.open() as a, ben.open() as b, eve.open() as e:
            channel = await channel_of(a, b, e)
            relay.revoke(eve.keys.device_id)
            await eventually(lambda: e.device not in a.readers(channel), 5)
            await eventually(lambda: e.device not in b.readers(channel), 5)

    play(story())


def test_two_commits_at_once_both_take_effect(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, cal, dee = (person(relay, tmp_path) for _ in range(4))
        async with ana.open() as a, ben.open() as b, cal.open() as c, dee.open() as d:
            channel = await channel_of(a, b)
            await asyncio.gather(a.openings.admit(channel, [c.device]), b.openings.admit(channel, [d.device]))
            everyone = {a.device, b.device, c.device, d.device}
            for one in (a, b):
                await eventually(lambda one=one: set(one.readers(channel)) == everyone)  # type: ignore[misc]

    play(story())


def test_a_joiner_reads_earlier_messages_only_once_granted(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, psy = (person(relay, tmp_path) for _ in range(3))
        async with ana.open() as a, ben.open() as b, psy.open() as p:
            channel = await channel_of(a, b)
            await (await a.send(channel, "before")).wait(timeout_s=30)
            await a.openings.admit(channel, [p.device])
            await p.refresh()
            await settled(p, channel)
            await (await a.send(channel, "after")).wait(timeout_s=30)
            await said(p, channel, "after")
            unread = [e for e in p.history(channel) if isinstance(e, Unreadable)]
            assert [e.why for e in unread] == ["not_granted"]
            await a.openings.grant(channel, p.device)
            await said(p, channel, "before", "after")

    play(story())


def test_a_crash_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ben.open() as b:
            async with ana.open() as a:
                channel = await channel_of(a, b)
                await (await a.send(channel, "one")).wait(timeout_s=30)
                await said(a, channel, "one")
                relay.http_reachable = relay.reachable = False
                for wire in list(relay.wires):
                    wire.break_off()
                await a.send(channel, "two")
            relay.http_reachable = relay.reachable = True
            async with ana.open(online=False) as a:
                assert texts(a, channel) == ["one"]
                await said(b, channel, "one", "two")
                await said(a, channel, "one", "two")

    play(story())


def test_a_frame_whose_keys_come_late_is_held_and_then_shown(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            epochs = address(ChannelKind.EPOCHS, channel)
            relay.lose = lambda wire, message: (
                wire.device == b.device and isinstance(message, m.Batch) and message.channel == epochs
            )
            ben.http.relay, ben_relay = RelayDouble(), ben.http.relay
            ben.http.relay.http_reachable = False
            assert await a.openings.rekey(channel)
            await (await a.send(channel, "in the new epoch")).wait(timeout_s=30)
            await asyncio.sleep(10)
            assert texts(b, channel) == []
            ben.http.relay = ben_relay
            await said(b, channel, "in the new epoch")

    play(story())


def test_keys_that_never_come_are_told_and_tried_again(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            epochs = address(ChannelKind.EPOCHS, channel)
            relay.lose = lambda wire, message: (
                wire.device == b.device and getattr(message, "channel", b"") == epochs
            )
            ben.http.relay, ben_relay = RelayDouble(), ben.http.relay
            ben.http.relay.http_reachable = False
            assert await a.openings.rekey(channel)
            await a.send(channel, "unheard")
            await eventually(lambda: any(isinstance(e, Unreadable) for e in b.history(channel)))
            assert [e.why for e in b.history(channel) if isinstance(e, Unreadable)] == ["no_key"]
            ben.http.relay = ben_relay
            relay.lose = lambda _wire, _message: False
            for wire in list(relay.wires):
                wire.break_off()
            await said(b, channel, "unheard")

    play(story())


def test_a_device_under_my_name_that_i_do_not_know_stops_sending_until_i_say_so(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            ghost = person(relay, tmp_path, ana.member)
            await b.openings.admit(channel, [ghost.keys.device_id])
            await eventually(lambda: ghost.keys.device_id in a.readers(channel))
            assert [alarm.kind for alarm in a.alarms] == [AlarmKind.GHOST_DEVICE]
            with pytest.raises(ChannelAlarmed):
                await a.send(channel, "to whom?")
            a.confirm_device(ghost.keys.device_id)
            await (await a.send(channel, "to myself")).wait(timeout_s=30)

    play(story())


def test_a_restored_backup_is_announced_and_what_it_lost_is_posted_again(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            await (await a.send(channel, "kept")).wait(timeout_s=30)
            await said(b, channel, "kept")
            kept = relay.backup()
            await a.openings.rekey(channel)
            await (await a.send(channel, "lost")).wait(timeout_s=30)
            await said(b, channel, "kept", "lost")
            feed = b.follow(channel)
            relay.restore(kept)
            event = await feed.next()
            while not isinstance(event, Reset):
                event = await feed.next()
            await said(b, channel, "kept", "lost")
            await said(a, channel, "kept", "lost")
            assert not a.alarms
            assert not b.alarms
            assert relay.rooms[channel].line.epoch == 1

    play(story())


def test_after_a_restore_nobody_is_said_to_have_read_what_they_never_saw(tmp_path: Path) -> None:
    """Offsets begin again with the log; what a person read of the old one says nothing of the new one."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            kept = relay.backup()
            for number in range(3):
                await (await b.send(channel, f"lost {number}")).wait(timeout_s=30)
            b.mark_read(channel, relay.log(address(ChannelKind.CONTENT, channel)).head)
            await asyncio.sleep(10)
            assert b._inside.outbox.forget(relay.clock.now_ms() + 30 * DAY_MS)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            relay.restore(kept)
            await eventually(lambda: not texts(b, channel))
            sent = await a.send(channel, "never seen by ben's eyes")
            await sent.wait(Progress.DELIVERED, timeout_s=60)
            await asyncio.sleep(10)
            assert sent.devices == {b.device: Progress.DELIVERED}

    play(story())


def test_what_was_read_stays_read(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            for number in range(2):
                await (await a.send(channel, f"{number}")).wait(timeout_s=30)
            await said(b, channel, "0", "1")
            offsets = [e.offset for e in b.history(channel) if isinstance(e, Message)]
            b.mark_read(channel, offsets[1])
            await asyncio.sleep(5)
            b.mark_read(channel, offsets[0])  # another screen, scrolled further up
            last = await a.send(channel, "2")
            await last.wait(Progress.DELIVERED, timeout_s=60)
            mark = state_key(StateKind.RECEIPT, b.device)
            row = b._inside.history.value(address(ChannelKind.CONTENT, channel), mark)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            assert row is not None
            marks = reading_of(row).content
            assert isinstance(marks, Marks)
            assert marks.read == offsets[1]

    play(story())


def test_what_waited_through_a_restart_is_told_on_like_any_message(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ben.open() as b:
            async with ana.open() as a:
                channel = await channel_of(a, b)
                relay.http_reachable = relay.reachable = False
                for wire in list(relay.wires):
                    wire.break_off()
                waiting = (await a.send(channel, "written without signal")).id
            async with ana.open(online=False) as a:
                feed = a.follow(channel)
                relay.http_reachable = relay.reachable = True
                came: list[Progress] = []
                async with asyncio.timeout(60):
                    while Progress.DELIVERED not in came:
                        event = await feed.next()
                        if isinstance(event, Receipt) and event.id == waiting:
                            came.append(event.progress)
                assert came == [Progress.ACCEPTED, Progress.DELIVERED]

    play(story())


def test_a_position_is_coarsened_paced_and_visible_and_its_last_place_outlives_the_device(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ben.open() as b:
            async with ana.open() as a:
                channel = await channel_of(a, b)
                assert not a.sharing
                assert await a.move(fix(0)) == 0
                a.start_sharing(channel, every_s=10, coarse_m=100)
                await eventually(lambda: a.device in b.board(channel).sharing(START_MS))
                for second in range(30):
                    await a.move(fix(second))
                    await asyncio.sleep(1)
                live = [p for p in relay.published if p.lane is Lane.STREAM]
                assert len(live) == 3
                shown = b.board(channel).position(a.device)
                assert shown is not None
                assert shown.fix is not None
                assert shown.fix.coarse_m == 100
                assert shown.fix != fix(29)
                await asyncio.sleep(5)
            for wire in list(relay.wires):
                wire.break_off()
        async with ben.open() as b:
            await settled(b, channel)
            last = b.board(channel).position(ana.keys.device_id)
            assert last is not None
            assert last.fix is not None
            assert not last.live

    play(story())


def test_a_position_that_the_server_deleted_is_on_nobodys_board(tmp_path: Path) -> None:
    """It deletes the last positions when an incident ends: nobody is shown where somebody was then."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            a.start_sharing(channel)
            await a.move(fix(0))
            await eventually(lambda: b.board(channel).position(a.device) is not None)
            a.stop_sharing(channel)
            await asyncio.sleep(5)
            key = state_key(StateKind.POSITION, a.device)
            content = address(ChannelKind.CONTENT, channel)
            relay.store(content, m.Entry(0, Lane.STATE, key, SERVER, MessageId(bytes(16)), 0, b""))
            await eventually(lambda: b.board(channel).position(a.device) is None)
            assert not b.board(channel).positions()
            assert not b.board(channel).sharing(START_MS)

    play(story())


@pytest.mark.parametrize("ended", ["left", "archived"])
def test_sharing_ends_with_the_channel_and_goes_on_in_the_others(tmp_path: Path, ended: str) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            gone, stays = await channel_of(b, a), await channel_of(b, a)
            a.start_sharing(gone)
            a.start_sharing(stays)
            assert await a.move(fix(0)) == 2
            if ended == "left":
                await b.openings.remove(gone, [a.device])
            else:
                relay.end(gone)
                await a.refresh()
            await eventually(lambda: a.sharing == frozenset((stays,)))
            await asyncio.sleep(70)
            assert await a.move(fix(60)) == 1
            a.stop_sharing(gone)
            a.stop_sharing(stays)
            assert not a.sharing

    play(story())


def fix(second: int) -> Fix:
    return Fix(
        470_000_000 + second * 5_000, 85_000_000, 5, START_MS + 1_000_000 + second * 1_000, speed_cm_s=900
    )


def test_a_file_arrives_whole_and_an_upload_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        source = tmp_path / "scene.jpg"
        source.write_bytes(bytes(range(256)) * 1_000)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            put = ana.http.put_chunk
            stored: list[int] = []

            async def failing(blob: bytes | str, index: int, data: bytes) -> None:
                if index == 2 and stored.count(2) == 0:
                    stored.append(2)
                    raise ApiError(WireError.UNAVAILABLE)
                stored.append(index)
                await put(blob, index, data)

            ana.http.put_chunk = failing  # type: ignore[method-assign]
            with pytest.raises(ApiError):
                await a.attach(channel, source)
            told: list[tuple[int, int]] = []
            sent = await a.attach(
                channel, source, caption="the door", progressed=lambda done, of: told.append((done, of))
            )
            assert stored == [0, 1, 2, 2, 3]
            assert told[-1] == (256_000, 256_000)
            await sent.wait(timeout_s=30)
            await said(b, channel, "the door")
            message = next(e for e in b.history(channel) if isinstance(e, Message))
            assert message.attachment is not None
            await b.fetch(message.attachment, tmp_path / "copy.jpg")
            assert (tmp_path / "copy.jpg").read_bytes() == source.read_bytes()
            blob = relay.blobs[message.attachment.blob.hex()]
            fetched: list[int] = []
            real = ben.http.chunk

            async def counted(blob: bytes | str, index: int) -> bytes:
                fetched.append(index)
                return await real(blob, index)

            ben.http.chunk = counted  # type: ignore[method-assign]
            for damaged in (blob[0], blob[1][:-1], bytes(1_000_000)):
                blob[1] = damaged
                with pytest.raises(AttachmentDamaged):
                    await b.fetch(message.attachment, tmp_path / "other.jpg")
            assert fetched == [0, 1] * 3

    play(story())
    assert list(tmp_path.glob("other*")) == []


def test_statuses_and_names_are_on_the_board_of_everyone(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        unit = UnitId(bytes(range(16)))
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            await a.name_unit(channel, unit, "Crisis 7")
            for secondary in (SecondaryStatus.EN_ROUTE, SecondaryStatus.ON_SCENE):
                await a.set_status(channel, unit, PrimaryStatus.NOT_AVAILABLE, secondary, mark=Mark.ARRIVED)
            await eventually(
                lambda: (
                    unit in b.board(channel).statuses
                    and b.board(channel).statuses[unit].status.secondary is SecondaryStatus.ON_SCENE
                )
            )
            assert b.board(channel).names[unit] == "Crisis 7"
            online = await b.presence(channel)
            assert online.devices == {a.device, b.device}

    play(story())
