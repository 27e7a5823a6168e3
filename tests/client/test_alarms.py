"""A server that deceives: what members notice, what stops sending, what is never shown."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from leeside.client import Leeside
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
from tests.client import test_client, test_failures
from tests.client.people import Person, channel_of, person, said
from tests.client.relay_double import DAY_MS, RelayDouble, Wire
from tests.client.virtual_time import eventually, play

FAILURE_CASES: Final[dict[str, tuple[Callable[..., None], ...]]] = {}
"""What must be survived, and the stories that show it; filled at the end of this file."""


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


def test_two_signed_branches_stop_sending_though_the_client_was_killed_in_between(tmp_path: Path) -> None:
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
            shutil.copytree(ben.folder, tmp_path / "as it was on disk")
        ben.folder = tmp_path / "as it was on disk"
        async with ben.open() as b:
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "still stopped after a crash")

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
            assert {alarm.kind for alarm in b.alarms} == {AlarmKind.DIRECTORY_FORK}
            del ben.http.directory
        async with ben.open() as b:
            b.reconnect()
            await asyncio.sleep(60)
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "still stopped after a restart")

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
            alarms = {(alarm.kind, alarm.code, alarm.device, alarm.stops_sending) for alarm in b.alarms}
            assert alarms == {
                (AlarmKind.CHANGED_FRAME, code, old.device, False) for code in ("E_REPLAY", "E_FORMAT")
            }
            await said(b, channel, "shots fired")

    play(story())


def test_a_frame_replayed_in_the_same_batch_is_never_shown(tmp_path: Path) -> None:
    """The local copy knows an entry once it is stored, and a batch is stored in portions: they must not hide a copy."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
            sent = await a.send(channel, "shots fired")
            await sent.wait(timeout_s=30)
            await asyncio.sleep(5)
            old = replayed(channel, relay, sent.id)
            content = address(ChannelKind.CONTENT, channel)
            for _ in range(2):
                relay.store(content, Entry(0, Lane.LOG, b"", old.device, old.id, 0, old.payload))
            async with ben.open() as b:
                await eventually(lambda: sum(isinstance(e, Unreadable) for e in b.history(channel)) == 2)
                assert [e.why for e in b.history(channel) if isinstance(e, Unreadable)] == ["E_REPLAY"] * 2
                assert {alarm.kind for alarm in b.alarms} == {AlarmKind.CHANGED_FRAME}
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


def test_a_message_whose_place_a_copy_took_is_noticed(tmp_path: Path) -> None:
    """One member is told a copy first, in the place of the next message: of one place the first word counts."""

    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            content = address(ChannelKind.CONTENT, channel)
            first = await a.send(channel, "stay outside")
            await first.wait(timeout_s=30)
            await said(b, channel, "stay outside")
            await asyncio.sleep(5)
            old = replayed(channel, relay, first.id)
            tell = relay.answer

            def deceive(wire: Wire, message: m.ServerMessage) -> None:
                if isinstance(message, m.Batch) and message.channel == content and wire.device == b.device:
                    relay.answer = tell  # type: ignore[method-assign]
                    copy = msgspec.structs.replace(old, offset=message.to, id=MessageId(bytes(16)))
                    tell(wire, msgspec.structs.replace(message, entries=(copy,)))
                tell(wire, message)

            relay.answer = deceive  # type: ignore[method-assign]
            await (await a.send(channel, "come in")).wait(timeout_s=30)
            await eventually(lambda: any(isinstance(e, Unreadable) for e in b.history(channel)))
            assert [e.why for e in b.history(channel) if isinstance(e, Unreadable)] == ["E_FORMAT"]
            await asyncio.sleep(5)
            await (await a.send(channel, "where are you?")).wait(timeout_s=30)
            await eventually(lambda: bool(b.alarms) and bool(a.alarms))
            assert {alarm.kind for alarm in a.alarms} == {AlarmKind.HISTORY}
            assert {alarm.kind for alarm in b.alarms} == {AlarmKind.HISTORY, AlarmKind.CHANGED_FRAME}
            await said(b, channel, "stay outside", "where are you?")

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
            await a.openings.rekey(channel)
            await asyncio.sleep(60)
            # What holds came meanwhile; that is for a person to see, not for the client to decide.
            with pytest.raises(ChannelAlarmed):
                await w.send(channel, "still not")
            w.reconnect()
            await eventually(lambda: relay.rooms[channel].line.epoch == 1 and not stopped(w, channel))
            await (await w.send(channel, "back again")).wait(timeout_s=60)
            await said(a, channel, "back again")
            await a.openings.rekey(channel)
            await eventually(lambda: SealedChannel.restore(w.openings.export(channel)).line.epoch == 2)

    play(story())


def stopped(one: Leeside, channel: ChannelId) -> bool:
    return bool(one._inside.channel(channel).stopped)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("honest", [True, False])
