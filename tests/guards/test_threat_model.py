"""docs/threat-model.md names every field that the server sees, and no other."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import Counter
from typing import Any, Final

import msgspec
import pytest

from deploy.devtool.place import ROOT
from leeside_protocol import messages, resources
from leeside_protocol.routes import ROUTES
from leeside_protocol.sealing.public import archive, commit, device_key, entries, frame, grant
from leeside_protocol.video import signalling
from leeside_server.adapters.schema import METADATA
from leeside_server.core.rows import KINDS
from leeside_server.relay import tokens

TEXT: Final = (ROOT / "docs/threat-model.md").read_text()
NAME: Final = re.compile(r"`(\w+\.\w+)`")
SIGNED_WRAPPERS: Final = frozenset({"Archive", "SealedGrant", "SignedEntry"})
"""A signed object and what goes with it; their parts are `SignedObject`, `Box` and `Entry`."""


def section(title: str) -> str:
    """The part of the page under a heading of the third level."""
    found = re.search(rf"^### {title}\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {title}"
    return found.group(1)


def rows(title: str) -> list[tuple[list[str], str, str]]:
    """The lines of a section's table: fields, kind, what they tell."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(title).splitlines()
        if line.startswith("| `")
    ]
    return [(NAME.findall(row[0]), row[1], row[2]) for row in cells]


def database() -> set[str]:
    return {f"{table.name}.{column.name}" for table in METADATA.sorted_tables for column in table.columns}


def objects() -> set[str]:
    kinds: dict[type[msgspec.Struct], str] = {**KINDS, tokens.SigningKeyRow: tokens.KIND}
    return {f"{kind}.{field}" for row, kind in kinds.items() for field in row.__struct_fields__}


def test_no_object_is_written_past_the_kinds_that_are_read_here() -> None:
    """A kind of its own, saved elsewhere, would be seen by no comparison."""
    writers = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "server/leeside_server").rglob("*.py"))
        if re.search(r"(?<!class )(?<!\w)Save\((?!\))", re.sub(r"case Save\(\)", "", path.read_text()))
    ]
    assert writers == ["server/leeside_server/core/rows.py", "server/leeside_server/relay/tokens.py"]


def socket() -> set[str]:
    structs = (*messages.CLIENT_MESSAGES, *messages.SERVER_MESSAGES, messages.Entry)
    return {f"{struct.__name__}.{field}" for struct in structs for field in struct.__struct_fields__}


def signals() -> set[str]:
    structs = (
        *signalling.CLIENT_SIGNALS,
        *signalling.BRIDGE_SIGNALS,
        signalling.Participant,
        signalling.TurnServer,
    )
    return {f"{struct.__name__}.{field}" for struct in structs for field in struct.__struct_fields__}


def http() -> set[str]:
    asked = {route.request for route in ROUTES if route.request not in (None, bytes)}
    asked |= {resources.SignedObject, resources.Box, resources.FirstMessage, resources.PersonProof}
    return {f"{struct.__name__}.{field}" for struct in asked if struct for field in struct.__struct_fields__}


def signed_objects() -> set[str]:
    found: set[str] = set()
    for module in (archive, commit, device_key, entries, frame, grant):
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__ or name in SIGNED_WRAPPERS:
                continue
            assert not dataclasses.is_dataclass(kind), f"{name}: its fields would be overlooked here"
            if issubclass(kind, msgspec.Struct):
                found |= {f"{name}.{field}" for field in kind.__struct_fields__}
    return found


SECTIONS: Final[dict[str, Any]] = {
    "Database": database,
    "Objects": objects,
    "Socket": socket,
    "Signals": signals,
    "HTTP": http,
    "Signed objects": signed_objects,
}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_names_every_field_and_no_other(title: str) -> None:
    named = {name for names, _, _ in rows(title) for name in names}
    there: set[str] = SECTIONS[title]()
    assert there - named == set(), "the server sees these, and docs/threat-model.md does not say so"
    assert named - there == set(), "docs/threat-model.md names these, and they are gone"


@pytest.mark.parametrize("title", SECTIONS)
def test_a_field_has_one_line_with_a_kind_of_the_list_and_a_meaning(title: str) -> None:
    kinds = set(re.findall(r"^\| `(\w+)` \| ", TEXT.partition("### Database")[0], re.MULTILINE))
    assert {"text", "sealed", "secret"} <= kinds
    count = Counter(name for names, _, _ in rows(title) for name in names)
    assert {name for name, times in count.items() if times > 1} == set()
    for names, kind, tells in rows(title):
        assert kind in kinds, names
        assert tells, names


def test_what_is_read_is_not_nothing() -> None:
    """Each source gives what it must: a comparison of two empty sets would hold for ever."""
    assert "messages.payload" in database()
    assert "member.login" in objects()
    assert "Publish.payload" in socket()
    assert "Answer.sdp" in signals()
    assert "NewAgency.code" in http()
    assert "AuthRecord.kind" in signed_objects()


def test_free_text_is_counted_where_people_are_warned_of_it() -> None:
    """A field typed by a person that the server reads is a decision, made here in the open."""
    texts = {name for title in SECTIONS for names, kind, _ in rows(title) if kind == "text" for name in names}
    assert texts == {
        # what an administrator types
        "agency.label", "member.login", "device.label", "enrolment.label",
        # what a supervisor types
        "rota.label", "ladder.label", "ladder.phones", "NewRota.label", "RotaChange.label", "NewLadder.label", "LadderChange.label",
        "NewLadder.phones", "LadderChange.phones",
        "CalendarImport.ics", "CalendarImport.members",
        *(f"{row}.{field}" for row in ("member", "NewMember", "MemberChange") for field in ("specialties", "licences", "phone")),
        "NewAgency.label", "NewMember.login", "MemberChange.login", "NewEnrolment.label",
        "AuthorityRemoved.reason", "DeviceRemoved.reason", "RecordsRemoved.reason",
        "consult.phones", "page.phones",
        # what a responder chooses from the agency's own words
        "consult.specialty",
        # what programs say
        "Hello.client", "Refused.detail",
    }  # fmt: skip
