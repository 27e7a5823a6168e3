"""What a benchmark says: rows, verdicts, exit codes, picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.bench.__main__ import keep
from tests.bench.figures import EXIT_LACKING, EXIT_MISSED, LIMIT, MISSING, Result, Row, Target
from tests.bench.picture import picture

HALF = Target(0.5)
TWICE = Target(2.0, at_most=False)


def a_row(ours: float | None, theirs: float | None, target: Target | None, note: str = "") -> Row:
    return Row("processor time", "us", ours, "a peer", theirs, target, note)


@pytest.mark.parametrize(
    ("ours", "theirs", "target", "holds"),
    [
        (5.0, 10.0, HALF, True),
        (5.1, 10.0, HALF, False),
        (20.0, 10.0, TWICE, True),
        (19.9, 10.0, TWICE, False),
        (3.0, 3.0, LIMIT, True),
        (5.0, None, HALF, None),
        (None, 10.0, HALF, None),
        (5.0, 10.0, None, None),
        (5.0, 0.0, HALF, None),
    ],
)
def test_a_row_holds_by_its_ratio(
    ours: float | None, theirs: float | None, target: Target | None, holds: bool | None
) -> None:
    assert a_row(ours, theirs, target).holds is holds


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([a_row(1, 10, HALF)], 0),
        ([a_row(1, 10, HALF), a_row(9, 10, HALF)], EXIT_MISSED),
        ([a_row(1, 10, HALF), a_row(1, None, HALF)], EXIT_LACKING),
        ([a_row(9, 10, HALF), a_row(1, None, HALF)], EXIT_MISSED),
        ([a_row(1, None, None)], 0),
        ([], EXIT_LACKING),
    ],
)
def test_the_exit_code_tells_a_missed_target_from_a_missing_peer(rows: list[Row], code: int) -> None:
    assert Result("fanout", short=False, rows=rows).exit_code == code


def test_a_short_run_fails_by_no_figure() -> None:
    assert Result("fanout", short=True, rows=[a_row(9, 10, HALF)]).exit_code == 0


def test_a_missing_peer_stands_in_the_table_with_the_reason() -> None:
    result = Result("fanout", short=False, rows=[a_row(1, None, HALF, f"{MISSING}: not in apt")])
    assert "peer missing: not in apt" in result.table()
    assert "1 could not be judged" in result.table()


def test_the_object_has_the_shape_that_is_promised() -> None:
    row = a_row(5, 10, HALF).as_object()
    assert {
        name: row[name] for name in ("measure", "ours", "peer", "peer_value", "ratio", "target", "holds")
    } == {
        "measure": "processor time",
        "ours": 5,
        "peer": "a peer",
        "peer_value": 10,
        "ratio": 0.5,
        "target": "<= 0.5x",
        "holds": True,
    }


def test_the_picture_is_well_formed_and_draws_every_row() -> None:
    rows = [a_row(5, 10, HALF), a_row(9, 10, HALF), a_row(1, None, HALF, "<gone> & away"), a_row(3, 2, None)]
    rows.append(a_row(0, 10, HALF))
    # Our own text, made a line above.
    drawn = ET.fromstring(picture(Result("fanout", short=False, rows=rows)))
    words = "".join(drawn.itertext())
    assert words.count("processor time / a peer") == len(rows)
    assert "<gone> & away" in words
    colours = [bar.get("fill") for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(set(colours)) == 4, "white, and one each for holds, missed and no target"


def test_a_result_is_kept_with_its_machine(tmp_path: Path) -> None:
    figures, drawn = keep(Result("storm", short=False, rows=[a_row(1, 2, None)]), 1.25, tmp_path)
    whole = json.loads(figures.read_text())
    assert (figures.name, drawn.name) == ("bench-storm.json", "bench-storm.svg")
    assert whole["took_s"] == 1.2
    assert {"cores", "cpu", "commit"} <= whole["machine"].keys()
