"""A server that sends what nobody would: every bit of it is refused, and none of it ends the client."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import msgspec
import pytest

from leeside.api import ApiError
from leeside.client import Leeside
from leeside.errors import ChannelAlarmed
from leeside.events import Alarm, AlarmKind
from leeside.history import Verdict
from leeside.switchboard import KEPT_ALARMS
from leeside_protocol import messages as m
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    ChannelAddress,
    ChannelId,
    ChannelKind,
    MessageId,
    StateKind,
    address,
    split_address,
    state_key,
)
from leeside_protocol.messages import Entry
from leeside_protocol.sealing.opening.body import Body, encode_body
from leeside_protocol.words import ChannelPurpose, Lane
from tests.client.people import Person, channel_of, person, texts
from tests.client.relay_double import RelayDouble, Wire
from tests.client.virtual_time import eventually, play


def push(relay: RelayDouble, to: Person, message: m.ServerMessage) -> None:
    """Say something to one device alone."""
    for wire in relay.wires:
        if wire.device == to.keys.device_id:
            wire.push(message)


async def talk(relay: RelayDouble, one: Leeside, other: Leeside, channel: ChannelId) -> None:
    """Both still send and hear."""
    for sender, hearer in ((one, other), (other, one)):
        text = secrets.token_hex(4)
        await (await sender.send(channel, text)).wait(timeout_s=60)
        await eventually(lambda text=text, hearer=hearer: text in str(hearer.history(channel)))  # type: ignore[misc]


@pytest.mark.parametrize(
    "garbage", [b"\xc1", b"\x93\xc4\x00\xc4\x00\xc4\x00", bytes(70)], ids=["code", "short", "zeros"]
)
def test_a_commit_that_is_none_stops_its_channel_and_no_other(tmp_path: Path, garbage: bytes) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            other = await channel_of(a, b)
            entry = Entry(2, Lane.LOG, b"", ana.keys.device_id, MessageId(bytes(16)), 0, garbage)
            push(relay, ben, m.Batch(address(ChannelKind.EPOCHS, channel), 1, 2, (entry,)))
            await eventually(lambda: bool(b.alarms))
            assert b.alarms == (Alarm(channel, AlarmKind.REFUSED_COMMIT, "E_ENCODING", stops_sending=True),)
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "to whom?")
            await talk(relay, a, b, other)
            b.reconnect()
            await asyncio.sleep(5)
            await talk(relay, a, b, channel)

    play(story())


@pytest.mark.parametrize(
    "log", [b"z" + bytes(16), b"c" + bytes(16), b"d" + bytes(16)], ids=["none", "unknown", "directory"]
)
def test_a_stream_value_of_a_log_that_is_none_of_ours_is_dropped(tmp_path: Path, log: bytes) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            push(relay, ben, m.Live(ChannelAddress(log), b"", ana.keys.device_id, 0, b"x"))
            await talk(relay, a, b, channel)

    play(story())


def test_what_stands_in_place_of_a_value_is_never_read_as_one(tmp_path: Path) -> None:
    """A hash has 32 bytes of a server's choosing: enough for marks that say that somebody read everything."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        key = state_key(StateKind.RECEIPT, ben.keys.device_id)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            log = address(ChannelKind.CONTENT, channel)
            message = MessageId(bytes(16))
            made = encode_body(Body("marks", 0, message, None, [1, 9, 9]))
            assert len(made) <= 32
            kept = a._inside.history  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(5)
            head = relay.log(log).head
            entry = Entry(head + 1, Lane.STATE, key, ben.keys.device_id, message, 0, b"", hash=made)
            push(relay, ana, m.Batch(log, head, head + 1, (entry,)))
            await eventually(lambda: any(row.offset == head + 1 for row in kept.state(log)))
            assert [row.verdict for row in kept.state(log) if row.key == key] == [Verdict.PRUNED]

    play(story())


