"""What was said and has not been taken yet: on disk before anything else happens to it.

Theory of operation. A message enters as `COMPOSED`: its body, encrypted at rest, no epoch chosen yet. When its turn
comes it is sealed, and the *exact* frame is written down (`SEALED`) before its first byte leaves, for the server
may store it and the answer be lost. From then on only those bytes are sent again, so it stands exactly once.
One answer alone permits another sealing under the same id: a definite `stale`, which means "provably not
stored". `ACCEPTED` rows stay for a week, since a server restored from a backup may have lost them and wants them
again; `REFUSED` ones stay until a person has seen why.

Order is kept within a channel: the next message waits until the one before it was answered. In the state lane
only the newest value of a key counts, so one that was never sealed gives way to a newer one.

Table `outbox` (written by this module alone):
    seq       order of composition
    channel   17-byte address          id     16 bytes, unique for ever
    lane, key, urgency, mark           as published
    step      `Step`
    body      sealed at rest, row b"body" + id
    frame     sealed at rest, row b"frame" + id; NULL until sealed
    epoch     epoch of the frame; NULL until sealed
    made_ms   when it was composed
    offset, generation                 where it stands, once accepted
    code      number of spec 90, once refused
Lifetime: until `forget`, at least a week after acceptance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Literal

from leeside.database import Database
from leeside.errors import OutboxFull
from leeside.lockbox import Lockbox
from leeside_protocol.ids import ChannelAddress, MessageId
from leeside_protocol.limits import MESSAGE_ID_KEPT_S
from leeside_protocol.words import Lane, Mark, Urgency

WAITING_MESSAGES: Final = 10_000
"""How many messages may wait; more are refused with `OutboxFull`."""
KEPT_MS: Final = MESSAGE_ID_KEPT_S * 1000
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    channel BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    lane INTEGER NOT NULL,
    key BLOB NOT NULL,
    urgency INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    step INTEGER NOT NULL,
    body BLOB NOT NULL,
    frame BLOB,
    epoch INTEGER,
    made_ms INTEGER NOT NULL,
    offset INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    code INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_turn ON outbox (step, channel, seq)
"""
_ROWS: Final = (
    "SELECT seq, channel, id, lane, key, urgency, mark, step, body, frame, epoch, made_ms, offset, generation, code"
    " FROM outbox "
)


class Step(IntEnum):
    """How far a message has come. The numbers are on disk."""

    COMPOSED = 0
    SEALED = 1
    ACCEPTED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """A message to be sent; `body` is plain and sealed only when its turn comes."""

    channel: ChannelAddress
    id: MessageId
    lane: Lane
    key: bytes
    body: bytes
    made_ms: int
    urgency: Urgency = Urgency.ROUTINE
    mark: Mark = Mark.NONE


@dataclass(frozen=True, slots=True, repr=False)
class Waiting:
    """A row of the outbox. `frame` is what was, or may have been, sent: those bytes and no others."""

    seq: int
    draft: Draft
    step: Step
    frame: bytes | None
    epoch: int | None
    offset: int
    generation: int
    code: int


