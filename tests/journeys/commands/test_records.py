"""A records officer at the keyboard: holds, and the number that shredding asks for."""

from __future__ import annotations

import pytest

from leeside_protocol.words import Role
from tests.support.prompt import Office, Prompt

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rolf(office: Office) -> Prompt:
    return office.add("rolf", Role.RECORDS_OFFICER)


def test_a_hold_is_placed_listed_and_released_and_each_step_leaves_a_trace(
    office: Office, rolf: Prompt
) -> None:
    number = office["deniz"].value("incident", "open")["incident"]
    placed = rolf.run("records", "hold", number[:10], "--reason", "court_order")
    assert f"Incident {number[:12]} is on hold: court_order since" in placed.text
    rolf.value("records", "hold", number, "--reason", "litigation")
    listed = {s["incident"]: s for s in rolf.value("records", "list", "--held")}
    assert [h["reason"] for h in listed[number]["holds"]] == ["court_order", "litigation"]
    assert "released" in rolf.run("records", "list").text
    left = rolf.run("records", "release", number, "--reason", "court_order")
    assert "is still on hold: litigation" in left.text
    assert "is not on hold" in rolf.run("records", "release", number, "--reason", "litigation").text
    assert number not in {s["incident"] for s in rolf.value("records", "list", "--held")}
    assert (
        office["deniz"].refused("records", "hold", number, "--reason", "court_order", code=1) == "forbidden"
    )


def test_shredding_is_asked_for_by_typing_the_number_and_refused_before_its_time(
    office: Office, rolf: Prompt
) -> None:
    number = office["deniz"].value("incident", "open")["incident"]
    command = ("records", "shred", number, "--reason", "person_asked")
    wrong = rolf.run(*command, keys="yes\n", code=1)
    assert "for every reader, for good" in wrong.text
    assert "Nothing was shredded." in wrong.text
    assert "Nothing was shredded." not in rolf.run(*command, keys="", code=130).text
    assert "this incident goes on" in rolf.run(*command, keys=f"{number[:12]}\n", code=1).text
    office["deniz"].run("incident", "close", number)
    assert "keeps incidents for good" in rolf.run(*command, keys=f"{number}\n", code=1).text
    states = {s["incident"]: s for s in rolf.value("records", "list")}
    assert (states[number]["shred_ordered_ms"], states[number]["kept_until_ms"]) == (0, 0)
