"""What may be published and followed: each rule once, from both sides."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from leeside_protocol.errors import WireError
from leeside_protocol.ids import (
    AgencyId,
    ChannelId,
    ChannelKind,
    DeviceId,
    MessageId,
    StateKind,
    address,
    state_key,
)
from leeside_protocol.limits import EPOCH_GRACE_S
from leeside_protocol.messages import Publish
from leeside_protocol.sealing.public.frame import FrameHeader
from leeside_protocol.words import ChannelPurpose, Compartment, Lane, Mark, Urgency
from leeside_server.core.channels import (
    NOT_FOUND,
    REASON_REVOKE,
    Ahead,
    ChannelRow,
    Refusal,
    RosterDevice,
    StreamValue,
    accept,
    channel_logs,
    frame_epoch,
    may_follow,
)
from leeside_server.core.writes import Append

NOW_MS = 1_800_000_000_000
CHANNEL = ChannelId(b"c" * 16)
CONTENT = address(ChannelKind.CONTENT, CHANNEL)
ME, GUEST, STRANGER = DeviceId(b"m" * 16), DeviceId(b"g" * 16), DeviceId(b"s" * 16)
HASH, BEFORE = b"h" * 32, b"p" * 16

ROW = ChannelRow(
    ChannelPurpose.INCIDENT,
    Compartment.OPERATIONS,
    None,
    5,
    HASH,
    BEFORE,
    NOW_MS,
    1,
    (RosterDevice(ME.hex(), 0b1110), RosterDevice(GUEST.hex(), 0b1000)),
    False,
    ME.hex(),
)


def frame(
    *,
    key_class: int = 1,
    channel: ChannelId = CHANNEL,
    epoch: int = 5,
    prefix: bytes = HASH[:16],
    sender: DeviceId = ME,
) -> bytes:
    head = FrameHeader(key_class, 1, channel, epoch, prefix, sender, b"i" * 16, 7).pack()
    return head + bytes(80 + (64 if key_class == 1 else 32))


def publish(lane: Lane = Lane.LOG, key: bytes = b"", payload: bytes | None = None) -> Publish:
    key_class = 2 if lane is Lane.STREAM else 1
    body = frame(key_class=key_class) if payload is None else payload
    return Publish(1, CONTENT, lane, key, MessageId(b"i" * 16), body, Urgency.URGENT, Mark.ARRIVED)


def refused(verdict: object) -> WireError:
    assert isinstance(verdict, Refusal)
    return verdict.code


def test_a_log_message_is_appended_as_it_came() -> None:
    message = publish()
    assert accept(message, ME, ROW, NOW_MS) == Append(
        CONTENT, Lane.LOG, b"", ME, message.id, message.payload, Urgency.URGENT, Mark.ARRIVED, None, 5, None
    )


def test_a_stream_value_is_passed_on_with_the_servers_time() -> None:
    key = state_key(StateKind.POSITION, ME)
    message = publish(Lane.STREAM, key)
    assert accept(message, ME, ROW, NOW_MS) == StreamValue(CONTENT, key, ME, NOW_MS, message.payload)


@pytest.mark.parametrize(
    ("row", "device"),
    [(None, ME), (ROW, STRANGER)],
    ids=["no channel", "not in the roster"],
)
def test_what_is_not_yours_does_not_exist(row: ChannelRow | None, device: DeviceId) -> None:
    assert accept(publish(), device, row, NOW_MS) is NOT_FOUND


def test_an_archived_channel_takes_nothing() -> None:
    archived = msgspec.structs.replace(ROW, archived=True)
    assert refused(accept(publish(), ME, archived, NOW_MS)) is WireError.FORBIDDEN


KEYS: dict[Lane, frozenset[StateKind]] = {
    Lane.STATE: frozenset(
        {StateKind.STATUS, StateKind.POSITION, StateKind.RECEIPT, StateKind.NAME, StateKind.INCIDENT}
    ),
    Lane.STREAM: frozenset({StateKind.POSITION, StateKind.TYPING}),
}


@pytest.mark.parametrize("kind", list(StateKind))
@pytest.mark.parametrize("lane", [Lane.STATE, Lane.STREAM])
def test_each_lane_carries_its_kinds_of_key(lane: Lane, kind: StateKind) -> None:
    verdict = accept(publish(lane, state_key(kind, ME)), ME, ROW, NOW_MS)
    if kind in KEYS[lane]:
        assert isinstance(verdict, Append | StreamValue)
    else:
        assert refused(verdict) is WireError.INVALID


@pytest.mark.parametrize("kind", [StateKind.POSITION, StateKind.RECEIPT])
def test_what_is_said_of_a_device_it_says_itself(kind: StateKind) -> None:
    verdict = accept(publish(Lane.STATE, state_key(kind, STRANGER)), ME, ROW, NOW_MS)
    assert refused(verdict) is WireError.FORBIDDEN


def test_a_status_may_name_any_unit() -> None:
    verdict = accept(publish(Lane.STATE, state_key(StateKind.STATUS, b"u" * 16)), ME, ROW, NOW_MS)
    assert isinstance(verdict, Append)


@pytest.mark.parametrize(
    ("lane", "key"),
    [
        (Lane.LOG, b"s" + ME),
        (Lane.STATE, b""),
        (Lane.STATE, b"s"),
        (Lane.STREAM, b""),
        (Lane.STATE, b"?" + ME),
    ],
)
def test_keys_of_a_wrong_form_are_invalid(lane: Lane, key: bytes) -> None:
    assert refused(accept(publish(lane, key), ME, ROW, NOW_MS)) is WireError.INVALID


def test_an_empty_state_value_deletes_and_needs_no_frame() -> None:
    key = state_key(StateKind.STATUS, b"u" * 16)
    verdict = accept(publish(Lane.STATE, key, b""), ME, ROW, NOW_MS)
    assert isinstance(verdict, Append)
    assert (verdict.payload, verdict.epoch, verdict.refuse) == (b"", None, None)


@pytest.mark.parametrize(("lane", "key"), [(Lane.LOG, b""), (Lane.STREAM, b"p" + ME)])
def test_nothing_else_may_be_empty(lane: Lane, key: bytes) -> None:
    assert refused(accept(publish(lane, key, b""), ME, ROW, NOW_MS)) is WireError.INVALID


def test_a_guest_without_the_durable_class_may_not_write_the_log() -> None:
    message = publish(payload=frame(sender=GUEST))
    assert refused(accept(message, GUEST, ROW, NOW_MS)) is WireError.FORBIDDEN


@pytest.mark.parametrize(
    "payload",
    [
        b"not a frame",
        frame(channel=ChannelId(b"x" * 16)),
        frame(sender=STRANGER),
        frame(key_class=2),
        frame(prefix=b"f" * 16),
        frame() + b"1",
        b"\x02" + frame()[1:],
        frame()[:1] + b"\x03" + frame()[2:],
    ],
    ids=["text", "channel", "sender", "class", "branch", "padding", "version", "media class"],
)
def test_a_frame_that_says_something_else_is_refused(payload: bytes) -> None:
    assert refused(accept(publish(payload=payload), ME, ROW, NOW_MS)) is WireError.SEALING_REFUSED


def _row(**changes: object) -> Callable[[], ChannelRow]:
    return lambda: msgspec.structs.replace(ROW, **changes)


@pytest.mark.parametrize(
    ("row", "payload", "after_ms", "stands"),
    [
        (_row(), frame(epoch=4, prefix=BEFORE), EPOCH_GRACE_S * 1000 - 1, True),
        (_row(), frame(epoch=4, prefix=BEFORE), EPOCH_GRACE_S * 1000, False),
        (_row(reason=REASON_REVOKE), frame(epoch=4, prefix=BEFORE), 0, False),
        (_row(), frame(epoch=4, prefix=b"f" * 16), 0, False),
        (_row(), frame(epoch=3, prefix=BEFORE), 0, False),
    ],
    ids=["in grace", "after grace", "revoked: no grace", "another branch", "two epochs ago"],
)
def test_the_epoch_before_is_taken_for_a_moment(
    row: Callable[[], ChannelRow], payload: bytes, after_ms: int, stands: bool
) -> None:
    verdict = accept(publish(payload=payload), ME, row(), NOW_MS + after_ms)
    assert isinstance(verdict, Append)
    assert verdict.refuse is (None if stands else WireError.STALE)


def test_a_stale_stream_value_is_refused_with_the_epoch_to_fetch() -> None:
    message = publish(Lane.STREAM, b"p" + ME, frame(key_class=2, epoch=3))
    verdict = accept(message, ME, ROW, NOW_MS)
    assert isinstance(verdict, Refusal)
    assert (verdict.code, verdict.head) == (WireError.STALE, 5)


def test_an_epoch_beyond_the_row_asks_for_a_newer_row() -> None:
    verdict = accept(publish(payload=frame(epoch=6)), ME, ROW, NOW_MS)
    assert isinstance(verdict, Ahead)
    assert (verdict.refusal.code, verdict.refusal.head) == (WireError.STALE, 5)


AGENCY = AgencyId(b"a" * 16)


@pytest.mark.parametrize(
    ("kind", "owner", "device", "allowed"),
    [
        (ChannelKind.CONTENT, CHANNEL, ME, True),
        (ChannelKind.GRANTS, CHANNEL, ME, True),
        (ChannelKind.EPOCHS, CHANNEL, ME, True),
        (ChannelKind.CONTENT, CHANNEL, GUEST, False),
        (ChannelKind.GRANTS, CHANNEL, GUEST, False),
        (ChannelKind.EPOCHS, CHANNEL, GUEST, True),
        (ChannelKind.CONTENT, CHANNEL, STRANGER, False),
        (ChannelKind.EPOCHS, CHANNEL, STRANGER, False),
        (ChannelKind.DIRECTORY, AGENCY, STRANGER, True),
        (ChannelKind.DIRECTORY, b"o" * 16, ME, False),
        (ChannelKind.INBOX, ME, ME, True),
        (ChannelKind.INBOX, ME, STRANGER, False),
        (ChannelKind.ACCESS, AGENCY, ME, False),
    ],
)
def test_who_may_follow(kind: ChannelKind, owner: bytes, device: DeviceId, allowed: bool) -> None:
    row = ROW if owner == CHANNEL else None
    assert may_follow(kind, owner, AGENCY, device, row) is allowed


@pytest.mark.parametrize("kind", [ChannelKind.CONTENT, ChannelKind.EPOCHS, ChannelKind.GRANTS])
def test_nobody_follows_a_channel_that_is_not_there(kind: ChannelKind) -> None:
    assert not may_follow(kind, CHANNEL, AGENCY, ME, None)


def test_a_row_survives_the_store() -> None:
    assert msgspec.json.decode(msgspec.json.encode(ROW), type=ChannelRow) == ROW
    assert ROW.masks == {ME: 0b1110, GUEST: 0b1000}


def test_a_channel_has_three_logs() -> None:
    assert {a[:1] for a in channel_logs(CHANNEL)} == {b"c", b"e", b"g"}
    assert {a[1:] for a in channel_logs(CHANNEL)} == {CHANNEL}


def test_the_epoch_of_a_stored_frame_is_read_from_its_header() -> None:
    assert frame_epoch(frame(epoch=77)) == 77
    assert frame_epoch(b"") == -1
