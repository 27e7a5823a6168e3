"""Tests that depend on how fast this machine is, found by their form: each of them fails one day for no fault of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy.devtool.place import ROOT
from tests.guards.test_repository import tracked

LEAST_S: Final = 20.0
"""Whoever waits for what must come waits at least so long; see tests/support/patience.py."""
ALONE: Final = ("tests/bench/", "tests/faults/")
"""Programs that measure; their own tests are held to this like all others."""
CLOCKS: Final = frozenset({"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"})
EXPECTED: Final = frozenset({"TimeoutError", "TimeoutExpired", "Late", "NoAnswer"})
"""Who foresees these looks whether something has come, and goes on when it has not."""
WAITS: Final = frozenset({"timeout", "timeout_s", "within_s", "timeout_ms", "patience_s"})
VIRTUAL: Final = ("tests.client.virtual_time", "tests.video.bandwidth.simulated")
"""Time of its own: it costs nothing, and no machine is late for it."""


def sources() -> list[Path]:
    """The tests, and what they stand on."""
    names = {path: path.relative_to(ROOT).as_posix() for path in tracked() if path.suffix == ".py"}
    return [
        path
        for path, name in names.items()
        if name.startswith("tests/") and (not name.startswith(ALONE) or path.name.startswith("test_"))
    ]


class Reader(ast.NodeVisitor):
    """Collects what one file does that depends on the machine, as `line: what`."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[str] = []
        self._numbers = dict(_constants(tree))
        self._foreseen = 0

    def _tell(self, node: ast.expr | ast.stmt, what: str) -> None:
        self.found.append(f"{node.lineno}: {what}")

    def visit_Try(self, node: ast.Try) -> None:
        foreseen = any(
            handler.type is not None and _names(handler.type) & EXPECTED for handler in node.handlers
        )
        self._foreseen += foreseen
        self.generic_visit(node)
        self._foreseen -= foreseen

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        foreseen = any(
            isinstance(item.context_expr, ast.Call)
            and _name(item.context_expr.func) in {"suppress", "raises"}
            and any(_names(given) & EXPECTED for given in item.context_expr.args)
            for item in node.items
        )
        self._foreseen += foreseen
        self.generic_visit(node)
        self._foreseen -= foreseen

    def visit_With(self, node: ast.With) -> None:
        self._with(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self._with(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        for compared in ast.walk(node.test):
            if isinstance(compared, ast.Compare) and isinstance(compared.ops[0], ast.Lt | ast.LtE):
                took = compared.left
                if isinstance(took, ast.BinOp) and isinstance(took.op, ast.Sub) and _reads_a_clock(took.left):
                    self._tell(node, "a time limit as an assertion: say `in_time`")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        given = {word.arg: word.value for word in node.keywords if word.arg in WAITS}
        owner = _name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        if owner == "asyncio" and name in {"timeout", "wait_for"} and len(node.args) > (name == "wait_for"):
            given["timeout"] = node.args[-1]
        if "thread" in owner and name == "join" and node.args:
            given["timeout"] = node.args[0]
        for word, value in given.items():
            number = self._number(value)
            least = LEAST_S * 1_000 if word == "timeout_ms" or name.startswith("to_") else LEAST_S
            if number is not None and 0 < number < least and not self._foreseen:
                self._tell(node, f"{name} waits for {number:g} only: say PATIENCE_S")
        self.generic_visit(node)

    def _number(self, value: ast.expr) -> float | None:
        if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
            return float(value.value)
        return self._numbers.get(value.id) if isinstance(value, ast.Name) else None


def _constants(tree: ast.Module) -> Iterator[tuple[str, float]]:
    """The numbers that a module names."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if (
            isinstance(target, ast.Name)
            and isinstance(value, ast.Constant)
            and isinstance(value.value, int | float)
        ):
            yield target.id, float(value.value)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.expr) -> set[str]:
    return {_name(each) for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute)}


def _reads_a_clock(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCKS
        and _name(node.func.value) == "time"
    )


def read(text: str) -> list[str]:
    """What a file does that depends on the machine."""
    if any(f"from {module} import" in text for module in VIRTUAL):
        return []
    tree = ast.parse(text)
    reader = Reader(tree)
    reader.visit(tree)
    return reader.found


def test_no_test_depends_on_how_fast_this_machine_is() -> None:
    found = {path.relative_to(ROOT).as_posix(): read(path.read_text()) for path in sources()}
    assert {name: told for name, told in found.items() if told} == {}


@pytest.mark.parametrize(
    "text",
    [
        "async def f():\n    async with asyncio.timeout(5): ...",
        "SHORT_S: Final = 5\nasync def f():\n    async with asyncio.timeout(SHORT_S): ...",
        "async def f():\n    await asyncio.wait_for(it, 2.0)",
        "async def f():\n    await sent.wait(timeout_s=10)",
        "async def f():\n    await expect(it).to_be_visible(timeout=5_000)",
        "def f():\n    thread.join(5)",
        "def f():\n    assert time.monotonic() - began_s < 2",
    ],
)
def test_what_depends_on_it_is_found(text: str) -> None:
    assert len(read(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "async def f():\n    async with asyncio.timeout(PATIENCE_S): ...",
        "async def f():\n    async with asyncio.timeout(60): ...",
        "async def f():\n    async with asyncio.timeout(0): ...",
        "async def f():\n    with pytest.raises(TimeoutError):\n        await asyncio.wait_for(it, 0.1)",
        "async def f():\n    try:\n        await asyncio.wait_for(it, 0.1)\n    except TimeoutError:\n        pass",
        "def f():\n    while True:\n        assert time.monotonic() < deadline_s",
    ],
)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert read(text) == []