def test_after_a_restart_a_refused_commit_is_asked_for_again(tmp_path: Path, honest: bool) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a:
            async with ben.open() as b:
                channel = await channel_of(a, b)
                epochs = address(ChannelKind.EPOCHS, channel)
                real = relay.answer
                relay.answer = lambda wire, message: real(  # type: ignore[method-assign]
                    wire, damaged(message) if wire.device == b.device and getattr(message, "channel", b"") == epochs else message
                )  # fmt: skip
                await a.openings.rekey(channel)
                await eventually(lambda: bool(b.alarms))
                with pytest.raises(ChannelAlarmed):
                    await b.send(channel, "to whom?")
            if honest:
                relay.answer = real  # type: ignore[method-assign]
            async with ben.open() as b:
                await asyncio.sleep(30)
                if honest:
                    await (await b.send(channel, "all is well")).wait(timeout_s=60)
                    await said(a, channel, "all is well")
                else:
                    assert [alarm.kind for alarm in b.alarms] == [AlarmKind.REFUSED_COMMIT]
                    with pytest.raises(ChannelAlarmed):
                        await b.send(channel, "to whom?")

    play(story())


def damaged(message: m.ServerMessage) -> m.ServerMessage:
    """The same batch with the last byte of every payload changed."""
    if not isinstance(message, m.Batch):
        return message
    entries = tuple(
        msgspec.structs.replace(e, payload=e.payload[:-1] + bytes([e.payload[-1] ^ 1]))
        for e in message.entries
    )
    return msgspec.structs.replace(message, entries=entries)


def test_a_directory_that_is_withheld_raises_the_alarm_and_stops_sending(tmp_path: Path) -> None:
    async def story() -> None:
        relay = RelayDouble()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            channel = await channel_of(a, b)
            known, real = tuple(relay.entries), ben.http.directory
            directory_log = address(ChannelKind.DIRECTORY, relay.directory.agency_id)

            async def withheld(after: int = 0, limit: int = 500) -> tuple[bytes, ...]:
                return known[after : after + limit]

            ben.http.directory = withheld  # type: ignore[method-assign]
            relay.lose = lambda wire, message: (
                wire.device == b.device and getattr(message, "channel", b"") == directory_log
            )
            cem = person(relay, tmp_path)
            await a.refresh()
            assert await a.openings.admit(channel, [cem.keys.device_id])
            await eventually(lambda: bool(b.alarms))
            assert {(x.kind, x.code) for x in b.alarms} == {(AlarmKind.WITHHELD, "E_DIR_BEHIND")}
            with pytest.raises(ChannelAlarmed):
                await b.send(channel, "to whom?")
            with pytest.raises(ChannelAlarmed):
                await b.openings.admit(channel, [cem.keys.device_id])
            ben.http.directory = real  # type: ignore[method-assign]
            b.reconnect()
            await eventually(lambda: cem.keys.device_id in b.readers(channel) and not stopped(b, channel))
            await (await b.send(channel, "welcome, Cem")).wait(timeout_s=60)

    play(story())


def _cases(name: str, *stories: Callable[..., None]) -> None:
    FAILURE_CASES[name] = stories


_cases(
    "E_UNKNOWN_EPOCH: hold the frame for 30 s, then say so",
    test_client.test_a_frame_whose_keys_come_late_is_held_and_then_shown,
    test_client.test_keys_that_never_come_are_told_and_tried_again,
)
_cases(
    "E_NO_KEY: not granted, ask; never granted by itself",
    test_client.test_a_joiner_reads_earlier_messages_only_once_granted,
    test_failures.test_context_is_asked_for_and_given_by_a_person_alone,
)
_cases(
    "E_BOX, E_COMMITMENT, or no box: the chain goes on, alarm, re-seal, next epoch",
    test_failures.test_without_a_good_box_the_chain_goes_on_and_a_member_seals_again,
)
_cases("stale on send: the same id", test_client.test_a_stale_frame_is_sealed_again_under_the_same_id)
_cases("two rotate at once: the loser adopts", test_client.test_two_commits_at_once_both_take_effect)
_cases(
    "offline member: replays the chain, sends what waited",
    test_failures.test_who_comes_back_reads_every_epoch_and_sends_what_waited,
)
_cases(
    "HPKE key expired while offline: dormant, blocks nobody, sealed to again",
    test_failures.test_a_device_whose_key_expired_blocks_nobody_and_is_sealed_to_on_return,
)
_cases(
    "E_FORK, E_DIR_FORK: stop, alarm, both branches kept",
    test_two_signed_branches_of_a_channel_stop_sending,
    test_two_signed_branches_stop_sending_though_the_client_was_killed_in_between,
    test_two_signed_directories_stop_sending_everywhere,
)
_cases("E_DIR_BEHIND: withholding", test_a_directory_that_is_withheld_raises_the_alarm_and_stops_sending)
_cases(
    "E_AEAD, E_SIG, E_REPLAY: never shown",
    test_a_replayed_frame_and_one_under_another_id_are_never_shown,
    test_a_frame_replayed_in_the_same_batch_is_never_shown,
    test_failures.test_a_frame_that_does_not_hold_is_told_and_never_shown,
)
_cases(
    "a refused commit: stop, and a way on",
    test_a_commit_that_breaks_a_rule_is_not_followed_and_stops_sending,
    test_after_a_restart_a_refused_commit_is_asked_for_again,
)
_cases("no cryptography: nothing leaves", test_failures.test_what_cannot_be_sealed_does_not_leave)
_cases(
    "a clock that is wrong by a day",
    test_failures.test_a_device_whose_clock_is_a_day_off_commits_accepts_and_sends,
)


def test_every_failure_has_its_story() -> None:
    stories = [story for found in FAILURE_CASES.values() for story in found]
    assert len(FAILURE_CASES) == 13
    assert all(story.__name__.startswith("test_") for story in stories)
    assert len(stories) == len(set(stories))
