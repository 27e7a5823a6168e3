"""`./dev test`: the folders of tests, what each took, and one line with the sum.

Every folder under tests/ that holds test files is a section; those named here come first, in this order, and a folder
that is not named comes after them: none is left out. Most run two tests at a time: what computes shares a run of pytest,
because its start costs as much as a hundred tests, and so does what mostly waits for servers. `--fast` runs all sections so; it leaves out what needs servers or is slow by marker,
and says how many tests of which file that are.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.devtool import left_out
from deploy.devtool.place import OWN, ROOT, VENV_BIN, run, say
from deploy.devtool.web import WEB, environment, node_folder

ORDER = (
    "guards", "protocol", "core", "ports", "relay", "video", "client", "journeys", "web", "faults", "deploy",
)  # fmt: skip
TWO_AT_A_TIME = (
    ("guards", "protocol", "core", "ports", "relay", "client"),
    ("video", "journeys"),
    ("web",),
)
"""Sections that share a run of pytest in two processes, between which their tests share nothing. The others break machines or
measure them, and have the cores for themselves; what `--fast` keeps of those bears a busy neighbour."""

LEFT_OUT = " or ".join(left_out.MARKERS)
"""The markers that `--fast` leaves out."""

BRIEF = "--hypothesis-profile=brief"
"""Fewer random examples; the full run, and with it CI, takes them all."""

RESULTS = OWN / "results"
UNITS = "web (vitest)"
"""The section of the web client's own tests; those in a browser are the section `web`."""
NOTHING_COLLECTED = 5
"""pytest's exit code when no test was selected."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one section gave; `took_s` is the time of its tests, of which two may run beside each other."""

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


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest over these sections, `at_a_time` tests beside each other."""

    sections: tuple[str, ...]
    at_a_time: int = 2

    @property
    def name(self) -> str:
        """What its report is called."""
        return "-".join(self.sections)


def runs(names: Sequence[str], *, fast: bool) -> list[Run]:
    """The runs in which these sections are done."""
    if fast:
        return [Run(tuple(names))]
    shared = [tuple(name for name in group if name in names) for group in TWO_AT_A_TIME]
    alone = (name for name in names if not any(name in group for group in shared))
    return [*(Run(group) for group in shared if group), *(Run((name,), at_a_time=1) for name in alone)]


def section_of(case: ET.Element, run_name: str) -> str:
    """The folder of a test; the name of the run for what pytest says of no test."""
    # A file that cannot be imported has no class, and its module as name.
    words = (case.get("classname") or case.get("name") or "").split(".")
    return words[1] if words[0] == "tests" and len(words) > 2 else run_name


def read_outcomes(run_name: str, report: Path, exit_code: int) -> list[Outcome]:
    """Read pytest's JUnit report, by section. A run that left no report, or failed without naming a test, counts as
    one failure."""
    died = exit_code not in (0, NOTHING_COLLECTED)
    if not report.exists():
        return [Outcome(run_name, 0, 1 if died else 0, 0, 0.0)]
    # Our own file, written a moment ago by our own pytest: no stranger's XML is read here.
    root = ET.parse(report).getroot()  # noqa: S314
    cases: dict[str, list[ET.Element]] = {}
    for case in root.iter("testcase"):
        cases.setdefault(section_of(case, run_name), []).append(case)
    outcomes = [outcome_of(section, found) for section, found in cases.items()]
    if died and all(outcome.holds for outcome in outcomes):
        outcomes.append(Outcome(run_name, 0, 1, 0, 0.0))
    return outcomes


def outcome_of(section: str, cases: Sequence[ET.Element]) -> Outcome:
    """Count the tests of one section."""
    failed = skipped = 0
    reasons: list[str] = []
    for case in cases:
        mark = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif mark is not None:
            skipped += 1
            reasons.append(
                f"{case.get('classname')}.{case.get('name')}: {mark.get('message', 'no reason given')}"
            )
    took_s = sum(float(case.get("time", "0")) for case in cases)
    return Outcome(section, len(cases) - failed - skipped, failed, skipped, took_s, tuple(reasons))


def run_pytest(run_name: str, arguments: Sequence[str]) -> list[Outcome]:
    """Run pytest with these arguments in a process of its own and read what came of it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / f"{run_name}.xml"
    report.unlink(missing_ok=True)
    code = run((VENV_BIN / "python", "-m", "pytest", "-q", f"--junitxml={report}", *arguments))
    return read_outcomes(run_name, report, code)


def run_vitest(options: Sequence[str] = ()) -> list[Outcome]:
    """Run the web client's own tests, all or those of these paths below clients/web, and read what came of it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / "vitest.xml"
    report.unlink(missing_ok=True)
    reporters = ("--reporter=dot", "--reporter=junit", f"--outputFile.junit={report}")
    code = run(("npx", "vitest", "run", *reporters, *options), environment(node_folder()), WEB)
    return read_outcomes(UNITS, report, code)


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
    left_out.COUNTED.unlink(missing_ok=True)
    print("\n== the web client's own tests", flush=True)
    outcomes = run_vitest()
    names = sections(ROOT / "tests")
    for each in runs(names, fast=fast):
        print(f"\n== {', '.join(each.sections)}", flush=True)
        # A process that has done its part takes over from the other.
        beside = ["-n", str(each.at_a_time), "--dist", "worksteal"] if each.at_a_time > 1 else []
        chosen = ["-p", left_out.__name__, "-m", f"not ({LEFT_OUT})", BRIEF] if fast else []
        folders = [f"tests/{name}" for name in each.sections]
        outcomes += run_pytest(each.name, [*beside, *chosen, *options, *folders])
    rank = {name: number for number, name in enumerate(names)}
    outcomes.sort(key=lambda outcome: rank.get(outcome.section.partition(" ")[0], len(rank)))
    if fast:
        print("\nleft out by --fast (they need servers, or are slow): tests by file")
        try:
            files = left_out.counted()
        except (OSError, ValueError):
            print("  nobody counted")
            outcomes.append(Outcome("left-out", 0, 1, 0, 0.0))
        else:
            print("\n".join(f"  {file}: {count}" for file, count in files.items()) or "  none")
    return outcomes
