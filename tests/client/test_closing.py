"""The end of an incident: its keys go to the custodian, and a day later nothing of it is left on a device."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from leeside.api import Unreachable
from leeside.client import Leeside
from leeside.closing import Closing
from leeside.events import Forgotten
from leeside_protocol.ids import ChannelId, ChannelKind, address
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.frames import FrameReceiver
from leeside_protocol.sealing.opening.records import open_archive
from leeside_protocol.sealing.opening.schedule import ClassSecrets
from leeside_protocol.sealing.public.archive import Archive, is_archive, parse_archive_label
from leeside_protocol.words import ChannelPurpose
from tests.client.people import Person, channel_of, person, said, settled, texts
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import eventually, play

HOUR_S = 3_600
DAY_S = 24 * HOUR_S


async def later(relay: RelayDouble, seconds: int) -> None:
    """The server's clock goes on by that much; its devices hear of it with the next beats."""
    relay.clock.ahead_ms += seconds * 1000
    await asyncio.sleep(90)


def archives(relay: RelayDouble, channel: ChannelId) -> list[Archive]:
    log = relay.log(address(ChannelKind.GRANTS, channel))
    return [Archive.decode(entry.payload) for entry in log.entries if is_archive(entry.payload)]


async def incident_of(opener: Leeside, *others: Leeside) -> ChannelId:
    _, channel = await opener.openings.incident([o.device for o in others], first="Quay 4")
    for other in others:
        await other.refresh()
        await settled(other, channel)
    await settled(opener, channel)
    return channel


def three(relay: RelayDouble, folder: Path) -> tuple[Person, Person, Person]:
    found = sorted((person(relay, folder) for _ in range(3)), key=lambda p: p.keys.device_id)
    return found[0], found[1], found[2]


def secrets_of(one: Leeside, channel: ChannelId) -> dict[int, ClassSecrets]:
    sealed = SealedChannel.restore(one.openings.export(channel))
    return {epoch: sealed.secrets(epoch) for epoch in sealed.epochs_held()}


