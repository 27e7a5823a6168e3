"""Who may do what: one table, action by role, without any access by default.

The table says what the *server* permits. Who may read or change a channel is decided by its signed roster and
the capabilities in certificates (`leeside_protocol.sealing.public`); both must agree before anything is stored.
An administrator has no clinical access: the role opens and joins the agency's channel, and no other.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.words import ChannelPurpose, Compartment, Role


class Action(StrEnum):
    """Everything that a signed-in member can ask for."""

    READ_AGENCY = "read_agency"
    CHANGE_AGENCY = "change_agency"
    READ_MEMBERS = "read_members"
    READ_LOGINS = "read_logins"
    CREATE_MEMBER = "create_member"
    CHANGE_MEMBER = "change_member"
    CHANGE_SKILLS = "change_skills"
    """What a consult may ask of a member (languages, specialties, licences), and their telephone."""
    READ_PHONES = "read_phones"
    END_MEMBER = "end_member"
    CREATE_ENROLMENT = "create_enrolment"
    READ_DEVICES = "read_devices"
    REVOKE_DEVICE = "revoke_device"
    REVOKE_OWN_DEVICE = "revoke_own_device"
    READ_DIRECTORY = "read_directory"
    POST_DIRECTORY = "post_directory"
    READ_UNITS = "read_units"
    CHANGE_UNITS = "change_units"
    READ_ON_CALL = "read_on_call"
    """Rotas, ladders, who is on call."""
    CHANGE_ON_CALL = "change_on_call"
    OFFER_SHIFTS = "offer_shifts"
    """Give an own shift to another member, or take one of theirs."""
    READ_INCIDENTS = "read_incidents"
    OPEN_INCIDENT = "open_incident"
    CHANGE_INCIDENT = "change_incident"
    PROGRESS_INCIDENT = "progress_incident"
    """Move an incident forward that the member's own unit works."""
    OPEN_UNIT_CHANNEL = "open_unit_channel"
    OPEN_LED_UNIT_CHANNEL = "open_led_unit_channel"
    """The channel of a unit that the member leads."""
    OPEN_DESK_CHANNEL = "open_desk_channel"
    OPEN_AGENCY_CHANNEL = "open_agency_channel"
    OPEN_ON_CALL_CHANNEL = "open_on_call_channel"
    OPEN_OPERATIONS_CHANNEL = "open_operations_channel"
    OPEN_COMPARTMENT_CHANNEL = "open_compartment_channel"
    """An incident's channel of a compartment other than operations."""
    OPEN_CONSULT_CHANNEL = "open_consult_channel"
    REQUEST_CONSULT = "request_consult"
    READ_CONSULTS = "read_consults"
    """Those that concern the member; which these are, `core.consult_rights` says."""
    ACT_ON_CONSULT = "act_on_consult"
    READ_FIGURES = "read_figures"
    """How long all consults of the agency waited."""
    COMMIT = "commit"
    GRANT = "grant"
    READ_CHANNELS = "read_channels"
    ATTACH = "attach"
    READ_RECORDS = "read_records"
    """Boxes of the agency's records keys, and the logs that they open."""
    HOLD_RECORDS = "hold_records"
    """Place a legal hold on an incident."""
    RELEASE_RECORDS = "release_records"
    SHRED_RECORDS = "shred_records"
    READ_SECURITY_EVENTS = "read_security_events"


_RESPONDER: Final = Role.RESPONDER
_DISPATCHER: Final = Role.DISPATCHER
_PSYCHIATRIST: Final = Role.PSYCHIATRIST
_INTERPRETER: Final = Role.INTERPRETER
_FACILITY: Final = Role.RECEIVING_FACILITY
_SUPERVISOR: Final = Role.SUPERVISOR
_RECORDS: Final = Role.RECORDS_OFFICER
_ADMIN: Final = Role.ADMIN

_EVERYONE: Final = frozenset(Role)
_STAFF: Final = frozenset({_RESPONDER, _DISPATCHER, _PSYCHIATRIST, _SUPERVISOR, _RECORDS, _ADMIN})
_FIELD: Final = frozenset({_RESPONDER, _DISPATCHER, _PSYCHIATRIST, _SUPERVISOR})
_DESK: Final = frozenset({_DISPATCHER, _SUPERVISOR})

