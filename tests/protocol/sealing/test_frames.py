"""Frames: what is refused, what an insider cannot do, order and replay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from leeside_protocol.sealing.errors import SealingCode
from leeside_protocol.sealing.opening import frames
from leeside_protocol.sealing.opening.body import Body, decode_body, encode_body, pad, unpad
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.committer import Change, Seat
from leeside_protocol.sealing.opening.frames import FrameReceiver, FrameSender
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.encoding import as_list, decode, encode
from leeside_protocol.sealing.public.entries import ALL_COMPARTMENTS, CAP_ADMIT, DURABLE, EPHEMERAL, MEDIA
from leeside_protocol.sealing.public.frame import HEADER_BYTES, check_frame, parse_frame
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.world import HOUR_MS, NOW_MS, PERIODIC, World, body, seed, seeded, small_world


class Talk:
    """Dispatcher and unit in one channel."""

    def __init__(self) -> None:
        self.world: World = small_world()
        self.genesis = self.world.genesis("dispatcher", "lead", "unit")
        self.dispatcher = self.world.view("dispatcher", self.genesis)
        self.unit = self.world.view("unit", self.genesis)

    def hear(self, frame: bytes, *, again: bool = False) -> Body:
        return self.unit.open(frame, self.world.directories, again=again).body

    def rekey(self) -> None:
        made = self.world.commit("dispatcher", self.dispatcher, PERIODIC)
        self.world.process("dispatcher", self.dispatcher, made)
        self.world.process("unit", self.unit, made)

    def sender(
        self, name: str, sid: bytes, key_class: int = EPHEMERAL, channel: SealedChannel | None = None
    ) -> FrameSender:
        channel = channel or self.dispatcher
        return FrameSender(
            self.world.keys[name].identity,
            self.world.id(name),
            channel.head,
            channel.secrets(channel.head.epoch),
            key_class=key_class,
            sid=sid,
        )


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.mark.parametrize("key_class", [DURABLE, EPHEMERAL])
def test_heard_as_said(talk: Talk, key_class: int) -> None:
    frame = talk.world.say("dispatcher", talk.dispatcher, {"a": [1, b"x", None, True]}, key_class=key_class)
    opened = talk.unit.open(frame, talk.world.directories)
    assert opened.body.data == {"a": [1, b"x", None, True]}
    assert opened.header.sender == talk.world.id("dispatcher")
    assert not opened.old_epoch
    assert b"chat" not in frame


def test_a_sender_needs_a_secret_a_class_of_frames_and_a_whole_sid(talk: Talk) -> None:
    for sid in (b"", bytes(15), bytes(17)):
        with refused(SealingCode.E_FORMAT):
            talk.sender("dispatcher", sid)
    with refused(SealingCode.E_FORMAT):
        talk.sender("dispatcher", bytes(16), MEDIA)
    keys, head = talk.world.keys["dispatcher"], talk.dispatcher.head
    with refused(SealingCode.E_NO_KEY):
        FrameSender(keys.identity, keys.device_id, head, {}, key_class=DURABLE, sid=bytes(16))


def test_sizes_tell_little(talk: Talk) -> None:
    sizes = {len(talk.world.say("dispatcher", talk.dispatcher, "x" * n)) for n in range(1, 40)}
    assert sizes == {228, 164 + 128}


Change_ = Callable[[bytearray], object]


def put(at: int, value: bytes) -> Change_:
    def change(frame: bytearray) -> None:
        frame[at : at + len(value)] = value

    return change


TAMPERED: dict[str, tuple[SealingCode, Change_]] = {
    "version": (SealingCode.E_FORMAT, put(0, b"\2")),
    "class media": (SealingCode.E_FORMAT, put(1, b"\3")),
    "class other": (SealingCode.E_AEAD, put(1, b"\2")),
    "suite": (SealingCode.E_FORMAT, put(2, b"\2")),
    "flags": (SealingCode.E_FORMAT, put(3, b"\1")),
    "channel": (SealingCode.E_FORMAT, put(4, bytes(16))),
    "epoch": (SealingCode.E_UNKNOWN_EPOCH, put(20, bytes([0, 0, 0, 0, 0, 0, 0, 9]))),
    "commit": (SealingCode.E_FORK, put(28, bytes(16))),
    "sender": (SealingCode.E_AUTHZ, put(44, bytes(16))),
    "sid": (SealingCode.E_AEAD, put(60, bytes(16))),
    "seq": (SealingCode.E_AEAD, put(83, b"\7")),
    "ciphertext": (SealingCode.E_AEAD, put(HEADER_BYTES, b"\0\0\0\0")),
    "cut short": (SealingCode.E_FORMAT, lambda f: f.pop()),
    "cut by a bucket": (SealingCode.E_FORMAT, lambda f: f.__delitem__(slice(-64, None))),
    "longer by a bucket": (SealingCode.E_AEAD, lambda f: f.extend(bytes(64))),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered(talk: Talk, name: str) -> None:
    code, change = TAMPERED[name]
    good = talk.world.say("dispatcher", talk.dispatcher)
    frame = bytearray(good)
    change(frame)
    with refused(code):
        talk.hear(bytes(frame))
    assert talk.hear(good).data == "on my way"  # what failed left no trace


def test_an_insider_cannot_speak_as_another(talk: Talk) -> None:
    """The unit has the group's key and may derive the dispatcher's sender key, but not its signature."""
    w = talk.world
    head, secrets = talk.unit.head, talk.unit.secrets(0)
    forger = FrameSender(
        w.keys["unit"].identity, w.id("dispatcher"), head, secrets, key_class=DURABLE, sid=bytes(16)
    )
    with refused(SealingCode.E_SIG):
        talk.hear(forger.seal(body("send them home")))


def test_an_insider_cannot_move_a_frame_to_another_class(talk: Talk) -> None:
    frame = talk.world.say("dispatcher", talk.dispatcher, key_class=DURABLE)
    with refused(SealingCode.E_AEAD):
        talk.hear(frame[:1] + bytes([EPHEMERAL]) + frame[2:])


def test_replay(talk: Talk) -> None:
    frame = talk.world.say("dispatcher", talk.dispatcher)
    talk.hear(frame)
    with refused(SealingCode.E_REPLAY):
        talk.hear(frame)
    assert talk.hear(frame, again=True).data == "on my way"


def test_replay_after_restart(talk: Talk) -> None:
    frame = talk.world.say("dispatcher", talk.dispatcher)
    talk.hear(frame)
    talk.unit = SealedChannel.restore(talk.unit.export())
    with refused(SealingCode.E_REPLAY):
        talk.hear(frame)


@pytest.mark.parametrize("key_class", [DURABLE, EPHEMERAL])
@pytest.mark.parametrize("seq", [2**53 - 1, 2**53, 2**64 - 1])
def test_a_member_who_counts_from_far_up_locks_nobody_out(talk: Talk, seq: int, key_class: int) -> None:
    """A counter has 64 bits. One that the kept state could not hold would keep every member from starting again."""
    sender = talk.sender("dispatcher", bytes(16), key_class)
    sender.sent = seq
    frame = sender.seal(body())
    assert talk.unit.open(frame, talk.world.directories).missing == seq
    talk.unit = SealedChannel.restore(talk.unit.export())
    with refused(SealingCode.E_REPLAY):
        talk.hear(frame)
    assert SealedChannel.restore(talk.unit.export()).export() == talk.unit.export()


def test_replay_state_of_before_is_read(talk: Talk) -> None:
    """Counters were kept as numbers once."""
    receiver = FrameReceiver(talk.unit.line, {})
    sid, device = bytes(16), talk.world.id("dispatcher")
    receiver.restore([[[0, EPHEMERAL, device, sid, 7, bytes(8)]], [[device, 0, sid, 7, NOW_MS]]])
    again = FrameReceiver(talk.unit.line, {})
    again.restore(decode(encode(receiver.export())))
    assert again.export() == receiver.export()


def test_window_of_64(talk: Talk) -> None:
    frames = [talk.world.say("dispatcher", talk.dispatcher, n) for n in range(130)]
    talk.hear(frames[100])
    for n in range(99, 36, -1):
        assert talk.hear(frames[n]).data == n
    with refused(SealingCode.E_REPLAY):
        talk.hear(frames[36])
    assert talk.hear(frames[129]).data == 129
    with refused(SealingCode.E_REPLAY):
        talk.hear(frames[65])


def test_windows_are_bounded_and_the_least_used_goes_first(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever speaks under ever new names pushes out who fell silent, not who goes on speaking."""
    monkeypatch.setattr(frames, "MAX_WINDOWS", 3)
    busy, *others = (talk.sender("dispatcher", bytes([n]) * 16, DURABLE) for n in range(4))
    first = busy.seal(body())
    talk.hear(first)
    for other in others[:2]:
        talk.hear(other.seal(body()))
    talk.hear(busy.seal(body()))
    talk.hear(others[2].seal(body()))
    with refused(SealingCode.E_REPLAY):
        talk.hear(first)
    kept = as_list(as_list(decode(talk.unit.export(), max_bytes=2**20))[7])[0]
    assert len(as_list(kept)) == 3