def test_two_members_archive_an_ended_incident_and_the_custodian_reads_it_without_boxes(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        relay = RelayDouble()
        key = relay.add_records()
        ana, ben, cem = three(relay, tmp_path)
        async with ana.open() as a, ben.open() as b, cem.open() as c:
            channel = await incident_of(a, b, c)
            await (await b.send(channel, "he agreed to come along")).wait(timeout_s=30)
            await a.openings.rekey(channel)
            await eventually(lambda: all(len(secrets_of(o, channel)) == 2 for o in (a, b, c)))
            await (await c.send(channel, "handed over")).wait(timeout_s=30)
            relay.end(channel)
            await eventually(lambda: len(archives(relay, channel)) == 2)
            await asyncio.sleep(100)
            # The third found two others' that name all it holds.
            assert {x.signed.signer for x in archives(relay, channel)} == {
                ana.keys.device_id,
                ben.keys.device_id,
            }
        line = relay.rooms[channel].line
        directories = {relay.directory.agency_id: relay.directory}
        content = relay.log(address(ChannelKind.CONTENT, channel)).entries
        for archive in archives(relay, channel):
            held = {e: dict(s) for e, s in open_archive(key, archive, line, directories).items()}
            receiver = FrameReceiver(line, held)
            opened = [receiver.open(e.payload, directories, again=True).body for e in content if e.payload]
            spoken = [body.data for body in opened if body.type == "text"]
            assert [cast("list[object]", data)[1] for data in spoken] == [
                "Quay 4",
                "he agreed to come along",
                "handed over",
            ]

    play(story())


def test_a_day_after_the_end_messages_and_keys_are_gone_also_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        relay.add_records()
        ana, ben, _ = three(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await incident_of(a, b)
            kept = await channel_of(a, b)
            await (await b.send(channel, "his name is Tom")).wait(timeout_s=30)
            await (await b.send(kept, "shift ends at six")).wait(timeout_s=30)
            await said(a, channel, "Quay 4", "his name is Tom")
            relay.end(channel)
            events = b.follow(channel)
            await later(relay, 23 * HOUR_S)
            assert texts(b, channel) == ["Quay 4", "his name is Tom"]
            assert secrets_of(b, channel)
            await later(relay, 2 * HOUR_S)
            for one in (a, b):
                assert one.history(channel) == ()
                assert secrets_of(one, channel) == {}
                assert one.board(channel).statuses == {}
                await said(one, kept, "shift ends at six")
            told = False
            while not told:
                told = isinstance(await events.next(), Forgotten)
        for name in ("history.db", "history.db-wal"):
            path = ben.folder / name
            assert not path.exists() or b"his name is Tom" not in path.read_bytes()
        commits = len(relay.rooms[channel].line.commits)
        async with ben.open() as b:
            await later(relay, 2 * HOUR_S)
            assert b.history(channel) == ()
            assert secrets_of(b, channel) == {}
            await said(b, kept, "shift ends at six")
        # Nobody tries to give an ended channel new keys.
        assert len(relay.rooms[channel].line.commits) == commits

    play(story())


def test_without_a_connection_keys_stay_until_they_are_archived(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        relay.add_records()
        ana, ben, _ = three(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await incident_of(a, b)
            await said(b, channel, "Quay 4")

            async def away(channel: bytes | str, body: object) -> None:
                raise Unreachable("the server cannot be reached", sent=False)

            works = [p.http.post_archive for p in (ana, ben)]
            for p in (ana, ben):
                p.http.post_archive = away  # type: ignore[method-assign]
            relay.end(channel)
            await later(relay, 2 * DAY_S)
            assert texts(b, channel) == ["Quay 4"]
            assert archives(relay, channel) == []
            for p, work in zip((ana, ben), works, strict=True):
                p.http.post_archive = work  # type: ignore[method-assign]
            await eventually(lambda: secrets_of(a, channel) == {} and secrets_of(b, channel) == {})
            assert len(archives(relay, channel)) == 2
            for p in (ana, ben):
                p.http.post_archive = away  # type: ignore[method-assign]
            other = await incident_of(a, b)
            relay.end(other)
            await later(relay, 8 * DAY_S)
            # A week is the end in any case.
            assert (b.history(other), secrets_of(b, other)) == ((), {})

    play(story())


def test_an_archive_that_names_too_little_is_not_relied_on(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        relay.add_records()
        # Who joined late is the first to archive.
        cem, ana, ben = three(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await incident_of(a, b)
            await a.openings.admit(channel, [cem.keys.device_id])
            await eventually(lambda: len(secrets_of(b, channel)) == 2)
            async with cem.open() as c:
                await settled(c, channel)
                relay.end(channel)
                await eventually(lambda: len(archives(relay, channel)) == 3)
            named = {x.signed.signer: parse_archive_label(x.signed).epochs for x in archives(relay, channel)}
            assert named == {
                ana.keys.device_id: (0, 1),
                ben.keys.device_id: (0, 1),
                cem.keys.device_id: (1,),
            }

    play(story())


def test_a_channel_without_an_incident_is_not_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        relay.add_records()
        ana, ben, _ = three(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await a.openings.channel(ChannelPurpose.DESK, [b.device])
            await b.refresh()
            await settled(b, channel)
            await (await a.send(channel, "rota for May")).wait(timeout_s=30)
            relay.end(channel)
            await later(relay, 9 * DAY_S)
            assert texts(b, channel) == ["rota for May"]
            assert archives(relay, channel) == []

    play(story())


@pytest.mark.parametrize("kept_ms", [0, 10**15])
def test_policy_may_shorten_the_day_and_never_reaches_beyond_a_week(kept_ms: int, tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben, _ = three(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await incident_of(a, b)
            inside = a._inside  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            closing = Closing(inside.home, inside.outbox, kept_ms=kept_ms)
            found = inside.channel(channel)
            assert await closing.tend(found) is (kept_ms == 0)
            await later(relay, 7 * DAY_S)
            await closing.tend(found)
            assert closing.forgotten(found)
            assert not await closing.tend(found)

    play(story())
