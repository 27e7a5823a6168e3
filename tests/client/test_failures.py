"""What a client survives on a bad day: lost keys, old keys, wrong clocks, damaged frames. See also `test_alarms`."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest

from leeside.client import Leeside
from leeside.connection import LinkState
from leeside.errors import ChannelAlarmed, Failed
from leeside.events import Alarm, AlarmKind, ContextRequest, Granted, Message, Progress, Unreadable
from leeside.feeds import Feed
from leeside_protocol import messages as m
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, ChannelKind, address
from leeside_protocol.messages import Entry
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.frames import FrameSender
from leeside_protocol.sealing.public.device_key import NO_KID
from leeside_protocol.words import Lane
from tests.client.people import Person, channel_of, person, said, settled, texts
from tests.client.relay_double import DAY_MS, RelayDouble, Wire
from tests.client.virtual_time import eventually, play


def epoch_of(one: Leeside, channel: ChannelId) -> int:
    return SealedChannel.restore(one.openings.export(channel)).line.epoch


def test_context_is_asked_for_and_given_by_a_person_alone(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            channel = await channel_of(a)
            await (await a.send(channel, "before")).wait(timeout_s=30)
            assert await a.openings.admit(channel, [ben.keys.device_id])
            asked = a.follow(channel)
            async with ben.open() as b:
                await settled(b, channel)
                unreadable = [e.why for e in b.history(channel) if isinstance(e, Unreadable)]
                assert unreadable == ["not_granted"]
                await b.ask_for_context(channel, "what happened?")
                while not isinstance(request := await asked.next(), ContextRequest):
                    pass
                assert (request.device, request.reason) == (b.device, "what happened?")
                await asyncio.sleep(300)
                assert relay.log(address(ChannelKind.GRANTS, channel)).head == 0
                granted = b.follow(channel)
                await a.openings.grant(channel, request.device)
                while not isinstance(event := await granted.next(), Granted):
                    pass
                assert event.opened == 1
                await said(b, channel, "before")

    play(story())


def test_a_grant_opens_more_than_one_page_of_what_was_closed(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            channel = await channel_of(a)
            before = [f"before {number}" for number in range(110)]
            for sent in [await a.send(channel, text) for text in before]:
                await sent.wait(timeout_s=60)
            assert await a.openings.admit(channel, [ben.keys.device_id])
            async with ben.open() as b:
                await settled(b, channel)
                granted = b.follow(channel)
                await a.openings.grant(channel, b.device)
                while not isinstance(event := await granted.next(), Granted):
                    pass
                assert event.opened == len(before)
                told = [e.text for e in b.history(channel, limit=500) if isinstance(e, Message)]
                assert told == before

    play(story())


@pytest.mark.parametrize("fault", ["withheld", "altered"])
def test_without_a_good_box_the_chain_goes_on_and_a_member_seals_again(tmp_path: Path, fault: str) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            real = ben.http.boxes

            async def deceive(
                channel: bytes | str, from_epoch: int = 0, limit: int = 500
            ) -> tuple[r.EpochBoxes, ...]:
                page = await real(channel, from_epoch, limit)
                return tuple(
                    msgspec.structs.replace(
                        item,
                        box=None
                        if fault == "withheld" or item.box is None
                        else msgspec.structs.replace(item.box, sealed=bytes(80)),
                    )
                    for item in page
                )

            ben.http.boxes = deceive  # type: ignore[method-assign]
            assert await a.openings.rekey(channel)
            sent = await a.send(channel, "in the epoch without a box")
            await sent.wait(timeout_s=30)
            await eventually(lambda: epoch_of(b, channel) >= 1)
            alarm = next(x for x in b.alarms)
            assert alarm == Alarm(channel, AlarmKind.WITHHELD, "E_BOX", stops_sending=False)
            ben.http.boxes = real  # type: ignore[method-assign]
            # The victim itself makes the next epoch, and is heard in it.
            await (await b.send(channel, "I could not read that")).wait(timeout_s=60)
            assert epoch_of(b, channel) == 2
            await said(a, channel, "in the epoch without a box", "I could not read that")
            assert texts(b, channel) == ["I could not read that"]
            await a.openings.grant(channel, b.device, (1,))
            await said(b, channel, "in the epoch without a box", "I could not read that")

    play(story())


def test_boxes_that_retention_took_raise_no_alarm_until_a_frame_shows_that_they_were_needed(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
            for _ in range(3):
                await a.openings.rekey(channel)
            relay.rooms[channel].forgotten |= {1, 2}
            async with ben.open() as b:
                await eventually(lambda: epoch_of(b, channel) == 3)
                await (await a.send(channel, "long time no see")).wait(timeout_s=30)
                await said(b, channel, "long time no see")
                assert not list(b.alarms)
            await a.openings.rekey(channel)
            await (await a.send(channel, "of an epoch that is kept")).wait(timeout_s=30)
            log = relay.log(address(ChannelKind.CONTENT, channel))
            hidden = log.entries.pop()
            relay.rooms[channel].forgotten.add(4)
            await a.openings.rekey(channel)
            async with ben.open() as b:
                await eventually(lambda: epoch_of(b, channel) == 5)
                assert not list(b.alarms)
            # What the server said is remembered, and so is what it was worth.
            relay.store(address(ChannelKind.CONTENT, channel), hidden)
            async with ben.open() as b:
                await eventually(lambda: bool(list(b.alarms)))
                assert list(b.alarms) == [Alarm(channel, AlarmKind.WITHHELD, "E_BOX", stops_sending=False)]
                await (await b.send(channel, "I could not read that")).wait(timeout_s=60)
                assert texts(b, channel) == ["long time no see", "I could not read that"]

    play(story())


def test_the_newest_epochs_box_is_never_one_that_nobody_needs(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            relay.rooms[channel].forgotten.add(1)
            await a.openings.rekey(channel)
            await eventually(lambda: epoch_of(b, channel) >= 1)
            await (await b.send(channel, "still there")).wait(timeout_s=60)
            assert epoch_of(b, channel) == 2
            assert list(b.alarms) == [Alarm(channel, AlarmKind.WITHHELD, "E_BOX", stops_sending=False)]
            await said(a, channel, "still there")

    play(story())


def test_who_comes_back_reads_every_epoch_and_sends_what_waited(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
            async with ben.open(online=False) as b:
                ben.dialer.relay, there = RelayDouble(), ben.dialer.relay
                ben.dialer.relay.reachable = False
                ben.http.relay = ben.dialer.relay
                ben.http.relay.http_reachable = False
                for wire in [w for w in relay.wires if w.device == b.device]:
                    wire.break_off()
                await b.send(channel, "written in the tunnel")
                for number in range(3):
                    await a.openings.rekey(channel)
                    await (await a.send(channel, f"epoch {number + 1}")).wait(timeout_s=30)
                await asyncio.sleep(120)
                ben.dialer.relay = ben.http.relay = there
                b.reconnect()
                expected = ["epoch 1", "epoch 2", "epoch 3", "written in the tunnel"]
                await said(b, channel, *expected)
                await said(a, channel, *expected)
                assert b.alarms == ()

    play(story())


@pytest.mark.parametrize(("off_ms", "taken"), [(-3_600_000, True), (3_600_000, False)])
def test_a_push_that_was_long_under_way_is_history_and_one_from_the_future_is_refused(
    tmp_path: Path, off_ms: int, taken: bool
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            # What ben's machine believes the time to be, just before the push is read.
            connection = b._inside.connection  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            connection._server_ahead_ms -= off_ms  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            assert await a.openings.rekey(channel)
            await asyncio.sleep(1)
            assert (epoch_of(b, channel), [x.code for x in b.alarms]) == (
                (1, []) if taken else (0, ["E_CLOCK"])
            )
            b.reconnect()
            await eventually(lambda: epoch_of(b, channel) == 1)
            await (await b.send(channel, "here")).wait(timeout_s=120)

    play(story())


def test_a_device_whose_key_expired_blocks_nobody_and_is_sealed_to_on_return(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
            # Nine days without ben: his DeviceKey ends, ana's is renewed.
            for _ in range(9):
                relay.clock.ahead_ms += DAY_MS
                await asyncio.sleep(90)
            await a.openings.rekey(channel)
            await (await a.send(channel, "while you were away")).wait(timeout_s=60)
            head = relay.rooms[channel].line.head
            assert head is not None
            seat = head.entry(ben.keys.device_id)
            assert seat is not None
            assert seat.kid == NO_KID
            async with ben.open() as b:
                await settled(b, channel)
                assert [e.why for e in b.history(channel) if isinstance(e, Unreadable)] == ["not_granted"]
                assert b.alarms == ()
                assert epoch_of(b, channel) == head.epoch
                await (await b.send(channel, "back")).wait(timeout_s=120)
                await said(a, channel, "while you were away", "back")
                head = relay.rooms[channel].line.head
                assert head is not None
                seat = head.entry(ben.keys.device_id)
                assert seat is not None
                assert seat.kid != NO_KID
                await a.openings.grant(channel, b.device)
                await said(b, channel, "while you were away", "back")

    play(story())


@pytest.mark.parametrize(
    ("at", "why"),
    [(-1, "E_AEAD"), (1, "E_FORMAT"), (30, "E_FORK"), (45, "E_AUTHZ"), (62, "E_AEAD"), (200, "E_AEAD")],
)
def test_a_frame_that_does_not_hold_is_told_and_never_shown(tmp_path: Path, at: int, why: str) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            content = address(ChannelKind.CONTENT, channel)
            relay.lose = lambda wire, message: (
                wire.device == b.device and getattr(message, "channel", b"") == content
            )
            sent = await a.send(channel, "shots fired")
            await sent.wait(timeout_s=30)
            relay.lose = lambda _wire, _message: False
            real = relay.log(content).entries[-1]
            assert real.id == sent.id
            frame = bytearray(real.payload)
            frame[at] ^= 1
            wire = next(w for w in relay.wires if w.device == b.device)
            forged = Entry(1, Lane.LOG, b"", real.device, real.id, real.at_ms, bytes(frame))
            wire.push(m.Batch(content, 0, 1, (forged,)))
            await eventually(lambda: any(isinstance(e, Unreadable) for e in b.history(channel)))
            assert [e.why for e in b.history(channel) if isinstance(e, Unreadable)] == [why]
            assert texts(b, channel) == []

    play(story())


def test_what_cannot_be_sealed_does_not_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            await asyncio.sleep(10)
            before = len(relay.published)

            def broken(self: FrameSender, body: object) -> bytes:
                raise SealingError(SealingCode.E_STATE, "no cryptography")

            monkeypatch.setattr(FrameSender, "seal", broken)
            sent = await a.send(channel, "his name is Tom")
            await eventually(lambda: sent.progress is Progress.REFUSED)
            await a.typing(channel)
            await asyncio.sleep(60)
            assert relay.published[before:] == []
            # It is not lost either: the person sees that it was not sent.
            assert [w.draft.id for w in a.waiting(channel)] == [sent.id]

    play(story())


@pytest.mark.parametrize("ahead_ms", [-DAY_MS, DAY_MS])
def test_a_device_whose_clock_is_a_day_off_commits_accepts_and_sends(tmp_path: Path, ahead_ms: int) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, cem = person(relay, tmp_path), person(relay, tmp_path), person(relay, tmp_path)
        ben.ahead_ms = ahead_ms
        async with ana.open() as a, ben.open() as b, cem.open() as c:
            channel = await channel_of(a, b)
            # It accepts what the others commit now, live.
            assert await a.openings.rekey(channel)
            await eventually(lambda: epoch_of(b, channel) == 1)
            # It commits what the server and the others accept.
            assert await b.openings.admit(channel, [c.device])
            await eventually(lambda: c.device in a.readers(channel))
            own = await b.openings.channel("desk", [a.device])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            await a.refresh()
            await settled(a, own)
            await (await b.send(channel, "on scene")).wait(timeout_s=30)
            await said(a, channel, "on scene")
            # Nobody expired for it, and nothing was dropped or put out of order.
            assert set(b.readers(channel)) == {a.device, b.device, c.device}
            assert (a.alarms, b.alarms) == ((), ())
            head = relay.rooms[channel].line.head
            assert head is not None
            assert abs(head.ts_ms - relay.clock.now_ms()) < 600_000
            relay.revoke(c.device)
            await eventually(
                lambda: c.device not in a.readers(channel) and c.device not in b.readers(channel)
            )
            await (await b.send(channel, "still here")).wait(timeout_s=60)
            await said(a, channel, "on scene", "still here")

    play(story())


def test_a_stopped_channel_says_so_to_whom_tries_to_send(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana = person(relay, tmp_path)
        async with ana.open() as a:
            channel = await channel_of(a)
            inside = a._inside.channel(channel)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            inside._broken = "E_CHAIN"  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            for act in (a.send(channel, "x"), a.acknowledge(channel, inside.id), inside.prepare()):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
                with pytest.raises(ChannelAlarmed):
                    await act

    play(story())


def test_a_log_whose_subscription_is_not_answered_is_asked_for_again_on_the_same_link(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
            content, lost = address(ChannelKind.CONTENT, channel), list[m.ServerMessage]()

            def lose(wire: Wire, message: m.ServerMessage) -> bool:
                mine = isinstance(message, m.Subscribed) and message.channel == content
                if mine and wire.device == ben.keys.device_id and not lost:
                    lost.append(message)
                    return True
                return False

            relay.lose = lose
            async with ben.open() as b:
                await asyncio.sleep(30)
                assert lost
                await a.send(channel, "can you hear me?")
                await said(b, channel, "can you hear me?")
                assert ben.dialer.attempts == 2

    play(story())


def test_a_client_that_breaks_says_so_to_who_follows_waits_and_sends(tmp_path: Path) -> None:
    """A full disk, or a fault of our own: what must not happen is that a person writes on and nothing leaves."""

    async def broken(a: Leeside, b: Leeside) -> None:
        channel = await channel_of(a, b)
        followed = b.follow(channel)
        sent = await b.send(channel, "before")
        await sent.wait(timeout_s=30)

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        b._inside.history.take = full  # type: ignore[method-assign, assignment]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        await a.send(channel, "one that finds no place")
        with pytest.raises(Failed):
            await until_the_end(followed)
        with pytest.raises(Failed):
            await sent.wait(Progress.READ, timeout_s=30)
        with pytest.raises(Failed):
            await b.send(channel, "to nobody")
        assert b.link.state is LinkState.OFFLINE

    async def opened(ben: Person, a: Leeside) -> None:
        async with ben.open() as b:
            await broken(a, b)

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            with pytest.raises(ExceptionGroup) as fault:
                await opened(ben, a)
            assert fault.group_contains(sqlite3.OperationalError)
            channel = ChannelId(bytes.fromhex(a.channels()[0].id))
            async with ben.open() as b:
                await said(b, channel, "before", "one that finds no place")

    play(story())


async def until_the_end(feed: Feed) -> None:
    async for _ in feed:
        pass