def test_only_ephemeral_frames_have_an_order_and_only_when_they_come(talk: Talk) -> None:
    w, sender = talk.world, talk.sender("dispatcher", bytes(16))
    older, newer = sender.seal(body()), sender.seal(body(ts_ms=NOW_MS + 1_000))
    talk.hear(newer)
    with refused(SealingCode.E_STALE_POSITION):
        talk.hear(older)
    assert talk.hear(older, again=True).data == "on my way"
    # What was written before that position and was long under way is heard all the same.
    assert talk.hear(w.say("dispatcher", talk.dispatcher, "late")).data == "late"


def test_gaps_are_told(talk: Talk) -> None:
    frames = [talk.world.say("dispatcher", talk.dispatcher, n) for n in range(4)]
    missing = [talk.unit.open(frames[n], talk.world.directories).missing for n in (0, 3)]
    assert missing == [0, 2]


def test_a_restarted_sender_never_meets_its_old_nonces(talk: Talk) -> None:
    one = parse_frame(talk.world.say("dispatcher", talk.dispatcher))
    talk.dispatcher = SealedChannel.restore(talk.dispatcher.export())
    two = parse_frame(talk.world.say("dispatcher", talk.dispatcher))
    assert one.sid != two.sid
    assert one.seq == two.seq == 0


