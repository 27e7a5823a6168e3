"""A call's keys and what is shown with them: real codecs, real seals, a channel whose members change."""

from __future__ import annotations

import random

import pytest

from leeside.media.codecs import PictureEncoder, SoundEncoder, Undecodable, without_redundancy
from leeside.media.keys import CallKeys
from leeside.media.outsider import Outsider
from leeside.media.receiving import Frame
from leeside.media.showing import Showing
from leeside.media.sources import Pattern
from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.committer import Change
from leeside_protocol.sealing.opening.media import DUPLICATE_MS
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.video.formats import MediaKind
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.world import NOW_MS, PERIODIC, World, seed, seeded, small_world

CALL = seed("consult")[:16]
AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO


class Staged:
    """A dispatcher, a unit and a lead in one channel, each with the keys of a call."""

    def __init__(self) -> None:
        self.world: World = small_world()
        made = self.world.genesis("dispatcher", "unit", "lead")
        self.channels: dict[str, SealedChannel] = {
            name: self.world.view(name, made) for name in ("dispatcher", "unit", "lead")
        }
        self.keys = {name: self.call(name) for name in self.channels}

    def id(self, name: str) -> DeviceId:
        return self.world.id(name)

    def call(self, name: str) -> CallKeys:
        return CallKeys(lambda: self.channels[name], self.id(name), CALL, seeded(name))

    def commit(self, change: Change, *names: str) -> None:
        made = self.world.commit("dispatcher", self.channels["dispatcher"], change)
        for name in names or tuple(self.channels):
            self.world.process(name, self.channels[name], made)


@pytest.fixture
def staged() -> Staged:
    return Staged()


def test_a_new_epoch_is_used_at_once_and_the_one_before_opens_for_ten_seconds(staged: Staged) -> None:
    dispatcher, unit = staged.keys["dispatcher"], staged.keys["unit"]
    old = [unit.seal(AUDIO, b"\x78old", NOW_MS) for _ in range(2)]
    assert (
        dispatcher.open(AUDIO, unit.seal(AUDIO, b"\x78now", NOW_MS), staged.id("unit"), NOW_MS) == b"\x78now"
    )
    staged.commit(PERIODIC)
    new = unit.seal(AUDIO, b"\x78new", NOW_MS)
    assert dispatcher.open(AUDIO, new, staged.id("unit"), NOW_MS) == b"\x78new"
    assert dispatcher.open(AUDIO, old[0], staged.id("unit"), NOW_MS + 10_000) == b"\x78old"
    with refused(SealingCode.E_UNKNOWN_EPOCH):
        dispatcher.open(AUDIO, old[1], staged.id("unit"), NOW_MS + 10_001)
    assert (dispatcher.epoch, unit.epoch) == (1, 1)


def test_who_comes_in_between_hears_those_who_have_not_followed_yet(staged: Staged) -> None:
    early = staged.keys["unit"].seal(AUDIO, b"\x78early", NOW_MS)
    staged.commit(PERIODIC)
    assert staged.call("lead").open(AUDIO, early, staged.id("unit"), NOW_MS) == b"\x78early"


def test_who_was_taken_out_opens_nothing_new_and_seals_nothing_any_more(staged: Staged) -> None:
    lead, unit = staged.keys["lead"], staged.keys["unit"]
    assert lead.open(AUDIO, unit.seal(AUDIO, b"\x78a", NOW_MS), staged.id("unit"), NOW_MS) == b"\x78a"
    staged.commit(Change(CommitReason.MEMBER, remove=frozenset({staged.id("lead")})))
    with refused(SealingCode.E_UNKNOWN_EPOCH):
        lead.open(AUDIO, unit.seal(AUDIO, b"\x78b", NOW_MS), staged.id("unit"), NOW_MS)
    with refused(SealingCode.E_AUTHZ):
        lead.seal(AUDIO, b"\x78c", NOW_MS)


def test_streams_that_begin_anew_have_new_keys(staged: Staged) -> None:
    unit, dispatcher = staged.keys["unit"], staged.keys["dispatcher"]
    one = unit.seal(AUDIO, b"\x78a", NOW_MS)
    unit.begin()
    for frame in (one, unit.seal(AUDIO, b"\x78a", NOW_MS)):
        assert dispatcher.open(AUDIO, frame, staged.id("unit"), NOW_MS) == b"\x78a"


def take(showing: Showing, device: DeviceId, media: MediaKind, frame: bytes, at_s: float = 0.0) -> bool:
    """Show a frame; whether the pictures can go on."""
    showing.take(device, Frame("b", media, frame, 0), at_s)
    showing.flush()
    return not showing.broken(device)


def frames_of(keys: CallKeys, count: int) -> list[bytes]:
    source = Pattern()
    encoder = PictureEncoder(source.width, source.height, rate=source.rate, bps=200_000)
    encoded = [encoder.encode(source.picture(), 7_500 * n, key=n == 0) for n in range(count)]
    return [keys.seal(VIDEO, frame, NOW_MS) for frame in encoded if frame]


