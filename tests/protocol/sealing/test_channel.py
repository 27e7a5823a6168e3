"""A member's channel: boxes and whom to blame, rotation, forks, forgetting, keeping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.boxes import box_info, seal_box, some_classes, whole_epoch
from leeside_protocol.sealing.opening.channel import Delivery, Installed, SealedChannel
from leeside_protocol.sealing.opening.committer import Change, MadeCommit
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.acceptance import Receipt
from leeside_protocol.sealing.public.boxes import Box, BoxList, box_list_input, verify_box_list, verify_boxes
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.device_key import encode_device_key
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL, FULL_CLASS_MASK, MEDIA
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.sealing.public.signed import KIND_DEVICE_KEY
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.staging import Stage
from tests.protocol.sealing.world import DAY_MS, HOUR_MS, NOW_MS, PERIODIC, World, seed, seeded, small_world


def boxed(world: World, made: MadeCommit, change: Callable[[Box], Box | None], *, relist: bool) -> Installed:
    """The unit installs `made` with its box changed; `relist`: the committer signed it so."""
    unit = world.id("unit")
    box = made.box_for(unit)
    assert box is not None
    changed = change(box)
    box_list = made.box_list
    if relist:
        boxes = [changed if b.recipient == unit and changed else b for b in made.boxes]
        hashes = tuple(b.hash for b in boxes)
        signature = world.keys["dispatcher"].identity.sign_raw(box_list_input(made.commit, hashes))
        box_list = BoxList(hashes, signature)
    channel = SealedChannel(made.commit.channel_id, unit)
    installed = channel.process_commit(
        made.commit.signed, Delivery(changed, box_list), world.keys["unit"], world.directories, now_ms=NOW_MS
    )
    assert channel.line.epoch == 0  # the chain advances all the same
    assert installed.opened is bool(channel.secrets(0))
    return installed


def other_content(world: World, made: MadeCommit, plaintext: bytes) -> Callable[[Box], Box]:
    def change(box: Box) -> Box:
        key = world.book.newest(DeviceId(box.recipient))
        assert key is not None
        return seal_box(made.commit, box.recipient, box.kid, key.public, plaintext)

    return change


def flip(box: Box) -> Box:
    return replace(box, sealed=box.sealed[:-1] + bytes([box.sealed[-1] ^ 1]))


@pytest.mark.parametrize("relist", [False, True])
def test_a_bad_box_is_blamed_on_who_made_it(relist: bool) -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    fault = "committer" if relist else "server"
    cases: list[tuple[SealingCode, Callable[[Box], Box | None]]] = [
        (SealingCode.E_BOX, flip),
        (SealingCode.E_COMMITMENT, other_content(world, made, whole_epoch(bytes(32)))),
        (SealingCode.E_BOX, other_content(world, made, whole_epoch(bytes(31)))),
        (SealingCode.E_BOX, other_content(world, made, b"\xff")),
        (
            SealingCode.E_BOX,
            other_content(world, made, some_classes({c: bytes(32) for c in (1, 2, 3)}, FULL_CLASS_MASK)),
        ),
        (SealingCode.E_BOX, lambda b: replace(b, kid=bytes(8))),
    ]
    for code, change in cases:
        alarm = boxed(world, made, change, relist=relist).alarm
        assert alarm is not None
        assert (alarm.code, alarm.at_fault, alarm.epoch) == (code, fault, 0)


def test_a_withheld_box_is_the_servers_fault() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    alarm = boxed(world, made, lambda _: None, relist=False).alarm
    assert alarm is not None
    assert (alarm.code, alarm.at_fault) == (SealingCode.E_BOX, "server")


def test_a_right_box_beside_a_wrong_list_opens_with_an_alarm() -> None:
    world = small_world()
    made = dataclasses.replace(world.genesis("dispatcher", "unit"))
    wrong = replace(made.box_list, signature=bytes(64))
    installed = boxed(world, dataclasses.replace(made, box_list=wrong), lambda b: b, relist=False)
    assert installed.opened
    assert installed.alarm is not None
    assert installed.alarm.code is SealingCode.E_BOXLIST


def test_the_server_takes_only_a_full_and_signed_set_of_boxes() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit", records=True)
    public = world.keys["dispatcher"].identity.public
    signature = made.box_list.signature
    assert verify_boxes(made.commit, made.boxes[::-1], signature, public) == made.box_list
    verify_box_list(made.commit, made.box_list, public)
    bad: list[tuple[tuple[Box, ...], bytes]] = [
        (made.boxes[1:], signature),
        ((*made.boxes, made.boxes[0]), signature),
        ((flip(made.boxes[0]), *made.boxes[1:]), signature),
        ((replace(made.boxes[0], kid=bytes(8)), *made.boxes[1:]), signature),
        ((replace(made.boxes[0], sealed=bytes(2000)), *made.boxes[1:]), signature),
        (made.boxes, bytes(64)),
    ]
    for boxes, sig in bad:
        with refused(SealingCode.E_BOXLIST):
            verify_boxes(made.commit, boxes, sig, public)


def test_the_victim_of_a_bad_box_commits_the_next_epoch() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    unit = SealedChannel(made.commit.channel_id, world.id("unit"))
    unit.process_commit(made.commit.signed, Delivery(), world.keys["unit"], world.directories, now_ms=NOW_MS)
    with refused(SealingCode.E_NO_KEY):
        world.say("unit", unit)
    assert unit.needs_rekey(world.directories, NOW_MS) is CommitReason.PERIODIC
    following = world.commit("unit", unit, PERIODIC)
    assert world.process("unit", unit, following).opened
    dispatcher = world.view("dispatcher", made, following)
    assert dispatcher.open(world.say("unit", unit), world.directories).body.data == "on my way"


def test_a_box_for_one_commit_is_no_box_for_another() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    box = made.box_for(world.id("unit"))
    assert box is not None
    key = world.keys["unit"].held(box.kid)
    for info in (
        box_info(bytes(32), box.recipient, box.kid),
        box_info(made.commit.hash, bytes(16), box.kid),
        box_info(made.commit.hash, box.recipient, bytes(8)),
    ):
        with refused(SealingCode.E_BOX):
            hpke.unseal(box.suite, key.private, info, box.sealed)


def test_a_sender_drops_a_revoked_device_and_goes_on() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit", "spare")
    unit, spare = world.view("unit", made), world.view("spare", made)
    world.revoke("spare")
    with refused(SealingCode.E_REVOKED):
        world.say("unit", unit)
    assert unit.needs_rekey(world.directories, NOW_MS) is CommitReason.REVOKE
    following = world.commit("unit", unit, Change(CommitReason.REVOKE))
    world.process("unit", unit, following)
    world.process("spare", spare, following)
    frame = world.say("unit", unit)
    assert not spare.secrets(1)
    with refused(SealingCode.E_NO_KEY):
        spare.open(frame, world.directories)


def test_a_dormant_device_comes_back() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    later = NOW_MS + 9 * DAY_MS
    world.keys["dispatcher"].rotate(seeded("fresh"), later)
    world.publish("dispatcher")
    dispatcher, unit = world.view("dispatcher", made), world.view("unit", made)
    without = world.commit("dispatcher", dispatcher, PERIODIC, now_ms=later)
    assert without.box_for(world.id("unit")) is None
    world.process("dispatcher", dispatcher, without, now_ms=later)
    installed = world.process("unit", unit, without, now_ms=later)
    assert installed.dormant
    assert installed.alarm is None
    world.keys["unit"].rotate(seeded("return"), later)
    world.publish("unit")
    back = world.commit("dispatcher", dispatcher, PERIODIC, now_ms=later)
    world.process("dispatcher", dispatcher, back, now_ms=later)
    assert world.process("unit", unit, back, now_ms=later).opened


def test_a_key_that_nobody_can_seal_to_is_refused_where_it_is_published() -> None:
    world = small_world()
    keys = world.keys["unit"]
    payload = encode_device_key(
        keys.device_id, kseq=2, suite=1, public=bytes(32), not_before_ms=NOW_MS, not_after_ms=NOW_MS + 1
    )
    with refused(SealingCode.E_DEVKEY):
        world.book.add(
            keys.identity.sign(KIND_DEVICE_KEY, keys.device_id, payload),
            world.directory.live_device(keys.device_id),
        )
    with refused(SealingCode.E_DEVKEY):
        hpke.seal(1, bytes(32), b"", b"")


def test_two_signed_branches_stop_the_channel_and_are_kept() -> None:
    stage = Stage()
    world = stage.world
    unit = world.view("unit", stage.genesis)
    made = world.commit("dispatcher", stage.channel, PERIODIC)
    other = world.commit("lead", world.view("lead", stage.genesis), PERIODIC)
    world.process("unit", unit, made)
    with refused(SealingCode.E_FORK):
        world.process("unit", unit, other)
    assert unit.fork_evidence == (made.commit.signed, other.commit.signed)
    for channel in (unit, SealedChannel.restore(unit.export())):
        with refused(SealingCode.E_FORK):
            world.say("unit", channel)


@pytest.mark.parametrize("by", ["outsider", "lead"])
def test_who_did_not_create_a_channel_cannot_fork_its_beginning(by: str) -> None:
    """One device and the server would stop any channel for good."""
    stage = Stage()
    world = stage.world
    unit = world.view("unit", stage.genesis)
    other = stage.sign(by, stage.genesis.commit)
    with refused(SealingCode.E_AUTHZ):
        unit.process_commit(other, Delivery(), world.keys["unit"], world.directories, now_ms=NOW_MS)
    assert unit.fork_evidence is None
    again = stage.sign("dispatcher", stage.genesis.commit, ts_ms=NOW_MS + 1)
    with refused(SealingCode.E_FORK):
        unit.process_commit(again, Delivery(), world.keys["unit"], world.directories, now_ms=NOW_MS)


def test_a_frame_of_another_branch_is_noticed() -> None:
    stage = Stage()
    world = stage.world
    unit, lead = world.view("unit", stage.genesis), world.view("lead", stage.genesis)
    world.process("unit", unit, world.commit("dispatcher", stage.channel, PERIODIC))
    world.process("lead", lead, world.commit("lead", lead, PERIODIC))
    with refused(SealingCode.E_FORK):
        unit.open(world.say("lead", lead), world.directories)
    assert unit.fork_evidence is None  # a header is no proof: anyone can alter it


def test_a_failed_commit_changes_nothing() -> None:
    stage = Stage()
    world = stage.world
    unit = world.view("unit", stage.genesis)
    before = unit.export()
    forged = replace(stage.next.signed, signature=bytes(64))
    with refused(SealingCode.E_SIG):
        unit.process_commit(forged, Delivery(), world.keys["unit"], world.directories, now_ms=NOW_MS)
    assert unit.export() == before


def test_live_receipt_bounds_the_clock() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    channel = SealedChannel(made.commit.channel_id, world.id("unit"))
    late = NOW_MS + HOUR_MS
    with refused(SealingCode.E_CLOCK):
        world.process("unit", channel, made, now_ms=late, receipt=Receipt(late))
    assert world.process("unit", channel, made, now_ms=late).opened


def test_rotation_is_due_after_four_hours_or_many_messages() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    unit = world.view("unit", made)
    assert unit.needs_rekey(world.directories, NOW_MS) is None
    assert unit.needs_rekey(world.directories, NOW_MS + 4 * HOUR_MS) is CommitReason.PERIODIC
    unit._messages = 2**16  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    assert unit.needs_rekey(world.directories, NOW_MS) is CommitReason.PERIODIC
    ids = sorted([world.id("dispatcher"), world.id("unit")])
    delays = {
        unit.rekey_delay_ms(frozenset(ids), 7),
        world.view("dispatcher", made).rekey_delay_ms(frozenset(ids), 7),
    }
    assert delays == {7, 307}


def test_short_lived_secrets_go_60_s_after_their_epoch() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    dispatcher, unit = world.view("dispatcher", made), world.view("unit", made)
    old = world.say("dispatcher", dispatcher, key_class=EPHEMERAL)
    following = world.commit("dispatcher", dispatcher, PERIODIC)
    world.process("unit", unit, following)
    assert unit.open(old, world.directories).old_epoch
    assert unit.forget_short_lived(NOW_MS + 59_999) == 0
    assert unit.forget_short_lived(NOW_MS + 60_000) == 2
    assert set(unit.secrets(0)) == {DURABLE}
    assert set(unit.secrets(1)) == {DURABLE, EPHEMERAL, MEDIA}
    with refused(SealingCode.E_NO_KEY):
        unit.open(old, world.directories, again=True)
    assert unit.forget_durable(1) == 1
    assert unit.epochs_held() == (1,)
    unit.forget_all()
    assert unit.epochs_held() == ()
    assert unit.chain is None


def test_the_chain_is_replaced_by_each_commit() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    unit, dispatcher = world.view("unit", made), world.view("dispatcher", made)
    first = unit.chain
    assert first == dispatcher.chain
    world.process("unit", unit, world.commit("dispatcher", dispatcher, PERIODIC))
    assert unit.chain not in (None, first)
    assert first is not None
    assert first not in unit.export()


def test_export_holds_all_and_restores_the_same() -> None:
    world = small_world()
    made = world.genesis("dispatcher", "unit")
    unit, dispatcher = world.view("unit", made), world.view("dispatcher", made)
    unit.open(world.say("dispatcher", dispatcher), world.directories)
    unit.open(world.say("dispatcher", dispatcher, key_class=EPHEMERAL), world.directories)
    unit.seen.append(1, seed("frame"))
    again = SealedChannel.restore(unit.export())
    assert again.export() == unit.export()
    assert again.secrets(0) == unit.secrets(0)
    assert again.seen.head == unit.seen.head
    for bad in (b"", b"\x90", unit.export()[:-1], unit.export().replace(b"\x9b\x01", b"\x9b\x02", 1)):
        with pytest.raises(Exception, match=r"E_(ENCODING|STATE)"):
            SealedChannel.restore(bad)


def test_a_commit_carries_what_its_maker_has_seen() -> None:
    world = small_world()
    dispatcher = world.view("dispatcher", world.genesis("dispatcher", "unit"))
    dispatcher.seen.append(4, seed("frame"))
    made = world.commit("dispatcher", dispatcher, PERIODIC)
    assert made.commit.seen == dispatcher.seen.head == LogHead().after(4, seed("frame"))


def test_a_guest_reads_what_it_was_vouched_for_and_no_more() -> None:
    world = small_world()
    first = world.genesis("dispatcher", "unit")
    dispatcher = world.view("dispatcher", first)
    guest = DeviceKeys.create_guest(seeded("guest"), NOW_MS + HOUR_MS)
    world.keys["guest"] = guest
    entry = guest.guest_entry(world.agency, 1 << MEDIA)
    made = world.commit("dispatcher", dispatcher, Change(CommitReason.MEMBER, guests=(entry,)))
    world.process("dispatcher", dispatcher, made)
    channel = world.view("guest", first, made)
    assert set(channel.secrets(1)) == {MEDIA}
    assert channel.chain is None
    later = NOW_MS + HOUR_MS + 1
    with refused(SealingCode.E_EXPIRED):
        dispatcher.can_send(world.directories, later)
    assert dispatcher.needs_rekey(world.directories, later) is CommitReason.MEMBER
    gone = world.commit("dispatcher", dispatcher, Change(CommitReason.MEMBER), now_ms=later)
    assert gone.commit.entry(guest.device_id) is None
    restored = DeviceKeys.restore(guest.export())
    assert restored.guest_entry(world.agency, 1 << MEDIA) == entry