@pytest.mark.parametrize("suite", [-1, 2**64 - 1, 2])
def test_a_box_of_no_suite_is_an_alarm_like_any_bad_box(tmp_path: Path, suite: int) -> None:
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
                        item, box=item.box and msgspec.structs.replace(item.box, suite=suite)
                    )
                    for item in page
                )

            ben.http.boxes = deceive  # type: ignore[method-assign]
            await a.openings.rekey(channel)
            await eventually(lambda: bool(b.alarms))
            assert b.alarms[0] == Alarm(channel, AlarmKind.WITHHELD, "E_BOX", stops_sending=False)
            ben.http.boxes = real  # type: ignore[method-assign]
            # The victim makes the next epoch itself.
            await talk(relay, b, a, channel)

    play(story())


def test_a_proxys_page_in_place_of_boxes_costs_no_keys(tmp_path: Path) -> None:
    """Who was removed gets no boxes, and installs the commit without; a proxy that says 404 removes nobody."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            real, asked = ben.http.boxes, list[int]()

            async def deployed(
                channel: bytes | str, from_epoch: int = 0, limit: int = 500
            ) -> tuple[r.EpochBoxes, ...]:
                asked.append(from_epoch)
                if len(asked) < 3:
                    raise ApiError(WireError.NOT_FOUND, told=False)
                return await real(channel, from_epoch, limit)

            ben.http.boxes = deployed  # type: ignore[method-assign]
            await a.openings.rekey(channel)
            await talk(relay, a, b, channel)
            assert asked == [1, 1, 1]
            assert not b.alarms

    play(story())


@pytest.mark.parametrize("kind", ["damaged", "known"])
def test_a_directory_whose_pages_bring_nothing_is_asked_once_and_nobody_waits(
    tmp_path: Path, kind: str
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            asked: list[int] = []
            last = relay.entries[-1]
            page = (last if kind == "known" else last[:-1] + bytes([last[-1] ^ 1]),) * 500

            async def deceive(after: int = 0, limit: int = 500) -> tuple[bytes, ...]:
                await asyncio.sleep(0.01)
                asked.append(after)
                return page

            ben.http.directory = deceive  # type: ignore[method-assign]
            async with asyncio.timeout(1):
                await b.refresh()
            assert len(asked) == 1
            assert [x.code for x in b.alarms] == ([] if kind == "known" else ["E_SIG"])
            await talk(relay, a, b, channel)
            assert not any(x.stops_sending for x in b.alarms)

    play(story())


def test_alarms_are_bounded(tmp_path: Path) -> None:
    async def story() -> None:
        ana = person(RelayDouble(), tmp_path)
        async with ana.open() as a:
            for number in range(KEPT_ALARMS + 1):
                a._inside.report(Alarm(None, AlarmKind.HISTORY, str(number), stops_sending=False))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            assert (len(a.alarms), a.alarms[0].code) == (KEPT_ALARMS, "1")

    play(story())


@pytest.mark.parametrize("where", ["list", "log"])
def test_no_word_of_a_server_silences_a_device_for_days(tmp_path: Path, where: str) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            asked: list[object] = []
            if where == "list":
                real = ben.http.channels

                async def later(after: str = "", limit: int = 100) -> r.Channels:
                    asked.append(after)
                    if len(asked) == 1:
                        raise ApiError(WireError.RATE_LIMITED, retry_ms=10**12)
                    return await real(after, limit)

                ben.http.channels = later  # type: ignore[method-assign]
            else:
                answer = relay.answer

                def put_off(wire: Wire, message: m.ServerMessage) -> None:
                    if isinstance(message, m.Subscribed) and wire.device == b.device and not asked:
                        kind, _ = split_address(message.channel)
                        if kind is ChannelKind.CONTENT:
                            asked.append(message)
                            message = m.Refused(message.req, WireError.BUSY, 0, 10**12)
                    answer(wire, message)

                relay.answer = put_off  # type: ignore[method-assign]
            channel = await a.openings.channel(ChannelPurpose.DESK, [b.device])
            await (await a.send(channel, "still there?")).wait(timeout_s=60)
            b._inside.chore()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            await eventually(lambda: bool(b.channels()) and texts(b, channel) == ["still there?"], 400)
            assert asked

    play(story())
