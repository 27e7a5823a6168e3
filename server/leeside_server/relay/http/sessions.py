"""Sessions: challenge, sign-in, refresh, sign-out.

A device signs a nonce that only this server makes, for this device, for one minute. The session that it opens is
named after the nonce, so a nonce serves once on any number of nodes. Refusals of devices that do not exist, and of
signatures that do not hold, are the same.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.sealing.public.signed import verify_raw
from leeside_server.core.identity import (
    NO_AGENCY,
    AgencyRow,
    DeviceRow,
    HomeRow,
    MemberRow,
    Reused,
    SessionRow,
    challenge_end_ms,
    challenge_nonce,
    check_challenge,
    check_device,
    check_member,
    check_shift_lasts,
    end_session,
    open_session,
    read_refresh,
    refresh_secret,
    session_id,
)
from leeside_server.core.identity import refresh as refresh_row
from leeside_server.core.notices import Access, access_entry
from leeside_server.core.person import person_until_ms, proof_is_over
from leeside_server.core.rows import Held, change, create
from leeside_server.core.writes import Audit, Item, NotStored
from leeside_server.ports import StoreFull
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.person import Known, agency_row, asks_for, options, prove
from leeside_server.relay.http.refusals import Refused, stored


async def challenge(call: Call) -> r.ChallengeAnswer:
    """POST /v1/challenges: answered from the key alone, so devices that do not exist get one too."""
    device = DeviceId(bytes.fromhex(call.body(r.ChallengeRequest).device))
    nonce = challenge_nonce(call.host.tokens.challenge_key, device, call.now_ms, call.random(4))
    return r.ChallengeAnswer(nonce, challenge_end_ms(nonce))


async def sign_in(call: Call) -> r.SessionTokens:
    """POST /v1/sessions."""
    body = call.body(r.SessionRequest)
    known = await _known(call, body)
    agency, device = known.agency, known.device
    proof = await prove(call, known, body.nonce, body.person)
    session = session_id(device, body.nonce)
    secret = refresh_secret(call.host.tokens.refresh_key, agency, session, 0, call.random(16))
    row = open_session(
        device,
        known.row.member,
        secret,
        call.now_ms,
        person=proof.by,
        shift_until_ms=known.row.shift_until_ms,
    )
    parts = (create(session, row), Audit("sign_in", device, session, proof.by.value), *proof.parts)
    (outcome,) = await call.apply([Item(agency, call.now_ms, parts)])
    if isinstance(outcome, NotStored):
        if outcome.code is WireError.CONFLICT and await call.find(agency, SessionRow, session) is not None:
            await call.record_refusal(agency, "challenge_replayed", device, device, "refused")
            raise ProtocolError(WireError.UNAUTHENTICATED, "ask for a new challenge")
        if outcome.code is WireError.CONFLICT and proof.parts:
            # A ticket that served before, or one passkey twice at the same moment.
            await call.record_refusal(agency, "person_refused", device, known.row.member, proof.by.value)
            raise asks_for(proof.by)
        stored(outcome)
    return _tokens(call, agency, session, row, known, secret, await agency_row(call, agency))


async def person_options(call: Call) -> r.PersonOptions:
    """POST /v1/sessions/options: asked by the device itself, like a sign-in; the nonce serves on."""
    body = call.body(r.SessionRequest)
    return await options(call, await _known(call, body), body.nonce)


async def _known(call: Call, body: r.SessionRequest) -> Known:
    """The device that asks, once it has shown its key."""
    device = DeviceId(bytes.fromhex(body.device))
    check_challenge(call.host.tokens.challenge_key, device, body.nonce, call.now_ms)
    agency, held = await _find_device(call, device)
    try:
        verify_raw(held.row.public_key, body.signature, pae(PREFIX + b"session", body.nonce, device))
    except SealingError:
        raise _unknown() from None
    # From here on it is the device itself that asks, and it is told what is the matter.
    try:
        check_device(held.row)
        check_shift_lasts(held.row, call.now_ms)
        member = check_member(await _member(call, agency, held.row.member))
        await _check_certificate(call, agency, device, held.row)
    except ProtocolError as error:
        await call.record_refusal(agency, "sign_in_refused", device, device, error.code.label)
        raise
    return Known(agency, device, held.row, member)


async def _find_device(call: Call, device: DeviceId) -> tuple[AgencyId, Held[DeviceRow]]:
    home = await call.find(NO_AGENCY, HomeRow, device)
    held = None if home is None else await call.find(home.row.agency, DeviceRow, device)
    if home is None or held is None:
        raise _unknown()
    return home.row.agency, held


def _unknown() -> ProtocolError:
    return ProtocolError(WireError.UNAUTHENTICATED, "no such device, or not its signature")


async def _member(call: Call, agency: AgencyId, member: MemberId) -> MemberRow | None:
    held = await call.find(agency, MemberRow, member)
    return None if held is None else held.row


async def _check_certificate(call: Call, agency: AgencyId, device: DeviceId, row: DeviceRow) -> None:
    """The directory is the truth about a device: certified, not revoked, within its dates. A guest has no certificate: it
    is vouched for in each channel's commit, and may read nothing else."""
    if row.guest:
        return
    directory = await call.host.directories.fresh(agency)
    certificate = directory.device(device)
    if certificate is None:
        raise ProtocolError(WireError.PENDING, "this device waits for approval")
    if certificate.revoked_seq is not None:
        raise ProtocolError(WireError.REVOKED, "this device was revoked")
    if not certificate.valid_at(call.now_ms):
        raise ProtocolError(WireError.EXPIRED, "this device's certificate is not valid now")


