"""What joins the parts of a client: link, channels, outbox, history and followers, in one task group.

Theory of operation. The link calls in from below (`on_push`), channels call in from what they read (`on_readings`),
sending from what became of a message. None of them may wait, so what needs the network is a *chore*: one worker
fetches the directory and the list of channels when someone says they changed. Timers (urgent messages, receipt
marks, new keys) are tasks of their own. Everything ends with the task group; what counts is on disk before.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final

import msgspec

from leeside.api import Api, ApiError, every
from leeside.board import Board
from leeside.bodies import Acknowledged, ConsultAsked, Content, Marks, encode_content
from leeside.channels import Channel
from leeside.connection import Connection, LinkStatus, Push, Uniform, asked_s, backoff_s
from leeside.consulting import Consulting
from leeside.directories import Directories
from leeside.errors import ChannelUnknown, Failed, LeesideError, Offline, Stopped
from leeside.events import (
    Alarm,
    AlarmKind,
    CaughtUp,
    Event,
    Forgotten,
    Gap,
    Granted,
    Left,
    Link,
    MemberChange,
    Progress,
    Receipt,
    Repeat,
    Reset,
)
from leeside.feeds import Feeds
from leeside.follow import ChannelFollow, Head, Unnamed
from leeside.history import History, Place, Verdict
from leeside.home import Home
from leeside.link import Clock, Dialer
from leeside.lockbox import Keystore
from leeside.outbox import Draft, Outbox, Step
from leeside.reading import Reading
from leeside.receipts import Receipts
from leeside.sending import Sending
from leeside.session import Session
from leeside.sounding import Sounding
from leeside.telling import Teller, reading_of
from leeside.upkeep import Upkeep
from leeside_protocol import messages as m
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.follow import Position
from leeside_protocol.ids import (
    ChannelAddress,
    ChannelId,
    ChannelKind,
    DeviceId,
    MemberId,
    MessageId,
    StateKind,
    address,
    split_address,
    state_key,
)
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.entries import EPHEMERAL
from leeside_protocol.words import Lane, Mark, Urgency

REFRESH_S: Final = 60.0
MARKS_DELAY_S: Final = 1.0
KEPT_ALARMS: Final = 1_000
"""A server that errs a thousand times must not fill this machine's memory with the news of it."""
_CHANNELS_NOTE: Final = "channels"


