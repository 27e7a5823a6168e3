"""Objects of the store as typed rows, and back: which kind a row is, and how it is written.

| kind | row | module |
|---|---|---|
| `agency`, `member`, `device`, `session`, `enrolment`, `home`, `bootstrap` | who is who | `identity` |
| `unit`, `incident` | teams and their work | `incidents` |
| `records` | an incident's legal holds and what became of its records; the parent is `held` while one stands | `records` |
| `channel` | a channel's verified head; the parent is `active` or `archived` | `channels` |
| `slot` | which channel holds a place that only one may have; or came last through an incident's door | here |
| `guest`, `guest_code` | a guest of a consult, and the code of its link; a guest's parent is the consult | `guests` |
| `passkey` | what shows that a member is at a device; the parent is the member | `person` |
| `ticket` | a ticket of an agency's own sign-in that was used | `person` |
| `vapid_key` | the key that push services know this server by | `identity` |
| `rota` | who is on call | `rota` |
| `feed` | a calendar under a secret address; the parent is its rota | `feeds` |
| `warned` | what its supervisors were told will be missing | `oncall_warnings` |
| `ladder` | an escalation policy | `ladder` |
| `consult` | a consult; the parent is `active` or `ended`, due at its next deadline | `consult_row` |
| `asked` | what a device asked for lately; the id is the device's | `asked` |
| `blob` | an attachment's announcement; the parent is its channel | `attachments` |
| `page` | a page to one member, in the outbox until it is over; the parent is its consult | `paging` |
| `duty` | whether a device takes pages, and its probes; the id is the device's, the parent the member | `duty` |
| `steady` | of `NO_AGENCY`: what steady time is | `steady` |
| `synthetic` | of `NO_AGENCY`: the server's own consult, and how the last one went | `synthetic` |

A row is JSON. Fields may be added with a default: a row of the version before must still be readable.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from leeside_protocol.ids import ChannelId
from leeside_protocol.sealing.public.encoding import digest
from leeside_protocol.words import ChannelPurpose
from leeside_server.core.asked import AskedRow
from leeside_server.core.attachments import BlobRow
from leeside_server.core.channels import ACTIVE, ARCHIVED, CHANNEL, ChannelRow
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.consult_row import due_ms as consult_due_ms
from leeside_server.core.consult_row import parent as consult_parent
from leeside_server.core.duty import DutyRow
from leeside_server.core.feeds import FeedRow
from leeside_server.core.guests import GuestCodeRow, GuestRow
from leeside_server.core.identity import (
    AgencyRow,
    BootstrapRow,
    DeviceRow,
    DeviceState,
    EnrolmentRow,
    HomeRow,
    MemberRow,
    SessionRow,
    VapidKeyRow,
)
from leeside_server.core.incidents import IncidentRow, UnitRow
from leeside_server.core.ladder import LadderRow
from leeside_server.core.oncall_warnings import WarnedRow
from leeside_server.core.paging import PageRow
from leeside_server.core.paging import due_ms as page_due_ms
from leeside_server.core.person import PasskeyRow, TicketRow
from leeside_server.core.records import HELD, RecordsRow
from leeside_server.core.rota import RotaRow
from leeside_server.core.steady import SteadyRow
from leeside_server.core.synthetic import SyntheticRow
from leeside_server.core.writes import Object, Remove, Save


class SlotRow(msgspec.Struct, frozen=True):
    """The channel that holds a place: the agency's own, a unit's, or an incident's of one compartment. Or the one that
    was opened last in an incident, zeros once it ended."""

    channel: ChannelId


def slot_id(purpose: ChannelPurpose, subject: bytes, compartment: int) -> bytes:
    """The place's id."""
    return digest(b"slot", purpose.value.encode(), subject, bytes([compartment]))[:16]


def door_id(incident: bytes) -> bytes:
    """The id of the row that every opening of an incident's channels writes, and its end."""
    return digest(b"door", incident)[:16]


