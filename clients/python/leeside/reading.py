"""Opening what a channel's log brings: each entry becomes a `Reading`, opened or with the reason why not.

Nothing that fails a check is shown. An entry opens once: the frame's own window, the id in its envelope and the local
copy each would have to be deceived. What members sign about the log is held against what came here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from leeside.bodies import BodyError, Content, Unsupported, read_content
from leeside.events import Alarm, AlarmKind
from leeside.history import Row, Verdict
from leeside.home import Home
from leeside_protocol.ids import ChannelAddress, ChannelId, DeviceId
from leeside_protocol.messages import Entry
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.body import Body, encode_body
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.public.encoding import sha256
from leeside_protocol.sealing.public.frame import parse_frame
from leeside_protocol.sealing.public.seen import LogHead, Seen
from leeside_protocol.words import Lane

_PENDING_CLAIMS: Final = 64
_REOPENED_ENTRIES: Final = 100
_CHANGED: Final = frozenset(
    {SealingCode.E_REPLAY, SealingCode.E_AEAD, SealingCode.E_SIG, SealingCode.E_FORMAT}
)
"""What says that somebody changed, moved or repeated a frame on its way."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of one entry. `content` is None unless it opened; `code` says why it did not."""

    row: Row
    body: Body | None = None
    content: Content | Unsupported | None = None
    code: str = ""


class Place(Protocol):
    """The channel that is read."""

    @property
    def id(self) -> ChannelId: ...
    @property
    def content(self) -> ChannelAddress: ...

    sealed: SealedChannel

    def missed(self, epoch: int) -> None: ...


