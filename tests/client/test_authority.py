"""The agency's authority: whatever it signs, a member's directory accepts, and nothing that it may not sign."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from leeside import authority as a
from leeside.keystore import Cost, KeystoreDamaged, KeystoreExists, Passphrase, WrongPassphrase
from leeside_protocol.ids import MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.sealing.public.entries import (
    CAP_POLICY,
    DELEGATED_MAX_MS,
    RecordsId,
    SignedEntry,
    authority_id_of,
)
from leeside_protocol.sealing.public.signed import verify_raw
from leeside_protocol.words import Compartment, Discipline, Role

NOW = 1_800_000_000_000
UNLOCK = Passphrase("correct horse battery", Cost(1, 8, 1))
OTHER = Passphrase("a different one here", Cost(1, 8, 1))
MEMBER = MemberId(b"m" * 16)


def source(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


class Agency:
    """A root, its authorities, and an administrator's device, founded with fixed keys."""

    def __init__(self, authorities: int = 1) -> None:
        rnd = source(7)
        self.root = a.root_key(rnd(32))
        self.authorities = [a.authority_key(rnd(32)) for _ in range(authorities)]
        self.admin = DeviceKeys.create(rnd, NOW)
        added = a.device_added(self.admin.identity.public, MEMBER, Role.ADMIN, NOW)
        self.founding = a.found(self.root, self.authorities, added, "CODE-1234", NOW)
        self.directory = self.founding.directory
        self.random = rnd

    def replica(self, *more: SignedEntry) -> Directory:
        """What a member makes of the entries that were posted, knowing the root alone."""
        entries = [*self.founding.entries, *(entry.encode() for entry in more)]
        return Directory.replay(self.root.key.public, entries)


@pytest.mark.parametrize("authorities", [1, 2])
def test_a_founded_agency_is_accepted_by_who_knows_only_its_root(authorities: int) -> None:
    agency = Agency(authorities)
    replica = agency.replica()
    assert replica.head == agency.directory.head
    assert replica.live_device(agency.admin.device_id).role == "admin"
    assert len(replica.authorities()) == authorities
    assert replica.dual_control(NOW) is (authorities == 2)
    verify_raw(agency.root.key.public, agency.founding.proof, pae(PREFIX + b"agency", b"CODE-1234"))


def test_a_device_is_certified_and_revoked() -> None:
    agency = Agency()
    device = DeviceKeys.create(agency.random, NOW)
    added = a.device_added(
        device.identity.public, MEMBER, Role.RESPONDER, NOW, discipline=Discipline.CLINICIAN
    )
    one = a.sign(agency.directory, added, agency.authorities, NOW)
    two = a.sign(agency.directory, a.device_removed(device.device_id, "lost", NOW), agency.authorities, NOW)
    certificate = agency.replica(one).live_device(device.device_id)
    assert certificate.compartments == 0b00111
    assert certificate.valid_at(NOW)
    assert not certificate.valid_at(NOW + a.CERTIFICATE_LIFETIME_MS + 1)
    with pytest.raises(SealingError) as caught:
        agency.replica(one, two).live_device(device.device_id)
    assert caught.value.code is SealingCode.E_REVOKED


@pytest.mark.parametrize(
    ("shift_ms", "held_ms"), [(8 * 3_600_000, 8 * 3_600_000), (10**12, a.CERTIFICATE_LIFETIME_MS)]
)
def test_a_shared_devices_certificate_ends_with_its_shift(shift_ms: int, held_ms: int) -> None:
    added = a.device_added(b"p" * 32, MEMBER, Role.RESPONDER, NOW, shift_until_ms=NOW + shift_ms)
    assert added.not_after_ms == NOW + held_ms


def test_where_two_authorities_stand_both_sign_what_reaches_beyond_operations() -> None:
    agency = Agency(2)
    device = DeviceKeys.create(agency.random, NOW)
    added = a.device_added(device.identity.public, MEMBER, Role.PSYCHIATRIST, NOW)
    head = agency.directory.head
    with pytest.raises(a.SecondSignature) as caught:
        a.sign(agency.directory, added, agency.authorities[:1], NOW)
    assert agency.directory.head == head
    carried = SignedEntry.decode(caught.value.entry.encode())
    whole = a.cosign(agency.directory, carried, agency.authorities[1], NOW)
    assert agency.replica(whole).live_device(device.device_id).role == "psychiatrist"


def test_with_both_keys_at_hand_sign_adds_both_signatures_and_only_where_needed() -> None:
    agency = Agency(2)
    clinician, dispatcher = (DeviceKeys.create(agency.random, NOW) for _ in range(2))
    one = a.sign(
        agency.directory,
        a.device_added(clinician.identity.public, MEMBER, Role.PSYCHIATRIST, NOW),
        agency.authorities,
        NOW,
    )
    two = a.sign(
        agency.directory,
        a.device_added(dispatcher.identity.public, MEMBER, Role.DISPATCHER, NOW),
        agency.authorities,
        NOW,
    )
    secret = agency.random(32)
    three = a.sign(agency.directory, a.records_added(secret, NOW), agency.authorities, NOW)
    assert [entry.cosigner is not None for entry in (one, two, three)] == [True, False, True]
    replica = agency.replica(one, two, three)
    key = replica.records_key(a.records_id(secret))
    assert key is not None
    assert key.class_mask == 0b0010
    assert key.usable(replica.seq, NOW)


