"""The local copy: what this device received, with the position up to which nothing is missing.

Everything here can be fetched again, so a commit does not wait for the disk; but entries and the position that they
reach are written in one transaction, so that a crash never leaves one without the other. Bodies, frames, keys and
names are sealed under the lockbox; ids, offsets and times are not.

Tables (written by this module alone; all survive until `drop` or retention):
    position   log, generation, offset, floor; seen_offset and seen_hash: the running hash of the log lane there
    entry      one row per log entry and per current state value: log, offset, lane, key, device, id, at_ms,
               urgency, mark, verdict (`Verdict`), value (body, or the frame while it cannot be opened)
    known      log, device, id of everything ever taken, so that a replayed frame is recognised
    urgent     messages that repeat until acknowledged here: log, id, since_ms
    channel    id, generation of its epochs log, value (`SealedChannel.export`)
    directory  agency, seq, value (signed entry, verbatim)
    posted     channel, epoch, value: commits that this device made, with all boxes, to post again after a restore
    note       name, value: small things, e.g. devices of mine that I know
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Literal

from leeside.database import Database
from leeside.lockbox import Lockbox
from leeside_protocol.follow import Position
from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId
from leeside_protocol.sealing.public.seen import LogHead
from leeside_protocol.words import Lane, Mark, Urgency

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE position (
    log BLOB PRIMARY KEY, generation INTEGER NOT NULL, offset INTEGER NOT NULL, floor INTEGER NOT NULL DEFAULT 0,
    seen_offset INTEGER NOT NULL DEFAULT 0, seen_hash BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
    log BLOB NOT NULL, offset INTEGER NOT NULL, lane INTEGER NOT NULL, key BLOB NOT NULL, device BLOB NOT NULL,
    id BLOB NOT NULL, at_ms INTEGER NOT NULL, urgency INTEGER NOT NULL, mark INTEGER NOT NULL,
    verdict INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (log, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_state ON entry (log, lane, key);
CREATE INDEX entry_id ON entry (log, id);
CREATE INDEX entry_verdict ON entry (log, verdict);
CREATE TABLE known (
    log BLOB NOT NULL, device BLOB NOT NULL, id BLOB NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (log, device, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE urgent (
    log BLOB NOT NULL, id BLOB NOT NULL, since_ms INTEGER NOT NULL, PRIMARY KEY (log, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE channel (id BLOB PRIMARY KEY, generation INTEGER NOT NULL, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE directory (
    agency BLOB NOT NULL, seq INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (agency, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE posted (
    channel BLOB NOT NULL, epoch INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (channel, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID
"""
_ROWS: Final = "SELECT offset, lane, key, device, id, at_ms, urgency, mark, verdict, value FROM entry "


