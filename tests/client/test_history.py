"""The local copy: entries and position together, state values once, nothing readable on disk, and what is forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from leeside.database import DatabaseUnusable
from leeside.history import History, Place, Row, Verdict
from leeside.lockbox import Lockbox, LockboxDamaged
from leeside_protocol.follow import Position
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.words import Lane, Mark, Urgency

CHANNEL = ChannelId(b"c" * 16)
LOG = ChannelAddress(b"c" + CHANNEL)
OTHER = ChannelAddress(b"c" + bytes(16))
DEVICE = DeviceId(b"d" * 16)


def box() -> Lockbox:
    return Lockbox(bytes(range(32)))


@pytest.fixture
def history(tmp_path: Path) -> Generator[History]:
    found = History(tmp_path / "history.db", box())
    yield found
    found.close()


def row(offset: int, value: bytes = b"said", **changes: object) -> Row:
    made = Row(
        offset, Lane.LOG, b"", DEVICE, MessageId(offset.to_bytes(16, "big")), offset * 1000, Urgency.ROUTINE,
        Mark.NONE, Verdict.OPENED, value,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def state(offset: int, key: bytes, value: bytes) -> Row:
    return row(offset, value, lane=Lane.STATE, key=key)


def place(offset: int, generation: int = 7) -> Place:
    return Place(Position(generation, offset), 0, LogHead(offset, bytes([offset]) * 32))


def test_a_log_never_followed_begins_at_nothing(history: History) -> None:
    assert history.place(LOG) == Place(Position(), 0, LogHead())
    assert history.before(LOG, 2**53, 10) == ()
    assert history.channel(CHANNEL) is None
    assert history.note("none") is None


def test_entries_and_the_position_that_they_reach_stand_together_or_not_at_all(history: History) -> None:
    history.take(LOG, [row(1), row(2)], place(2))

    def breaks() -> Generator[Row]:
        yield row(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        history.take(LOG, breaks(), place(4))
    assert [r.offset for r in history.before(LOG, 2**53, 10)] == [1, 2]
    assert history.place(LOG) == place(2)
    assert history.known_at(LOG, DEVICE, row(3).id) is None


def test_pages_come_in_order_and_end_below_the_offset(history: History) -> None:
    history.take(LOG, [row(n) for n in range(1, 8)], place(7))
    assert [r.offset for r in history.before(LOG, 7, 3)] == [4, 5, 6]
    assert [r.offset for r in history.before(LOG, 4, 3)] == [1, 2, 3]
    assert history.before(OTHER, 7, 3) == ()


def test_a_state_value_replaces_the_one_before_and_an_empty_one_deletes_it(history: History) -> None:
    history.take(LOG, [state(1, b"s1", b"old"), state(2, b"s2", b"two")], place(2))
    history.take(LOG, [state(3, b"s1", b"new")], place(3))
    assert [(r.key, r.value) for r in history.state(LOG)] == [(b"s2", b"two"), (b"s1", b"new")]
    history.take(LOG, [state(4, b"s2", b"")], place(4))
    assert history.value(LOG, b"s2") is None
    assert history.before(LOG, 2**53, 10) == ()
    # Its id stays known, so that a replay of it is recognised.
    assert history.known_at(LOG, DEVICE, row(2).id) == 2


def test_what_could_not_be_opened_is_kept_and_settled_later(history: History) -> None:
    waiting = row(1, b"the frame", verdict=Verdict.NOT_GRANTED)
    late = row(2, b"another frame", verdict=Verdict.UNKNOWN_EPOCH)
    history.take(LOG, [waiting, late, row(3)], place(3))
    assert history.unopened(LOG, 0, 10) == (waiting, late)
    assert history.unopened(LOG, 0, 1) == (waiting,)
    assert history.unopened(LOG, 1, 1) == (late,)
    assert history.unopened(LOG, 2, 1) == ()
    history.settle(LOG, row(1, b"the body"))
    assert history.unopened(LOG, 0, 10) == (late,)
    assert history.message(LOG, waiting.id) == row(1, b"the body")


def test_the_first_place_of_an_id_is_the_one_that_counts(history: History) -> None:
    history.take(LOG, [row(1)], place(1))
    history.take(LOG, [row(2, id=row(1).id)], place(2))
    assert history.known_at(LOG, DEVICE, row(1).id) == 1
    assert history.known_at(LOG, DeviceId(bytes(16)), row(1).id) is None


def test_another_generation_drops_this_log_and_no_other(history: History) -> None:
    for log in (LOG, OTHER):
        history.take(log, [row(1)], place(1))
        history.press(log, row(1).id, 5)
    history.drop(LOG, Place(Position(8, 0), 0, None))
    assert history.before(LOG, 2**53, 10) == ()
    assert history.place(LOG) == Place(Position(8, 0), 0, None)
    assert history.known_at(LOG, DEVICE, row(1).id) is None
    assert history.pressing() == ((OTHER, row(1).id, 5),)
    assert len(history.before(OTHER, 2**53, 10)) == 1


def test_retention_forgets_messages_before_a_time_and_keeps_state(history: History) -> None:
    history.take(LOG, [row(1), row(2), state(3, b"s", b"v"), row(4)], place(4))
    assert history.purge(LOG, 4000) == 2
    assert [r.offset for r in history.before(LOG, 2**53, 10)] == [4]
    assert len(history.state(LOG)) == 1


def test_an_ended_incident_leaves_its_position_and_nothing_else(history: History, tmp_path: Path) -> None:
    for log in (LOG, OTHER):
        history.take(log, [row(1), state(2, b"s", b"v")], place(2))
    history.press(LOG, row(1).id, 5)
    history.keep_posted(CHANNEL, 0, b"boxes")
    history.keep_note(f"upload {CHANNEL.hex()} 00", b"a file's key")
    history.keep_note("upload elsewhere", b"kept")
    history.forget(CHANNEL, LOG)
    assert (history.before(LOG, 2**53, 10), history.state(LOG)) == ((), ())
    assert history.pressing() == ()
    assert history.posted(CHANNEL, 0) == ()
    assert history.note(f"upload {CHANNEL.hex()} 00") is None
    assert history.note("upload elsewhere") == b"kept"
    assert history.place(LOG) == place(2)
    assert len(history.before(OTHER, 2**53, 10)) == 1
    # The pages of before are not in the write-ahead log either.
    assert (tmp_path / "history.db-wal").stat().st_size == 0


def test_urgent_messages_repeat_until_relieved(history: History) -> None:
    for number, since in ((1, 50), (2, 40), (1, 60)):
        history.press(LOG, row(number).id, since)
    assert history.pressing() == ((LOG, row(2).id, 40), (LOG, row(1).id, 50))
    history.relieve(LOG, row(2).id)
    assert [found[1] for found in history.pressing()] == [row(1).id]


def test_chains_and_own_commits_come_back_as_they_were_kept(history: History) -> None:
    agency = AgencyId(b"a" * 16)
    history.keep_entries(agency, [(1, b"one"), (2, b"two")])
    history.keep_entries(agency, [(2, b"another two"), (3, b"three")])
    assert history.entries(agency) == (b"one", b"two", b"three")
    for epoch in (0, 1, 2):
        history.keep_posted(CHANNEL, epoch, b"post %d" % epoch)
    history.keep_posted(CHANNEL, 1, b"another")
    assert history.posted(CHANNEL, 1) == ((1, b"post 1"), (2, b"post 2"))
    history.keep_channel(CHANNEL, 7, b"old")
    history.keep_channel(CHANNEL, 8, b"new")
    assert history.channel(CHANNEL) == (8, b"new")


def test_nothing_said_is_readable_on_disk_nor_movable(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    history = History(path, box())
    history.take(LOG, [row(1, b"his name is Tom"), row(2, b"at Quay 4")], place(2))
    history.keep_channel(CHANNEL, 7, b"all the SECRETS")
    history.close()
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        assert not any(text in data for text in (b"Tom", b"Quay", b"SECRETS"))
        assert file.stat().st_mode & 0o077 == 0
    raw = sqlite3.connect(path)
    raw.execute("UPDATE entry SET value=(SELECT value FROM entry WHERE offset=1) WHERE offset=2")
    raw.commit()
    raw.close()
    history = History(path, box())
    with pytest.raises(LockboxDamaged):
        history.before(LOG, 2**53, 10)
    history.close()


def test_a_damaged_or_newer_file_says_what_to_do(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no database" * 100)
    with pytest.raises(DatabaseUnusable, match="move it away"):
        History(damaged, box())
    newer = tmp_path / "newer.db"
    History(newer, box()).close()
    raw = sqlite3.connect(newer)
    raw.execute("PRAGMA user_version=99")
    raw.close()
    with pytest.raises(DatabaseUnusable, match="newer version"):
        History(newer, box())
