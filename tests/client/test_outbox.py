"""The outbox: on disk first, exact bytes again, sealed anew only when provably not stored, never lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from leeside.errors import OutboxFull
from leeside.lockbox import Lockbox, LockboxDamaged
from leeside.outbox import KEPT_MS, Draft, Outbox, Step
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.words import Lane, Mark, Urgency

KEY = bytes(range(32))
ONE = ChannelAddress(b"c" + bytes(16))
OTHER = ChannelAddress(b"c" + bytes([1] * 16))


def box() -> Lockbox:
    return Lockbox(KEY)


def draft(number: int, channel: ChannelAddress = ONE, lane: Lane = Lane.LOG, key: bytes = b"") -> Draft:
    return Draft(
        channel, MessageId(number.to_bytes(16, "big")), lane, key, b"body %d" % number, number, Urgency.URGENT, Mark.ARRIVED
    )  # fmt: skip


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.db", box())


def test_a_message_comes_back_as_it_was_composed(outbox: Outbox) -> None:
    outbox.add(draft(1))
    first = outbox.first(ONE)
    assert first is not None
    assert (first.draft, first.step, first.frame) == (draft(1), Step.COMPOSED, None)
    outbox.close()


def test_the_same_id_twice_is_one_message(outbox: Outbox) -> None:
    outbox.add(draft(1))
    outbox.add(draft(1))
    assert len(outbox.waiting()) == 1
    outbox.close()


def test_order_is_kept_within_a_channel_and_the_longest_waiting_channel_is_first(outbox: Outbox) -> None:
    for number, channel in ((1, OTHER), (2, ONE), (3, ONE)):
        outbox.add(draft(number, channel))
    assert outbox.channels() == (OTHER, ONE)
    first = outbox.first(ONE)
    assert first is not None
    outbox.seal(first.draft.id, b"frame", 0)
    outbox.accept(first.draft.id, 1, 1)
    second = outbox.first(ONE)
    assert second is not None
    assert second.draft == draft(3)
    outbox.close()


def test_the_first_frame_written_down_is_the_one_that_is_sent(outbox: Outbox) -> None:
    outbox.add(draft(1))
    assert outbox.seal(draft(1).id, b"first", 0) == b"first"
    assert outbox.seal(draft(1).id, b"second", 1) == b"first"
    outbox.close()


def test_only_the_very_frame_that_is_provably_not_stored_may_be_sealed_anew(outbox: Outbox) -> None:
    outbox.add(draft(1))
    outbox.seal(draft(1).id, b"first", 0)
    outbox.unseal(draft(1).id, b"another")
    waiting = outbox.get(draft(1).id)
    assert waiting is not None
    assert waiting.frame == b"first"
    outbox.unseal(draft(1).id, b"first")
    assert outbox.seal(draft(1).id, b"second", 1) == b"second"
    outbox.close()


def test_a_newer_state_value_replaces_one_that_was_never_sealed_and_no_other(outbox: Outbox) -> None:
    outbox.add(draft(1, lane=Lane.STATE, key=b"s"))
    outbox.seal(draft(1).id, b"frame", 0)
    for number in (2, 3):
        outbox.add(draft(number, lane=Lane.STATE, key=b"s"))
    outbox.add(draft(4, lane=Lane.STATE, key=b"t"))
    assert [int.from_bytes(w.draft.id, "big") for w in outbox.waiting(ONE)] == [1, 3, 4]
    outbox.close()


def test_what_may_have_been_sent_cannot_be_taken_back(outbox: Outbox) -> None:
    outbox.add(draft(1))
    outbox.add(draft(2))
    outbox.seal(draft(1).id, b"frame", 0)
    assert not outbox.cancel(draft(1).id)
    assert outbox.cancel(draft(2).id)
    outbox.close()


def test_what_was_taken_back_or_replaced_before_it_was_sealed_does_not_leave(outbox: Outbox) -> None:
    outbox.add(draft(1))
    assert outbox.cancel(draft(1).id)
    assert outbox.seal(draft(1).id, b"frame", 0) is None
    for number in (2, 3):
        outbox.add(draft(number, lane=Lane.STATE, key=b"k"))
    assert outbox.seal(draft(2).id, b"frame", 0) is None
    assert outbox.seal(draft(3).id, b"frame", 0) == b"frame"
    outbox.close()


def test_a_refused_message_stays_for_its_person_to_see_and_lets_the_next_go(outbox: Outbox) -> None:
    outbox.add(draft(1))
    outbox.add(draft(2))
    outbox.refuse(draft(1).id, 302)
    first = outbox.first(ONE)
    assert first is not None
    assert first.draft == draft(2)
    assert [(w.step, w.code) for w in outbox.waiting()] == [(Step.REFUSED, 302), (Step.COMPOSED, 0)]
    assert outbox.cancel(draft(1).id)
    outbox.close()


def test_after_a_restore_the_exact_bytes_wait_again(outbox: Outbox) -> None:
    for number in (1, 2):
        outbox.add(draft(number))
        outbox.seal(draft(number).id, b"frame %d" % number, 0)
        outbox.accept(draft(number).id, number, 1)
    outbox.add(draft(3, lane=Lane.STATE, key=b"mine"))
    outbox.add(draft(4, lane=Lane.STATE, key=b"theirs"))
    for number in (3, 4):
        outbox.seal(draft(number).id, b"frame %d" % number, 0)
        outbox.accept(draft(number).id, number, 1)
    assert outbox.reopen(ONE, 1, frozenset({b"mine"})) == 0
    assert outbox.reopen(ONE, 2, frozenset({b"mine"})) == 3
    assert [w.frame for w in outbox.waiting()] == [b"frame 1", b"frame 2", b"frame 3"]
    outbox.close()


def test_accepted_messages_are_kept_a_week_and_then_forgotten(outbox: Outbox) -> None:
    outbox.add(draft(1))
    outbox.add(draft(2))
    outbox.accept(draft(1).id, 5, 1)
    assert outbox.accepted(ONE) == ((draft(1).id, 1, 5),)
    assert outbox.forget(KEPT_MS) == 0
    assert outbox.forget(KEPT_MS + 10) == 1
    assert len(outbox.waiting()) == 1
    outbox.close()


def test_a_full_outbox_says_so_and_loses_nothing(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leeside.outbox.WAITING_MESSAGES", 2)
    outbox.add(draft(1))
    outbox.add(draft(2))
    with pytest.raises(OutboxFull):
        outbox.add(draft(3))
    assert len(outbox.waiting()) == 2
    outbox.close()


def test_neither_body_nor_frame_is_readable_on_disk_nor_movable(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, box())
    for number in (1, 2):
        outbox.add(draft(number))
        outbox.seal(draft(number).id, b"FRAMEBYTES", 0)
    outbox.close()
    for file in tmp_path.iterdir():
        assert b"body 1" not in file.read_bytes()
        assert b"FRAMEBYTES" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0
    raw = sqlite3.connect(path)
    raw.execute("UPDATE outbox SET body=(SELECT body FROM outbox WHERE seq=1) WHERE seq=2")
    raw.commit()
    raw.close()
    outbox = Outbox(path, box())
    with pytest.raises(LockboxDamaged):
        outbox.get(draft(2).id)
    outbox.close()


_WRITER = """
import sys
from pathlib import Path
from leeside.lockbox import Lockbox
from leeside.outbox import Draft, Outbox
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.words import Lane
outbox = Outbox(Path(sys.argv[1]), Lockbox(bytes(range(32))))
number = 0
while True:
    number += 1
    ident = MessageId(number.to_bytes(16, "big"))
    outbox.add(Draft(ChannelAddress(b"c" + bytes(16)), ident, Lane.LOG, b"", b"body", number))
    outbox.seal(ident, b"frame %d" % number, 0)
    print(number, flush=True)
"""


def test_what_was_taken_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert writer.stdout is not None
    told = 0
    while told < 20:
        told = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait(10)
    writer.stdout.close()
    told = max([told, *(int(number) for number in rest)])
    outbox = Outbox(path, box())
    frames = {int.from_bytes(w.draft.id, "big"): w.frame for w in outbox.waiting()}
    assert all(frames[number] == b"frame %d" % number for number in range(1, told + 1))
    assert len(frames) <= told + 1
    outbox.close()
