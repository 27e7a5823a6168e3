"""Consults by command: asked for, rung in a terminal, answered, read back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leeside_protocol.words import Discipline, Role
from tests.support.prompt import Office, Prompt
from tests.support.terminal import Piped

pytestmark = pytest.mark.slow


@pytest.fixture
def agency(found: Callable[..., Office]) -> Office:
    """Ana and Ben in Unit 4; nobody on call but their supervisor."""
    made = found()
    made.add("ana", Role.RESPONDER, Discipline.CLINICIAN)
    made.add("ben", Role.RESPONDER, Discipline.PEER_SPECIALIST)
    made.add("sofia", Role.SUPERVISOR)
    made.add("priya", Role.PSYCHIATRIST)
    made["sofia"].value("unit", "add", "--name", "Unit 4", "--member", "Ana", "--member", "Ben")
    return made


def test_a_consult_from_the_first_word_to_the_last(agency: Office) -> None:
    ana, ben, sofia = agency["ana"], agency["ben"], agency["sofia"]
    with Piped.start(sofia, "consult", "watch", COLUMNS="200") as terminal:
        terminal.line_with("Live link.")
        asked = ana.value("consult", "request", "He hears voices.", "--urgency", "urgent", "--unit", "Unit 4")
        assert (asked["state"], asked["urgency"]) == ("paging", 2)
        consult = asked["id"][:12]
        rung = terminal.line_with("A CONSULT IS WAITING (1)")
        assert "URGENT, asked by Unit 4" in rung
        assert f"leeside consult accept {consult}" in rung
        terminal.line_with("A CONSULT IS WAITING (2)")
        assert "step 1 of 1: Sofia" in ana.run("consult", "list").text

        # Urgent does not wait five minutes; who asked does not answer themselves.
        assert sofia.refused("consult", "hold", consult, code=1) == "forbidden"
        assert ana.refused("consult", "accept", consult, code=1) == "forbidden"
        assert agency["priya"].refused("consult", "show", consult, code=7) == "not_found"

        accepted = sofia.value("consult", "accept", consult)
        assert accepted["accepted_by"] == agency.members["sofia"]
        terminal.line_with("accepted by Sofia")
        assert sofia.value("consult", "join", consult)["state"] == "in_session"

    channel = asked["channel"][:12]
    readers = {reader["who"] for reader in ben.value("channel", "who-can-read", channel)["readers"]}
    assert readers == {"Ana", "Ben", "Sofia"}
    told = ben.run("chat", channel, "--once").text
    assert "asks for a consult (urgent): He hears voices." in told

    shown = ana.run("consult", "show", consult).text
    for words in ("Sofia asked", "Sofia comes", "Sofia is there", "in session by Sofia", "you may cancel"):
        assert words.replace("you may cancel", "you may") in shown
    assert ana.value("consult", "end", consult)["state"] == "ended"
    assert ana.value("consult", "list") == []
    assert [c["id"] for c in ana.value("consult", "list", "--ended")] == [asked["id"]]
    assert ana.refused("consult", "end", "ffff", code=7) == "not_found"


def test_nobody_comes_and_a_supervisor_takes_the_alarm(agency: Office) -> None:
    ana, sofia = agency["ana"], agency["sofia"]
    with Piped.start(ana, "--json", "consult", "watch") as program:
        asked = ana.value("consult", "request", "--language", "es", "--interpreter")
        # A node that was started this moment still waits for those who may be on their way back to it.
        assert asked["state"] in {"paging", "exhausted"}
        program.line_with('"state":"exhausted"')
    told = ana.run("consult", "show", asked["id"][:12]).text
    for words in (
        "Sofia cannot be reached",
        "nobody is left to ask",
        "NOBODY CAME",
        "es, an interpreter is wanted",
    ):
        assert words in told
    with Piped.start(sofia, "--json", "consult", "watch") as program:
        change = Prompt.read(program.line_with('"consult_change"'))
        assert change["consult"]["id"] == asked["id"]
        taken = sofia.value("consult", "take", asked["id"][:12])
        assert taken["taken_by"] == agency.members["sofia"]
    assert "Sofia took the alarm" in ana.run("consult", "list").text
    # Its incident does not end under it, not even the one that was made for it.
    made = asked["incident"][:12]
    assert sofia.refused("incident", "close", made, code=8) == "consult"
    assert f"leeside consult end {asked['id'][:12]}" in sofia.run("incident", "close", made, code=8).text
    assert ana.value("consult", "cancel", asked["id"][:12])["state"] == "cancelled"
    assert sofia.value("incident", "show", made)["incident"]["state"] == "cancelled"
