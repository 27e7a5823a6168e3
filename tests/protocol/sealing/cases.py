"""One attempt for each rule of acceptance, with the code it must bring.

The tests run them; the vector file is written from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
from msgspec.structs import replace

from leeside_protocol.ids import AgencyId, DeviceId
from leeside_protocol.sealing.opening.committer import Change, Genesis, Seat
from leeside_protocol.sealing.opening.keys import DeviceKeys, SigningKey
from leeside_protocol.sealing.public.commit import (
    Authorisation,
    AuthRecord,
    Commit,
    CommitReason,
    Head,
    Policy,
    RecordsEntry,
    RosterEntry,
    channel_id_of,
)
from leeside_protocol.sealing.public.device_key import NO_KID
from leeside_protocol.sealing.public.entries import (
    DURABLE,
    EPHEMERAL,
    RecordsId,
    RecordsRemoved,
    device_id_of,
    kid_of,
)
from leeside_protocol.sealing.public.signed import KIND_COMMIT, Signed
from tests.protocol.sealing.staging import MEDIA_ONLY, Attempt, Make, Stage, raw, resign, set_field
from tests.protocol.sealing.weak import NON_CANONICAL_KEY, SMALL_ORDER_KEY
from tests.protocol.sealing.world import DAY_MS, HOUR_MS, INCIDENT, NOW_MS, PERIODIC, World, seed, seeded

CASES: dict[str, tuple[str, Make]] = {}


def case(code: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        CASES[make.__name__] = (code, make)
        return make

    return add


def shape(name: str, code: str, change: Callable[[list[Any]], object]) -> None:
    CASES[name] = (code, lambda s: s.attempt(raw(s, change)))


def deep(values: list[Any]) -> object:
    nest: list[Any] = []
    for _ in range(12):
        nest = [nest]
    values[15] = nest
    return None


def swapped(values: list[Any]) -> object:
    values[11][0], values[11][1] = values[11][1], values[11][0]
    return None


shape("trailing_bytes", "E_ENCODING", lambda v: msgpack.packb(v) + b"\0")
shape("cut_short", "E_ENCODING", lambda v: msgpack.packb(v)[:-1])
shape("one_field_more", "E_ENCODING", lambda v: v.append(0))
shape("one_field_less", "E_ENCODING", lambda v: v.pop())
shape("a_map", "E_ENCODING", set_field(15, {"a": 1}))
shape("a_float", "E_ENCODING", set_field(6, 1.5))
shape("an_extension", "E_ENCODING", set_field(6, msgpack.ExtType(5, b"")))
shape("a_boolean_for_a_number", "E_ENCODING", set_field(3, True))
shape("integer_of_2_53", "E_ENCODING", set_field(6, 2**53))
shape("negative_epoch", "E_ENCODING", set_field(3, -1))
shape("text_for_bytes", "E_ENCODING", set_field(4, "x" * 32))
shape("nested_too_deep", "E_ENCODING", deep)
shape("roster_out_of_order", "E_ENCODING", swapped)
shape("roster_names_one_twice", "E_ENCODING", lambda v: v[11].insert(0, v[11][0]))
shape("roster_of_201", "E_ENCODING", set_field(11, [[bytes([i // 256, i % 256]) + bytes(14), bytes(16), bytes(8), 14, None] for i in range(201)]))  # fmt: skip
shape("class_mask_empty", "E_ENCODING", lambda v: v[11][0].__setitem__(3, 0))
shape("class_mask_unknown_class", "E_ENCODING", lambda v: v[11][0].__setitem__(3, 1))
shape("nonce_after_genesis", "E_ENCODING", set_field(10, bytes(16)))
shape("reason_create_after_genesis", "E_ENCODING", set_field(7, 0))
shape("reason_unknown", "E_ENCODING", set_field(7, 5))
shape("compartment_unknown", "E_ENCODING", set_field(8, 5))
shape("authorisation_unknown", "E_ENCODING", set_field(15, [[0, bytes(32)]]))
shape("two_commitments", "E_ENCODING", set_field(14, [bytes(32), bytes(32)]))
shape("version_2", "E_FORMAT", set_field(0, 2))
shape("suite_2", "E_FORMAT", set_field(1, 2))
shape("committer_not_signer", "E_CHAIN", set_field(5, bytes(16)))
shape("another_channel", "E_CHAIN", set_field(2, bytes(16)))
shape("another_previous_hash", "E_CHAIN", set_field(4, bytes(32)))
shape("an_epoch_skipped", "E_CHAIN", set_field(3, 2))
shape("incident_changed", "E_CHAIN", set_field(9, bytes(16)))
shape("compartment_changed", "E_CHAIN", set_field(8, 4))


@case("E_CHAIN")
def channel_id_of_another_creator(s: Stage) -> Attempt:
    keys = s.world.keys["lead"]
    return s.attempt(resign(keys, s.genesis.commit), before=[])


@case("E_CHAIN")
def channel_id_of_another_compartment(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", s.genesis.commit, compartment=4), before=[])


@case("E_DUPLICATE")
def same_commit_again(s: Stage) -> Attempt:
    return s.attempt(s.genesis.commit.signed)


@case("E_FORK")
def second_branch_signed(s: Stage) -> Attempt:
    other = s.sign("lead", reason=CommitReason.PERIODIC, commitments=(bytes(32),) * 3)
    return s.attempt(other, before=[s.genesis.commit.signed, s.next.signed])


@case("E_SIG")
def second_branch_unsigned(s: Stage) -> Attempt:
    forged = replace(s.sign("lead"), signature=bytes(64))
    return s.attempt(forged, before=[s.genesis.commit.signed, s.next.signed])


@case("E_AUTHZ")
def second_branch_by_an_outsider(s: Stage) -> Attempt:
    return s.attempt(s.sign("outsider"), before=[s.genesis.commit.signed, s.next.signed])


@case("E_SIG")
def signature_altered(s: Stage) -> Attempt:
    signature = bytearray(s.next.signed.signature)
    signature[0] ^= 1
    return s.attempt(replace(s.next.signed, signature=bytes(signature)))


@case("E_SIG")
def signed_as_another_type(s: Stage) -> Attempt:
    keys = s.world.keys["dispatcher"]
    return s.attempt(keys.identity.sign(b"grant", keys.device_id, s.next.signed.payload))


@case("E_SIG")
def signed_by_another_device(s: Stage) -> Attempt:
    keys = s.world.keys["lead"]
    payload = s.next.signed.payload
    return s.attempt(keys.identity.sign(KIND_COMMIT, s.world.id("dispatcher"), payload))


@case("E_AGENCY")
def head_missing(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", heads=()))


@case("E_AGENCY")
def head_of_an_agency_not_accepted(s: Stage) -> Attempt:
    other = World(name="south")
    heads = (*s.heads(), Head(other.agency, other.directory.seq, other.directory.head))
    agencies = [(w.root.key.public, list(w.log)) for w in (s.world, other)]
    signed = s.sign("dispatcher", heads=sorted(heads, key=lambda h: h.agency_id))
    return s.attempt(signed, agencies=agencies)


@case("E_AGENCY")
def agency_unknown_to_the_verifier(s: Stage) -> Attempt:
    other = AgencyId(b"\xff" * 16)
    policy = Policy((s.world.agency, other), s.next.policy.records)
    heads = (*s.heads(), Head(other, 1, bytes(32)))
    return s.attempt(s.sign("dispatcher", policy=policy, heads=heads))


@case("E_AGENCY")
def device_of_an_agency_not_accepted(s: Stage) -> Attempt:
    other = World(name="south")
    other.enrol("stranger")
    entry = RosterEntry(other.id("stranger"), other.agency, NO_KID)
    roster = tuple(sorted((*s.next.roster, entry), key=lambda e: e.device_id))
    agencies = [(w.root.key.public, list(w.log)) for w in (s.world, other)]
    return s.attempt(s.sign("dispatcher", roster=roster), agencies=agencies)


@case("E_DIR_BEHIND")
def directory_not_fetched_yet(s: Stage) -> Attempt:
    w = s.world
    known = list(w.log)
    w.revoke("outsider")
    signed = s.sign("dispatcher", heads=s.heads())
    return s.attempt(signed, agencies=[(w.root.key.public, known)])


@case("E_DIR_FORK")
def another_directory_shown(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", heads=(Head(s.world.agency, s.world.directory.seq, bytes(32)),)))


@case("E_HEAD_ROLLBACK")
def older_directory_head(s: Stage) -> Attempt:
    directory = s.world.directory
    seq = directory.seq - 1
    return s.attempt(s.sign("dispatcher", heads=(Head(s.world.agency, seq, directory.hash_at(seq) or b""),)))


@case("E_AUTHZ")
def committer_not_a_member(s: Stage) -> Attempt:
    return s.attempt(s.sign("outsider"))


@case("E_AUTHZ")
def committer_admits_itself(s: Stage) -> Attempt:
    entry = RosterEntry(s.world.id("outsider"), s.world.agency, NO_KID)
    roster = tuple(sorted((*s.next.roster, entry), key=lambda e: e.device_id))
    return s.attempt(s.sign("outsider", roster=roster))


@case("E_AUTHZ")
def creator_may_not_create(s: Stage) -> Attempt:
    keys = s.world.keys["unit"]
    return s.attempt(_own_genesis(s, keys), before=[])


@case("E_AUTHZ")
def creator_not_in_the_roster(s: Stage) -> Attempt:
    return s.attempt(_own_genesis(s, s.world.keys["outsider"]), before=[])


def _own_genesis(s: Stage, keys: DeviceKeys, **changes: Any) -> Signed:
    base = s.genesis.commit
    compartment = changes.get("compartment", base.compartment)
    channel_id = channel_id_of(keys.device_id, base.incident_id, compartment, base.nonce)
    return resign(keys, base, channel_id=channel_id, **changes)


@case("E_AUTHZ")
def admits_without_the_right(s: Stage) -> Attempt:
    entry = RosterEntry(s.world.id("outsider"), s.world.agency, NO_KID)
    roster = tuple(sorted((*s.next.roster, entry), key=lambda e: e.device_id))
    return s.attempt(s.sign("unit", roster=roster))


@case("E_AUTHZ")
def narrows_sight_without_the_right(s: Stage) -> Attempt:
    roster = tuple(
        replace(e, class_mask=MEDIA_ONLY) if e.device_id == s.world.id("lead") else e for e in s.next.roster
    )
    return s.attempt(s.sign("unit", roster=roster))


@case("E_AUTHZ")
def removes_without_the_right(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", roster=s.roster("dispatcher", "lead", "unit")))


@case("E_AUTHZ")
def changes_policy_without_the_right(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", policy=Policy((s.world.agency,)), records=()))


@case("E_UNKNOWN_DEVICE")
def ghost_device(s: Stage) -> Attempt:
    ghost = DeviceKeys(SigningKey(seed("ghost")))
    entry = RosterEntry(ghost.device_id, s.world.agency, NO_KID)
    roster = tuple(sorted((*s.next.roster, entry), key=lambda e: e.device_id))
    return s.attempt(s.sign("dispatcher", roster=roster))


@case("E_UNKNOWN_DEVICE")
def device_certified_after_the_named_head(s: Stage) -> Attempt:
    heads = s.heads()
    s.world.enrol("late")
    entry = RosterEntry(s.world.id("late"), s.world.agency, NO_KID)
    roster = tuple(sorted((*s.next.roster, entry), key=lambda e: e.device_id))
    return s.attempt(s.sign("dispatcher", roster=roster, heads=heads))


@case("E_REVOKED")
def keeps_a_revoked_device(s: Stage) -> Attempt:
    s.world.revoke("spare")
    return s.attempt(s.sign("dispatcher", heads=s.heads()))


@case("E_REVOKED")
def committer_is_revoked(s: Stage) -> Attempt:
    s.world.revoke("lead")
    return s.attempt(s.sign("lead", heads=s.heads(), roster=s.roster("dispatcher", "unit", "spare")))


@case("E_REVOKED")
def stored_though_revoked_since(s: Stage) -> Attempt:
    heads = s.heads()
    s.world.revoke("spare")
    return s.attempt(s.sign("dispatcher", heads=heads), now_ms=NOW_MS, storing=True)


@case("E_EXPIRED")
def keeps_an_expired_device(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", ts_ms=NOW_MS + 2 * DAY_MS))


@case("E_COMPARTMENT")
def device_without_the_compartment(s: Stage) -> Attempt:
    s.world.enrol("officer", compartments=0b10000)
    entry = RosterEntry(s.world.id("officer"), s.world.agency, NO_KID)
    roster = tuple(sorted((*s.next.roster, entry), key=lambda e: e.device_id))
    return s.attempt(s.sign("dispatcher", roster=roster, heads=s.heads()))


@case("E_CLOCK")
def earlier_than_the_commit_before(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", ts_ms=NOW_MS - 1))


@case("E_CLOCK")
def ten_minutes_ahead_when_live(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", ts_ms=NOW_MS + 600_000), now_ms=NOW_MS)


@case("E_CLOCK")
def ten_minutes_old_when_live(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher"), now_ms=NOW_MS + 600_000)


def _keys(s: Stage) -> list[Signed]:
    return [k.newest for k in s.world.keys.values()]


@case("E_DEVKEY")
def device_key_never_published(s: Stage) -> Attempt:
    roster = tuple(
        replace(e, kid=bytes([1] * 8)) if e.device_id == s.world.id("unit") else e for e in s.next.roster
    )
    return s.attempt(s.sign("dispatcher", roster=roster), now_ms=NOW_MS, device_keys=_keys(s))


@case("E_DEVKEY")
def device_key_expired(s: Stage) -> Attempt:
    ts_ms = NOW_MS + 9 * DAY_MS
    signed = s.sign("dispatcher", ts_ms=ts_ms, roster=s.roster("dispatcher", "lead", "unit"))
    return s.attempt(signed, now_ms=ts_ms, device_keys=_keys(s))


@case("E_DEVKEY")
def device_left_without_a_box(s: Stage) -> Attempt:
    roster = tuple(replace(e, kid=NO_KID) if e.device_id == s.world.id("unit") else e for e in s.next.roster)
    ts_ms = NOW_MS + 2 * HOUR_MS
    signed = s.sign("dispatcher", roster=roster, ts_ms=ts_ms)
    return s.attempt(signed, now_ms=ts_ms, storing=True, device_keys=_keys(s))


@case("E_DEVKEY")
def device_key_replaced_long_ago(s: Stage) -> Attempt:
    keys = _keys(s)
    keys.append(s.world.keys["unit"].rotate(seeded("second key"), NOW_MS))
    ts_ms = NOW_MS + 2 * HOUR_MS
    return s.attempt(s.sign("dispatcher", ts_ms=ts_ms), now_ms=ts_ms, storing=True, device_keys=keys)


@case("E_RECORDS")
def records_key_dropped(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", records=()))


@case("E_RECORDS")
def records_key_added_against_policy(s: Stage) -> Attempt:
    return s.attempt(s.sign("dispatcher", policy=Policy((s.world.agency,))))


@case("E_RECORDS")
def records_key_sees_more_classes(s: Stage) -> Attempt:
    records = tuple(replace(r, class_mask=1 << DURABLE | 1 << EPHEMERAL) for r in s.next.records)
    return s.attempt(s.sign("dispatcher", records=records))


@case("E_RECORDS")
def records_key_sees_less_than_due(s: Stage) -> Attempt:
    records = tuple(replace(r, class_mask=MEDIA_ONLY) for r in s.next.records)
    return s.attempt(s.sign("dispatcher", records=records))


@case("E_RECORDS")
def records_key_under_another_kid(s: Stage) -> Attempt:
    records = tuple(replace(r, kid=bytes(8)) for r in s.next.records)
    return s.attempt(s.sign("dispatcher", records=records))


@case("E_RECORDS")
def records_key_withdrawn_yet_kept(s: Stage) -> Attempt:
    s.world.sign(s.world.first, RecordsRemoved(s.world.records.records_id, "new key", NOW_MS))
    return s.attempt(s.sign("dispatcher", heads=s.heads()))


@case("E_RECORDS")
def records_key_unknown(s: Stage) -> Attempt:
    unknown = RecordsId(bytes(16))
    entry = RecordsEntry(unknown, s.world.agency, 1 << DURABLE, bytes(8))
    policy = Policy((s.world.agency,), (unknown,))
    return s.attempt(s.sign("dispatcher", policy=policy, records=(entry,)))


@case("E_RECORDS")
def records_key_beyond_its_compartments(s: Stage) -> Attempt:
    world = World(name="west")
    world.enrol("dispatcher")
    world.add_records(compartments=0b00001)
    maker = world.committer("dispatcher")
    plan = Genesis((world.seat("dispatcher"),), world.policy(), 4, INCIDENT)
    made = maker.create(plan, now_ms=NOW_MS).commit
    key = world.directory.records_keys()[0]
    entry = RecordsEntry(key.records_id, world.agency, key.class_mask, world.records.held.kid)
    keys = world.keys["dispatcher"]
    signed = resign(keys, made, policy=world.policy(records=True), records=(entry,))
    return Attempt([(world.root.key.public, world.log)], [], signed)


def _guest(s: Stage, *, not_after_ms: int = NOW_MS + HOUR_MS, mask: int = MEDIA_ONLY) -> RosterEntry:
    return DeviceKeys.create_guest(seeded("guest"), not_after_ms).guest_entry(s.world.agency, mask)


def _with(s: Stage, entry: RosterEntry) -> tuple[RosterEntry, ...]:
    others = [e for e in s.next.roster if e.device_id != entry.device_id]
    return tuple(sorted((*others, entry), key=lambda e: e.device_id))


@case("E_GUEST")
def guest_for_more_than_four_hours(s: Stage) -> Attempt:
    entry = _guest(s, not_after_ms=NOW_MS + 4 * HOUR_MS + 1)
    return s.attempt(s.sign("dispatcher", roster=_with(s, entry)))


@case("E_GUEST")
def guest_sees_more_than_the_voucher_may_grant(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", roster=_with(s, _guest(s, mask=14))))


@case("E_GUEST")
def guest_id_not_of_its_key(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", roster=_with(s, replace(_guest(s), device_id=DeviceId(bytes(16))))))


@case("E_GUEST")
def guest_kid_not_of_its_key(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", roster=_with(s, replace(_guest(s), kid=NO_KID))))


@case("E_GUEST")
def guest_key_that_nobody_can_seal_to(s: Stage) -> Attempt:
    entry = _guest(s)
    assert entry.guest is not None
    entry = replace(entry, kid=kid_of(bytes(32)), guest=replace(entry.guest, hpke_public=bytes(32)))
    return s.attempt(s.sign("lead", roster=_with(s, entry)))


@case("E_GUEST")
def certified_device_as_a_guest(s: Stage) -> Attempt:
    entry = _guest(s)
    assert entry.guest is not None
    public = s.world.keys["outsider"].identity.public
    entry = replace(entry, device_id=s.world.id("outsider"), guest=replace(entry.guest, public=public))
    return s.attempt(s.sign("lead", roster=_with(s, entry)))


@case("E_GUEST")
def guest_in_the_name_of_another_agency(s: Stage) -> Attempt:
    other = World(name="south")
    policy = Policy(tuple(sorted((s.world.agency, other.agency))), s.next.policy.records)
    heads = sorted(
        (*s.heads(), Head(other.agency, other.directory.seq, other.directory.head)), key=lambda h: h.agency_id
    )
    entry = replace(_guest(s), agency_id=other.agency)
    agencies = [(w.root.key.public, list(w.log)) for w in (s.world, other)]
    signed = s.sign("dispatcher", roster=_with(s, entry), policy=policy, heads=heads)
    return s.attempt(signed, agencies=agencies)


@case("E_AGENCY")
def guest_of_an_agency_not_accepted(s: Stage) -> Attempt:
    entry = replace(_guest(s), agency_id=AgencyId(bytes(16)))
    return s.attempt(s.sign("lead", roster=_with(s, entry)))


@case("E_AUTHZ")
def guest_vouched_for_without_the_right(s: Stage) -> Attempt:
    return s.attempt(s.sign("unit", roster=_with(s, _guest(s))))


def _with_guest(s: Stage, *, mask: int = MEDIA_ONLY) -> tuple[list[Signed], Commit, DeviceKeys]:
    keys = DeviceKeys.create_guest(seeded("guest"), NOW_MS + HOUR_MS)
    entry = keys.guest_entry(s.world.agency, mask)
    made = s.world.commit("dispatcher", s.channel, Change(CommitReason.MEMBER, guests=(entry,)))
    s.world.process("dispatcher", s.channel, made)
    following = s.world.commit("dispatcher", s.channel, PERIODIC).commit
    return [s.genesis.commit.signed, made.commit.signed], following, keys


@case("E_AUTHZ")
def guest_commits(s: Stage) -> Attempt:
    before, following, keys = _with_guest(s, mask=14)
    return s.attempt(resign(keys, following), before=before)


@case("E_AUTHZ")
def guest_prolonged_without_the_right(s: Stage) -> Attempt:
    before, following, _ = _with_guest(s)
    roster = tuple(
        replace(e, guest=replace(e.guest, not_after_ms=NOW_MS + 2 * HOUR_MS)) if e.guest else e
        for e in following.roster
    )
    return s.attempt(s.sign("unit", following, roster=roster), before=before)


@case("E_EXPIRED")
def keeps_an_expired_guest(s: Stage) -> Attempt:
    before, following, _ = _with_guest(s)
    return s.attempt(s.sign("unit", following, ts_ms=NOW_MS + HOUR_MS + 1), before=before)


@case("E_AUTHZ")
def masked_device_commits(s: Stage) -> Attempt:
    seat = Seat(s.world.id("unit"), s.world.agency, MEDIA_ONLY)
    made = s.world.commit("dispatcher", s.channel, Change(CommitReason.MEMBER, admit=(seat,)))
    s.world.process("dispatcher", s.channel, made)
    following = s.world.commit("dispatcher", s.channel, PERIODIC).commit
    before = [s.genesis.commit.signed, made.commit.signed]
    return s.attempt(s.sign("unit", following), before=before)


def _sensitive(compartment: int) -> Make:
    def make(s: Stage) -> Attempt:
        keys = s.world.keys["dispatcher"]
        return s.attempt(_own_genesis(s, keys, compartment=compartment), before=[])

    return make


for number, name in ((1, "clinical"), (2, "record"), (3, "substance_use")):
    CASES[f"{name}_without_authorisation"] = ("E_AUTH", _sensitive(number))


@case("E_GUEST")
def guest_key_of_small_order(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", roster=_with(s, _guest_with(s, SMALL_ORDER_KEY))))


@case("E_GUEST")
def guest_key_not_canonical(s: Stage) -> Attempt:
    return s.attempt(s.sign("lead", roster=_with(s, _guest_with(s, NON_CANONICAL_KEY))))


def _guest_with(s: Stage, public: bytes) -> RosterEntry:
    entry = _guest(s)
    assert entry.guest is not None
    return replace(entry, device_id=device_id_of(public), guest=replace(entry.guest, public=public))


GOOD: dict[str, Make] = {}


def good(make: Make) -> Make:
    GOOD[make.__name__] = make
    return make


@good
def next_commit(s: Stage) -> Attempt:
    return s.attempt(s.next.signed)


@good
def next_commit_live(s: Stage) -> Attempt:
    signed = s.sign("dispatcher", ts_ms=NOW_MS + 599_999)
    return s.attempt(signed, now_ms=NOW_MS, storing=True, device_keys=_keys(s))


@good
def genesis(s: Stage) -> Attempt:
    return s.attempt(s.genesis.commit.signed, before=[])


@good
def anyone_drops_a_revoked_device(s: Stage) -> Attempt:
    s.world.revoke("spare")
    signed = s.sign("unit", heads=s.heads(), roster=s.roster("dispatcher", "lead", "unit"))
    return s.attempt(signed, now_ms=NOW_MS, storing=True)


@good
def anyone_drops_an_expired_device(s: Stage) -> Attempt:
    roster = s.roster("dispatcher", "lead", "unit")
    return s.attempt(s.sign("unit", roster=roster, ts_ms=NOW_MS + 2 * DAY_MS))


@good
def anyone_drops_an_expired_guest(s: Stage) -> Attempt:
    before, following, _ = _with_guest(s)
    roster = tuple(e for e in following.roster if e.guest is None)
    return s.attempt(s.sign("unit", following, roster=roster, ts_ms=NOW_MS + HOUR_MS + 1), before=before)


@good
def anyone_leaves(s: Stage) -> Attempt:
    return s.attempt(s.sign("unit", roster=s.roster("dispatcher", "lead", "spare")))


@good
def a_member_carries_a_guest_over(s: Stage) -> Attempt:
    before, following, _ = _with_guest(s)
    return s.attempt(s.sign("unit", following), before=before)


@good
def a_guest_for_four_hours(s: Stage) -> Attempt:
    entry = _guest(s, not_after_ms=NOW_MS + 4 * HOUR_MS)
    return s.attempt(s.sign("lead", roster=_with(s, entry)))


@good
def a_withdrawn_records_key_drops_out(s: Stage) -> Attempt:
    s.world.sign(s.world.first, RecordsRemoved(s.world.records.records_id, "new key", NOW_MS))
    return s.attempt(s.sign("unit", heads=s.heads(), records=()))


@good
def clinical_with_break_glass(s: Stage) -> Attempt:
    auth = (AuthRecord(Authorisation.BREAK_GLASS, bytes(32)),)
    keys = s.world.keys["dispatcher"]
    return s.attempt(_own_genesis(s, keys, compartment=1, auth=auth), before=[])


@good
def a_dormant_device_keeps_its_seat(s: Stage) -> Attempt:
    # Its newest DeviceKey has run out, so there is nothing to seal to.
    ts_ms = NOW_MS + 9 * DAY_MS
    w = s.world
    for name in ("dispatcher", "lead"):
        w.keys[name].rotate(seeded(f"new {name}"), NOW_MS + 8 * DAY_MS)
        w.publish(name)
    made = w.commit("dispatcher", s.channel, PERIODIC, now_ms=ts_ms).commit
    dormant = made.entry(w.id("unit"))
    assert dormant is not None
    assert dormant.kid == NO_KID
    return s.attempt(made.signed, now_ms=ts_ms, storing=True, device_keys=_keys(s))
