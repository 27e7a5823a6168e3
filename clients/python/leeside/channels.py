"""One sealed channel on this device: its verified chain of members and keys, what it opens, what it may send.

Theory of operation. `SealedChannel` (the protocol's) decides and holds secrets; this module feeds it: it fetches
boxes and missing commits, replays what the log brings, commits when this device must, and turns every broken rule
into an `Alarm`. Whoever sends next cleans up first: a revoked or expired device is dropped by a commit of the
sender's own before anything is sealed, so nobody waits for somebody else. Two commits for one epoch cannot both
stand: the server stores one, and the loser adopts it and makes its change again if it is still missing.

All that changes a channel happens under its lock, so that what is awaited in between cannot be overtaken.

A server may say of a missing box that retention took it, because nothing of its epoch is kept (spec 04, "Boxes"). That
word is taken until it is seen to be false: a frame of that epoch, or its keys needed for sending, raise the alarm.

Notes written: `unboxed <channel>`: the epochs of which that was said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

import msgspec

from leeside.api import ApiError
from leeside.errors import ChannelAlarmed, NotPermitted, Refused
from leeside.events import Alarm, AlarmKind, MemberChange
from leeside.home import Home
from leeside.outbox import Draft
from leeside.reading import Reader, Reading
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ChannelKind, DeviceId, address
from leeside_protocol.messages import Entry
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.body import Body, decode_body
from leeside_protocol.sealing.opening.channel import Delivery, Installed, SealedChannel
from leeside_protocol.sealing.opening.committer import Change, Committer, MadeCommit, Seat
from leeside_protocol.sealing.opening.grants import accept_grant, make_grant
from leeside_protocol.sealing.public.acceptance import Receipt
from leeside_protocol.sealing.public.archive import is_archive
from leeside_protocol.sealing.public.boxes import Box, BoxList
from leeside_protocol.sealing.public.commit import CommitReason, parse_commit
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.sealing.public.grant import SealedGrant, parse_grant
from leeside_protocol.sealing.public.seen import LogHead, SeenLog
from leeside_protocol.sealing.public.signed import Signed

COMMIT_ATTEMPTS: Final = 8
_BOXES_PAGE: Final = 500
_CLEAN_UP: Final = {
    SealingCode.E_REVOKED: CommitReason.REVOKE,
    SealingCode.E_RECORDS: CommitReason.REVOKE,
    SealingCode.E_EXPIRED: CommitReason.MEMBER,
    SealingCode.E_UNKNOWN_DEVICE: CommitReason.MEMBER,
    SealingCode.E_NO_KEY: CommitReason.PERIODIC,
}
"""What keeps a member from sending that a commit of its own puts right, and the commit's reason."""