class Outbox:
    """The outbox of one device, in one file. Every method that changes something returns after it is durable."""

    def __init__(self, path: Path | Literal[":memory:"], lockbox: Lockbox) -> None:
        self._db = Database(path, _SCHEMA, version=_VERSION, durable=True)
        self._lockbox = lockbox

    def add(self, draft: Draft) -> None:
        """Take a message. Raises `OutboxFull`; the same id again changes nothing."""
        with self._db.change():
            found = self._db.one("SELECT COUNT(*) FROM outbox WHERE step < ?", Step.ACCEPTED)
            if found is not None and found[0] >= WAITING_MESSAGES:
                raise OutboxFull(f"{WAITING_MESSAGES} messages wait to be sent; no more are taken")
            if draft.lane is Lane.STATE:
                self._db.run(
                    "DELETE FROM outbox WHERE channel=? AND key=? AND lane=? AND step=?",
                    draft.channel, draft.key, Lane.STATE, Step.COMPOSED,
                )  # fmt: skip
            self._db.run(
                "INSERT INTO outbox (channel, id, lane, key, urgency, mark, step, body, made_ms)"
                " VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
                draft.channel, draft.id, draft.lane, draft.key, draft.urgency, draft.mark, Step.COMPOSED,
                self._lockbox.seal(draft.body, b"body" + draft.id), draft.made_ms,
            )  # fmt: skip

    def channels(self) -> tuple[ChannelAddress, ...]:
        """Channels in which something waits, the one that waits longest first."""
        rows = self._db.all(
            "SELECT channel FROM outbox WHERE step < ? GROUP BY channel ORDER BY MIN(seq)", Step.ACCEPTED
        )
        return tuple(ChannelAddress(row[0]) for row in rows)

    def first(self, channel: ChannelAddress) -> Waiting | None:
        """Whose turn it is in a channel: the oldest that was not answered."""
        return self._row("WHERE channel=? AND step < ? ORDER BY seq LIMIT 1", channel, Step.ACCEPTED)

    def get(self, message: MessageId) -> Waiting | None:
        """One message in whatever step, or None."""
        return self._row("WHERE id=?", message)

    def waiting(self, channel: ChannelAddress | None = None) -> tuple[Waiting, ...]:
        """Everything that was not accepted, refused ones included, in order: what a screen shows as unsent."""
        rows = self._db.all(_ROWS + "WHERE step != ? ORDER BY seq", Step.ACCEPTED)
        found = tuple(self._waiting(row) for row in rows)
        return found if channel is None else tuple(w for w in found if w.draft.channel == channel)

    def accepted(self, channel: ChannelAddress) -> tuple[tuple[MessageId, int, int], ...]:
        """What stands in a channel's log lane of the last week: id, generation, offset."""
        rows = self._db.all(
            "SELECT id, generation, offset FROM outbox WHERE channel=? AND step=? AND lane=? ORDER BY seq",
            channel, Step.ACCEPTED, Lane.LOG,
        )  # fmt: skip
        return tuple((MessageId(ident), generation, offset) for ident, generation, offset in rows)

    def seal(self, message: MessageId, frame: bytes, epoch: int) -> bytes | None:
        """Write the frame down before it is sent. Returns what is to be sent: the frame that another process
        of this device may have written first, else this one. None: it was taken back or replaced meanwhile, and
        must not leave."""
        with self._db.change():
            self._db.run(
                "UPDATE outbox SET frame=?, epoch=?, step=? WHERE id=? AND step=?",
                self._lockbox.seal(frame, b"frame" + message), epoch, Step.SEALED, message, Step.COMPOSED,
            )  # fmt: skip
        row = self.get(message)
        return None if row is None else row.frame

    def unseal(self, message: MessageId, frame: bytes) -> None:
        """The server proved that `frame` is not stored (`stale`): the message may be sealed anew."""
        row = self.get(message)
        if row is None or row.step is not Step.SEALED or row.frame != frame:
            return
        with self._db.change():
            self._db.run(
                "UPDATE outbox SET frame=NULL, epoch=NULL, step=? WHERE id=? AND step=?",
                Step.COMPOSED, message, Step.SEALED,
            )  # fmt: skip

    def accept(self, message: MessageId, offset: int, generation: int) -> None:
        """It is durable at the server. An older accepted value of the same state key is forgotten."""
        with self._db.change():
            row = self._db.one("SELECT channel, lane, key, seq FROM outbox WHERE id=?", message)
            if row is None:
                return
            channel, lane, key, seq = row
            self._db.run(
                "UPDATE outbox SET step=?, offset=?, generation=?, code=0 WHERE id=?",
                Step.ACCEPTED, offset, generation, message,
            )  # fmt: skip
            if lane == Lane.STATE:
                self._db.run(
                    "DELETE FROM outbox WHERE channel=? AND key=? AND lane=? AND step=? AND seq < ?",
                    channel, key, lane, Step.ACCEPTED, seq,
                )  # fmt: skip

    def refuse(self, message: MessageId, code: int) -> None:
        """The server refused it for good. It stays, with the reason, until `cancel`."""
        with self._db.change():
            self._db.run(
                "UPDATE outbox SET step=?, code=? WHERE id=? AND step < ?",
                Step.REFUSED, code, message, Step.ACCEPTED,
            )  # fmt: skip

    def cancel(self, message: MessageId) -> bool:
        """Take a message back. False when it may have been sent already: then it cannot be."""
        with self._db.change():
            return (
                self._db.run(
                    "DELETE FROM outbox WHERE id=? AND step IN (?,?)", message, Step.COMPOSED, Step.REFUSED
                )
                == 1
            )

    def reopen(self, channel: ChannelAddress, generation: int, keys: frozenset[bytes]) -> int:
        """The store's history is another one: what stood in an earlier generation waits again, with the exact
        bytes (what still stands is recognised by its id). State values only of `keys`: those that were ours
        to the last, so that nobody's newer value is overwritten. Returns how many wait again."""
        again = 0
        with self._db.change():
            for seq, lane, key in self._db.all(
                "SELECT seq, lane, key FROM outbox WHERE channel=? AND step=? AND generation!=?",
                channel, Step.ACCEPTED, generation,
            ):  # fmt: skip
                if lane == Lane.LOG or key in keys:
                    again += self._db.run("UPDATE outbox SET step=? WHERE seq=?", Step.SEALED, seq)
        return again

    def forget(self, now_ms: int) -> int:
        """Drop what was accepted over a week ago. Returns how many."""
        with self._db.change():
            return self._db.run(
                "DELETE FROM outbox WHERE step=? AND made_ms < ?", Step.ACCEPTED, now_ms - KEPT_MS
            )

    def forget_channel(self, channel: ChannelAddress) -> int:
        """An ended incident: drop whatever was composed, sent or refused in its channel. Returns how many."""
        with self._db.change():
            gone = self._db.run("DELETE FROM outbox WHERE channel=?", channel)
        self._db.scrub()
        return gone

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _row(self, where: str, *values: object) -> Waiting | None:
        row = self._db.one(_ROWS + where, *values)
        return None if row is None else self._waiting(row)

    def _waiting(self, row: tuple[Any, ...]) -> Waiting:
        (
            seq,
            channel,
            ident,
            lane,
            key,
            urgency,
            mark,
            step,
            body,
            frame,
            epoch,
            made_ms,
            offset,
            generation,
            code,
        ) = row
        message = MessageId(ident)
        plain = self._lockbox.open(body, b"body" + message)
        exact = None if frame is None else self._lockbox.open(frame, b"frame" + message)
        draft = Draft(
            ChannelAddress(channel), message, Lane(lane), key, plain, made_ms, Urgency(urgency), Mark(mark)
        )
        return Waiting(seq, draft, Step(step), exact, epoch, offset, generation, code)
