"""The log of openings: one line before each opening, and a change of any of them shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from leeside.cli.exits import CommandError
from leeside.cli.records import Opening, append_opening, exporting, read_openings


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


def written(out: Path, error: BaseException | None) -> None:
    with exporting(out) as file:
        file.write(b"what was said\n")
        assert not out.exists()
        if error is not None:
            raise error


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (CommandError("no link"), CommandError),
        (OSError(28, "No space left on device"), CommandError),
    ],
)
def test_of_half_an_export_nothing_lies_about(
    tmp_path: Path, error: BaseException, ends: type[BaseException]
) -> None:
    with pytest.raises(ends, match="was not made" if isinstance(error, OSError) else None):
        written(tmp_path / "export.jsonl", error)
    assert list(tmp_path.iterdir()) == []


def test_an_export_appears_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "export.jsonl"
    # What a killed process left does not stand in the way.
    (tmp_path / "export.jsonl.partial").write_bytes(b"older, and longer than this one")
    written(out, None)
    assert out.read_bytes() == b"what was said\n"
    assert out.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [out]
