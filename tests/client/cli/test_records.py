"""The log of openings: one line before each opening, and a change of any of them shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from leeside.cli.exits import CommandError
from leeside.cli.records import Opening, append_opening, read_openings


def opening(number: int) -> Opening:
    return Opening(
        "", 1_800_000_000_000 + number, "d" * 32, "r" * 32, "c" * 32, "subject", f"order {number}", "out"
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "profile" / "openings.log"
    for number in range(4):
        append_opening(path, opening(number))
    return path


def test_openings_stand_in_order_and_whole(log: Path) -> None:
    found = list(read_openings(log))
    assert [o.reason for o, _ in found] == ["order 0", "order 1", "order 2", "order 3"]
    assert all(whole for _, whole in found)
    assert log.stat().st_mode & 0o077 == 0
    assert list(read_openings(log.with_name("none"))) == []


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_line_that_was_changed_or_taken_out_shows(log: Path, line: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    changed = [*lines]
    changed[line] = changed[line].replace(b"order", b"0rder")
    log.write_bytes(b"".join(changed))
    assert not all(whole for _, whole in read_openings(log))
    log.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    assert not all(whole for _, whole in read_openings(log))


def test_what_is_no_opening_is_an_alarm(log: Path) -> None:
    log.write_bytes(log.read_bytes() + b"{}\n")
    with pytest.raises(CommandError):
        list(read_openings(log))
