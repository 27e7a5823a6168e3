"""The field's own words: roles, disciplines, statuses, urgencies, timeline marks (spec 05 to 07).

Sources: NENA-STA-021.1b (unit status), and the product's list of words. Numbers travel on the socket,
names in JSON; a number once given is never reused.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Role(StrEnum):
    """What a member may do; an admin has no clinical access."""

    RESPONDER = "responder"
    DISPATCHER = "dispatcher"
    PSYCHIATRIST = "psychiatrist"
    INTERPRETER = "interpreter"
    RECEIVING_FACILITY = "receiving_facility"
    SUPERVISOR = "supervisor"
    RECORDS_OFFICER = "records_officer"
    ADMIN = "admin"


class Discipline(StrEnum):
    """A responder's profession."""

    CLINICIAN = "clinician"
    PEER_SPECIALIST = "peer_specialist"
    EMT = "emt"
    LAW_ENFORCEMENT_OFFICER = "law_enforcement_officer"
    CASE_MANAGER = "case_manager"


class PersonBy(StrEnum):
    """What shows an agency who is at the device (spec 02, "The person")."""

    DEVICE = "device"
    PASSKEY = "passkey"
    OIDC = "oidc"


class Compartment(IntEnum):
    """Information that is kept apart with keys of its own; a channel has exactly one."""

    OPERATIONS = 0
    CLINICAL = 1
    RECORD = 2
    SUBSTANCE_USE = 3
    CRIMINAL_JUSTICE = 4


class ChannelPurpose(StrEnum):
    """Why a channel exists; decides who may open it and who commits."""

    UNIT = "unit"
    DESK = "desk"
    AGENCY = "agency"
    ON_CALL = "on_call"
    INCIDENT = "incident"
    CONSULT = "consult"


class Lane(IntEnum):
    """The promise that a message is sent with."""

    LOG = 1
    """Every message kept, in order, exactly once."""
    STATE = 2
    """The last value per key kept, versioned by the same offsets."""
    STREAM = 3
    """The newest value wins; never on disk."""


class Urgency(IntEnum):
    """How much a message presses; `URGENT` repeats at the receiver until it is acknowledged."""

    ROUTINE = 0
    IMPORTANT = 1
    URGENT = 2


class Mark(IntEnum):
    """A timeline mark in the clear, attached to a sealed status when the agency's policy wants times."""

    NONE = 0
    CALL_RECEIVED = 1
    SCREENED = 2
    DISPATCHED = 3
    ACKNOWLEDGED = 4
    EN_ROUTE = 5
    ARRIVED = 6
    PERSON_CONTACT = 7
    CONSULT_REQUESTED = 8
    CONSULT_ACCEPTED = 9
    VIDEO_JOINED = 10
    CONSULT_ENDED = 11
    LEFT_SCENE = 12
    ARRIVED_DESTINATION = 13
    TRANSFER_OF_CARE = 14
    BACK_IN_SERVICE = 15
    CLOSED = 16


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ASSIGNED = "assigned"
    ON_SCENE = "on_scene"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Disposition(StrEnum):
    """How an incident ended; sealed, and empty while it goes on (spec 10)."""

    NONE = ""
    RESOLVED_BY_PHONE = "resolved_by_phone"
    REMAINED_IN_PLACE = "remained_in_place"
    REMAINED_WITH_SUPPORT = "remained_with_support"
    VOLUNTARY_TRANSPORT = "voluntary_transport"
    INVOLUNTARY_HOLD = "involuntary_hold"
    MEDICAL_TRANSPORT = "medical_transport"
    CRISIS_FACILITY = "crisis_facility"
    REFERRAL_MADE = "referral_made"
    LAW_ENFORCEMENT_CUSTODY = "law_enforcement_custody"
    DECLINED_SERVICE = "declined_service"
    UNABLE_TO_LOCATE = "unable_to_locate"
    CANCELLED = "cancelled"


class HoldReason(StrEnum):
    """Why an incident's records must be kept: each reason is a hold of its own."""

    COURT_ORDER = "court_order"
    LITIGATION = "litigation"
    INVESTIGATION = "investigation"
    RECORDS_REQUEST = "records_request"
    INCIDENT_REVIEW = "incident_review"


class ShredReason(StrEnum):
    """Why an incident's records are destroyed."""

    RETENTION_OVER = "retention_over"
    COURT_ORDER = "court_order"
    PERSON_ASKED = "person_asked"


class ConsultState(StrEnum):
    """Where a consult stands (spec 08). `REQUESTED`: held for a supervisor, nobody is paged yet."""

    REQUESTED = "requested"
    PAGING = "paging"
    ACCEPTED = "accepted"
    IN_SESSION = "in_session"
    ENDED = "ended"
    CANCELLED = "cancelled"
    EXHAUSTED = "exhausted"


class TargetState(StrEnum):
    """How far a page came with one member (spec 08). Seen is not accepted."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    SEEN = "seen"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


class ConsultActionKind(StrEnum):
    """What a person does to a consult (spec 08)."""

    ACCEPT = "accept"
    DECLINE = "decline"
    HOLD = "hold"
    """"5 minutes": once a consult, never when it is urgent; the backup is paged meanwhile."""
    ESCALATE = "escalate"
    CANCEL = "cancel"
    JOIN = "join"
    LEAVE = "leave"
    END = "end"
    TAKE = "take"
    """A person takes an exhausted consult: its alarm stops."""
    RELEASE = "release"
    """A held request is paged."""
    SIDE = "side"
    """Names the clinicians' own channel."""


class ConsultEvent(StrEnum):
    """What was done to reach somebody, a line each (spec 08, "What the requester sees")."""

    PAGED = "paged"
    UNREACHABLE = "unreachable"
    NO_ONE_ON_CALL = "no_one_on_call"
    DECLINED = "declined"
    TIMED_OUT = "timed_out"
    HELD = "held"
    ESCALATED = "escalated"
    ACCEPTED = "accepted"
    NOT_JOINED = "not_joined"
    JOINED = "joined"
    LEFT = "left"
    REJOINED = "rejoined"
    EXHAUSTED = "exhausted"
    ALARMED = "alarmed"
    TAKEN = "taken"
    CANCELLED = "cancelled"
    ENDED = "ended"
    RELEASED = "released"


class PrimaryStatus(StrEnum):
    """A unit's availability (NENA-STA-021.1b primary unit status)."""

    AVAILABLE = "Available"
    CONDITIONALLY_AVAILABLE = "ConditionallyAvailable"
    NOT_AVAILABLE = "NotAvailable"


class SecondaryStatus(StrEnum):
    """What a unit is doing (NENA-STA-021.1b secondary unit status, and our extension `Consulting`)."""

    DISPATCHED = "Dispatched"
    ACKNOWLEDGED_TRANSMISSION = "AcknowledgedTransmission"
    EN_ROUTE = "EnRoute"
    STAGING = "Staging"
    ARRIVED = "Arrived"
    ON_SCENE = "OnScene"
    PATIENT_CONTACT = "PatientContact"
    TRANSPORTING = "Transporting"
    HOSPITAL = "Hospital"
    DELAYED = "Delayed"
    CLEARED = "Cleared"
    IN_SERVICE = "InService"
    OUT_OF_SERVICE = "OutofService"
    ON_DUTY = "OnDuty"
    OFF_DUTY = "OffDuty"
    BREAK = "Break"
    CONSULTING = "Consulting"
