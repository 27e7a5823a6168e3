"""Channels, incidents and status by command: who is let in, who reads what, what the board shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.prompt import Office, Prompt
from tests.support.terminal import Piped

pytestmark = pytest.mark.slow

GROUND = "consent:" + "c0" * 32
TRACK = """<?xml version="1.0"?>
<gpx version="1.1" creator="test" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>
<trkpt lat="37.80000" lon="-122.40000"><time>2026-01-01T00:00:00Z</time></trkpt>
<trkpt lat="37.80100" lon="-122.40000"><time>2026-01-01T00:00:20Z</time></trkpt>
<trkpt lat="37.80200" lon="-122.40100"><time>2026-01-01T00:00:40Z</time></trkpt>
</trkseg></trk></gpx>
"""


@pytest.fixture(scope="module")
def unit(office: Office) -> str:
    """Unit 4, of Ana and Ben, with its channel."""
    deniz = office["deniz"]
    deniz.value("unit", "add", "--name", "Unit 4", "--member", "Ana", "--member", "Ben", "--lead", "Ana")
    deniz.value("channel", "open", "unit", "--subject", "Unit 4")
    return "Unit 4"


def readers(person: Prompt, channel: str) -> set[str]:
    found = person.value("channel", "who-can-read", channel)
    return {reader["who"] for reader in found["readers"]}


def texts(person: Prompt, channel: str) -> list[str]:
    """What that person's device shows of a channel; of what it cannot read, why."""
    lines = person.run("--json", "chat", channel, "--once", "--history", 1000).out.splitlines()
    return [str(event.get("text") or event["why"]) for event in map(Prompt.read, lines)]


def test_a_unit_channel_seats_its_members_and_the_desk(office: Office, unit: str) -> None:
    assert readers(office["deniz"], unit) == {"Ana", "Ben", "Deniz", "Sofia"}
    assert office["priya"].refused("channel", "who-can-read", unit, code=7) == "not_found"
    listed = office["ana"].run("channel", "list").text
    assert "Unit 4" in listed
    assert office["ana"].refused("channel", "open", "unit", code=2) == ""


def test_everyone_reads_the_agencys_channel_names_included(office: Office) -> None:
    assert {"Ana", "Ben", "Deniz", "Sofia", "Priya"} <= readers(office["priya"], "agency")


def test_channels_of_a_purpose_are_opened_by_those_who_may(office: Office) -> None:
    sofia = office["sofia"]
    assert office["ana"].refused("channel", "open", "desk", code=1) == "no_seat"
    assert office["deniz"].refused("channel", "open", "on_call", code=1) == "forbidden"
    sofia.value("channel", "open", "desk")
    assert readers(sofia, "desk") == {"Deniz", "Sofia"}
    sofia.value("channel", "open", "on_call", "--member", "Priya")
    assert readers(office["priya"], "on_call") == {"Priya", "Deniz", "Sofia"}
    sofia.value("channel", "archive", "on_call")
    assert "on_call" not in [c["purpose"] for c in sofia.value("channel", "list")]
    assert "on_call" in [c["purpose"] for c in sofia.value("channel", "list", "--archived")]


def test_who_joins_reads_from_then_on_and_earlier_only_when_granted(office: Office, unit: str) -> None:
    ana, deniz, priya = office["ana"], office["deniz"], office["priya"]
    opened = deniz.value("incident", "open", "--priority", 2)
    channel = opened["channel"][:12]
    deniz.value("channel", "admit", channel, "--member", "Ana")
    ana.value("chat", channel, "--send", "before she came")
    deniz.value("channel", "admit", channel, "--member", "Priya", "--no-context")
    ana.value("chat", channel, "--send", "she is here")
    assert texts(priya, channel) == ["not_granted", "she is here"]
    ana.value("channel", "grant", channel, "--member", "Priya")
    assert texts(priya, channel) == ["before she came", "she is here"]
    assert readers(ana, channel) == {"Ana", "Deniz", "Sofia", "Priya"}

    before = deniz.value("channel", "rekey", channel)["epoch"]
    after = deniz.value("channel", "remove", channel, "--member", "Priya")["epoch"]
    assert after == before + 1
    ana.value("chat", channel, "--send", "without her")
    assert priya.refused("chat", channel, "--once", code=7) == "not_found"
    assert texts(ana, channel)[-1] == "without her"
    assert deniz.refused("channel", "admit", channel, code=2) == ""
    # An administrator has no seat where people are spoken of.
    assert deniz.refused("channel", "admit", channel, "--member", office.admin_member, code=1)


