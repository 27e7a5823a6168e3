"""What a member signs though it is not so: no signature of its own makes it pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening import hpke
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.opening.grants import grant_info, make_grant
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.archive import verify_archive
from leeside_protocol.sealing.public.boxes import (
    MAX_BOX_BYTES,
    Box,
    BoxList,
    box_list_input,
    verify_box_list,
    verify_boxes,
)
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.encoding import Packable, encode
from leeside_protocol.sealing.public.entries import DURABLE, EPHEMERAL
from leeside_protocol.sealing.public.grant import SealedGrant, parse_grant
from leeside_protocol.sealing.public.signed import KIND_ARCHIVE
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.test_archives import archive_of
from tests.protocol.sealing.test_sharing import Joined
from tests.protocol.sealing.world import DAY_MS, HOUR_MS, NOW_MS, seeded


@pytest.fixture
def joined() -> Joined:
    return Joined()


def test_boxes_signed_by_their_committer_are_still_those_that_the_commit_calls_for(joined: Joined) -> None:
    made = joined.made[1]
    identity = joined.world.keys["dispatcher"].identity
    good = made.boxes
    wrong: list[Sequence[Box]] = [
        good[1:],
        (*good, replace(good[0], recipient=bytes(16))),
        (*good, good[0]),
        (replace(good[0], recipient=bytes(16)), *good[1:]),
        (replace(good[0], kid=bytes(8)), *good[1:]),
        (replace(good[0], suite=2), *good[1:]),
        (replace(good[0], sealed=bytes(MAX_BOX_BYTES + 1)), *good[1:]),
        (replace(good[0], sealed=bytes(MAX_BOX_BYTES)), *good[1:]),
    ]
    for boxes in wrong:
        hashes = tuple(b.hash for b in sorted(boxes, key=lambda b: b.recipient))
        signature = identity.sign_raw(box_list_input(made.commit, hashes))
        with refused(SealingCode.E_BOXLIST):
            verify_boxes(made.commit, boxes, signature, identity.public)
    for hashes in (made.box_list.hashes[1:], (*made.box_list.hashes, bytes(32))):
        signature = identity.sign_raw(box_list_input(made.commit, hashes))
        with refused(SealingCode.E_BOXLIST):
            verify_box_list(made.commit, BoxList(hashes, signature), identity.public)


def test_the_largest_box_that_is_taken_can_be_read_back(joined: Joined) -> None:
    made = joined.made[1]
    identity = joined.world.keys["dispatcher"].identity
    spare = MAX_BOX_BYTES - len(replace(made.boxes[0], sealed=bytes(300)).encode()) + 300
    for size, fits in ((spare, True), (spare + 1, False)):
        boxes = (replace(made.boxes[0], sealed=bytes(size)), *made.boxes[1:])
        hashes = tuple(b.hash for b in sorted(boxes, key=lambda b: b.recipient))
        signature = identity.sign_raw(box_list_input(made.commit, hashes))
        if fits:
            verify_boxes(made.commit, boxes, signature, identity.public)
            assert Box.decode(boxes[0].encode()) == boxes[0]
        else:
            with refused(SealingCode.E_BOXLIST):
                verify_boxes(made.commit, boxes, signature, identity.public)


def test_a_grant_holds_exactly_what_it_says(joined: Joined) -> None:
    w, good = joined.world, joined.grant()
    grant = parse_grant(good.signed)
    durable, ephemeral = (joined.dispatcher.secrets(0).get(c, bytes(32)) for c in (DURABLE, EPHEMERAL))
    second = joined.dispatcher.secrets(1)[DURABLE]
    public = hpke.public_of(w.keys["clinician"].held(grant.kid).private)

    def sealed(content: Packable) -> SealedGrant:
        info = grant_info(grant.hash, grant.to, grant.kid)
        return replace(good, box=hpke.seal(1, public, info, encode(content)))

    assert joined.accept(sealed([[0, [[DURABLE, durable]]]])) == (0,)
    wrong: list[Packable] = [
        [[0, [[DURABLE, durable], [EPHEMERAL, ephemeral]]]],
        [[0, []]],
        [],
        [[0, [[DURABLE, durable]]], [1, [[DURABLE, second]]]],
        [[1, [[DURABLE, second]]]],
    ]
    for content in wrong:
        with refused(SealingCode.E_GRANT):
            joined.accept(sealed(content))


def test_nothing_is_granted_to_a_device_without_a_valid_key(joined: Joined) -> None:
    w = joined.world
    w.keys["dispatcher"].rotate(seeded("new"), NOW_MS + 9 * DAY_MS)
    with refused(SealingCode.E_DEVKEY):
        make_grant(
            joined.dispatcher,
            w.keys["dispatcher"],
            to=w.id("clinician"),
            epochs=(0,),
            class_mask=1 << DURABLE,
            directories=w.directories,
            device_keys=w.book,
            now_ms=NOW_MS + 9 * DAY_MS,
        )


def test_an_observer_sees_that_an_archive_was_altered_and_that_a_guest_made_one(joined: Joined) -> None:
    w, good = joined.world, archive_of(joined)
    line = joined.dispatcher.line
    with refused(SealingCode.E_AEAD):
        verify_archive(line, replace(good, wrapped=good.wrapped + b"\0"), w.directories)
    guest = DeviceKeys.create_guest(seeded("guest"), NOW_MS + HOUR_MS)
    entry = guest.guest_entry(w.agency, 1 << DURABLE)
    made = w.commit("dispatcher", joined.dispatcher, Change(CommitReason.MEMBER, guests=(entry,)))
    w.process("dispatcher", joined.dispatcher, made)
    theirs = archive_of(joined)
    signed = guest.identity.sign(KIND_ARCHIVE, guest.device_id, theirs.signed.payload)
    with refused(SealingCode.E_AUTHZ):
        verify_archive(line, replace(theirs, signed=signed), w.directories)