class Verdict(IntEnum):
    """What became of an entry here. The numbers are on disk."""

    OPENED = 0
    NOT_GRANTED = 1
    """Sealed before this device was admitted: a grant may still open it."""
    UNKNOWN_EPOCH = 2
    """Its keys did not come in time: they may still."""
    UNREADABLE = 3
    """It failed a check; it is shown as such, with the code in `value`, and never opened."""
    PRUNED = 4
    """The server no longer has the payload; `value` is its SHA-256."""


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """One entry of the local copy. `value` is a body when opened, the frame while it may open later, the code
    when unreadable."""

    offset: int
    lane: Lane
    key: bytes
    device: DeviceId
    id: MessageId
    at_ms: int
    urgency: Urgency
    mark: Mark
    verdict: Verdict
    value: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a log is followed from; `seen` None: the running hash is not known (the log was trimmed)."""

    position: Position
    floor: int
    seen: LogHead | None


class History:
    """The local copy of one device, in one file."""

    def __init__(self, path: Path | Literal[":memory:"], lockbox: Lockbox) -> None:
        self._db = Database(path, _SCHEMA, version=_VERSION, durable=False)
        self._lockbox = lockbox

    # ---- logs

    def place(self, log: ChannelAddress) -> Place:
        """Where to go on; the beginning of a log never followed."""
        row = self._db.one(
            "SELECT generation, offset, floor, seen_offset, seen_hash FROM position WHERE log=?", log
        )
        if row is None:
            return Place(Position(), 0, LogHead())
        generation, offset, floor, seen_offset, seen_hash = row
        seen = None if seen_hash is None else LogHead(seen_offset, seen_hash)
        return Place(Position(generation, offset), floor, seen)

    def take(
        self,
        log: ChannelAddress,
        rows: Iterable[Row],
        place: Place,
        pressing: Iterable[tuple[MessageId, int]] = (),
    ) -> None:
        """Add entries and move the position, both or neither. A state value replaces the one before; one with
        an empty body deletes it. `pressing`: the urgent messages among them (see `press`), which stand with them: one
        that was taken and would not sound after a crash is one that nobody hears."""
        with self._db.change():
            for row in rows:
                self._take(log, row)
            for message, since_ms in pressing:
                self.press(log, message, since_ms)
            self._place(log, place)

    def _take(self, log: ChannelAddress, row: Row) -> None:
        self._db.run(
            "INSERT INTO known (log, device, id, offset) VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
            log, row.device, row.id, row.offset,
        )  # fmt: skip
        if row.lane is Lane.STATE:
            self._db.run("DELETE FROM entry WHERE log=? AND lane=? AND key=?", log, Lane.STATE, row.key)
            if row.verdict is Verdict.OPENED and not row.value:
                return
        self._db.run(
            "INSERT INTO entry (log, offset, lane, key, device, id, at_ms, urgency, mark, verdict, value)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (log, offset) DO UPDATE"
            " SET verdict=excluded.verdict, value=excluded.value",
            log, row.offset, row.lane, row.key, row.device, row.id, row.at_ms, row.urgency, row.mark, row.verdict,
            self._lockbox.seal(row.value, _row_name(log, row.offset)),
        )  # fmt: skip

    def _place(self, log: ChannelAddress, place: Place) -> None:
        seen = place.seen
        self._db.run(
            "INSERT INTO position (log, generation, offset, floor, seen_offset, seen_hash) VALUES (?,?,?,?,?,?)"
            " ON CONFLICT (log) DO UPDATE SET generation=excluded.generation, offset=excluded.offset,"
            " floor=excluded.floor, seen_offset=excluded.seen_offset, seen_hash=excluded.seen_hash",
            log, place.position.generation, place.position.offset, place.floor,
            0 if seen is None else seen.seq, None if seen is None else seen.hash,
        )  # fmt: skip

    def drop(self, log: ChannelAddress, place: Place) -> None:
        """The store's history is another one: forget this copy of a log and go on from `place`."""
        with self._db.change():
            for table in ("entry", "known", "urgent"):
                self._db.run(f"DELETE FROM {table} WHERE log=?", log)  # noqa: S608 - a name from the line above
            self._place(log, place)

    def known_at(self, log: ChannelAddress, device: DeviceId, message: MessageId) -> int | None:
        """At which offset this message was taken before; None for a new one."""
        row = self._db.one("SELECT offset FROM known WHERE log=? AND device=? AND id=?", log, device, message)
        return None if row is None else int(row[0])

    def before(self, log: ChannelAddress, offset: int, limit: int) -> tuple[Row, ...]:
        """Log entries below an offset, the newest of them, in order."""
        rows = self._db.all(
            _ROWS + "WHERE log=? AND lane=? AND offset < ? ORDER BY offset DESC LIMIT ?",
            log, Lane.LOG, offset, limit,
        )  # fmt: skip
        return tuple(self._row(log, row) for row in reversed(rows))

    def state(self, log: ChannelAddress) -> tuple[Row, ...]:
        """Every current state value, in the order of offsets."""
        rows = self._db.all(_ROWS + "WHERE log=? AND lane=? ORDER BY offset", log, Lane.STATE)
        return tuple(self._row(log, row) for row in rows)

    def value(self, log: ChannelAddress, key: bytes) -> Row | None:
        """The current value of one key."""
        row = self._db.one(_ROWS + "WHERE log=? AND lane=? AND key=?", log, Lane.STATE, key)
        return None if row is None else self._row(log, row)

    def message(self, log: ChannelAddress, message: MessageId) -> Row | None:
        """One log entry by its id."""
        row = self._db.one(_ROWS + "WHERE log=? AND id=? AND lane=? LIMIT 1", log, message, Lane.LOG)
        return None if row is None else self._row(log, row)

    def unopened(self, log: ChannelAddress, after: int, limit: int) -> tuple[Row, ...]:
        """Entries above an offset whose frames may still open, the first `limit` of them, in order."""
        rows = self._db.all(
            _ROWS + "WHERE log=? AND verdict IN (?,?) AND offset>? ORDER BY offset LIMIT ?",
            log, Verdict.NOT_GRANTED, Verdict.UNKNOWN_EPOCH, after, limit,
        )  # fmt: skip
        return tuple(self._row(log, row) for row in rows)

    def settle(self, log: ChannelAddress, row: Row) -> None:
        """Write what became of an entry that was taken before."""
        with self._db.change():
            if row.lane is Lane.STATE and row.verdict is Verdict.OPENED and not row.value:
                self._db.run("DELETE FROM entry WHERE log=? AND offset=?", log, row.offset)
                return
            self._db.run(
                "UPDATE entry SET verdict=?, value=? WHERE log=? AND offset=?",
                row.verdict, self._lockbox.seal(row.value, _row_name(log, row.offset)), log, row.offset,
            )  # fmt: skip

    def purge(self, log: ChannelAddress, before_ms: int) -> int:
        """Retention: forget log entries that the server took before `before_ms`. Returns how many."""
        with self._db.change():
            return self._db.run(
                "DELETE FROM entry WHERE log=? AND lane=? AND at_ms < ?", log, Lane.LOG, before_ms
            )

    def forget(self, channel: ChannelId, log: ChannelAddress) -> None:
        """An ended incident: delete what a content log held, and the copies of its commits' boxes. The position
        stays, so that nothing is fetched again."""
        with self._db.change():
            for table in ("entry", "known", "urgent"):
                self._db.run(f"DELETE FROM {table} WHERE log=?", log)  # noqa: S608 - a name from the line above
            self._db.run("DELETE FROM posted WHERE channel=?", channel)
            self._db.run("DELETE FROM note WHERE name LIKE ?", f"upload {channel.hex()} %")
        self._db.scrub()

    def _row(self, log: ChannelAddress, row: tuple[Any, ...]) -> Row:
        offset, lane, key, device, ident, at_ms, urgency, mark, verdict, value = row
        return Row(
            offset,
            Lane(lane),
            key,
            DeviceId(device),
            MessageId(ident),
            at_ms,
            Urgency(urgency),
            Mark(mark),
            Verdict(verdict),
            self._lockbox.open(value, _row_name(log, offset)),
        )

    # ---- urgent messages

    def press(self, log: ChannelAddress, message: MessageId, since_ms: int) -> None:
        """An urgent message repeats here from now on, also after a restart."""
        self._db.run("INSERT INTO urgent VALUES (?,?,?) ON CONFLICT DO NOTHING", log, message, since_ms)

    def relieve(self, log: ChannelAddress, message: MessageId) -> None:
        """It was acknowledged."""
        self._db.run("DELETE FROM urgent WHERE log=? AND id=?", log, message)

    def pressing(self) -> tuple[tuple[ChannelAddress, MessageId, int], ...]:
        """Every urgent message not yet acknowledged here: log, id, since."""
        rows = self._db.all("SELECT log, id, since_ms FROM urgent ORDER BY since_ms")
        return tuple((ChannelAddress(log), MessageId(ident), since) for log, ident, since in rows)

    # ---- keys and chains

    def keep_channel(self, channel: ChannelId, generation: int, export: bytes) -> None:
        """Replace a channel's exported state."""
        self._db.run(
            "INSERT INTO channel VALUES (?,?,?) ON CONFLICT (id) DO UPDATE"
            " SET generation=excluded.generation, value=excluded.value",
            channel, generation, self._lockbox.seal(export, b"channel" + channel),
        )  # fmt: skip

    def channel(self, channel: ChannelId) -> tuple[int, bytes] | None:
        """The generation of its epochs log and the exported state, or None."""
        row = self._db.one("SELECT generation, value FROM channel WHERE id=?", channel)
        return None if row is None else (int(row[0]), self._lockbox.open(row[1], b"channel" + channel))

    def keep_entries(self, agency: AgencyId, entries: Iterable[tuple[int, bytes]]) -> None:
        """Add verified directory entries: (seq, signed bytes)."""
        with self._db.change():
            for seq, value in entries:
                sealed = self._lockbox.seal(value, b"directory" + agency + seq.to_bytes(8, "big"))
                self._db.run(
                    "INSERT INTO directory VALUES (?,?,?) ON CONFLICT DO NOTHING", agency, seq, sealed
                )

    def entries(self, agency: AgencyId) -> tuple[bytes, ...]:
        """An agency's directory from its first entry."""
        rows = self._db.all("SELECT seq, value FROM directory WHERE agency=? ORDER BY seq", agency)
        return tuple(
            self._lockbox.open(value, b"directory" + agency + int(seq).to_bytes(8, "big"))
            for seq, value in rows
        )

    def keep_posted(self, channel: ChannelId, epoch: int, post: bytes) -> None:
        """Keep a commit of one's own with its boxes, for the day the server lost it."""
        self._db.run(
            "INSERT INTO posted VALUES (?,?,?) ON CONFLICT DO NOTHING",
            channel, epoch, self._lockbox.seal(post, b"posted" + channel + epoch.to_bytes(8, "big")),
        )  # fmt: skip

    def posted(self, channel: ChannelId, from_epoch: int) -> tuple[tuple[int, bytes], ...]:
        """Own commits at or above an epoch, in order."""
        rows = self._db.all(
            "SELECT epoch, value FROM posted WHERE channel=? AND epoch >= ? ORDER BY epoch",
            channel,
            from_epoch,
        )
        return tuple(
            (epoch, self._lockbox.open(value, b"posted" + channel + int(epoch).to_bytes(8, "big")))
            for epoch, value in rows
        )

    # ---- small things

    def note(self, name: str) -> bytes | None:
        """A small value by name, or None."""
        row = self._db.one("SELECT value FROM note WHERE name=?", name)
        return None if row is None else self._lockbox.open(row[0], b"note" + name.encode())

    def keep_note(self, name: str, value: bytes) -> None:
        """Replace a small value."""
        self._db.run(
            "INSERT INTO note VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value=excluded.value",
            name, self._lockbox.seal(value, b"note" + name.encode()),
        )  # fmt: skip

    def close(self) -> None:
        """Release the file."""
        self._db.close()


def _row_name(log: ChannelAddress, offset: int) -> bytes:
    return b"entry" + log + offset.to_bytes(8, "big")
