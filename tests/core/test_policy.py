"""The whole policy, cell by cell, written down a second time: a change of it must be made in both places."""

import pytest

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.words import ChannelPurpose, Compartment, Role
from leeside_server.core.policy import (
    PERMITTED,
    SEATS,
    Action,
    may_give,
    may_sit,
    opening,
    permits,
    require,
)

COLUMNS = "responder dispatcher psychiatrist interpreter receiving_facility supervisor records_officer admin"

#                              resp disp psyc intp faci supv reco admin
ACTIONS = """
read_agency                    x    x    x    x    x    x    x    x
change_agency                  -    -    -    -    -    -    -    x
read_members                   x    x    x    -    -    x    x    x
read_logins                    -    -    -    -    -    -    -    x
create_member                  -    -    -    -    -    x    -    x
change_member                  -    -    -    -    -    -    -    x
change_skills                  -    -    -    -    -    x    -    x
read_phones                    -    -    -    -    -    x    -    x
end_member                     -    -    -    -    -    x    -    x
create_enrolment               -    -    -    -    -    x    -    x
read_devices                   x    x    x    -    -    x    x    x
revoke_device                  -    -    -    -    -    x    -    x
revoke_own_device              x    x    x    x    x    x    x    x
read_directory                 x    x    x    x    x    x    x    x
post_directory                 -    -    -    -    -    x    -    x
read_units                     x    x    x    -    -    x    -    x
change_units                   -    x    -    -    -    x    -    x
read_on_call                   x    x    x    -    -    x    x    x
change_on_call                 -    -    -    -    -    x    -    x
offer_shifts                   -    -    x    -    -    -    -    -
read_incidents                 x    x    x    -    -    x    x    -
open_incident                  -    x    -    -    -    x    -    -
change_incident                -    x    -    -    -    x    -    -
progress_incident              x    x    -    -    -    x    -    -
open_unit_channel              -    x    -    -    -    x    -    -
open_led_unit_channel          x    x    -    -    -    x    -    -
open_desk_channel              -    -    -    -    -    x    -    -
open_agency_channel            -    -    -    -    -    -    -    x
open_on_call_channel           -    -    -    -    -    x    -    -
open_operations_channel        -    x    -    -    -    x    -    -
open_compartment_channel       x    -    x    -    -    -    -    -
open_consult_channel           x    x    x    -    -    -    -    -
request_consult                x    x    x    -    -    x    -    -
read_consults                  x    x    x    -    -    x    -    -
act_on_consult                 x    x    x    -    -    x    -    -
read_figures                   -    -    -    -    -    x    -    -
commit                         x    x    x    x    x    x    -    x
grant                          x    x    x    -    -    x    -    x
read_channels                  x    x    x    x    x    x    x    x
attach                         x    x    x    -    x    x    -    -
read_records                   -    -    -    -    -    -    x    -
hold_records                   -    -    -    -    -    -    x    -
release_records                -    -    -    -    -    -    x    -
shred_records                  -    -    -    -    -    -    x    -
read_security_events           -    -    -    -    -    x    -    x
"""

SEATED = """
unit                           x    x    -    -    -    x    -    -
desk                           -    x    -    -    -    x    -    -
agency                         x    x    x    x    x    x    x    x
on_call                        x    x    x    -    -    x    -    -
incident                       x    x    x    x    x    x    -    -
consult                        x    x    x    x    x    x    -    -
"""

GIVES = """
responder                      -    -    -    -    -    -    -    -
dispatcher                     -    -    -    -    -    -    -    -
psychiatrist                   -    -    -    -    -    -    -    -
interpreter                    -    -    -    -    -    -    -    -
receiving_facility             -    -    -    -    -    -    -    -
supervisor                     x    x    x    x    x    -    -    -
records_officer                -    -    -    -    -    -    -    -
admin                          x    x    x    x    x    x    x    x
"""


def cells(table: str) -> list[tuple[str, Role, bool]]:
    roles = [Role(name) for name in COLUMNS.split()]
    found: list[tuple[str, Role, bool]] = []
    for line in table.strip().splitlines():
        name, *marks = line.split()
        assert len(marks) == len(roles)
        found += [(name, role, mark == "x") for role, mark in zip(roles, marks, strict=True)]
    return found


def test_the_written_table_names_every_action_role_and_purpose() -> None:
    assert {name for name, _, _ in cells(ACTIONS)} == {action.value for action in Action} == set(PERMITTED)
    assert {role for _, role, _ in cells(ACTIONS)} == set(Role)
    assert {name for name, _, _ in cells(SEATED)} == {p.value for p in ChannelPurpose} == set(SEATS)
    assert {name for name, _, _ in cells(GIVES)} == {role.value for role in Role}


@pytest.mark.parametrize(("name", "role", "expected"), cells(ACTIONS))
def test_action(name: str, role: Role, expected: bool) -> None:
    assert permits([role], Action(name)) is expected


@pytest.mark.parametrize(("name", "role", "expected"), cells(SEATED))
def test_seat(name: str, role: Role, expected: bool) -> None:
    assert may_sit(role.value, ChannelPurpose(name)) is expected


@pytest.mark.parametrize(("name", "role", "expected"), cells(GIVES))
def test_gift(name: str, role: Role, expected: bool) -> None:
    assert may_give([Role(name)], [role]) is expected


def test_nobody_without_a_role_may_do_anything() -> None:
    assert not any(permits([], action) for action in Action)
    assert not may_give([], [Role.RESPONDER])
    assert not any(may_sit(role, purpose) for role in ("", "owner") for purpose in ChannelPurpose)


def test_roles_add_up_but_a_gift_needs_all() -> None:
    assert permits([Role.INTERPRETER, Role.ADMIN], Action.CREATE_MEMBER)
    assert not may_give([Role.SUPERVISOR], [Role.RESPONDER, Role.ADMIN])


def test_a_refusal_is_forbidden() -> None:
    with pytest.raises(ProtocolError) as refused:
        require([Role.RESPONDER], Action.CREATE_MEMBER)
    assert refused.value.code is WireError.FORBIDDEN


def test_an_admin_reads_no_incident_and_sits_in_the_agency_channel_alone() -> None:
    clinical = {Action.READ_INCIDENTS, Action.OPEN_INCIDENT, Action.ATTACH, Action.READ_RECORDS}
    assert not any(permits([Role.ADMIN], action) for action in clinical)
    assert [p for p in ChannelPurpose if may_sit("admin", p)] == [ChannelPurpose.AGENCY]


@pytest.mark.parametrize(
    ("purpose", "compartment", "action"),
    [
        (ChannelPurpose.UNIT, 0, Action.OPEN_UNIT_CHANNEL),
        (ChannelPurpose.DESK, 0, Action.OPEN_DESK_CHANNEL),
        (ChannelPurpose.AGENCY, 0, Action.OPEN_AGENCY_CHANNEL),
        (ChannelPurpose.ON_CALL, 0, Action.OPEN_ON_CALL_CHANNEL),
        (ChannelPurpose.INCIDENT, 0, Action.OPEN_OPERATIONS_CHANNEL),
        (ChannelPurpose.INCIDENT, 1, Action.OPEN_COMPARTMENT_CHANNEL),
        (ChannelPurpose.INCIDENT, 4, Action.OPEN_COMPARTMENT_CHANNEL),
        (ChannelPurpose.CONSULT, 1, Action.OPEN_CONSULT_CHANNEL),
    ],
)
def test_what_opening_a_channel_is(purpose: ChannelPurpose, compartment: int, action: Action) -> None:
    assert opening(purpose, Compartment(compartment)) is action
