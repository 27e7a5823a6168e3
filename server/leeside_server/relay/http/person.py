"""The person's half of a sign-in: what is asked for, and whether it was shown (spec 02, "The person").

Whoever gets here has shown the device's key already: they may learn what their agency asks for.
"""

from __future__ import annotations

import msgspec

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.words import PersonBy
from leeside_server.core.identity import AgencyRow, DeviceRow, MemberRow, challenge_end_ms
from leeside_server.core.person import (
    PasskeyRow,
    TicketRow,
    may_register_first,
    passkey_id,
    person_challenge,
    ticket_id,
    used,
)
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.refusals import Refused
from leeside_server.relay.passkeys import (
    NewPasskey,
    PasskeyRefused,
    RelyingParty,
    credential_of,
    registration_options,
    relying_party,
    sign_in_options,
    verify_new,
    verify_used,
)
from leeside_server.relay.tickets import TicketRefused, open_ticket


class Known(msgspec.Struct, frozen=True):
    """A device that has shown its key and may sign in, as far as the device goes."""

    agency: AgencyId
    device: DeviceId
    row: DeviceRow
    member: MemberRow


class Proof(msgspec.Struct, frozen=True):
    """What showed the person, and what is written with the session that it opens."""

    by: PersonBy
    parts: tuple[Part, ...] = ()


async def agency_row(call: Call, agency: AgencyId) -> AgencyRow:
    """The agency, which is there as long as anything of it is."""
    held = await call.find(agency, AgencyRow, agency)
    assert held is not None
    return held.row


async def options(call: Call, known: Known, nonce: bytes) -> r.PersonOptions:
    """What the client does next to show the person."""
    by = (await agency_row(call, known.agency)).person
    if known.row.guest:
        return r.PersonOptions(PersonBy.DEVICE, "", "")
    if by is not PersonBy.PASSKEY:
        return r.PersonOptions(by, "", "")
    party = party_of(call)
    challenge = person_challenge(known.device, nonce)
    left_ms = max(1, challenge_end_ms(nonce) - call.now_ms)
    there = await passkeys_of(call, known.agency, known.row.member)
    if there:
        return r.PersonOptions(by, "sign_in", sign_in_options(party, challenge, left_ms))
    _check_first(call, known, len(there))
    name = shown_name(known.row.member, known.member)
    asked = registration_options(party, known.row.member, name, challenge, (), left_ms)
    return r.PersonOptions(by, "register", asked)


async def prove(call: Call, known: Known, nonce: bytes, shown: r.PersonProof | None) -> Proof:
    """Whether the person was shown as the agency wants it; `unauthenticated` with `person` unless."""
    by = (await agency_row(call, known.agency)).person
    if by is PersonBy.DEVICE or known.row.guest:
        # A guest is nobody whom the agency's passkeys or sign-in know: its link is the proof.
        return Proof(PersonBy.DEVICE)
    if shown is None:
        raise asks_for(by)
    challenge = person_challenge(known.device, nonce)
    try:
        if by is PersonBy.OIDC:
            return _by_ticket(call, known, shown.ticket)
        if shown.new_passkey:
            return await _first(call, known, shown.new_passkey, challenge)
        if shown.passkey:
            return await _used(call, known, shown.passkey, challenge)
    except (PasskeyRefused, TicketRefused):
        member = known.row.member
        await call.record_refusal(known.agency, "person_refused", known.device, member, by.value)
    raise asks_for(by)


def asks_for(by: PersonBy) -> Refused:
    """The refusal that says what is asked for."""
    return Refused(WireError.UNAUTHENTICATED, "person", person=by.value)


def _by_ticket(call: Call, known: Known, text: str) -> Proof:
    ticket = open_ticket(call.host.tokens.ticket_key, text, call.now_ms)
    if ticket.device != known.device or ticket.member != known.row.member:
        raise TicketRefused
    return Proof(PersonBy.OIDC, (create(ticket_id(text), TicketRow(ticket.until_ms)),))


async def _first(call: Call, known: Known, answer: str, challenge: bytes) -> Proof:
    there = await passkeys_of(call, known.agency, known.row.member)
    _check_first(call, known, len(there))
    made = verify_new(party_of(call), answer, challenge)
    return Proof(PersonBy.PASSKEY, added_parts(known.row.member, known.device, made, call.now_ms))


async def _used(call: Call, known: Known, answer: str, challenge: bytes) -> Proof:
    credential, handle = credential_of(answer)
    held = await call.find(known.agency, PasskeyRow, passkey_id(credential))
    if held is None or held.row.member != known.row.member or handle not in {None, bytes(known.row.member)}:
        raise PasskeyRefused
    told = verify_used(party_of(call), answer, challenge, held.row.public_key)
    try:
        row = used(held.row, told.sign_count, told.synced, call.now_ms)
    except ProtocolError:
        raise PasskeyRefused from None
    return Proof(PersonBy.PASSKEY, (change(held, row),))


def _check_first(call: Call, known: Known, there: int) -> None:
    if not may_register_first(known.row, there, call.now_ms):
        raise ProtocolError(WireError.FORBIDDEN, "this device may not register a passkey: enrol it anew")


def added_parts(member: MemberId, device: DeviceId, made: NewPasskey, now_ms: int) -> tuple[Part, ...]:
    """What is written of a passkey that was just made."""
    row = PasskeyRow(
        member,
        device,
        made.credential,
        made.public_key,
        made.sign_count,
        made.syncs,
        made.synced,
        now_ms,
        now_ms,
    )
    key = passkey_id(made.credential)
    return create(key, row), Audit("passkey_added", device, member, "done")


async def passkeys_of(call: Call, agency: AgencyId, member: MemberId) -> list[Held[PasskeyRow]]:
    """All passkeys of a member."""
    return await call.every(agency, PasskeyRow, member)


def party_of(call: Call) -> RelyingParty:
    """Whom passkeys are made for; `unsupported` where this server has no public name."""
    party = relying_party(call.settings.public_origins)
    if party is None:
        raise ProtocolError(WireError.UNSUPPORTED, "passkeys need a public origin with a name")
    return party


def shown_name(member: MemberId, row: MemberRow) -> str:
    """What an authenticator's list of accounts shows."""
    return row.login or f"member {member.hex()[:8]}"