def test_an_incident_from_opening_to_closing(office: Office, unit: str) -> None:
    ana, deniz = office["ana"], office["deniz"]
    opened = deniz.value("incident", "open", "--priority", 1, "--unit", unit)
    incident = opened["incident"]
    assert readers(deniz, opened["channel"]) == {"Ana", "Ben", "Deniz", "Sofia"}
    assert opened["incident"][:12] in deniz.run("incident", "list").text

    assigned = deniz.value("incident", "assign", incident[:12], "--unit", unit)
    assert assigned["state"] == "assigned"
    shown = ana.value("incident", "show", incident[:12])
    assert shown["incident"]["priority"] == 1
    assert len(shown["channels"]) == 1

    # What is clinical has a channel of its own, without the desk, and only on a ground.
    clinical = ("channel", "open", "incident", "--subject", incident, "--compartment", "clinical")
    assert ana.refused(*clinical, "--member", "Priya", code=1) == "E_AUTH"
    assert ana.refused(*clinical, "--auth", "consent", code=2) == ""
    apart = ana.value(*clinical, "--member", "Priya", "--auth", GROUND)
    assert readers(ana, apart["channel"]) == {"Ana", "Priya"}
    assert office["ben"].refused(*clinical, "--auth", GROUND, code=1) == "no_seat"
    assert deniz.refused(*clinical, "--auth", GROUND, code=1) == "no_seat"

    assert ana.refused("incident", "close", incident, code=1)
    closed = deniz.value("incident", "close", incident)
    assert closed["state"] == "closed"
    assert incident not in [i["id"] for i in deniz.value("incident", "list")]
    assert incident in [i["id"] for i in deniz.value("incident", "list", "--closed")]
    assert ana.refused("chat", opened["channel"], "--send", "too late", code=7) == "archived"
    other = deniz.value("incident", "open")
    assign = ("incident", "assign", other["incident"][:12])
    channel = other["channel"][:12]
    assert deniz.refused(*assign, code=2) == "", "leaving the units out takes nobody off"
    told = deniz.run(*assign, "--unit", unit).text
    assert "is assigned: Unit 4." in told
    assert "NOT IN ITS CHANNEL: " in told
    assert f"leeside channel admit {channel} --member" in told
    deniz.value("channel", "admit", channel, "--member", "Ana", "--member", "Ben")
    assert "NOT IN" not in deniz.run(*assign, "--unit", unit).text
    assert deniz.value(*assign, "--nobody")["units"] == []
    assert deniz.value("incident", "close", other["incident"], "--cancelled")["state"] == "cancelled"


def test_a_units_status_is_set_and_shown_with_its_age(office: Office, unit: str) -> None:
    ana, deniz = office["ana"], office["deniz"]
    set_ = ana.value(
        "status", "set", unit, "notavailable", "OnScene", "--note", "two floors up", "--mark", "arrived"
    )
    assert set_["progress"] == "accepted"
    shown = {s["name"]: s for s in deniz.value("status", "show")}
    status = shown[unit]["status"]
    assert (status["primary"], status["secondary"], status["note"]) == (
        "NotAvailable",
        "OnScene",
        "two floors up",
    )
    assert shown[unit]["at_ms"] > 0
    assert "Asleep" in ana.run("status", "set", unit, "Asleep", code=2).text
    assert ana.refused("status", "set", unit, "Available", "--mark", "nonsense", code=2) == ""
    assert office["priya"].refused("status", "set", unit, "Available", code=7) == "not_found"


def everybody_is_met(who: Prompt, asked: int = 20) -> bool:
    """Whether the board comes to show somebody online in every channel: a node tells within a second who came."""
    boards = (who.value("watch", "--once") for _ in range(asked))
    return any(
        board["presence"] and all(known["devices"] for known in board["presence"].values())
        for board in boards
    )


def test_a_shared_track_is_seen_coarse_and_live_and_stays_as_the_last(
    office: Office, unit: str, tmp_path: Path
) -> None:
    track = tmp_path / "track.gpx"
    track.write_text(TRACK)
    ana, deniz = office["ana"], office["deniz"]
    share = ("share", unit, "--gpx", track, "--coarse", 100, "--speed", 40)
    with Piped.start(deniz, "--json", "chat", unit, "--follow", "--history", 0) as watching:
        watching.line_with('"caught_up"')
        with Piped.start(ana, "--json", *share, "--every", 1, "--loop") as sharing:
            line = Prompt.read(watching.line_with('"live":true'))
            assert line["fix"]["coarse_m"] == 100
            board = deniz.value("watch", "--once")
            rows = [row for row in board["rows"] if row["kind"] == "position"]
            assert [row["who"] for row in rows] == ["Ana"]
            assert "no longer" not in rows[0]["what"]
            assert board["link"] == "online"
            assert everybody_is_met(deniz)
            sharing.interrupt()
            assert sharing.end() == 130
            assert "SHARING" in sharing.told
            assert "No longer sharing." in sharing.told
        assert '"live":false' in watching.line_with('"sharing":false')
    (row,) = [row for row in deniz.value("watch", "--once")["rows"] if row["kind"] == "position"]
    assert "no longer shared" in row["what"]
    assert not row["old"]
    assert "37.80200" not in row["what"], "the exact place never left the device"
    (tmp_path / "no.gpx").write_text("none")
    assert ana.refused("share", unit, "--gpx", tmp_path / "no.gpx", code=1) == "gpx"