class Reader:
    """Reads one channel's content log."""

    def __init__(self, place: Place, home: Home) -> None:
        self._place = place
        self._home = home
        self._claims: list[tuple[DeviceId, LogHead]] = []
        self._foreign_history = False

    def read(self, entry: Entry) -> Reading:
        """Open one entry of the content log, in the order of offsets.

        Raises `SealingError` `E_UNKNOWN_EPOCH`: hold it until keys came, 30 s at most, then `give_up`.
        """
        if not entry.payload:
            self._note_seen(entry)
            # What comes with a hash is never "opened": kept as such it would be read as a body on the next start, and a
            # server chooses its bytes.
            deleted = entry.lane is not Lane.LOG and not entry.hash
            verdict = Verdict.OPENED if deleted else Verdict.PRUNED
            return Reading(row_of(entry, verdict, entry.hash), code="pruned" if entry.hash else "")
        try:
            body = self._open(entry.payload, again=False)
        except SealingError as error:
            if error.code is SealingCode.E_UNKNOWN_EPOCH:
                raise
            self._note_seen(entry)
            return self._failed(entry, error)
        reading = self._judge(entry, body)
        if body.seen is not None and reading.row.verdict is Verdict.OPENED:
            self.claim(entry.device, body.seen)
        self._note_seen(entry)
        return reading

    def give_up(self, entry: Entry) -> Reading:
        """The keys did not come in time: keep the frame, say "cannot decrypt"."""
        self._note_seen(entry)
        return Reading(row_of(entry, Verdict.UNKNOWN_EPOCH, entry.payload), code="no_key")

    def reopen(self) -> Iterator[tuple[Reading, ...]]:
        """Try the frames that could not be opened before; those that opened, or failed for good, now, page by page."""
        after = 0
        while True:
            page = self._home.history.unopened(self._place.content, after, _REOPENED_ENTRIES)
            settled = tuple(reading for row in page if (reading := self._settled(row)) is not None)
            if settled:
                yield settled
            if len(page) < _REOPENED_ENTRIES:
                return
            after = page[-1].offset

    def _settled(self, row: Row) -> Reading | None:
        """What became of a kept frame, written down; None while its key is still missing."""
        entry = Entry(
            row.offset, row.lane, row.key, row.device, row.id, row.at_ms, row.value, row.urgency, row.mark
        )
        try:
            body = self._open(entry.payload, again=True)
        except SealingError as error:
            if error.code in {SealingCode.E_NO_KEY, SealingCode.E_UNKNOWN_EPOCH}:
                return None
            reading = self._failed(entry, error)
        else:
            reading = self._judge(entry, body)
        self._home.history.settle(self._place.content, reading.row)
        return reading

    def _open(self, frame: bytes, *, again: bool) -> Body:
        directories = self._home.directories.by_agency
        try:
            return self._place.sealed.open(frame, directories, again=again).body
        except SealingError as error:
            if error.code is not SealingCode.E_REPLAY:
                raise
            # The window outlived a crash that the local store did not, or the log begins anew: whether this
            # message was taken before is for the store to say (`_judge`).
            return self._place.sealed.open(frame, directories, again=True).body

    def _judge(self, entry: Entry, body: Body) -> Reading:
        """What a frame that opened is worth: is it the message that its envelope says, and a new one?"""
        taken_at = self._home.history.known_at(self._place.content, entry.device, entry.id)
        sender = DeviceId(entry.payload[44:60])
        if body.msg_id != entry.id or sender != entry.device:
            return self._failed(
                entry, SealingError(SealingCode.E_FORMAT, "another message than the envelope says")
            )
        if taken_at is not None and taken_at != entry.offset:
            return self._failed(entry, SealingError(SealingCode.E_REPLAY, "a message taken before"))
        try:
            content = read_content(body.type, body.data)
        except BodyError as error:
            return Reading(row_of(entry, Verdict.UNREADABLE, error.code.encode()), body, code=error.code)
        return Reading(row_of(entry, Verdict.OPENED, encode_body(body)), body, content)

    def _failed(self, entry: Entry, error: SealingError) -> Reading:
        if error.code is SealingCode.E_NO_KEY:
            self._place.missed(parse_frame(entry.payload).epoch)
            return Reading(row_of(entry, Verdict.NOT_GRANTED, entry.payload), code="not_granted")
        if error.code is SealingCode.E_FORK:
            # One signed branch here, an unproven one there: tell, and let the commits prove it.
            self._alarm(AlarmKind.HISTORY, error.code, entry.device)
        if error.code in _CHANGED:
            self._alarm(AlarmKind.CHANGED_FRAME, error.code, entry.device)
        return Reading(row_of(entry, Verdict.UNREADABLE, error.code.encode()), code=error.code)

    # ---- what others have seen

    def begin_again(self) -> None:
        """The log's history is another one: what was said of the old one proves nothing."""
        self._claims.clear()
        self._foreign_history = True

    def _note_seen(self, entry: Entry) -> None:
        if entry.lane is not Lane.LOG or entry.offset <= self._place.sealed.seen.head.seq:
            return
        self._place.sealed.seen.append(entry.offset, entry.hash or sha256(entry.payload))
        waiting, self._claims = self._claims, []
        for device, claim in waiting:
            self.claim(device, claim)

    def claim(self, device: DeviceId, claim: LogHead) -> None:
        """Compare what a member signed about the log with what came here."""
        if self._foreign_history or claim.seq == 0:
            return
        try:
            if self._place.sealed.compare_seen(claim) is Seen.AHEAD and len(self._claims) < _PENDING_CLAIMS:
                self._claims.append((device, claim))
        except SealingError as error:
            self._alarm(AlarmKind.HISTORY, error.code, device)

    def _alarm(self, kind: AlarmKind, code: SealingCode, device: DeviceId) -> None:
        self._home.report(Alarm(self._place.id, kind, code, stops_sending=False, device=device))


def row_of(entry: Entry, verdict: Verdict, value: bytes) -> Row:
    """What is kept of an entry, with what it was found to be."""
    return Row(
        entry.offset,
        entry.lane,
        entry.key,
        entry.device,
        entry.id,
        entry.at_ms,
        entry.urgency,
        entry.mark,
        verdict,
        value,
    )
