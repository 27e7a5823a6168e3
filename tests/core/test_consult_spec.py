"""Chapter 08 and the code say the same: states, events, who may when."""

from __future__ import annotations

import re

from deploy.devtool.place import ROOT
from leeside_protocol import limits
from leeside_protocol.words import ConsultActionKind, ConsultEvent, ConsultState, TargetState
from leeside_server.core.consult_rights import WHEN

TEXT = (ROOT / "protocol/spec/08-consult.md").read_text()


def words(text: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", text)


def section(title: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {title}\n(.*?)(?=^#)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found.group(1)


def test_every_state_and_event_has_its_word_there() -> None:
    tables = section("08 On call, paging, the consult").split("| target |")
    for table, states in zip(tables, (ConsultState, TargetState), strict=True):
        named = [word for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for word in words(row)]
        assert sorted(named) == sorted(states)
    assert words(section("Who was tried").split("- Server")[0])[1:] == list(ConsultEvent)


def test_who_may_is_the_table_of_the_code() -> None:
    table: dict[str, set[str]] = {}
    for row in section("Who may").splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        actions = words(cells[0])
        if len(cells) != 3 or not actions:
            continue
        table |= dict(
            zip(actions, [set(words(part)) for part in _split(cells[1], len(actions))], strict=True)
        )
    assert table == {kind.value: {state.value for state in WHEN[kind]} for kind in ConsultActionKind}


def _split(cell: str, actions: int) -> list[str]:
    """Rows of two actions have their states apart, by a semicolon; so have states by who is meant, in a row of one."""
    return cell.split(";") if actions > 1 else [cell]


def test_times_are_those_of_the_limits() -> None:
    text = " ".join(TEXT.split())
    assert f"{limits.JOIN_S} s pass without" in text
    assert f"| {limits.JOIN_AGAIN_S} s more;" in text
    assert f"not back in {limits.REJOIN_S} s" in text
    assert f"at once and every {limits.ALARM_S} s" in text
    assert f"After {limits.HOLD_S} s without an acceptance" in text
    assert "at {}, {} and {} s while nobody".format(*limits.DECIDED_S) in text
    assert f"It holds {limits.CONSULT_TRIED} lines" in text
    assert f"There are {limits.CONSULT_TARGETS} targets" in text