Row = (
    AgencyRow
    | MemberRow
    | DeviceRow
    | SessionRow
    | EnrolmentRow
    | HomeRow
    | BootstrapRow
    | UnitRow
    | IncidentRow
    | RecordsRow
    | ChannelRow
    | BlobRow
    | AskedRow
    | LadderRow
    | ConsultRow
    | SlotRow
    | VapidKeyRow
    | PasskeyRow
    | TicketRow
    | RotaRow
    | WarnedRow
    | FeedRow
    | PageRow
    | DutyRow
    | SteadyRow
    | SyntheticRow
    | GuestRow
    | GuestCodeRow
)
R = TypeVar("R", bound=Row)

KINDS: Final[dict[type[msgspec.Struct], str]] = {
    AgencyRow: "agency",
    MemberRow: "member",
    DeviceRow: "device",
    SessionRow: "session",
    EnrolmentRow: "enrolment",
    HomeRow: "home",
    BootstrapRow: "bootstrap",
    UnitRow: "unit",
    IncidentRow: "incident",
    RecordsRow: "records",
    ChannelRow: CHANNEL,
    BlobRow: "blob",
    AskedRow: "asked",
    LadderRow: "ladder",
    ConsultRow: "consult",
    SlotRow: "slot",
    GuestRow: "guest",
    GuestCodeRow: "guest_code",
    VapidKeyRow: "vapid_key",
    PasskeyRow: "passkey",
    TicketRow: "ticket",
    RotaRow: "rota",
    WarnedRow: "warned",
    FeedRow: "feed",
    PageRow: "page",
    DutyRow: "duty",
    SteadyRow: "steady",
    SyntheticRow: "synthetic",
}


class Held(msgspec.Struct, Generic[R], frozen=True):
    """A row as it was read: what a change of it is compared with."""

    id: bytes
    row: R
    revision: int


def read(kind: type[R], found: Object) -> Held[R]:
    """The row in an object that the store returned for `KINDS[kind]`."""
    return Held(found.id, msgspec.json.decode(found.body, type=kind), found.revision)


def create(id: bytes, row: Row, due_ms: int | None = None) -> Save:  # noqa: A002
    """Write a row that must not be there yet."""
    return _save(id, 0, row, due_ms)


def change(held: Held[R], row: R, due_ms: int | None = None) -> Save:
    """Write `row` over the one held, unless someone else was first (`conflict`)."""
    return _save(held.id, held.revision, row, due_ms)


def remove(kind: type[R], held: Held[R]) -> Remove:
    """Forget the row held, unless someone else was first (`conflict`)."""
    return Remove(KINDS[kind], held.id, held.revision)


def _save(id: bytes, expect: int, row: Row, due_ms: int | None) -> Save:  # noqa: A002
    if isinstance(row, DeviceRow) and row.shift_until_ms and row.state is not DeviceState.REVOKED:
        # Whatever else is changed of a shared device, its shift ends.
        due_ms = row.shift_until_ms
    if isinstance(row, ConsultRow):
        # A consult that nobody is due to look at would end in silence.
        due_ms = consult_due_ms(row)
    if isinstance(row, PageRow):
        # Nor would a page be sent.
        due_ms = page_due_ms(row)
    return Save(KINDS[type(row)], id, expect, msgspec.json.encode(row), _parent(row), due_ms)


def _parent(row: Row) -> bytes:
    match row:
        case DeviceRow() | PasskeyRow() | DutyRow():
            return row.member
        case PageRow():
            return row.consult
        case SessionRow():
            return row.device
        case ChannelRow():
            return ARCHIVED if row.archived else ACTIVE
        case BlobRow():
            return row.channel
        case ConsultRow():
            return consult_parent(row)
        case GuestRow():
            return row.consult
        case FeedRow():
            return row.rota
        case RecordsRow():
            return HELD if row.holds else b""
        case _:
            return b""
