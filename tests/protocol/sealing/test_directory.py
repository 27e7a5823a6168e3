"""The directory: who may sign what, the second signature, delegated authority, the chain."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
from msgspec.structs import replace

from leeside_protocol.ids import MemberId
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening.authority import AuthorityKey
from leeside_protocol.sealing.opening.keys import SigningKey
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import (
    ALL_CAPS,
    CAP_POLICY,
    CAP_SEND,
    AuthorityAdded,
    AuthorityId,
    AuthorityRemoved,
    DeviceAdded,
    DeviceRemoved,
    Limits,
    Operation,
    RecordsRemoved,
    SignedEntry,
)
from leeside_protocol.sealing.public.signed import KIND_DIRECTORY
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.weak import NON_CANONICAL_KEY, SMALL_ORDER_KEY
from tests.protocol.sealing.world import DAY_MS, HOUR_MS, NOW_MS, World, seed

Sign = Callable[[World], SignedEntry]


def entry(world: World, by: AuthorityKey, operation: Operation, ts_ms: int = NOW_MS) -> SignedEntry:
    return by.sign_entry(world.directory, operation, ts_ms)


def state(directory: Directory) -> tuple[object, ...]:
    return (
        directory.seq,
        directory.head,
        directory.ts_ms,
        directory.devices(),
        directory.authorities(),
        directory.records_keys(),
    )


def night(world: World, limits: Limits | None = None) -> World:
    world.delegate(limits or Limits(0b00001, 24 * HOUR_MS, 2))
    return world


def short(world: World, name: str = "loan", *, compartments: int = 1, caps: int = CAP_SEND) -> DeviceAdded:
    return world.certificate(
        name, compartments=compartments, caps=caps, not_after_ms=NOW_MS + 24 * HOUR_MS, not_before_ms=NOW_MS
    )


def altered(signed: SignedEntry, index: int, value: object) -> SignedEntry:
    """The entry with one payload field changed and the root's signature renewed."""
    world = World()
    values = msgpack.unpackb(signed.signed.payload)
    values[index] = value
    return SignedEntry(world.root.key.sign(KIND_DIRECTORY, world.root.signer_id, msgpack.packb(values)))


def removed_authority_signs(world: World) -> SignedEntry:
    world.sign(world.root, AuthorityRemoved(AuthorityId(world.first.signer_id), "", NOW_MS))
    return entry(world, world.first, short(world))


def certified_twice(world: World) -> SignedEntry:
    world.enrol("unit", compartments=1)
    return entry(world, world.first, short(world, "unit"))


def authority_with(public: bytes) -> Sign:
    return lambda world: entry(world, world.root, AuthorityAdded(public, NOW_MS + DAY_MS, None))


def device_with(public: bytes) -> Sign:
    return lambda world: entry(world, world.first, replace(short(world), public=public))


def beyond_the_count(world: World) -> SignedEntry:
    night(world, Limits(1, DAY_MS, 1))
    world.sign(world.night, short(world, "one"))
    return entry(world, world.night, short(world, "two"))


