"""Times as a person types them: of this machine's zone, unless another is said."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from leeside.cli.exits import CommandError, Exit

HELP: Final = "As 2026-12-24T08:00, in this machine's zone; with Z or +01:00 in another; or now."


def when(text: str, now_ms: int) -> int:
    """An instant in milliseconds, or `CommandError`."""
    if text.strip().casefold() == "now":
        return now_ms
    try:
        return round(datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise CommandError(f"{text} is no time. {HELP}", Exit.USAGE, "time") from None


def interval(start: str, end: str, now_ms: int) -> tuple[int, int]:
    """Two instants, the first before the second, or `CommandError`."""
    from_ms, until_ms = when(start, now_ms), when(end, now_ms)
    if from_ms >= until_ms:
        raise CommandError("The end is not behind the beginning.", Exit.USAGE, "time")
    return from_ms, until_ms


def zone_named(name: str) -> ZoneInfo:
    """A zone of the IANA database as far as this machine knows it, or `CommandError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CommandError(
            f"This machine knows no zone {name}; one is called America/New_York.", Exit.USAGE, "zone"
        ) from None


def machine_zone() -> str:
    """The IANA name of this machine's zone; empty where it does not say."""
    import os
    from pathlib import Path

    named = os.environ.get("TZ", "").removeprefix(":")
    if not named:
        parts = Path("/etc/localtime").resolve().parts
        named = "/".join(parts[parts.index("zoneinfo") + 1 :]) if "zoneinfo" in parts else ""
    try:
        return zone_named(named).key if named else ""
    except CommandError:
        return ""