PERMITTED: Final[dict[Action, frozenset[Role]]] = {
    Action.READ_AGENCY: _EVERYONE,
    Action.CHANGE_AGENCY: frozenset({_ADMIN}),
    Action.READ_MEMBERS: _STAFF,
    Action.READ_LOGINS: frozenset({_ADMIN}),
    Action.CREATE_MEMBER: frozenset({_SUPERVISOR, _ADMIN}),
    Action.CHANGE_MEMBER: frozenset({_ADMIN}),
    Action.CHANGE_SKILLS: frozenset({_SUPERVISOR, _ADMIN}),
    Action.READ_PHONES: frozenset({_SUPERVISOR, _ADMIN}),
    Action.END_MEMBER: frozenset({_SUPERVISOR, _ADMIN}),
    Action.CREATE_ENROLMENT: frozenset({_SUPERVISOR, _ADMIN}),
    Action.READ_DEVICES: _STAFF,
    Action.REVOKE_DEVICE: frozenset({_SUPERVISOR, _ADMIN}),
    Action.REVOKE_OWN_DEVICE: _EVERYONE,
    Action.READ_DIRECTORY: _EVERYONE,
    Action.POST_DIRECTORY: frozenset({_SUPERVISOR, _ADMIN}),
    Action.READ_UNITS: _FIELD | {_ADMIN},
    Action.CHANGE_UNITS: _DESK | {_ADMIN},
    Action.READ_ON_CALL: _STAFF,
    Action.CHANGE_ON_CALL: frozenset({_SUPERVISOR, _ADMIN}),
    Action.OFFER_SHIFTS: frozenset({_PSYCHIATRIST}),
    Action.READ_INCIDENTS: _FIELD | {_RECORDS},
    Action.OPEN_INCIDENT: _DESK,
    Action.CHANGE_INCIDENT: _DESK,
    Action.PROGRESS_INCIDENT: frozenset({_RESPONDER, _DISPATCHER, _SUPERVISOR}),
    Action.OPEN_UNIT_CHANNEL: _DESK,
    Action.OPEN_LED_UNIT_CHANNEL: frozenset({_RESPONDER, _DISPATCHER, _SUPERVISOR}),
    Action.OPEN_DESK_CHANNEL: frozenset({_SUPERVISOR}),
    Action.OPEN_AGENCY_CHANNEL: frozenset({_ADMIN}),
    Action.OPEN_ON_CALL_CHANNEL: frozenset({_SUPERVISOR}),
    Action.OPEN_OPERATIONS_CHANNEL: _DESK,
    Action.OPEN_COMPARTMENT_CHANNEL: frozenset({_RESPONDER, _PSYCHIATRIST}),
    Action.OPEN_CONSULT_CHANNEL: frozenset({_RESPONDER, _DISPATCHER, _PSYCHIATRIST}),
    Action.REQUEST_CONSULT: _FIELD,
    Action.READ_CONSULTS: _FIELD,
    Action.ACT_ON_CONSULT: _FIELD,
    Action.READ_FIGURES: frozenset({_SUPERVISOR}),
    Action.COMMIT: _EVERYONE - {_RECORDS},
    Action.GRANT: _FIELD | {_ADMIN},
    Action.READ_CHANNELS: _EVERYONE,
    Action.ATTACH: _FIELD | {_FACILITY},
    Action.READ_RECORDS: frozenset({_RECORDS}),
    Action.HOLD_RECORDS: frozenset({_RECORDS}),
    Action.RELEASE_RECORDS: frozenset({_RECORDS}),
    Action.SHRED_RECORDS: frozenset({_RECORDS}),
    Action.READ_SECURITY_EVENTS: frozenset({_SUPERVISOR, _ADMIN}),
}
"""An action that is missing here is permitted to nobody."""

SEATS: Final[dict[ChannelPurpose, frozenset[Role]]] = {
    ChannelPurpose.UNIT: frozenset({_RESPONDER, _DISPATCHER, _SUPERVISOR}),
    ChannelPurpose.DESK: _DESK,
    ChannelPurpose.AGENCY: _EVERYONE,
    ChannelPurpose.ON_CALL: _FIELD,
    ChannelPurpose.INCIDENT: _FIELD | {_INTERPRETER, _FACILITY},
    ChannelPurpose.CONSULT: _FIELD | {_INTERPRETER, _FACILITY},
}
"""Which certified roles a roster may hold, by the channel's purpose: no administrator reads an incident."""

_GIVES: Final[dict[Role, frozenset[Role]]] = {
    _ADMIN: _EVERYONE,
    _SUPERVISOR: frozenset({_RESPONDER, _DISPATCHER, _PSYCHIATRIST, _INTERPRETER, _FACILITY}),
}
"""Who may give which roles, and enrol devices of members that hold them: nobody lifts themselves."""


def permits(roles: Collection[Role], action: Action) -> bool:
    """Whether any of a member's roles may do this."""
    return not PERMITTED.get(action, frozenset()).isdisjoint(roles)


def require(roles: Collection[Role], action: Action) -> None:
    """`forbidden` unless one of the roles may do this."""
    if not permits(roles, action):
        raise ProtocolError(WireError.FORBIDDEN, "your role does not permit this")


def may_give(giver: Collection[Role], roles: Collection[Role]) -> bool:
    """Whether a member with the roles `giver` may make someone a holder of all of `roles`."""
    given: set[Role] = set()
    for role in giver:
        given |= _GIVES.get(role, frozenset())
    return given.issuperset(roles)


def may_sit(role: str, purpose: ChannelPurpose) -> bool:
    """Whether a device certified for `role` may be in the roster of a channel of this purpose."""
    return role in {seat.value for seat in SEATS[purpose]}


def opening(purpose: ChannelPurpose, compartment: Compartment) -> Action:
    """The action that opening (and archiving) a channel of this purpose and compartment is."""
    match purpose:
        case ChannelPurpose.UNIT:
            return Action.OPEN_UNIT_CHANNEL
        case ChannelPurpose.DESK:
            return Action.OPEN_DESK_CHANNEL
        case ChannelPurpose.AGENCY:
            return Action.OPEN_AGENCY_CHANNEL
        case ChannelPurpose.ON_CALL:
            return Action.OPEN_ON_CALL_CHANNEL
        case ChannelPurpose.INCIDENT:
            if compartment is Compartment.OPERATIONS:
                return Action.OPEN_OPERATIONS_CHANNEL
            return Action.OPEN_COMPARTMENT_CHANNEL
        case ChannelPurpose.CONSULT:
            return Action.OPEN_CONSULT_CHANNEL
