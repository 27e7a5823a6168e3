"""The history checker: compares what was acknowledged with what every member ends up holding.

Pure: it is given what the clients of a run wrote down and returns every broken promise. It never trusts one
client's word alone: an acknowledgement is a promise to all members (G1), a delivery is a promise that the
entry stays (G4), and two logs of the same channel must agree offset by offset (G3).

    sent        (channel, device, id, digest)           before the first attempt
    acked       (channel, device, id, digest, offset)   each time `Accepted` came
    delivered   (channel, reader, connection, offset, device, id, digest) in the order of arrival
    final       channel -> reader -> [(offset, device, id, digest), ..]   read from offset 0 at the end
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Sent(NamedTuple):
    """A message that a client began to publish."""

    channel: bytes
    device: bytes
    id: bytes
    digest: bytes


class Acked(NamedTuple):
    """An acknowledgement that a client received."""

    channel: bytes
    device: bytes
    id: bytes
    digest: bytes
    offset: int
    differs: bool = False


class Delivered(NamedTuple):
    """An entry that a client was shown, and over which of its connections."""

    channel: bytes
    reader: bytes
    connection: int
    offset: int
    device: bytes
    id: bytes
    digest: bytes


class Entry(NamedTuple):
    """An entry of a final log."""

    offset: int
    device: bytes
    id: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """One broken promise: which, and about what (ids as hex, so that a person can look it up)."""

    promise: str
    what: str


@dataclass(slots=True)
class History:
    """All that the clients of one run wrote down."""

    sent: list[Sent] = field(default_factory=list[Sent])
    acked: list[Acked] = field(default_factory=list[Acked])
    delivered: list[Delivered] = field(default_factory=list[Delivered])
    final: dict[bytes, dict[bytes, list[Entry]]] = field(
        default_factory=dict[bytes, dict[bytes, list[Entry]]]
    )


def check(history: History) -> list[Broken]:
    """Every broken promise of a run, empty when all held. Cost: linear in what was written down."""
    broken: list[Broken] = []
    logs = {c: _agreed(c, readers, broken) for c, readers in history.final.items()}
    broken += _sent_first(history.sent, logs)
    broken += _acknowledged_stands(history.acked, logs)
    broken += _delivered_stays(history.delivered, logs)
    broken += _delivered_in_order(history.delivered)
    return broken


def _agreed(
    channel: bytes, readers: Mapping[bytes, Sequence[Entry]], broken: list[Broken]
) -> dict[int, Entry]:
    """G2 and G3 of one channel: consecutive offsets, each id once, every reader the same."""
    agreed: dict[int, Entry] = {}
    longest = max((len(log) for log in readers.values()), default=0)
    for reader, log in readers.items():
        where = f"channel {channel.hex()[:8]} reader {reader.hex()[:8]}"
        if len(log) != longest:
            broken.append(Broken("G3 same log", f"{where}: {len(log)} entries, another reader has {longest}"))
        seen: set[tuple[bytes, bytes]] = set()
        for expected, entry in enumerate(log, 1):
            if entry.offset != expected:
                broken.append(Broken("G3 no gap", f"{where}: offset {entry.offset} where {expected} was due"))
                break
            if (entry.device, entry.id) in seen:
                broken.append(
                    Broken("G2 exactly once", f"{where}: {entry.id.hex()} stands again at {entry.offset}")
                )
            seen.add((entry.device, entry.id))
            if agreed.setdefault(entry.offset, entry) != entry:
                broken.append(Broken("G3 same log", f"{where}: another entry at {entry.offset}"))
    return agreed


def _sent_first(sent: Iterable[Sent], logs: Mapping[bytes, Mapping[int, Entry]]) -> list[Broken]:
    known = set(sent)
    return [
        Broken("no phantom", f"{entry.id.hex()} at {entry.offset} was sent by nobody")
        for channel, log in logs.items()
        for entry in log.values()
        if Sent(channel, entry.device, entry.id, entry.digest) not in known
    ]


def _acknowledged_stands(acked: Iterable[Acked], logs: Mapping[bytes, Mapping[int, Entry]]) -> list[Broken]:
    broken: list[Broken] = []
    first: dict[tuple[bytes, bytes, bytes], int] = {}
    for ack in acked:
        name = ack.id.hex()
        if first.setdefault((ack.channel, ack.device, ack.id), ack.offset) != ack.offset:
            broken.append(Broken("G2 exactly once", f"{name} was acknowledged at two offsets"))
        entry = logs.get(ack.channel, {}).get(ack.offset)
        if entry is None:
            broken.append(
                Broken("G1 acknowledged stands", f"{name} was acknowledged at {ack.offset} and is lost")
            )
        elif (entry.device, entry.id) != (ack.device, ack.id):
            broken.append(
                Broken("G1 acknowledged stands", f"another message stands at {ack.offset}, not {name}")
            )
        elif entry.digest != ack.digest and not ack.differs:
            broken.append(Broken("G1 acknowledged stands", f"{name} stands with other bytes"))
    return broken


def _delivered_stays(
    delivered: Iterable[Delivered], logs: Mapping[bytes, Mapping[int, Entry]]
) -> list[Broken]:
    return [
        Broken(
            "G4 durable before delivered", f"{d.id.hex()} was shown at {d.offset} and does not stand there"
        )
        for d in delivered
        if logs.get(d.channel, {}).get(d.offset) != Entry(d.offset, d.device, d.id, d.digest)
    ]


def _delivered_in_order(delivered: Iterable[Delivered]) -> list[Broken]:
    """Over one connection a reader sees each channel's offsets rise one by one: never twice, never skipping."""
    broken: list[Broken] = []
    last: dict[tuple[bytes, bytes, int], int] = {}
    counts: dict[tuple[bytes, bytes, int], int] = defaultdict(int)
    for d in delivered:
        key = (d.channel, d.reader, d.connection)
        if key in last and d.offset != last[key] + 1:
            counts[key] += 1
            if counts[key] == 1:
                broken.append(
                    Broken("G3 no gap", f"reader {d.reader.hex()[:8]} was shown {d.offset} after {last[key]}")
                )
        last[key] = d.offset
    return broken