CASES: dict[str, tuple[SealingCode, Sign]] = {
    "another agency": (SealingCode.E_DIR, lambda w: altered(entry(w, w.root, short(w)), 1, bytes(16))),
    "version 2": (SealingCode.E_FORMAT, lambda w: altered(entry(w, w.root, short(w)), 0, 2)),
    "a gap": (SealingCode.E_DIR_CHAIN, lambda w: altered(entry(w, w.root, short(w)), 2, 9)),
    "another branch": (
        SealingCode.E_DIR_CHAIN,
        lambda w: altered(entry(w, w.root, short(w)), 3, bytes(32)),
    ),
    "unknown operation": (SealingCode.E_DIR, lambda w: altered(entry(w, w.root, short(w)), 5, "beat")),
    "body too short": (SealingCode.E_ENCODING, lambda w: altered(entry(w, w.root, short(w)), 6, [])),
    "a stranger signs": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(w, AuthorityKey(SigningKey(seed("stranger"))), short(w)),
    ),
    "signature altered": (
        SealingCode.E_SIG,
        lambda w: SignedEntry(replace(entry(w, w.first, short(w)).signed, signature=bytes(64))),
    ),
    "authority added by an authority": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(w, w.first, AuthorityAdded(w.night.key.public, NOW_MS + DAY_MS, None)),
    ),
    "full authority removed by another": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(w, w.first, AuthorityRemoved(AuthorityId(w.second.signer_id), "", NOW_MS)),
    ),
    "authority already expired": (
        SealingCode.E_DIR,
        lambda w: entry(w, w.root, AuthorityAdded(w.night.key.public, NOW_MS, None)),
    ),
    "authority added twice": (
        SealingCode.E_DIR,
        lambda w: entry(w, w.root, AuthorityAdded(w.first.key.public, NOW_MS + DAY_MS, None)),
    ),
    "removed authority signs": (SealingCode.E_DIR_SIGNER, removed_authority_signs),
    "expired authority signs": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(w, w.first, short(w), NOW_MS + 401 * DAY_MS),
    ),
    "earlier than the entry before": (
        SealingCode.E_CLOCK,
        lambda w: altered(entry(w, w.root, short(w)), 4, NOW_MS - 1),
    ),
    "ten minutes ahead": (SealingCode.E_CLOCK, lambda w: entry(w, w.first, short(w), NOW_MS + 600_000)),
    "device certified twice": (
        SealingCode.E_DIR,
        certified_twice,
    ),
    "unknown device removed": (
        SealingCode.E_DIR,
        lambda w: entry(w, w.first, DeviceRemoved(short(w).device_id, "", NOW_MS)),
    ),
    "unknown records key removed": (
        SealingCode.E_DIR,
        lambda w: entry(w, w.first, RecordsRemoved(w.records.records_id, "", NOW_MS)),
    ),
    "empty lifetime": (
        SealingCode.E_DIR,
        lambda w: entry(w, w.first, replace(short(w), not_after_ms=NOW_MS)),
    ),
    "one signature for compartment 1": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(w, w.first, short(w, compartments=0b10)),
    ),
    "one signature for a records key": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(
            w, w.root, w.records.entry(compartments=1, class_mask=2, not_before_ms=0, not_after_ms=NOW_MS)
        ),
    ),
    "one authority signs twice": (
        SealingCode.E_DIR_SIGNER,
        lambda w: w.first.cosign(entry(w, w.first, short(w, compartments=0b10))),
    ),
    "second signature not called for": (
        SealingCode.E_DIR_SIGNER,
        lambda w: w.second.cosign(entry(w, w.first, short(w))),
    ),
    "second signature altered": (
        SealingCode.E_SIG,
        lambda w: replace(
            w.second.cosign(entry(w, w.first, short(w, compartments=0b10))), cosignature=bytes(64)
        ),
    ),
    "second signature by a stranger": (
        SealingCode.E_DIR_SIGNER,
        lambda w: AuthorityKey(SigningKey(seed("stranger"))).cosign(
            entry(w, w.first, short(w, compartments=0b10))
        ),
    ),
    "delegated for more than 24 hours": (
        SealingCode.E_DIR,
        lambda w: entry(
            w, w.root, AuthorityAdded(w.night.key.public, NOW_MS + DAY_MS, Limits(1, DAY_MS + 1, 1))
        ),
    ),
    "delegated beyond its compartments": (
        SealingCode.E_DIR_SIGNER,
        lambda w: w.second.cosign(entry(night(w), w.night, short(w, compartments=0b11))),
    ),
    "delegated beyond its compartments, as second": (
        SealingCode.E_DIR_SIGNER,
        lambda w: w.night.cosign(entry(night(w), w.first, short(w, compartments=0b11))),
    ),
    "delegated beyond its lifetime": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(night(w), w.night, replace(short(w), not_after_ms=NOW_MS + 24 * HOUR_MS + 1)),
    ),
    "delegated hands out POLICY": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(night(w), w.night, short(w, caps=CAP_POLICY)),
    ),
    "delegated beyond its count": (SealingCode.E_DIR_SIGNER, beyond_the_count),
    "delegated signs a records key": (
        SealingCode.E_DIR_SIGNER,
        lambda w: w.second.cosign(
            entry(
                night(w),
                w.night,
                w.records.entry(compartments=1, class_mask=2, not_before_ms=0, not_after_ms=NOW_MS),
            )
        ),
    ),
    "delegated removes an authority": (
        SealingCode.E_DIR_SIGNER,
        lambda w: entry(night(w), w.night, AuthorityRemoved(AuthorityId(w.night.signer_id), "", NOW_MS)),
    ),
    "authority's key of small order": (SealingCode.E_DIR, authority_with(SMALL_ORDER_KEY)),
    "authority's key not canonical": (SealingCode.E_DIR, authority_with(NON_CANONICAL_KEY)),
    "device's key of small order": (SealingCode.E_DIR, device_with(SMALL_ORDER_KEY)),
    "device's key not canonical": (SealingCode.E_DIR, device_with(NON_CANONICAL_KEY)),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_and_unchanged(name: str) -> None:
    code, make = CASES[name]
    world = World()
    signed = make(world)
    before = state(world.directory)
    with refused(code):
        world.directory.apply(signed, NOW_MS if code is SealingCode.E_CLOCK else None)
    assert state(world.directory) == before


