"""The server itself, and agencies: how one begins, and what its members see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.messages import SUBPROTOCOL
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.curve import weak_identity
from leeside_protocol.sealing.public.device_key import verify_device_key
from leeside_protocol.sealing.public.directory import CheckedEntry, Directory
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.sealing.public.enrolment import short_code
from leeside_protocol.sealing.public.entries import DeviceAdded, SignedEntry
from leeside_protocol.sealing.public.signed import Signed, verify_raw
from leeside_protocol.words import PersonBy, Role
from leeside_server.core.directory import entry_append
from leeside_server.core.identity import (
    NO_AGENCY,
    AgencyRow,
    BootstrapRow,
    DeviceRow,
    DeviceState,
    HomeRow,
    MemberRow,
    bootstrap_hash,
)
from leeside_server.core.person import with_person
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Item, NotStored, Part, Stored
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.members import member_answer
from leeside_server.relay.http.oidc import check_known
from leeside_server.relay.http.person import party_of, passkeys_of
from leeside_server.relay.http.refusals import Refused, stored

_VERSION: Final = version("leeside")
ADMIN_LABEL: Final = "first administrator"


async def server(call: Call) -> r.ServerInfo:
    """GET /v1/server."""
    known = call.settings.oidc is not None and bool(call.settings.public_origins)
    return r.ServerInfo(_VERSION, (SUBPROTOCOL,), call.host.store.generation, call.now_ms, known)


async def agency(call: Call) -> r.Agency:
    """GET /v1/agency."""
    call.actor.require(Action.READ_AGENCY)
    return _answer(call, await call.need(AgencyRow, call.actor.agency))


async def change_agency(call: Call) -> r.Agency:
    """PATCH /v1/agency: what shows the person. Whoever sets it must be able to show it, or nobody could set it back."""
    call.actor.require(Action.CHANGE_AGENCY)
    body, actor = call.body(r.AgencyChange), call.actor
    held = await call.need(AgencyRow, actor.agency)
    if held.revision != body.revision:
        raise Refused(WireError.CONFLICT, "it has changed meanwhile: read it anew", head=held.revision)
    if body.person is PersonBy.PASSKEY:
        party_of(call)
        if not await passkeys_of(call, actor.agency, actor.member):
            raise ProtocolError(WireError.FORBIDDEN, "register a passkey of your own first")
    elif body.person is PersonBy.OIDC:
        check_known(call, actor.agency)
        if not (await call.need(MemberRow, actor.member)).row.login:
            raise ProtocolError(WireError.FORBIDDEN, "give yourself the login first that your sign-in knows")
    row = with_person(held.row, body.person, body.person_hours, call.now_ms)
    audit = Audit("agency_changed", actor.device, actor.agency, f"person_{row.person.value}")
    await call.write(actor.agency, change(held, row), audit)
    return _answer(call, Held(held.id, row, held.revision + 1))


async def me(call: Call) -> r.Member:
    """GET /v1/me."""
    return member_answer(call.actor, await call.need(MemberRow, call.actor.member))


async def create_agency(call: Call) -> r.Agency:
    """POST /v1/agencies: an agency with its root, its first directory entries, and its administrator's device.

    The code is spent first, on this agency alone; the agency itself is one item. Whoever lost the answer repeats
    the very same request and gets it.
    """
    body = call.body(r.NewAgency)
    if weak_identity(body.root_pub):
        raise ProtocolError(WireError.INVALID, "anybody can sign with this root")
    code = bootstrap_hash(body.code)
    await _check_code(call, code)
    verify_raw(body.root_pub, body.proof, pae(PREFIX + b"agency", body.code.encode()))
    directory, entries = _read_entries(body, call.now_ms)
    device, device_row = _administrator(body, directory, entries, call.now_ms)
    await _spend(call, code, directory.agency_id, device)
    held = await call.find(directory.agency_id, AgencyRow, directory.agency_id)
    if held is None:
        held = await _store(call, body, directory, entries, device, device_row)
    return _answer(call, held)


async def _check_code(call: Call, code: bytes) -> None:
    path = call.settings.bootstrap_codes
    known = frozenset[str]() if path is None else await asyncio.to_thread(_codes, path)
    if code.hex() not in known:
        raise ProtocolError(WireError.NOT_FOUND)


def _codes(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return frozenset()
    return frozenset(line.strip().lower() for line in lines)


def _read_entries(body: r.NewAgency, now_ms: int) -> tuple[Directory, tuple[CheckedEntry, ...]]:
    directory = Directory(body.root_pub)
    checked = tuple(directory.apply(SignedEntry.decode(entry), now_ms) for entry in body.entries)
    return directory, checked


def _administrator(
    body: r.NewAgency, directory: Directory, entries: tuple[CheckedEntry, ...], now_ms: int
) -> tuple[DeviceId, DeviceRow]:
    """The one device that the first entries certify, with its first DeviceKey."""
    added = [e.entry.operation for e in entries if isinstance(e.entry.operation, DeviceAdded)]
    if len(added) != 1 or added[0].role != Role.ADMIN or added[0].member_id.hex() != body.admin_member:
        raise ProtocolError(
            WireError.INVALID, "the first entries certify the administrator's device, and no other"
        )
    signed = Signed.decode(body.admin_device_key)
    certificate = directory.live_device(added[0].device_id)
    if not certificate.valid_at(now_ms):
        raise SealingError(SealingCode.E_EXPIRED, "the administrator's certificate is not valid now")
    verify_device_key(signed, certificate, now_ms)
    row = DeviceRow(
        member=added[0].member_id,
        public_key=added[0].public,
        state=DeviceState.ACTIVE,
        label=ADMIN_LABEL,
        short_code=short_code(added[0].public, signed.payload),
        created_ms=now_ms,
        device_keys=(body.admin_device_key,),
        certified_ms=now_ms,
    )
    return added[0].device_id, row


async def _spend(call: Call, code: bytes, agency_id: AgencyId, device: DeviceId) -> None:
    """Spend the code on this agency, and make the device findable; both, or `not_found` for a code spent on another."""
    spent = create(code[:16], BootstrapRow(agency_id, call.now_ms))
    item = Item(NO_AGENCY, call.now_ms, (spent, create(device, HomeRow(agency_id))))
    (outcome,) = await call.apply([item])
    if not isinstance(outcome, NotStored):
        return
    before = await call.find(NO_AGENCY, BootstrapRow, code[:16])
    home = await call.find(NO_AGENCY, HomeRow, device)
    if before is None:
        raise ProtocolError(WireError.CONFLICT, "this device has enrolled already")
    if before.row.agency != agency_id or home is None or home.row.agency != agency_id:
        raise ProtocolError(WireError.NOT_FOUND)


async def _store(
    call: Call,
    body: r.NewAgency,
    directory: Directory,
    entries: tuple[CheckedEntry, ...],
    device: DeviceId,
    device_row: DeviceRow,
) -> Held[AgencyRow]:
    agency_id = directory.agency_id
    row = AgencyRow(body.label, body.root_pub, call.now_ms)
    member = MemberRow((Role.ADMIN,), call.now_ms)
    parts: tuple[Part, ...] = (
        *(entry_append(agency_id, entry, device) for entry in entries),
        create(agency_id, row),
        create(MemberId(bytes.fromhex(body.admin_member)), member),
        create(device, device_row),
        Audit("agency_created", device, agency_id, "done"),
    )
    (outcome,) = await call.apply([Item(agency_id, call.now_ms, parts)])
    if not isinstance(outcome, Stored):
        # The same request in flight twice: the other one stored it.
        held = await call.find(agency_id, AgencyRow, agency_id)
        if held is not None:
            return held
        stored(outcome)
    return Held(agency_id, row, 1)


def _answer(call: Call, held: Held[AgencyRow]) -> r.Agency:
    row = held.row
    return r.Agency(
        held.id.hex(),
        row.label,
        row.root_pub,
        row.created_ms,
        row.person.value,
        row.person_hours,
        held.revision,
        call.settings.video,
        call.settings.video_phone,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "server": server,
    "create_agency": create_agency,
    "agency": agency,
    "change_agency": change_agency,
    "me": me,
}
