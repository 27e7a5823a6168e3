"""Tracks that are played: times kept, gaps filled, nonsense refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from leeside.cli.exits import CommandError
from leeside.cli.share import STEP_S, read_track

GPX = '<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{}</trkseg></trk></gpx>'


def track(tmp_path: Path, *points: tuple[float, float, str]) -> Path:
    path = tmp_path / "track.gpx"
    parts = [
        f'<trkpt lat="{lat}" lon="{lon}">' + (f"<time>{time}</time>" if time else "") + "</trkpt>"
        for lat, lon, time in points
    ]
    path.write_text(GPX.format("".join(parts)))
    return path


def test_times_of_the_track_are_kept(tmp_path: Path) -> None:
    points = read_track(
        track(
            tmp_path,
            (51.8985, -8.4756, "2026-01-01T10:00:00Z"),
            (51.8990, -8.4750, "2026-01-01T10:00:12Z"),
            (51.8995, -8.4745, "2026-01-01T10:00:10Z"),
        )
    )
    assert [p.at_s for p in points] == [0.0, 12.0, 12.0 + STEP_S]
    assert (points[0].lat_e7, points[0].lon_e7) == (518_985_000, -84_756_000)


def test_a_track_without_times_goes_on_steadily(tmp_path: Path) -> None:
    points = read_track(track(tmp_path, (51.0, -8.0, ""), (51.1, -8.1, ""), (51.2, -8.2, "")))
    assert [p.at_s for p in points] == [0.0, STEP_S, 2 * STEP_S]


@pytest.mark.parametrize("content", ["", "not xml", "<gpx>", "<!DOCTYPE x><gpx/>", GPX.format("")])
def test_what_is_no_track_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "track.gpx"
    path.write_text(content)
    with pytest.raises(CommandError):
        read_track(path)


def test_a_place_that_is_not_on_earth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        read_track(track(tmp_path, (91.0, 0.0, "")))
    with pytest.raises(CommandError):
        read_track(tmp_path / "missing.gpx")
