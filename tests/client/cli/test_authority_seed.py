"""`leeside agency authority seed`: the way of an authority's key into a browser, past pipes, logs and other eyes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from leeside import authority as a
from leeside.cli import agency
from leeside.cli.exits import Exit
from leeside.cli.keyfiles import authority_path
from leeside.cli.root import build
from leeside.keystore import Cost, Passphrase
from leeside.profile import profile

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the authority whose key stands in the profile."""
    monkeypatch.setenv("LEESIDE_HOME", str(tmp_path / "home"))
    for name in ("LEESIDE_PROFILE", "LEESIDE_SERVER", "LEESIDE_PASSPHRASE_FILE", "LEESIDE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    place = authority_path(profile("default", tmp_path / "home"))
    place.parent.mkdir(parents=True)
    return a.create_key(place, Passphrase(PASSPHRASE, Cost(1, 8, 1)), "authority").hex()


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "pass"
    path.write_text(PASSPHRASE + "\n")
    path.chmod(0o600)
    return path


def run(passphrase_file: Path, *args: str) -> Result:
    given = ["agency", "authority", "seed", "--passphrase-file", str(passphrase_file), *args]
    return CliRunner().invoke(build(), given)


def test_a_seed_goes_to_a_terminal_and_into_no_pipe(
    passphrase_file: Path, seed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = run(passphrase_file)
    assert piped.exit_code == Exit.USAGE
    assert seed not in piped.output
    monkeypatch.setattr(agency, "terminal", lambda: True)
    shown = run(passphrase_file)
    assert shown.exit_code == 0
    assert shown.stdout.split() == [seed]
    assert "certify devices" in shown.stderr
    for_programs = run(passphrase_file, "--json")
    assert for_programs.exit_code == Exit.USAGE
    assert seed not in for_programs.output


def test_a_file_is_for_its_owner_alone_and_replaces_none(
    passphrase_file: Path, seed: str, tmp_path: Path
) -> None:
    file = tmp_path / "seed"
    result = run(passphrase_file, "--file", str(file))
    assert result.exit_code == 0
    assert seed not in result.output
    assert file.read_text() == f"{seed}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("something else")
    assert run(passphrase_file, "--file", str(file)).exit_code == Exit.CONFLICT
    assert file.read_text() == "something else"


def test_a_wrong_passphrase_shows_nothing(passphrase_file: Path, seed: str, tmp_path: Path) -> None:
    passphrase_file.write_text("another passphrase\n")
    result = run(passphrase_file, "--file", str(tmp_path / "seed"))
    assert result.exit_code == Exit.KEYSTORE
    assert seed not in result.output
    assert not (tmp_path / "seed").exists()