def test_positions_refuse_only_what_is_older(talk: Talk) -> None:
    one, two = talk.sender("dispatcher", b"1" * 16), talk.sender("dispatcher", b"2" * 16)
    first, second = one.seal(body(1, ts_ms=NOW_MS)), one.seal(body(2, ts_ms=NOW_MS + 1))
    other_tab = two.seal(body(3, ts_ms=NOW_MS + 5))
    late = one.seal(body(4, ts_ms=NOW_MS + 4))
    assert talk.hear(second).data == 2
    with refused(SealingCode.E_STALE_POSITION):
        talk.hear(first)
    assert talk.hear(other_tab).data == 3
    with refused(SealingCode.E_STALE_POSITION):
        talk.hear(late)


def test_a_clock_set_back_blocks_nobody_within_one_sender(talk: Talk) -> None:
    one = talk.sender("dispatcher", b"1" * 16)
    talk.hear(one.seal(body(1, ts_ms=NOW_MS + 86_400_000)))
    assert talk.hear(one.seal(body(2, ts_ms=NOW_MS))).data == 2


def test_a_new_epoch_wins_whatever_the_clock_says(talk: Talk) -> None:
    old = talk.sender("dispatcher", b"1" * 16)
    talk.hear(old.seal(body(1, ts_ms=NOW_MS + 86_400_000)))
    left_over = old.seal(body(2, ts_ms=NOW_MS + 86_400_001))
    talk.rekey()
    assert talk.hear(talk.sender("dispatcher", b"3" * 16).seal(body(3))).data == 3
    with refused(SealingCode.E_STALE_POSITION):
        talk.hear(left_over)


def test_a_device_without_send_is_not_heard() -> None:
    w = small_world()
    w.enrol("listener", caps=CAP_ADMIT)
    made = w.genesis("dispatcher", "unit", "listener")
    unit, listener = w.view("unit", made), w.view("listener", made)
    with refused(SealingCode.E_AUTHZ):
        w.say("listener", listener)
    sender = FrameSender(
        w.keys["listener"].identity,
        w.id("listener"),
        made.commit,
        listener.secrets(0),
        key_class=DURABLE,
        sid=bytes(16),
    )
    with refused(SealingCode.E_AUTHZ):
        unit.open(sender.seal(body()), w.directories)


