"""How many consults one device may ask for before a person looks at it (spec 08, "Too many at once"). Rules only.

A device that asks too often is not refused: what it asks for beyond the limit is held for a supervisor. Its row names the
newest requests that were not held, and no more; so a device that asks a thousand times writes it three times.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from leeside_protocol.ids import ConsultId
from leeside_protocol.limits import CONSULTS_OPEN, CONSULTS_WINDOW_S


class AskedLine(msgspec.Struct, frozen=True, array_like=True):
    """A request of this device that was paged at once, and when (steady time)."""

    consult: ConsultId
    at_ms: int


class AskedRow(msgspec.Struct, frozen=True):
    """What one device asked for lately: kind `asked`, its id is the device's."""

    lines: tuple[AskedLine, ...] = ()


def outside_window(row: AskedRow, now_ms: int) -> tuple[ConsultId, ...]:
    """Requests that count only while they go on: look up which of them do."""
    return tuple(line.consult for line in row.lines if not _recent(line, now_ms))


def admit(
    row: AskedRow, consult: ConsultId, now_ms: int, ended: Collection[ConsultId]
) -> tuple[AskedRow, bool]:
    """The row with this request, and whether it must be held; the same row when it must.

    `ended` are those of `outside_window` that are over. `now_ms` is steady time.
    """
    counted = tuple(line for line in row.lines if _recent(line, now_ms) or line.consult not in ended)
    if len(counted) >= CONSULTS_OPEN:
        return row, True
    return AskedRow((*counted, AskedLine(consult, now_ms))), False


def _recent(line: AskedLine, now_ms: int) -> bool:
    return now_ms - line.at_ms < CONSULTS_WINDOW_S * 1000
