"""What is given on purpose: history grants, records, attachments, what was seen, enrolment."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening.attachments import CHUNK_BYTES, AttachmentKey
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.opening.grants import accept_grant, make_grant
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.opening.records import (
    RecordsPrivateKey,
    open_records_box,
)
from leeside_protocol.sealing.public.acceptance import Receipt, roster_public_key
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.device_key import DeviceKeyBook, parse_device_key, verify_device_key
from leeside_protocol.sealing.public.enrolment import short_code, verify_enrolment
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL, MEDIA
from leeside_protocol.sealing.public.grant import SealedGrant, encode_grant, verify_grant
from leeside_protocol.sealing.public.seen import KEPT_HEADS, LogHead, Seen, SeenLog
from leeside_protocol.sealing.public.signed import KIND_GRANT
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.world import DAY_MS, HOUR_MS, NOW_MS, World, seed, seeded, small_world


class Joined:
    """A clinician who joined in epoch 1; one message was said in epoch 0."""

    def __init__(self) -> None:
        self.world: World = small_world()
        w = self.world
        first = w.genesis("dispatcher", "unit", records=True)
        self.dispatcher, self.unit = w.view("dispatcher", first), w.view("unit", first)
        self.said = w.say("dispatcher", self.dispatcher, "before")
        self.where = w.say("dispatcher", self.dispatcher, key_class=EPHEMERAL)
        change = Change(CommitReason.MEMBER, admit=(w.seat("clinician"),))
        second = w.commit("dispatcher", self.dispatcher, change)
        for name, channel in (("dispatcher", self.dispatcher), ("unit", self.unit)):
            w.process(name, channel, second)
        self.made = (first, second)
        self.clinician = w.view("clinician", first, second)

    def grant(
        self,
        by: str = "dispatcher",
        *,
        to: bytes = b"",
        epochs: tuple[int, ...] = (0,),
        class_mask: int = 1 << DURABLE,
    ) -> SealedGrant:
        w = self.world
        return make_grant(
            self.dispatcher if by == "dispatcher" else self.unit,
            w.keys[by],
            to=to or w.id("clinician"),
            epochs=epochs,
            class_mask=class_mask,
            directories=w.directories,
            device_keys=w.book,
            now_ms=NOW_MS,
        )

    def accept(self, sealed: SealedGrant, *, live: bool = True) -> tuple[int, ...]:
        w = self.world
        receipt = Receipt(NOW_MS) if live else Receipt()
        return accept_grant(self.clinician, sealed, w.keys["clinician"], w.directories, receipt)


@pytest.fixture
def joined() -> Joined:
    return Joined()


def test_context_is_given_epoch_by_epoch_and_class_by_class(joined: Joined) -> None:
    w = joined.world
    with refused(SealingCode.E_NO_KEY):
        joined.clinician.open(joined.said, w.directories)
    sealed = SealedGrant.decode(joined.grant().encode())
    assert joined.accept(sealed) == (0,)
    assert joined.clinician.open(joined.said, w.directories).body.data == "before"
    with refused(SealingCode.E_NO_KEY):
        joined.clinician.open(joined.where, w.directories)


def test_who_may_not_be_given_or_give(joined: Joined) -> None:
    w = joined.world
    with refused(SealingCode.E_GRANT):
        joined.grant(to=w.id("spare"))
    with refused(SealingCode.E_GRANT):
        joined.grant(epochs=(0, 7))
    with refused(SealingCode.E_AUTHZ):
        joined.grant("unit")
    joined.dispatcher.forget_durable(1)
    with refused(SealingCode.E_NO_KEY):
        joined.grant()


def test_a_reseal_needs_no_right_to_grant(joined: Joined) -> None:
    """The clinician's box of epoch 1 did not open; the unit, which may only send, seals it anew."""
    w = joined.world
    joined.clinician.forget_all()
    assert joined.accept(joined.grant("unit", epochs=(1,), class_mask=14)) == (1,)
    assert joined.clinician.open(w.say("unit", joined.unit), w.directories).body.data == "on my way"


def test_made_up_history_is_refused(joined: Joined) -> None:
    joined.dispatcher._secrets[0][DURABLE] = bytes(32)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    before = joined.clinician.export()
    with refused(SealingCode.E_COMMITMENT):
        joined.accept(joined.grant())
    assert joined.clinician.export() == before