def test_a_records_key_can_be_withdrawn() -> None:
    agency = Agency()
    secret = agency.random(32)
    one = a.sign(agency.directory, a.records_added(secret, NOW), agency.authorities, NOW)
    withdrawn = a.records_removed(a.records_id(secret), "renewed", NOW)
    two = a.sign(agency.directory, withdrawn, agency.authorities, NOW)
    replica = agency.replica(one, two)
    key = replica.records_key(RecordsId(a.records_id(secret)))
    assert key is not None
    assert not key.usable(replica.seq, NOW)


def test_a_delegated_authority_certifies_for_a_day_and_no_further() -> None:
    agency = Agency()
    night = a.authority_key(agency.random(32))
    delegation = a.authority_added(night.key.public, NOW, delegated=True, devices=2, lifetime_ms=a.DAY_MS)
    entries = [a.sign(agency.directory, delegation, [agency.root], NOW)]

    def certify(role: Role, lifetime_ms: int, compartments: int | None = None) -> None:
        device = DeviceKeys.create(agency.random, NOW)
        added = a.device_added(
            device.identity.public, MEMBER, role, NOW, compartments=compartments, lifetime_ms=lifetime_ms
        )
        entries.append(a.sign(agency.directory, added, [night], NOW))

    certify(Role.RESPONDER, DELEGATED_MAX_MS)
    for role, lifetime_ms, compartments in (
        (Role.RESPONDER, DELEGATED_MAX_MS + 1, None),
        (Role.PSYCHIATRIST, DELEGATED_MAX_MS, None),
        (Role.RESPONDER, DELEGATED_MAX_MS, 1 << Compartment.CLINICAL),
        (Role.ADMIN, DELEGATED_MAX_MS, None),
    ):
        head = agency.directory.head
        with pytest.raises(SealingError) as caught:
            certify(role, lifetime_ms, compartments)
        assert caught.value.code is SealingCode.E_DIR_SIGNER
        assert agency.directory.head == head
    certify(Role.DISPATCHER, DELEGATED_MAX_MS)
    with pytest.raises(SealingError):
        certify(Role.DISPATCHER, DELEGATED_MAX_MS)
    ended = a.authority_removed(authority_id_of(night.key.public), "morning", NOW)
    entries.append(a.sign(agency.directory, ended, agency.authorities, NOW))
    assert agency.replica(*entries).head == agency.directory.head


def test_only_the_root_makes_a_full_authority() -> None:
    agency = Agency()
    other = a.authority_key(agency.random(32))
    with pytest.raises(SealingError) as caught:
        a.sign(agency.directory, a.authority_added(other.key.public, NOW), agency.authorities, NOW)
    assert caught.value.code is SealingCode.E_DIR_SIGNER


def test_a_strangers_key_signs_nothing() -> None:
    agency = Agency()
    stranger = a.authority_key(agency.random(32))
    removed = a.device_removed(agency.admin.device_id, "no", NOW)
    with pytest.raises(SealingError) as caught:
        a.sign(agency.directory, removed, [stranger], NOW)
    assert caught.value.code is SealingCode.E_DIR_SIGNER


def test_the_short_code_comes_from_the_keys_themselves() -> None:
    device = DeviceKeys.create(source(1), NOW)
    other = DeviceKeys.create(source(2), NOW)
    seen = a.applicant(device.identity.public, device.newest.encode())
    assert seen.device_id == device.device_id
    assert len(seen.short_code) == 14
    assert seen.short_code != a.applicant(other.identity.public, other.newest.encode()).short_code
    for public, key in (
        (device.identity.public, other.newest.encode()),
        (other.identity.public, device.newest.encode()),
        (device.identity.public, b"nothing"),
    ):
        with pytest.raises(SealingError):
            a.applicant(public, key)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("discipline", [None, *Discipline])
def test_rights_by_role(role: Role, discipline: Discipline | None) -> None:
    mask = a.compartments_for(role, discipline)
    assert mask & 1
    assert bool(a.CAPS[role] & CAP_POLICY) is (role is Role.ADMIN)
    clinical = bool(mask >> Compartment.CLINICAL & 1)
    if role is Role.RESPONDER:
        assert clinical is (discipline not in (None, Discipline.LAW_ENFORCEMENT_OFFICER))
        justice = bool(mask >> Compartment.CRIMINAL_JUSTICE & 1)
        assert justice is (discipline is Discipline.LAW_ENFORCEMENT_OFFICER)
    else:
        assert clinical is (role in (Role.PSYCHIATRIST, Role.RECEIVING_FACILITY))
    assert not mask >> Compartment.SUBSTANCE_USE & 1


def test_one_role_stands_in_the_certificate() -> None:
    assert a.certified_role([Role.ADMIN, Role.SUPERVISOR]) is Role.SUPERVISOR
    assert all(a.certified_role([role]) is role for role in Role)


def test_key_files_keep_and_copy_a_key(tmp_path: Path) -> None:
    root = tmp_path / "root.keys"
    secret = a.create_key(root, UNLOCK, "root")
    assert a.load_key(root, UNLOCK, "root") == secret
    assert secret not in root.read_bytes()
    with pytest.raises(KeystoreExists):
        a.create_key(root, UNLOCK, "root")
    copy = tmp_path / "safe" / "root-copy.keys"
    a.copy_key(root, UNLOCK, "root", copy, OTHER)
    assert a.load_key(copy, OTHER, "root") == secret
    with pytest.raises(WrongPassphrase):
        a.load_key(copy, UNLOCK, "root")
    with pytest.raises(KeystoreDamaged, match="authority"):
        a.load_key(root, UNLOCK, "authority")
