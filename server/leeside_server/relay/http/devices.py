"""Devices: how they come (by code, then by the agency's signature), what they publish, and how they are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.curve import weak_identity
from leeside_protocol.sealing.public.device_key import verify_device_key
from leeside_protocol.sealing.public.directory import Certificate
from leeside_protocol.sealing.public.enrolment import short_code, verify_enrolment
from leeside_protocol.sealing.public.entries import device_id_of
from leeside_protocol.sealing.public.signed import Signed
from leeside_server.core.directory import revocation_parts
from leeside_server.core.identity import (
    NO_AGENCY,
    AgencyRow,
    DeviceRow,
    DeviceState,
    EnrolmentRow,
    HomeRow,
    check_enrolment,
    code_id,
    failed_enrolment,
    redeem_enrolment,
    with_device_key,
)
from leeside_server.core.notices import Notice, notices
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Item, NotStored, Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.members import watchers
from leeside_server.relay.http.refusals import stored

_NOBODY: Final = MemberId(bytes(16))


async def redeem(call: Call) -> r.Enrolled:
    """POST /v1/enrolments: a pending device, which waits for `dev+`.

    The code is spent first, on this device alone, and the device written after it; who lost the answer repeats the
    very same request. The code must be right *and* the proof hold: five wrong proofs end a code.
    """
    body = call.body(r.Redeem)
    if weak_identity(body.public_key):
        # Its proof would say nothing: one signature holds for every code.
        raise ProtocolError(WireError.INVALID, "anybody can sign with this key")
    device = device_id_of(body.public_key)
    held = await call.find(NO_AGENCY, EnrolmentRow, code_id(body.code))
    if held is None:
        raise ProtocolError(WireError.NOT_FOUND)
    try:
        check_enrolment(held.row, device, call.now_ms)
    except ProtocolError as error:
        await _record_refusal(call, held.row, "spent" if held.row.device else error.code.label)
        raise
    try:
        verify_enrolment(body.public_key, body.code, body.proof)
        device_key = _own_key(body, device, call.now_ms)
    except SealingError:
        await call.write(NO_AGENCY, change(held, failed_enrolment(held.row)))
        await _record_refusal(call, held.row, "proof")
        raise
    code = short_code(body.public_key, device_key.payload)
    spent, pending = redeem_enrolment(held.row, device, body.public_key, body.device_key, code, call.now_ms)
    agency = spent.agency
    if not held.row.device:
        await _spend(call, held, spent, device)
    before = await call.find(agency, DeviceRow, device)
    if before is None:
        told = await watchers(call, agency)
        item = Item(
            agency,
            call.now_ms,
            (
                create(device, pending),
                Audit("device_enrolled", device, spent.member, "pending"),
                *notices(Notice.DEVICE_WAITS, (device, spent.member), told, call.random),
            ),
        )
        (outcome,) = await call.apply([item])
        if isinstance(outcome, NotStored) and await call.find(agency, DeviceRow, device) is None:
            stored(outcome)
    home = await call.find(agency, AgencyRow, agency)
    assert home is not None
    return r.Enrolled(agency.hex(), spent.member.hex(), device.hex(), code, home.row.root_pub)


def _own_key(body: r.Redeem, device: DeviceId, now_ms: int) -> Signed:
    """The first DeviceKey, verified with the key it comes with: the device is not certified yet."""
    signed = Signed.decode(body.device_key)
    bare = Certificate(
        agency_id=NO_AGENCY,
        device_id=device,
        public=body.public_key,
        member_id=_NOBODY,
        role="",
        compartments=0,
        caps=0,
        not_before_ms=0,
        not_after_ms=0,
        seq=0,
    )
    verify_device_key(signed, bare, now_ms)
    return signed


async def _spend(call: Call, held: Held[EnrolmentRow], spent: EnrolmentRow, device: DeviceId) -> None:
    parts = (change(held, spent), create(device, HomeRow(spent.agency)))
    (outcome,) = await call.apply([Item(NO_AGENCY, call.now_ms, parts)])
    if not isinstance(outcome, NotStored):
        return
    again = await call.find(NO_AGENCY, EnrolmentRow, held.id)
    if again is None or again.row.device != device:
        # Another device was first with this code, or this device is at home elsewhere: the code tells neither.
        await _record_refusal(call, spent, "spent")
        raise ProtocolError(WireError.NOT_FOUND)


async def _record_refusal(call: Call, row: EnrolmentRow, outcome: str) -> None:
    """Somebody else has the code, or a part of it: its agency should know. Who it was nobody proved."""
    await call.record_refusal(row.agency, "enrolment_refused", b"", row.member, outcome)


async def devices(call: Call) -> r.Devices:
    """GET /v1/devices, of one state when asked."""
    call.actor.require(Action.READ_DEVICES)
    state = call.query.get("state")
    if state is not None and state not in set(DeviceState):
        raise ProtocolError(WireError.INVALID, "`state` is pending, active or revoked")
    rows, following = await call.page(DeviceRow)
    kept = [held for held in rows if not held.row.guest and (state is None or held.row.state == state)]
    return r.Devices(following, tuple(_answer(held) for held in kept))


async def device(call: Call) -> r.DeviceInfo:
    """GET /v1/devices/{id}; everyone may read their own."""
    if call.id != call.actor.device:
        call.actor.require(Action.READ_DEVICES)
    return _answer(await call.need(DeviceRow, call.id))


async def revoke_device(call: Call) -> r.DeviceInfo:
    """POST /v1/devices/{id}/revoke: refused at once on every node; the signed `dev-` follows when an authority can."""
    held = await call.need(DeviceRow, call.id)
    own = held.row.member == call.actor.member
    call.actor.require(Action.REVOKE_OWN_DEVICE if own else Action.REVOKE_DEVICE)
    agency = call.actor.agency
    told = await watchers(call, agency)

    async def decide() -> tuple[Sequence[Part], None]:
        newest = await call.need(DeviceRow, call.id)
        return revocation_parts(agency, newest, told, call.actor.device, call.now_ms, call.random), None

    # The device may go on publishing new keys, and must not keep its end away by that.
    await call.write_anew(agency, decide)
    return _answer(await call.need(DeviceRow, call.id))


async def put_device_key(call: Call) -> r.DeviceInfo:
    """PUT /v1/devices/me/key: the newest DeviceKey, newer than all before it."""
    actor = call.actor
    signed = Signed.decode(call.body(r.PutDeviceKey).device_key)
    directory = await call.host.directories.fresh(actor.agency)
    certificate = directory.live_device(actor.device)
    key = verify_device_key(signed, certificate, call.now_ms)
    held = await call.need(DeviceRow, actor.device)
    newest = Signed.decode(held.row.device_keys[-1])
    if newest.payload == signed.payload:
        return _answer(held)
    if key.kseq <= verify_device_key(newest, certificate).kseq:
        raise SealingError(SealingCode.E_DEVKEY, "older than the key known")
    call.limits.check_device_key(actor.device, call.host.clock.monotonic_s())
    row = with_device_key(held.row, call.body(r.PutDeviceKey).device_key)
    await call.write(actor.agency, change(held, row))
    return _answer(Held(held.id, row, held.revision + 1))


def _answer(held: Held[DeviceRow]) -> r.DeviceInfo:
    row = held.row
    return r.DeviceInfo(
        held.id.hex(),
        row.member.hex(),
        row.state.value,
        row.label,
        row.short_code,
        row.public_key,
        row.device_keys[-1] if row.device_keys else b"",
        row.created_ms,
        row.revoked_ms,
        held.revision,
        row.shift_until_ms,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "redeem": redeem,
    "devices": devices,
    "device": device,
    "revoke_device": revoke_device,
    "put_device_key": put_device_key,
}