class Channel:
    """One channel. Restored from the history; empty before its genesis was received."""

    def __init__(self, channel: ChannelId, home: Home) -> None:
        self.id: Final = channel
        self.content: Final = address(ChannelKind.CONTENT, channel)
        self.epochs: Final = address(ChannelKind.EPOCHS, channel)
        self.grants: Final = address(ChannelKind.GRANTS, channel)
        self._home = home
        self._lock = asyncio.Lock()
        self._reader: Final = Reader(self, home)
        self._broken = ""
        self._looking = ""
        self._forgotten: set[int] = set()
        self._unboxed = _read_epochs(home.history.note(_unboxed_note(channel)))
        self.advanced: Final = asyncio.Event()
        """Set whenever keys were gained: frames on hold may open now."""
        kept = home.history.channel(channel)
        if kept is None:
            self.sealed = SealedChannel(channel, home.keys.device_id)
        else:
            self.sealed = SealedChannel.restore(kept[1])
        seen = home.history.place(self.content).seen or LogHead()
        if self.sealed.seen.head != seen:
            self.sealed.seen = SeenLog(seen)

    @property
    def epoch(self) -> int:
        """The newest epoch verified here; -1 before genesis."""
        return self.sealed.line.epoch

    @property
    def roster(self) -> tuple[DeviceId, ...]:
        """Who can read: the devices of the newest roster, records keys not included."""
        head = self.sealed.line.head
        return () if head is None else tuple(entry.device_id for entry in head.roster)

    @property
    def member(self) -> bool:
        """Whether this device is in the newest roster."""
        return self.sealed.entry is not None

    @property
    def stopped(self) -> str:
        """Why nothing is sent here until a person decided; empty when all is well."""
        if self.sealed.fork_evidence is not None:
            return SealingCode.E_FORK
        if self._home.directories.forked:
            return SealingCode.E_DIR_FORK
        if self._home.directories.ghosts.intersection(self.roster):
            return "ghost_device"
        return self._broken or self._looking

    # ---- commits

    async def take_epochs(self, entries: Iterable[Entry], *, live: bool) -> None:
        """Commits that the log brought. Raises `ApiError` when boxes cannot be fetched: take them again."""
        async with self._lock:
            await self._install_all([(e.offset - 1, e.payload) for e in entries if e.payload], live=live)

    async def sync(self) -> None:
        """Fetch commits that are not here yet, over HTTP. Raises `ApiError`."""
        async with self._lock:
            await self._sync()

    async def look_again(self) -> bool:
        """A commit was refused, and a person wants to go on: fetch the chain anew from the last epoch that holds.
        True when what the server shows now holds; else it stays stopped, and the alarm was raised again.

        Raises `ApiError`, and then nothing changed. A fork stays one: two signed branches do not go away.
        """
        async with self._lock:
            self._looking, self._broken = self._broken, ""
            try:
                await self._sync()
            except BaseException:
                self._broken = self._broken or self._looking
                raise
            finally:
                self._looking = ""
            return not self.stopped

    async def _sync(self) -> None:
        while True:
            batch = await self._home.api.log(self.epochs, self.epoch + 1)
            before = self.epoch
            await self._install_all(
                [(e.offset - 1, e.payload) for e in batch.entries if e.payload], live=False
            )
            if self.epoch == before:
                return

    async def _install_all(self, commits: list[tuple[int, bytes]], *, live: bool) -> None:
        new = [epoch for epoch, _ in commits if epoch > self.epoch]
        boxes = await self._boxes(new[0], len(new)) if new else {}
        changed = False
        try:
            for epoch, data in commits:
                try:
                    signed = Signed.decode(data)
                except SealingError as error:
                    self._refuse(error)
                    break
                changed |= await self._install(signed, boxes.get(epoch, Delivery()), live=live)
                if self._broken:
                    break
        finally:
            # What was installed is kept even when what follows cannot be fetched now: the next try finds it here.
            if changed:
                self.keep()

    async def _boxes(self, from_epoch: int, count: int) -> dict[int, Delivery]:
        found: dict[int, Delivery] = {}
        while count > 0:
            try:
                page = await self._home.api.boxes(self.id, from_epoch, min(count, _BOXES_PAGE))
            except ApiError as error:
                if error.told and error.code in {WireError.NOT_FOUND, WireError.FORBIDDEN}:
                    # Removed meanwhile: the chain is still verified, without secrets.
                    return found
                raise
            for item in page:
                box = (
                    None
                    if item.box is None
                    else Box(item.box.recipient, item.box.kid, item.box.suite, item.box.sealed)
                )
                found[item.epoch] = Delivery(box, BoxList(item.box_hashes, item.box_list_sig))
                if box is None and not item.box_hashes and not item.box_list_sig:
                    self._forgotten.add(item.epoch)
            if not page:
                return found
            from_epoch, count = page[-1].epoch + 1, count - len(page)
        return found

    async def _install(self, signed: Signed, delivery: Delivery, *, live: bool) -> bool:
        """Process one commit; False when it stood already or was refused (which is reported)."""
        receipt = Receipt(self._home.now_ms()) if live else Receipt()
        fetched = False
        while True:
            try:
                installed = self._process(signed, delivery, receipt)
            except SealingError as error:
                if error.code is SealingCode.E_DUPLICATE:
                    return False
                if error.code is SealingCode.E_DIR_BEHIND and not fetched:
                    fetched = True
                    await self._home.directories.sync()
                    continue
                if self._came_late(signed, receipt, error):
                    receipt = Receipt()
                    continue
                self._refuse(error)
                return False
            self._installed(installed)
            return True

    def _came_late(self, signed: Signed, receipt: Receipt, error: SealingError) -> bool:
        """A push that was under way for long (this machine slept) is history by now; as such it has no clock."""
        if error.code is not SealingCode.E_CLOCK or receipt.now_ms is None:
            return False
        return parse_commit(signed).ts_ms < receipt.now_ms

    def _process(self, signed: Signed, delivery: Delivery, receipt: Receipt) -> Installed:
        before = frozenset(self.roster)
        home = self._home
        installed = self.sealed.process_commit(
            signed, delivery, home.keys, home.directories.by_agency, now_ms=home.now_ms(), receipt=receipt
        )
        commit = installed.commit
        after = frozenset(self.roster)
        home.emit(
            self.id,
            MemberChange(
                self.id, commit.epoch, commit.committer, after - before, before - after, commit.ts_ms
            ),
        )
        return installed

    def _installed(self, installed: Installed) -> None:
        self._reader.claim(installed.commit.committer, installed.commit.seen)
        alarm = installed.alarm
        if alarm is not None:
            if alarm.code is SealingCode.E_BOX and alarm.epoch in self._forgotten:
                self._keep_unboxed(self._unboxed | {alarm.epoch})
            else:
                self._home.report(Alarm(self.id, AlarmKind.WITHHELD, alarm.code, stops_sending=False))
        self.advanced.set()

    def missed(self, epoch: int) -> None:
        """The keys of an epoch are wanted and not held: an alarm when the server said that nobody needs them."""
        if epoch in self._unboxed:
            self._keep_unboxed(self._unboxed - {epoch})
            self._home.report(Alarm(self.id, AlarmKind.WITHHELD, SealingCode.E_BOX, stops_sending=False))

    def _keep_unboxed(self, epochs: frozenset[int]) -> None:
        self._unboxed = epochs
        self._home.history.keep_note(_unboxed_note(self.id), msgspec.msgpack.encode(sorted(epochs)))

    def _refuse(self, error: SealingError) -> None:
        """A commit breaks a rule. The chain cannot go on here, so nothing may be sealed to its old members."""
        kinds = {
            SealingCode.E_FORK: AlarmKind.FORK,
            SealingCode.E_DIR_FORK: AlarmKind.DIRECTORY_FORK,
            SealingCode.E_DIR_BEHIND: AlarmKind.WITHHELD,
        }
        kind = kinds.get(error.code, AlarmKind.REFUSED_COMMIT)
        self._broken = error.code
        if error.code is SealingCode.E_FORK:
            # Both branches, before anything else: no crash takes the evidence, nor the stop.
            self.keep()
        self._home.report(Alarm(self.id, kind, error.code, stops_sending=True))

    # ---- what this device commits

    async def commit(self, plan: Callable[[], Change | None]) -> bool:
        """Commit what `plan` asks for, on whatever head there is then. False when nothing was left to do.

        Raises `ChannelAlarmed`, `NotPermitted`, `Refused`, and `ApiError` when the server cannot be reached:
        whether the commit stands is then unknown, and the log will tell.
        """
        async with self._lock:
            for _ in range(COMMIT_ATTEMPTS):
                self._check_alarms()
                change = plan()
                if change is None:
                    return False
                self.missed(self.epoch)
                if await self._post(change):
                    return True
            raise Refused(WireError.CONFLICT, "others kept changing this channel")

    async def _post(self, change: Change) -> bool:
        home = self._home
        await home.directories.sync()
        await home.directories.learn_keys()
        committer = Committer(home.keys, home.directories.by_agency, home.directories.book, home.random)
        try:
            made = committer.commit(self.sealed, change, now_ms=home.now_ms())
        except SealingError as error:
            raise NotPermitted(error.code) from None
        post = commit_post(made)
        try:
            await home.api.post_commit(self.id, post)
        except ApiError as error:
            return await self._lost(error)
        home.history.keep_posted(self.id, made.commit.epoch, msgspec.msgpack.encode(post))
        delivery = Delivery(made.box_for(home.keys.device_id), made.box_list)
        if await self._install(made.commit.signed, delivery, live=False):
            self.keep()
        return True

    async def _lost(self, error: ApiError) -> bool:
        """Another commit was first, or the server knows more than we do: adopt it and say "not yet"."""
        stale_views = {
            SealingCode.E_DIR_BEHIND,
            SealingCode.E_REVOKED,
            SealingCode.E_DEVKEY,
            SealingCode.E_CHAIN,
        }
        if error.code in {WireError.CONFLICT, WireError.STALE} or error.sealing_code in stale_views:
            await self._home.directories.sync()
            await self._sync()
            return False
        if error.code.may_retry:
            raise error
        raise Refused(error.code, error.detail or error.sealing_code)

    async def admit(self, devices: Iterable[DeviceId]) -> bool:
        """Let certified devices of this agency in. They read from the next message on."""
        wanted = frozenset(devices)
        agency = self._home.directories.agency

        def plan() -> Change | None:
            missing = sorted(wanted.difference(self.roster))
            seats = tuple(Seat(device, agency) for device in missing)
            return Change(CommitReason.MEMBER, admit=seats) if seats else None

        return await self.commit(plan)

    async def remove(self, devices: Iterable[DeviceId]) -> bool:
        """Take devices out. They can read what they have read, and nothing from now on."""
        unwanted = frozenset(devices)

        def plan() -> Change | None:
            there = unwanted.intersection(self.roster)
            return Change(CommitReason.MEMBER, remove=there) if there else None

        return await self.commit(plan)

    async def rekey(self, reason: CommitReason = CommitReason.PERIODIC) -> bool:
        """New keys for the same members, less those revoked or expired."""
        epoch = self.epoch
        return await self.commit(lambda: Change(reason) if self.epoch == epoch else None)

    async def rekey_if_due(self) -> bool:
        """Commit when a member was revoked, time or count is up, or keys are missing here."""

        def plan() -> Change | None:
            reason = self.rekey_due()
            return None if reason is None else Change(reason)

        return plan() is not None and await self.commit(plan)

    def rekey_due(self) -> CommitReason | None:
        """Why the next epoch is due, if it is."""
        if self.epoch < 0 or self.stopped:
            return None
        return self.sealed.needs_rekey(self._home.directories.by_agency, self._home.now_ms())

    # ---- sending

    async def prepare(self, key_class: int = DURABLE) -> None:
        """Put right what keeps this device from sending. Raises `ChannelAlarmed`, `NotPermitted`, `Refused`,
        `ApiError`."""
        for _ in range(COMMIT_ATTEMPTS):
            self._check_alarms()
            try:
                self._can_send(key_class)
            except SealingError as error:
                reason = _CLEAN_UP.get(error.code)
                if error.code is SealingCode.E_FORK:
                    raise ChannelAlarmed(error.code) from None
                if reason is None:
                    raise NotPermitted(error.code) from None
            else:
                return
            await self.commit(lambda reason=reason: self._clean_up(key_class, reason))  # type: ignore[misc]
        raise Refused(WireError.CONFLICT, "others kept changing this channel")

    def _can_send(self, key_class: int) -> None:
        self.sealed.can_send(self._home.directories.by_agency, self._home.now_ms(), key_class)

    def _clean_up(self, key_class: int, reason: CommitReason) -> Change | None:
        try:
            self._can_send(key_class)
        except SealingError:
            return Change(reason)
        return None

    def seal(self, draft: Draft, key_class: int = DURABLE) -> tuple[bytes, int]:
        """The frame of a composed body in the newest epoch, and that epoch. Call `prepare` before, with nothing
        awaited in between. Raises `SealingError` as `can_send` does."""
        self._check_alarms()
        body = decode_body(draft.body)
        if key_class == DURABLE and self.sealed.seen.head.seq > 0:
            body = replace(body, seen=self.sealed.seen.head)
        home = self._home
        frame = self.sealed.seal(
            body,
            home.keys,
            home.directories.by_agency,
            now_ms=home.now_ms(),
            random=home.random,
            key_class=key_class,
        )
        return frame, self.epoch

    def _check_alarms(self) -> None:
        if self.stopped:
            raise ChannelAlarmed(self.stopped)

    # ---- opening

    def read(self, entry: Entry) -> Reading:
        """Open one entry of the content log, in the order of offsets: see `Reader.read`."""
        return self._reader.read(entry)

    def give_up(self, entry: Entry) -> Reading:
        """The keys did not come in time: keep the frame, say "cannot decrypt"."""
        return self._reader.give_up(entry)

    def reopen(self) -> Iterator[tuple[Reading, ...]]:
        """Try the frames that could not be opened before; those that opened now, page by page."""
        return self._reader.reopen()

    def open_stream(self, device: DeviceId, frame: bytes) -> Body:
        """The body of a stream value. Raises `SealingError`; it is then dropped, the next will do."""
        opened = self.sealed.open(frame, self._home.directories.by_agency)
        if opened.header.sender != device:
            raise SealingError(SealingCode.E_AUTHZ, "another device's frame")
        return opened.body

    # ---- earlier context

    async def grant(self, to: DeviceId, epochs: tuple[int, ...]) -> None:
        """Give a member the durable keys of earlier epochs. Raises `NotPermitted`, `ApiError`."""
        home = self._home
        await home.directories.learn_keys()
        async with self._lock:
            try:
                made = make_grant(
                    self.sealed,
                    home.keys,
                    to=to,
                    epochs=epochs,
                    class_mask=1 << DURABLE,
                    directories=home.directories.by_agency,
                    device_keys=home.directories.book,
                    now_ms=home.now_ms(),
                )
            except SealingError as error:
                raise NotPermitted(error.code) from None
            signed = made.signed
            grant = r.SignedObject(signed.payload, signed.signer, signed.signature)
            await home.api.post_grant(self.id, r.GrantPost(grant, made.suite, made.box))

    async def take_grants(self, entries: Iterable[Entry]) -> tuple[int, ...]:
        """Grants that the log brought: the epochs given to this device. Raises `ApiError`."""
        given: list[int] = []
        for entry in entries:
            # Archives of an ended incident stand in this log, too; they are the custodian's.
            if entry.payload and not is_archive(entry.payload):
                given.extend(await self._take_grant(entry.payload))
        if given:
            self.keep()
            self.advanced.set()
        return tuple(given)

    async def _take_grant(self, data: bytes) -> tuple[int, ...]:
        home = self._home
        fetched = False
        while True:
            try:
                sealed = SealedGrant.decode(data)
                grant = parse_grant(sealed.signed)
                if grant.to != home.keys.device_id:
                    return ()
                if grant.epoch > self.epoch and not fetched:
                    fetched = True
                    await self.sync()
                    continue
                return accept_grant(self.sealed, sealed, home.keys, home.directories.by_agency)
            except SealingError as error:
                home.report(Alarm(self.id, AlarmKind.WITHHELD, error.code, stops_sending=False))
                return ()

    # ---- keeping

    def keep(self) -> None:
        """Write chain and secrets down."""
        generation = self._home.history.place(self.epochs).position.generation
        self._home.history.keep_channel(self.id, generation, self.sealed.export())

    def forget(self) -> None:
        """Delete every secret of this channel, here and on disk; its verified chain of members stays."""
        self.sealed.forget_all()
        self.keep()

    def begin_again(self) -> None:
        """The content log's history is another one: forget the running hash of the old one."""
        self.sealed.seen = SeenLog()
        self._reader.begin_again()

    async def post_lost_commits(self, server_epochs: int) -> int:
        """The store lost commits (a restored backup): post again those that this device made. Returns how many
        stand again. `server_epochs` is how many the server has."""
        stood = 0
        for _, data in self._home.history.posted(self.id, server_epochs):
            try:
                await self._home.api.post_commit(self.id, msgspec.msgpack.decode(data, type=r.CommitPost))
            except ApiError as error:
                if error.code.may_retry:
                    raise
                break
            stood += 1
        return stood


def _unboxed_note(channel: ChannelId) -> str:
    return f"unboxed {channel.hex()}"


def _read_epochs(note: bytes | None) -> frozenset[int]:
    return frozenset() if note is None else frozenset(msgspec.msgpack.decode(note, type=list[int]))


def commit_post(made: MadeCommit) -> r.CommitPost:
    """A commit with its boxes, as HTTP carries it."""
    signed = made.commit.signed
    return r.CommitPost(
        r.SignedObject(signed.payload, signed.signer, signed.signature),
        tuple(r.Box(box.recipient, box.kid, box.suite, box.sealed) for box in made.boxes),
        made.box_list.signature,
    )