def test_two_full_authorities_sign_together() -> None:
    world = World()
    operation = short(world, compartments=0b11)
    world.sign(world.first, operation, cosigner=world.second)
    assert world.directory.live_device(operation.device_id).compartments == 0b11


def test_one_authority_suffices_where_there_is_one() -> None:
    world = World(dual=False)
    assert not world.directory.dual_control(NOW_MS)
    world.sign(world.first, short(world, compartments=0b11))
    assert world.directory.seq == 2


def test_root_counts_as_one_of_two_and_never_as_both() -> None:
    world = World()
    operation = short(world, compartments=0b11)
    with refused(SealingCode.E_DIR_SIGNER):
        world.directory.apply(entry(world, world.root, operation))
    world.sign(world.root, operation, cosigner=world.first)


def test_a_night_loan() -> None:
    world = night(World())
    world.sign(world.night, short(world))
    assert world.directory.live_device(world.id("loan")).caps == CAP_SEND
    world.sign(world.night, DeviceRemoved(world.id("loan"), "returned", NOW_MS))
    with refused(SealingCode.E_REVOKED):
        world.directory.live_device(world.id("loan"))
    world.sign(world.first, AuthorityRemoved(AuthorityId(world.night.signer_id), "over", NOW_MS))
    with refused(SealingCode.E_DIR_SIGNER):
        world.directory.apply(entry(world, world.night, short(world, "again")))


def test_replaying_gives_the_same_state() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.enrol(name, caps=ALL_CAPS)
    world.add_records()
    world.revoke("b")
    again = Directory.replay(world.root.key.public, world.log)
    assert state(again) == state(world.directory)
    assert again.hash_at(again.seq) == again.head
    assert again.hash_at(again.seq + 1) is None


def test_the_same_entry_again_is_a_duplicate() -> None:
    world = World()
    with refused(SealingCode.E_DUPLICATE):
        world.directory.apply(SignedEntry.decode(world.log[-1]))


def test_two_entries_signed_for_one_place_are_a_fork() -> None:
    world, other = World(), World()
    world.sign(world.first, short(world, "one"))
    fork = other.sign(other.first, short(other, "two"))
    with refused(SealingCode.E_DIR_FORK):
        world.directory.apply(fork)


def test_an_unsigned_branch_is_no_fork() -> None:
    world, other = World(), World()
    world.sign(world.first, short(world, "one"))
    fork = other.sign(other.first, short(other, "two"))
    with refused(SealingCode.E_SIG):
        world.directory.apply(SignedEntry(replace(fork.signed, signature=bytes(64))))


def test_the_root_can_fork_a_directory_too_and_nobody_in_its_name() -> None:
    world, other = World(), World()
    world.sign(world.first, short(world, "one"))
    fork = other.sign(other.root, short(other, "two"))
    with refused(SealingCode.E_SIG):
        world.directory.apply(SignedEntry(replace(fork.signed, signature=bytes(64))))
    with refused(SealingCode.E_DIR_FORK):
        world.directory.apply(fork)


