"""A member's passkeys: registered from a session, listed, forgotten. The first one may come with a sign-in (`person`)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import DeviceId, MemberId
from leeside_protocol.words import PersonBy
from leeside_server.core.identity import MemberRow, SessionRow
from leeside_server.core.person import PasskeyRow, check_may_register
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, remove
from leeside_server.core.writes import Audit, Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.person import (
    added_parts,
    agency_row,
    party_of,
    passkeys_of,
    shown_name,
)
from leeside_server.relay.passkeys import PasskeyRefused, registration_options, verify_new

ANSWER_MS: Final = 5 * 60_000


async def passkeys(call: Call) -> r.Passkeys:
    """GET /v1/passkeys: one's own."""
    held = await passkeys_of(call, call.actor.agency, call.actor.member)
    return r.Passkeys(tuple(_answer(one) for one in held))


async def passkey_options(call: Call) -> r.PasskeyOptions:
    """POST /v1/passkeys/options."""
    there = await _check(call)
    member = await call.need(MemberRow, call.actor.member)
    until_ms = (call.now_ms // ANSWER_MS + 2) * ANSWER_MS
    options = registration_options(
        party_of(call),
        call.actor.member,
        shown_name(call.actor.member, member.row),
        _challenge(call, until_ms),
        [one.row.credential for one in there],
        ANSWER_MS,
    )
    return r.PasskeyOptions(options)


async def add_passkey(call: Call) -> r.Passkey:
    """POST /v1/passkeys."""
    await _check(call)
    party, answer = party_of(call), call.body(r.PasskeyPost).credential
    until_ms = (call.now_ms // ANSWER_MS + 2) * ANSWER_MS
    for challenge in (_challenge(call, until_ms), _challenge(call, until_ms - ANSWER_MS)):
        try:
            made = verify_new(party, answer, challenge)
        except PasskeyRefused:
            continue
        actor = call.actor
        save, *rest = added_parts(actor.member, actor.device, made, call.now_ms)
        await call.write(actor.agency, save, *rest)
        found = [
            one
            for one in await passkeys_of(call, actor.agency, actor.member)
            if one.row.credential == made.credential
        ]
        return _answer(found[0])
    raise ProtocolError(WireError.INVALID, "this passkey was not made for here and now")


async def delete_passkey(call: Call) -> None:
    """DELETE /v1/passkeys/{id}: one's own; where the agency asks for one, not the last."""
    held = await call.need(PasskeyRow, call.id)
    if held.row.member != call.actor.member:
        raise ProtocolError(WireError.NOT_FOUND)
    there = await passkeys_of(call, call.actor.agency, call.actor.member)
    if (await agency_row(call, call.actor.agency)).person is PersonBy.PASSKEY and len(there) == 1:
        raise ProtocolError(WireError.FORBIDDEN, "your agency asks for a passkey, and this is your last")
    await call.write(
        call.actor.agency,
        remove(PasskeyRow, held),
        Audit("passkey_removed", call.actor.device, call.actor.member, "done"),
    )


async def forget_passkeys(call: Call) -> None:
    """DELETE /v1/members/{id}/passkeys: all of them are lost; the next device that is certified registers a new one."""
    call.actor.require(Action.CHANGE_MEMBER)
    held = await call.need(MemberRow, call.id)

    async def decide() -> tuple[Sequence[Part], None]:
        there = await passkeys_of(call, call.actor.agency, MemberId(held.id))
        removed = [remove(PasskeyRow, one) for one in there]
        audit = Audit("passkey_removed", call.actor.device, held.id, "all")
        return ((*removed, audit) if removed else ()), None

    # Each use changes a passkey's row: who has a stolen one must not keep it by using it.
    await call.write_anew(call.actor.agency, decide)


async def _check(call: Call) -> list[Held[PasskeyRow]]:
    """Whether this session may register one; gives those that are there."""
    agency = await agency_row(call, call.actor.agency)
    session = await call.need(SessionRow, call.actor.session)
    there = await passkeys_of(call, call.actor.agency, call.actor.member)
    check_may_register(agency, session.row, len(there), call.now_ms)
    return there


def _challenge(call: Call, until_ms: int) -> bytes:
    """For this session, from five to ten minutes. No state is kept: registered twice, a credential is a `conflict`."""
    device: DeviceId = call.actor.device
    message = b"leeside1 passkey" + device + call.actor.session + until_ms.to_bytes(8, "big")
    return hmac.new(call.host.tokens.challenge_key, message, hashlib.sha256).digest()


def _answer(held: Held[PasskeyRow]) -> r.Passkey:
    row = held.row
    return r.Passkey(held.id.hex(), row.device.hex(), row.synced, row.created_ms, row.used_ms)


HANDLERS: Final[Mapping[str, Handler]] = {
    "passkeys": passkeys,
    "passkey_options": passkey_options,
    "add_passkey": add_passkey,
    "delete_passkey": delete_passkey,
    "forget_passkeys": forget_passkeys,
}
