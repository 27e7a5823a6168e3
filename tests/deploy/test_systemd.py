"""The shipped unit: systemd itself reads it and says what it leaves open."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deploy.devtool.place import ROOT
from leeside_server.config import ServerSection
from leeside_server.errors import EXIT_CONFIG

UNIT: Final = ROOT / "deploy/systemd/leeside.service"
EXPOSURE_MOST: Final = 2.0
"""systemd's own scale from 0 (closed) to 10 (open)."""
RESTART_MOST_MS: Final = 200
"""A fifth of the second within which a killed server is to listen again."""
SYSTEMD: Final = shutil.which("systemd-analyze")


def settings(section: str = "Service") -> dict[str, list[str]]:
    """Every setting of a section with its values, in order."""
    found: dict[str, list[str]] = {}
    parts = re.split(r"^\[(\w+)\]$", UNIT.read_text(), flags=re.MULTILINE)
    inside = dict(zip(parts[1::2], parts[2::2], strict=True))[section]
    for name, value in re.findall(r"^(\w+)=(.*)$", inside, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not on this machine")
def test_systemd_finds_little_open(tmp_path: Path) -> None:
    copy = tmp_path / "leeside.service"
    copy.write_text(UNIT.read_text())
    assert SYSTEMD is not None
    command = [SYSTEMD, "security", "--offline=true", "--no-pager", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Overall exposure" not in done.stdout:
        pytest.skip(f"this systemd-analyze does not judge files: {done.stderr.strip()[:200]}")
    exposure = re.search(r"Overall exposure level for leeside.service: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure.group(1)) <= EXPOSURE_MOST


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copy = tmp_path / "leeside.service"
    copy.write_text(UNIT.read_text().replace("/opt/leeside/.venv/bin/leeside-server", "/bin/true"))
    assert SYSTEMD is not None
    done = subprocess.run([SYSTEMD, "verify", str(copy)], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "leeside.service" in line]
    assert told == []


def test_it_is_given_the_time_to_drain_and_is_not_started_again_where_a_person_must_act() -> None:
    unit = settings()
    assert unit["Type"] == ["notify"]
    assert unit["KillSignal"] == ["SIGTERM"]
    assert float(unit["TimeoutStopSec"][0]) > ServerSection().drain_s
    assert unit["RestartPreventExitStatus"] == [str(EXIT_CONFIG)]
    assert unit["Restart"] == ["always"]


def test_after_a_crash_it_is_started_again_at_once_however_often() -> None:
    pause = re.fullmatch(r"(\d+)ms", settings()["RestartSec"][0])
    assert pause is not None
    assert int(pause[1]) <= RESTART_MOST_MS
    assert settings("Unit")["StartLimitIntervalSec"] == ["0"]


def test_it_is_a_unit_file() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=False)
    parser.read_string(UNIT.read_text())
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