def test_a_masked_device_has_only_its_classes() -> None:
    w = small_world()
    w.enrol("interpreter", compartments=ALL_COMPARTMENTS)
    first = w.genesis("dispatcher", "unit")
    dispatcher, unit = w.view("dispatcher", first), w.view("unit", first)
    seat = Seat(w.id("interpreter"), w.agency, 1 << MEDIA)
    made = w.commit("dispatcher", dispatcher, Change(CommitReason.MEMBER, admit=(seat,)))
    for name, channel in (("dispatcher", dispatcher), ("unit", unit)):
        w.process(name, channel, made)
    interpreter = w.view("interpreter", first, made)
    assert set(interpreter.secrets(1)) == {MEDIA}
    assert interpreter.chain is None
    with refused(SealingCode.E_NO_KEY):
        interpreter.open(w.say("dispatcher", dispatcher), w.directories)
    with refused(SealingCode.E_AUTHZ):
        w.say("interpreter", interpreter)
    # With a secret that somebody gave away all the same: it is not in the roster for this class.
    leaked = FrameSender(
        w.keys["interpreter"].identity, w.id("interpreter"), unit.head, unit.secrets(1), key_class=DURABLE, sid=bytes(16)
    )  # fmt: skip
    with refused(SealingCode.E_AUTHZ):
        unit.open(leaked.seal(body()), w.directories)


def test_a_guest_is_heard_by_the_key_that_was_vouched_for_and_in_its_classes_alone() -> None:
    talk = Talk()
    w = talk.world
    guest = DeviceKeys.create_guest(seeded("guest"), NOW_MS + HOUR_MS)
    w.keys["guest"] = guest
    seat = guest.guest_entry(w.agency, 1 << DURABLE)
    made = w.commit("dispatcher", talk.dispatcher, Change(CommitReason.MEMBER, guests=(seat,)))
    w.process("unit", talk.unit, made)
    visitor = w.view("guest", talk.genesis, made)
    assert talk.hear(w.say("guest", visitor, "hello")).data == "hello"
    another = FrameSender(
        w.keys["unit"].identity, guest.device_id, visitor.head, visitor.secrets(1), key_class=DURABLE, sid=bytes(16)
    )  # fmt: skip
    with refused(SealingCode.E_SIG):
        talk.hear(another.seal(body("not me")))
    with refused(SealingCode.E_AUTHZ):
        w.say("guest", visitor, key_class=EPHEMERAL)


def test_without_the_senders_directory_nothing_is_heard(talk: Talk) -> None:
    frame = talk.world.say("dispatcher", talk.dispatcher)
    with refused(SealingCode.E_UNKNOWN_DEVICE):
        talk.unit.open(frame, {})
    assert talk.hear(frame).data == "on my way"


def test_what_the_server_checks() -> None:
    talk = Talk()
    w, head = talk.world, talk.genesis.commit
    header = parse_frame(w.say("dispatcher", talk.dispatcher))
    check_frame(header, head, w.id("dispatcher"))
    for code, bad in (
        (SealingCode.E_AUTHZ, replace(header, sender=w.id("unit"))),
        (SealingCode.E_UNKNOWN_EPOCH, replace(header, epoch=1)),
        (SealingCode.E_FORK, replace(header, commit_prefix=bytes(16))),
        (SealingCode.E_FORMAT, replace(header, channel_id=type(header.channel_id)(bytes(16)))),
    ):
        with refused(code):
            check_frame(bad, head, w.id("dispatcher"))
    with refused(SealingCode.E_AUTHZ):
        check_frame(replace(header, sender=w.id("spare")), head, w.id("spare"))


def test_padding_is_exact() -> None:
    for size in range(200):
        data = seed("body") * 7
        padded = pad(data[:size], 64)
        assert len(padded) % 64 == 0
        assert len(padded) - size <= 64
        assert unpad(padded, 64) == data[:size]
    for bad in (bytes(64), b"\x80" + bytes(64), b"x" * 64):
        with refused(SealingCode.E_FORMAT):
            unpad(bad, 64)


def test_body_holds_only_what_all_languages_read_alike() -> None:
    assert decode_body(encode_body(body({"k": [1, {"deep": b""}]}))).data == {"k": [1, {"deep": b""}]}
    for data in (1.5, 2**53, {1: 2}, object(), 2**70):
        with refused(SealingCode.E_ENCODING):
            encode_body(body(data))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_body_too_large_is_refused_before_it_is_sealed(talk: Talk) -> None:
    with refused(SealingCode.E_FORMAT):
        talk.world.say("dispatcher", talk.dispatcher, b"x" * 60_000)
