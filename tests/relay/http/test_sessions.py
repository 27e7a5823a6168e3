"""Sign-in, refresh and sign-out, and everything that must not open a session."""

import os
from collections.abc import AsyncIterator

import httpx
import pytest

from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.limits import CHALLENGE_TTL_S, TOKEN_TTL_S
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.encoding import PREFIX, pae
from leeside_protocol.words import Role
from leeside_server.ports import StoreFull
from leeside_server.relay.http import HttpSettings
from tests.relay.http.world import Agency, City, Person, Refusal


async def events(agency: Agency) -> list[str]:
    page = await agency.admin.ask("security_events", query={"limit": 500})
    return [item.event for item in page.items]


def signature(person: Person, nonce: bytes) -> bytes:
    return person.keys.identity.sign_raw(pae(PREFIX + b"session", nonce, person.id))


async def challenge(person: Person) -> bytes:
    answer = await person.city.ask("challenge", body=r.ChallengeRequest(person.id.hex()))
    nonce: bytes = answer.nonce
    return nonce


async def test_a_signed_challenge_opens_a_session_that_says_who(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    tokens = person.tokens
    assert tokens is not None
    assert (tokens.member, tokens.device, tokens.roles) == (person.member, person.id.hex(), (Role.RESPONDER,))
    assert tokens.token_until_ms == agency.city.clock.now_ms() + TOKEN_TTL_S * 1000
    me = await person.ask("me")
    assert (me.id, me.roles) == (person.member, (Role.RESPONDER,))
    assert (await person.ask("agency")).label == "Harbour"
    assert {"sign_in", "device_enrolled", "device_certified"} <= set(await events(agency))


async def test_a_challenge_serves_once(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    nonce = await challenge(person)
    body = r.SessionRequest(person.id.hex(), nonce, signature(person, nonce))
    await agency.city.ask("sign_in", body=body)
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("sign_in", body=body)
    assert refused.value.code is WireError.UNAUTHENTICATED
    assert "challenge_replayed" in await events(agency)


async def test_a_challenge_ends_after_a_minute(agency: Agency) -> None:
    nonce = await challenge(agency.admin)
    agency.city.clock.advance(CHALLENGE_TTL_S)
    body = r.SessionRequest(agency.admin.id.hex(), nonce, signature(agency.admin, nonce))
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("sign_in", body=body)
    assert refused.value.code is WireError.EXPIRED


async def test_strangers_and_wrong_signatures_get_the_same_answers_byte_for_byte(agency: Agency) -> None:
    stranger = Person(agency.city, DeviceKeys.create(os.urandom, agency.city.clock.now_ms()))
    answers: list[httpx.Response] = []
    for person, key in ((stranger, stranger), (agency.admin, stranger)):
        nonce = await challenge(person)
        body = r.SessionRequest(
            person.id.hex(), nonce, key.keys.identity.sign_raw(pae(PREFIX + b"session", nonce, person.id))
        )
        answers.append(await agency.city.raw("sign_in", body=body))
    assert {a.status_code for a in answers} == {401}
    assert len({a.content for a in answers}) == 1
    assert {tuple(a.headers.items()) for a in answers} == {tuple(answers[0].headers.items())}


async def test_a_device_that_waits_is_told_so_and_gets_no_session(agency: Agency) -> None:
    member = (await agency.admin.ask("create_member", r.NewMember((Role.RESPONDER,)))).id
    person = await agency.enrol(member)
    with pytest.raises(Refusal) as refused:
        await person.sign_in()
    assert refused.value.code is WireError.PENDING
    assert "sign_in_refused" in await events(agency)


async def test_refusals_are_events_and_do_not_fill_the_store(agency: Agency) -> None:
    """A device that is out asks on and on; security events are never deleted."""
    person = await agency.join(Role.RESPONDER)
    assert person.tokens is not None
    await agency.admin.ask("revoke_device", id=person.id.hex())
    before = len(await events(agency))
    for _ in range(20):
        for call in (
            person.sign_in(),
            agency.city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh)),
        ):
            with pytest.raises(Refusal) as refused:
                await call
            assert refused.value.code is WireError.REVOKED
    told = (await events(agency))[before:]
    assert {event: told.count(event) for event in set(told)} == {"sign_in_refused": 5, "refresh_refused": 5}
    agency.city.clock.advance(61)
    with pytest.raises(Refusal):
        await person.sign_in()
    assert (await events(agency)).count("sign_in_refused") == 6


