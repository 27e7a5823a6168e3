"""The shipped units: systemd itself reads them and says what they leave open."""

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
from leeside_server.video.worker import OOM_SCORE

FOLDER: Final = ROOT / "deploy/systemd"
UNITS: Final = ("leeside", "leeside-video", "leeside-turn")
OURS: Final = ("leeside", "leeside-video")
PROGRAM: Final = "/opt/leeside/.venv/bin/leeside-server"
EXPOSURE_MOST: Final = 2.0
"""systemd's own scale from 0 (closed) to 10 (open)."""
RESTART_MOST_MS: Final = 200
"""A fifth of the second within which a killed server is to listen again."""
SYSTEMD: Final = shutil.which("systemd-analyze")


def unit(name: str) -> str:
    """The text of a shipped unit."""
    return (FOLDER / f"{name}.service").read_text()


def settings(name: str, section: str = "Service") -> dict[str, list[str]]:
    """Every setting of a section with its values, in order."""
    found: dict[str, list[str]] = {}
    parts = re.split(r"^\[(\w+)\]$", unit(name), flags=re.MULTILINE)
    inside = dict(zip(parts[1::2], parts[2::2], strict=True))[section]
    for setting, value in re.findall(r"^(\w+)=(.*)$", inside, re.MULTILINE):
        found.setdefault(setting, []).append(value)
    return found


def beside_a_relay() -> list[str]:
    """The settings for a relay that holds the bridge as well."""
    return re.findall(r"^\w+=.*$", (FOLDER / "leeside-with-video.conf").read_text(), re.MULTILINE)


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_little_open(tmp_path: Path, name: str) -> None:
    copy = tmp_path / f"{name}.service"
    copy.write_text(unit(name))
    assert SYSTEMD is not None
    command = [SYSTEMD, "security", "--offline=true", "--no-pager", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Overall exposure" not in done.stdout:
        pytest.skip(f"this systemd-analyze does not judge files: {done.stderr.strip()[:200]}")
    exposure = re.search(rf"Overall exposure level for {name}.service: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure.group(1)) <= EXPOSURE_MOST


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(tmp_path: Path, name: str) -> None:
    copy = tmp_path / f"{name}.service"
    copy.write_text(unit(name).replace(PROGRAM, "/bin/true").replace("/usr/bin/turnserver", "/bin/true"))
    assert SYSTEMD is not None
    done = subprocess.run([SYSTEMD, "verify", str(copy)], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if f"{name}.service" in line]
    assert told == []


@pytest.mark.parametrize("name", OURS)
def test_it_is_given_the_time_to_drain_and_is_not_started_again_where_a_person_must_act(name: str) -> None:
    told = settings(name)
    assert told["Type"] == ["notify"]
    assert told["KillSignal"] == ["SIGTERM"]
    assert float(told["TimeoutStopSec"][0]) > ServerSection().drain_s
    assert told["RestartPreventExitStatus"] == [str(EXIT_CONFIG)]
    assert told["Restart"] == ["always"]


@pytest.mark.parametrize("name", UNITS)
def test_after_a_crash_it_is_started_again_at_once_however_often(name: str) -> None:
    pause = re.fullmatch(r"(\d+)ms", settings(name)["RestartSec"][0])
    assert pause is not None
    assert int(pause[1]) <= RESTART_MOST_MS
    assert settings(name, "Unit")["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("name", UNITS)
def test_it_is_a_unit_file(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=False)
    parser.read_string(unit(name))
    assert set(parser.sections()) == {"Unit", "Service", "Install"}


def test_the_bridge_may_do_what_its_dtls_needs_and_the_relay_alone_may_not() -> None:
    """Code that is written at run time: the DTLS library's way of calling back (pyOpenSSL's `set_verify`)."""
    assert settings("leeside")["MemoryDenyWriteExecute"] == ["yes"]
    assert settings("leeside-video")["MemoryDenyWriteExecute"] == ["no"]
    assert "MemoryDenyWriteExecute=no" in beside_a_relay()


def test_a_worker_that_takes_too_much_memory_ends_alone() -> None:
    """systemd's own policy stops the whole service: all other calls, and the relay where it holds the bridge (G8)."""
    assert settings("leeside-video")["OOMPolicy"] == ["continue"]
    assert "OOMPolicy=continue" in beside_a_relay()
    assert int(settings("leeside-video")["OOMScoreAdjust"][0]) < OOM_SCORE


def test_when_the_machine_gets_short_the_bridge_gives_way_and_not_the_relay() -> None:
    relay, bridge = settings("leeside"), settings("leeside-video")
    assert int(bridge["CPUWeight"][0]) < 100
    assert int(bridge["OOMScoreAdjust"][0]) > 0
    assert "MemoryMax" in bridge
    assert relay.keys().isdisjoint({"CPUWeight", "OOMScoreAdjust", "MemoryMax"})


def test_the_turn_server_is_started_with_the_file_and_the_user_of_the_readme() -> None:
    told = settings("leeside-turn")
    assert told["ExecStart"] == ["/usr/bin/turnserver -c /etc/coturn/turnserver.conf --pidfile="]
    assert told["User"] == told["Group"] == ["turnserver"]
    assert told["CapabilityBoundingSet"] == told["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]
    configuration = (ROOT / "deploy/turn/turnserver.conf").read_text()
    assert f"userdb=/run/{told['RuntimeDirectory'][0]}/" in configuration
    assert "/etc/coturn/turnserver.conf" in configuration
