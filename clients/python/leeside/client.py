"""The client library's front: one device of one member, connected, sealed, and able to go without signal.

    async with Leeside.open(profile, keystore) as leeside:
        sent = await leeside.send(channel, "on scene", Urgency.IMPORTANT)
        async for event in leeside.follow(channel):
            ...

What is sent is on disk when `send` returns, and goes out when there is a link; `Sent` tells how far it came.
Everything that happens in a channel comes through `follow` as one of `leeside.events`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from leeside.api import Api, tls_context
from leeside.attachments import Attachments, Progressed
from leeside.board import Board, Presence
from leeside.bodies import (
    REPEAT_S,
    Acknowledged,
    Assignment,
    Attachment,
    BodyError,
    CheckIn,
    Consent,
    ConsentWithdrawn,
    Content,
    ContextWanted,
    Duress,
    Fix,
    Incident,
    LastPosition,
    LivePosition,
    MemberName,
    Recommendation,
    Status,
    Text,
    TimelineMark,
    Typing,
    UnitName,
)
from leeside.connection import LinkStatus, Uniform
from leeside.consults import Consults
from leeside.errors import ChannelAlarmed, LeesideError
from leeside.events import Alarm, Event
from leeside.feeds import Feed
from leeside.history import History
from leeside.keystore import Keystore as FileKeystore
from leeside.link import Clock, Dialer, SystemClock, WebSocketDialer
from leeside.lockbox import Keystore, Lockbox
from leeside.openings import Openings
from leeside.outbox import Outbox, Waiting
from leeside.position import EVERY_S, Pacer
from leeside.profile import Identity, Profile, load_identity, load_keys
from leeside.sent import Sent
from leeside.session import Session
from leeside.switchboard import Switchboard
from leeside_protocol import resources as r
from leeside_protocol.ids import (
    ChannelId,
    ChannelKind,
    DeviceId,
    MemberId,
    MessageId,
    StateKind,
    UnitId,
    address,
    state_key,
)
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.words import Lane, Mark, PrimaryStatus, SecondaryStatus, Urgency


class Leeside:
    """One device of one member. Made by `open`; every method may be called while there is no link."""

    def __init__(self, board: Switchboard, attachments: Attachments) -> None:
        self._inside = board
        self._attachments = attachments
        self._sharing: dict[ChannelId, Pacer] = {}
        self.openings: Final = Openings(board)
        """Opening channels and incidents, and who is in them."""
        self.consults: Final = Consults(board)
        """Requesting consults, and answering them."""

    # ---- opening and closing

    @classmethod
    @asynccontextmanager
    async def open(
        cls, profile: Profile, keystore: FileKeystore, *, clock: Clock | None = None
    ) -> AsyncGenerator[Leeside]:
        """The client of an enrolled profile, with the server of its settings.

        Raises `ProfileError` before enrolment. A device that was revoked learns so from `follow`, which then raises
        `Stopped`; its local copy can still be read. A fault in the background (a full disk) ends `follow` with `Failed`, and
        is raised itself when the client is closed.
        """
        settings = profile.settings()
        verify = Path(settings.ca_file) if settings.ca_file else None
        keys, identity = load_keys(keystore), load_identity(keystore)
        async with Api(settings.server, verify=verify) as outside:
            session = Session(
                outside,
                keys.device_id,
                keys.identity.sign_raw,
                keystore=keystore,
                lock_path=profile.session_lock,
            )
            async with Api(settings.server, session, verify=verify) as api:
                dialer = WebSocketDialer(settings.server, tls_context(verify))
                async with cls.assemble(
                    api, session, dialer, keys, identity, keystore, profile.local, clock=clock
                ) as leeside:
                    yield leeside

    @classmethod
    @asynccontextmanager
    async def assemble(
        cls,
        api: Api,
        session: Session,
        dialer: Dialer,
        keys: DeviceKeys,
        identity: Identity,
        keystore: Keystore,
        folder: Path,
        *,
        clock: Clock | None = None,
        uniform: Uniform = random.uniform,
    ) -> AsyncGenerator[Leeside]:
        """The same from parts: for programs that keep keys elsewhere, and for tests. `folder` holds the local
        databases."""
        lockbox = Lockbox.of(keystore)
        history = History(folder / "history.db", lockbox)
        outbox = Outbox(folder / "outbox.db", lockbox)
        board = Switchboard(
            api=api,
            session=session,
            dialer=dialer,
            keys=keys,
            root_public=identity.root_pub,
            member=MemberId(identity.member),
            keystore=keystore,
            outbox=outbox,
            history=history,
            clock=clock or SystemClock(),
            uniform=uniform,
        )
        board.restore()
        running = asyncio.ensure_future(board.run())
        leeside = cls(board, Attachments(api, history, board.home.random))
        try:
            yield leeside
        finally:
            running.cancel()
            try:
                with suppress(asyncio.CancelledError):
                    await running
            finally:
                board.close()

    @property
    def inside(self) -> Switchboard:
        """What the parts of this library stand on that are not always there (`leeside.media`). Programs need none of it."""
        return self._inside

    # ---- the link

    @property
    def link(self) -> LinkStatus:
        """Whether there is a live link, since when, and what ended the last one."""
        return self._inside.connection.status

    @property
    def device(self) -> DeviceId:
        """This device."""
        return self._inside.device

    @property
    def member(self) -> MemberId:
        """Whose device this is."""
        return self._inside.directories.member

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm since this client was opened, the newest thousand of them."""
        return tuple(self._inside.alarms)

    def reconnect(self) -> None:
        """The network came back, or a person wants to go on after an alarm: connect now rather than at the end of the
        delay, and fetch anew the members of channels in which a change was refused. What holds now is sent to
        again; a fork or a device that the person does not know stays a reason to stop."""
        self._inside.look_again()

    async def online(self, timeout_s: float | None = None) -> None:
        """Wait until there is a link and the list of channels is fresh. Raises `TimeoutError`, or what ended the
        client (`Stopped`, `Failed`)."""
        self._raise_end()
        feed = self._inside.feeds.open(None)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._inside.connection.online:
                    await feed.next()
                await self._inside.refreshed.wait()
        finally:
            feed.close()

    def _raise_end(self) -> None:
        if self._inside.error is not None:
            raise self._inside.error

    # ---- channels

    def channels(self) -> tuple[r.ChannelInfo, ...]:
        """The channels that this device is in, as last heard; `refresh` asks again."""
        return tuple(self._inside.infos.values())

    async def refresh(self) -> tuple[r.ChannelInfo, ...]:
        """Ask the server for the directory and the channels. Raises `ApiError`."""
        await self._inside.directories.sync()
        await self._inside.refresh()
        return self.channels()

    def follow(self, channel: ChannelId | None = None) -> Feed:
        """Everything that happens in a channel from now on (None: in all), an async iterator of `Event`.

        Raises `ChannelUnknown`; iterating raises `Stopped` when the server says not to come back, `Failed` when the client
        broke.
        """
        self._raise_end()
        if channel is not None:
            self._inside.channel(channel)
        return self._inside.feeds.open(channel)

    def board(self, channel: ChannelId) -> Board:
        """The present of a channel: statuses, positions, who shares, who types, names. Kept up to date."""
        self._inside.channel(channel)
        return self._inside.board(channel)

    def member_of(self, device: DeviceId) -> MemberId | None:
        """Whose device this is, by the verified directory; None for a guest's, or one that is not known yet."""
        return self._inside.directories.member_of(device)

    def readers(self, channel: ChannelId) -> tuple[DeviceId, ...]:
        """Every device that can read this channel, by its verified roster."""
        return self._inside.channel(channel).roster

    def history(self, channel: ChannelId, before: int = 2**53 - 1, limit: int = 50) -> tuple[Event, ...]:
        """Messages of the local copy below an offset, the newest of them, in order: `Message`,
        `Acknowledgement`, `ContextRequest`, `Unreadable`."""
        found = self._inside.channel(channel)
        teller = self._inside.teller(channel)
        events = (teller.retell(row) for row in self._inside.history.before(found.content, before, limit))
        return tuple(event for event in events if event is not None)

    def caught_up(self, channel: ChannelId) -> bool:
        """Whether the keys and everything up to the head are here. Until then a screen must not say "no messages"."""
        return self._inside.follow_of(channel).caught_up

    async def presence(self, channel: ChannelId) -> Presence:
        """Which devices of a channel are connected. Raises `Offline`."""
        online = await self._inside.who(channel)
        return Presence(frozenset(online.devices), online.as_of_ms, online.stale)

    # ---- messages

    async def send(
        self,
        channel: ChannelId,
        text: str,
        urgency: Urgency = Urgency.ROUTINE,
        *,
        reply_to: MessageId | None = None,
    ) -> Sent:
        """Write a message: on disk when this returns, sent as soon as there is a link.

        An urgent one repeats at its receivers every 15 s until each acknowledged it. Raises `ChannelUnknown`,
        `ChannelAlarmed`, `OutboxFull`, `BodyError` (empty or too long).
        """
        self._check(channel)
        repeat_s = REPEAT_S if urgency is Urgency.URGENT else 0
        content = Text(urgency, text, repeat_s, reply_to)
        message = self._inside.compose(channel, content, lane=Lane.LOG, urgency=urgency)
        return Sent(channel, message, self._inside)

    async def acknowledge(self, channel: ChannelId, message: MessageId) -> Sent:
        """Say before all that this person has taken note; the message stops sounding on their devices."""
        self._check(channel)
        return self._answer(channel, Acknowledged(message))

    def _answer(self, channel: ChannelId, said: Acknowledged) -> Sent:
        sent = self._inside.compose(channel, said, lane=Lane.LOG)
        self._inside.sounding.acknowledged(channel, self.member, said.message, said.read_back)
        return Sent(channel, sent, self._inside)

    def mark_read(self, channel: ChannelId, offset: int) -> None:
        """The person has seen everything up to this offset; told to the others within a second or so."""
        self._inside.channel(channel)
        self._inside.mark_soon(channel, offset)

    def waiting(self, channel: ChannelId) -> tuple[Waiting, ...]:
        """What a person wrote and the server has not accepted yet, refused messages included: shown as "not sent". Of a
        channel that this device has left as well: what was written there waits until it is let in again, or cancelled."""
        mark = state_key(StateKind.RECEIPT, self.device)
        waiting = self._inside.outbox.waiting(address(ChannelKind.CONTENT, channel))
        # Receipt marks wait in the same queue, and are nobody's message.
        return tuple(item for item in waiting if item.draft.key != mark)

    def cancel(self, message: MessageId) -> bool:
        """Take back a message that waits or was refused. False: it may have been sent already."""
        return self._inside.outbox.cancel(message)

    async def typing(self, channel: ChannelId, *, on: bool = True) -> None:
        """Tell that this person types; said at most once, never kept."""
        key = state_key(StateKind.TYPING, self.device)
        await self._inside.stream(channel, Typing(on), key)

    # ---- status and names

    async def set_status(
        self,
        channel: ChannelId,
        unit: UnitId,
        primary: PrimaryStatus,
        secondary: SecondaryStatus | None = None,
        *,
        note: str = "",
        destination: str = "",
        mark: Mark = Mark.NONE,
    ) -> Sent:
        """Say what a unit does. `mark` also tells the server's timeline, in the clear, where policy wants it."""
        self._check(channel)
        now_ms = self._inside.connection.server_now_ms()
        content = Status(unit, primary, secondary, now_ms, note, destination, mark)
        key = state_key(StateKind.STATUS, unit)
        message = self._inside.compose(channel, content, lane=Lane.STATE, key=key, mark=mark)
        return Sent(channel, message, self._inside)

    async def name_member(self, channel: ChannelId, member: MemberId, name: str) -> Sent:
        """Set a member's shown name, in the agency's channel."""
        self._check(channel)
        key = state_key(StateKind.NAME, member)
        message = self._inside.compose(channel, MemberName(member, name), lane=Lane.STATE, key=key)
        return Sent(channel, message, self._inside)

    async def name_unit(self, channel: ChannelId, unit: UnitId, name: str) -> Sent:
        """Set a unit's shown name, in the agency's channel."""
        self._check(channel)
        key = state_key(StateKind.NAME, unit)
        message = self._inside.compose(channel, UnitName(unit, name), lane=Lane.STATE, key=key)
        return Sent(channel, message, self._inside)

    # ---- incidents (spec 10)

    async def describe(self, channel: ChannelId, incident: Incident) -> Sent:
        """Say what an incident is, in its operations channel; replaces what was said before."""
        return self._write(
            channel, incident, Lane.STATE, state_key(StateKind.INCIDENT, incident.incident), Urgency.ROUTINE
        )

    async def assign(self, channel: ChannelId, unit: UnitId, priority: int, note: str = "") -> Sent:
        """Send a unit to the incident of this channel: sounds at its people until one acknowledges. Admit their devices
        first (`openings.admit`), or they cannot read it. What the incident is, as far as it is known here, is said anew
        before: the value that is kept was sealed before they came."""
        for change in self._inside.board(channel).incidents.values():
            await self.describe(channel, change.incident)
        return self._write(channel, Assignment(unit, priority, REPEAT_S, note))

    async def check_in(self, channel: ChannelId, unit: UnitId | None = None, fix: Fix | None = None) -> Sent:
        """Say that all is well; sounds at the others until one of them acknowledges."""
        return self._write(channel, CheckIn(unit, REPEAT_S, fix))

    async def duress(self, channel: ChannelId, unit: UnitId | None = None, fix: Fix | None = None) -> Sent:
        """Say that this person is in danger. Nothing sounds here; it stands at the others until another member than this one
        acknowledged it. The position goes with it, and is kept, where there is one."""
        sent = self._write(channel, Duress(unit, REPEAT_S, fix))
        if fix is not None:
            self.duress_position(channel, fix)
        return sent

    async def mark_timeline(
        self, channel: ChannelId, mark: Mark, unit: UnitId | None = None, note: str = ""
    ) -> Sent:
        """Keep a mark of the incident's timeline in its log."""
        return self._write(channel, TimelineMark(int(mark), unit, note), urgency=Urgency.ROUTINE)

    def _write(
        self,
        channel: ChannelId,
        content: Content,
        lane: Lane = Lane.LOG,
        key: bytes = b"",
        urgency: Urgency = Urgency.URGENT,
    ) -> Sent:
        self._check(channel)
        message = self._inside.compose(channel, content, lane=lane, key=key, urgency=urgency)
        return Sent(channel, message, self._inside)

    # ---- consults (spec 08); requesting and answering them: `consults`

    async def recommend(self, channel: ChannelId, text: str) -> Sent:
        """What the people on scene should do: sounds at everybody else of the consult until its unit has read it back."""
        return self._write(channel, Recommendation(text))

    async def read_back(self, channel: ChannelId, message: MessageId, text: str) -> Sent:
        """Say a recommendation again in one's own words, so that whoever gave it hears what was understood. Raises `BodyError`
        without words."""
        if not text.strip():
            raise BodyError
        self._check(channel)
        return self._answer(channel, Acknowledged(message, text))

    # ---- consent to a call (spec 09, "Bodies")

    async def record_consent(self, channel: ChannelId, consent: Consent) -> Sent:
        """Write down what a person agreed to, in a consult's channel: nobody sends media before. `Sent.id` is what
        `withdraw_consent` names."""
        return self._write(channel, consent, urgency=Urgency.ROUTINE)

    async def withdraw_consent(self, channel: ChannelId, consent: MessageId) -> Sent:
        """It is over: media reach none but the team, the psychiatrist and the interpreter from then on."""
        return self._write(channel, ConsentWithdrawn(consent), urgency=Urgency.IMPORTANT)

    # ---- position

    def start_sharing(self, channel: ChannelId, *, every_s: int = EVERY_S, coarse_m: int = 0) -> None:
        """Share this device's position in a channel, coarsened and paced here. Off until called; others see it. It ends
        with `stop_sharing`, when this device leaves the channel or its incident ends, and with this client."""
        self._check(channel)
        pacer = Pacer(every_s, coarse_m)
        # Others are told before anything is shared, or nothing is.
        self._keep_position(channel, pacer, sharing=True)
        self._sharing[channel] = pacer

    def stop_sharing(self, channel: ChannelId) -> None:
        """Stop; the last position stays, marked as no longer shared."""
        pacer = self._sharing.pop(channel, None)
        if pacer is not None and self._inside.open_here(channel):
            self._keep_position(channel, pacer, sharing=False)

    @property
    def sharing(self) -> frozenset[ChannelId]:
        """Where this device shares its position now."""
        for channel in [c for c in self._sharing if not self._inside.open_here(c)]:
            del self._sharing[channel]
        return frozenset(self._sharing)

    async def move(self, fix: Fix) -> int:
        """The device is here. Sent live where it is shared and due; returns in how many channels."""
        sent = 0
        for channel, pacer in tuple(self._sharing.items()):
            if channel not in self.sharing:
                continue  # ended, maybe while another channel was told
            now_s = self._inside.clock.monotonic_s()
            due = pacer.offer(fix, now_s)
            if pacer.keep_due(now_s):
                self._keep_position(channel, pacer, sharing=True)
            if due is not None:
                key = state_key(StateKind.POSITION, self.device)
                sent += await self._inside.stream(channel, LivePosition(due), key)
        return sent

    def duress_position(self, channel: ChannelId, fix: Fix | None = None) -> None:
        """Keep the position at once, marked: in danger, exactness and haste count more than pace."""
        pacer = self._sharing.get(channel)
        newest = fix or (None if pacer is None else pacer.newest)
        self._write_position(channel, LastPosition(pacer is not None, EVERY_S, True, newest))  # noqa: FBT003

    def _keep_position(self, channel: ChannelId, pacer: Pacer, *, sharing: bool) -> None:
        self._write_position(channel, LastPosition(sharing, pacer.every_s, False, pacer.newest))  # noqa: FBT003

    def _write_position(self, channel: ChannelId, last: LastPosition) -> None:
        key = state_key(StateKind.POSITION, self.device)
        self._inside.compose(channel, last, lane=Lane.STATE, key=key)

    # ---- attachments

    async def attach(
        self,
        channel: ChannelId,
        path: Path,
        *,
        media_type: str = "",
        caption: str = "",
        progressed: Progressed | None = None,
    ) -> Sent:
        """Send a file: its sealed chunks, then the message that names it. Call again to go on after a failure.

        Raises `ApiError`, `Refused` (`too_large`), and what `send` raises.
        """
        self._check(channel)
        attachment = await self._attachments.upload(
            channel, path, media_type=media_type, caption=caption, progressed=progressed
        )
        message = self._inside.compose(channel, attachment, lane=Lane.LOG)
        self._attachments.sent(channel, attachment)
        return Sent(channel, message, self._inside)

    async def fetch(
        self, attachment: Attachment, path: Path, *, progressed: Progressed | None = None
    ) -> None:
        """Fetch a file that a message names; `path` appears only when it is whole. Raises `ApiError`,
        `AttachmentDamaged`."""
        await self._attachments.download(attachment, path, progressed=progressed)

    # ---- who can read

    async def ask_for_context(self, channel: ChannelId, reason: str = "") -> Sent:
        """Ask the members to be given what was before this device came. A person decides."""
        self._check(channel)
        content = ContextWanted(0, reason)
        return Sent(channel, self._inside.compose(channel, content, lane=Lane.LOG), self._inside)

    def confirm_device(self, device: DeviceId) -> None:
        """A device under this person's name is theirs: sending goes on where it is a member."""
        self._inside.directories.confirm(device)
        self._inside.sending.nudge_all()

    def _check(self, channel: ChannelId) -> None:
        self._raise_end()
        stopped = self._inside.channel(channel).stopped
        if stopped:
            raise ChannelAlarmed(stopped)


__all__ = ["Leeside", "LeesideError", "Sent"]
