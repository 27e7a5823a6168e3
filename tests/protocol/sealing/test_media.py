"""Sealed frames of a call: what a receiver takes, and what it drops with which code."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.media import (
    DUPLICATE_MS,
    PREVIOUS_EPOCH_MS,
    REPLAY_WINDOW,
    MediaKey,
    MediaReceiver,
    base_key,
    media_sender,
)
from leeside_protocol.sealing.public.commit import Commit
from leeside_protocol.sealing.public.entries import MEDIA
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.frames import FRAME_BYTES, MARK, is_sealed, put_together
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.world import NOW_MS, PERIODIC, seed, seeded, small_world

CALL = seed("call")[:16]
AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO


@dataclasses.dataclass(frozen=True)
class Staged:
    """Two epochs of a channel whose roster is `devices`."""

    commits: tuple[Commit, ...]
    secrets: tuple[bytes, ...]
    devices: tuple[DeviceId, ...]

    def sender(self, epoch: int = 0, index: int = 0, context: str = "sender") -> MediaKey:
        return media_sender(self.secrets[epoch], self.commits[epoch], CALL, index, seeded(context))

    def receiver(self, *epochs: int) -> MediaReceiver:
        receiver = MediaReceiver(CALL)
        for epoch in epochs or (0,):
            receiver.start_epoch(self.secrets[epoch], self.commits[epoch], NOW_MS)
        return receiver


@pytest.fixture(scope="module")
def staged() -> Staged:
    world = small_world()
    first = world.genesis("dispatcher", "unit")
    channel = world.view("unit", first)
    world.process("unit", channel, world.commit("unit", channel, PERIODIC))
    commits = (channel.line.commits[0], channel.line.commits[1])
    secrets = tuple(channel.secrets(epoch)[MEDIA] for epoch in (0, 1))
    return Staged(commits, secrets, tuple(e.device_id for e in commits[0].roster))


@pytest.mark.parametrize("media", MediaKind)
@pytest.mark.parametrize(
    "frame", [b"", b"\x00", b"\x01\x02\x03", bytes(10), bytes(4_000), bytes(FRAME_BYTES - 64)]
)
def test_a_frame_comes_out_as_it_went_in(staged: Staged, media: MediaKind, frame: bytes) -> None:
    sealed = staged.sender().seal_frame(media, frame)
    assert is_sealed(sealed)
    assert staged.receiver().open_frame(media, sealed, staged.devices[0], NOW_MS) == frame


def test_a_frame_of_too_many_bytes_is_not_sealed(staged: Staged) -> None:
    with refused(SealingCode.E_FORMAT):
        staged.sender().seal_frame(VIDEO, bytes(FRAME_BYTES))


def test_the_epoch_before_is_opened_for_ten_seconds(staged: Staged) -> None:
    receiver, device = staged.receiver(0), staged.devices[0]
    first, second = staged.sender(0, context="first"), staged.sender(1, context="second")
    with refused(SealingCode.E_UNKNOWN_EPOCH):
        receiver.open_frame(AUDIO, second.seal_frame(AUDIO, b"too early"), device, NOW_MS)
    receiver.start_epoch(staged.secrets[1], staged.commits[1], NOW_MS)
    receiver.start_epoch(staged.secrets[0], staged.commits[0], NOW_MS + 1)  # out of date: changes nothing
    assert receiver.open_frame(AUDIO, second.seal_frame(AUDIO, b"a"), device, NOW_MS) == b"a"
    end_ms = NOW_MS + PREVIOUS_EPOCH_MS
    assert receiver.open_frame(AUDIO, first.seal_frame(AUDIO, b"late"), device, end_ms) == b"late"
    with refused(SealingCode.E_UNKNOWN_EPOCH):
        receiver.open_frame(AUDIO, first.seal_frame(AUDIO, b"too late"), device, end_ms + 1)


def test_a_refusal_changes_nothing_and_a_frame_opens_once(staged: Staged) -> None:
    receiver, (mine, other) = staged.receiver(), staged.devices
    frame = staged.sender().seal_frame(AUDIO, b"\x78sound")
    with refused(SealingCode.E_AEAD):
        receiver.open_frame(AUDIO, b"\x79" + frame[1:], mine, NOW_MS)
    with refused(SealingCode.E_AEAD):
        receiver.open_frame(VIDEO, frame, mine, NOW_MS)
    with refused(SealingCode.E_AUTHZ):
        receiver.open_frame(AUDIO, frame, other, NOW_MS)
    assert receiver.open_frame(AUDIO, frame, mine, NOW_MS) == b"\x78sound"
    with refused(SealingCode.E_DUPLICATE):
        receiver.open_frame(AUDIO, frame, mine, NOW_MS)
    with refused(SealingCode.E_REPLAY):
        receiver.open_frame(AUDIO, frame, mine, NOW_MS + 3 * DUPLICATE_MS)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=40), st.integers(0, 20_000))
def test_what_comes_again_is_a_duplicate_for_two_seconds_and_told_after_six(
    staged: Staged, steps_ms: list[int], late_ms: int
) -> None:
    sender, receiver, device = staged.sender(), staged.receiver(), staged.devices[0]
    now_ms = NOW_MS
    sealed: list[tuple[int, bytes]] = []
    for step_ms in steps_ms:
        now_ms += step_ms
        sealed.append((now_ms, sender.seal_frame(AUDIO, b"frame")))
        receiver.open_frame(AUDIO, sealed[-1][1], device, now_ms)
    now_ms += late_ms
    for came_ms, frame in sealed:
        with pytest.raises(SealingError) as caught:
            receiver.open_frame(AUDIO, frame, device, now_ms)
        if now_ms - came_ms < DUPLICATE_MS:
            assert caught.value.code is SealingCode.E_DUPLICATE
        elif now_ms - came_ms >= 3 * DUPLICATE_MS:
            assert caught.value.code is SealingCode.E_REPLAY
        else:
            assert caught.value.code in {SealingCode.E_DUPLICATE, SealingCode.E_REPLAY}


def test_a_place_that_the_roster_does_not_have_is_refused(staged: Staged) -> None:
    with refused(SealingCode.E_AUTHZ):
        staged.sender(index=2)
    base = base_key(staged.secrets[0], staged.commits[0].hash, CALL)
    for kid in (2 << 8, 1 << 56):
        frame = MediaKey.derive(base, kid).seal_frame(AUDIO, b"frame")
        with refused(SealingCode.E_AUTHZ):
            staged.receiver().open_frame(AUDIO, frame, staged.devices[0], NOW_MS)


def test_another_call_and_a_wrong_key_open_nothing(staged: Staged) -> None:
    frame = staged.sender().seal_frame(VIDEO, b"\x00picture")
    elsewhere, wrong = MediaReceiver(seed("elsewhere")[:16]), MediaReceiver(CALL)
    elsewhere.start_epoch(staged.secrets[0], staged.commits[0], NOW_MS)
    wrong.start_epoch(bytes(32), staged.commits[0], NOW_MS)
    for receiver in (elsewhere, wrong):
        with refused(SealingCode.E_AEAD):
            receiver.open_frame(VIDEO, frame, staged.devices[0], NOW_MS)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2 * REPLAY_WINDOW + 9), max_size=40))
def test_a_counter_is_taken_once_and_never_too_late(staged: Staged, counters: list[int]) -> None:
    sender, receiver, device = staged.sender(), staged.receiver(), staged.devices[0]
    taken: set[int] = set()
    for counter in counters:
        sender.counter = counter
        frame = sender.seal_frame(AUDIO, b"frame")
        if counter not in taken and counter > max(taken, default=0) - REPLAY_WINDOW:
            assert receiver.open_frame(AUDIO, frame, device, NOW_MS) == b"frame"
            taken.add(counter)
            continue
        too_old = counter <= max(taken) - REPLAY_WINDOW
        with refused(SealingCode.E_REPLAY if too_old else SealingCode.E_DUPLICATE):
            receiver.open_frame(AUDIO, frame, device, NOW_MS)


@settings(deadline=None)
@given(st.sampled_from(MediaKind), st.binary(max_size=60), st.booleans())
def test_no_bytes_bring_anything_but_a_code(
    staged: Staged, media: MediaKind, data: bytes, marked: bool
) -> None:
    receiver = staged.receiver(0, 1)
    with pytest.raises(SealingError):
        receiver.open_frame(media, data + MARK if marked else data, staged.devices[0], NOW_MS)


@settings(deadline=None)
@given(st.sampled_from(MediaKind), st.binary(max_size=40), st.data())
def test_no_changed_bit_opens(staged: Staged, media: MediaKind, plain: bytes, data: st.DataObject) -> None:
    frame = bytearray(staged.sender().seal_frame(media, plain))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealingError):
        staged.receiver().open_frame(media, bytes(frame), staged.devices[0], NOW_MS)


@pytest.mark.parametrize("sframe", [b"", b"\xff", b"\x99", b"\x80"])
def test_a_header_that_is_none_is_refused(staged: Staged, sframe: bytes) -> None:
    with refused(SealingCode.E_FORMAT):
        staged.receiver().open_frame(AUDIO, put_together(b"", sframe), staged.devices[0], NOW_MS)
