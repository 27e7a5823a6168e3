"""docs/guarantees.md names tests that exist, for every promise of this version."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final

import pytest

from deploy.devtool.place import ROOT

TEXT: Final = (ROOT / "docs/guarantees.md").read_text()
PROMISED: Final = ("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10")
NAMED: Final = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`(?: \(([^)]*)\))?", TEXT)


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of all tests in a file, those in classes too."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def part(promise: str) -> str:
    """What the page says of a promise."""
    found = re.search(rf"^## {promise} · .*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{promise} is missing"
    return found.group(0)


@pytest.mark.parametrize(("path", "name"), sorted({(path, name) for path, name, _ in NAMED}))
def test_a_named_test_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert name in names_in(path)


@pytest.mark.parametrize("promise", PROMISED)
def test_a_promise_says_how_its_limits_and_its_tests(promise: str) -> None:
    said = part(promise)
    assert "*How*" in said
    assert "*Limits*" in said
    assert len(re.findall(r"^- `tests/", said, re.MULTILINE)) >= 3


def test_a_fault_that_is_named_exists() -> None:
    from tests.faults.__main__ import NAMES

    words = {
        word
        for _, name, told in NAMED
        if name == "test_promises_hold_under_fault"
        for word in re.findall(r"`(\w+)`", told)
    }
    assert len(words) >= 5
    assert words <= set(NAMES)


def test_every_journey_that_carries_a_promise_in_its_name_stands_here() -> None:
    carried = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in sorted((ROOT / "tests/journeys").rglob("test_*.py"))
        for name in names_in(path.relative_to(ROOT).as_posix())
        if re.match(r"test_g\d+_", name)
    }
    assert carried
    assert carried <= {(path, name) for path, name, _ in NAMED}


def test_every_promise_of_the_design_is_promised_or_said_not_to_be() -> None:
    assert set(re.findall(r"\bG\d+\b", TEXT)) == {f"G{number}" for number in range(1, 11)}
