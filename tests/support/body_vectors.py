"""Makes `protocol/vectors/bodies.json` with `msgpack`, a writer that shares no code with the reader under test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

MESSAGE = bytes(range(16))
OTHER = bytes(range(16, 32))
UNIT = bytes(range(32, 48))
CONSULT = bytes(range(48, 64))
HASH = bytes(range(64, 96))
PLACE = [473_768_866, -85_417_000]
TS = 1_795_000_000_000
FIX = [473_768_866, -85_417_000, 12, TS, 0, 90, 1_500, 80]
ROLES = [
    "responder",
    "dispatcher",
    "psychiatrist",
    "interpreter",
    "receiving_facility",
    "supervisor",
    "records_officer",
    "admin",
]
PATH = Path(__file__).parents[2] / "protocol" / "vectors" / "bodies.json"


def _pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, list):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _valid(
    name: str, kind: str, data: list[Any], full: list[Any] | None = None, seen: Any = None
) -> dict[str, Any]:
    """`full` is the data with its omitted elements, when that differs."""
    body = [kind, TS, MESSAGE, seen, data]
    return {
        "name": name,
        "type": kind,
        "hex": _pack(body).hex(),
        "seen": _plain(seen),
        "data": _plain(full if full is not None else data),
    }


def _invalid(name: str, body: Any, error: str = "E_BODY") -> dict[str, Any]:
    return {"name": name, "hex": (body if isinstance(body, bytes) else _pack(body)).hex(), "error": error}


def _data(name: str, kind: str, data: Any) -> dict[str, Any]:
    return _invalid(name, [kind, TS, MESSAGE, None, data])


def _valid_cases() -> list[dict[str, Any]]:
    attachment = [OTHER, HASH, UNIT, 70_000, HASH, "scene.jpg"]
    return [
        _valid("text, shortest", "text", [0, "on scene"], [0, "on scene", 0, None]),
        _valid("text, urgent, with what was seen", "text", [2, "help", 15, None], seen=[7, HASH]),
        _valid("text, a reply", "text", [1, "yes", 0, OTHER]),
        _valid("text, longest", "text", [0, "x" * 8_000], [0, "x" * 8_000, 0, None]),
        _valid("text with an element of the future", "text", [0, "hi", 0, None, "later"], [0, "hi", 0, None]),
        _valid("acknowledged", "acknowledged", [OTHER], [OTHER, ""]),
        _valid("acknowledged, a recommendation read back", "acknowledged", [OTHER, "two of the white ones, then wait"]),
        _valid("attachment", "attachment", attachment, [*attachment, "", ""]),
        _valid("attachment with caption", "attachment", [*attachment, "image/jpeg", "the door"]),
        _valid("context wanted", "context_wanted", [0], [0, ""]),
        _valid("status", "status", [UNIT, "NotAvailable", "OnScene", TS], [UNIT, "NotAvailable", "OnScene", TS, "", "", 0]),
        _valid("status with note, destination and mark", "status", [UNIT, "Available", None, TS, "calm", "clinic", 5]),
        _valid("status, out of service as the standard spells it", "status", [UNIT, "NotAvailable", "OutofService", TS, "", "", 0]),
        _valid("member name", "member_name", [OTHER, "Ana"]),
        _valid("unit name", "unit_name", [UNIT, "Crisis 7"]),
        _valid("marks", "marks", [3, 90, 40]),
        _valid("last position", "last_position", [True, 10, False, FIX]),
        _valid("last position of a device that never had one", "last_position", [False, 0, True, None]),
        _valid("position", "position", [FIX]),
        _valid("position, shortest", "position", [[0, 0, 0, 0]], [[0, 0, 0, 0, 0, None, None, None]]),
        _valid("position at the edge of the world", "position", [[-900_000_000, 1_800_000_000, 0, 0, 0, None, None, None]]),
        _valid("typing", "typing", [True]),
        _valid("incident, shortest", "incident", [OTHER, "", "", ""], [OTHER, "", "", "", None, "", ""]),
        _valid("incident, closed", "incident", [OTHER, "EDP", "Harbour", "Quay Street 4", PLACE, "He is calm.", "remained_with_support"]),
        _valid("assignment, shortest", "assignment", [UNIT, 1], [UNIT, 1, 15, ""]),
        _valid("assignment with a note", "assignment", [UNIT, 5, 30, "use the back door"]),
        _valid("timeline, shortest", "timeline", [1], [1, None, ""]),
        _valid("timeline of a unit", "timeline", [16, UNIT, "sister stays"]),
        _valid("check-in, shortest", "check_in", [], [None, 15, None]),
        _valid("check-in of a unit, with a place", "check_in", [UNIT, 15, FIX]),
        _valid("duress, shortest", "duress", [], [None, 15, None]),
        _valid("duress of a unit, with a place", "duress", [UNIT, 5, FIX]),
        _valid("consult, shortest", "consult", [CONSULT, 2], [CONSULT, 2, "", []]),
        _valid("consult with a summary, its context for psychiatrists", "consult", [CONSULT, 1, "He hears voices.", ["psychiatrist"]]),
        _valid("consult, longest", "consult", [CONSULT, 0, "x" * 500, ROLES]),
        _valid("recommendation, shortest", "recommendation", ["Stay."], ["Stay.", 15]),
        _valid("recommendation that does not repeat", "recommendation", ["x" * 8_000, 0]),
        _valid("consent, shortest", "consent", [0, "This call.", "Advice tonight.", [2], TS, 0], [0, "This call.", "Advice tonight.", [2], TS, 0, "", False, ""]),
        _valid("consent of a guardian, with all", "consent", [1, "x" * 500, "x" * 500, [1, 2, 3, 4, 5], TS, 1, "x" * 500, True], [1, "x" * 500, "x" * 500, [1, 2, 3, 4, 5], TS, 1, "x" * 500, True, ""]),
        _valid("consent of nobody, in an emergency", "consent", [2, "This call.", "Safety.", [2, 3], TS, 0, "Cannot answer.", False, "Unconscious."]),
        _valid("consent withdrawn", "consent_withdrawn", [OTHER]),
        _valid("a type of the future", "hologram", [1, 2, 3]),
    ]  # fmt: skip


def _invalid_cases() -> list[dict[str, Any]]:
    good = ["text", TS, MESSAGE, None, [0, "hi"]]
    return [
        _invalid("nothing", b"", "E_ENCODING"),
        _invalid("not an array", {"type": "text"}, "E_ENCODING"),
        _invalid("four elements", good[:4], "E_ENCODING"),
        _invalid("six elements", [*good, 1], "E_ENCODING"),
        _invalid("bytes behind the end", _pack(good) + b"\x00", "E_ENCODING"),
        _invalid("a number for a type", [1, *good[1:]], "E_ENCODING"),
        _invalid("a short message id", ["text", TS, MESSAGE[:15], None, [0, "hi"]], "E_ENCODING"),
        _invalid("a short hash of what was seen", ["text", TS, MESSAGE, [1, HASH[:31]], [0, "hi"]], "E_ENCODING"),
        _invalid("a float", ["position", TS, MESSAGE, None, [[47.3, 8.5, 1, 1]]], "E_ENCODING"),
        _data("text that is empty", "text", [0, ""]),
        _data("text that is too long", "text", [0, "x" * 8_001]),
        _data("text as bytes", "text", [0, b"hi"]),
        _data("an urgency that does not exist", "text", [3, "hi"]),
        _data("an urgency that is a boolean", "text", [True, "hi"]),
        _data("a repeat of over an hour", "text", [2, "hi", 3_601]),
        _data("data that is not an array", "text", "hi"),
        _data("data as a map", "text", {"text": "hi"}),
        _data("an acknowledgement of nothing", "acknowledged", []),
        _data("an acknowledgement of a short id", "acknowledged", [b"short"]),
        _data("an attachment with a short key", "attachment", [OTHER, HASH[:16], UNIT, 1, HASH, "a"]),
        _data("an attachment without a name", "attachment", [OTHER, HASH, UNIT, 1, HASH, ""]),
        _data("an attachment beyond 64 MiB", "attachment", [OTHER, HASH, UNIT, 64 * 1024 * 1024 + 1, HASH, "a"]),
        _data("a status that is not of the standard", "status", [UNIT, "Busy", None, TS]),
        _data("a secondary status that is not of the standard", "status", [UNIT, "Available", "Lunch", TS]),
        _data("a mark that does not exist", "status", [UNIT, "Available", None, TS, "", "", 17]),
        _data("a note that is too long", "status", [UNIT, "Available", None, TS, "x" * 501]),
        _data("a name that is too long", "member_name", [OTHER, "x" * 81]),
        _data("marks below zero", "marks", [1, -1, 0]),
        _data("a latitude beyond the pole", "position", [[900_000_001, 0, 0, 0]]),
        _data("a longitude beyond the date line", "position", [[0, -1_800_000_001, 0, 0]]),
        _data("a heading of 360 degrees", "position", [[0, 0, 0, 0, 0, 360]]),
        _data("a battery of 101 percent", "position", [[0, 0, 0, 0, 0, None, None, 101]]),
        _data("a position without a fix", "position", [None]),
        _data("an incident without an address", "incident", [OTHER, "EDP", "Harbour"]),
        _data("a type code that is too long", "incident", [OTHER, "x" * 41, "", ""]),
        _data("a place with one number", "incident", [OTHER, "", "", "", [1]]),
        _data("a place with three numbers", "incident", [OTHER, "", "", "", [1, 2, 3]]),
        _data("a place beyond the pole", "incident", [OTHER, "", "", "", [-900_000_001, 0]]),
        _data("a narrative that is too long", "incident", [OTHER, "", "", "", None, "x" * 8_001]),
        _data("a disposition that does not exist", "incident", [OTHER, "", "", "", None, "", "went_home"]),
        _data("an assignment of nobody", "assignment", [None, 1]),
        _data("a priority of zero", "assignment", [UNIT, 0]),
        _data("a priority of six", "assignment", [UNIT, 6]),
        _data("a timeline without a mark", "timeline", [0]),
        _data("a timeline with a mark that does not exist", "timeline", [17]),
        _data("a check-in with half a fix", "check_in", [UNIT, 15, [1, 2]]),
        _data("a duress of a short unit", "duress", [UNIT[:15]]),
        _data("a consult without an urgency", "consult", [CONSULT]),
        _data("a consult of a short id", "consult", [CONSULT[:15], 1]),
        _data("a consult with an urgency that does not exist", "consult", [CONSULT, 3]),
        _data("a summary that is too long", "consult", [CONSULT, 1, "x" * 501]),
        _data("context for a role that does not exist", "consult", [CONSULT, 1, "", ["everybody"]]),
        _data("context for a role that is no list", "consult", [CONSULT, 1, "", "psychiatrist"]),
        _data("context for more roles than there are", "consult", [CONSULT, 1, "", ["psychiatrist"] * 9]),
        _data("a recommendation that is empty", "recommendation", [""]),
        _data("a recommendation that is too long", "recommendation", ["x" * 8_001]),
        _data("a recommendation that repeats once in a while", "recommendation", ["Stay.", 3_601]),
        _data("a read-back that is too long", "acknowledged", [OTHER, "x" * 8_001]),
        _data("a read-back as bytes", "acknowledged", [OTHER, b"stay"]),
        _data("consent of somebody unknown", "consent", [3, "This call.", "Advice.", [2], TS, 0]),
        _data("consent to nothing", "consent", [0, "", "Advice.", [2], TS, 0]),
        _data("consent for no purpose", "consent", [0, "This call.", "", [2], TS, 0]),
        _data("consent for nobody", "consent", [0, "This call.", "Advice.", [], TS, 0]),
        _data("consent for a part that does not exist", "consent", [0, "This call.", "Advice.", [6], TS, 0]),
        _data("consent for more parts than there are", "consent", [0, "This call.", "Advice.", [2] * 6, TS, 0]),
        _data("consent without an end", "consent", [0, "This call.", "Advice.", [2]]),
        _data("consent by no known method", "consent", [0, "This call.", "Advice.", [2], TS, 2]),
        _data("an emergency without its reason", "consent", [2, "This call.", "Safety.", [2], TS, 0]),
        _data("consent with a reason why it was not asked for", "consent", [0, "This call.", "Safety.", [2], TS, 0, "", False, "No time."]),
        _data("consent withdrawn of a short id", "consent_withdrawn", [OTHER[:15]]),
        _data("typing as a number", "typing", [1]),
    ]  # fmt: skip


def vectors() -> dict[str, Any]:
    """The content of the file."""
    return {
        "chapter": "05-messages, 06-location, 07-status, 08-consult, 09-video, 10-incident",
        "valid": _valid_cases(),
        "invalid": _invalid_cases(),
    }


def text() -> str:
    """The file as it is written."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