def test_altered_or_misdirected_grants(joined: Joined) -> None:
    w = joined.world
    good = joined.grant()
    with refused(SealingCode.E_SIG):
        joined.accept(replace(good, signed=replace(good.signed, signature=bytes(64))))
    with refused(SealingCode.E_BOX):
        joined.accept(replace(good, box=good.box[:-1] + bytes([good.box[-1] ^ 1])))
    with refused(SealingCode.E_GRANT):
        accept_grant(joined.unit, good, w.keys["unit"], w.directories)
    spare = w.view("spare", joined.made[0])
    with refused(SealingCode.E_UNKNOWN_EPOCH):
        accept_grant(spare, good, w.keys["spare"], w.directories)
    w.revoke("dispatcher")
    with refused(SealingCode.E_REVOKED):
        joined.accept(good)
    assert joined.accept(good, live=False) == (0,)  # it held when it was given


def test_grant_rules_an_observer_checks(joined: Joined) -> None:
    w, head = joined.world, joined.dispatcher.head
    keys = w.keys["dispatcher"]
    plan = {
        "channel_id": head.channel_id, "epoch": 1, "head_hash": head.hash, "to": w.id("clinician"), "kid": bytes(8),
        "epochs": (0,), "class_mask": 2, "ts_ms": NOW_MS,
    }  # fmt: skip
    cases: list[tuple[SealingCode, dict[str, object]]] = [
        (SealingCode.E_CHAIN, {"channel_id": bytes(16)}),
        (SealingCode.E_CHAIN, {"head_hash": bytes(32)}),
        (SealingCode.E_UNKNOWN_EPOCH, {"epoch": 5}),
        (SealingCode.E_GRANT, {"to": w.id("spare")}),
        (SealingCode.E_GRANT, {"epochs": (2,)}),
        (SealingCode.E_GRANT, {"to": w.records.records_id, "class_mask": 14}),
        (SealingCode.E_ENCODING, {"epochs": ()}),
        (SealingCode.E_ENCODING, {"epochs": (1, 0)}),
        (SealingCode.E_ENCODING, {"class_mask": 1}),
        (SealingCode.E_CLOCK, {"ts_ms": NOW_MS + 600_000}),
        (SealingCode.E_EXPIRED, {"ts_ms": NOW_MS + 301 * DAY_MS}),
    ]
    for code, changes in cases:
        payload = encode_grant(**{**plan, **changes})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        signed = keys.identity.sign(KIND_GRANT, keys.device_id, payload)
        receipt = Receipt() if code is SealingCode.E_EXPIRED else Receipt(NOW_MS)
        with refused(code):
            verify_grant(joined.dispatcher.line, signed, w.directories, receipt)
    outsider = w.keys["spare"]
    signed = outsider.identity.sign(KIND_GRANT, outsider.device_id, encode_grant(**plan))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with refused(SealingCode.E_AUTHZ):
        verify_grant(joined.dispatcher.line, signed, w.directories)


def test_a_grant_of_another_version_is_refused(joined: Joined) -> None:
    w, good = joined.world, joined.grant()
    keys = w.keys["dispatcher"]
    payload = bytearray(good.signed.payload)
    assert payload[1] == 1
    payload[1] = 2
    signed = keys.identity.sign(KIND_GRANT, keys.device_id, bytes(payload))
    with refused(SealingCode.E_FORMAT):
        verify_grant(joined.dispatcher.line, signed, w.directories)


def test_a_granter_that_no_directory_here_certifies_is_refused(joined: Joined) -> None:
    good = joined.grant()
    other = World(name="south")
    for directories in ({}, other.directories, {joined.world.agency: other.directory}):
        with refused(SealingCode.E_UNKNOWN_DEVICE):
            verify_grant(joined.dispatcher.line, good.signed, directories)


