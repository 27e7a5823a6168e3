"""A server that deceives: what members notice, what stops sending, what is never shown."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from leeside.errors import ChannelAlarmed
from leeside.events import AlarmKind, Unreadable
from leeside_protocol import messages as m
from leeside_protocol.ids import ChannelId, ChannelKind, MemberId, MessageId, address
from leeside_protocol.messages import Entry
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.committer import Change, Committer
from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import DeviceAdded, SignedEntry
from leeside_protocol.words import Lane
from tests.client.people import Person, channel_of, person, said
from tests.client.relay_double import DAY_MS, RelayDouble, Wire
from tests.client.virtual_time import eventually, play


def push(relay: RelayDouble, to: Person, log: bytes, entry: Entry) -> None:
    """Slip an entry into a log, for one device alone."""
    name = address(ChannelKind(log[:1]), log[1:])
    for wire in relay.wires:
        if wire.device == to.keys.device_id:
            at = wire.following[name]
            wire.push(m.Batch(name, at, at + 1, (entry,)))
            wire.following[name] = at + 1


def other_branch(relay: RelayDouble, by: Person, kept: bytes) -> bytes:
    """Another validly signed commit for the epoch behind a kept state."""
    sealed = SealedChannel.restore(kept)
    directories = {relay.directory.agency_id: relay.directory}
    committer = Committer(by.keys, directories, relay.book(), secrets.token_bytes)
    made = committer.commit(sealed, Change(CommitReason.PERIODIC), now_ms=relay.clock.now_ms())
    return made.commit.signed.encode()


def test_two_signed_branches_of_a_channel_stop_sending(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            kept = a.openings.export(channel)
            await a.openings.rekey(channel)
            await eventually(lambda: relay.rooms[channel].line.epoch == 1)
            await asyncio.sleep(1)
            commit = other_branch(relay, ana, kept)
            entry = Entry(3, Lane.LOG, b"", ana.keys.device_id, MessageId(bytes(16)), 0, commit)
            push(relay, ben, address(ChannelKind.EPOCHS, channel), entry)
            await eventually(lambda: bool(b.alarms))
            assert [alarm.kind for alarm in b.alarms] == [AlarmKind.FORK]
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "to whom?")
        async with ben.open() as b:
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "still stopped after a restart")

    play(story())


def test_two_signed_directories_stop_sending_everywhere(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            forked = Directory(relay.directory.root_public)
            for data in relay.entries[:-1]:
                forked.apply(SignedEntry.decode(data))
            branch = another_device(relay.authority, forked)

            async def deceive(after: int = 0, limit: int = 500) -> tuple[bytes, ...]:
                return (branch,)

            ben.http.directory = deceive  # type: ignore[method-assign]
            await b.refresh()
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "to whom?")
            assert [alarm.kind for alarm in b.alarms] == [AlarmKind.DIRECTORY_FORK]

    play(story())


def another_device(authority: AuthorityKey, directory: Directory) -> bytes:
    public = SigningKey.create(secrets.token_bytes).public
    member = MemberId(secrets.token_bytes(16))
    now_ms = directory.ts_ms
    added = DeviceAdded(public, member, "responder", 1, 1, now_ms, now_ms + DAY_MS)
    return authority.sign_entry(directory, added, now_ms).encode()


def replayed(channel: ChannelId, relay: RelayDouble, message: MessageId) -> Entry:
    log = relay.log(address(ChannelKind.CONTENT, channel))
    return next(entry for entry in log.entries if entry.id == message)


def test_a_replayed_frame_and_one_under_another_id_are_never_shown(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            sent = await a.send(channel, "shots fired")
            await sent.wait(timeout_s=30)
            await said(b, channel, "shots fired")
            await asyncio.sleep(5)
            old = replayed(channel, relay, sent.id)
            content = address(ChannelKind.CONTENT, channel)
            for ident in (old.id, MessageId(bytes(16))):
                head = relay.log(content).head + 1
                relay.store(content, Entry(head, Lane.LOG, b"", old.device, ident, 0, old.payload))
            await eventually(lambda: sum(isinstance(e, Unreadable) for e in b.history(channel)) == 2)
            unreadable = [e.why for e in b.history(channel) if isinstance(e, Unreadable)]
            assert unreadable == ["E_REPLAY", "E_FORMAT"]
            await said(b, channel, "shots fired")

    play(story())


def test_a_history_of_ones_own_is_noticed(tmp_path: Path) -> None:
    """The server withholds a message from one member: the next message of who saw it tells."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            content = address(ChannelKind.CONTENT, channel)
            await (await a.send(channel, "first")).wait(timeout_s=30)
            await said(b, channel, "first")
            await asyncio.sleep(5)
            keep_batches = relay.answer

            def withhold(wire: Wire, message: m.ServerMessage) -> None:
                if isinstance(message, m.Batch) and message.channel == content:
                    ours = wire.device == b.device
                    hidden = tuple(e for e in message.entries if not (ours and e.id == secret.id))
                    message = m.Batch(message.channel, message.after, message.to, hidden)
                keep_batches(wire, message)

            secret = await a.send(channel, "the one that is hidden")
            relay.answer = withhold  # type: ignore[method-assign]
            await secret.wait(timeout_s=30)
            await said(a, channel, "first", "the one that is hidden")
            await (await a.send(channel, "did you hear?")).wait(timeout_s=30)
            await eventually(lambda: bool(b.alarms))
            assert {alarm.kind for alarm in b.alarms} == {AlarmKind.HISTORY}
            assert not any(alarm.stops_sending for alarm in b.alarms)

    play(story())


def test_a_commit_that_breaks_a_rule_is_not_followed_and_stops_sending(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, weak = person(relay, tmp_path), person(relay, tmp_path, caps=1)
        ghost = person(relay, tmp_path)
        async with ana.open() as a, weak.open() as w:
            channel = await channel_of(a, w)
            sealed = SealedChannel.restore(a.openings.export(channel))
            directories = {relay.directory.agency_id: relay.directory}
            committer = Committer(ana.keys, directories, relay.book(), secrets.token_bytes)
            made = committer.commit(sealed, Change(CommitReason.PERIODIC), now_ms=relay.clock.now_ms())
            damaged = bytearray(made.commit.signed.encode())
            damaged[-1] ^= 1
            entry = Entry(2, Lane.LOG, b"", ghost.keys.device_id, MessageId(bytes(16)), 0, bytes(damaged))
            push(relay, weak, address(ChannelKind.EPOCHS, channel), entry)
            await eventually(lambda: bool(w.alarms))
            assert [(alarm.kind, alarm.code) for alarm in w.alarms] == [(AlarmKind.REFUSED_COMMIT, "E_SIG")]
            with pytest.raises(ChannelAlarmed):
                await w.send(channel, "to whom?")

    play(story())
