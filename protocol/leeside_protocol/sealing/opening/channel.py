"""A member's view of one channel: its verified chain, and the secrets it holds of it.

Everything that may change a channel's state goes through `SealedChannel`, and is
all-or-nothing.  Spec chapter 04, "Epochs".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.boxes import OpenedBox, open_box
from leeside_protocol.sealing.opening.frames import SID_BYTES, FrameReceiver, FrameSender, OpenedFrame
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.opening.schedule import ClassSecrets, Random, check_commitments
from leeside_protocol.sealing.public.acceptance import (
    ChannelLine,
    Directories,
    Receipt,
    certificate_for,
    roster_public_key,
    verify_commit,
)
from leeside_protocol.sealing.public.boxes import Box, BoxList, verify_box_list
from leeside_protocol.sealing.public.commit import Commit, CommitReason, RosterEntry, parse_commit
from leeside_protocol.sealing.public.device_key import NO_KID
from leeside_protocol.sealing.public.encoding import (
    Packable,
    as_bytes,
    as_list,
    as_uint,
    decode,
    encode,
)
from leeside_protocol.sealing.public.entries import CAP_SEND, DURABLE, EPHEMERAL, MEDIA
from leeside_protocol.sealing.public.seen import LogHead, Seen, SeenLog
from leeside_protocol.sealing.public.signed import Signed

REKEY_MS: Final = 4 * 3_600_000
REKEY_MESSAGES: Final = 2**16
SHORT_LIVED_MS: Final = 60_000
"""How long ephemeral and media secrets outlive their epoch."""
REKEY_STEP_MS: Final = 300
_EXPORT_VERSION: Final = 1
_MAX_EXPORT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came with a commit: one's own box, and what says who made it."""

    box: Box | None = None
    box_list: BoxList | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A commit was installed without the secrets it owed: ask any member to re-seal.

    `at_fault`: the box differs from the list that the committer signed (`server`), or is
    as the committer made it (`committer`), or nobody can tell.  When no member of that
    epoch can re-seal, any member, this one included, commits the next epoch.
    """

    code: SealingCode
    epoch: int
    at_fault: Literal["server", "committer", "unknown"]


@dataclass(frozen=True, slots=True)
class Installed:
    """A commit became the head.  `dormant`: it has no box, because no valid DeviceKey was out."""

    commit: Commit
    opened: bool
    dormant: bool
    alarm: Alarm | None


@dataclass(frozen=True, slots=True)
class StaleMember:
    """A roster device (or records key) that the next commit must drop, and why."""

    recipient: bytes
    code: SealingCode


class SealedChannel:
    """One channel on one device.  Owned by one caller; `export()` is secret."""

    def __init__(self, channel_id: ChannelId, device_id: DeviceId) -> None:
        self.device_id: Final = device_id
        self.line: Final = ChannelLine(channel_id)
        self.seen = SeenLog()
        self.fork_evidence: tuple[Signed, Signed] | None = None
        self._secrets: dict[int, ClassSecrets] = {}
        self._chain: bytes | None = None
        self._ended_ms: dict[int, int] = {}
        self._receiver = FrameReceiver(self.line, self._secrets)
        self._senders: dict[int, FrameSender] = {}
        self._messages = 0

    # -- looking ----------------------------------------------------------------------

    @property
    def channel_id(self) -> ChannelId:
        return self.line.channel_id

    @property
    def head(self) -> Commit:
        """The newest commit; `E_STATE` before genesis."""
        if self.line.head is None:
            raise SealingError(SealingCode.E_STATE, "no commit yet")
        return self.line.head

    @property
    def chain(self) -> bytes | None:
        """What the next commit mixes in; for `committer` alone."""
        return self._chain

    @property
    def entry(self) -> RosterEntry | None:
        """This device's own entry in the newest roster."""
        return None if self.line.head is None else self.line.head.entry(self.device_id)

    def secrets(self, epoch: int) -> ClassSecrets:
        """The class secrets held of an epoch: a copy, empty when none."""
        return dict(self._secrets.get(epoch, {}))

    def epochs_held(self, key_class: int = DURABLE) -> tuple[int, ...]:
        return tuple(sorted(e for e, s in self._secrets.items() if key_class in s))

    def stale_members(self, directories: Directories, now_ms: int) -> tuple[StaleMember, ...]:
        """Who in the roster is revoked or expired by the *newest* directories."""
        commit, found = self.head, list[StaleMember]()
        at_ms = max(now_ms, commit.ts_ms)
        for entry in commit.roster:
            code = _stale_code(entry, directories, at_ms)
            if code is not None:
                found.append(StaleMember(entry.device_id, code))
        for record in commit.records:
            directory = directories.get(record.agency_id)
            key = None if directory is None else directory.records_key(record.records_id)
            if directory is None or key is None or not key.usable(directory.seq, at_ms):
                found.append(StaleMember(record.records_id, SealingCode.E_RECORDS))
        return tuple(found)

    def can_send(self, directories: Directories, now_ms: int, key_class: int = DURABLE) -> None:
        """Refuse to seal to a roster that is no longer right.

        Raises `E_FORK` (stop here: alarm, voice, a new channel), `E_AUTHZ` (not a member,
        or may not), `E_REVOKED`, `E_EXPIRED` or `E_RECORDS` (commit the removal, then
        send: nobody waits for someone else), `E_NO_KEY` (ask for a re-seal, or commit).
        """
        commit, entry = self.head, self.entry
        if self.fork_evidence is not None:
            raise SealingError(SealingCode.E_FORK, "two branches of this channel")
        if entry is None or not entry.class_mask >> key_class & 1:
            raise SealingError(SealingCode.E_AUTHZ, "not a member for this class")
        if entry.guest is None:
            certificate = certificate_for(directories, entry.agency_id, self.device_id)
            if certificate is None or not certificate.caps & CAP_SEND:
                raise SealingError(SealingCode.E_AUTHZ, "may not send")
        for stale in self.stale_members(directories, now_ms):
            raise SealingError(stale.code, "a recipient is revoked or expired: commit first")
        if key_class not in self._secrets.get(commit.epoch, {}):
            raise SealingError(SealingCode.E_NO_KEY, "no secret of this epoch")

    def needs_rekey(self, directories: Directories, now_ms: int) -> CommitReason | None:
        """Why the next epoch is due, if it is: a stale recipient, four hours, 2^16 messages,
        or no secrets of an epoch that this device is a member of."""
        commit, entry = self.head, self.entry
        if entry is None or not entry.gets_epoch_secret:
            return None
        stale = self.stale_members(directories, now_ms)
        if any(s.code is SealingCode.E_REVOKED or s.code is SealingCode.E_RECORDS for s in stale):
            return CommitReason.REVOKE
        if stale:
            return CommitReason.MEMBER
        if now_ms - commit.ts_ms >= REKEY_MS or self._messages >= REKEY_MESSAGES:
            return CommitReason.PERIODIC
        return None if self._secrets.get(commit.epoch) else CommitReason.PERIODIC

    def rekey_delay_ms(self, online: frozenset[DeviceId], jitter_ms: int) -> int:
        """How long to wait before committing what anyone may: own rank among those online x 300 ms."""
        able = [e.device_id for e in self.head.roster if e.gets_epoch_secret]
        rank = sum(d in online for d in able if d < self.device_id)
        return rank * REKEY_STEP_MS + jitter_ms

    # -- commits ----------------------------------------------------------------------

    def process_commit(
        self,
        signed: Signed,
        delivery: Delivery,
        keys: DeviceKeys,
        directories: Directories,
        *,
        now_ms: int,
        receipt: Receipt | None = None,
    ) -> Installed:
        """Verify the next commit, open one's own box, and make it the head.

        `receipt` is `Receipt(now_ms, book)` on live receipt; None replays stored history.
        Raises as `verify_commit` does, and then nothing changed, except that `E_FORK`
        keeps both signed branches in `fork_evidence` and stops sending.  A missing or bad
        box does not raise: the chain advances without secrets, and `alarm` says so.
        """
        try:
            commit = verify_commit(self.line, signed, directories, receipt or Receipt())
        except SealingError as error:
            if error.code is SealingCode.E_FORK:
                taken = self.line.commits[parse_commit(signed).epoch]
                self.fork_evidence = (taken.signed, signed)
            raise
        entry = commit.entry(self.device_id)
        opened, alarm, dormant = None, None, False
        if entry is not None and entry.kid == NO_KID:
            dormant = True
        elif entry is not None:
            opened, alarm = self._open_delivery(commit, entry, delivery, keys, directories)
        before = self.line.head
        self.line.install(commit)
        if before is not None:
            self._ended_ms[before.epoch] = now_ms
        self._chain = None if opened is None else opened.chain
        if opened is not None:
            self._secrets[commit.epoch] = dict(opened.classes)
        self._senders.clear()
        self._messages = 0
        self.forget_short_lived(now_ms)
        return Installed(commit, opened is not None, dormant, alarm)

    def _open_delivery(
        self,
        commit: Commit,
        entry: RosterEntry,
        delivery: Delivery,
        keys: DeviceKeys,
        directories: Directories,
    ) -> tuple[OpenedBox | None, Alarm | None]:
        listed = self._list_holds(commit, delivery, directories)
        box = delivery.box
        if box is None:
            # The committer signed as many boxes as there are recipients, so one is withheld.
            return None, Alarm(SealingCode.E_BOX, commit.epoch, "server" if listed else "unknown")
        # The suite comes from the wire as it is, and only a number in bounds can be hashed.
        in_list = (
            listed
            and delivery.box_list is not None
            and box.suite == commit.suite
            and box.hash in delivery.box_list.hashes
        )
        try:
            if box.recipient != self.device_id or box.kid != entry.kid:
                raise SealingError(SealingCode.E_BOX, "another recipient's box")
            opened = open_box(
                commit,
                box,
                keys.held(entry.kid),
                class_mask=entry.class_mask,
                whole=entry.gets_epoch_secret,
            )
        except SealingError as error:
            unknown = error.code is SealingCode.E_NO_KEY or delivery.box_list is None
            fault: Literal["server", "committer", "unknown"] = (
                "unknown" if unknown else "committer" if in_list else "server"
            )
            return None, Alarm(error.code, commit.epoch, fault)
        if delivery.box_list is not None and not in_list:
            # The secrets are right, and still the list was changed on its way.
            return opened, Alarm(SealingCode.E_BOXLIST, commit.epoch, "server")
        return opened, None

    @staticmethod
    def _list_holds(commit: Commit, delivery: Delivery, directories: Directories) -> bool:
        if delivery.box_list is None:
            return False
        try:
            public = _committer_public(commit, directories)
            verify_box_list(commit, delivery.box_list, public)
        except SealingError as error:
            if error.code not in (SealingCode.E_BOXLIST, SealingCode.E_UNKNOWN_DEVICE):
                raise
            return False
        return True

    def add_secrets(self, epoch: int, secrets: ClassSecrets) -> None:
        """Take granted secrets of an epoch; `E_COMMITMENT` unless they are those signed then."""
        commit = self.line.commits.get(epoch)
        if commit is None:
            raise SealingError(SealingCode.E_UNKNOWN_EPOCH, "commit not known here")
        check_commitments(commit, secrets)
        self._secrets.setdefault(epoch, {}).update(secrets)

    # -- frames -----------------------------------------------------------------------

    def seal(
        self,
        body: Body,
        keys: DeviceKeys,
        directories: Directories,
        *,
        now_ms: int,
        random: Random,
        key_class: int = DURABLE,
    ) -> bytes:
        """The frame of a body in the newest epoch; raises as `can_send` does."""
        self.can_send(directories, now_ms, key_class)
        sender = self._senders.get(key_class)
        if sender is None:
            sender = FrameSender(
                keys.identity,
                self.device_id,
                self.head,
                self._secrets[self.head.epoch],
                key_class=key_class,
                sid=random(SID_BYTES),
            )
            self._senders[key_class] = sender
        frame = sender.seal(body)
        self._messages += key_class == DURABLE
        return frame

    def open(self, frame: bytes, directories: Directories, *, again: bool = False) -> OpenedFrame:
        """The verified content of a frame; see `FrameReceiver.open`."""
        opened = self._receiver.open(frame, directories, again=again)
        if opened.header.key_class == DURABLE and not again and not opened.old_epoch:
            self._messages += 1
        return opened

    def compare_seen(self, claim: LogHead) -> Seen:
        """Compare a member's claim about the log; `E_LOG_FORK` is the fork alarm."""
        return self.seen.compare(claim)

    # -- forgetting -------------------------------------------------------------------

    def forget_short_lived(self, now_ms: int) -> int:
        """Delete ephemeral and media secrets of epochs that ended 60 s ago or more; how many.

        Call it once a minute; each commit calls it too.
        """
        gone = 0
        for epoch, ended_ms in self._ended_ms.items():
            secrets = self._secrets.get(epoch)
            if secrets is not None and ended_ms + SHORT_LIVED_MS <= now_ms:
                for key_class in (EPHEMERAL, MEDIA):
                    gone += secrets.pop(key_class, None) is not None
        self._ended_ms = {e: ms for e, ms in self._ended_ms.items() if self._secrets.get(e)}
        self._receiver.forget_keys()
        return gone

    def forget_durable(self, before_epoch: int) -> int:
        """Delete all secrets of epochs before `before_epoch` (retention); how many epochs."""
        gone = [epoch for epoch in self._secrets if epoch < before_epoch]
        for epoch in gone:
            del self._secrets[epoch]
        self._receiver.forget_keys()
        return len(gone)

    def forget_all(self) -> None:
        """Delete every secret: the incident's keys were archived, or this device was removed."""
        self._secrets.clear()
        self._chain = None
        self._senders.clear()
        self._receiver.forget_keys()

    # -- keeping ----------------------------------------------------------------------

    def export(self) -> bytes:
        """Chain, secrets and replay state, for a keystore that encrypts them at rest.

        Sender instances are not in it: after a restart each starts anew with a random sid.
        """
        commits = sorted(self.line.commits.items())
        secrets: list[Packable] = [
            [epoch, [[c, s] for c, s in sorted(held.items())]] for epoch, held in self._secrets.items()
        ]
        evidence = self.fork_evidence
        fields: list[Packable] = [
            _EXPORT_VERSION,
            self.channel_id,
            self.device_id,
            [c.signed.encode() for _, c in commits],
            secrets,
            self._chain,
            [[epoch, ended] for epoch, ended in self._ended_ms.items()],
            self._receiver.export(),
            self.seen.export(),
            None if evidence is None else [evidence[0].encode(), evidence[1].encode()],
            self._messages,
        ]
        return encode(fields)

    @classmethod
    def restore(cls, data: bytes) -> SealedChannel:
        """What `export` wrote; `E_ENCODING` or `E_STATE` when it is not that."""
        values = as_list(list(decode(data, max_bytes=_MAX_EXPORT_BYTES)), 11)
        if as_uint(values[0]) != _EXPORT_VERSION:
            raise SealingError(SealingCode.E_STATE, "unknown export version")
        channel = cls(ChannelId(as_bytes(values[1], 16)), DeviceId(as_bytes(values[2], 16)))
        for item in as_list(values[3]):
            channel.line.install(parse_commit(Signed.decode(as_bytes(item))))
        for item in as_list(values[4]):
            epoch, held = as_list(item, 2)
            channel._secrets[as_uint(epoch)] = {
                as_uint(c): as_bytes(s, 32) for c, s in (as_list(pair, 2) for pair in as_list(held))
            }
        channel._chain = None if values[5] is None else as_bytes(values[5], 32)
        for item in as_list(values[6]):
            epoch, ended = as_list(item, 2)
            channel._ended_ms[as_uint(epoch)] = as_uint(ended)
        channel._receiver.restore(values[7])
        heads = [as_list(item, 2) for item in as_list(values[8])]
        channel.seen = SeenLog.restore([LogHead(as_uint(n), as_bytes(h, 32)) for n, h in heads])
        if values[9] is not None:
            one, other = (Signed.decode(as_bytes(v)) for v in as_list(values[9], 2))
            channel.fork_evidence = (one, other)
        channel._messages = as_uint(values[10])
        return channel


def _committer_public(commit: Commit, directories: Directories) -> bytes:
    """The committer's key; one who left is no longer in the roster, but is in a directory."""
    if commit.entry(commit.committer) is not None:
        return roster_public_key(commit, commit.committer, directories)
    for head in commit.heads:
        certificate = certificate_for(directories, head.agency_id, commit.committer)
        if certificate is not None:
            return certificate.public
    raise SealingError(SealingCode.E_UNKNOWN_DEVICE, "committer not certified")


def _stale_code(entry: RosterEntry, directories: Directories, now_ms: int) -> SealingCode | None:
    if entry.guest is not None:
        return SealingCode.E_EXPIRED if entry.guest.not_after_ms < now_ms else None
    certificate = certificate_for(directories, entry.agency_id, entry.device_id)
    if certificate is None:
        return SealingCode.E_UNKNOWN_DEVICE
    if certificate.revoked_seq is not None:
        return SealingCode.E_REVOKED
    return SealingCode.E_EXPIRED if now_ms > certificate.not_after_ms else None
