"""Making the next commit of a channel, with its boxes.

Roster entries that are revoked or expired by the newest directories drop out by themselves,
so whoever sends next also cleans up.  Spec chapter 04, "Commit" and "Boxes".
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from leeside_protocol.ids import AgencyId, ChannelId, DeviceId, IncidentId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.boxes import seal_box, some_classes, whole_epoch
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.opening.schedule import Random, commitment, epoch_keys, epoch_secret
from leeside_protocol.sealing.public.acceptance import (
    ChannelLine,
    Directories,
    Receipt,
    certificate_for,
    verify_commit,
)
from leeside_protocol.sealing.public.boxes import Box, BoxList, box_list_input
from leeside_protocol.sealing.public.commit import (
    NO_INCIDENT,
    AuthRecord,
    Commit,
    CommitReason,
    Head,
    Policy,
    RecordsEntry,
    RosterEntry,
    channel_id_of,
    encode_commit,
)
from leeside_protocol.sealing.public.device_key import NO_KID, DeviceKeyBook
from leeside_protocol.sealing.public.entries import (
    CLASSES,
    FULL_CLASS_MASK,
    OPERATIONS,
    SUITE_X25519,
    RecordsId,
    kid_of,
)
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.sealing.public.signed import KIND_COMMIT


@dataclass(frozen=True, slots=True)
class Seat:
    """A certified device to admit, with the classes it may see."""

    device_id: DeviceId
    agency_id: AgencyId
    class_mask: int = FULL_CLASS_MASK


@dataclass(frozen=True, slots=True)
class Genesis:
    """A channel to create.  The creator's own seat must be among `seats`."""

    seats: tuple[Seat, ...]
    policy: Policy
    compartment: int = OPERATIONS
    incident_id: IncidentId = NO_INCIDENT
    auth: tuple[AuthRecord, ...] = ()
    guests: tuple[RosterEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What the next commit changes; what is None or empty stays as it is.

    `guests` are entries that this committer vouches for.
    """

    reason: CommitReason
    admit: tuple[Seat, ...] = ()
    remove: frozenset[DeviceId] = frozenset()
    guests: tuple[RosterEntry, ...] = ()
    policy: Policy | None = None
    auth: tuple[AuthRecord, ...] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class MadeCommit:
    """A commit to post with its boxes.  It counts once the server says it stands; then the
    committer processes it like everyone, with its own box."""

    commit: Commit
    boxes: tuple[Box, ...]
    box_list: BoxList

    def box_for(self, recipient: bytes) -> Box | None:
        return next((b for b in self.boxes if b.recipient == recipient), None)


@dataclass(frozen=True, slots=True)
class Committer:
    """Who commits, and what it knows: its keys, the newest directories and DeviceKeys."""

    keys: DeviceKeys
    directories: Directories
    device_keys: DeviceKeyBook
    random: Random

    def create(self, genesis: Genesis, *, now_ms: int) -> MadeCommit:
        """The genesis of a new channel; `commit.channel_id` names it.

        Raises what `verify_commit` would: `E_AUTHZ`, `E_COMPARTMENT`, `E_AUTH`, ...
        """
        nonce = self.random(16)
        channel_id = channel_id_of(self.keys.device_id, genesis.incident_id, genesis.compartment, nonce)
        roster = {
            s.device_id: RosterEntry(s.device_id, s.agency_id, NO_KID, s.class_mask) for s in genesis.seats
        }
        roster.update({g.device_id: g for g in genesis.guests})
        return self._make(
            _Plan(
                ChannelLine(channel_id),
                None,
                CommitReason.CREATE,
                genesis.compartment,
                genesis.incident_id,
                nonce,
                roster,
                genesis.policy,
                genesis.auth,
                LogHead(),
            ),
            now_ms,
        )

    def commit(self, channel: SealedChannel, change: Change, *, now_ms: int) -> MadeCommit:
        """The commit that follows the channel's head.

        On a lost compare-and-set: process the winner, and if the change is still missing,
        call this again.  Raises what `verify_commit` would.
        """
        head = channel.head
        ts_ms = max(now_ms, head.ts_ms)
        stale = {s.recipient for s in channel.stale_members(self.directories, ts_ms)}
        roster = {
            e.device_id: e
            for e in head.roster
            if e.device_id not in stale and e.device_id not in change.remove
        }
        for seat in change.admit:
            roster[seat.device_id] = RosterEntry(seat.device_id, seat.agency_id, NO_KID, seat.class_mask)
        roster.update({g.device_id: g for g in change.guests})
        return self._make(
            _Plan(
                channel.line,
                channel.chain,
                change.reason,
                head.compartment,
                head.incident_id,
                b"",
                roster,
                change.policy or head.policy,
                head.auth if change.auth is None else change.auth,
                channel.seen.head,
            ),
            ts_ms,
        )

    def _make(self, plan: _Plan, ts_ms: int) -> MadeCommit:
        channel_id, epoch, prev_hash = plan.line.channel_id, plan.line.epoch + 1, plan.line.head_hash
        publics: dict[bytes, bytes] = {}
        roster = [self._keyed(plan.roster[device_id], ts_ms, publics) for device_id in sorted(plan.roster)]
        heads = self._heads(plan.policy)
        records = self._records(plan.policy, ts_ms, publics)
        secret = epoch_secret(self.random(32), plan.chain, channel_id, epoch, prev_hash)
        classes = epoch_keys(secret, channel_id, epoch, prev_hash).classes
        payload = encode_commit(
            suite=SUITE_X25519,
            channel_id=channel_id,
            epoch=epoch,
            prev_hash=prev_hash,
            committer=self.keys.device_id,
            ts_ms=ts_ms,
            reason=plan.reason,
            compartment=plan.compartment,
            incident_id=plan.incident_id,
            nonce=plan.nonce,
            roster=roster,
            records=records,
            heads=heads,
            commitments=[commitment(classes[c], c, channel_id, epoch) for c in CLASSES],
            auth=plan.auth,
            seen=plan.seen,
            policy=plan.policy,
        )
        signed = self.keys.identity.sign(KIND_COMMIT, self.keys.device_id, payload)
        commit = verify_commit(plan.line, signed, self.directories, Receipt(ts_ms))
        boxes: list[Box] = []
        for entry in roster:
            if entry.kid != NO_KID:
                whole = entry.gets_epoch_secret
                content = whole_epoch(secret) if whole else some_classes(classes, entry.class_mask)
                boxes.append(seal_box(commit, entry.device_id, entry.kid, publics[entry.device_id], content))
        for record in records:
            content = some_classes(classes, record.class_mask)
            boxes.append(seal_box(commit, record.records_id, record.kid, publics[record.records_id], content))
        boxes.sort(key=lambda b: b.recipient)
        hashes = tuple(b.hash for b in boxes)
        signature = self.keys.identity.sign_raw(box_list_input(commit, hashes))
        return MadeCommit(commit, tuple(boxes), BoxList(hashes, signature))

    def _keyed(self, entry: RosterEntry, ts_ms: int, publics: dict[bytes, bytes]) -> RosterEntry:
        """The entry with the kid to seal to; a device without a valid key is dormant."""
        if entry.guest is not None:
            publics[entry.device_id] = entry.guest.hpke_public
            return entry
        key = self.device_keys.current(entry.device_id, ts_ms)
        if key is None:
            # It must not block the others: it keeps its seat and is re-sealed on return.
            return replace(entry, kid=NO_KID)
        publics[entry.device_id] = key.public
        return replace(entry, kid=key.kid)

    def _heads(self, policy: Policy) -> list[Head]:
        heads: list[Head] = []
        for agency_id in policy.agencies:
            directory = self.directories.get(agency_id)
            if directory is None:
                raise SealingError(SealingCode.E_AGENCY, "agency not known here")
            heads.append(Head(agency_id, directory.seq, directory.head))
        return heads

    def _records(self, policy: Policy, ts_ms: int, publics: dict[bytes, bytes]) -> list[RecordsEntry]:
        records: list[RecordsEntry] = []
        for records_id in policy.records:
            for agency_id in policy.agencies:
                directory = self.directories[agency_id]
                key = directory.records_key(RecordsId(records_id))
                if key is not None and key.usable(directory.seq, ts_ms):
                    kid = kid_of(key.public)
                    records.append(RecordsEntry(records_id, agency_id, key.class_mask, kid))
                    publics[records_id] = key.public
                    break
        return records


@dataclass(frozen=True, slots=True, repr=False)
class _Plan:
    """All that a commit states, before keys are chosen."""

    line: ChannelLine
    chain: bytes | None
    reason: CommitReason
    compartment: int
    incident_id: IncidentId
    nonce: bytes
    roster: dict[DeviceId, RosterEntry]
    policy: Policy
    auth: tuple[AuthRecord, ...]
    seen: LogHead


def seats_of(directories: Directories, agency_id: AgencyId, device_ids: list[DeviceId]) -> tuple[Seat, ...]:
    """Full seats for devices of one agency; `E_UNKNOWN_DEVICE` for one not certified there."""
    for device_id in device_ids:
        if certificate_for(directories, agency_id, device_id) is None:
            raise SealingError(SealingCode.E_UNKNOWN_DEVICE, "device not certified")
    return tuple(Seat(d, agency_id) for d in device_ids)


def channel_for(made: MadeCommit, device_id: DeviceId) -> SealedChannel:
    """An empty view of a newly created channel; process its genesis next."""
    return SealedChannel(ChannelId(made.commit.channel_id), device_id)
