"""What `doctor` found: the words that its checks answer with."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a check came out."""

    WELL = "well"
    WARNING = "warning"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """What one check found: a sentence, what to do unless all is well, and the figure behind it."""

    check: str
    verdict: Verdict
    says: str
    fix: str = ""
    figure: float | None = None
    unit: str = ""


class Report(msgspec.Struct, frozen=True):
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def bad(self) -> bool:
        """True when something promised cannot be kept here."""
        return any(finding.verdict is Verdict.BAD for finding in self.findings)
