"""Whether a device takes pages, and whether a push still reaches it (spec 08, "Duty and probes").

A device is probed about once a day: it is sent a push that shows nothing, and its service worker posts a receipt. Who has
none an hour later is told to the supervisors ahead of the shift, instead of by a page that nobody hears. Pure; `now_ms` and
names without `wall` are steady time, so that a clock that is set makes no device seem silent.
"""

from __future__ import annotations

from typing import Final

import msgspec

from leeside_protocol.ids import MemberId

PROBED_MS: Final = 24 * 3_600_000
"""How long a receipt shows that pushes reach a device."""
PROBE_WAIT_MS: Final = 3_600_000
"""A probe without a receipt for this long has failed; the next one goes out as much later."""


class DutyRow(msgspec.Struct, frozen=True):
    """A device and its pages; the row's id is the device's, its parent the member's.

    `sound`: its person heard the test at `tested_ms` (wall time). `probe` is the page of the probe that is on its way since
    `asked_ms`; `probed_ms` when a receipt came last, `failed_ms` when one last did not: 0 for never.
    """

    member: MemberId
    on: bool = False
    sound: bool = False
    tested_ms: int = 0
    probe: bytes = b""
    asked_ms: int = 0
    probed_ms: int = 0
    probed_wall_ms: int = 0
    failed_ms: int = 0


def probed(row: DutyRow | None, now_ms: int) -> bool:
    """Whether a push reached this device within 24 hours: then it counts as reachable."""
    return row is not None and bool(row.probed_ms) and now_ms - row.probed_ms < PROBED_MS


def probe_failed(row: DutyRow | None) -> bool:
    """Whether its last probe had no receipt."""
    return row is not None and row.failed_ms > row.probed_ms


def due_ms(row: DutyRow, every_ms: int) -> int:
    """When this device's probe must be looked at next: given up, or asked anew."""
    if row.probe:
        return row.asked_ms + PROBE_WAIT_MS
    if probe_failed(row):
        return row.failed_ms + PROBE_WAIT_MS
    return row.probed_ms + every_ms if row.probed_ms else 0


def ask(row: DutyRow, page: bytes, now_ms: int) -> DutyRow:
    """A probe is on its way, in the place of one before."""
    return msgspec.structs.replace(row, probe=page, asked_ms=now_ms)


def give_up(row: DutyRow, now_ms: int) -> DutyRow:
    """The probe that was on its way had no receipt."""
    return msgspec.structs.replace(row, probe=b"", failed_ms=now_ms) if row.probe else row


def reached(row: DutyRow, now_ms: int, wall_ms: int) -> DutyRow:
    """A push reached it: the receipt of a probe, of a test or of a page that went to it alone."""
    return msgspec.structs.replace(row, probe=b"", probed_ms=now_ms, probed_wall_ms=wall_ms, failed_ms=0)


def anew(row: DutyRow) -> DutyRow:
    """It has another subscription: what was known of the one before says nothing."""
    return msgspec.structs.replace(row, probe=b"", probed_ms=0, probed_wall_ms=0, failed_ms=0)


def heard_of(row: DutyRow, page: bytes, test: bool) -> bool:
    """Whether a receipt for this page shows anything: of the probe that is on its way, or of a test."""
    return test or (bool(row.probe) and row.probe == page)


def put(row: DutyRow, *, on: bool, sound: bool, wall_ms: int) -> DutyRow:
    """What its person said of it."""
    return msgspec.structs.replace(row, on=on, sound=sound, tested_ms=wall_ms if sound else row.tested_ms)