class Switchboard:
    """The inside of one client. `run` it once; `closing` when it ends."""

    def __init__(
        self,
        *,
        api: Api,
        session: Session,
        dialer: Dialer,
        keys: DeviceKeys,
        root_public: bytes,
        member: MemberId,
        keystore: Keystore,
        outbox: Outbox,
        history: History,
        clock: Clock,
        uniform: Uniform,
    ) -> None:
        self.api: Final = api
        self.keys: Final = keys
        self.device: Final[DeviceId] = keys.device_id
        self.outbox: Final = outbox
        self.history: Final = history
        self.clock: Final = clock
        self.feeds: Final = Feeds()
        self.uniform: Final = uniform
        self.receipts: Final = Receipts(self.device)
        self.boards: Final[dict[ChannelId, Board]] = {}
        self.infos: dict[ChannelId, r.ChannelInfo] = {}
        self.alarms: Final[list[Alarm]] = []
        self.directories: Final = Directories(api, history, root_public, member, self.device, self.report)
        self.connection: Final = Connection(
            dialer, session, keys.identity.sign_raw, self, clock=clock, uniform=uniform
        )
        self.home: Final = Home(
            api,
            history,
            keys,
            self.directories,
            secrets.token_bytes,
            self.connection.server_now_ms,
            self.emit,
            self.report,
        )
        self.sounding: Final = Sounding(
            history,
            self.directories,
            clock,
            self.connection.server_now_ms,
            lambda channel, message, times: self.emit(channel, Repeat(channel, message, times)),
        )
        self.sending: Final = Sending(outbox, self.connection, self.by_log, self, uniform, self._newest)
        self.keystore: Final = keystore
        self.upkeep: Final = Upkeep(self)
        self.consulting: Final = Consulting(self)
        self.error: LeesideError | None = None
        self.refreshed: Final = asyncio.Event()
        self._channels: dict[ChannelId, Channel] = {}
        self._follows: dict[ChannelId, ChannelFollow] = {}
        self._tasks: dict[ChannelId, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._chore = asyncio.Event()
        self._opened: set[ChannelId] = set()
        self._marking: set[ChannelId] = set()
        self._directory_log = address(ChannelKind.DIRECTORY, self.directories.agency)
        self._inbox_log = address(ChannelKind.INBOX, self.device)

    # ---- life

    async def run(self) -> None:
        """Everything that goes on in the background, until cancelled. A fault ends it: followers and whoever sends are
        told by `Failed`, and it is raised here."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for channel, follow in self._follows.items():
                    self._tasks[channel] = group.create_task(follow.run())
                group.create_task(self._connected())
                group.create_task(self.sending.run())
                group.create_task(self._do_chores())
                group.create_task(self.sounding.run())
                group.create_task(self.upkeep.run())
                group.create_task(self.consulting.run())
        except Exception:
            # Never in silence: a person who goes on writing must know that nothing leaves.
            self.error = Failed()
            raise
        finally:
            self._group = None
            self.feeds.end(self.error)

    async def _connected(self) -> None:
        try:
            await self.connection.run()
        except Stopped as stopped:
            self.error = stopped
            self.feeds.end(stopped)

    def close(self) -> None:
        """Write down what is only in memory, release the files."""
        for channel in self._channels.values():
            if channel.epoch >= 0:
                channel.keep()
        self.feeds.end(self.error)
        self.outbox.close()
        self.history.close()

    def restore(self) -> None:
        """Before `run`: take up what an earlier run knew, so that it can be read without a link."""
        note = self.history.note(_CHANNELS_NOTE)
        if note is not None:
            self._set_channels(list(msgspec.msgpack.decode(note, type=tuple[r.ChannelInfo, ...])))
        self.sounding.restore(self._channels.keys())
        for channel in self._channels.values():
            for row in self.history.state(channel.content):
                if row.verdict is Verdict.OPENED and row.value:
                    self._take_reading(channel, reading_of(row), quiet=True)
            for message, generation, offset in self.outbox.accepted(channel.content):
                self.receipts.accepted(channel.id, message, generation, offset)
        mark = state_key(StateKind.RECEIPT, self.device)
        for waiting in self.outbox.waiting():
            if waiting.draft.key != mark:
                self.receipts.composed(ChannelId(split_address(waiting.draft.channel)[1]), waiting.draft.id)
            if waiting.step is Step.REFUSED:
                self.receipts.refused(waiting.draft.id, waiting.code)

    # ---- channels

    def channel(self, channel: ChannelId) -> Channel:
        """A channel that this device is in; `ChannelUnknown` else."""
        found = self._channels.get(channel)
        if found is None:
            raise ChannelUnknown("this device is in no such channel")
        return found

    def open_here(self, channel: ChannelId) -> bool:
        """Whether this device is in a channel, as its own copy of the chain has it, whose incident goes on."""
        found, info = self._channels.get(channel), self.infos.get(channel)
        return found is not None and found.member and not (info is not None and info.archived)

    def follow_of(self, channel: ChannelId) -> ChannelFollow:
        """How far a channel was received."""
        self.channel(channel)
        return self._follows[channel]

    def channels(self) -> tuple[Channel, ...]:
        """Every channel that this device is in."""
        return tuple(self._channels.values())

    @property
    def all_caught_up(self) -> bool:
        """Whether everything of every channel is here, boxes included."""
        return all(follow.caught_up for follow in self._follows.values())

    def by_log(self, log: ChannelAddress) -> Channel | None:
        """The channel whose content log this is; None for whatever else a server may name."""
        found = self._channels.get(ChannelId(log[1:]))
        return found if found is not None and found.content == log else None

    def _newest(self, log: ChannelAddress) -> bool:
        follow = self._follows.get(ChannelId(split_address(log)[1]))
        return follow is not None and follow.newest

    def board(self, channel: ChannelId) -> Board:
        """The present of a channel."""
        return self.boards.setdefault(channel, Board())

    def teller(self, channel: ChannelId) -> Teller:
        """What tells this channel's entries to this member."""
        return Teller(channel, self.directories.member, self.directories.member_of)

    async def refresh(self) -> None:
        """Ask the server which channels this device is in. Raises `ApiError`."""
        infos: list[r.ChannelInfo] = await every(self.api.channels)
        self.history.keep_note(_CHANNELS_NOTE, msgspec.msgpack.encode(infos))
        self._set_channels(infos)
        self.refreshed.set()

    def _set_channels(self, infos: list[r.ChannelInfo]) -> None:
        self.infos = {ChannelId(bytes.fromhex(info.id)): info for info in infos}
        self._opened -= self.infos.keys()
        for channel in self._channels.keys() - self.infos.keys() - self._opened:
            self._leave(channel)
        for channel in self.infos.keys() - self._channels.keys():
            self.join(channel)
        for channel, info in self.infos.items():
            if info.archived:
                self.sounding.ended(channel)

    def join(self, channel: ChannelId) -> Channel:
        """Begin to follow a channel, if that was not done yet."""
        known = self._channels.get(channel)
        if known is not None:
            return known
        found = self._channels[channel] = Channel(channel, self.home)
        follow = ChannelFollow(found, self.history, self, self, self.clock)
        self._follows[channel] = follow
        if self._group is not None:
            self._tasks[channel] = self._group.create_task(follow.run())
        if self.connection.online:
            follow.up()
        self.sending.nudge(found.content)
        return found

    def opened(self, channel: ChannelId) -> Channel:
        """Follow a channel that this device has just opened: a list on its way may not hold it yet."""
        self._opened.add(channel)
        return self.join(channel)

    def _leave(self, channel: ChannelId) -> None:
        self._channels.pop(channel)
        self._follows.pop(channel)
        self.boards.pop(channel, None)
        self.sounding.leave(channel)
        task = self._tasks.pop(channel, None)
        if task is not None:
            task.cancel()
        self.emit(channel, Left(channel))

    def look_again(self) -> None:
        """A person wants to go on: connect now, and fetch anew the chains in which a commit was refused."""
        self.connection.hurry()
        for channel, follow in self._follows.items():
            if self._channels[channel].stopped:
                follow.look_again()

    # ---- composing

    def compose(
        self,
        channel: ChannelId,
        content: Content,
        *,
        lane: Lane,
        key: bytes = b"",
        urgency: Urgency = Urgency.ROUTINE,
        mark: Mark = Mark.NONE,
    ) -> MessageId:
        """Put a message into the outbox: durable when this returns. Raises `ChannelUnknown`, `OutboxFull`,
        `BodyError`."""
        log = self.channel(channel).content
        message = MessageId(secrets.token_bytes(16))
        now_ms = self.connection.server_now_ms()
        body = encode_content(content, now_ms, message)
        self.outbox.add(Draft(log, message, lane, key, body, now_ms, urgency, mark))
        if not isinstance(content, Marks):
            # A person waits for a status or a name as for a message; nobody does for a mark.
            self.receipts.composed(channel, message)
        self.sending.nudge(log)
        return message

    async def stream(self, channel: ChannelId, content: Content, key: bytes) -> bool:
        """Pass a value of the stream lane on, now or never. False: it was not sent."""
        found = self.channel(channel)
        message = MessageId(secrets.token_bytes(16))
        now_ms = self.connection.server_now_ms()
        body = encode_content(content, now_ms, message)
        draft = Draft(found.content, message, Lane.STREAM, key, body, now_ms)
        try:
            await found.prepare(EPHEMERAL)
            frame, _ = found.seal(draft, EPHEMERAL)
            await self.connection.send(
                m.Publish(self.connection.number(), found.content, Lane.STREAM, key, message, frame)
            )
        except (LeesideError, ApiError, SealingError):
            return False
        return True

    # ---- from the link

    def on_status(self, status: LinkStatus) -> None:
        """Part of `Sink`."""
        self.feeds.put(None, Link(status))

    def on_online(self, welcome: m.Welcome) -> None:
        """Part of `Sink`."""
        del welcome
        self._begin(self._follow_agency())
        for follow in self._follows.values():
            follow.up()
        self.sending.online()
        self.consulting.online()
        self.chore()

    def on_offline(self) -> None:
        """Part of `Sink`."""
        self.sending.offline()
        for follow in self._follows.values():
            follow.down()

    def on_push(self, push: Push) -> None:
        """Part of `Sink`."""
        match push:
            case m.Batch() | m.Subscribed():
                self._route(push.channel, push)
            case m.Beat():
                for log, head in push.heads:
                    self._route(log, Head(head))
                named = dict(push.heads)
                for follow in self._follows.values():
                    for log in follow.logs:
                        if log not in named:
                            follow.push(log, Unnamed())
            case m.Live():
                self._take_live(push)
            case m.Refused():
                self.chore()

    def _route(self, log: ChannelAddress, item: m.Batch | m.Subscribed | Head) -> None:
        follow = self._follows.get(ChannelId(log[1:]))
        if follow is not None and log in follow.logs:
            follow.push(log, item)
        elif log == self._directory_log:
            self._take_directory(item)
        elif log == self._inbox_log:
            self._take_notice(item)

    def _take_directory(self, item: m.Batch | m.Subscribed | Head) -> None:
        match item:
            case m.Batch() if item.to > self.directories.own.seq:
                self.chore()
            case m.Subscribed():
                generation = self.history.place(self._directory_log).position.generation
                self.history.take(
                    self._directory_log, (), Place(Position(item.generation, item.head), 0, None)
                )
                if item.generation != generation and item.head < self.directories.own.seq:
                    self._begin(self._restore_directory(item.head))
                elif item.head > self.directories.own.seq:
                    self.chore()
            case Head() if item.offset > self.directories.own.seq:
                self.chore()
            case _:
                pass

    async def _restore_directory(self, head: int) -> None:
        with suppress(ApiError):
            await self.directories.restore(head)

    def _take_notice(self, item: m.Batch | m.Subscribed | Head) -> None:
        # A notice only says that something changed; what, is read and verified at its own place.
        if isinstance(item, m.Batch):
            generation = self.history.place(self._inbox_log).position.generation
            self.history.take(self._inbox_log, (), Place(Position(generation, item.to), 0, None))
            if self.consulting.take_notices(item.entries):
                self.chore()
        elif isinstance(item, m.Subscribed):
            self.history.take(self._inbox_log, (), Place(Position(item.generation, item.head), 0, None))

    def _take_live(self, push: m.Live) -> None:
        channel = self.by_log(push.channel)
        if channel is None or push.device == self.device or not push.payload:
            return
        try:
            body = channel.open_stream(push.device, push.payload)
        except SealingError:
            # Dropped: of the stream lane the next value will do.
            return
        event = self.teller(channel.id).tell_stream(push.device, push.key, push.at_ms, body)
        if event is not None:
            self._show(channel.id, event)

    async def subscribe(self, log: ChannelAddress, position: Position) -> m.Subscribed | m.Refused:
        """Part of `Subscriber`."""
        try:
            reply = await self.connection.request(
                lambda req: m.Subscribe(req, log, position.generation, position.offset)
            )
        except Offline:
            if not self.connection.online:
                raise
            # The link stands and nobody answered: no next session asks for us, so it is asked again on this one.
            return m.Refused(0, WireError.UNAVAILABLE)
        if isinstance(reply, m.Subscribed | m.Refused):
            return reply
        raise Offline("the server answered something else")

    async def _follow_agency(self) -> None:
        for log in (self._inbox_log, self._directory_log):
            with suppress(Offline):
                await self.subscribe(log, self.history.place(log).position)

    # ---- chores

    def chore(self) -> None:
        """The directory or the list of channels may have changed."""
        self._chore.set()

    async def _do_chores(self) -> None:
        attempt = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._chore.wait()
            self._chore.clear()
            if not self.connection.online:
                continue
            try:
                await self.directories.sync()
                await self.refresh()
            except ApiError as error:
                await asyncio.sleep(max(asked_s(error.retry_ms), backoff_s(attempt, self.uniform)))
                attempt += 1
                self._chore.set()
                continue
            attempt = 0
            self._after_directory()
            # Whoever may not list them hears an assignment too many, and misses nothing else.
            with suppress(ApiError):
                self.sounding.learn_units(await every(self.api.units))
            self.consulting.tending.look_at_all()

    def _after_directory(self) -> None:
        revoked = frozenset(self.directories.revoked)
        self.directories.revoked.clear()
        for channel in self._channels.values():
            if revoked.intersection(channel.roster):
                self.upkeep.rekey_soon(channel)
        self.upkeep.look_for_ended()
        self.sending.nudge_all()

    async def who(self, channel: ChannelId) -> m.Online:
        """Which devices of a channel are connected. Raises `Offline`, `ChannelUnknown`."""
        log = self.channel(channel).content
        reply = await self.connection.request(lambda req: m.Who(req, log))
        if isinstance(reply, m.Online):
            return reply
        raise ChannelUnknown("this device is in no such channel")

    # ---- from channels

    def emit(self, channel: ChannelId, event: Event) -> None:
        """Tell followers; a change of members may let waiting messages go."""
        self.feeds.put(channel, event)
        if isinstance(event, MemberChange) and self._group is not None:
            found = self._channels.get(channel)
            if found is not None:
                self.sending.nudge(found.content)
            self.consulting.tending.look_at_all()

    def tell(self, event: Event) -> None:
        """What is of no single channel."""
        self.feeds.put(None, event)

    def report(self, alarm: Alarm) -> None:
        """An alarm: kept until the client ends (the newest thousand), told to followers."""
        self.alarms.append(alarm)
        del self.alarms[:-KEPT_ALARMS]
        self.feeds.put(alarm.channel, alarm)
        if alarm.kind is AlarmKind.GHOST_DEVICE:
            self.chore()

    def on_readings(self, channel: Channel, readings: tuple[Reading, ...], *, live: bool) -> None:
        """Part of `Listener`."""
        del live
        for reading in readings:
            self._take_reading(channel, reading)
        if any(r_.row.lane is Lane.LOG and r_.row.device != self.device for r_ in readings):
            self.mark_soon(channel.id)

    def on_granted(self, channel: Channel, epochs: tuple[int, ...], opened: int) -> None:
        """Part of `Listener`."""
        self.emit(channel.id, Granted(channel.id, epochs, opened))

    def on_trimmed(self, channel: Channel, since: int, floor: int) -> None:
        """Part of `Listener`."""
        self.emit(channel.id, Gap(channel.id, since, floor))

    def on_dropped(self, channel: Channel, position: Position) -> None:
        """Part of `Listener`: the old copy still stands."""
        mine = frozenset(row.key for row in self.history.state(channel.content) if row.device == self.device)
        again = self.outbox.reopen(channel.content, position.generation, mine)
        self.receipts.forget_channel(channel.id)
        self.sounding.leave(channel.id)
        # Offsets begin again: what was read of the old history says nothing of the new one.
        self.history.keep_note(f"read {channel.id.hex()}", bytes(8))
        self.board(channel.id).clear()
        self.emit(channel.id, Reset(channel.id, again))
        self.sending.nudge(channel.content)

    def on_newest(self, channel: Channel) -> None:
        """Part of `Listener`."""
        self.sending.nudge(channel.content)

    def on_caught_up(self, channel: Channel) -> None:
        """Part of `Listener`."""
        self.emit(channel.id, CaughtUp(channel.id))
        self.mark_soon(channel.id)

    def on_forgotten(self, channel: Channel) -> None:
        """Part of `House`: an ended incident is no longer here."""
        self.boards.pop(channel.id, None)
        self.receipts.forget_channel(channel.id)
        self.sounding.leave(channel.id)
        self.emit(channel.id, Forgotten(channel.id))

    def on_lost(self, channel: Channel) -> None:
        """Part of `Listener`: which channels are left, the list says."""
        del channel
        self.chore()

    def _take_reading(self, channel: Channel, reading: Reading, *, quiet: bool = False) -> None:
        row, content = reading.row, reading.content
        event = self.teller(channel.id).tell(reading)
        match content:
            case Marks():
                self._tell_receipts(channel.id, self.receipts.marked(channel.id, row.device, content))
            case Acknowledged():
                self._acknowledged(channel, row.device, content)
            case _:
                if isinstance(content, ConsultAsked):
                    self.consulting.tending.asked(channel, row, content)
                self.sounding.take(channel.id, row, content)
        if event is not None:
            self._show(channel.id, event, quiet=quiet)
        elif row.lane is Lane.STATE and row.verdict is Verdict.OPENED and not row.value:
            self.board(channel.id).forget(row.key)

    def _show(self, channel: ChannelId, event: Event, *, quiet: bool = False) -> None:
        self.board(channel).take(event, self.connection.server_now_ms())
        if not quiet:
            self.emit(channel, event)

    def pressing(self, channel: Channel, readings: tuple[Reading, ...]) -> tuple[tuple[MessageId, int], ...]:
        """Part of `Listener`."""
        del channel
        return self.sounding.pressing(readings)

    def _acknowledged(self, channel: Channel, device: DeviceId, said: Acknowledged) -> None:
        self._tell_receipts(channel.id, self.receipts.acknowledged(channel.id, device, said.message))
        member = self.directories.member_of(device)
        self.sounding.acknowledged(channel.id, member, said.message, said.read_back)

    def _tell_receipts(self, channel: ChannelId, news: tuple[Receipt, ...]) -> None:
        for receipt in news:
            self.emit(channel, receipt)

    # ---- from sending

    def on_accepted(self, log: ChannelAddress, message: MessageId, generation: int, offset: int) -> None:
        """Part of `SendListener`."""
        channel = ChannelId(split_address(log)[1])
        if self.receipts.own(message) is not None:
            self._tell_receipts(channel, self.receipts.accepted(channel, message, generation, offset))

    def on_refused(self, log: ChannelAddress, message: MessageId, code: WireError) -> None:
        """Part of `SendListener`."""
        self._tell_receipts(ChannelId(split_address(log)[1]), self.receipts.refused(message, code))

    def on_blocked(self, log: ChannelAddress, why: str) -> None:
        """Part of `SendListener`."""
        waiting = self.outbox.first(log)
        if waiting is not None and waiting.draft.lane is Lane.LOG:
            channel = ChannelId(split_address(log)[1])
            self.emit(channel, Receipt(channel, waiting.draft.id, Progress.WAITING))
        del why

    # ---- timers

    def mark_soon(self, channel: ChannelId, read: int = 0) -> None:
        """Say soon how far this device has received, and read if `read` is given; many arrivals, one mark."""
        if read > self._read_up_to(channel):
            self.history.keep_note(f"read {channel.hex()}", read.to_bytes(8, "big"))
        if channel not in self._marking and self._group is not None:
            self._marking.add(channel)
            self._group.create_task(self._mark(channel))

    async def _mark(self, channel: ChannelId) -> None:
        await asyncio.sleep(MARKS_DELAY_S)
        self._marking.discard(channel)
        found = self._channels.get(channel)
        if found is None or not found.member or found.stopped:
            return
        generation = self._follows[channel].position.generation
        newest = self.history.before(found.content, 2**53, 1)
        delivered = newest[-1].offset if newest else 0
        marks = Marks(generation, delivered, min(delivered, self._read_up_to(channel)))
        key = state_key(StateKind.RECEIPT, self.device)
        if delivered and marks != self._last_marks(found, key):
            with suppress(LeesideError):
                self.compose(channel, marks, lane=Lane.STATE, key=key)

    def _read_up_to(self, channel: ChannelId) -> int:
        """The offset up to which the person has seen everything, in this generation of the log."""
        note = self.history.note(f"read {channel.hex()}")
        return 0 if note is None else int.from_bytes(note, "big")

    def _last_marks(self, channel: Channel, key: bytes) -> Marks | None:
        row = self.history.value(channel.content, key)
        if row is None or row.verdict is not Verdict.OPENED:
            return None
        content = reading_of(row).content
        return content if isinstance(content, Marks) else None

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        if self._group is not None:
            self._group.create_task(work)