def test_the_key_of_a_roster_device_comes_from_its_directory_or_its_voucher(joined: Joined) -> None:
    w, head = joined.world, joined.dispatcher.head
    unit = w.id("unit")
    assert roster_public_key(head, unit, w.directories) == w.keys["unit"].identity.public
    with refused(SealingCode.E_AUTHZ):
        roster_public_key(head, w.id("spare"), w.directories)
    with refused(SealingCode.E_UNKNOWN_DEVICE):
        roster_public_key(head, unit, {})
    guest = DeviceKeys.create_guest(seeded("guest"), NOW_MS + HOUR_MS)
    entry = guest.guest_entry(w.agency, 1 << MEDIA)
    made = w.commit("dispatcher", joined.dispatcher, Change(CommitReason.MEMBER, guests=(entry,)))
    assert roster_public_key(made.commit, guest.device_id, w.directories) == guest.identity.public
    assert roster_public_key(made.commit, guest.device_id, {}) == guest.identity.public


def test_records_key_opens_its_classes_alone(joined: Joined) -> None:
    w, (first, second) = joined.world, joined.made
    for made in (first, second):
        box = made.box_for(w.records.records_id)
        assert box is not None
        opened = open_records_box(w.records, made.commit, box)
        assert set(opened.classes) == {DURABLE}
        assert opened.chain is None
    box = second.box_for(w.id("unit"))
    assert box is not None
    with refused(SealingCode.E_RECORDS):
        open_records_box(w.records, second.commit, box)
    with refused(SealingCode.E_RECORDS):
        open_records_box(RecordsPrivateKey(seed("other")), second.commit, box)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_attachments_come_back_whole(size: int) -> None:
    key = AttachmentKey.create(seeded("file"), size)
    data = seeded("content")(size)
    sealed = list(key.seal_all(data[i : i + 10_007] for i in range(0, size, 10_007)))
    assert len(sealed) == key.chunks
    assert sum(map(len, sealed)) == key.sealed_bytes
    assert b"".join(AttachmentKey.parse(list(key.fields())).open_all(sealed)) == data
    assert key.seal_chunk(0, data[:CHUNK_BYTES]) == sealed[0]  # an upload may resume anywhere


def test_attachments_altered_cut_or_reordered() -> None:
    size = 2 * CHUNK_BYTES + 5
    key = AttachmentKey.create(seeded("file"), size)
    sealed = list(key.seal_all([bytes(size)]))
    flipped = bytes([sealed[0][0] ^ 1]) + sealed[0][1:]
    other = AttachmentKey.create(seeded("other"), size)
    bad: list[tuple[AttachmentKey, list[bytes]]] = [
        (key, sealed[:-1]),
        (key, [*sealed, sealed[-1]]),
        (key, [sealed[1], sealed[0], sealed[2]]),
        (key, [flipped, *sealed[1:]]),
        (key, [sealed[0][:-1], *sealed[1:]]),
        (other, sealed),
        (dataclasses.replace(key, file_id=bytes(16)), sealed),
        (dataclasses.replace(key, size_bytes=2 * CHUNK_BYTES), sealed[:2]),
    ]
    for name, chunks in bad:
        with refused(SealingCode.E_ATTACHMENT):
            list(name.open_all(chunks))
    for data in ([bytes(size - 1)], [bytes(size), b"x"], []):
        with refused(SealingCode.E_ATTACHMENT):
            list(key.seal_all(data))


def test_what_was_seen_shows_a_log_of_ones_own() -> None:
    one, two = SeenLog(), SeenLog()
    for seq in (1, 2, 5):
        one.append(seq, seed(str(seq)))
        two.append(seq, seed(str(seq)))
    assert one.compare(two.head) is Seen.AGREES
    assert two.compare(one.append(6, seed("6"))) is Seen.AHEAD
    two.append(6, seed("another"))
    with refused(SealingCode.E_LOG_FORK):
        one.compare(two.head)
    with refused(SealingCode.E_LOG_FORK):
        one.compare(LogHead(4, bytes(32)))  # an entry that was kept from this one
    with refused(SealingCode.E_LOG_FORK):
        one.append(6, seed("6"))
    late = SeenLog(one.head)
    assert late.compare(LogHead(2, bytes(32))) is Seen.TOO_OLD
    for seq in range(7, 7 + KEPT_HEADS):
        one.append(seq, seed("x"))
    assert one.compare(LogHead(6, bytes(32))) is Seen.TOO_OLD


