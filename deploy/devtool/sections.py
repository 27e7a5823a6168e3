"""`./dev test`: the folders of tests, one after the other, then what each took and one line with the sum.

Every folder under tests/ that holds test files is a section; those named here come first, in this order, and a folder
that is not named comes after them: none is left out. `--fast` leaves out what needs servers or is slow by marker, and
says how many tests of which file that are.
"""

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.devtool.place import OWN, ROOT, VENV_BIN, run, say

ORDER = ("guards", "protocol", "core", "ports", "relay", "client", "journeys", "faults", "deploy")
ON_BOTH_CORES = frozenset({"protocol", "core", "ports", "relay", "client"})
"""Sections whose tests share nothing between processes. The others start processes of their own and measure them."""

LEFT_OUT = "services or slow or nginx"
"""The markers that `--fast` leaves out."""

RESULTS = OWN / "results"
NOTHING_COLLECTED = 5
"""pytest's exit code when no test was selected."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of pytest gave."""

    section: str
    passed: int
    failed: int
    skipped: int
    took_s: float
    reasons: tuple[str, ...] = ()
    """Why tests were skipped, a line each."""

    @property
    def holds(self) -> bool:
        return self.failed == 0


def sections(tests: Path) -> tuple[str, ...]:
    """The folders that hold tests: those of `ORDER` first, any other after them by name."""
    there = {path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py") if path.parent != tests}
    return (*(name for name in ORDER if name in there), *sorted(there - set(ORDER)))


def read_outcome(section: str, report: Path, exit_code: int) -> Outcome:
    """Read pytest's JUnit report. A run that left no report, or failed without naming a test, counts as one failure."""
    if not report.exists():
        empty = exit_code in (0, NOTHING_COLLECTED)
        return Outcome(section, 0, 0 if empty else 1, 0, 0.0)
    # Our own file, written a moment ago by our own pytest: no stranger's XML is read here.
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314
    total = failed = skipped = 0
    took_s = 0.0
    reasons: list[str] = []
    for suite in suites:
        total += int(suite.get("tests", "0"))
        failed += int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        skipped += int(suite.get("skipped", "0"))
        took_s += float(suite.get("time", "0"))
        for case in suite.iter("testcase"):
            mark = case.find("skipped")
            if mark is not None:
                reasons.append(
                    f"{case.get('classname')}.{case.get('name')}: {mark.get('message', 'no reason given')}"
                )
    if not failed and exit_code not in (0, NOTHING_COLLECTED):
        failed = 1
    return Outcome(section, max(0, total - failed - skipped), failed, skipped, took_s, tuple(reasons))


def run_pytest(section: str, arguments: Sequence[str]) -> Outcome:
    """Run pytest with these arguments in a process of its own and read what came of it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / f"{section}.xml"
    report.unlink(missing_ok=True)
    code = run((VENV_BIN / "python", "-m", "pytest", "-q", f"--junitxml={report}", *arguments))
    return read_outcome(section, report, code)


def table(outcomes: Iterable[Outcome]) -> str:
    """What each section took, for people."""
    rows = [("section", "passed", "failed", "skipped", "seconds")]
    rows += [(o.section, str(o.passed), str(o.failed), str(o.skipped), f"{o.took_s:.1f}") for o in outcomes]
    return "\n".join(f"{row[0]:<14}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows)


def summary(outcomes: Sequence[Outcome]) -> tuple[str, int]:
    """The last line and the exit code: not zero when a test failed, or when none ran."""
    passed, failed, skipped = (
        sum(getattr(o, name) for o in outcomes) for name in ("passed", "failed", "skipped")
    )
    line = f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
    return line, 0 if passed and all(outcome.holds for outcome in outcomes) else 1


def left_out_command() -> list[str]:
    """pytest, asked to count by file what `--fast` leaves out."""
    return [str(VENV_BIN / "python"), "-m", "pytest", "--collect-only", "-qq", "-m", LEFT_OUT, "tests"]


def tell(outcomes: Sequence[Outcome], took_s: float) -> int:
    """Print table, reasons and the last line; returns the exit code."""
    print("\n" + table(outcomes))
    print(f"{'all':<14}{'':36}{took_s:>9.1f}")
    reasons = [reason for outcome in outcomes for reason in outcome.reasons]
    if reasons:
        print("\nskipped, and why:\n" + "\n".join(f"  {reason}" for reason in reasons))
    line, code = summary(outcomes)
    if not any(outcome.passed or outcome.failed for outcome in outcomes):
        say("no test ran: that is a failure.")
    print(f"\n{line}", flush=True)
    return code


def run_sections(options: Sequence[str], *, fast: bool) -> list[Outcome]:
    """Run every section with these further pytest options."""
    counting = None
    if fast:
        counting = subprocess.Popen(  # beside the tests, so that it costs no time of its own
            left_out_command(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ),
        )
    outcomes: list[Outcome] = []
    for section in sections(ROOT / "tests"):
        print(f"\n== {section}", flush=True)
        both = ["-n", "2", "--dist", "loadfile"] if section in ON_BOTH_CORES else []
        chosen = ["-m", f"not ({LEFT_OUT})"] if fast else []
        outcomes.append(run_pytest(section, [*both, *chosen, *options, f"tests/{section}"]))
    if counting is not None:
        listed, _ = counting.communicate()
        print("\nleft out by --fast (they need servers, or are slow): tests by file")
        print("\n".join(f"  {line}" for line in listed.splitlines() if line.startswith("tests/")) or "  none")
        if counting.returncode not in (0, NOTHING_COLLECTED):
            print(listed)
            outcomes.append(Outcome("left-out", 0, 1, 0, 0.0))
    return outcomes
