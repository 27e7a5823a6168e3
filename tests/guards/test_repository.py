"""What must stay true of the files of the repository, whatever they say."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.devtool.place import ROOT

TOP_LEVEL = frozenset(
    {
        ".ci", ".editorconfig", ".gitattributes", ".github", ".gitignore", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md",
        "LICENSE", "README.md", "SECURITY.md", "clients", "deploy", "dev", "docs", "protocol", "pyproject.toml",
        "requirements.lock", "server", "tests",
    }
)  # fmt: skip
LOCKS = ("requirements.lock", "deploy/devtool/services.lock")
LINES_WALL = 700
CODE = {".py", ".sh", ".ts", ".svelte", ".css", ".toml", ".sql"}

# Written in two parts each, so that this file does not find itself.
LEFT_FOR_LATER = re.compile(
    "|".join(("TO" + "DO", "FIX" + "ME", r"\bXX" + "X\\b", "NotImplemented" + "Error"))
)
MACHINE_PATH = re.compile(
    "|".join(("/ro" + "ot/", "/ho" + "me/[a-z]", "/Us" + "ers/[A-Za-z]", "/wo" + "rk/", "/tmp/" + r"bash_"))
)
REGISTRY = re.compile(
    "|".join(("py" + r"pi\.org", "pythonho" + "sted", r"registry\.np" + "mjs", r"npm" + r"js\.org"))
)
LOCK_ENTRY = re.compile(
    r"[a-z0-9][a-z0-9._-]*==[0-9][A-Za-z0-9.+!_-]*(?: ; [^\\#]+?)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
)


def tracked() -> list[Path]:
    """Files that belong to the repository: tracked, or new and not ignored. Without git, this says so and fails."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return sorted({ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()})


FILES = tracked()


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file with its text."""
    for path in FILES:
        body = path.read_bytes()
        if b"\0" not in body:
            yield path.relative_to(ROOT), body.decode()


def findings(pattern: re.Pattern[str], suffixes: set[str] | None = None) -> list[str]:
    """`file:line: text` for each line that matches."""
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, text in texts()
        if suffixes is None or path.suffix in suffixes
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_repository_is_read_at_all() -> None:
    assert {"pyproject.toml", "dev", "requirements.lock"} <= {str(path.relative_to(ROOT)) for path in FILES}


def test_top_level_is_the_fixed_list() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} <= TOP_LEVEL


def test_no_file_of_code_is_over_the_wall() -> None:
    long = {
        str(path): text.count("\n")
        for path, text in texts()
        if path.suffix in CODE and text.count("\n") > LINES_WALL
    }
    assert long == {}


def test_nothing_is_left_for_later() -> None:
    assert findings(LEFT_FOR_LATER, CODE | {""}) == []


def test_no_path_of_one_machine() -> None:
    assert findings(MACHINE_PATH) == []


def test_no_address_of_a_package_registry() -> None:
    assert findings(REGISTRY) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_names_versions_and_hashes_only(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = LOCK_ENTRY.findall(text)
    assert entries
    assert LOCK_ENTRY.sub("", text) == ""


@pytest.mark.parametrize(
    "poison",
    ["--index-url https://example.org/simple\n", "left-pad==1.0\n", "a @ https://example.org/a.whl\n"],
)
def test_the_lock_pattern_refuses_what_it_must(poison: str) -> None:
    assert LOCK_ENTRY.sub("", poison) == poison


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = [
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *groups["test"],
        *groups["tools"],
    ]
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    names = {re.split(r"[\[<>=!~; ]", one, maxsplit=1)[0].lower().replace("_", "-") for one in wanted}
    assert names - locked == set()


def test_cryptography_and_its_vectors_are_of_one_version() -> None:
    locked = dict(
        re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    assert locked["cryptography"] == locked["cryptography-vectors"]


def test_each_package_says_that_it_is_typed() -> None:
    for package in ("protocol/leeside_protocol", "server/leeside_server", "clients/python/leeside"):
        assert (ROOT / package / "py.typed").is_file(), package


def test_no_test_takes_a_promise_for_an_answer() -> None:
    """Playwright's `wait_for_function` holds at once for an `async` function: `comes_true` waits."""
    waits = re.compile(r"wait_for_function\(\s*f?[\"']+\s*async")
    found = [path for path in tracked() if path.suffix == ".py" and waits.search(path.read_text())]
    assert not found