def test_device_keys_rotate_daily_and_old_halves_go() -> None:
    world = World()
    world.enrol("phone")
    keys = world.keys["phone"]
    certificate = world.directory.live_device(keys.device_id)
    old = verify_device_key(keys.newest, certificate, NOW_MS)
    assert not keys.rotation_due(NOW_MS)
    assert keys.rotation_due(NOW_MS + DAY_MS)
    # Made while a clock ran years ahead: of no use to anyone today.
    assert keys.rotation_due(NOW_MS - DAY_MS)
    keys.rotate(seeded("next"), NOW_MS + DAY_MS)
    new = verify_device_key(keys.newest, certificate, NOW_MS + DAY_MS)
    assert new.kseq == old.kseq + 1
    assert keys.prune(NOW_MS + DAY_MS + HOUR_MS, boxes_fetched=False) == 0
    assert keys.prune(NOW_MS + DAY_MS + HOUR_MS - 1, boxes_fetched=True) == 0
    assert keys.prune(NOW_MS + DAY_MS + HOUR_MS, boxes_fetched=True) == 1
    assert not keys.holds(old.kid)
    with refused(SealingCode.E_NO_KEY):
        keys.held(old.kid)
    again = DeviceKeys.restore(keys.export())
    assert again.export() == keys.export()
    assert again.newest == keys.newest


def test_two_processes_of_a_device_come_to_one_newest_key() -> None:
    world = World()
    world.enrol("phone")
    here = world.keys["phone"]
    there = DeviceKeys.restore(here.export())
    first = here.newest
    there.rotate(seeded("next"), NOW_MS + DAY_MS)
    here.adopt(DeviceKeys.restore(there.export()), NOW_MS + DAY_MS)
    assert here.newest == there.newest != first
    assert not here.rotation_due(NOW_MS + DAY_MS)
    here.rotate(seeded("again"), NOW_MS + 2 * DAY_MS)
    assert parse_device_key(here.newest.payload).kseq == parse_device_key(there.newest.payload).kseq + 1
    # One that the other process deleted meanwhile does not stay for ever here.
    alone = DeviceKeys.restore(here.export())
    assert alone.prune(NOW_MS + 3 * DAY_MS, boxes_fetched=True) == 2
    there.adopt(alone, NOW_MS + 3 * DAY_MS)
    there.prune(NOW_MS + 3 * DAY_MS + HOUR_MS, boxes_fetched=True)
    assert there.export() == alone.export()


def test_device_keys_that_do_not_count() -> None:
    world = World()
    world.enrol("phone")
    world.enrol("other")
    keys = world.keys["phone"]
    certificate = world.directory.live_device(keys.device_id)
    first = keys.newest
    with refused(SealingCode.E_DEVKEY):
        verify_device_key(first, certificate, NOW_MS + 9 * DAY_MS)
    with refused(SealingCode.E_DEVKEY):
        verify_device_key(world.keys["other"].newest, certificate)
    with refused(SealingCode.E_SIG):
        verify_device_key(replace(first, signature=bytes(64)), certificate)
    book = DeviceKeyBook()
    book.add(keys.rotate(seeded("next"), NOW_MS), certificate)
    with refused(SealingCode.E_DEVKEY):
        book.add(first, certificate)  # an old key brought back
    assert book.current(keys.device_id, NOW_MS) == book.newest(keys.device_id)
    assert book.current(keys.device_id, NOW_MS + 9 * DAY_MS) is None


def test_enrolment_proves_the_key_and_people_compare_a_code() -> None:
    keys = DeviceKeys.create(seeded("new"), NOW_MS)
    proof = keys.enrolment_proof("ABCD-1234")
    verify_enrolment(keys.identity.public, "ABCD-1234", proof)
    with refused(SealingCode.E_SIG):
        verify_enrolment(keys.identity.public, "ABCD-1235", proof)
    code = short_code(keys.identity.public, keys.newest.payload)
    assert len(code) == 14
    assert code != short_code(keys.identity.public, keys.rotate(seeded("next"), NOW_MS).payload)


def test_secrets_do_not_show_when_printed(joined: Joined) -> None:
    secret = joined.dispatcher.secrets(1)[DURABLE]
    shown = repr([joined.dispatcher, joined.world.keys["unit"], joined.made[1], joined.world.records])
    assert repr(secret)[2:-1] not in shown
    assert isinstance(joined.dispatcher, SealedChannel)
