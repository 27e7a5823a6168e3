"""Guests of a consult: links, who came by them, and their end (spec 08, "Guests")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast

from leeside_protocol import oncall as o
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ConsultId, MemberId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.public.curve import low_order, weak_identity
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.sealing.public.entries import device_id_of
from leeside_protocol.sealing.public.signed import verify_raw
from leeside_protocol.words import Role
from leeside_server.core.channels import ChannelRow
from leeside_server.core.consult_rights import takes_part
from leeside_server.core.consult_row import FINAL, ConsultRow
from leeside_server.core.guests import (
    GuestCodeRow,
    GuestRow,
    arrive,
    as_device,
    as_member,
    check_code,
    code_of,
    failed_code,
    invite,
)
from leeside_server.core.identity import (
    CODE_BYTES,
    NO_AGENCY,
    AgencyRow,
    HomeRow,
    code_id,
    enrolment_code,
)
from leeside_server.core.notices import Notice, notices
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Item, NotStored, Part
from leeside_server.relay.guests import end_parts
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import stored

_State = Literal["open", "waiting", "in", "ended"]


async def create_guest(call: Call) -> o.GuestLink:
    """POST /v1/consults/{id}/guests: by whoever takes part. The code is told once, and only its hash is kept."""
    agency, by = call.actor.agency, call.actor.device
    role = Role(call.body(o.NewGuest).role)
    guest = MemberId(call.random(16))

    async def invited() -> tuple[Sequence[Part], GuestRow]:
        consult = await _taking_part(call, call.id)
        standing = [
            held for held in await call.every(agency, GuestRow, consult.id) if held.row.lasts(call.now_ms)
        ]
        row = invite(ConsultId(consult.id), consult.row.channel, role, by, len(standing), call.now_ms)
        audit = Audit("guest_invited", by, consult.id, row.role.value)
        # The consult is written as it is: its end at this moment, which lets go of the guests that it finds, would miss this one.
        return (change(consult, consult.row), create(guest, row), audit), row

    row = await call.write_anew(agency, invited)
    code = enrolment_code(call.random(CODE_BYTES))
    await call.write(NO_AGENCY, create(code_id(code), code_of(guest, row, agency)))
    return o.GuestLink(guest.hex(), code, row.expires_ms)


async def take_guest_link(call: Call) -> o.GuestTaken:
    """POST /v1/guests: one device comes by a link; whoever made the link is told. Who lost the answer repeats the very
    same request."""
    body = call.body(o.GuestPost)
    if weak_identity(body.public_key) or low_order(body.hpke_public):
        raise ProtocolError(WireError.INVALID, "keys that anybody could use")
    device = device_id_of(body.public_key)
    code = await call.find(NO_AGENCY, GuestCodeRow, code_id(body.code))
    if code is None:
        raise ProtocolError(WireError.NOT_FOUND)
    agency, guest = code.row.agency, code.row.guest
    held = await call.find(agency, GuestRow, guest)
    home = await call.find(agency, AgencyRow, agency)
    if held is None or home is None:
        raise ProtocolError(WireError.NOT_FOUND)
    try:
        check_code(code.row, held.row, device, call.now_ms)
    except ProtocolError as error:
        await call.record_refusal(agency, "guest_refused", b"", guest, error.code.label)
        raise
    signed = pae(PREFIX + b"guest", body.code.encode(), body.hpke_public)
    try:
        verify_raw(body.public_key, body.proof, signed)
    except SealingError:
        await call.write(NO_AGENCY, change(code, failed_code(code.row)))
        await call.record_refusal(agency, "guest_refused", b"", guest, "proof")
        raise
    row = arrive(held.row, device, body.public_key, body.hpke_public, body.mac)
    at_home = await call.find(NO_AGENCY, HomeRow, device)
    if at_home is not None and not held.row.device:
        raise ProtocolError(WireError.INVALID, "a guest comes with keys of its own")
    if not held.row.device:
        await _arrived(call, agency, guest, held, row)
    if at_home is None:
        # After the agency knows the device: whoever broke off between the two repeats it, and this stands.
        await call.apply([Item(NO_AGENCY, call.now_ms, (create(device, HomeRow(agency)),))])
    return o.GuestTaken(
        agency.hex(),
        home.row.root_pub,
        guest.hex(),
        device.hex(),
        row.consult.hex(),
        row.channel.hex(),
        row.until_ms,
        cast("Literal['interpreter', 'receiving_facility']", row.role.value),
    )


async def _arrived(
    call: Call, agency: AgencyId, guest: MemberId, held: Held[GuestRow], row: GuestRow
) -> None:
    device = device_id_of(row.public_key)
    parts: tuple[Part, ...] = (
        change(held, row),
        create(guest, as_member(row, call.now_ms)),
        create(device, as_device(guest, row, call.now_ms)),
        Audit("guest_came", device, row.consult, row.role.value),
        *notices(Notice.GUEST_WAITS, (guest, row.consult), [row.made_by], call.random),
    )
    (outcome,) = await call.apply([Item(agency, call.now_ms, parts)])
    if isinstance(outcome, NotStored):
        if outcome.code is not WireError.CONFLICT:
            stored(outcome)
        # Another device was first, or these keys are known here already: the link tells neither.
        raise ProtocolError(WireError.NOT_FOUND)


async def guests(call: Call) -> o.Guests:
    """GET /v1/consults/{id}/guests: for those who take part."""
    consult = await _taking_part(call, call.id)
    rows = await call.every(call.actor.agency, GuestRow, consult.id)
    roster = await _roster(call, consult.row)
    return o.Guests(tuple(_answer(call, held, roster) for held in rows))


async def guest(call: Call) -> o.Guest:
    """GET /v1/guests/{id}."""
    held = await call.need(GuestRow, call.id)
    consult = await _taking_part(call, held.row.consult)
    return _answer(call, held, await _roster(call, consult.row))


async def end_guest(call: Call) -> None:
    """DELETE /v1/guests/{id}: the link serves no more, and its device is refused at once on every node. The member who
    asked drops it from the roster next; a guest who leaves by itself is dropped by the members."""
    held = await call.need(GuestRow, call.id)
    if call.actor.member != held.id:
        await _taking_part(call, held.row.consult)

    async def decide() -> tuple[Sequence[Part], None]:
        newest = await call.need(GuestRow, call.id)
        parts = await end_parts(
            call.host.store, call.actor.agency, newest, call.actor.device, call.now_ms, call.random
        )
        row = newest.row
        if parts and row.made_by != call.actor.device:
            parts += notices(Notice.GUEST_WAITS, (held.id, row.consult), [row.made_by], call.random)
        return parts, None

    await call.write_anew(call.actor.agency, decide)


async def _taking_part(call: Call, key: bytes) -> Held[ConsultRow]:
    """A consult that goes on, for whoever takes part; to others there is none."""
    held = await call.need(ConsultRow, key)
    shell = call.host.consults
    world = await shell.worlds.near(call.actor.agency, held.row, await shell.now())
    if not takes_part(held.row, call.actor.member, world):
        raise ProtocolError(WireError.NOT_FOUND)
    if held.row.state in FINAL:
        raise ProtocolError(WireError.CONFLICT, "this consult is over")
    return held


async def _roster(call: Call, consult: ConsultRow) -> frozenset[bytes]:
    channel = await call.find(call.actor.agency, ChannelRow, consult.channel)
    return frozenset() if channel is None else frozenset(channel.row.masks)


def _answer(call: Call, held: Held[GuestRow], roster: frozenset[bytes]) -> o.Guest:
    row = held.row
    state: _State = "open"
    if not row.lasts(call.now_ms):
        state = "ended"
    elif row.device:
        state = "in" if row.device in roster else "waiting"
    return o.Guest(
        held.id.hex(),
        row.consult.hex(),
        cast("Literal['interpreter', 'receiving_facility']", row.role.value),
        state,
        row.made_by.hex(),
        row.expires_ms,
        row.until_ms,
        row.device.hex() or None,
        row.public_key,
        row.hpke_public,
        row.mac,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "create_guest": create_guest,
    "take_guest_link": take_guest_link,
    "guests": guests,
    "guest": guest,
    "end_guest": end_guest,
}
