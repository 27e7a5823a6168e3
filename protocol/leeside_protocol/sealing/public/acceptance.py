"""The rules by which a commit is accepted, each with its code.

Server and members apply the same table: the server before it stores a commit (one invalid
commit would otherwise win the compare-and-set and brick the channel), members before they
install it.  Authorisation is the head roster minus revocations, nothing else.
Spec chapter 04, "Acceptance".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from leeside_protocol.ids import AgencyId, ChannelId, DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.commit import (
    Commit,
    RecordsEntry,
    RosterEntry,
    channel_id_of,
    parse_commit,
)
from leeside_protocol.sealing.public.curve import low_order, weak_identity
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import CLOCK_BOUND_MS, Certificate, Directory
from leeside_protocol.sealing.public.encoding import ZERO32
from leeside_protocol.sealing.public.entries import (
    CAP_ADMIT,
    CAP_CREATE,
    CAP_GRANT,
    CAP_POLICY,
    CAP_REMOVE,
    CLINICAL,
    MEDIA,
    RECORD,
    SUBSTANCE_USE,
    device_id_of,
    kid_of,
)
from leeside_protocol.sealing.public.signed import KIND_COMMIT, Signed, verify_signed

GUEST_LIFETIME_MS: Final = 4 * 3_600_000
MEDIA_MASK: Final = 1 << MEDIA
AUTH_COMPARTMENTS: Final = frozenset({CLINICAL, RECORD, SUBSTANCE_USE})

Directories = Mapping[AgencyId, Directory]


class Receipt(msgspec.Struct, frozen=True):
    """How a commit comes in, which decides what is compared with the present.

    `Receipt()` replays stored history: no clock.  `Receipt(now_ms, keys)` is live receipt
    by a member; `keys` may be None when the DeviceKeys are not at hand.
    `Receipt(now_ms, keys, storing=True)` is the server's: besides, nobody in the roster,
    nor the committer, may be revoked in the newest directory.
    """

    now_ms: int | None = None
    device_keys: DeviceKeyBook | None = None
    storing: bool = False


REPLAY: Final = Receipt()


class ChannelLine:
    """The verified chain of one channel, without keys.

    Owned by one caller.  A server may hold only the newest commit (`ChannelLine.at`); a
    member holds all epochs it wants to read.
    """

    def __init__(self, channel_id: ChannelId) -> None:
        self.channel_id: Final = channel_id
        self.head: Commit | None = None
        self.commits: dict[int, Commit] = {}

    @classmethod
    def at(cls, head: Commit) -> ChannelLine:
        """A line that trusts `head`, because it was verified when it was stored."""
        line = cls(head.channel_id)
        line.install(head)
        return line

    @property
    def epoch(self) -> int:
        """The newest epoch; -1 before genesis."""
        return -1 if self.head is None else self.head.epoch

    @property
    def head_hash(self) -> bytes:
        return ZERO32 if self.head is None else self.head.hash

    def accept(self, signed: Signed, directories: Directories, receipt: Receipt = REPLAY) -> Commit:
        """Verify the next commit and make it the head; unchanged when a rule fails."""
        commit = verify_commit(self, signed, directories, receipt)
        self.install(commit)
        return commit

    def install(self, commit: Commit) -> None:
        """Make a commit that `verify_commit` returned the head."""
        self.commits[commit.epoch] = commit
        if self.head is None or commit.epoch > self.head.epoch:
            self.head = commit


def verify_commit(
    line: ChannelLine, signed: Signed, directories: Directories, receipt: Receipt = REPLAY
) -> Commit:
    """The commit, if it may follow the line's head; nothing is changed.

    `directories` are those of the agencies concerned, by id.  Raises `SealingError` with the
    code of the first rule that fails; `E_DUPLICATE` for a commit that stands already,
    `E_FORK` for another one validly signed for an epoch that is taken (a server answers
    `stale`; a member raises the alarm), `E_DIR_BEHIND` when a directory must be fetched
    first.  The caller installs the commit, or stores it by compare-and-set on `prev_hash`.
    """
    commit = parse_commit(signed)
    if commit.channel_id != line.channel_id:
        raise SealingError(SealingCode.E_CHAIN, "another channel")
    if commit.epoch <= line.epoch:
        _check_passed(line, commit, directories)
    if commit.epoch != line.epoch + 1 or commit.prev_hash != line.head_hash:
        raise SealingError(SealingCode.E_CHAIN, "not the next commit")
    _Rules(line.head, commit, directories, receipt).check()
    return commit


def certificate_for(directories: Directories, agency_id: AgencyId, device_id: DeviceId) -> Certificate | None:
    """A device's certificate in its agency's directory, revoked or not."""
    directory = directories.get(agency_id)
    return None if directory is None else directory.device(device_id)


def roster_public_key(commit: Commit, device_id: DeviceId, directories: Directories) -> bytes:
    """The identity key (32 bytes) of a device in a verified commit's roster.

    `E_AUTHZ` when it is not in the roster; `E_UNKNOWN_DEVICE` when its directory is absent.
    """
    entry = commit.entry(device_id)
    if entry is None:
        raise SealingError(SealingCode.E_AUTHZ, "not in the roster")
    if entry.guest is not None:
        return entry.guest.public
    certificate = certificate_for(directories, entry.agency_id, device_id)
    if certificate is None:
        raise SealingError(SealingCode.E_UNKNOWN_DEVICE, "device not certified")
    return certificate.public


def _check_passed(line: ChannelLine, commit: Commit, directories: Directories) -> None:
    """A commit for an epoch already taken: the same one, evidence of a fork, or noise."""
    known = line.commits.get(commit.epoch)
    if known is None:
        raise SealingError(SealingCode.E_CHAIN, "an epoch long past")
    if known.hash == commit.hash:
        raise SealingError(SealingCode.E_DUPLICATE, "commit already accepted")
    # Only two *signed* branches are a fork; whoever could sign was a member then.  Before the
    # first there was the creator alone, whom the channel's id names.
    before = line.commits.get(commit.epoch - 1)
    if commit.epoch == 0 and _channel_id(commit) != line.channel_id:
        raise SealingError(SealingCode.E_AUTHZ, "committer did not create this channel")
    for directory in directories.values():
        certificate = directory.device(commit.committer)
        if certificate is not None and (before is None or before.entry(commit.committer) is not None):
            verify_signed(commit.signed, certificate.public, KIND_COMMIT)
            raise SealingError(SealingCode.E_FORK, "two commits signed for one epoch")
    raise SealingError(SealingCode.E_AUTHZ, "committer was not a member")


def _channel_id(genesis: Commit) -> ChannelId:
    return channel_id_of(genesis.committer, genesis.incident_id, genesis.compartment, genesis.nonce)


class _Rules(msgspec.Struct):
    """One commit against the table, rule by rule."""

    prev: Commit | None
    commit: Commit
    directories: Directories
    receipt: Receipt

    def check(self) -> None:
        self._check_heads()
        self._check_unchanged()
        committer = self._check_committer()
        self._check_clock()
        self._check_policy(committer)
        self._check_roster(committer)
        self._check_changes(committer)
        self._check_records()
        self._check_auth()

    def _check_heads(self) -> None:
        """Accepted agencies and heads agree; every head is one that this verifier has too."""
        c = self.commit
        if tuple(h.agency_id for h in c.heads) != c.policy.agencies:
            raise SealingError(SealingCode.E_AGENCY, "heads are not those of the accepted agencies")
        for head in c.heads:
            directory = self.directories.get(head.agency_id)
            if directory is None:
                raise SealingError(SealingCode.E_AGENCY, "agency not known here")
            known = directory.hash_at(head.seq)
            if known is None:
                raise SealingError(SealingCode.E_DIR_BEHIND, "fetch the directory, then try again")
            if known != head.hash:
                raise SealingError(SealingCode.E_DIR_FORK, "two directories shown")
            before = None if self.prev is None else self.prev.head_of(head.agency_id)
            if before is not None and head.seq < before.seq:
                raise SealingError(SealingCode.E_HEAD_ROLLBACK, "an older directory head")

    def _check_unchanged(self) -> None:
        c, prev = self.commit, self.prev
        if prev is None:
            if _channel_id(c) != c.channel_id:
                raise SealingError(SealingCode.E_CHAIN, "channel id")
        elif (c.incident_id, c.compartment, c.suite) != (prev.incident_id, prev.compartment, prev.suite):
            raise SealingError(SealingCode.E_CHAIN, "incident, compartment or suite changed")

    def _live(self, entry_agency: AgencyId, device_id: DeviceId) -> Certificate:
        """Certified and unrevoked as of the heads that the commit names."""
        head = self.commit.head_of(entry_agency)
        if head is None:
            raise SealingError(SealingCode.E_AGENCY, "agency not accepted here")
        directory = self.directories[entry_agency]
        certificate = directory.live_device(device_id, head.seq)
        if self.receipt.storing and certificate.revoked_as_of(directory.seq):
            raise SealingError(SealingCode.E_REVOKED, "device revoked in the newest directory")
        return certificate

    def _check_certificate(self, certificate: Certificate) -> None:
        if not certificate.valid_at(self.commit.ts_ms):
            raise SealingError(SealingCode.E_EXPIRED, "certificate not valid at the commit's time")
        if not certificate.compartments >> self.commit.compartment & 1:
            raise SealingError(SealingCode.E_COMPARTMENT, "not certified for this compartment")

    def _check_committer(self) -> Certificate:
        """A member of the previous roster that holds the epoch secret, and its signature."""
        c = self.commit
        entry = (c if self.prev is None else self.prev).entry(c.committer)
        if entry is None:
            raise SealingError(SealingCode.E_AUTHZ, "committer is not a member")
        if not entry.gets_epoch_secret:
            raise SealingError(SealingCode.E_AUTHZ, "guests and masked devices do not commit")
        certificate = self._live(entry.agency_id, c.committer)
        verify_signed(c.signed, certificate.public, KIND_COMMIT)
        self._check_certificate(certificate)
        if self.prev is None and not certificate.caps & CAP_CREATE:
            raise SealingError(SealingCode.E_AUTHZ, "may not create channels")
        return certificate

    def _check_clock(self) -> None:
        c, now_ms = self.commit, self.receipt.now_ms
        if self.prev is not None and c.ts_ms < self.prev.ts_ms:
            raise SealingError(SealingCode.E_CLOCK, "earlier than the commit before")
        if now_ms is not None and abs(c.ts_ms - now_ms) >= CLOCK_BOUND_MS:
            raise SealingError(SealingCode.E_CLOCK, "ten minutes off")

    def _check_policy(self, committer: Certificate) -> None:
        changed = self.prev is not None and self.commit.policy != self.prev.policy
        if changed and not committer.caps & CAP_POLICY:
            raise SealingError(SealingCode.E_AUTHZ, "may not change the policy")

    def _check_roster(self, committer: Certificate) -> None:
        for entry in self.commit.roster:
            if entry.guest is not None:
                self._check_guest(entry, committer)
                continue
            certificate = self._live(entry.agency_id, entry.device_id)
            self._check_certificate(certificate)
            self._check_device_key(entry)

    def _check_device_key(self, entry: RosterEntry) -> None:
        book = self.receipt.device_keys
        if book is None or self.receipt.now_ms is None:
            return
        if self.receipt.storing:
            book.check_fresh(entry.device_id, entry.kid, self.commit.ts_ms)
        else:
            book.check_named(entry.device_id, entry.kid, self.commit.ts_ms)

    def _check_guest(self, entry: RosterEntry, committer: Certificate) -> None:
        c, guest = self.commit, entry.guest
        assert guest is not None
        if c.head_of(entry.agency_id) is None:
            raise SealingError(SealingCode.E_AGENCY, "agency not accepted here")
        if device_id_of(guest.public) != entry.device_id or kid_of(guest.hpke_public) != entry.kid:
            raise SealingError(SealingCode.E_GUEST, "ids do not belong to the guest's keys")
        if weak_identity(guest.public):
            raise SealingError(SealingCode.E_GUEST, "anybody can sign with this key")
        if low_order(guest.hpke_public):
            raise SealingError(SealingCode.E_GUEST, "nobody can seal to this key")
        if self._certified(entry.device_id):
            raise SealingError(SealingCode.E_GUEST, "a certified device is no guest")
        if guest.not_after_ms < c.ts_ms:
            raise SealingError(SealingCode.E_EXPIRED, "guest expired")
        if self.prev is not None and self.prev.entry(entry.device_id) == entry:
            return  # vouched for earlier, and carried over unchanged
        if entry.agency_id != committer.agency_id:
            raise SealingError(SealingCode.E_GUEST, "vouched for by another agency")
        if guest.not_after_ms - c.ts_ms > GUEST_LIFETIME_MS:
            raise SealingError(SealingCode.E_GUEST, "over four hours")
        if entry.class_mask != MEDIA_MASK and not committer.caps & CAP_GRANT:
            raise SealingError(SealingCode.E_GUEST, "media only, unless the voucher may grant more")

    def _certified(self, device_id: DeviceId) -> bool:
        """Whether any accepted directory has the device, revoked or not, as of its head."""
        for head in self.commit.heads:
            certificate = self.directories[head.agency_id].device(device_id)
            if certificate is not None and certificate.seq <= head.seq:
                return True
        return False

    def _check_changes(self, committer: Certificate) -> None:
        """Who comes, who goes, and whose sight changes."""
        if self.prev is None:
            return
        old = {e.device_id: e for e in self.prev.roster}
        new = {e.device_id: e for e in self.commit.roster}
        for device_id, entry in new.items():
            before = old.get(device_id)
            # Seeing less is a change of sight too: it takes the same right.
            changed = before is None or _sight(entry) != _sight(before)
            if changed and not committer.caps & CAP_ADMIT:
                raise SealingError(SealingCode.E_AUTHZ, "may not admit")
        for device_id, entry in old.items():
            if device_id in new or device_id == committer.device_id:
                continue
            if not committer.caps & CAP_REMOVE and not self._lapsed(entry):
                raise SealingError(SealingCode.E_AUTHZ, "may not remove")

    def _lapsed(self, entry: RosterEntry) -> bool:
        """Revoked as of the named heads, or expired: anyone may drop it."""
        if entry.guest is not None:
            return entry.guest.not_after_ms < self.commit.ts_ms
        head = self.commit.head_of(entry.agency_id)
        certificate = certificate_for(self.directories, entry.agency_id, entry.device_id)
        if head is None or certificate is None:
            return False
        return certificate.revoked_as_of(head.seq) or self.commit.ts_ms > certificate.not_after_ms

    def _check_records(self) -> None:
        """Exactly the policy's custodians that are still usable, each with its full sight.

        A withdrawn or expired key drops out for everyone alike; else it would freeze the
        channel until somebody with POLICY is awake.
        """
        c = self.commit
        given = {r.records_id: r for r in c.records}
        expected = 0
        for records_id in c.policy.records:
            found = None
            for head in c.heads:
                key = self.directories[head.agency_id].records_key(records_id)
                if key is not None and key.seq <= head.seq:
                    found = (key, head)
            if found is None:
                raise SealingError(SealingCode.E_RECORDS, "policy names an unknown records key")
            key, head = found
            entry = given.get(records_id)
            if not key.usable(head.seq, c.ts_ms):
                if entry is not None:
                    raise SealingError(SealingCode.E_RECORDS, "records key withdrawn or expired")
                continue
            expected += 1
            if not key.compartments >> c.compartment & 1:
                raise SealingError(SealingCode.E_RECORDS, "records key beyond its compartments")
            due = RecordsEntry(records_id, key.agency_id, key.class_mask, kid_of(key.public))
            if entry != due:
                raise SealingError(SealingCode.E_RECORDS, "a records key was dropped, or is not as certified")
        if expected != len(given):
            raise SealingError(SealingCode.E_RECORDS, "a records key that no policy names")

    def _check_auth(self) -> None:
        if self.commit.compartment in AUTH_COMPARTMENTS and not self.commit.auth:
            raise SealingError(SealingCode.E_AUTH, "consent or break-glass record missing")


def _sight(entry: RosterEntry) -> tuple[object, ...]:
    return (entry.agency_id, entry.class_mask, entry.guest)