def test_a_second_signature_taken_away_or_made_up_is_no_fork() -> None:
    """The server alone could do it, and a directory that forked stops an agency for good."""
    world = World()
    once = world.sign(world.first, short(world, "one"))
    twice = world.sign(world.first, short(world, "two", compartments=0b10), cosigner=world.second)
    for made_up, code in (
        (SignedEntry(twice.signed), SealingCode.E_DIR_SIGNER),
        (replace(twice, cosignature=bytes(64)), SealingCode.E_SIG),
        (replace(twice, cosigner=bytes(16)), SealingCode.E_DIR_SIGNER),
        (SignedEntry(once.signed, world.second.signer_id, bytes(64)), SealingCode.E_SIG),
        (world.first.cosign(once), SealingCode.E_DIR_SIGNER),
    ):
        with refused(code):
            world.directory.apply(made_up)


@pytest.mark.parametrize("compartments", [0b01, 0b10])
def test_two_entries_that_two_signed_are_a_fork(compartments: int) -> None:
    world, other = World(), World()
    world.sign(world.first, short(world, "one"))
    fork = other.second.cosign(entry(other, other.first, short(other, "two", compartments=compartments)))
    with refused(SealingCode.E_DIR_FORK):
        world.directory.apply(fork)
    assert Directory.replay(world.root.key.public, world.log).head == world.directory.head


def test_the_same_entry_with_another_second_signature_is_a_fork() -> None:
    world = World()
    twice = world.sign(world.first, short(world, "two", compartments=0b10), cosigner=world.second)
    with refused(SealingCode.E_DIR_FORK):
        world.directory.apply(world.root.cosign(SignedEntry(twice.signed)))


def test_a_member_sees_all_devices_in_their_name() -> None:
    world = World()
    world.enrol("phone")
    member = MemberId(seed("north-member-phone")[:16])
    ghost = replace(world.certificate("ghost"), member_id=member)
    world.sign(world.first, ghost, cosigner=world.second)
    assert [c.device_id for c in world.directory.devices_of(member)] == [world.id("phone"), world.id("ghost")]


def test_signatures_cannot_be_swapped() -> None:
    world = World()
    signed = world.second.cosign(entry(world, world.first, short(world, compartments=0b10)))
    assert signed.cosignature is not None
    swapped = SignedEntry(
        replace(signed.signed, signer=world.second.signer_id, signature=signed.cosignature),
        world.first.signer_id,
        signed.signed.signature,
    )
    with refused(SealingCode.E_SIG):
        world.directory.apply(swapped)


def test_entry_survives_the_wire() -> None:
    world = World()
    signed = world.second.cosign(entry(world, world.first, short(world, compartments=0b10)))
    assert SignedEntry.decode(signed.encode()) == signed
    assert len(signed.signature_field) == 144


def test_an_authority_signs_until_the_last_moment_of_its_time() -> None:
    world = World()
    last_ms = NOW_MS + 400 * DAY_MS
    assert world.directory.dual_control(last_ms)
    assert not world.directory.dual_control(last_ms + 1)
    late = replace(short(world), not_after_ms=last_ms + DAY_MS)
    world.sign(world.first, late, ts_ms=last_ms)
    with refused(SealingCode.E_DIR_SIGNER):
        world.directory.check(entry(world, world.first, short(world, "later"), last_ms + 1))


def test_a_records_key_is_usable_from_its_entry_to_its_end_and_within_its_dates() -> None:
    world = World()
    world.add_records()
    (key,) = world.directory.records_keys()
    assert [key.usable(seq, NOW_MS) for seq in (key.seq - 1, key.seq)] == [False, True]
    first_ms, last_ms = key.not_before_ms, key.not_after_ms
    dates = (first_ms - 1, first_ms, last_ms, last_ms + 1)
    assert [key.usable(key.seq, ts_ms) for ts_ms in dates] == [False, True, True, False]
    world.sign(world.first, RecordsRemoved(key.records_id, "lost", NOW_MS))
    (gone,) = world.directory.records_keys()
    assert [gone.usable(seq, NOW_MS) for seq in (key.seq, key.seq + 1)] == [True, False]