async def refresh(call: Call) -> r.SessionTokens:
    """POST /v1/sessions/refresh: each secret serves once; one that comes twice ends the family everywhere.

    While the store has no room, a secret serves again: it is given back with the token.
    """
    shown_secret = _secret(call.body(r.RefreshRequest).refresh)
    shown = read_refresh(call.host.tokens.refresh_key, shown_secret)
    agency = shown.agency
    for _ in range(2):
        held = await call.find(agency, SessionRow, shown.session)
        if held is None:
            raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again")
        try:
            known = await _check_family(call, agency, held)
        except ProtocolError as error:
            device = held.row.device
            await call.record_refusal(agency, "refresh_refused", device, device, error.code.label)
            raise
        asked = await agency_row(call, agency)
        if not known.row.guest and proof_is_over(asked, held.row, call.now_ms):
            # The secret has not served: whoever waits with the proof is no thief.
            raise Refused(WireError.TOKEN_EXPIRED, "person", person=asked.person.value)
        key, random = call.host.tokens.refresh_key, call.random(16)
        secret = refresh_secret(key, agency, shown.session, shown.count + 1, random)
        step = refresh_row(held.row, shown, secret, call.now_ms, known.row.shift_until_ms)
        if isinstance(step, Reused):
            await _end(call, agency, held, step.row, "refresh_reuse")
            raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again")
        try:
            (outcome,) = await call.apply([Item(agency, call.now_ms, (change(held, step.row),))])
        except StoreFull:
            # Nothing was written, so the secret has not served. Without room messages wait, but who reads goes on reading.
            return _tokens(call, agency, shown.session, held.row, known, shown_secret, asked)
        if not isinstance(outcome, NotStored):
            return _tokens(call, agency, shown.session, step.row, known, secret, asked)
        # Someone used the same secret at the same moment: read again, and see it as the reuse that it is.
    raise ProtocolError(WireError.CONFLICT, "try again")


def _secret(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again") from None


async def _check_family(call: Call, agency: AgencyId, held: Held[SessionRow]) -> Known:
    device = await call.find(agency, DeviceRow, held.row.device)
    if device is None:
        raise ProtocolError(WireError.UNAUTHENTICATED, "sign in again")
    check_device(device.row)
    check_shift_lasts(device.row, call.now_ms)
    member = check_member(await _member(call, agency, held.row.member))
    await _check_certificate(call, agency, held.row.device, device.row)
    return Known(agency, held.row.device, device.row, member)


async def sign_out(call: Call) -> None:
    """DELETE /v1/sessions/current: the family ends on every node, its sockets too."""
    actor = call.actor
    held = await call.need(SessionRow, actor.session)
    await _end(call, actor.agency, held, end_session(held.row, "sign_out", call.now_ms), "sign_out")


async def _end(call: Call, agency: AgencyId, held: Held[SessionRow], ended: SessionRow, event: str) -> None:
    if held.row.ended_ms:
        return
    item = Item(
        agency,
        call.now_ms,
        (
            change(held, ended),
            access_entry(agency, Access.SESSION_OUT, held.id, call.random),
            Audit(event, held.row.device, held.id, "session_ended"),
        ),
    )
    (outcome,) = await call.apply([item])
    if not isinstance(outcome, NotStored):
        return
    # A refresh came between: end what it made.
    again = await call.find(agency, SessionRow, held.id)
    if again is not None and not again.row.ended_ms:
        await _end(call, agency, again, end_session(again.row, ended.ended_for, call.now_ms), event)


def _tokens(
    call: Call,
    agency: AgencyId,
    session: bytes,
    row: SessionRow,
    known: Known,
    secret: bytes,
    asked: AgencyRow,
) -> r.SessionTokens:
    roles = known.member.roles
    token, claims = call.host.tokens.mint(
        agency, row.member, row.device, roles, session, call.now_ms, known.row.shift_until_ms
    )
    return r.SessionTokens(
        token=token,
        token_until_ms=claims.until_ms,
        refresh=base64.urlsafe_b64encode(secret).decode("ascii"),
        refresh_until_ms=row.refresh_until_ms,
        agency=agency.hex(),
        member=row.member.hex(),
        device=row.device.hex(),
        roles=roles,
        person_until_ms=person_until_ms(asked, row),
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "challenge": challenge,
    "sign_in": sign_in,
    "person_options": person_options,
    "refresh": refresh,
    "sign_out": sign_out,
}