async def test_a_certificate_that_ended_opens_no_session(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    agency.city.clock.advance(366 * 86_400)
    with pytest.raises(Refusal) as refused:
        await person.sign_in()
    assert refused.value.code is WireError.EXPIRED


async def test_a_token_ends_after_five_minutes_and_a_refresh_gives_the_next(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    agency.city.clock.advance(TOKEN_TTL_S)
    with pytest.raises(Refusal) as refused:
        await person.ask("me")
    assert refused.value.code is WireError.TOKEN_EXPIRED
    assert person.tokens is not None
    person.tokens = await agency.city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
    assert (await person.ask("me")).id == person.member


async def test_a_refresh_secret_used_twice_ends_the_family(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    assert person.tokens is not None
    stolen = person.tokens.refresh
    second = await agency.city.ask("refresh", body=r.RefreshRequest(stolen))
    for used in (stolen, second.refresh):
        with pytest.raises(Refusal) as refused:
            await agency.city.ask("refresh", body=r.RefreshRequest(used))
        assert refused.value.code is WireError.UNAUTHENTICATED
    for token in (person.tokens.token, second.token):
        with pytest.raises(Refusal) as refused:
            await agency.city.ask("me", token=token)
        assert refused.value.code is WireError.UNAUTHENTICATED
    assert (await events(agency)).count("refresh_reuse") == 1
    await person.sign_in()
    await person.ask("me")


async def test_a_full_disk_ends_nobodys_session(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await agency.join(Role.RESPONDER)
    assert person.tokens is not None
    kept = person.tokens.refresh

    async def full(*_: object) -> object:
        raise StoreFull

    with monkeypatch.context() as without_room:
        without_room.setattr(agency.city.node.store, "apply", full)
        for _ in range(2):
            agency.city.clock.advance(TOKEN_TTL_S)
            tokens = await agency.city.ask("refresh", body=r.RefreshRequest(kept))
            assert tokens.refresh == kept
            assert (await agency.city.ask("me", token=tokens.token)).id == person.member
    # With room again each secret serves once, as before.
    tokens = await agency.city.ask("refresh", body=r.RefreshRequest(kept))
    assert tokens.refresh != kept
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("refresh", body=r.RefreshRequest(kept))
    assert refused.value.code is WireError.UNAUTHENTICATED


@pytest.mark.parametrize("noise", ["", "x", "!!!!", "é", "QUFB", "A" * 200])
async def test_noise_is_no_refresh_secret(agency: Agency, noise: str) -> None:
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("refresh", body=r.RefreshRequest(noise))
    assert refused.value.code is WireError.UNAUTHENTICATED


async def test_signing_out_ends_this_family_and_no_other(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    first = person.tokens
    second = await person.sign_in()
    assert first is not None
    await agency.city.ask("sign_out", token=first.token)
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("me", token=first.token)
    assert refused.value.code is WireError.UNAUTHENTICATED
    with pytest.raises(Refusal):
        await agency.city.ask("refresh", body=r.RefreshRequest(first.refresh))
    assert (await agency.city.ask("me", token=second.token)).id == person.member


async def test_a_revoked_device_is_refused_at_once_with_its_token_its_secret_and_its_key(
    agency: Agency,
) -> None:
    person = await agency.join(Role.RESPONDER)
    assert person.tokens is not None
    info = await agency.admin.ask("revoke_device", id=person.id.hex())
    assert info.state == "revoked"
    with pytest.raises(Refusal) as refused:
        await person.ask("me")
    assert refused.value.code is WireError.REVOKED
    with pytest.raises(Refusal) as refused:
        await agency.city.ask("refresh", body=r.RefreshRequest(person.tokens.refresh))
    assert refused.value.code is WireError.REVOKED
    with pytest.raises(Refusal) as refused:
        await person.sign_in()
    assert refused.value.code is WireError.REVOKED


async def test_ending_a_membership_revokes_all_its_devices(agency: Agency) -> None:
    person = await agency.join(Role.RESPONDER)
    other = await agency.enrol(person.member)
    await agency.post(agency.certificate(other.keys, person.member, Role.RESPONDER))
    await other.sign_in()
    held = await agency.admin.ask("member", id=person.member)
    await agency.admin.ask("change_member", r.MemberChange(held.revision, ended=True), id=person.member)
    for one in (person, other):
        with pytest.raises(Refusal) as refused:
            await one.ask("me")
        assert refused.value.code is WireError.REVOKED
    assert (await events(agency)).count("device_revoked") == 2


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "Bearer " + "x" * 5000]
)
async def test_what_is_no_token_is_unauthenticated(city: City, header: str) -> None:
    response = await city.raw("me", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_roles_of_a_change_are_read_anew_not_believed_from_the_token(agency: Agency) -> None:
    person = await agency.join(Role.SUPERVISOR)
    await person.ask("create_member", r.NewMember((Role.RESPONDER,)))
    held = await agency.admin.ask("member", id=person.member)
    change = r.MemberChange(held.revision, roles=(Role.RESPONDER,))
    await agency.admin.ask("change_member", change, id=person.member)
    with pytest.raises(Refusal) as refused:
        await person.ask("create_member", r.NewMember((Role.RESPONDER,)))
    assert refused.value.code is WireError.FORBIDDEN


@pytest.mark.parametrize("loss", ["roles", "membership"])
async def test_who_sends_a_body_slowly_is_judged_by_what_holds_at_its_end(agency: Agency, loss: str) -> None:
    person = await agency.join(Role.SUPERVISOR)
    held = await agency.admin.ask("member", id=person.member)
    change = (
        r.MemberChange(held.revision, roles=(Role.RESPONDER,))
        if loss == "roles"
        else r.MemberChange(held.revision, ended=True)
    )

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await agency.admin.ask("change_member", change, id=person.member)
        yield b'"roles":["responder"]}'

    assert person.tokens is not None
    headers = {"Authorization": f"Bearer {person.tokens.token}", "Content-Type": "application/json"}
    response = await agency.city.client.post("/v1/members", content=slow(), headers=headers)
    expected = WireError.FORBIDDEN if loss == "roles" else WireError.REVOKED
    assert response.json()["number"] == expected
    assert len((await agency.admin.ask("members")).items) == 2


def test_the_settings_default_to_an_address_that_an_agency_shares() -> None:
    assert HttpSettings().sign_ins_per_source.burst >= 200
