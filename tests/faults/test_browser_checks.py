"""The checks of calls between browsers against planted faults, and that a part which breaks costs the others nothing."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults import __main__ as program
from tests.faults import browsers
from tests.faults.browser_checks import LOUD, Counts, NewWay, alive, directions, watched
from tests.faults.load import LoadFailed
from tests.faults.machine import Busy
from tests.faults.outcome import Findings


def ways(**counts: int) -> Counts:
    """Frames decoded by connection and pair of ports: `a_1` is pair 1 of connection a."""
    return {"ways": {name.replace("_", "/"): count for name, count in counts.items()}}


# ---- a return


def test_a_picture_by_another_connection_is_a_return() -> None:
    way = NewWay(ways(a_1=90))
    assert not way.brings(ways(a_1=93, b_=0))
    assert not way.brings(ways(a_1=93, b_2=0))
    assert way.brings(ways(a_1=93, b_2=1))


def test_a_picture_by_the_same_connection_between_other_ports_is_a_return() -> None:
    way = NewWay(ways(a_1=90))
    assert not way.brings(ways(a_2=90))
    assert way.brings(ways(a_2=91))


@pytest.mark.parametrize(
    "looks",
    [
        # What was on its way still comes.
        [ways(a_1=91), ways(a_1=95), ways(a_1=95)],
        # It stood still for longer than usual, and goes on as before.
        [ways(a_1=90), ways(a_1=90), ways(a_1=90), ways(a_1=99)],
        # The old connection is closed; the new one shows nothing.
        [ways(a_1=92, b_=0), ways(b_2=0), ways(b_2=0)],
        # The last ones came just before the ports changed.
        [ways(a_1=95), ways(a_2=95), ways(a_2=95)],
        # Nobody is there any more.
        [ways(), ways()],
    ],
)
def test_everything_else_is_none(looks: list[Counts]) -> None:
    way = NewWay(ways(a_1=90))
    assert not any(way.brings(look) for look in looks)


# ---- pictures and sound while packets are lost


def page(decoded: int, samples: int, **other: float) -> Counts:
    return {
        "decoded": {"b": decoded},
        "samples": samples,
        "concealed": 0,
        "freezes": 0,
        "frozenS": 0.0,
    } | other


def lossy() -> tuple[list[Counts], list[Counts]]:
    """Two who see and hear each other for 10 s."""
    return [page(100, 480_000), page(50, 240_000)], [page(240, 960_000), page(195, 720_000)]


def test_what_was_watched() -> None:
    found = watched(*lossy(), 10.0)
    assert (found.pictures, found.concealed, found.freezes, found.frozen) == (14.0, 0.0, 0, 0.0)
    assert found.holds
    assert "14.0 pictures a second" in str(found)


def few_pictures(after: Counts) -> None:
    after["decoded"] = {"b": 120}


def no_pictures(after: Counts) -> None:
    """A browser adds no freeze up before the next picture."""
    after["decoded"] = {"b": 50}


def nobody_to_be_seen(after: Counts) -> None:
    after["decoded"] = {}


def frozen_for_a_tenth(after: Counts) -> None:
    after |= {"freezes": 2, "frozenS": 1.0}


def sound_made_up(after: Counts) -> None:
    after["concealed"] = 12_000


def no_sound(after: Counts) -> None:
    after["samples"] = 240_000


@pytest.mark.parametrize(
    "plant",
    [few_pictures, no_pictures, nobody_to_be_seen, frozen_for_a_tenth, sound_made_up, no_sound],
)
def test_one_who_fares_badly_is_found(plant: Callable[[Counts], None]) -> None:
    before, after = lossy()
    plant(after[1])
    assert not watched(before, after, 10.0).holds


# ---- five


def five() -> tuple[list[Counts], list[Counts]]:
    before: list[dict[str, Any]] = [{"loud": dict.fromkeys("acf", 1.0)} for _ in range(5)]
    return before, [{"loud": dict.fromkeys("acf", 1.5) | {"h": 0.5}} for _ in range(5)]


def test_all_directions_are_alive() -> None:
    found = directions("loud", *five())
    assert found == [0.5] * 20
    assert alive(found, LOUD) == 20


def silent(after: Counts) -> None:
    after["loud"]["c"] = 1.0


def as_good_as_silent(after: Counts) -> None:
    after["loud"]["c"] = 1.0 + LOUD / 2


def unknown(after: Counts) -> None:
    del after["loud"]["h"]


def gone(after: Counts) -> None:
    after["loud"] = {}


@pytest.mark.parametrize("plant", [silent, as_good_as_silent, unknown, gone])
def test_a_direction_that_is_dead_is_found(plant: Callable[[Counts], None]) -> None:
    before, after = five()
    after = copy.deepcopy(after)
    plant(after[3])
    found = directions("loud", before, after)
    assert len(found) == 20
    assert alive(found, LOUD) < 20


# ---- figures


def broken(findings: Findings) -> set[str]:
    return {promise.promise for promise in findings.promises if not promise.holds}


def figures() -> browsers.Figures:
    return browsers.Figures([1.9] * 20, [0.4] * 10, [2.3] * 10, [0.7] * 10)


def judged(found: browsers.Figures) -> set[str]:
    findings = Findings("browsers", "full")
    browsers.judge_figures(findings, browsers.PLANS["full"], found, Busy())
    return broken(findings)


def test_good_figures_hold() -> None:
    assert judged(figures()) == set()


@pytest.mark.parametrize(("name", "late_s"), [("paths", 2.6), ("kills", 1.6), ("again", 5.1), ("joins", 1.1)])
def test_late_returns_and_missing_ones_are_found(name: str, late_s: float) -> None:
    late, missing, vain = figures(), figures(), figures()
    getattr(late, name)[:2] = [late_s, late_s]
    del getattr(missing, name)[0]
    getattr(vain, name)[0] = browsers.BACK_S
    assert len(judged(late)) == 1
    assert len(judged(missing)) == 1
    assert "G8 everybody sees the others again" in judged(vain)


# ---- the run itself


class Nothing:
    """A node, a relay, a browser or an agency of which nothing is asked."""

    def __getattr__(self, _name: str) -> Any:
        return self

    def __truediv__(self, _name: str) -> Any:
        return self


@asynccontextmanager
async def nothing(*_given: Any, **_named: Any) -> AsyncGenerator[Any]:
    yield Nothing()


def nothing_done(*_given: object) -> None:
    """In place of what would pin this process, or read a log."""


@pytest.fixture
def _no_browsers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    monkeypatch.setattr(browsers, "DIST", tmp_path)
    for name in ("workplace", "one_node", "call_browser_running", "impaired", "open_town"):
        monkeypatch.setattr(browsers, name, nothing)
    for name in ("pin", "no_traceback"):
        monkeypatch.setattr(browsers, name, nothing_done)
    monkeypatch.setattr(program, "pin", nothing_done)


@pytest.mark.usefixtures("_no_browsers")
@pytest.mark.parametrize(
    "error", [TimeoutError(), LoadFailed("no port"), AssertionError("a page complained"), OSError("gone")]
)
def test_a_part_that_breaks_is_told_and_the_next_one_runs(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    async def breaks(*_: Any) -> None:
        raise error

    async def runs(findings: Findings, *_: Any) -> None:
        ran.append("second")
        findings.judge("second", True, "")

    monkeypatch.setattr(browsers, "PARTS", {"one": breaks, "two": runs})
    findings = Findings("browsers", "short")
    assert program.carry_out(findings) == []
    assert ran == ["second"]
    assert broken(findings) == {"one: comes to its end"}


@pytest.mark.usefixtures("_no_browsers")
def test_a_part_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(browsers, "PARTS", {"one": hangs})
    monkeypatch.setattr(browsers, "PART_S", 0.01)
    findings = Findings("browsers", "short")
    program.carry_out(findings)
    assert broken(findings) == {"one: comes to its end"}


@pytest.mark.usefixtures("_no_browsers")
def test_a_run_that_is_told_to_end_ends_what_it_started_and_tells_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[str] = []

    async def waits(findings: Findings, *_: Any) -> None:
        findings.judge("before", True, "")
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("one")

    monkeypatch.setattr(browsers, "PARTS", {"one": waits})
    assert program.main(["browsers", "--json"]) == program.EXIT_BROKEN
    assert ended == ["one"]
    told = {p["promise"]: p["holds"] for p in json.loads(capsys.readouterr().out)["promises"]}
    assert told == {"before": True, "the run comes to its end": False}


def test_a_fault_of_the_instrument_costs_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(findings: Findings) -> None:
        findings.judge("before", True, "")
        raise KeyError("decoded")

    def named(_name: str) -> object:
        return fails

    monkeypatch.setattr(program, "fault", named)
    monkeypatch.setattr(program, "pin", nothing_done)
    findings = Findings("browsers", "full")
    program.carry_out(findings)
    assert broken(findings) == {"the run comes to its end"}
    assert len(findings.promises) == 2