def test_pictures_are_shown_and_what_was_swapped_replayed_or_altered_is_not(staged: Staged) -> None:
    showing = Showing(staged.keys["dispatcher"], None, lambda: NOW_MS)
    device = staged.id("unit")
    sealed = frames_of(staged.keys["unit"], 6)
    for frame in sealed[:3]:
        assert take(showing, device, VIDEO, frame, 0.0)
    assert take(showing, device, VIDEO, sealed[1], 0.0), "what came twice is missing to nobody"
    assert not take(showing, device, VIDEO, sealed[3][:-9] + bytes(9), 0.0)
    assert not take(showing, device, VIDEO, sealed[4], 0.0), "what it builds on is missing"
    assert not take(showing, staged.id("lead"), VIDEO, sealed[5], 0.0)
    seen = showing.seen[device]
    assert (seen.pictures_opened, seen.pictures_decoded, seen.waiting_for_key) == (4, 3, 1)
    assert seen.size == (320, 240)
    assert dict(seen.dropped) == {SealingCode.E_DUPLICATE: 1, SealingCode.E_FORMAT: 1}
    assert dict(showing.seen[staged.id("lead")].dropped) == {SealingCode.E_AUTHZ: 1}


def test_an_outsider_recognises_plaintext_and_nothing_of_what_is_sealed(staged: Staged) -> None:
    source, outsider, device = Pattern(), Outsider(), staged.id("unit")
    encoder = PictureEncoder(source.width, source.height, rate=source.rate, bps=200_000)
    for n in range(12):
        picture = source.picture()
        outsider.picture(device, picture)
        frame = encoder.encode(picture, 7_500 * n, key=n % 4 == 0)
        outsider(device, Frame("b", VIDEO, staged.keys["unit"].seal(VIDEO, frame, NOW_MS), 0))
    assert (outsider.frames, outsider.recognised) == (12, 0)
    frame = encoder.encode(source.picture(), 90_000, key=True)
    outsider(device, Frame("b", VIDEO, frame, 0))
    assert (outsider.frames, outsider.recognised) == (13, 1)


def test_noise_that_a_decoder_makes_of_random_bytes_is_not_recognised() -> None:
    source, outsider, device, chance = Pattern(160, 120), Outsider(), DeviceId(bytes(16)), random.Random(1)
    encoder = PictureEncoder(source.width, source.height, rate=source.rate, bps=200_000)
    picture = source.picture()
    outsider.picture(device, picture)
    frame = encoder.encode(picture, 0, key=True)
    for _ in range(600):
        outsider(device, Frame("b", VIDEO, frame[:10] + chance.randbytes(len(frame)), 0))
    assert outsider.decoded > 0
    assert outsider.recognised == 0


def test_three_of_a_kind_within_ten_seconds_are_for_a_person_to_hear(staged: Staged) -> None:
    showing = Showing(staged.keys["dispatcher"], None, lambda: NOW_MS)
    device = staged.id("unit")
    for at_s, alarmed in ((0.0, False), (9.0, False), (10.5, False), (18.0, True)):
        take(showing, device, VIDEO, b"plain", at_s)
        assert (showing.seen[device].alarm is SealingCode.E_FORMAT) == alarmed


@pytest.mark.parametrize(
    ("later_ms", "code", "alarmed"),
    [(0, SealingCode.E_DUPLICATE, False), (3 * DUPLICATE_MS, SealingCode.E_REPLAY, True)],
)
def test_what_came_before_is_for_a_person_to_hear_only_when_it_is_old(
    staged: Staged, later_ms: int, code: SealingCode, alarmed: bool
) -> None:
    now_ms = NOW_MS
    showing = Showing(staged.keys["dispatcher"], None, lambda: now_ms)
    device = staged.id("unit")
    sealed = frames_of(staged.keys["unit"], 1)[0]
    assert take(showing, device, VIDEO, sealed, 0.0)
    now_ms += later_ms
    for _ in range(3):
        assert take(showing, device, VIDEO, sealed, 0.0)
    assert dict(showing.seen[device].dropped) == {code: 3}
    assert (showing.seen[device].alarm is code) == alarmed


def test_sound_is_heard_also_from_within_redundancy(staged: Staged) -> None:
    showing = Showing(staged.keys["dispatcher"], None, lambda: NOW_MS)
    source, encoder, unit = Pattern(), SoundEncoder(), staged.keys["unit"]
    for n in range(4):
        for opus in encoder.encode(source.sound(), 960 * n):
            red = bytes([0x80 | 111, 0, 0, 3, 111]) + b"old" + opus
            showing.take(staged.id("unit"), Frame("a", AUDIO, unit.seal(AUDIO, opus, NOW_MS), 0), 0.0)
            sealed = unit.seal(AUDIO, red, NOW_MS)
            showing.take(staged.id("unit"), Frame("a", AUDIO, sealed, 0, redundant=True), 0.0)
    showing.flush()
    seen = showing.seen[staged.id("unit")]
    assert seen.sounds_opened == seen.sounds_decoded > 4


@pytest.mark.parametrize("red", [b"", b"\xef", b"\xef\x00\x00", b"\xef\x00\x03\xff\x6f"])
def test_redundancy_whose_lengths_lie_is_no_sound(red: bytes) -> None:
    with pytest.raises(Undecodable):
        without_redundancy(red)


def test_a_frame_that_is_opened_and_is_no_picture_wants_a_key_frame(staged: Staged) -> None:
    showing = Showing(staged.keys["dispatcher"], None, lambda: NOW_MS)
    sealed = staged.keys["unit"].seal(VIDEO, b"\x10\x02\x00\x9d\x01\x2a" + bytes(40), NOW_MS)
    assert not take(showing, staged.id("unit"), VIDEO, sealed, 0.0)
    assert showing.seen[staged.id("unit")].undecodable == 1
