"""The commands of who is on call: a rota from its first turn to a swap, a calendar, a ladder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from leeside_protocol.words import Role
from tests.support.prompt import Office

pytestmark = pytest.mark.slow

Found = Callable[..., Office]
TODAY = datetime.now(UTC)
"""Of the whole run, also where midnight comes in between."""


def at(days: int, hour: int = 8) -> str:
    """A UTC time so many days from today, as a person types it."""
    day = TODAY.replace(hour=hour, minute=0, second=0, microsecond=0) + timedelta(days=days)
    return day.strftime("%Y-%m-%dT%H:%M") + "Z"


def wall(days: int) -> str:
    return at(days).removesuffix("Z")


def staffed(found: Found) -> tuple[Office, str]:
    """Two psychiatrists who take turns of a day each since yesterday, and who supervises them; the rota's id."""
    office = found()
    for name, role in (
        ("sofia", Role.SUPERVISOR),
        ("priya", Role.PSYCHIATRIST),
        ("quinn", Role.PSYCHIATRIST),
    ):
        office.add(name, role)
    turns = (
        "--member",
        "Priya",
        "--member",
        "Quinn",
        "--start",
        wall(-1),
        "--zone",
        "UTC",
        "--rule",
        "FREQ=DAILY",
        "--hours",
        24,
    )
    made = office["sofia"].value("rota", "add", "Crisis line", *turns)
    return office, made["id"]


def holders(spans: list[dict[str, Any]], members: dict[str, str]) -> list[str | None]:
    names = {member: name for name, member in members.items()}
    return [names[span["member"]] if span["member"] else None for span in spans]


def test_a_rota_from_its_first_turn_to_a_swap(found: Found) -> None:
    office, rota = staffed(found)
    sofia, priya = office["sofia"], office["priya"]
    assert [one["label"] for one in priya.value("rota", "list")] == ["Crisis line"]
    shown = sofia.value("rota", "show", "crisis line", "--weeks", 1)
    assert (shown["zone"], shown["rota"]["id"]) == ("UTC", rota)
    picture = sofia.run("rota", "show", "Crisis line", "--from", at(0)).out
    assert "a Priya" in picture or "a Quinn" in picture
    assert "Nobody:" not in picture
    assert (
        len(
            [
                line
                for line in picture.splitlines()
                if line.rstrip().endswith("b" * 32) or line.rstrip().endswith("a" * 32)
            ]
        )
        == 14
    )

    covered = sofia.value("rota", "cover", rota, "Sofia", "--from", at(4, 10), "--until", at(4, 12))
    assert holders(covered["spans"], office.members) == ["sofia"]
    swapped = priya.value("rota", "swap", rota, at(5, 9), at(6, 9))
    first, second = holders(swapped["spans"], office.members)[:2]
    assert {first, second} == {"priya", "quinn"}
    before = sofia.value("rota", "show", rota, "--weeks", 1)["rota"]
    assert [entry["why"] for entry in before["overrides"]] == ["cover", "swap", "swap"]
    assert priya.refused("rota", "change", rota, "--label", "mine", code=1) == "forbidden"

    told = sofia.run("rota", "absent", rota, "Quinn", "--from", at(8), "--until", at(12)).text
    assert "NOBODY" in told
    assert "There is a gap" in told
    assert "Nobody:" in sofia.run("rota", "show", rota, "--from", at(7)).text
    absence = sofia.value("rota", "show", rota)["rota"]["absences"][0]["id"]
    sofia.value("rota", "change", rota, "--drop", absence[:8], "--label", "Nights")
    assert sofia.value("rota", "show", "nights")["rota"]["absences"] == []
    assert sofia.refused("rota", "cover", rota, "Sofia", "--from", at(4), "--until", at(3), code=2) == "time"

    now = sofia.value("oncall")
    assert [one["label"] for one in now["rotas"]] == ["Nights"]
    # Nobody of this office has a telephone or takes pushes.
    assert {one["kind"] for one in now["warnings"]} == {"unreachable"}
    assert "nothing would reach" in sofia.run("oncall").text
    phone = sofia.value(
        "member", "skills", "Priya", "--language", "es", "--licence", "NY", "--phone", "+1 212 555 0100"
    )
    assert (phone["languages"], phone["licences"], phone["phone"]) == (["es"], ["NY"], "+12125550100")
    assert sofia.refused("member", "skills", "Priya", "--language", "Spanish", code=2) == "language"


def test_a_calendar_is_taken_over_and_given_out(found: Found, tmp_path: Path) -> None:
    office, rota = staffed(found)
    sofia = office["sofia"]
    begin = at(3).replace("-", "").replace(":", "").replace("Z", "00Z")
    file = tmp_path / "shifts.ics"
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{who}\r\nDTSTART:{begin}\r\nDURATION:PT{n}H\r\nATTENDEE;CN={who}:mailto:{who}@x.org\r\nEND:VEVENT\r\n"
        for n, who in enumerate(("Quinn", "dr.p"), 1)
    )
    file.write_text(f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n")
    assert sofia.refused("rota", "import", rota, file, code=1) == "invalid"
    taken = sofia.value("rota", "import", rota, file, "--name", "dr.p@x.org=Priya")
    assert sorted(entry["member"] for entry in taken["overrides"]) == sorted(
        office.members[n] for n in ("priya", "quinn")
    )

    address = office["quinn"].value("rota", "feed", rota, "--mine")["address"]
    calendar = httpx.get(address)
    assert calendar.status_code == 200
    assert "SUMMARY:On call: Crisis line" in calendar.text
    assert "quinn" not in calendar.text.casefold()
    sofia.value("rota", "feed", rota, "--end")
    assert httpx.get(address).status_code == 404


def test_a_ladder_step_by_step(found: Found) -> None:
    office, rota = staffed(found)
    sofia = office["sofia"]
    steps = (
        "--step",
        "Crisis line, 45, language, specialty child",
        "--step",
        "Quinn + Priya, 90, repeats 1, licence NY",
    )
    made = sofia.value("ladder", "add", "Nights", *steps, "--phone", "state line=+1 800 555 0100")
    first, second = made["steps"]
    assert (first["rotas"], first["delay_s"], first["language"], first["specialty"]) == (
        [rota],
        45,
        True,
        "child",
    )
    assert second["members"] == [office.members["quinn"], office.members["priya"]]
    assert (second["delay_s"], second["repeats"], second["licence"]) == (90, 1, "NY")
    assert made["phones"] == [{"label": "state line", "number": "+18005550100"}]
    shown = office["priya"].run("ladder", "show", "nights").text
    assert "Crisis line: 45 s, who speaks the language, specialty child" in shown
    assert "Quinn + Priya: 90 s, repeats 1, licence NY" in shown
    assert sofia.refused("ladder", "change", "Nights", "--step", "Priya, soon", code=2) == "step"
    assert sofia.refused("ladder", "change", "Nights", "--step", "Nobody here", code=7) == "not_found"
    assert sofia.refused("rota", "end", rota, code=1) == "invalid"
    assert sofia.value("ladder", "change", "Nights", "--step", "Priya")["steps"][0]["rotas"] == []
    assert sofia.value("rota", "end", rota)["ended_ms"]
    assert sofia.value("ladder", "end", "Nights")["ended_ms"]
    assert sofia.value("ladder", "list") == []
    assert sofia.value("oncall")["rotas"] == []
