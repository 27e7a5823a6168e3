"""What every fault run ends with: the final logs, the history's verdict, and that enough happened to prove anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.diary import Diary
from tests.faults.history import check
from tests.faults.installation import Installation
from tests.faults.load import Client, final_logs
from tests.faults.outcome import Findings


@dataclass(frozen=True, slots=True)
class Minimum:
    """What a run must have done at least."""

    acknowledged: int
    delivered: int
    injected: int


async def conclude(
    findings: Findings, diary: Diary, clients: Sequence[Client], minimum: Minimum, port: int | None = None
) -> None:
    """Read all final logs, let the checker decide, and judge what was done against its minimum."""
    diary.history.final = await final_logs(clients, port)
    broken = check(diary.history)
    entries = sum(len(log) for readers in diary.history.final.values() for log in readers.values())
    findings.history(broken, entries)
    findings.judge("no log was reset or trimmed", not diary.resets and not diary.trims, _told(diary))
    findings.minimum("messages acknowledged", diary.acknowledged, minimum.acknowledged)
    findings.minimum("entries delivered", diary.delivered, minimum.delivered)
    findings.minimum("faults injected", findings.injected, minimum.injected)


def _told(diary: Diary) -> str:
    refused = ", ".join(f"{name} {count}" for name, count in sorted(diary.refused.items())) or "none"
    closed = (
        ", ".join(f"{code or 'no answer'} {count}" for code, count in sorted(diary.closed.items())) or "none"
    )
    return f"{diary.resets} resets, {diary.trims} trims; refusals: {refused}; connections ended: {closed}"


def no_traceback(findings: Findings, installation: Installation) -> None:
    """Nobody gets a stack trace, and the log has none either."""
    count = installation.tracebacks()
    findings.judge("no stack trace in a server's log", count == 0, f"{count} found")
